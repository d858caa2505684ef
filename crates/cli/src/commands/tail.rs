//! `rumor tail`

use clap::Args;
use rumormill::TopicPattern;
use rumormill::proto::MessageId;
use rumormill_http::view::GapLine;
use rumormill_http::{StreamItem, TailRequest};
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::{escape, out, utc};
use rumormill_units::duration;
use serde::Serialize;

use crate::control::NodeArgs;
use crate::text::{event_text, message_line, short_id};

/// Show messages as they arrive at a peer, or the events of a node
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor tail
  rumor tail 'orders.*' news               (these topics only)
  rumor tail --from earliest               (everything the peer holds, then what comes)
  rumor tail --from 10m                    (what was published in the last ten minutes)
  rumor tail --json | jq .text             (one JSON object per line; caught_up ends the history)
  rumor tail --events --node seed-1")]
pub(crate) struct TailArgs {
    /// Topics to show (orders), or all with a prefix (orders.*); without one, all messages
    #[arg(value_name = "TOPIC", conflicts_with = "events", value_parser = topic)]
    topics: Vec<String>,
    /// Where to begin: now (new messages only), earliest (with all that the peer keeps), a time ago
    /// (90s, 10m, 2h), or after a message, by its id
    #[arg(long, value_name = "WHERE", default_value = "now", conflicts_with = "events")]
    #[arg(value_parser = from)]
    from: String,
    #[command(flatten)]
    node: NodeArgs,
    /// Show events instead of messages
    #[arg(long, short)]
    events: bool,
    /// End after this number of messages or events
    #[arg(long, short, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: TailArgs) -> Outcome {
    if args.events { events(&args).await } else { messages(&args).await }
}

async fn messages(args: &TailArgs) -> Outcome {
    let request = TailRequest {
        from: Some(args.from.clone()),
        topics: args.topics.clone(),
        with_content: true,
    };
    let mut stream = args.node.peer_client()?.tail(&request).await?;
    let mut left = args.count;
    while left != Some(0) {
        match stream.next().await? {
            None => break,
            Some(StreamItem::Lagged(n)) => say_missed(n, "messages"),
            Some(StreamItem::Gap(gap)) if args.node.json => out::json(&GapItem { gap })?,
            Some(StreamItem::Gap(gap)) => out::say(gap_text(&gap)),
            Some(StreamItem::CaughtUp) if args.node.json => {
                out::json(&CaughtUpItem { caught_up: true })?;
            }
            Some(StreamItem::CaughtUp) => {
                out::say("rumor: the history is complete; new messages follow");
            }
            Some(StreamItem::Of(message)) => {
                if args.node.json {
                    out::json(&message)?;
                } else {
                    out::print(&message_line(&message)?)?;
                }
                left = left.map(|n| n - 1);
            }
        }
    }
    Ok(Exit::Ok)
}

async fn events(args: &TailArgs) -> Outcome {
    let mut stream = args.node.client()?.events().await?;
    let mut left = args.count;
    while left != Some(0) {
        match stream.next().await? {
            None => break,
            Some(StreamItem::Lagged(n)) => say_missed(n, "events"),
            Some(StreamItem::Gap(_) | StreamItem::CaughtUp) => {}
            Some(StreamItem::Of(event)) => {
                if args.node.json {
                    out::json(&event)?;
                } else {
                    let text = event_text(&event.event);
                    out::print(&format!("{} {text}\n", utc::clock(event.at_us)))?;
                }
                left = left.map(|n| n - 1);
            }
        }
    }
    Ok(Exit::Ok)
}

fn topic(text: &str) -> Result<String, String> {
    text.parse::<TopicPattern>().map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// Turns `--from` into the form that the node takes.
fn from(text: &str) -> Result<String, String> {
    if matches!(text, "now" | "earliest") || text.parse::<MessageId>().is_ok() {
        return Ok(text.to_owned());
    }
    let ago = duration::parse(text).map_err(|_| {
        "give now, earliest, a time ago (90s, 10m, 2h), or the id of a message".to_owned()
    })?;
    let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    Ok(utc::now_us().saturating_sub(ago).to_string())
}

/// A gap among the lines of `--json`.
#[derive(Serialize)]
struct GapItem {
    gap: GapLine,
}

/// The end of the history among the lines of `--json`.
#[derive(Serialize)]
struct CaughtUpItem {
    caught_up: bool,
}

fn gap_text(gap: &GapLine) -> String {
    let GapLine { publisher, from, to, .. } = gap;
    let why = match gap.reason.as_str() {
        "not_retained" => "the peer has evicted them",
        _ => "they did not reach the peer, and no neighbour has them any more",
    };
    let publisher = escape::text(short_id(publisher));
    format!("rumor: messages {from} to {} of {publisher} are missing: {why}", to.saturating_sub(1))
}

fn say_missed(n: u64, what: &str) {
    out::say(format!("rumor: {n} {what} were missed, because this program read them too slowly"));
}
