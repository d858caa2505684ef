//! The world: nodes, the network between them, and time.
//!
//! # Connections
//!
//! A connection behaves as TCP with TLS on it does, as far as a node can tell:
//!
//! | case | what a node sees |
//! |---|---|
//! | a dial | three round trips later both ends have `LinkUp`, the acceptor one way earlier |
//! | nothing listens, process killed | `DialFailed(Refused)` after one round trip |
//! | frozen process, dead host, partition | `DialFailed(TimedOut)` after the dial timeout; if the process is thawed in time, the link comes up |
//! | another key answers | `DialFailed(WrongIdentity)`; further addresses are tried first |
//! | a lost packet | it and what follows it comes later: 200 ms, doubling with every further loss |
//! | one end's process is killed | `LinkDown(Lost)` at the other end, after all that was sent before |
//! | a partition, a host without power | what is sent waits; it arrives at the next retransmission after the end of it, or the sender gets `LinkDown(Lost)` after the user timeout |
//! | a one-way partition | data passes one way only; acknowledgements do not, so both ends run into the user timeout if they send |
//! | the other end has forgotten the connection | `LinkDown(Lost)` one round trip after the next frame sent |
//! | the other process is frozen | its kernel takes up to 256 KiB, the rest waits here, with the bounds of `limits::QUEUE_*` |
//! | a queue without room (`set_skips`) | announcements and payloads are left out at random; nobody is told |
//! | `Output::Close` | the other end gets what was sent before, then `LinkDown(Closed)`; this end gets `LinkDown(Local)` |
//!
//! # Driver
//!
//! The world calls the cores as the library's driver does: all outputs are carried out after every
//! input, one `LinkDown` comes for every `LinkUp`, link numbers are never used again, `Timeout`
//! comes when `poll_timeout` is due, and a thawed node gets everything that arrived before it gets
//! its `Timeout`.

mod carry;
mod command;
mod connect;
mod faults;
mod hosts;
mod line;
mod observe;
mod run;
mod survey;
mod watch;

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use rumormill_proto::{
    Address, Config, DialError, DialId, Event, Identity, LinkDown, LinkId, Name, PeerId, PeerSetup,
    Role, SeedAddress, StoreOp, StoreTicket, Time,
};

use crate::adversary::Rogue;
use crate::disk::Disk;
use crate::figures::Figures;
use crate::idle::IdleRegistrant;
use crate::ledger::{Arrival, Ledger};
use crate::link::{Item, Links};
use crate::machine::{Factory, Machine};
use crate::network::{Latency, Network};
use crate::node::{Kind, Node, NodeId, NodeStatus};
use crate::queue::Queue;
use crate::random::{Dice, derive};
use crate::scenario::AdversaryKind;
use crate::trace::Trace;

use self::watch::Watch;
pub use command::CommandError;
pub use faults::DiskFate;
pub(crate) use line::Lane;
pub use survey::Survey;

/// How a world is.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// The settings of every node, if not said otherwise.
    pub node: Config,
    /// How long packets take.
    pub latency: Latency,
    /// Part of the packets that are lost and sent again (0 to 1).
    pub loss: f64,
    /// How long the disk takes for one request.
    pub disk_latency: Duration,
    /// How long a dial may take.
    pub dial_timeout: Duration,
    /// How long sent data may stand unacknowledged before the connection is given up
    /// (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// How often `run_until` looks at its condition, in virtual time.
    pub check_every: Duration,
    /// Bytes a second that a node's line carries each way; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Frames are handed over as they are, with no encoding and no signature checks. For large
    /// worlds in which every node runs the honest code.
    pub fast: bool,
    /// Nodes have names without keys, and sign nothing. In fast worlds only.
    pub unsigned: bool,
    /// What is written down.
    pub record: Record,
    /// Peers keep nothing on disk, like those that are started without a data directory.
    pub diskless_peers: bool,
    /// Peers are not told their addresses: they announce the one at which others see them.
    pub learned_addresses: bool,
    /// Every second peer has a consumer, which acknowledges what it is given so much later.
    pub consumer_lag: Option<Duration>,
}

/// What a world writes down as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// Every event, arrival and copy, and who was connected.
    #[default]
    Everything,
    /// All but the events: what the checkers judge. Of every death each peer has an event.
    Judged,
    /// [`Figures`] alone: for worlds so large that the rest would take more memory than the nodes.
    Figures,
}

impl WorldConfig {
    /// One site: 1 ms from node to node, no loss, a disk of 2 ms.
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
            record: Record::Everything,
            diskless_peers: false,
            learned_addresses: false,
            consumer_lag: None,
        }
    }
}

/// What can be said about a peer that is added.
#[derive(Debug, Clone, Default)]
pub struct PeerSpec {
    /// Its name; `peer-N` if not given.
    pub name: Option<Name>,
    /// Its settings, if not those of the world.
    pub config: Option<Config>,
    /// What it says its addresses are; where it really listens if not given.
    pub advertise: Option<Vec<Address>>,
    /// The seeds it knows; those of the world if not given.
    pub seeds: Option<Vec<SeedAddress>>,
    /// How long from now it starts.
    pub start_in: Duration,
}

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A process starts.
    Start { node: NodeId },
    /// The deadline of `poll_timeout`.
    Wake { node: NodeId, life: u32 },
    /// A dial reaches the host of the acceptor. The link is the dialer's end in all of these.
    Syn { link: LinkId },
    /// The acceptor's process takes the connection.
    Accept { link: LinkId },
    /// The acceptor's key reaches the dialer.
    ServerFlight { link: LinkId },
    /// "Nobody listens here" reaches the dialer.
    Refused { link: LinkId },
    /// A dial has had its time.
    DialDeadline { link: LinkId },
    /// A dial that never became a connection failed.
    DialFailed { node: NodeId, life: u32, dial: DialId, why: DialError },
    /// Something sent by the other end reaches this end.
    Arrive { link: LinkId, item: Item },
    /// The process is told that its end is down.
    LinkEnded { node: NodeId, life: u32, link: LinkId, why: LinkDown },
    /// Sent data has waited for its acknowledgement since then.
    UserTimeout { link: LinkId, since: Time },
    /// Held data is sent again.
    Retry { link: LinkId },
    /// There is room again on the line that a link waits for.
    LineFree { link: LinkId },
    /// The payload queue of a link is more than half full.
    Congested { node: NodeId, life: u32, link: LinkId },
    /// A request to the disk is done.
    Stored { node: NodeId, life: u32, ticket: StoreTicket, ops: Vec<StoreOp> },
    /// The consumer of a peer acknowledges what it was given.
    Consumed { node: NodeId, life: u32 },
}

/// Unix microseconds of the world's time zero: 2026-01-01T00:00:00Z.
const WALL_EPOCH: u64 = 1_767_225_600_000_000;
/// The port everybody listens on.
const PORT: u16 = 7000;

/// A world of nodes.
///
/// Methods that take a [`NodeId`] panic if it is from another world.
pub struct World {
    config: WorldConfig,
    now: Time,
    queue: Queue<Happening>,
    nodes: Vec<Node>,
    links: Links,
    network: Network,
    listeners: BTreeMap<SocketAddr, NodeId>,
    by_id: BTreeMap<PeerId, NodeId>,
    seeds: Arc<[SeedAddress]>,
    node_config: Arc<Config>,
    trace: Trace,
    ledger: Ledger,
    /// Lives that were told to be over by a certificate, in a world that is judged.
    removed: BTreeSet<(PeerId, u64)>,
    /// Whether adversaries do what they are here for.
    unleashed: Rc<Cell<bool>>,
    watch: Option<Watch>,
    figures: Figures,
    /// Nodes whose process is stopped, and those whose host is off.
    frozen: usize,
    hosts_down: usize,
    /// When the network, or a node in it, was disturbed last, deaths aside.
    disturbed: Time,
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
            unleashed: Rc::default(),
            watch: None,
            figures: Figures::default(),
            frozen: 0,
            hosts_down: 0,
            disturbed: Time::ZERO,
        };
        world.note_losses();
        world
    }

    /// Adds and starts `n` seeds. They know each other; peers added later know them too. Seeds of
    /// an earlier call do not learn of those of a later one, as with a configuration file that was
    /// not copied everywhere.
    pub fn add_seeds(&mut self, n: usize) -> Vec<NodeId> {
        let old = self.seeds.len();
        let new = (old..old + n)
            .map(|i| SeedAddress { host_port: seed_address(i).to_string(), pin: None });
        self.seeds = self.seeds.iter().cloned().chain(new).collect();
        let added: Vec<NodeId> = (old..old + n)
            .map(|i| {
                let seeds = Arc::clone(&self.seeds);
                let kind = Kind::Seed { seeds, own_index: Some(i) };
                let config = Arc::clone(&self.node_config);
                self.add(kind, config, seed_address(i), Duration::ZERO)
            })
            .collect();
        self.start_due();
        added
    }

    /// Adds and starts `n` peers.
    pub fn add_peers(&mut self, n: usize) -> Vec<NodeId> {
        let added = (0..n).map(|_| self.place_peer(PeerSpec::default())).collect();
        self.start_due();
        added
    }

    /// Adds `n` peers that start one after the other, evenly over a time.
    pub fn add_peers_over(&mut self, n: usize, over: Duration) -> Vec<NodeId> {
        let step = over / u32::try_from(n.max(1)).unwrap_or(u32::MAX);
        let added = (0..n)
            .map(|i| {
                let start_in = step * u32::try_from(i).unwrap_or(u32::MAX);
                self.place_peer(PeerSpec { start_in, ..PeerSpec::default() })
            })
            .collect();
        self.start_due();
        added
    }

    /// Adds one peer and starts it when the specification says.
    pub fn add_peer_with(&mut self, spec: PeerSpec) -> NodeId {
        let node = self.place_peer(spec);
        self.start_due();
        node
    }

    /// Adds and starts a node that runs whatever `factory` makes: an adversary, a listener. It is
    /// made anew at every restart, from the node's identity and disk.
    pub fn add_machine(
        &mut self,
        role: Role,
        factory: impl FnMut(&Identity, &Disk, Time) -> Box<dyn Machine> + 'static,
    ) -> NodeId {
        let factory: Factory = Box::new(factory);
        let at = node_address(self.nodes.len());
        let config = Arc::clone(&self.node_config);
        let node = self.add(Kind::Machine { factory, role }, config, at, Duration::ZERO);
        self.start_due();
        node
    }

    /// Adds and starts an adversary. It behaves until it is [unleashed](World::unleash).
    pub fn add_adversary(&mut self, kind: AdversaryKind) -> NodeId {
        let index = self.nodes.len();
        let (config, seeds) = (Arc::clone(&self.node_config), Arc::clone(&self.seeds));
        let (world_seed, at) = (self.config.seed, node_address(index));
        let unleashed = self.unleashed.clone();
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
                kept: Vec::new(),
                delivered: Vec::new(),
                compacted: vec![],
                rng_seed: derive(world_seed, "adversary", index as u64),
            };
            if kind == AdversaryKind::Idle {
                return Box::new(IdleRegistrant::new(setup(), now));
            }
            let dice = Dice::new(world_seed.wrapping_add(index as u64), "adversary");
            Box::new(Rogue::new(kind, identity.clone(), setup, dice, unleashed.clone(), now))
        });
        self.node_mut(node).is_adversary = true;
        node
    }

    /// Lets the adversaries do what they are here for, or makes them behave.
    pub fn unleash(&mut self, yes: bool) {
        self.unleashed.set(yes);
    }

    fn place_peer(&mut self, spec: PeerSpec) -> NodeId {
        let index = self.nodes.len();
        let at = node_address(index);
        let seeds = spec.seeds.map_or_else(|| Arc::clone(&self.seeds), Arc::from);
        let kind = Kind::Peer { name: spec.name, advertise: spec.advertise, seeds };
        let config = spec.config.map_or_else(|| Arc::clone(&self.node_config), Arc::new);
        self.add(kind, config, at, spec.start_in)
    }

    fn add(
        &mut self,
        kind: Kind,
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
        self.add_as(identity, kind, config, at, start_in)
    }

    fn add_as(
        &mut self,
        identity: Identity,
        kind: Kind,
        config: Arc<Config>,
        at: SocketAddr,
        start_in: Duration,
    ) -> NodeId {
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.by_id.entry(identity.id()).or_insert(node);
        self.listeners.insert(at, node);
        let mut made = Node::new(identity, kind, config, at);
        made.line = self.config.bandwidth;
        self.nodes.push(made);
        self.queue.push(self.now + start_in, Happening::Start { node });
        node
    }

    /// Carries out what is due now, so that nodes just added run when the call returns.
    fn start_due(&mut self) {
        self.run_to(self.now);
    }

    // ---- reading ----------------------------------------------------------------------------

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// How the world was made.
    #[must_use]
    pub const fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// A hash over every input handled so far: time, node, kind, and the number of the frame,
    /// link, dial or request.
    #[must_use]
    pub fn trace_hash(&self) -> [u8; 32] {
        self.trace.hash()
    }

    /// Inputs handled so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.trace.steps()
    }

    /// The nodes, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|i| NodeId(u32::try_from(i).unwrap_or(u32::MAX)))
    }

    /// The seeds as the peers of this world know them.
    #[must_use]
    pub fn seed_addresses(&self) -> &[SeedAddress] {
        &self.seeds
    }

    /// A node's key pair, for tests that speak in its name.
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

    /// Where a node listens.
    #[must_use]
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.node(node).address
    }

    /// A node's state.
    #[must_use]
    pub fn status(&self, node: NodeId) -> NodeStatus {
        self.node(node).status
    }

    /// What a node has on its disk.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> &Disk {
        &self.node(node).disk
    }

    /// What a node told, in order, over all its lives; nothing unless a world writes down everything.
    #[must_use]
    pub fn events(&self, node: NodeId) -> &[(Time, Event)] {
        &self.node(node).events
    }

    /// Messages that reached applications, in order; none in a world that keeps figures only.
    #[must_use]
    pub fn deliveries(&self) -> &[Arrival] {
        &self.ledger.arrivals
    }

    /// What happened so far, in figures; kept in every world.
    #[must_use]
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    fn is_judged(&self) -> bool {
        self.config.record != Record::Figures
    }

    /// Everything written down so far.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A planted fault: whoever got a message last gets it again.
    #[cfg(test)]
    pub(crate) fn repeat_the_last_arrival(&mut self) {
        self.ledger.arrivals.extend(self.ledger.arrivals.last().cloned());
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }
}

/// Where a seed listens.
fn seed_address(index: usize) -> SocketAddr {
    host(Ipv4Addr::new(10, 0, 0, 1), index)
}

/// Where a peer or a machine listens: no two nodes of one world at the same address.
fn node_address(index: usize) -> SocketAddr {
    host(Ipv4Addr::new(10, 1, 0, 1), index)
}

/// The `index`th host after a first one. From 10/8 on there is room for all numbers that a
/// [`NodeId`] can have, but they leave that block behind after 16 million.
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
    fn every_node_has_an_address_of_its_own() {
        let seeds = (0..64).map(seed_address);
        let mut all: Vec<SocketAddr> = seeds.chain((0..1_000_000).map(node_address)).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
        assert_eq!(node_address(70_000).to_string(), "10.2.17.113:7000");
    }
}
