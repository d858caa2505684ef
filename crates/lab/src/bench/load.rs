//! The applications of a measurement: the publishers, and a subscriber on each node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rumormill::{Node, PeerId, PublishError, ReceivedMessage, Subscription, SubscriptionItem};
use tokio::time::{Instant, sleep_until};

use super::delays::NodeDelays;
use super::order::{Arrival, OrderChecker};
use super::plan::{Pace, Plan};
use super::source::{Budget, PayloadSource, Phase};
use super::stamp::Stamp;

/// The topic of all messages.
const TOPIC: &str = "bench";
/// Calls of `publish` of one publisher that wait for their result at once.
const MAX_CALLS: usize = 512;
/// Deliveries that a subscriber handles before other tasks run.
const MAX_DELIVERIES_PER_TURN: usize = 512;

/// Publishes all payloads of the source. Ends with the first error.
async fn publish(node: Node, source: PayloadSource) -> Result<(), PublishError> {
    source
        .map(|payload| node.publish(TOPIC, payload))
        .buffer_unordered(MAX_CALLS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}

/// Publishes at a set rate, the publishers in turn. Each message is published at its time, whether
/// or not the calls for earlier messages have returned.
async fn publish_evenly(nodes: Vec<Node>, plan: Plan, phase: Phase, rate: f64) -> PublishOutcome {
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
        let number = phase.scoreboard.publish(publisher, 1);
        phase.stamp(publisher, number, &mut payload);
        calls.push(node.publish(TOPIC, payload));
        if budget.is_spent() {
            break;
        }
    }
    while calls.next().await.transpose()?.is_some() {}
    Ok(())
}

/// The result of publishing.
pub(crate) type PublishOutcome = Result<(), PublishError>;

/// Publishes all messages of a phase.
pub(crate) async fn publish_all(nodes: Vec<Node>, plan: Plan, phase: Phase) -> PublishOutcome {
    let window = match plan.pace {
        Pace::Window(window) => window,
        Pace::Rate(rate) => return publish_evenly(nodes, plan, phase, rate).await,
    };
    let mut tasks = tokio::task::JoinSet::new();
    for (publisher, node) in nodes.into_iter().enumerate() {
        let source = PayloadSource {
            phase: phase.clone(),
            publisher,
            window,
            budget: Budget::new(plan.share(publisher), plan.time()),
            payload: vec![0; plan.payload],
            free: 0,
        };
        tasks.spawn(publish(node, source));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or(Err(rumormill::StoppedError.into()))?;
    }
    Ok(())
}

/// The checks of the subscriber of one node.
#[derive(Debug)]
pub(crate) struct SubscriberResult {
    /// Delays, in the phase that is measured.
    pub(crate) delays: NodeDelays,
    /// Messages that arrived after a later one of their publisher.
    pub(crate) late: u64,
    /// Messages that arrived again.
    pub(crate) duplicates: u64,
    /// Messages that the subscription lost.
    pub(crate) lost: u64,
    /// Deliveries that match no published message.
    pub(crate) foreign: u64,
}

impl SubscriberResult {
    /// Adds the results of another subscriber.
    pub(crate) fn add(&mut self, other: &SubscriberResult) {
        self.delays.add(&other.delays);
        self.late += other.late;
        self.duplicates += other.duplicates;
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
    order_checkers: Vec<OrderChecker>,
    /// Deliveries that the scoreboards do not have yet, by phase and publisher.
    unrecorded: Vec<Vec<u64>>,
    result: SubscriberResult,
}

impl Subscriber {
    pub(crate) fn new(
        node: usize,
        publishers: &Arc<Vec<PeerId>>,
        phases: &Arc<Vec<Phase>>,
        payload: usize,
        delays: NodeDelays,
    ) -> Self {
        Subscriber {
            node,
            publishers: publishers.clone(),
            phases: phases.clone(),
            payload,
            order_checkers: publishers.iter().map(|_| OrderChecker::default()).collect(),
            unrecorded: vec![vec![0; publishers.len()]; phases.len()],
            result: SubscriberResult { delays, late: 0, duplicates: 0, lost: 0, foreign: 0 },
        }
    }

    /// Handles deliveries until the node ends. All that have arrived are handled in one turn, and
    /// then recorded at once.
    pub(crate) async fn run(mut self, mut subscription: Subscription) -> SubscriberResult {
        while let Some(first) = subscription.recv().await {
            self.handle(first);
            let mut handled = 1;
            while handled < MAX_DELIVERIES_PER_TURN
                && let Some(next) = subscription.try_recv()
            {
                self.handle(next);
                handled += 1;
            }
            self.record();
            if handled == MAX_DELIVERIES_PER_TURN {
                tokio::task::yield_now().await;
            }
        }
        self.result
    }

    fn handle(&mut self, received: SubscriptionItem) {
        match received {
            SubscriptionItem::Message(incoming) => {
                if self.check(&incoming).is_none() {
                    self.result.foreign += 1;
                }
            }
            SubscriptionItem::Gap(gap) => self.result.lost += gap.to - gap.from,
            SubscriptionItem::CaughtUp => {}
        }
    }

    /// Checks and counts a delivery; `None` if it matches no published message.
    fn check(&mut self, incoming: &ReceivedMessage) -> Option<()> {
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
        match self.order_checkers.get_mut(publisher)?.record(id.epoch, id.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => self.result.late += 1,
            Arrival::Duplicate => {
                self.result.duplicates += 1;
                return Some(());
            }
        }
        *self.unrecorded.get_mut(number)?.get_mut(publisher)? += 1;
        // Only the last phase is measured, and a publisher's own messages have no delay.
        let timed = phase.tracker.is_timed(stamp.number) && incoming.neighbour.is_some();
        if timed && number + 1 == self.phases.len() {
            phase.tracker.record_arrival(&stamp, phase.clock.now(), &mut self.result.delays);
        }
        Some(())
    }

    fn record(&mut self) {
        for (phase, counts) in self.phases.iter().zip(&mut self.unrecorded) {
            for (publisher, n) in counts.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                phase.scoreboard.record_received(self.node, publisher, std::mem::take(n));
            }
        }
    }
}
