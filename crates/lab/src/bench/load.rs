//! The applications of a measurement: those that publish, and on each node one that receives.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rumormill::{Incoming, Node, PeerId, PublishError, Received, Subscription};
use tokio::time::{Instant, sleep_until};

use super::delays::Seen;
use super::order::{Place, Sequence};
use super::plan::{Pace, Plan};
use super::source::{Budget, Phase, Source};
use super::stamp::Stamp;

/// The topic of all messages.
const TOPIC: &str = "bench";
/// Calls of `publish` of one publisher that wait for their answer at once.
const CALLS: usize = 512;
/// Deliveries that are taken before the others get their turn.
const TURN: usize = 512;

/// Publishes all that the source gives. Ends with the first error.
async fn publish(node: Node, source: Source) -> Result<(), PublishError> {
    source
        .map(|payload| node.publish(TOPIC, payload))
        .buffer_unordered(CALLS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}

/// Publishes at a set rate, the publishers in turn. A message is handed over when its time has
/// come, whether or not those before it were taken.
async fn publish_evenly(nodes: Vec<Node>, plan: Plan, phase: Phase, rate: f64) -> Publishing {
    let mut budget = Budget::new(plan.messages(), plan.time());
    let start = Instant::now();
    let mut calls = FuturesUnordered::new();
    for n in 0u64.. {
        #[allow(clippy::cast_precision_loss)] // Far below 2^52 messages.
        let due = start + Duration::from_secs_f64(n as f64 / rate);
        while Instant::now() < due {
            tokio::select! {
                () = sleep_until(due) => {}
                Some(result) = calls.next() => drop(result?),
            }
        }
        if budget.take(1) == 0 {
            break;
        }
        let Ok(publisher) = usize::try_from(n % plan.publishers as u64) else { break };
        let Some(node) = nodes.get(publisher) else { break };
        let mut payload = vec![0; plan.payload];
        let number = phase.board.publish(publisher, 1);
        phase.stamp(publisher, number, &mut payload);
        calls.push(node.publish(TOPIC, payload));
        if budget.is_spent() {
            break;
        }
    }
    while calls.next().await.transpose()?.is_some() {}
    Ok(())
}

/// What publishing comes to.
pub(crate) type Publishing = Result<(), PublishError>;

/// Publishes as planned.
pub(crate) async fn publish_all(nodes: Vec<Node>, plan: Plan, phase: Phase) -> Publishing {
    let window = match plan.pace {
        Pace::Window(window) => window,
        Pace::Rate(rate) => return publish_evenly(nodes, plan, phase, rate).await,
    };
    let mut tasks = tokio::task::JoinSet::new();
    for (publisher, node) in nodes.into_iter().enumerate() {
        let source = Source {
            phase: phase.clone(),
            publisher,
            window,
            budget: Budget::new(plan.share(publisher), plan.time()),
            payload: vec![0; plan.payload],
            room: 0,
        };
        tasks.spawn(publish(node, source));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or(Err(rumormill::Stopped.into()))?;
    }
    Ok(())
}

/// What the subscriber of one node found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Delays, in the phase that is measured.
    pub(crate) seen: Seen,
    /// Messages that came after a later one of their publisher.
    pub(crate) late: u64,
    /// Messages that came again.
    pub(crate) again: u64,
    /// Messages that the subscription lost.
    pub(crate) lost: u64,
    /// Deliveries that nobody here has published.
    pub(crate) foreign: u64,
}

impl Found {
    /// Puts two together.
    pub(crate) fn add(&mut self, other: &Found) {
        self.seen.add(&other.seen);
        self.late += other.late;
        self.again += other.again;
        self.lost += other.lost;
        self.foreign += other.foreign;
    }
}

/// The subscriber of one node.
#[derive(Debug)]
pub(crate) struct Subscriber {
    node: usize,
    publishers: Arc<Vec<PeerId>>,
    phases: Arc<Vec<Phase>>,
    /// Bytes that every payload has.
    payload: usize,
    sequences: Vec<Sequence>,
    /// Deliveries that the boards do not know of yet, by phase and publisher.
    fresh: Vec<Vec<u64>>,
    found: Found,
}

impl Subscriber {
    pub(crate) fn new(
        node: usize,
        publishers: &Arc<Vec<PeerId>>,
        phases: &Arc<Vec<Phase>>,
        payload: usize,
        seen: Seen,
    ) -> Self {
        Subscriber {
            node,
            publishers: publishers.clone(),
            phases: phases.clone(),
            payload,
            sequences: publishers.iter().map(|_| Sequence::default()).collect(),
            fresh: vec![vec![0; publishers.len()]; phases.len()],
            found: Found { seen, late: 0, again: 0, lost: 0, foreign: 0 },
        }
    }

    /// Takes deliveries until the node ends. What has arrived is taken in one go, and told to the
    /// boards once.
    pub(crate) async fn run(mut self, mut subscription: Subscription) -> Found {
        while let Some(first) = subscription.recv().await {
            self.take(first);
            let mut taken = 1;
            while taken < TURN
                && let Some(next) = subscription.try_recv()
            {
                self.take(next);
                taken += 1;
            }
            self.tell();
            if taken == TURN {
                tokio::task::yield_now().await;
            }
        }
        self.found
    }

    fn take(&mut self, received: Received) {
        match received {
            Received::Message(incoming) => {
                if self.check(&incoming).is_none() {
                    self.found.foreign += 1;
                }
            }
            Received::Gap(gap) => self.found.lost += gap.to - gap.from,
            Received::CaughtUp => {}
        }
    }

    /// Checks and counts a delivery; `None` if it is nobody's here.
    fn check(&mut self, incoming: &Incoming) -> Option<()> {
        let (id, payload) = (incoming.message.id(), incoming.message.payload());
        let stamp = Stamp::read(payload)?;
        let publisher = usize::try_from(stamp.publisher).ok()?;
        let number = usize::try_from(stamp.phase).ok()?;
        let phase = self.phases.get(number)?;
        if payload.len() != self.payload {
            return None;
        }
        if *self.publishers.get(publisher)? != id.publisher {
            return None;
        }
        match self.sequences.get_mut(publisher)?.take(id.epoch, id.sequence) {
            Place::InOrder => {}
            Place::Late => self.found.late += 1,
            Place::Again => {
                self.found.again += 1;
                return Some(());
            }
        }
        *self.fresh.get_mut(number)?.get_mut(publisher)? += 1;
        // The last phase is the one that is measured; one's own messages have no way to go.
        let timed = phase.ways.times(stamp.number) && incoming.neighbour.is_some();
        if timed && number + 1 == self.phases.len() {
            phase.ways.arrived(&stamp, phase.clock.now(), &mut self.found.seen);
        }
        Some(())
    }

    fn tell(&mut self) {
        for (phase, fresh) in self.phases.iter().zip(&mut self.fresh) {
            for (publisher, n) in fresh.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                phase.board.got(self.node, publisher, std::mem::take(n));
            }
        }
    }
}
