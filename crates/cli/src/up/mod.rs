//! `rumor up`: a whole network on one machine, from its start to the summary of the run.

mod deliveries;
mod event;
mod fault_log;
mod fleet;
mod in_process;
mod members;
mod names;
mod node_report;
mod options;
mod plan;
mod progress;
mod run;
mod subprocess;
mod summary;
mod web_control;

use std::path::Path;
use std::sync::Arc;

use rumormill::proto::SeedAddress;
use rumormill_launch::args::NetworkArgs;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::signals::StopSignals;
use tokio::sync::mpsc;

use crate::log::{Console, Limits, LogArgs, Logs};
use crate::settings;
use fleet::{EVENT_QUEUE, Fleet};
use in_process::InProcess;
use names::NodeNames;
pub(crate) use options::{ControlOptions, FaultSpec, Options, RunLength};
use plan::Plan;
use run::Run;
use subprocess::Subprocesses;

/// Seeds of a run unless the user names a number or a file.
const DEFAULT_SEEDS: usize = 3;

/// Runs a network, and prints how it went.
pub(crate) async fn run(
    options: Options,
    network: &NetworkArgs,
    control: &ControlOptions,
    log: &LogArgs,
    json: bool,
) -> Outcome {
    let run_dir = control.run_dir.as_deref();
    let plan = Plan::new(&options, network.common.preset)?;
    let configured = options.config.as_deref().map(configured_seeds).transpose()?;
    let seeds = configured.as_ref().map_or(options.seeds.unwrap_or(DEFAULT_SEEDS), Vec::len);
    warn_of_few_files(&options, seeds);
    let stops = StopSignals::catch()?;
    let names = NodeNames::new(options.peers, seeds);
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let logs = if options.processes {
        // Each child writes its own logs.
        None
    } else {
        Some(Logs::start(log, Console::Program, Limits::MANY)?)
    };
    let run = Run::begin(plan, seeds, options.processes, network.common.preset)?;
    let configured = configured.as_deref();
    let fleet: Arc<dyn Fleet> = match &logs {
        Some(logs) => {
            Arc::new(InProcess::start(&names, configured, network, control, logs, &sender).await?)
        }
        None => {
            Arc::new(Subprocesses::start(&names, configured, network, run_dir, log, &sender).await?)
        }
    };
    let summary = run.watch(Arc::clone(&fleet), sender, events, stops).await;
    fleet.end().await;
    if let Some(logs) = &logs {
        logs.flush();
    }
    let summary = summary?;
    if json {
        out::json_pretty(&summary)?;
    } else {
        out::print(&summary.text(Paint::stdout()))?;
    }
    Ok(match (summary.interrupted, summary.is_good()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Ok,
        (false, false) => Exit::Failed,
    })
}

/// The seeds of a file. None of them may be pinned: every node of a run has a new identity, and a
/// pin names an old one.
fn configured_seeds(path: &Path) -> Outcome<Vec<SeedAddress>> {
    let seeds = settings::read_seeds(path)?;
    if let Some(pinned) = seeds.iter().find(|s| s.pin.is_some()) {
        let message = format!(
            "{} pins {} to an id, but the seeds of `rumor up` get new ids each time; remove the \
             pins, or run `rumor seed --data-dir` and `rumor peer`",
            path.display(),
            pinned.host_port
        );
        return Err(Failure::new(Exit::Config, message));
    }
    Ok(seeds)
}

/// Warns if a run in one process, which holds both ends of every link, may open too few files.
fn warn_of_few_files(options: &Options, seeds: usize) {
    if options.processes {
        return;
    }
    // Two ends of 4 links and of 3 registrations each, a listener, and two logs.
    let needed = 64 + 20 * options.peers as u64 + 3 * seeds as u64;
    if let Some(limit) = options.open_files.filter(|limit| *limit < needed) {
        out::say(format!(
            "rumor: about {needed} files will be open, but only {limit} may be; raise the limit \
             (ulimit -Hn), or use --processes"
        ));
    }
}
