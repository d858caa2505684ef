//! Publishing, and the costs of a phase.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::metric::{Metric, Reading, Sample};
use crate::plan::Plan;
use crate::process;
use crate::scoreboard::{Phase, Scoreboard};
use crate::systems::{Publisher, System};

/// A phase in which nothing arrives for this time has lost what is missing.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// How often the end of a phase is checked; the time of the last delivery is exact to this.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);
/// Time for duplicates that are still in flight when every node has every message.
const LATE_DUPLICATES: Duration = Duration::from_millis(200);
/// How long a call of `publish` may wait after the end of publishing.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
const NO_ROOM: &str = "a node accepts no more messages";
/// How long the network is left alone when it is ready.
pub(crate) const SETTLE: Duration = Duration::from_secs(3);
/// How long the warm-up publishes.
const WARM_UP: Duration = Duration::from_secs(1);
/// Messages of each publisher in flight in the warm-up.
const WARM_UP_WINDOW: u64 = 16;

/// A network of one system that is ready for work.
#[derive(Debug)]
pub(crate) struct Network<S> {
    system: S,
    scoreboard: Scoreboard,
}

/// What a phase took.
#[derive(Debug, Clone, Copy)]
struct Costs {
    cpu_seconds: f64,
    bytes_sent: Option<u64>,
}

impl<S: System> Network<S> {
    /// A network of started nodes, which record in the scoreboard.
    pub(crate) const fn new(system: S, scoreboard: Scoreboard) -> Self {
        Network { system, scoreboard }
    }

    fn publishers(&self, plan: &Plan) -> Result<Vec<S::Publisher>> {
        let publisher = |home| self.system.publisher(home).context("a publisher has no node");
        plan.homes().into_iter().map(publisher).collect()
    }

    /// Waits until the network is ready, and publishes a little.
    pub(crate) async fn warm_up(&self, plan: &Plan) -> Result<()> {
        self.system.wait_until_ready().await?;
        sleep(SETTLE).await;
        let phase = self.scoreboard.warm_up();
        let publishing = publish_window(self, phase, plan, WARM_UP, WARM_UP_WINDOW);
        run_phase(phase, publishing).await?;
        ensure!(phase.received() > 0, "no message of the warm-up has arrived");
        Ok(())
    }

    /// Publishes with a window for the time of the plan, and measures until the last delivery.
    pub(crate) async fn publish_window(&self, plan: &Plan) -> Result<Sample> {
        let phase = self.scoreboard.measurement();
        self.measure(plan, phase, publish_window(self, phase, plan, plan.time(), plan.window)).await
    }

    /// Publishes at the rate of the plan, and measures until the last delivery.
    pub(crate) async fn publish_at_rate(&self, plan: &Plan) -> Result<Sample> {
        let phase = self.scoreboard.measurement();
        self.measure(plan, phase, publish_at_rate(self, phase, plan)).await
    }

    async fn measure(
        &self,
        plan: &Plan,
        phase: &Phase,
        publishing: impl Future<Output = Result<()>>,
    ) -> Result<Sample> {
        let before = self.costs().await?;
        let time = run_phase(phase, publishing).await?;
        let after = self.costs().await?;
        sleep(LATE_DUPLICATES).await;
        ensure!(
            phase.foreign() == 0,
            "nodes received {} payloads that no publisher has sent",
            phase.foreign()
        );
        let received = phase.received();
        ensure!(received > 0, "no message has arrived");
        let mut sample = Sample::new();
        let mut set = |metric, value| {
            sample.insert(metric, Reading::Value(value));
        };
        set(Metric::DeliveriesPerSecond, per(number(received), time.as_secs_f64()));
        set(Metric::Lost, number(phase.expected().saturating_sub(received)));
        set(Metric::Duplicates, number(phase.duplicates()));
        let cpu = after.cpu_seconds - before.cpu_seconds;
        set(Metric::CpuPerDeliveryUs, per(cpu * 1e6, number(received)));
        if let (Some(before), Some(after)) = (before.bytes_sent, after.bytes_sent) {
            let payload = number(received) * number(plan.payload as u64);
            set(
                Metric::BytesSentPerPayloadByte,
                per(number(after.saturating_sub(before)), payload),
            );
        }
        Ok(sample)
    }

    async fn costs(&self) -> Result<Costs> {
        let server = match self.system.server_pid() {
            Some(pid) => process::cpu_seconds(pid)
                .context("the system does not report the processor time of the server")?,
            None => 0.0,
        };
        let bytes_sent = self.system.bytes_sent().await?;
        Ok(Costs { cpu_seconds: process::own_cpu_seconds() + server, bytes_sent })
    }

    /// The delays of last deliveries, in nanoseconds.
    pub(crate) fn last_delays(&self) -> impl Iterator<Item = u64> + '_ {
        self.scoreboard.measurement().last_delays()
    }

    /// Ends all nodes.
    pub(crate) async fn stop(self) {
        self.system.stop().await;
    }
}

#[allow(clippy::cast_precision_loss)] // Far below 2^52.
pub(crate) const fn number(n: u64) -> f64 {
    n as f64
}

/// A quotient; 0 if there is nothing to divide by.
fn per(value: f64, by: f64) -> f64 {
    if by > 0.0 { value / by } else { 0.0 }
}

/// Each publisher publishes as fast as its window of messages in flight permits.
async fn publish_window<S: System>(
    network: &Network<S>,
    phase: &Arc<Phase>,
    plan: &Plan,
    time: Duration,
    window: u64,
) -> Result<()> {
    let (until, bytes) = (Instant::now() + time, plan.payload);
    let mut publishing = JoinSet::new();
    for (number, publisher) in network.publishers(plan)?.into_iter().enumerate() {
        let phase = phase.clone();
        publishing.spawn(async move {
            while let Ok(free) = timeout_at(until, phase.free_window(number, window)).await {
                for _ in 0..free {
                    if Instant::now() >= until {
                        return Ok(());
                    }
                    let payload = phase.next_payload(number, bytes);
                    let published = timeout_at(until + PUBLISH_TIMEOUT, publisher.publish(payload));
                    published.await.context(NO_ROOM)??;
                }
            }
            Ok(())
        });
    }
    all_ended(publishing).await
}

/// Waits until all tasks have ended. Gives the first error.
async fn all_ended(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(result) = tasks.join_next().await {
        result.map_err(|e| anyhow!("a publisher ended: {e}"))??;
    }
    Ok(())
}

/// The publishers publish in turn. Each message is published when it is due, whether or not the
/// calls for earlier messages have returned.
async fn publish_at_rate<S: System>(
    network: &Network<S>,
    phase: &Phase,
    plan: &Plan,
) -> Result<()> {
    let publishers = network.publishers(plan)?;
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    for (n, (number, publisher)) in
        (0..plan.messages_at_rate()).zip(publishers.iter().enumerate().cycle())
    {
        sleep_until(start + Duration::from_secs_f64(self::number(n as u64) / plan.rate)).await;
        let payload = phase.next_payload(number, plan.payload);
        let publisher = publisher.clone();
        calls.spawn(async move { publisher.publish(payload).await });
    }
    timeout(PUBLISH_TIMEOUT, all_ended(calls)).await.context(NO_ROOM)?
}

/// Waits until all messages are published and have arrived everywhere, or nothing arrives any more.
/// Gives the time from the start to the last delivery.
async fn run_phase(
    phase: &Phase,
    publishing: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    let start = Instant::now();
    let mut publishing = std::pin::pin!(publishing);
    let mut all_published = false;
    let (mut received, mut last) = (0, start);
    loop {
        tokio::select! {
            result = &mut publishing, if !all_published => {
                result?;
                all_published = true;
            }
            () = sleep(CHECK_INTERVAL) => {}
        }
        let now = Instant::now();
        if phase.received() != received {
            (received, last) = (phase.received(), now);
        }
        if all_published {
            if received > phase.expected() {
                bail!("more deliveries were counted than are possible");
            }
            if received == phase.expected() || now - last.max(start) > LOST_AFTER {
                return Ok(last - start);
            }
        }
    }
}
