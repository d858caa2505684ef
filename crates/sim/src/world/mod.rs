//! The world: nodes, the network between them, and virtual time.
//!
//! # Connections
//!
//! A connection behaves like TCP with TLS, as far as a node can observe:
//!
//! | case | observed by a node |
//! |---|---|
//! | a dial | three round trips later both ends have `LinkUp`, the acceptor one network delay earlier |
//! | nothing listens, process killed | `DialFailed(Refused)` after one round trip |
//! | frozen process, host without power, partition | `DialFailed(TimedOut)` after the dial timeout; if the process is thawed in time, the link comes up |
//! | another key answers | `DialFailed(WrongIdentity)`; further addresses are tried first |
//! | a lost packet | the packet and everything after it arrives later: by 200 ms, doubled with every further loss |
//! | the process of one end is killed | `LinkEnd(Lost)` at the other end, after everything sent before |
//! | a partition, a host without power | sent data waits; it arrives at the next retransmission after the fault ends, or the sender gets `LinkEnd(Lost)` after the user timeout |
//! | a one-way partition | data passes in one direction only; acknowledgements do not, so both ends run into the user timeout if they send |
//! | the other end has forgotten the connection | `LinkEnd(Lost)` one round trip after the next frame sent |
//! | the other process is frozen | its kernel buffers up to 256 KiB, the rest waits at the sender, in the queue of the link (`rumormill_proto::link_queue`) |
//! | a full queue (`set_queue_drops`) | announcements and payloads are dropped at random; no node is notified |
//! | `Output::Close` | the other end gets everything sent before, then `LinkEnd(Closed)`; this end gets `LinkEnd(Local)` |
//!
//! # Driver
//!
//! The world calls the cores as the library's driver does: it carries out all outputs after every
//! input, sends one `LinkEnd` for every `LinkUp`, never reuses a link number, and sends `Timeout`
//! when `poll_timeout` is due. A thawed node gets everything that arrived before it gets its
//! `Timeout`.

mod command;
mod connect;
mod faults;
mod hosts;
mod line;
mod observe;
mod run;
mod survey;
mod transport;
mod watch;

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use rumormill_proto::{
    Address, Config, DialError, DialId, Event, Identity, LinkEnd, LinkId, Name, PeerId, PeerSetup,
    Role, SeedAddress, StateMachine, StoreOp, StoreTicket, Time,
};

use crate::adversary::AdversaryPeer;
use crate::disk::Disk;
use crate::figures::Figures;
use crate::idle::IdleRegistrant;
use crate::ledger::{Arrival, Ledger};
use crate::link::{LinkItem, Links};
use crate::machine::MachineFactory;
use crate::network::{Latency, Network};
use crate::node::{Node, NodeId, NodeKind, NodeStatus};
use crate::queue::Queue;
use crate::random::{RngStream, derive};
use crate::scenario::AdversaryKind;
use crate::trace::Trace;

use self::watch::Watch;
pub use command::CommandError;
pub use faults::DiskFate;
pub(crate) use line::LineDirection;
pub use survey::Survey;

/// Settings of a world.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The random seed.
    pub seed: u64,
    /// The settings of every node that has no settings of its own.
    pub node: Config,
    /// Delay of packets.
    pub latency: Latency,
    /// Probability that a packet is lost and retransmitted (0 to 1).
    pub loss: f64,
    /// How long the disk takes to commit a write.
    pub disk_latency: Duration,
    /// How long a dial may take.
    pub dial_timeout: Duration,
    /// How long sent data may be unacknowledged before the connection is given up
    /// (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// How often `run_until` evaluates its condition, in virtual time.
    pub check_every: Duration,
    /// Bytes a second of a node's line in each direction; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Frames are passed without encoding and without signature checks. For large worlds in which
    /// every node runs the honest code.
    pub fast: bool,
    /// Nodes have ids without keys and sign nothing. In fast worlds only.
    pub unsigned: bool,
    /// How much the world records.
    pub record: RecordLevel,
    /// Peers store nothing on disk, like peers that are started without a data directory.
    pub diskless_peers: bool,
    /// Peers do not know their addresses: they announce the one that other nodes observe.
    pub learned_addresses: bool,
    /// Every second peer has a consumer that acknowledges deliveries after this time.
    pub consumer_lag: Option<Duration>,
}

/// How much a world records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordLevel {
    /// The ledger and every event of every node.
    #[default]
    Everything,
    /// The ledger, which is the input of the checkers, without the events: every peer has an event
    /// for every death.
    Ledger,
    /// Only [`Figures`]: for worlds so large that the ledger would take more memory than the nodes.
    Figures,
}

impl WorldConfig {
    /// Defaults for one site: 1 ms from node to node, no loss, a disk latency of 2 ms.
    #[must_use]
    pub const fn new(seed: u64, node: Config) -> Self {
        WorldConfig {
            seed,
            node,
            latency: Latency::Constant(Duration::from_millis(1)),
            loss: 0.0,
            disk_latency: Duration::from_millis(2),
            dial_timeout: Duration::from_secs(3),
            user_timeout: Duration::from_secs(15),
            check_every: Duration::from_millis(20),
            bandwidth: None,
            fast: false,
            unsigned: false,
            record: RecordLevel::Everything,
            diskless_peers: false,
            learned_addresses: false,
            consumer_lag: None,
        }
    }
}

/// Settings of a peer that is added.
#[derive(Debug, Clone, Default)]
pub struct PeerSpec {
    /// Its name; `peer-N` if not given.
    pub name: Option<Name>,
    /// Its node settings; those of the world if not given.
    pub config: Option<Config>,
    /// The addresses that it announces; its real address if not given.
    pub advertise: Option<Vec<Address>>,
    /// The seeds that it knows; those of the world if not given.
    pub seeds: Option<Vec<SeedAddress>>,
    /// Time from now until its start.
    pub start_in: Duration,
}

/// An event in the queue of the simulation.
#[derive(Debug)]
pub(crate) enum SimEvent {
    /// A process starts.
    Start { node: NodeId },
    /// The deadline of `poll_timeout` is due.
    Wake { node: NodeId, process: u32 },
    /// The SYN of a dial arrives at the acceptor's host. `link` is the dialer's end in all events
    /// of a dial.
    Syn { link: LinkId },
    /// The acceptor's process accepts the connection.
    Accept { link: LinkId },
    /// The acceptor's key arrives at the dialer.
    ServerFlight { link: LinkId },
    /// A refusal of the acceptor's host arrives at the dialer.
    Refused { link: LinkId },
    /// A dial times out.
    DialDeadline { link: LinkId },
    /// A dial fails for which no connection was made.
    DialFailed { node: NodeId, process: u32, dial: DialId, why: DialError },
    /// An item arrives at this end.
    Arrive { link: LinkId, item: LinkItem },
    /// The process gets `LinkEnd`.
    LinkEnded { node: NodeId, process: u32, link: LinkId, why: LinkEnd },
    /// The user timeout of data that has been unacknowledged since `since`.
    UserTimeout { link: LinkId, since: Time },
    /// Held data is retransmitted.
    Retry { link: LinkId },
    /// There is room on the line for which a link waits.
    LineFree { link: LinkId },
    /// The process gets `Congested`: the payload queue of a link is more than half full.
    Congested { node: NodeId, process: u32, link: LinkId },
    /// A write has become durable.
    Stored { node: NodeId, process: u32, ticket: StoreTicket, ops: Vec<StoreOp> },
    /// The consumer of a peer acknowledges deliveries.
    Consumed { node: NodeId, process: u32 },
}

/// Unix microseconds of the world's time zero: 2026-01-01T00:00:00Z.
const WALL_EPOCH: u64 = 1_767_225_600_000_000;
/// The port on which all nodes listen.
const PORT: u16 = 7000;

/// A world of nodes.
///
/// Methods that take a [`NodeId`] panic if it is from another world.
pub struct World {
    config: WorldConfig,
    now: Time,
    queue: Queue<SimEvent>,
    nodes: Vec<Node>,
    links: Links,
    network: Network,
    listeners: BTreeMap<SocketAddr, NodeId>,
    by_id: BTreeMap<PeerId, NodeId>,
    seeds: Arc<[SeedAddress]>,
    node_config: Arc<Config>,
    trace: Trace,
    ledger: Ledger,
    /// Incarnations whose removal by certificate is in the ledger.
    removed: BTreeSet<(PeerId, u64)>,
    /// Whether adversaries attack now.
    adversaries_active: Rc<Cell<bool>>,
    watch: Option<Watch>,
    figures: Figures,
    /// Number of nodes whose process is frozen.
    frozen: usize,
    /// Number of nodes whose host has no power.
    hosts_down: usize,
    /// When the network or a node was last disturbed, deaths of peers aside.
    last_disturbance: Time,
}

impl World {
    /// An empty world at time zero.
    #[must_use]
    pub fn new(config: WorldConfig) -> Self {
        let mut world = World {
            network: Network::new(config.seed, config.latency, config.loss),
            node_config: Arc::new(config.node.clone()),
            config,
            now: Time::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            links: Links::default(),
            listeners: BTreeMap::new(),
            by_id: BTreeMap::new(),
            seeds: Arc::default(),
            trace: Trace::default(),
            ledger: Ledger::default(),
            removed: BTreeSet::new(),
            adversaries_active: Rc::default(),
            watch: None,
            figures: Figures::default(),
            frozen: 0,
            hosts_down: 0,
            last_disturbance: Time::ZERO,
        };
        world.note_losses();
        world
    }

    /// Adds and starts `n` seeds. They know each other; peers added later know them too. Seeds of
    /// an earlier call do not know those of a later call, as with a configuration file that was not
    /// distributed to all seeds.
    pub fn add_seeds(&mut self, n: usize) -> Vec<NodeId> {
        let old = self.seeds.len();
        let new = (old..old + n)
            .map(|i| SeedAddress { host_port: seed_address(i).to_string(), pin: None });
        self.seeds = self.seeds.iter().cloned().chain(new).collect();
        let added: Vec<NodeId> = (old..old + n)
            .map(|i| {
                let seeds = Arc::clone(&self.seeds);
                let kind = NodeKind::Seed { seeds, own_index: Some(i) };
                let config = Arc::clone(&self.node_config);
                self.add(kind, config, seed_address(i), Duration::ZERO)
            })
            .collect();
        self.start_due();
        added
    }

    /// Adds and starts `n` peers.
    pub fn add_peers(&mut self, n: usize) -> Vec<NodeId> {
        let added = (0..n).map(|_| self.add_unstarted_peer(PeerSpec::default())).collect();
        self.start_due();
        added
    }

    /// Adds `n` peers that start one after the other, evenly spread over a time.
    pub fn add_peers_over(&mut self, n: usize, over: Duration) -> Vec<NodeId> {
        let step = over / u32::try_from(n.max(1)).unwrap_or(u32::MAX);
        let added = (0..n)
            .map(|i| {
                let start_in = step * u32::try_from(i).unwrap_or(u32::MAX);
                self.add_unstarted_peer(PeerSpec { start_in, ..PeerSpec::default() })
            })
            .collect();
        self.start_due();
        added
    }

    /// Adds one peer, which starts at the time given in the specification.
    pub fn add_peer_with(&mut self, spec: PeerSpec) -> NodeId {
        let node = self.add_unstarted_peer(spec);
        self.start_due();
        node
    }

    /// Adds and starts a node that runs the machine that `factory` makes: an adversary, a listener.
    /// The factory makes a new machine at every restart, from the node's identity and disk.
    pub fn add_machine(
        &mut self,
        role: Role,
        factory: impl FnMut(&Identity, &Disk, Time) -> Box<dyn StateMachine> + 'static,
    ) -> NodeId {
        let factory: MachineFactory = Box::new(factory);
        let at = node_address(self.nodes.len());
        let config = Arc::clone(&self.node_config);
        let node = self.add(NodeKind::Machine { factory, role }, config, at, Duration::ZERO);
        self.start_due();
        node
    }

    /// Adds and starts an adversary. It follows the protocol until
    /// [`set_adversaries_active`](World::set_adversaries_active).
    pub fn add_adversary(&mut self, kind: AdversaryKind) -> NodeId {
        let index = self.nodes.len();
        let (config, seeds) = (Arc::clone(&self.node_config), Arc::clone(&self.seeds));
        let (world_seed, at) = (self.config.seed, node_address(index));
        let active = self.adversaries_active.clone();
        let node = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        let node = self.add_machine(Role::Peer, move |identity, _, now| {
            let setup = || PeerSetup {
                config: config.clone(),
                identity: identity.clone(),
                name: peer_name(node),
                addresses: vec![Address(at)],
                seeds: seeds.clone(),
                incarnation: 1,
                anchors: Vec::new(),
                retained: Vec::new(),
                delivered_marks: Vec::new(),
                closed_up_to: vec![],
                rng_seed: derive(world_seed, "adversary", index as u64),
            };
            if kind == AdversaryKind::Idle {
                return Box::new(IdleRegistrant::new(setup(), now));
            }
            let rng = RngStream::new(world_seed.wrapping_add(index as u64), "adversary");
            Box::new(AdversaryPeer::new(kind, identity.clone(), setup, rng, active.clone(), now))
        });
        self.node_mut(node).is_adversary = true;
        node
    }

    /// Lets the adversaries attack, or makes them follow the protocol.
    pub fn set_adversaries_active(&mut self, active: bool) {
        self.adversaries_active.set(active);
    }

    fn add_unstarted_peer(&mut self, spec: PeerSpec) -> NodeId {
        let index = self.nodes.len();
        let at = node_address(index);
        let seeds = spec.seeds.map_or_else(|| Arc::clone(&self.seeds), Arc::from);
        let kind = NodeKind::Peer { name: spec.name, advertise: spec.advertise, seeds };
        let config = spec.config.map_or_else(|| Arc::clone(&self.node_config), Arc::new);
        self.add(kind, config, at, spec.start_in)
    }

    fn add(
        &mut self,
        kind: NodeKind,
        config: Arc<Config>,
        at: SocketAddr,
        start_in: Duration,
    ) -> NodeId {
        let index = self.nodes.len();
        let secret = derive(self.config.seed, "identity", index as u64);
        let identity = if self.config.fast && self.config.unsigned {
            Identity::unsigned(&secret)
        } else {
            Identity::from_secret(&secret)
        };
        self.add_with_identity(identity, kind, config, at, start_in)
    }

    fn add_with_identity(
        &mut self,
        identity: Identity,
        kind: NodeKind,
        config: Arc<Config>,
        at: SocketAddr,
        start_in: Duration,
    ) -> NodeId {
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.by_id.entry(identity.id()).or_insert(node);
        self.listeners.insert(at, node);
        let mut new_node = Node::new(identity, kind, config, at);
        new_node.line = self.config.bandwidth;
        self.nodes.push(new_node);
        self.queue.push(self.now + start_in, SimEvent::Start { node });
        node
    }

    /// Handles the events that are due now, so that nodes just added run when the call returns.
    fn start_due(&mut self) {
        self.run_to(self.now);
    }

    // ---- reading ----------------------------------------------------------------------------

    /// The present virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The settings of the world.
    #[must_use]
    pub const fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// A hash over every input handled so far: time, node, kind, and the number of the frame type,
    /// link, dial or ticket.
    #[must_use]
    pub fn trace_hash(&self) -> [u8; 32] {
        self.trace.hash()
    }

    /// Number of inputs handled so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.trace.steps()
    }

    /// The nodes, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|i| NodeId(u32::try_from(i).unwrap_or(u32::MAX)))
    }

    /// The addresses of the seeds, as the peers of this world know them.
    #[must_use]
    pub fn seed_addresses(&self) -> &[SeedAddress] {
        &self.seeds
    }

    /// A node's key pair, for tests that sign in its name.
    #[must_use]
    pub fn identity(&self, node: NodeId) -> &Identity {
        &self.node(node).identity
    }

    /// A node's key.
    #[must_use]
    pub fn id(&self, node: NodeId) -> PeerId {
        self.node(node).identity.id()
    }

    /// The node with this key.
    #[must_use]
    pub fn node_of(&self, id: &PeerId) -> Option<NodeId> {
        self.by_id.get(id).copied()
    }

    /// The address at which a node listens.
    #[must_use]
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.node(node).address
    }

    /// The state of a node's process.
    #[must_use]
    pub fn status(&self, node: NodeId) -> NodeStatus {
        self.node(node).status
    }

    /// The content of a node's disk.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> &Disk {
        &self.node(node).disk
    }

    /// The events of a node, in order, of all its processes; empty unless the world records
    /// everything.
    #[must_use]
    pub fn events(&self, node: NodeId) -> &[(Time, Event)] {
        &self.node(node).events
    }

    /// Deliveries to applications, in order; empty in a world that records figures only.
    #[must_use]
    pub fn deliveries(&self) -> &[Arrival] {
        &self.ledger.arrivals
    }

    /// Counts and sums of the run so far; every world has them.
    #[must_use]
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Whether the world records a ledger.
    fn keeps_ledger(&self) -> bool {
        self.config.record != RecordLevel::Figures
    }

    /// Everything recorded so far.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A planted violation: the last delivery is recorded a second time.
    #[cfg(test)]
    pub(crate) fn repeat_last_arrival(&mut self) {
        self.ledger.arrivals.extend(self.ledger.arrivals.last().cloned());
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }
}

/// The address of a seed.
fn seed_address(index: usize) -> SocketAddr {
    host(Ipv4Addr::new(10, 0, 0, 1), index)
}

/// The address of a peer or a machine; every node of a world has another one.
fn node_address(index: usize) -> SocketAddr {
    host(Ipv4Addr::new(10, 1, 0, 1), index)
}

/// The address of host number `index` after `first`. There are enough addresses for every
/// [`NodeId`]; after 16 million they are outside 10/8.
fn host(first: Ipv4Addr, index: usize) -> SocketAddr {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let bits = first.to_bits().wrapping_add(index);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), PORT)
}

#[allow(clippy::expect_used)]
fn peer_name(node: NodeId) -> Name {
    Name::new(format!("peer-{}", node.0)).expect("letters, a hyphen and digits are a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_nodes_differ() {
        let seeds = (0..64).map(seed_address);
        let mut all: Vec<SocketAddr> = seeds.chain((0..1_000_000).map(node_address)).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
        assert_eq!(node_address(70_000).to_string(), "10.2.17.113:7000");
    }
}
