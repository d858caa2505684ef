//! `rumor top`: the present state of a node in a terminal.

mod feed;
mod keys;
mod model;
mod rates;
mod rows;
mod tab;
mod update;
mod view;

use std::io::{self, IsTerminal as _};

use rumormill_http::Client;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;
use tokio::sync::mpsc;

use feed::Feed;
use keys::Keys;
use model::Model;
pub(crate) use tab::Tab;
use update::Request;

/// Shows a node until the user quits, beginning with the page `first`.
///
/// # Errors
/// There is no terminal, or it fails.
pub(crate) async fn run(client: Client, first: Tab) -> Outcome<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "this view needs a terminal; `rumor status`, `neighbours`, `messages`, `members` and `tail` \
             print the same, with --json as JSON",
        ));
    }
    let failed = |what: &str, e: io::Error| Failure::new(Exit::Failed, format!("{what}: {e}"));
    let mut screen = Screen::take().map_err(|e| failed("the terminal cannot be used", e))?;
    show(&mut screen.0, client, first).await.map_err(|e| failed("the terminal failed", e))
}

/// The terminal in full-screen mode. Dropping it gives the terminal back, also after an error and
/// when the view is cancelled.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        out::hold();
        ratatui::try_init().map(Screen).inspect_err(|_| out::release())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
        out::release();
    }
}

async fn show(
    terminal: &mut ratatui::DefaultTerminal,
    client: Client,
    first: Tab,
) -> io::Result<()> {
    let mut model = Model::new(first, out::colours());
    let (requests, receiver) = mpsc::channel(4);
    let mut feed = Feed::start(client, receiver);
    let mut keys = Keys::start();
    loop {
        terminal.draw(|frame| view::draw(frame, &mut model))?;
        tokio::select! {
            key = keys.next() => match key.transpose()?.and_then(|key| model.key(key)) {
                Some(Request::Quit) => return Ok(()),
                // A request is dropped while the feed is busy with earlier ones.
                Some(request) => { let _ = requests.try_send(request); }
                None => {}
            },
            update = feed.next() => model.apply(update),
        }
    }
}

#[cfg(test)]
mod tests;
