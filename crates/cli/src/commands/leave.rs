//! `rumor leave`

use std::time::Duration;

use clap::Args;
use rumormill_http::limits::MAX_EXIT_TIME;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::out;
use rumormill_units::duration;

use crate::control::NodeArgs;

/// Make a running peer hand over what it published and end, or a seed stop
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor leave
  rumor leave --node peer-03

The exit code is 8 if no other node is known to hold the last messages that the peer published,
or that others handed over to it while it was leaving.")]
pub(crate) struct LeaveArgs {
    /// How long it may take [default: --leave-within of the peer]
    #[arg(long, value_name = "TIME", value_parser = exit_time)]
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

fn exit_time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    if time > MAX_EXIT_TIME {
        return Err(format!("it must be at most {}", duration::show(MAX_EXIT_TIME)));
    }
    Ok(time)
}
