//! `rumor leave`

use clap::Args;

use crate::control::NodeArgs;
use crate::exit::{Exit, Outcome};
use crate::out;

/// Make a running peer say goodbye and end, or a seed stop
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor leave
  rumor leave --node peer-03")]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) async fn run(args: LeaveArgs) -> Outcome {
    args.node.client()?.leave().await?;
    if args.node.json {
        out::json_pretty(&serde_json::json!({ "left": true }))?;
    } else {
        out::print("it has left\n")?;
    }
    Ok(Exit::Ok)
}
