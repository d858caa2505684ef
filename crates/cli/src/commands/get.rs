//! `rumor get`

use clap::Args;
use rumormill::proto::MessageId;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out;

use crate::control::NodeArgs;
use crate::text::{message_line, payload};

/// Get one message by its id, from this peer or a neighbour that has it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor get 3f…/1/0                      (id as `rumor messages` shows it)
  rumor get --raw ID > payload.bin")]
pub(crate) struct GetArgs {
    /// Id of the message: PEER/EPOCH/SEQUENCE
    id: MessageId,
    #[command(flatten)]
    node: NodeArgs,
    /// Write only the payload, byte for byte
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
        out::print(&message_line(&message)?)?;
    }
    Ok(Exit::Ok)
}
