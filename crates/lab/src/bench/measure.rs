//! The network under load, from its first node to its last.

use std::sync::Arc;
use std::time::Duration;

use rumormill::{PeerId, PublisherView, Subscription};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::cost::cpu_seconds;
use super::delays::Seen;
use super::drive::{Driven, broken, drive, phase};
use super::load::{self, Found, Subscriber};
use super::network::{Network, Traffic};
use super::plan::Plan;
use super::progress::Progress;
use super::source::Phase;
use super::stamp::Clock;
use rumormill_launch::args::NetworkArgs;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::usage::Usage;

/// Time for copies that are still under way when everybody has everything.
const AFTERMATH: Duration = Duration::from_millis(100);

/// What was measured on the network.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Links of the overlay when all had joined.
    pub(crate) links: usize,
    /// Seconds until then.
    pub(crate) joined_seconds: f64,
    pub(crate) driven: Driven,
    /// Deliveries to other nodes than the publisher's.
    pub(crate) deliveries: u64,
    /// Who lacks what at the end.
    pub(crate) behind: Vec<Behind>,
    /// Traffic of what was measured.
    pub(crate) traffic: Traffic,
    pub(crate) found: Found,
    pub(crate) memory: Memory,
    /// The fewest nodes that a node took to be alive at the end.
    pub(crate) alive_min: u32,
}

/// A node that has not got all of a publisher's messages at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Behind {
    pub(crate) node: usize,
    pub(crate) publisher: usize,
    /// Messages that its subscriber has not got.
    pub(crate) missing: u64,
    /// What the node itself says that it has received of it.
    pub(crate) received: Vec<PublisherView>,
}

/// Resident memory of this process in KiB, if the system tells.
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
) -> Outcome<Measured> {
    let before = resident();
    let start = Instant::now();
    progress.show(&format!("{} nodes join", plan.nodes));
    let (network, subscriptions) = Network::start(plan.nodes, plan.seeds, args).await?;
    let links = network.joined().await?;
    let joined_seconds = start.elapsed().as_secs_f64();
    progress.show("the network settles");
    sleep(plan.settle).await;
    let settled = resident();

    let load = Load::start(plan, &network, subscriptions)?;
    if !plan.idle && !plan.warmup.is_zero() {
        load.publish(&plan.warming_up(), 0, "warm-up", progress).await?;
    }
    let traffic = network.traffic().await?;
    let driven = if plan.idle {
        progress.show("nothing is published");
        let (start, before) = (Instant::now(), cpu_seconds());
        sleep(plan.time()).await;
        let seconds = start.elapsed().as_secs_f64();
        Driven { published: 0, got: 0, seconds, cpu_seconds: cpu_seconds() - before }
    } else {
        load.publish(plan, 1, "network", progress).await?
    };
    // What others have sent already and was still on its way then is counted, too.
    sleep(AFTERMATH).await;
    let traffic = network.traffic().await?.since(&traffic);
    let memory = Memory { before, settled, end: resident() };
    let alive_min = network.alive_min().await?;
    let behind = load.behind(&network).await;
    network.end().await;
    let deliveries = load.deliveries(plan);
    let found = load.end().await?;
    Ok(Measured {
        links,
        joined_seconds,
        driven,
        deliveries,
        behind,
        traffic,
        found,
        memory,
        alive_min,
    })
}

/// The applications on a network.
#[derive(Debug)]
struct Load {
    /// Those that publish.
    homes: Vec<rumormill::Node>,
    /// The warm-up, and what is measured.
    phases: Arc<Vec<Phase>>,
    subscribers: Vec<JoinHandle<Found>>,
}

impl Load {
    fn start(plan: &Plan, network: &Network, subscriptions: Vec<Subscription>) -> Outcome<Self> {
        let homes: Vec<rumormill::Node> =
            (0..plan.publishers).filter_map(|p| network.peers.get(plan.home(p)).cloned()).collect();
        let ids: Arc<Vec<PeerId>> = Arc::new(homes.iter().map(rumormill::Node::id).collect());
        let clock = Clock::start();
        let new = |number| phase(number, plan.nodes, (plan.publishers, 1), plan.one_in(), clock);
        let phases = Arc::new(vec![new(0), new(1)]);
        let mut subscribers = Vec::new();
        for (node, subscription) in subscriptions.into_iter().enumerate() {
            let seen = Seen::new().map_err(|e| broken("the network", e))?;
            let subscriber = Subscriber::new(node, &ids, &phases, plan.payload, seen);
            subscribers.push(tokio::spawn(subscriber.run(subscription)));
        }
        Ok(Load { homes, phases, subscribers })
    }

    async fn publish(
        &self,
        plan: &Plan,
        number: usize,
        what: &str,
        progress: &mut Progress,
    ) -> Outcome<Driven> {
        let Some(phase) = self.phases.get(number) else { return Err(broken(what, "no phase")) };
        let publishing = load::publish_all(self.homes.clone(), plan.clone(), phase.clone());
        let publishing = async { publishing.await.map_err(|e| broken("cannot publish", e)) };
        drive(what, &phase.board, publishing, progress).await
    }

    /// Deliveries of what was measured, to other nodes than the publisher's.
    fn deliveries(&self, plan: &Plan) -> u64 {
        self.phases.last().map_or(0, |phase| {
            let own = (0..plan.publishers).map(|p| phase.board.got_by(plan.home(p), p));
            phase.board.got_in_all().saturating_sub(own.sum())
        })
    }

    /// Who lacks what was measured: if somebody does, that is where to look.
    async fn behind(&self, network: &Network) -> Vec<Behind> {
        let mut behind = Vec::new();
        for (node, publisher, missing) in
            self.phases.last().map_or_else(Vec::new, |p| p.board.behind())
        {
            let (Some(peer), Some(home)) = (network.peers.get(node), self.homes.get(publisher))
            else {
                continue;
            };
            // A stopped peer has no figures: it is listed as behind, without them.
            let all = peer.publishers().await.unwrap_or_default();
            let of = all.into_iter().filter(|v| v.publisher == home.id());
            behind.push(Behind { node, publisher, missing, received: of.collect() });
        }
        behind
    }

    /// What all subscribers found together. The nodes have ended.
    async fn end(self) -> Outcome<Found> {
        let mut all: Option<Found> = None;
        for subscriber in self.subscribers {
            let found = subscriber.await.map_err(|e| broken("a subscriber", e))?;
            match &mut all {
                Some(all) => all.add(&found),
                None => all = Some(found),
            }
        }
        all.ok_or_else(|| broken("the network", "it has no nodes"))
    }
}
