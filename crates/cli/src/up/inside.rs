//! A run in one process: every node is a task, with a listening socket of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill::proto::SeedAddress;
use rumormill::proto::wire::Verifier;
use rumormill::{
    Event, Events, Listener, Node, Observed, Received, SeedNode, Start, SubscribeOptions,
};
use rumormill_http::view::EventLine;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Place;
use super::director::Hands;
use super::names::{self, Names};
use super::plan::Fault;
use super::seen::{Facts, Member, Members, Seen, Sight};
use crate::log::{Logs, MessageLog};
use rumormill_launch::STOP_TIMEOUT;
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::control::Control;
use rumormill_launch::identity::{self, fresh_identity};
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_launch::seeds::start_seeds;
use rumormill_terminal::exit::{Failure, Outcome};

/// The nodes of a run in one process.
#[derive(Debug)]
pub(crate) struct Inside {
    members: Arc<Members>,
    peers: Vec<Node>,
    seeds: Vec<SeedNode>,
    /// Peers that were added since the start.
    added: Mutex<Vec<Node>>,
    /// How many were wished for.
    wanted: AtomicUsize,
    /// Whether the network is cut in two.
    is_cut: AtomicBool,
    control: Mutex<Option<Control>>,
    nursery: Nursery,
}

/// What it takes to start a peer.
#[derive(Debug)]
struct Nursery {
    seeds: Vec<SeedAddress>,
    network: NetworkArgs,
    logs: Logs,
    verifier: Arc<Verifier>,
}

/// Most peers that are added to one run.
const MOST_ADDED: usize = 500;

impl Inside {
    /// Starts all nodes: first every listener, so that all addresses are known and taken, then the
    /// seeds, then the peers.
    pub(crate) async fn start(
        names: &Names,
        configured: Option<&[SeedAddress]>,
        network: &NetworkArgs,
        place: &Place,
        logs: &Logs,
        sights: &mpsc::Sender<Sight>,
    ) -> Outcome<Self> {
        let mut control = Control::start(place.run_dir.as_deref(), &place.http).await?;
        let verifier = Arc::new(Verifier::for_nodes(names.seeds.len() + names.peers.len()));
        let seeds =
            start_seeds(names.seeds.len(), configured, &network.common, Some(&verifier)).await?;
        let addresses: Vec<SeedAddress> = seeds.iter().map(|(a, _)| a.clone()).collect();
        let nursery =
            Nursery { seeds: addresses, network: network.clone(), logs: logs.clone(), verifier };
        let members = Arc::new(Members::default());
        let mut peers = Vec::new();
        for name in &names.peers {
            let (node, events) = nursery.start(name).await?;
            let number = members.add(Member { name: name.clone(), id: node.id() });
            watch_events(number, events, sights.clone());
            let told = Some(sights.clone());
            watch_messages(number, node.clone(), logs.messages(name), told);
            control.add(name, node.clone());
            peers.push(node);
        }
        let mut running = Vec::new();
        for (name, (_, node)) in names.seeds.iter().zip(seeds) {
            let number = members.add(Member { name: name.clone(), id: node.id() });
            watch_events(number, node.events(), sights.clone());
            logs.seed(name, node.id());
            logs.follow_degrees(name, &node);
            control.add(name, node.clone());
            running.push(node);
        }
        control.direct(Box::new(Hands::new(Arc::clone(&members), sights.clone())));
        Ok(Inside {
            members,
            peers,
            seeds: running,
            added: Mutex::default(),
            wanted: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
            control: Mutex::new(Some(control)),
            nursery,
        })
    }

    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Starts a further peer; says its number.
    pub(crate) async fn add(&self, sights: &mpsc::Sender<Sight>) -> Result<usize, String> {
        let before = self.wanted.fetch_add(1, Ordering::Relaxed);
        if before >= MOST_ADDED {
            return Err(format!("{MOST_ADDED} peers have been added, that is the most"));
        }
        let name = names::peer(self.peers.len() + before, self.peers.len());
        let started = self.nursery.start(&name).await;
        let why =
            |f: Failure| f.error.map_or_else(|| "it was stopped".to_owned(), |e| e.to_string());
        let (node, events) = started.map_err(why)?;
        let member = Member { name: name.clone(), id: node.id() };
        let number = {
            // One after the other, so that numbers and places agree.
            let mut added = self.added();
            added.push(node.clone());
            self.members.add(member)
        };
        if self.is_cut.load(Ordering::Relaxed) {
            // It came after the cut, and would be a bridge.
            self.cut(true);
        }
        watch_events(number, events, sights.clone());
        // What was published before it came is not owed to it.
        watch_messages(number, node.clone(), self.nursery.logs.messages(&name), None);
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(control) = control.as_mut() {
            control.add(&name, node);
        }
        Ok(number)
    }

    fn added(&self) -> MutexGuard<'_, Vec<Node>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer of the start, or one that was added.
    fn peer(&self, number: usize) -> Result<Node, String> {
        let since = number.checked_sub(self.peers.len() + self.seeds.len());
        let peer = self.peers.get(number).cloned();
        let peer = peer.or_else(|| since.and_then(|n| self.added().get(n).cloned()));
        peer.ok_or_else(|| format!("there is no peer {number}"))
    }

    pub(crate) async fn publish(
        &self,
        peer: usize,
        topic: &str,
        content: &str,
    ) -> Result<rumormill::proto::MessageId, String> {
        self.peer(peer)?.publish(topic, content).await.map_err(|e| e.to_string())
    }

    /// The address of the page.
    pub(crate) fn page(&self) -> Option<String> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.as_ref().map(Control::page)
    }

    pub(crate) fn strike(&self, node: usize, fault: Fault) {
        let seed = node.checked_sub(self.peers.len()).and_then(|n| self.seeds.get(n));
        match (self.peer(node).ok(), seed, fault) {
            (Some(peer), _, Fault::Kill) => peer.kill(),
            (Some(peer), _, Fault::Stop) => peer.freeze(true),
            (_, Some(seed), Fault::Kill) => seed.kill(),
            (_, Some(seed), Fault::Stop) => seed.freeze(true),
            _ => {}
        }
    }

    /// Lets a stopped node go on.
    pub(crate) fn thaw(&self, node: usize) {
        let seed = node.checked_sub(self.peers.len()).and_then(|n| self.seeds.get(n));
        match (self.peer(node).ok(), seed) {
            (Some(peer), _) => peer.freeze(false),
            (_, Some(seed)) => seed.freeze(false),
            _ => {}
        }
    }

    /// Cuts the first half of the peers off from the others, or makes them one network again. The seeds
    /// are on both sides: so nobody is taken for dead.
    pub(crate) fn cut(&self, cut: bool) {
        self.is_cut.store(cut, Ordering::Relaxed);
        let peers: Vec<Node> = self.peers.iter().chain(self.added().iter()).cloned().collect();
        let (one, other) = peers.split_at(self.peers.len() / 2);
        for (here, there) in [(one, other), (other, one)] {
            for peer in here {
                peer.cut_off(there.iter().filter(|_| cut).map(Node::id));
            }
        }
    }

    /// A node has ended: nobody can speak to it any more.
    pub(crate) fn ended(&self, node: usize) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(control), Some(member)) = (control.as_mut(), self.members.get(node)) {
            control.remove(member.id);
        }
    }

    pub(crate) async fn peer_facts(&self, peer: usize) -> Result<Facts, String> {
        let snapshot = self.peer(peer)?.snapshot().await.map_err(|e| e.to_string())?;
        Ok(Facts::of_peer(&snapshot))
    }

    pub(crate) async fn seed_facts(&self, seed: usize) -> Result<Facts, String> {
        let node = self.seeds.get(seed).ok_or_else(|| format!("there is no seed {seed}"))?;
        let snapshot = node.snapshot().await.map_err(|e| e.to_string())?;
        Ok(Facts::of_seed(&snapshot))
    }

    /// Nobody is left to say goodbye to, so nobody does.
    pub(crate) async fn end(&self) {
        for node in self.peers.iter().chain(self.added().iter()) {
            node.kill();
        }
        for node in &self.seeds {
            node.kill();
        }
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            let _ = timeout(STOP_TIMEOUT, control.end()).await;
        }
    }
}

impl Nursery {
    async fn start(&self, name: &str) -> Outcome<(Node, Events)> {
        let identity = fresh_identity()?;
        self.logs.peer(name, identity.id());
        let mut builder = Node::builder()
            .name(identity::name(name)?)
            .config(self.network.config()?)
            .identity(identity)
            .listener(Listener::bind(ANY_LOOPBACK_PORT)?)
            .seeds(self.seeds.clone())
            .verifier(Arc::clone(&self.verifier));
        if let Some(key) = self.network.common.network_key()? {
            builder = builder.network_key(key);
        }
        // Before the start: a peer may have joined before this task has its next turn.
        let events = builder.events();
        Ok((builder.start().await?, events))
    }
}

fn watch_events(node: usize, mut events: Events, sights: mpsc::Sender<Sight>) {
    tokio::spawn(async move {
        while let Some(occurrence) = events.recv().await {
            let sight = match occurrence {
                // In a large network these are many, and they say nothing here.
                Observed::Event(stamped) if matches!(stamped.event, Event::MemberJoined { .. }) => {
                    continue;
                }
                Observed::Event(stamped) => {
                    let line = EventLine::of(stamped.at, &stamped.event);
                    match Seen::of(&line.event) {
                        Seen::Other => continue,
                        seen => Sight::Event { node, at_us: line.at_us, seen },
                    }
                }
                Observed::Lagged(missing) => Sight::Lagged { node, missing },
            };
            if sights.send(sight).await.is_err() {
                return;
            }
        }
        let _ = sights.send(Sight::Ended { node, how: "it stopped".to_owned() }).await;
    });
}

/// Logs what a peer receives, and tells it where that is wanted.
fn watch_messages(
    peer: usize,
    node: Node,
    mut log: MessageLog,
    sights: Option<mpsc::Sender<Sight>>,
) {
    // Also what came before this line.
    let options = SubscribeOptions::new().start(Start::Undelivered);
    let mut subscription = node.subscribe_with(options);
    tokio::spawn(async move {
        while let Some(received) = subscription.recv().await {
            let sight = match received {
                Received::Message(incoming) => {
                    if incoming.neighbour.is_none() {
                        continue;
                    }
                    let sight = Sight::Received {
                        peer,
                        id: incoming.message.id(),
                        published_us: incoming.message.published_at().0,
                        received_us: incoming.received_at.0,
                    };
                    log.record(&node, &incoming).await;
                    sight
                }
                Received::Gap(gap) => {
                    log.missed(&gap);
                    Sight::Gap { node: peer, missing: gap.to - gap.from }
                }
                Received::CaughtUp => continue,
            };
            if let Some(sights) = &sights
                && sights.send(sight).await.is_err()
            {
                return;
            }
        }
    });
}
