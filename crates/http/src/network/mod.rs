//! The network as a page shows it: asked for, put together and drawn while somebody looks, and not
//! otherwise.

mod collect;
mod picture;
mod rates;
mod spreads;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::future::join_all;
use rumormill::proto::snapshot::HeldMessage;
use rumormill::proto::{MessageId, PeerId};
use rumormill::{Received, Subscription};
use rumormill_analysis::{Fit, FitOptions, Histogram};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::nodes::{Handle, Nodes, Served};
use collect::Collector;
use picture::Picture;
use rates::Meter;
use spreads::Spreads;
use view::{Degrees, MessageDot, NetworkView, Rates, Spread};

/// How often the nodes are asked.
const ROUND: Duration = Duration::from_millis(500);
/// How often arrivals of messages are told.
const ARRIVALS_EVERY: Duration = Duration::from_millis(100);
/// How often the law is fitted anew at most.
const FIT_EVERY: Duration = Duration::from_secs(3);
/// Fewer degrees are not fitted: the exponent would be anything.
const FEWEST_FITTED: u64 = 30;
/// Items that a slow reader may be behind.
const BEHIND: usize = 256;
/// Rounds of rates that are kept for whoever looks next.
const HISTORY: usize = 240;
/// How long everything is kept ready after the last one has stopped looking.
const LINGER: Duration = Duration::from_secs(5);
/// Messages of one peer that are searched for how often a message came again: as many as are followed.
const SEARCHED: usize = 300;

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

/// The last items, for whoever begins to look.
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
    spreads: Arc<Spreads>,
}

impl Network {
    pub(crate) fn new(nodes: Arc<Nodes>) -> Arc<Self> {
        Arc::new(Network {
            nodes,
            items: broadcast::Sender::new(BEHIND),
            latest: Mutex::default(),
            spreads: Arc::default(),
        })
    }

    fn latest<T>(&self, f: impl FnOnce(&mut Latest) -> T) -> T {
        f(&mut self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known now, and what comes. The first look starts the work.
    pub(crate) fn look(self: &Arc<Self>) -> (Vec<Item>, broadcast::Receiver<Item>) {
        // Together: what is counted as told is not told again, and nothing is left out.
        let (messages, receiver) = self.spreads.messages_and(|| self.items.subscribe());
        let mut items: Vec<Item> = self.latest(|l| {
            if l.task.as_ref().is_none_or(JoinHandle::is_finished) {
                l.task = Some(tokio::spawn(watch(Arc::clone(self))));
            }
            let mut items: Vec<Item> =
                [&l.network, &l.degrees].into_iter().flatten().cloned().collect();
            items.extend(l.rates.iter().map(|r| Item::new("rates", r)));
            items
        });
        items.extend(messages.iter().map(|m| Item::new("message", m)));
        (items, receiver)
    }

    /// The view of this moment, for whoever does not stay.
    pub(crate) async fn once(self: &Arc<Self>) -> NetworkView {
        let mut collector = Collector::default();
        let nodes = self.nodes.all();
        // The first round asks, the second has the answers of all that answer.
        collector.round(&nodes, now_us()).await;
        sleep(ROUND / 2).await;
        let mut view = collector.round(&nodes, now_us()).await.view;
        Picture::new().place(&mut view);
        view
    }

    /// The messages that went by while somebody looked, oldest first.
    pub(crate) fn messages(&self) -> Vec<MessageDot> {
        self.spreads.messages_and(|| ()).0
    }

    /// One of them, and where it got.
    pub(crate) async fn spread(&self, id: MessageId) -> Option<Spread> {
        let (message, arrivals) = self.spreads.get(&id)?;
        let got: BTreeSet<&str> = arrivals.iter().map(|a| a.peer.as_str()).collect();
        let (mut missing, mut asked) = (Vec::new(), Vec::new());
        for node in self.nodes.all() {
            let Handle::Peer(peer) = &node.handle else { continue };
            if !got.contains(node.id.to_hex().as_str()) {
                missing.push(node.name.clone());
            }
            let peer = peer.clone();
            // A frozen one does not answer.
            asked.push(async move { timeout(ROUND / 5, peer.messages(SEARCHED)).await });
        }
        let again = |held: Vec<HeldMessage>| held.iter().find(|m| m.id == id).map(|m| m.duplicates);
        let counts = join_all(asked).await.into_iter().flatten().flatten().filter_map(again);
        let duplicates = counts.map(u64::from).sum();
        Some(Spread { message, arrivals, missing, duplicates })
    }

    /// Forgets everything, unless somebody has begun to look. Whoever begins from then on finds no
    /// work under way, and starts it.
    fn nobody_looks(&self) -> bool {
        self.latest(|l| {
            let nobody = self.items.receiver_count() == 0;
            if nobody {
                self.spreads.clear();
                *l = Latest::default();
            }
            nobody
        })
    }

    fn tell(&self, item: Item) {
        // Nobody looks: then nobody misses it.
        let _ = self.items.send(item);
    }
}

/// Asks, draws and tells for as long as somebody looks, and a moment longer.
async fn watch(network: Arc<Network>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrivals = interval(ARRIVALS_EVERY);
    arrivals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = Work::new();
    let mut looked_at = Instant::now();
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if network.items.receiver_count() > 0 {
                    looked_at = Instant::now();
                } else if looked_at.elapsed() > LINGER && network.nobody_looks() {
                    return;
                }
                work.round(&network).await;
            }
            _ = arrivals.tick() => {
                network.spreads.tell_round(|round| {
                    for m in &round.messages {
                        network.tell(Item::new("message", m));
                    }
                    if !round.arrivals.is_empty() {
                        network.tell(Item::new("arrivals", &round.arrivals));
                    }
                    if round.left_out > 0 {
                        network.tell(Item::new("left_out", &round.left_out));
                    }
                });
            }
        }
    }
}

/// What is remembered from round to round.
struct Work {
    collector: Collector,
    picture: Option<Picture>,
    meter: Meter,
    /// What is delivered at each peer served here.
    readers: BTreeMap<PeerId, JoinHandle<()>>,
    told: Option<NetworkView>,
    counts: Vec<(u64, u64)>,
    fitted: Option<Instant>,
}

impl Work {
    fn new() -> Self {
        Work {
            collector: Collector::default(),
            picture: Some(Picture::new()),
            meter: Meter::default(),
            readers: BTreeMap::new(),
            told: None,
            counts: Vec::new(),
            fitted: None,
        }
    }

    async fn round(&mut self, network: &Arc<Network>) {
        let (nodes, now) = (network.nodes.all(), now_us());
        self.read(&nodes, &network.spreads);
        let collected = self.collector.round(&nodes, now).await;
        let delays = network.spreads.take_delays();
        if let Some(rates) = self.meter.round(collected.counters, delays, collected.headroom, now) {
            network.tell(Item::new("rates", &rates));
            network.latest(|l| {
                if l.rates.len() >= HISTORY {
                    l.rates.remove(0);
                }
                l.rates.push(rates);
            });
        }
        let view = self.draw(collected.view).await;
        self.degrees(&view, network).await;
        let changed = self.told.as_mut().is_none_or(|told| {
            told.at_us = view.at_us;
            *told != view
        });
        if changed {
            let item = Item::new("network", &view);
            network.latest(|l| l.network = Some(item.clone()));
            network.tell(item);
            self.told = Some(view);
        }
    }

    /// Drawing takes up to a tenth of a second: other tasks run meanwhile.
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

    /// Subscribes at peers that are new here.
    fn read(&mut self, nodes: &[Arc<Served>], spreads: &Arc<Spreads>) {
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
                let reader = read(node.id, peer.subscribe(), Arc::clone(spreads));
                self.readers.insert(node.id, tokio::spawn(reader));
            }
        }
    }

    /// Fits the degrees anew if they have changed.
    async fn degrees(&mut self, view: &NetworkView, network: &Network) {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for p in view.peers.iter().filter(|p| ["alive", "suspect"].contains(&p.state.as_str())) {
            *counts.entry(u64::from(p.degree)).or_default() += 1;
        }
        let counts: Vec<(u64, u64)> = counts.into_iter().collect();
        if counts == self.counts || self.fitted.is_some_and(|at| at.elapsed() < FIT_EVERY) {
            return;
        }
        self.fitted = Some(Instant::now());
        self.counts.clone_from(&counts);
        let histogram = Histogram::from_counts(counts.iter().copied());
        let options = FitOptions::default();
        let peers: u64 = counts.iter().map(|c| c.1).sum();
        let (fit, unfit) = if peers < FEWEST_FITTED {
            (None, Some(format!("{peers} peers say little of a law, {FEWEST_FITTED} are needed")))
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
        network.tell(item);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for task in self.readers.values() {
            task.abort();
        }
    }
}

async fn read(peer: PeerId, mut subscription: Subscription, spreads: Arc<Spreads>) {
    while let Some(received) = subscription.recv().await {
        if let Received::Message(incoming) = received {
            spreads.arrived(peer, &incoming);
        }
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
