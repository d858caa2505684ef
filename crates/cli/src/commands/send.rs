//! `rumor send`

use std::io::Read as _;

use clap::Args;
use rumormill::proto::limits::MAX_PAYLOAD;
use rumormill_http::view::{Content, Publish};

use crate::control::NodeArgs;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::out;

/// Publish a message through a running peer
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor send \"deploy finished\"
  rumor send --topic alerts \"disk full on db-3\"
  tar c notes | rumor send -              (reads standard input)")]
pub(crate) struct SendArgs {
    /// What to say; `-` reads standard input, byte for byte
    text: String,
    /// What it is about
    #[arg(long, short, default_value = "")]
    topic: String,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: SendArgs) -> Outcome {
    let client = args.node.peer_client()?;
    let payload = if args.text == "-" { read_stdin()? } else { args.text.into_bytes() };
    let request = Publish { topic: args.topic, content: Content::of(&payload) };
    let published = client.publish(&request).await?;
    if args.node.json {
        out::json_pretty(&published)?;
    } else {
        out::print(&format!("{}\n", published.id))?;
    }
    Ok(Exit::Ok)
}

fn read_stdin() -> Outcome<Vec<u8>> {
    let mut payload = Vec::new();
    let limit = MAX_PAYLOAD as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut payload).or_exit(Exit::Failed)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(Failure::new(
            Exit::Failed,
            format!("standard input is over {MAX_PAYLOAD} bytes; send it in pieces"),
        ));
    }
    Ok(payload)
}
