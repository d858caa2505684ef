//! The order of all measurements, each in a process of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::time::timeout;

use crate::metric::Sample;
use crate::plan::{Job, Plan, Work};
use crate::process::this_program;
use crate::report::Report;
use crate::systems::SystemKind;

/// Time that a piece of work may take besides the time of the plan.
const OVERHEAD_LIMIT: Duration = Duration::from_secs(180);

/// Does all work over all systems. The systems take turns, so that a change of the machine's load
/// does not meet one of them only.
pub(crate) async fn run(plan: Plan, runs: u32, works: &[Work], systems: &[SystemKind]) -> Report {
    let mut report = Report::new(plan, runs, systems);
    for &work in works {
        for run in 1..=runs {
            for system in report.measurable().into_iter().filter(|s| s.can(work)) {
                eprintln!("{} over {}, run {run} of {runs}", work.name(), system.name());
                let sample = run_worker(system, work, plan).await;
                if let Err(e) = &sample {
                    eprintln!("{} over {} failed: {e:#}", work.name(), system.name());
                }
                report.add(system, work, sample);
            }
        }
    }
    report
}

/// Does one piece of work in a new process, which ends with this future.
async fn run_worker(system: SystemKind, work: Work, plan: Plan) -> Result<Sample> {
    let scratch = tempfile::Builder::new().prefix("rumormill-compare-").tempdir();
    let scratch =
        scratch.context("cannot make a temporary directory; set TMPDIR to another one")?;
    let job = Job { system, work, plan, scratch: scratch.path().to_owned() };
    let mut command = this_program()?;
    command.arg("worker").arg("--parent").arg(std::process::id().to_string());
    command.arg("--job").arg(serde_json::to_string(&job)?);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().context("cannot start a process for the work")?;
    let limit = plan.time() * 2 + plan.detect_within() * 2 + OVERHEAD_LIMIT;
    let output = timeout(limit, child.wait_with_output()).await;
    let output = output.map_err(|_| anyhow!("it did not end within {} s", limit.as_secs()))??;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        match errors.trim() {
            "" => bail!("its process ended with {}", output.status),
            errors => bail!("{errors}"),
        }
    }
    // Remarks, such as of a subscription that lagged.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cannot read the result of the work")
}
