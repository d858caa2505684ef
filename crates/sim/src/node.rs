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
use crate::disk::{Disk, Writer};
use crate::machine::{Core, Factory};
use crate::world::{Happening, Lane};

/// A node of one world. Worlds number their nodes from 0 in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// What state a node's process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeStatus {
    /// Not started yet.
    Waiting,
    /// Runs.
    Running,
    /// Stopped as by `SIGSTOP`: the kernel goes on accepting connections and data, the process
    /// does nothing.
    Frozen,
    /// Killed as by `SIGKILL`: its connections are reset, dials are refused.
    Killed,
    /// The host is off: packets to it vanish without an answer.
    HostDown,
    /// The peer left in an orderly way and its process has ended.
    Left,
}

/// What a node starts with, every time it starts.
pub(crate) enum Kind {
    Peer { name: Option<Name>, advertise: Option<Vec<Address>>, seeds: Arc<[SeedAddress]> },
    Seed { seeds: Arc<[SeedAddress]>, own_index: Option<usize> },
    Machine { factory: Factory, role: Role },
}

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) kind: Kind,
    pub(crate) config: Arc<Config>,
    pub(crate) address: SocketAddr,
    pub(crate) disk: Disk,
    /// An old copy of the disk.
    pub(crate) backup: Option<Disk>,
    pub(crate) events: Vec<(Time, Event)>,
    pub(crate) status: NodeStatus,
    /// Counts the starts of the process; what was meant for an earlier one is dropped.
    pub(crate) life: u32,
    pub(crate) life_since: Time,
    /// When seeds acknowledged a registration of its present process.
    pub(crate) acknowledged: Vec<Time>,
    /// How long its earlier processes ran.
    lived_before: Duration,
    pub(crate) core: Option<Core>,
    /// Made when it is needed: a fast world checks nothing.
    pub(crate) verifier: OnceCell<Box<Verifier>>,
    /// Links that the core was told of and not yet told the end of.
    pub(crate) open_links: BTreeSet<LinkId>,
    /// When the next wake-up in the queue is due; a later deadline does not move it.
    pub(crate) wake: Option<Time>,
    /// What came in while the process was frozen.
    pub(crate) backlog: VecDeque<Happening>,
    pub(crate) writer: Writer,
    /// The program that the peer delivers to, where it says how far it has come.
    pub(crate) consumer: Option<Consumer>,
    /// The core has said goodbye; the process ends once its outputs are carried out.
    pub(crate) leaving: bool,
    /// What it said that it could not hand over: of its own messages, the first and the number after the last, and of how
    /// many other publishers something.
    pub(crate) unconfirmed: Option<(u64, u64, u32)>,
    /// How many of its messages another node was known to hold, when it was last told.
    pub(crate) confirmed: u64,
    /// Timeouts handled at one and the same time, to notice a core that never sleeps.
    pub(crate) spins: (Time, u32),
    pub(crate) next_port: u16,
    /// Bytes a second that its line carries each way, if there is a limit.
    pub(crate) line: Option<u64>,
    /// Bytes a second that it can send, if that is less than its line carries.
    pub(crate) uplink: Option<u64>,
    pub(crate) up: Lane,
    pub(crate) down: Lane,
    /// How far its wall clock is ahead of the world's, in microseconds.
    pub(crate) clock_ahead: i64,
    /// It does not play by the rules: nothing is promised to it.
    pub(crate) is_adversary: bool,
    /// It runs with the identity of another node, from a copy of its disk: nothing is promised to it.
    pub(crate) is_copy: bool,
}

/// First port a node dials from.
const EPHEMERAL: u16 = 32_768;

impl Node {
    pub(crate) fn new(
        identity: Identity,
        kind: Kind,
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
            life: 0,
            life_since: Time::ZERO,
            acknowledged: Vec::new(),
            lived_before: Duration::ZERO,
            core: None,
            verifier: OnceCell::new(),
            open_links: BTreeSet::new(),
            wake: None,
            backlog: VecDeque::new(),
            writer: Writer::default(),
            consumer: None,
            leaving: false,
            unconfirmed: None,
            confirmed: 0,
            spins: (Time::ZERO, 0),
            next_port: EPHEMERAL,
            line: None,
            uplink: None,
            up: Lane::default(),
            down: Lane::default(),
            clock_ahead: 0,
            is_adversary: false,
            is_copy: false,
        }
    }

    pub(crate) const fn role(&self) -> Role {
        match &self.kind {
            Kind::Peer { .. } => Role::Peer,
            Kind::Seed { .. } => Role::Seed,
            Kind::Machine { role, .. } => *role,
        }
    }

    /// Bytes a second that it can send, if there is a limit.
    pub(crate) fn up_rate(&self) -> Option<u64> {
        self.line.into_iter().chain(self.uplink).min()
    }

    /// A fresh port to dial from.
    pub(crate) fn dial_from(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(EPHEMERAL);
        port
    }

    /// How long its processes have run by now, all together, frozen or not.
    pub(crate) fn lived(&self, now: Time) -> Duration {
        let this = if self.core.is_some() { now.since(self.life_since) } else { Duration::ZERO };
        self.lived_before + this
    }

    /// Forgets the process. Disk, identity and events stay.
    pub(crate) fn end_process(&mut self, now: Time, status: NodeStatus) {
        self.lived_before = self.lived(now);
        self.status = status;
        self.life += 1;
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
