//! `rumor-lab bench`: how fast a network of this library delivers, compared with a ceiling.

pub(crate) mod args;
mod ceiling;
mod cost;
mod delays;
mod figures;
mod load;
mod measure;
mod network;
mod numbers;
mod order;
mod out_queue;
mod phase_run;
mod plan;
mod progress;
mod relay;
mod relay_publisher;
mod report;
mod scoreboard;
mod source;
mod stamp;

use rumormill_launch::args::NetworkArgs;
use rumormill_terminal::exit::{Exit, Outcome};
use rumormill_terminal::open_files;
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::signals::StopSignals;

use args::BenchArgs;
use figures::Figures;
use plan::Plan;
use plan::{CeilingKind, Options};
use progress::Progress;

/// Measures as the command line says, and prints the figures.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    // Both ends of about six links for each node, and of its registrations; then the relay tree.
    let needed = 64 + args.nodes * (16 + 2 * args.seeds);
    if let Some(limit) = open_files::raise_limit().filter(|limit| *limit < needed) {
        out::say(format!(
            "rumor-lab: about {needed} files will be open, but only {limit} may be; raise the limit \
             (ulimit -Hn)"
        ));
    }
    let options = Options {
        nodes: size(args.nodes),
        seeds: size(args.seeds),
        publishers: args.publishers.map(size),
        payload: size(args.payload),
        messages: args.messages,
        time: args.length,
        rate: args.rate,
        window: args.window,
        warmup: args.warmup,
        settle: args.settle,
        idle: args.idle,
        ceiling: if args.no_ceiling { CeilingKind::None } else { args.ceiling },
    };
    run_plan(options, &args.network, args.json).await
}

async fn run_plan(options: Options, network: &NetworkArgs, json: bool) -> Outcome {
    let plan = Plan::new(&options)?;
    let mut stops = StopSignals::catch()?;
    let figures = tokio::select! {
        figures = measure(&plan, network) => figures?,
        () = stops.next() => {
            out::say("rumor-lab: interrupted; the measurement is incomplete and is not printed");
            return Ok(Exit::Interrupted);
        }
    };
    if json {
        out::json_pretty(&figures)?;
    } else {
        out::print(&figures.text(Paint::stdout()))?;
    }
    Ok(if figures.faults().is_empty() { Exit::Ok } else { Exit::Failed })
}

/// Measures the network first, because its memory is counted from that of the process without it.
async fn measure(plan: &Plan, network: &NetworkArgs) -> Outcome<Figures> {
    let mut progress = Progress::new();
    let measured = measure::measure(plan, network, &mut progress).await?;
    let ceiling = ceiling::measure(plan, &mut progress).await?;
    Ok(Figures::new(plan, network.common.preset, &measured, ceiling.as_ref()))
}
