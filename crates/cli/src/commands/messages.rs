//! `rumor messages`

use clap::Args;
use rumormill_http::view::MessageLine;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out::Paint;
use rumormill_terminal::table::Table;
use rumormill_terminal::{escape, out, utc};
use rumormill_units::count::counted;

use crate::control::NodeArgs;
use crate::text::short_id;

/// List the messages a peer holds, newest last
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor messages
  rumor messages --limit 5
  rumor get \"$(rumor messages --json | jq -r '.[-1].id')\"")]
pub(crate) struct MessagesArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// How many of the newest messages to list
    #[arg(long, short, value_name = "N", default_value_t = 50)]
    limit: usize,
}

pub(crate) async fn run(args: MessagesArgs) -> Outcome {
    let messages = args.node.peer_client()?.messages(args.limit).await?;
    if args.node.json {
        out::json_pretty(&messages)?;
    } else {
        out::print(&text(&messages, Paint::stdout()))?;
    }
    Ok(Exit::Ok)
}

/// A table of messages.
pub(crate) fn text(messages: &[MessageLine], paint: Paint) -> String {
    let mut table = Table::new(vec![
        "RECEIVED",
        "FROM",
        "SEQ",
        "TOPIC",
        "BYTES",
        "HOPS",
        "DUPLICATES",
        "DELAY",
        "ID",
    ]);
    for m in messages {
        // The clocks of two hosts are compared, so the delay may be negative.
        let delay = i128::from(m.received_us) - i128::from(m.published_us);
        #[allow(clippy::cast_precision_loss)] // Shown with one decimal.
        let delay = delay as f64 / 1e3;
        table.row(vec![
            utc::clock(m.received_us),
            m.name.as_deref().map_or_else(|| short_id(&m.publisher).to_owned(), escape::text),
            m.sequence.to_string(),
            escape::text(&m.topic),
            m.bytes.to_string(),
            m.hops.to_string(),
            m.duplicates.to_string(),
            format!("{delay:.1} ms"),
            m.id.clone(),
        ]);
    }
    table.render(paint) + &format!("{}\n", counted(messages.len(), "message"))
}
