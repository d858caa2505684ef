//! A node: a process on a host with an address, a disk and an identity.

use core::cell::OnceCell;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rumormill_proto::wire::Verifier;
use rumormill_proto::{Address, Config, Event, Identity, LinkId, Name, Role, SeedAddress, Time};

use crate::consumer::Consumer;
use crate::disk::{Disk, DiskWriter};
use crate::machine::{MachineFactory, NodeCore};
use crate::world::{LineDirection, SimEvent};

/// Number of a node in its world. Nodes are numbered from 0 in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// State of a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeStatus {
    /// Not started yet.
    Waiting,
    /// The process runs.
    Running,
    /// Stopped as by `SIGSTOP`: the kernel still accepts connections and data, the process does
    /// nothing.
    Frozen,
    /// Killed as by `SIGKILL`: connections are reset, dials are refused.
    Killed,
    /// The host has no power: packets to it get no answer.
    HostDown,
    /// The peer has left in an orderly way and its process has ended.
    Left,
}

/// The kind of a node, with the settings that every start of its process needs.
pub(crate) enum NodeKind {
    Peer { name: Option<Name>, advertise: Option<Vec<Address>>, seeds: Arc<[SeedAddress]> },
    Seed { seeds: Arc<[SeedAddress]>, own_index: Option<usize> },
    Machine { factory: MachineFactory, role: Role },
}

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) kind: NodeKind,
    pub(crate) config: Arc<Config>,
    pub(crate) address: SocketAddr,
    pub(crate) disk: Disk,
    /// An earlier copy of the disk.
    pub(crate) backup: Option<Disk>,
    pub(crate) events: Vec<(Time, Event)>,
    pub(crate) status: NodeStatus,
    /// Number of the current process: counts its starts and ends. Events for an earlier process are
    /// dropped.
    pub(crate) process: u32,
    pub(crate) started_at: Time,
    /// When seeds acknowledged registrations of the current process.
    pub(crate) acknowledged: Vec<Time>,
    /// How long earlier processes of the node ran.
    earlier_uptime: Duration,
    pub(crate) core: Option<NodeCore>,
    /// Made on first use: a fast world verifies nothing.
    pub(crate) verifier: OnceCell<Box<Verifier>>,
    /// Links for which the core has got `LinkUp` and not yet `LinkDown`.
    pub(crate) open_links: BTreeSet<LinkId>,
    /// When the next wake-up in the event queue is due; a later deadline does not move it.
    pub(crate) wake: Option<Time>,
    /// Events that arrived while the process was frozen.
    pub(crate) backlog: VecDeque<SimEvent>,
    pub(crate) writer: DiskWriter,
    /// The consumer that acknowledges the peer's deliveries, if the world simulates one.
    pub(crate) consumer: Option<Consumer>,
    /// The core has left; the process ends once its outputs are carried out.
    pub(crate) leaving: bool,
    /// What the peer reported as not handed over when it left: the first of its own messages and
    /// the sequence number after the last one, and the number of other publishers concerned.
    pub(crate) unconfirmed: Option<(u64, u64, u32)>,
    /// How many of its messages another node is known to hold, by the last `Output::Confirmed`.
    pub(crate) confirmed: u64,
    /// Timeouts handled at one moment, to detect a core whose deadline never moves.
    pub(crate) spins: (Time, u32),
    pub(crate) next_port: u16,
    /// Bytes a second of its line in each direction, if there is a limit.
    pub(crate) line: Option<u64>,
    /// Bytes a second of its uplink, if that is slower than the line.
    pub(crate) uplink: Option<u64>,
    pub(crate) up: LineDirection,
    pub(crate) down: LineDirection,
    /// Offset of its wall clock from the world's, in microseconds.
    pub(crate) clock_ahead: i64,
    /// The node is an adversary: no promise applies to it.
    pub(crate) is_adversary: bool,
    /// The node runs with the identity of another node, from a copy of its disk: no promise applies
    /// to it.
    pub(crate) is_copy: bool,
}

/// First port from which a node dials.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

impl Node {
    pub(crate) fn new(
        identity: Identity,
        kind: NodeKind,
        config: Arc<Config>,
        address: SocketAddr,
    ) -> Self {
        Node {
            identity,
            kind,
            config,
            address,
            disk: Disk::default(),
            backup: None,
            events: Vec::new(),
            status: NodeStatus::Waiting,
            process: 0,
            started_at: Time::ZERO,
            acknowledged: Vec::new(),
            earlier_uptime: Duration::ZERO,
            core: None,
            verifier: OnceCell::new(),
            open_links: BTreeSet::new(),
            wake: None,
            backlog: VecDeque::new(),
            writer: DiskWriter::default(),
            consumer: None,
            leaving: false,
            unconfirmed: None,
            confirmed: 0,
            spins: (Time::ZERO, 0),
            next_port: FIRST_EPHEMERAL_PORT,
            line: None,
            uplink: None,
            up: LineDirection::default(),
            down: LineDirection::default(),
            clock_ahead: 0,
            is_adversary: false,
            is_copy: false,
        }
    }

    pub(crate) const fn role(&self) -> Role {
        match &self.kind {
            NodeKind::Peer { .. } => Role::Peer,
            NodeKind::Seed { .. } => Role::Seed,
            NodeKind::Machine { role, .. } => *role,
        }
    }

    /// Bytes a second that the node can send, if there is a limit.
    pub(crate) fn up_rate(&self) -> Option<u64> {
        self.line.into_iter().chain(self.uplink).min()
    }

    /// The next port to dial from.
    pub(crate) fn dial_from(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        port
    }

    /// Total time for which processes of the node have run until now, frozen or not.
    pub(crate) fn uptime(&self, now: Time) -> Duration {
        let this = if self.core.is_some() { now.since(self.started_at) } else { Duration::ZERO };
        self.earlier_uptime + this
    }

    /// Removes the process. Disk, identity and events stay.
    pub(crate) fn end_process(&mut self, now: Time, status: NodeStatus) {
        self.earlier_uptime = self.uptime(now);
        self.status = status;
        self.process += 1;
        self.core = None;
        self.verifier = OnceCell::new();
        self.open_links.clear();
        self.wake = None;
        self.backlog.clear();
        if let Some(consumer) = &mut self.consumer {
            consumer.end_process();
        }
        self.leaving = false;
        self.unconfirmed = None;
        self.confirmed = 0;
    }
}
