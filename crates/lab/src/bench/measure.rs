//! The measurement of the network, from the start of its nodes to their end.

use std::sync::Arc;
use std::time::Duration;

use rumormill::{PeerId, PublisherView, Subscription};
use rumormill_launch::args::NetworkArgs;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::usage::Usage;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::cost::cpu_seconds;
use super::delays::NodeDelays;
use super::load::{self, Subscriber, SubscriberResult};
use super::network::{Network, Traffic};
use super::phase_run::{PhaseTotals, failure, new_phase, run_phase};
use super::plan::Plan;
use super::progress::Progress;
use super::source::Phase;
use super::stamp::Clock;

/// Time for redundant copies that are still in flight when every node has every message.
const LATE_COPIES: Duration = Duration::from_millis(100);

/// The result of the network.
#[derive(Debug)]
pub(crate) struct NetworkResult {
    /// Links of the overlay when all had joined.
    pub(crate) links: usize,
    /// Seconds until then.
    pub(crate) joined_seconds: f64,
    pub(crate) totals: PhaseTotals,
    /// Deliveries to other nodes than the publisher's.
    pub(crate) deliveries: u64,
    /// Nodes that lack messages at the end.
    pub(crate) incomplete_nodes: Vec<IncompleteNode>,
    /// Traffic during the measurement.
    pub(crate) traffic: Traffic,
    pub(crate) subscribers: SubscriberResult,
    pub(crate) memory: Memory,
    /// The fewest nodes that a node counted as alive at the end.
    pub(crate) alive_min: u32,
}

/// A node that has not received all messages of a publisher at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct IncompleteNode {
    pub(crate) node: usize,
    pub(crate) publisher: usize,
    /// Messages that its subscriber has not received.
    pub(crate) missing: u64,
    /// The node's own count of received messages of the publisher.
    pub(crate) received: Vec<PublisherView>,
}

/// Resident memory of this process in KiB, if the system reports it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Before the first node.
    pub(crate) before: Option<u64>,
    /// When the network had settled and nothing was published yet.
    pub(crate) settled: Option<u64>,
    /// At the end.
    pub(crate) end: Option<u64>,
}

fn resident() -> Option<u64> {
    Usage::of_this_process().map(|u| u.rss_kib)
}

/// Starts a network, measures it, and ends it.
pub(crate) async fn measure(
    plan: &Plan,
    args: &NetworkArgs,
    progress: &mut Progress,
) -> Outcome<NetworkResult> {
    let before = resident();
    let start = Instant::now();
    progress.show(format!("{} nodes join", plan.nodes));
    let (network, subscriptions) = Network::start(plan.nodes, plan.seeds, args).await?;
    let links = network.wait_until_joined().await?;
    let joined_seconds = start.elapsed().as_secs_f64();
    progress.show("the network settles");
    sleep(plan.settle).await;
    let settled = resident();

    let load = Load::start(plan, &network, subscriptions)?;
    if !plan.idle && !plan.warmup.is_zero() {
        load.publish(&plan.warming_up(), 0, "warm-up", progress).await?;
    }
    let traffic = network.traffic().await?;
    let totals = if plan.idle {
        progress.show("nothing is published");
        let (start, before) = (Instant::now(), cpu_seconds());
        sleep(plan.time()).await;
        let seconds = start.elapsed().as_secs_f64();
        PhaseTotals { published: 0, received: 0, seconds, cpu_seconds: cpu_seconds() - before }
    } else {
        load.publish(plan, 1, "network", progress).await?
    };
    // Copies that were in flight at the end of the phase are counted as well.
    sleep(LATE_COPIES).await;
    let traffic = network.traffic().await?.since(&traffic);
    let memory = Memory { before, settled, end: resident() };
    let alive_min = network.alive_min().await?;
    let incomplete_nodes = load.incomplete_nodes(&network).await;
    network.end().await;
    let deliveries = load.deliveries(plan);
    let subscribers = load.end().await?;
    Ok(NetworkResult {
        links,
        joined_seconds,
        totals,
        deliveries,
        incomplete_nodes,
        traffic,
        subscribers,
        memory,
        alive_min,
    })
}

/// The applications on a network.
#[derive(Debug)]
struct Load {
    /// The nodes that publish.
    publishers: Vec<rumormill::Node>,
    /// The warm-up, and the phase that is measured.
    phases: Arc<Vec<Phase>>,
    subscribers: Vec<JoinHandle<SubscriberResult>>,
}

impl Load {
    fn start(plan: &Plan, network: &Network, subscriptions: Vec<Subscription>) -> Outcome<Self> {
        let publishers: Vec<rumormill::Node> = (0..plan.publishers)
            .filter_map(|p| network.peers.get(plan.node_of(p)).cloned())
            .collect();
        let ids: Arc<Vec<PeerId>> = Arc::new(publishers.iter().map(rumormill::Node::id).collect());
        let clock = Clock::start();
        let new =
            |number| new_phase(number, plan.nodes, (plan.publishers, 1), plan.one_in(), clock);
        let phases = Arc::new(vec![new(0), new(1)]);
        let mut subscribers = Vec::new();
        for (node, subscription) in subscriptions.into_iter().enumerate() {
            let delays = NodeDelays::new().map_err(|e| failure("the network", e))?;
            let subscriber = Subscriber::new(node, &ids, &phases, plan.payload, delays);
            subscribers.push(tokio::spawn(subscriber.run(subscription)));
        }
        Ok(Load { publishers, phases, subscribers })
    }

    async fn publish(
        &self,
        plan: &Plan,
        number: usize,
        what: &str,
        progress: &mut Progress,
    ) -> Outcome<PhaseTotals> {
        let Some(phase) = self.phases.get(number) else { return Err(failure(what, "no phase")) };
        let publishing = load::publish_all(self.publishers.clone(), plan.clone(), phase.clone());
        let publishing = async { publishing.await.map_err(|e| failure("cannot publish", e)) };
        run_phase(what, &phase.scoreboard, publishing, progress).await
    }

    /// Deliveries of the measured phase, to other nodes than the publisher's.
    fn deliveries(&self, plan: &Plan) -> u64 {
        self.phases.last().map_or(0, |phase| {
            let own =
                (0..plan.publishers).map(|p| phase.scoreboard.received_by(plan.node_of(p), p));
            phase.scoreboard.total_received().saturating_sub(own.sum())
        })
    }

    /// The nodes that lack messages of the measured phase.
    async fn incomplete_nodes(&self, network: &Network) -> Vec<IncompleteNode> {
        let mut incomplete = Vec::new();
        for (node, publisher, missing) in
            self.phases.last().map_or_else(Vec::new, |p| p.scoreboard.missing())
        {
            let (Some(peer), Some(home)) =
                (network.peers.get(node), self.publishers.get(publisher))
            else {
                continue;
            };
            // A stopped peer reports no counts, and is listed without them.
            let all = peer.publishers().await.unwrap_or_default();
            let of = all.into_iter().filter(|v| v.publisher == home.id());
            incomplete.push(IncompleteNode { node, publisher, missing, received: of.collect() });
        }
        incomplete
    }

    /// The results of all subscribers together. The nodes must have ended.
    async fn end(self) -> Outcome<SubscriberResult> {
        let mut all: Option<SubscriberResult> = None;
        for subscriber in self.subscribers {
            let result = subscriber.await.map_err(|e| failure("a subscriber", e))?;
            match &mut all {
                Some(all) => all.add(&result),
                None => all = Some(result),
            }
        }
        all.ok_or_else(|| failure("the network", "it has no nodes"))
    }
}
