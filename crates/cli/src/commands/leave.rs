//! `rumor leave`

use std::time::Duration;

use clap::Args;
use rumormill_units::duration;

use crate::control::NodeArgs;
use crate::exit::{Exit, Outcome};
use crate::out;

/// Make a running peer leave and end, or a seed stop
///
/// A peer leaves when another node has confirmed what it published. If that does not happen in time, it ends
/// all the same, and the exit code is 8.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor leave
  rumor leave --node peer-03")]
pub(crate) struct LeaveArgs {
    /// How long a peer may take to hand over what it published [default: what it was started with]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    within: Option<Duration>,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: LeaveArgs) -> Outcome {
    args.node.client()?.leave(args.within).await?;
    if args.node.json {
        out::json_pretty(&serde_json::json!({ "left": true }))?;
    } else {
        out::print("it has left\n")?;
    }
    Ok(Exit::Ok)
}
