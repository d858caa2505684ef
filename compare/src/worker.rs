//! One piece of work over one system, in a process of its own: memory and processor time are then
//! those of this work alone.

use anyhow::Result;

use crate::metric::Sample;
use crate::plan::{Job, Work};
use crate::scoreboard::Scoreboard;
use crate::systems::gossipsub::Gossipsub;
use crate::systems::iroh::IrohGossip;
use crate::systems::nats::Nats;
use crate::systems::rumormill::Rumormill;
use crate::systems::{Setup, System, SystemKind};
use crate::work::load::Network;
use crate::work::{delay, detection, idle, throughput};

/// Does the work.
///
/// # Errors
/// The nodes cannot be started, or do not do what they should.
pub(crate) async fn run(job: &Job) -> Result<Sample> {
    if job.work == Work::Detection {
        return detection::measure(job.system, &job.plan).await;
    }
    match job.system {
        SystemKind::Rumormill => run_system::<Rumormill>(job).await,
        SystemKind::Gossipsub => run_system::<Gossipsub>(job).await,
        SystemKind::IrohGossip => run_system::<IrohGossip>(job).await,
        SystemKind::Nats => run_system::<Nats>(job).await,
        SystemKind::Serf => anyhow::bail!("serf is compared for failure detection only"),
    }
}

async fn run_system<S: System>(job: &Job) -> Result<Sample> {
    let plan = &job.plan;
    let memory = idle::memory_before();
    let timed = match job.work {
        // The publishers publish in turn, so none publishes more than this.
        Work::Delay => plan.messages_at_rate().div_ceil(plan.publishers.max(1)),
        _ => throughput::TIMED,
    };
    let scoreboard = Scoreboard::new(plan.nodes, &plan.homes(), plan.payload, timed);
    let setup = Setup { payload: plan.payload, scratch: job.scratch.clone() };
    let system = S::start(&setup, scoreboard.sinks()).await?;
    match job.work {
        Work::Throughput => throughput::measure(Network::new(system, scoreboard), plan).await,
        Work::Delay => delay::measure(Network::new(system, scoreboard), plan).await,
        Work::Idle | Work::Detection => idle::measure(system, plan, memory).await,
    }
}
