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
mod line;
mod observe;
mod run;
mod watch;

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use rumormill_proto::{
    Address, Config, DialError, DialId, Event, Identity, LinkDown, LinkId, Name, PeerId, PeerSetup,
    Role, SeedAddress, StoreOp, StoreTicket, Time,
};

use crate::adversary::Rogue;
use crate::disk::Disk;
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
    seeds: Vec<SeedAddress>,
    trace: Trace,
    ledger: Ledger,
    /// Whether adversaries do what they are here for.
    unleashed: Rc<Cell<bool>>,
    watch: Option<Watch>,
}

impl World {
    /// An empty world at time zero.
    #[must_use]
    pub fn new(config: WorldConfig) -> Self {
        World {
            network: Network::new(config.seed, config.latency, config.loss),
            config,
            now: Time::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            links: Links::default(),
            listeners: BTreeMap::new(),
            by_id: BTreeMap::new(),
            seeds: Vec::new(),
            trace: Trace::default(),
            ledger: Ledger::default(),
            unleashed: Rc::default(),
            watch: None,
        }
    }

    /// Adds and starts `n` seeds. They know each other; peers added later know them too. Seeds of
    /// an earlier call do not learn of those of a later one, as with a configuration file that was
    /// not copied everywhere.
    pub fn add_seeds(&mut self, n: usize) -> Vec<NodeId> {
        let old = self.seeds.len();
        for i in old..old + n {
            self.seeds.push(SeedAddress { host_port: address(10, 0, i).to_string(), pin: None });
        }
        let added: Vec<NodeId> = (old..old + n)
            .map(|i| {
                let seeds = self.seeds.clone();
                let kind = Kind::Seed { seeds, own_index: Some(i) };
                let config = self.config.node.clone();
                self.add(kind, config, address(10, 0, i), Duration::ZERO)
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
        let at = address(10, 2, self.nodes.len());
        let config = self.config.node.clone();
        let node = self.add(Kind::Machine { factory, role }, config, at, Duration::ZERO);
        self.start_due();
        node
    }

    /// Adds and starts an adversary. It behaves until it is [unleashed](World::unleash).
    pub fn add_adversary(&mut self, kind: AdversaryKind) -> NodeId {
        let index = self.nodes.len();
        let (config, seeds) = (self.config.node.clone(), self.seeds.clone());
        let (world_seed, at) = (self.config.seed, address(10, 2, index));
        let unleashed = self.unleashed.clone();
        let node = self.add_machine(Role::Peer, move |identity, _, now| {
            let setup = || PeerSetup {
                config: config.clone(),
                identity: identity.clone(),
                name: peer_name(index),
                addresses: vec![Address(at)],
                seeds: seeds.clone(),
                incarnation: 1,
                anchors: Vec::new(),
                kept: Vec::new(),
                delivered: Vec::new(),
                rng_seed: derive(world_seed, "adversary", index as u64),
            };
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
        let at = address(10, 1, index);
        let name = spec.name.unwrap_or_else(|| peer_name(index));
        let kind = Kind::Peer {
            name,
            advertise: spec.advertise.unwrap_or_else(|| vec![Address(at)]),
            seeds: spec.seeds.unwrap_or_else(|| self.seeds.clone()),
        };
        let config = spec.config.unwrap_or_else(|| self.config.node.clone());
        self.add(kind, config, at, spec.start_in)
    }

    fn add(&mut self, kind: Kind, config: Config, at: SocketAddr, start_in: Duration) -> NodeId {
        let index = self.nodes.len();
        let node = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        let secret = derive(self.config.seed, "identity", index as u64);
        let identity = Identity::from_secret(&secret);
        self.by_id.insert(identity.id(), node);
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

    /// What a node told, in order, over all its lives.
    #[must_use]
    pub fn events(&self, node: NodeId) -> &[(Time, Event)] {
        &self.node(node).events
    }

    /// Messages that reached applications, in order.
    #[must_use]
    pub fn deliveries(&self) -> &[Arrival] {
        &self.ledger.arrivals
    }

    /// Everything written down so far.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }
}

/// The address of the `index`th host of a block of 65,536.
fn address(a: u8, b: u8, index: usize) -> SocketAddr {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, high, low)), PORT)
}

#[allow(clippy::expect_used)]
fn peer_name(index: usize) -> Name {
    Name::new(format!("peer-{index}")).expect("letters, a hyphen and digits are a name")
}
