//! `rumor top`: a node in a terminal, as it goes on.

mod feed;
mod keys;
mod model;
mod rates;
mod rows;
mod view;

use std::io::{self, IsTerminal as _};

use rumormill_http::Client;
use tokio::sync::mpsc;

use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;

pub(crate) use model::Tab;

use feed::Feed;
use keys::Keys;
use model::{Model, Wish};

/// Shows a node until the user has seen enough.
///
/// # Errors
/// There is no terminal, or it fails.
pub(crate) async fn run(client: Client, begin: Tab) -> Outcome<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "this view needs a terminal; `rumor status`, `neighbours`, `messages`, `members` and `tail` \
             print the same, with --json if you like",
        ));
    }
    let failed = |what: &str, e: io::Error| Failure::new(Exit::Failed, format!("{what}: {e}"));
    let mut screen = Screen::take().map_err(|e| failed("the terminal cannot be used", e))?;
    show(&mut screen.0, client, begin).await.map_err(|e| failed("the terminal failed", e))
}

/// The terminal as a view has it, until this goes: also with an error, and when nobody waits for the
/// view any more.
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
    begin: Tab,
) -> io::Result<()> {
    let mut model = Model::new(begin, out::colours());
    let (wishes, wished) = mpsc::channel(4);
    let mut feed = Feed::begin(client, wished);
    let mut keys = Keys::begin();
    loop {
        terminal.draw(|frame| view::draw(frame, &mut model))?;
        tokio::select! {
            key = keys.next() => match key.transpose()?.and_then(|key| model.key(key)) {
                Some(Wish::End) => return Ok(()),
                // The feed is busy with the last wish: it is the newest that counts.
                Some(wish) => { let _ = wishes.try_send(wish); }
                None => {}
            },
            news = feed.next() => model.learn(news),
        }
    }
}

#[cfg(test)]
mod tests;
