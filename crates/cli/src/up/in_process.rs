//! A run in one process: every node is a set of tasks, with a listening socket of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use rumormill::proto::wire::Verifier;
use rumormill::proto::{MessageId, SeedAddress};
use rumormill::{
    EventItem, Events, Listener, Node, SeedNode, Start, SubscribeOptions, SubscriptionItem,
};
use rumormill_launch::STOP_TIMEOUT;
use rumormill_launch::args::NetworkArgs;
use rumormill_launch::control::Control;
use rumormill_launch::identity::{self, fresh_identity};
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_launch::seeds::start_seeds;
use rumormill_terminal::exit::{Failure, Outcome};
use rumormill_terminal::usage::Usage;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::event::{ObserverEvent, RunEvent};
use super::fleet::Fleet;
use super::members::{Member, Members};
use super::names::{NodeNames, added_peer_name};
use super::node_report::NodeReport;
use super::options::{ControlOptions, Fault};
use super::web_control::WebControl;
use crate::log::{Logs, MessageLog};

/// The nodes of a run in one process.
#[derive(Debug)]
pub(crate) struct InProcess {
    members: Arc<Members>,
    peers: Vec<Node>,
    seeds: Vec<SeedNode>,
    /// Peers that were added after the start.
    added: Mutex<Vec<Node>>,
    /// How many peers the user has asked to add.
    add_requests: AtomicUsize,
    /// Whether the network is partitioned.
    is_partitioned: AtomicBool,
    control: Mutex<Option<Control>>,
    spawner: PeerSpawner,
    events: mpsc::Sender<RunEvent>,
}

/// The settings of all peers of the run.
#[derive(Debug)]
struct PeerSpawner {
    seeds: Vec<SeedAddress>,
    network: NetworkArgs,
    logs: Logs,
    verifier: Arc<Verifier>,
}

/// Most peers that can be added to one run.
const MAX_ADDED: usize = 500;

impl InProcess {
    /// Starts all nodes: first every seed, whose listeners are all bound before the first of them
    /// starts, then the peers.
    pub(crate) async fn start(
        names: &NodeNames,
        configured: Option<&[SeedAddress]>,
        network: &NetworkArgs,
        options: &ControlOptions,
        logs: &Logs,
        events: &mpsc::Sender<RunEvent>,
    ) -> Outcome<Self> {
        let mut control = Control::start(options.run_dir.as_deref(), &options.http).await?;
        let verifier = Arc::new(Verifier::for_nodes(names.seeds.len() + names.peers.len()));
        let seeds =
            start_seeds(names.seeds.len(), configured, &network.common, Some(&verifier)).await?;
        let addresses: Vec<SeedAddress> = seeds.iter().map(|(a, _)| a.clone()).collect();
        let spawner = PeerSpawner {
            seeds: addresses,
            network: network.clone(),
            logs: logs.clone(),
            verifier,
        };
        let members = Arc::new(Members::default());
        let mut peers = Vec::new();
        for name in &names.peers {
            let (node, node_events) = spawner.start(name).await?;
            let number = members.add(Member { name: name.clone(), id: node.id() });
            observe_events(number, node_events, events.clone());
            observe_messages(number, node.clone(), logs.messages(name), Some(events.clone()));
            control.add(name, node.clone());
            peers.push(node);
        }
        let mut running = Vec::new();
        for (name, (_, node)) in names.seeds.iter().zip(seeds) {
            let number = members.add(Member { name: name.clone(), id: node.id() });
            observe_events(number, node.events(), events.clone());
            logs.seed(name, node.id());
            logs.follow_degrees(name, &node);
            control.add(name, node.clone());
            running.push(node);
        }
        control.direct(Box::new(WebControl::new(Arc::clone(&members), events.clone())));
        Ok(InProcess {
            members,
            peers,
            seeds: running,
            added: Mutex::default(),
            add_requests: AtomicUsize::new(0),
            is_partitioned: AtomicBool::new(false),
            control: Mutex::new(Some(control)),
            spawner,
            events: events.clone(),
        })
    }

    async fn start_further_peer(&self) -> Result<usize, String> {
        let before = self.add_requests.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_ADDED {
            return Err(format!("{MAX_ADDED} peers have been added, and no more can be"));
        }
        let name = added_peer_name(self.peers.len() + before, self.peers.len());
        let started = self.spawner.start(&name).await;
        let why =
            |f: Failure| f.error.map_or_else(|| "it was stopped".to_owned(), |e| e.to_string());
        let (node, node_events) = started.map_err(why)?;
        let member = Member { name: name.clone(), id: node.id() };
        let number = {
            // Both lists grow under one lock, so that numbers and places agree.
            let mut added = self.added();
            added.push(node.clone());
            self.members.add(member)
        };
        if self.is_partitioned.load(Ordering::Relaxed) {
            // A peer that starts after the partition would be a bridge between the halves.
            self.partition(true);
        }
        observe_events(number, node_events, self.events.clone());
        // Its messages are logged and not counted: the run expects none of them to arrive there.
        observe_messages(number, node.clone(), self.spawner.logs.messages(&name), None);
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

    fn seed(&self, number: usize) -> Option<&SeedNode> {
        number.checked_sub(self.peers.len()).and_then(|n| self.seeds.get(n))
    }

    /// Separates the first half of the peers from the others, or lets them connect again. The seeds
    /// are reachable from both halves, so that no peer is declared dead.
    fn partition(&self, on: bool) {
        self.is_partitioned.store(on, Ordering::Relaxed);
        let peers: Vec<Node> = self.peers.iter().chain(self.added().iter()).cloned().collect();
        let (one, other) = peers.split_at(self.peers.len() / 2);
        for (half, others) in [(one, other), (other, one)] {
            for peer in half {
                peer.partition_from(others.iter().filter(|_| on).map(Node::id));
            }
        }
    }
}

impl Fleet for InProcess {
    fn members(&self) -> &Members {
        &self.members
    }

    fn page(&self) -> Option<String> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.as_ref().map(Control::page)
    }

    fn publish(
        &self,
        peer: usize,
        topic: &'static str,
        content: Arc<str>,
    ) -> BoxFuture<'_, Result<MessageId, String>> {
        Box::pin(async move {
            self.peer(peer)?.publish(topic, &*content).await.map_err(|e| e.to_string())
        })
    }

    fn inject_fault(&self, node: usize, fault: Fault) -> Result<(), String> {
        match (self.peer(node), self.seed(node), fault) {
            (Ok(peer), _, Fault::Kill) => peer.kill(),
            (Ok(peer), _, Fault::Stop) => peer.freeze(true),
            (_, Some(seed), Fault::Kill) => seed.kill(),
            (_, Some(seed), Fault::Stop) => seed.freeze(true),
            (Err(no_such_peer), None, _) => return Err(no_such_peer),
        }
        Ok(())
    }

    fn resume(&self, node: usize) -> Result<(), String> {
        match (self.peer(node), self.seed(node)) {
            (Ok(peer), _) => peer.freeze(false),
            (_, Some(seed)) => seed.freeze(false),
            (Err(no_such_peer), None) => return Err(no_such_peer),
        }
        Ok(())
    }

    fn add_peer(&self) -> BoxFuture<'_, Result<usize, String>> {
        Box::pin(self.start_further_peer())
    }

    fn set_partition(&self, on: bool) -> Result<(), String> {
        self.partition(on);
        Ok(())
    }

    fn release_ended(&self, node: usize) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(control), Some(member)) = (control.as_mut(), self.members.get(node)) {
            control.remove(member.id);
        }
    }

    fn peer_report(&self, peer: usize) -> BoxFuture<'_, Result<NodeReport, String>> {
        Box::pin(async move {
            let snapshot = self.peer(peer)?.snapshot().await.map_err(|e| e.to_string())?;
            Ok(NodeReport::of_peer(&snapshot))
        })
    }

    fn seed_report(&self, seed: usize) -> BoxFuture<'_, Result<NodeReport, String>> {
        Box::pin(async move {
            let node = self.seeds.get(seed).ok_or_else(|| format!("there is no seed {seed}"))?;
            let snapshot = node.snapshot().await.map_err(|e| e.to_string())?;
            Ok(NodeReport::of_seed(&snapshot))
        })
    }

    fn usage(&self) -> Option<Usage> {
        Usage::of_this_process()
    }

    /// Kills all nodes: the whole network ends, so no node is left to be told of a departure.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
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
        })
    }
}

impl PeerSpawner {
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
        // Subscribed before the start: a peer may join before this task runs again.
        let events = builder.events();
        Ok((builder.start().await?, events))
    }
}

/// Passes the events of a node on to the run.
fn observe_events(node: usize, mut node_events: Events, events: mpsc::Sender<RunEvent>) {
    tokio::spawn(async move {
        while let Some(observed) = node_events.recv().await {
            let event = match observed {
                EventItem::Event(stamped) => match ObserverEvent::of(stamped.event) {
                    Some(event) => RunEvent::Observed { node, at_us: stamped.at.0, event },
                    None => continue,
                },
                EventItem::Lagged(missing) => RunEvent::Lagged { node, missing },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
        let _ = events.send(RunEvent::Ended { node, how: "it stopped".to_owned() }).await;
    });
}

/// Logs the messages that a peer receives, and passes them on to the run if `events` is given.
fn observe_messages(
    peer: usize,
    node: Node,
    mut log: MessageLog,
    events: Option<mpsc::Sender<RunEvent>>,
) {
    // With the messages that came before this subscription.
    let options = SubscribeOptions::new().start(Start::Undelivered);
    let mut subscription = node.subscribe_with(options);
    tokio::spawn(async move {
        while let Some(received) = subscription.recv().await {
            let event = match received {
                SubscriptionItem::Message(incoming) => {
                    if incoming.neighbour.is_none() {
                        continue;
                    }
                    let event = RunEvent::Received {
                        peer,
                        id: incoming.message.id(),
                        published_us: incoming.message.published_at().0,
                        received_us: incoming.received_at.0,
                    };
                    log.record(&node, &incoming).await;
                    event
                }
                SubscriptionItem::Gap(gap) => {
                    log.record_gap(&gap);
                    RunEvent::Gap { node: peer, missing: gap.to - gap.from }
                }
                SubscriptionItem::CaughtUp => continue,
            };
            if let Some(events) = &events
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    });
}
