//! `rumor tail`

use clap::Args;
use rumormill_http::Item;
use serde_json::Value;

use super::get::line;
use crate::control::NodeArgs;
use crate::exit::{Exit, Outcome};
use crate::{escape, out, utc};

/// Show messages as they arrive at a peer, or the events of a node
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor tail
  rumor tail --json | jq .text             (one JSON object per line)
  rumor tail --events --node seed-1")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Show events instead of messages
    #[arg(long, short)]
    events: bool,
    /// End after so many
    #[arg(long, short, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: TailArgs) -> Outcome {
    if args.events { events(&args).await } else { messages(&args).await }
}

async fn messages(args: &TailArgs) -> Outcome {
    let mut stream = args.node.peer_client()?.tail(true).await?;
    let mut left = args.count;
    while left != Some(0) {
        match stream.next().await? {
            None => break,
            Some(Item::Lagged(n)) => missed(n, "messages"),
            Some(Item::Of(message)) => {
                if args.node.json {
                    out::json(&message)?;
                } else {
                    out::print(&line(&message)?)?;
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
            Some(Item::Lagged(n)) => missed(n, "events"),
            Some(Item::Of(event)) => {
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

fn missed(n: u64, what: &str) {
    out::say(format!("rumor: {n} {what} were missed, because this side was too slow"));
}

/// `neighbour_up name=peer-03 degree=2`: the kind, then its fields.
fn event_text(event: &Value) -> String {
    let Value::Object(fields) = event else { return escape::text(&event.to_string()) };
    let kind = fields.get("event").and_then(Value::as_str).unwrap_or("event");
    let mut text = escape::text(kind);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "event") {
        let value = match value {
            Value::String(s) => short_id(s).to_owned(),
            Value::Array(list) => {
                let items: Vec<&str> =
                    list.iter().filter_map(Value::as_str).map(short_id).collect();
                items.join(",")
            }
            other => other.to_string(),
        };
        text += &format!(" {}={}", escape::text(name), escape::text(&value));
    }
    text
}

/// Ids are shown short.
fn short_id(text: &str) -> &str {
    let is_id = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { super::members::short(text) } else { text }
}
