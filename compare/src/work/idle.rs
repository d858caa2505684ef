//! A network in which nothing is published.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::load::{SETTLE, number};
use crate::metric::{Metric, Reading, Sample};
use crate::plan::Plan;
use crate::process;
use crate::systems::System;

/// Bytes per MiB.
const MIB: f64 = 1024.0 * 1024.0;

/// The least time that idle nodes are measured. It is longer than the intervals of periodic work,
/// such as pings every 15 s, so that all of it counts.
const MIN_TIME: Duration = Duration::from_secs(20);

/// How long idle nodes are measured.
pub(crate) fn time(plan: &Plan) -> Duration {
    plan.time().max(MIN_TIME)
}

/// Resident memory of this process, before the nodes are started.
pub(crate) fn memory_before() -> u64 {
    process::resident_bytes(std::process::id()).unwrap_or(0)
}

/// Measures the processor time and the memory of each node. What a server uses is divided by the
/// nodes as well.
pub(crate) async fn measure<S: System>(system: S, plan: &Plan, before: u64) -> Result<Sample> {
    system.wait_until_ready().await?;
    sleep(SETTLE).await;
    let server = system.server_pid();
    let cpu = || match server {
        Some(pid) => Some(process::own_cpu_seconds() + process::cpu_seconds(pid)?),
        None => Some(process::own_cpu_seconds()),
    };
    let no_time = "the system does not report the processor time of the server";
    let (start, cpu_before) = (Instant::now(), cpu().context(no_time)?);
    sleep(time(plan)).await;
    let (seconds, cpu_after) = (start.elapsed().as_secs_f64(), cpu().context(no_time)?);
    let own = memory_before().saturating_sub(before);
    let memory = own + server.and_then(process::resident_bytes).unwrap_or(0);
    system.stop().await;
    let nodes = number(plan.nodes as u64);
    Ok(Sample::from([
        (Metric::CpuPerNodeMs, Reading::Value((cpu_after - cpu_before) * 1e3 / seconds / nodes)),
        (Metric::MemoryPerNodeMib, Reading::Value(number(memory) / MIB / nodes)),
    ]))
}
