//! `rumor up`: a whole network on one machine, watched from its start to its summary.

mod casualties;
mod director;
mod fleet;
mod inside;
mod ledger;
mod names;
mod outside;
mod plan;
mod progress;
mod run;
mod seen;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumormill::proto::SeedAddress;
use tokio::sync::mpsc;

use crate::log::{Console, LogArgs, Logs};
use crate::settings;
use fleet::{Fleet, SIGHTS};
use inside::Inside;
use names::Names;
use outside::Outside;
use plan::Plan;
pub(crate) use plan::{Length, Volley, Wishes};
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::control::HttpArgs;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::signals::StopSignals;
use run::Run;

/// Where a run is found, and looked at.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) http: HttpArgs,
    pub(crate) run_dir: Option<PathBuf>,
}

/// Runs a network as wished, and says how it went.
pub(crate) async fn run(
    wishes: Wishes,
    network: &NetworkArgs,
    place: &Place,
    log: &LogArgs,
    json: bool,
) -> Outcome {
    let run_dir = place.run_dir.as_deref();
    let plan = Plan::new(&wishes, network.common.preset)?;
    let configured = wishes.config.as_deref().map(configured_seeds).transpose()?;
    let seeds = configured.as_ref().map_or(wishes.seeds.unwrap_or(3), Vec::len);
    warn_of_few_files(&wishes, seeds);
    let stops = StopSignals::catch()?;
    let names = Names::new(wishes.peers, seeds);
    let (sender, sights) = mpsc::channel(SIGHTS);
    let logs = if wishes.processes {
        // The children write their own.
        None
    } else {
        Some(Logs::start(log, Console::Program, crate::log::Limits::MANY)?)
    };
    let run = Run::begin(plan, seeds, wishes.processes, network.common.preset)?;
    let fleet = match &logs {
        Some(logs) => Fleet::Inside(Arc::new(
            Inside::start(&names, configured.as_deref(), network, place, logs, &sender).await?,
        )),
        None => Fleet::Outside(Arc::new(
            Outside::start(&names, configured.as_deref(), network, run_dir, log, &sender).await?,
        )),
    };
    let summary = run.watch(fleet.clone(), sender, sights, stops).await;
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

/// The seeds of a file. A pin would need the identity it means, and every node of a run has a new
/// one.
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

/// In one process every link has both of its ends here.
fn warn_of_few_files(wishes: &Wishes, seeds: usize) {
    if wishes.processes {
        return;
    }
    // Two ends of 4 links and of 3 registrations each, a listener, and two logs.
    let needed = 64 + 20 * wishes.peers as u64 + 3 * seeds as u64;
    if let Some(limit) = wishes.open_files.filter(|limit| *limit < needed) {
        out::say(format!(
            "rumor: about {needed} files will be open, but only {limit} may be; raise the limit \
             (ulimit -Hn), or use --processes"
        ));
    }
}
