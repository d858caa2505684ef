//! The network as a page shows it. The nodes are polled, and the graph is drawn, only while a page
//! is connected.

mod collect;
mod picture;
mod rates;
mod tracker;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::future::join_all;
use rumormill::proto::snapshot::RetainedMessage;
use rumormill::proto::{MessageId, PeerId};
use rumormill::{Subscription, SubscriptionItem};
use rumormill_analysis::{Fit, FitOptions, Histogram};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::nodes::{Handle, Nodes, ServedNode};
use collect::Collector;
use picture::Picture;
use rates::Meter;
use tracker::SpreadTracker;
use view::{Degrees, MessageDot, NetworkView, Rates, Spread};

/// How often the nodes are polled.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// How often arrivals of messages are sent.
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(100);
/// How often the law is fitted at most.
const FIT_INTERVAL: Duration = Duration::from_secs(3);
/// Fewest peers whose degrees are fitted: with fewer, the exponent means nothing.
const MIN_FITTED_PEERS: u64 = 30;
/// Items that a slow reader may be behind.
const MAX_BEHIND: usize = 256;
/// Rounds of rates that are kept for the next page.
const RATES_HISTORY: usize = 240;
/// How long the work goes on after the last page has disconnected.
const LINGER: Duration = Duration::from_secs(5);
/// Messages of one peer that are searched for the duplicates of a message: as many as are tracked.
const MAX_SEARCHED: usize = 300;

/// An item of the stream: its name, and JSON.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) name: &'static str,
    pub(crate) json: Arc<str>,
}

impl Item {
    fn new(name: &'static str, value: &impl Serialize) -> Self {
        // The views hold nothing that JSON cannot say.
        Item { name, json: serde_json::to_string(value).unwrap_or_default().into() }
    }
}

/// The latest items, which a new page gets first.
#[derive(Debug, Default)]
struct Latest {
    network: Option<Item>,
    degrees: Option<Item>,
    rates: Vec<Rates>,
    task: Option<JoinHandle<()>>,
}

/// The network of the nodes that one server serves.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: Arc<Nodes>,
    items: broadcast::Sender<Item>,
    latest: Mutex<Latest>,
    tracker: Arc<SpreadTracker>,
}

impl Network {
    pub(crate) fn new(nodes: Arc<Nodes>) -> Arc<Self> {
        Arc::new(Network {
            nodes,
            items: broadcast::Sender::new(MAX_BEHIND),
            latest: Mutex::default(),
            tracker: Arc::default(),
        })
    }

    fn latest<T>(&self, f: impl FnOnce(&mut Latest) -> T) -> T {
        f(&mut self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The latest items, and a receiver of further ones. The first subscriber starts the work.
    pub(crate) fn subscribe(self: &Arc<Self>) -> (Vec<Item>, broadcast::Receiver<Item>) {
        // In one step, so that no item is sent twice and none is left out.
        let (messages, receiver) = self.tracker.messages_with(|| self.items.subscribe());
        let mut items: Vec<Item> = self.latest(|l| {
            if l.task.as_ref().is_none_or(JoinHandle::is_finished) {
                l.task = Some(tokio::spawn(run(Arc::clone(self))));
            }
            let mut items: Vec<Item> =
                [&l.network, &l.degrees].into_iter().flatten().cloned().collect();
            items.extend(l.rates.iter().map(|r| Item::new("rates", r)));
            items
        });
        items.extend(messages.iter().map(|m| Item::new("message", m)));
        (items, receiver)
    }

    /// The network at this moment.
    pub(crate) async fn current_view(self: &Arc<Self>) -> NetworkView {
        let mut collector = Collector::default();
        let nodes = self.nodes.all();
        // The first round sends the requests, the second one collects the answers.
        collector.round(&nodes, now_us()).await;
        sleep(ROUND_INTERVAL / 2).await;
        let mut view = collector.round(&nodes, now_us()).await.view;
        Picture::new().place(&mut view);
        view
    }

    /// The messages that were published while a page was connected, oldest first.
    pub(crate) fn messages(&self) -> Vec<MessageDot> {
        self.tracker.messages_with(|| ()).0
    }

    /// One of them, and the peers that it has reached.
    pub(crate) async fn spread(&self, id: MessageId) -> Option<Spread> {
        let (message, arrivals) = self.tracker.get(&id)?;
        let got: BTreeSet<&str> = arrivals.iter().map(|a| a.peer.as_str()).collect();
        let (mut missing, mut asked) = (Vec::new(), Vec::new());
        for node in self.nodes.all() {
            let Handle::Peer(peer) = &node.handle else { continue };
            if !got.contains(node.id.to_hex().as_str()) {
                missing.push(node.name.clone());
            }
            let peer = peer.clone();
            // A frozen peer does not answer.
            asked.push(
                async move { timeout(ROUND_INTERVAL / 5, peer.messages(MAX_SEARCHED)).await },
            );
        }
        let again =
            |held: Vec<RetainedMessage>| held.iter().find(|m| m.id == id).map(|m| m.duplicates);
        let counts = join_all(asked).await.into_iter().flatten().flatten().filter_map(again);
        let duplicates = counts.map(u64::from).sum();
        Some(Spread { message, arrivals, missing, duplicates })
    }

    /// Discards the items and says so, if no page is connected. The next subscriber starts the work
    /// again.
    fn stop_if_unwatched(&self) -> bool {
        self.latest(|l| {
            let is_unwatched = self.items.receiver_count() == 0;
            if is_unwatched {
                self.tracker.clear();
                *l = Latest::default();
            }
            is_unwatched
        })
    }

    fn send(&self, item: Item) {
        // An error means that no page is connected.
        let _ = self.items.send(item);
    }
}

/// Polls, draws and sends while a page is connected, and for [`LINGER`] after that.
async fn run(network: Arc<Network>) {
    let mut rounds = interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrivals = interval(ARRIVALS_INTERVAL);
    arrivals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = LiveState::new();
    let mut last_watched = Instant::now();
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if network.items.receiver_count() > 0 {
                    last_watched = Instant::now();
                } else if last_watched.elapsed() > LINGER && network.stop_if_unwatched() {
                    return;
                }
                state.round(&network).await;
            }
            _ = arrivals.tick() => {
                network.tracker.send_round(|round| {
                    for m in &round.messages {
                        network.send(Item::new("message", m));
                    }
                    if !round.arrivals.is_empty() {
                        network.send(Item::new("arrivals", &round.arrivals));
                    }
                    if round.left_out > 0 {
                        network.send(Item::new("left_out", &round.left_out));
                    }
                });
            }
        }
    }
}

/// The state that is kept from round to round.
struct LiveState {
    collector: Collector,
    picture: Option<Picture>,
    meter: Meter,
    /// The task that reads the deliveries of each served peer.
    readers: BTreeMap<PeerId, JoinHandle<()>>,
    sent: Option<NetworkView>,
    counts: Vec<(u64, u64)>,
    fitted: Option<Instant>,
}

impl LiveState {
    fn new() -> Self {
        LiveState {
            collector: Collector::default(),
            picture: Some(Picture::new()),
            meter: Meter::default(),
            readers: BTreeMap::new(),
            sent: None,
            counts: Vec::new(),
            fitted: None,
        }
    }

    async fn round(&mut self, network: &Arc<Network>) {
        let (nodes, now) = (network.nodes.all(), now_us());
        self.read(&nodes, &network.tracker);
        let collected = self.collector.round(&nodes, now).await;
        let delays = network.tracker.take_delays();
        if let Some(rates) = self.meter.round(collected.counters, delays, collected.headroom, now) {
            network.send(Item::new("rates", &rates));
            network.latest(|l| {
                if l.rates.len() >= RATES_HISTORY {
                    l.rates.remove(0);
                }
                l.rates.push(rates);
            });
        }
        let view = self.draw(collected.view).await;
        self.degrees(&view, network).await;
        let changed = self.sent.as_mut().is_none_or(|sent| {
            sent.at_us = view.at_us;
            *sent != view
        });
        if changed {
            let item = Item::new("network", &view);
            network.latest(|l| l.network = Some(item.clone()));
            network.send(item);
            self.sent = Some(view);
        }
    }

    /// Places the peers. It takes up to a tenth of a second, so it runs beside the other tasks.
    async fn draw(&mut self, mut view: NetworkView) -> NetworkView {
        let mut picture = self.picture.take().unwrap_or_else(Picture::new);
        let unplaced = view.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            picture.place(&mut view);
            (picture, view)
        });
        match drawn.await {
            Ok((picture, view)) => {
                self.picture = Some(picture);
                view
            }
            Err(_) => unplaced,
        }
    }

    /// Subscribes to the messages of peers that are new here.
    fn read(&mut self, nodes: &[Arc<ServedNode>], tracker: &Arc<SpreadTracker>) {
        self.readers.retain(|id, task| {
            let here = nodes.iter().any(|n| n.id == *id);
            if !here {
                task.abort();
            }
            here
        });
        for node in nodes {
            if let Handle::Peer(peer) = &node.handle
                && !self.readers.contains_key(&node.id)
            {
                let reader = read(node.id, peer.subscribe(), Arc::clone(tracker));
                self.readers.insert(node.id, tokio::spawn(reader));
            }
        }
    }

    /// Fits the law to the degrees, if they have changed.
    async fn degrees(&mut self, view: &NetworkView, network: &Network) {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for p in view.peers.iter().filter(|p| ["alive", "suspect"].contains(&p.state.as_str())) {
            *counts.entry(u64::from(p.degree)).or_default() += 1;
        }
        let counts: Vec<(u64, u64)> = counts.into_iter().collect();
        if counts == self.counts || self.fitted.is_some_and(|at| at.elapsed() < FIT_INTERVAL) {
            return;
        }
        self.fitted = Some(Instant::now());
        self.counts.clone_from(&counts);
        let histogram = Histogram::from_counts(counts.iter().copied());
        let options = FitOptions::default();
        let peers: u64 = counts.iter().map(|c| c.1).sum();
        let (fit, unfit) = if peers < MIN_FITTED_PEERS {
            (
                None,
                Some(format!("{peers} peers are too few for a fit, {MIN_FITTED_PEERS} are needed")),
            )
        } else {
            let fit = tokio::task::spawn_blocking(move || Fit::new(&histogram, &options)).await;
            match fit {
                Ok(Ok(fit)) => (Some(fit), None),
                Ok(Err(e)) => (None, Some(e.to_string())),
                Err(e) => (None, Some(e.to_string())),
            }
        };
        let item = Item::new("degrees", &Degrees { counts, fit, unfit });
        network.latest(|l| l.degrees = Some(item.clone()));
        network.send(item);
    }
}

impl Drop for LiveState {
    fn drop(&mut self) {
        for task in self.readers.values() {
            task.abort();
        }
    }
}

async fn read(peer: PeerId, mut subscription: Subscription, tracker: Arc<SpreadTracker>) {
    while let Some(received) = subscription.recv().await {
        if let SubscriptionItem::Message(incoming) = received {
            tracker.record_arrival(peer, &incoming);
        }
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
