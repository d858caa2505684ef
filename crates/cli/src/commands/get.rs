//! `rumor get`

use clap::Args;
use rumormill::proto::MessageId;
use rumormill_http::view::FullMessage;

use super::members::short;
use crate::control::NodeArgs;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::{escape, out, utc};

/// Get one message by its id, from this peer or a neighbour that has it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor get 3f…/1/0                      (id as `rumor messages` shows it)
  rumor get --raw ID > payload.bin")]
pub(crate) struct GetArgs {
    /// Id of the message: PEER/EPOCH/NUMBER
    id: MessageId,
    #[command(flatten)]
    node: NodeArgs,
    /// Write the payload and nothing else, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

pub(crate) async fn run(args: GetArgs) -> Outcome {
    let message = args.node.peer_client()?.message(args.id).await?;
    if args.node.json {
        out::json_pretty(&message)?;
    } else if args.raw {
        out::bytes(&payload(&message)?)?;
    } else {
        out::print(&line(&message)?)?;
    }
    Ok(Exit::Ok)
}

fn payload(message: &FullMessage) -> Outcome<Vec<u8>> {
    message.content.bytes().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "the node sent a message without content; is it another version?",
        )
    })
}

/// A message on one line, for people.
pub(crate) fn line(message: &FullMessage) -> Outcome<String> {
    let name = message.name.as_deref().unwrap_or_else(|| short(&message.publisher));
    let topic = match message.topic.as_str() {
        "" => String::new(),
        topic => format!(" ({})", escape::text(topic)),
    };
    Ok(format!(
        "{} {} #{}{topic}: {}\n",
        utc::clock(message.received_us.unwrap_or(message.published_us)),
        escape::text(name),
        message.sequence,
        escape::payload(&payload(message)?),
    ))
}
