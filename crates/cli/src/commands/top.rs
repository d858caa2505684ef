//! `rumor top`

use clap::{Args, ValueEnum};
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::running::RunDirArgs;
use rumormill_terminal::signals::StopSignals;

use crate::control::peer_or_named_client;
use crate::top::{self, Tab};

/// Watch a running node in this terminal
#[derive(Debug, Args)]
#[command(after_help = "Keys:
  0 to 4, Tab, arrows    the pages: overview, connections, messages, members, events
  up, down, PgUp, PgDn   move
  Enter                  everything about the line; for a message, its content
  / and s                filter, and sort by the next column
  p                      pause
  q, Esc, Ctrl-C         quit

Examples:
  rumor top
  rumor top --node peer-03
  rumor top messages
  rumor top --node seed-1 members")]
pub(crate) struct TopArgs {
    /// The page to begin with
    #[arg(value_enum, default_value = "overview")]
    page: Page,
    /// Name or id of the node; needed only if several are running
    #[arg(long, short, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    run_dir: RunDirArgs,
}

/// The pages by their names.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    Overview,
    Connections,
    Messages,
    Members,
    Events,
}

pub(crate) async fn run(args: TopArgs) -> Outcome {
    let client = peer_or_named_client(args.node.as_deref(), &args.run_dir)?;
    let tab = match args.page {
        Page::Overview => Tab::Overview,
        Page::Connections => Tab::Connections,
        Page::Messages => Tab::Messages,
        Page::Members => Tab::Members,
        Page::Events => Tab::Events,
    };
    let mut stops = StopSignals::catch()?;
    tokio::select! {
        result = top::run(client, tab) => result?,
        () = stops.next() => {}
    }
    Ok(Exit::Ok)
}
