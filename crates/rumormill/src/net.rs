//! The state that all tasks of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumormill_proto::wire::{Frame, Verified, Verifier};
use rumormill_proto::{
    DialError, DialId, Event, Identity, LinkDown, LinkId, LinkInfo, PeerId, Role, StoreTicket,
};
use tokio::sync::{Notify, Semaphore, watch};

use crate::counters::Tally;
use crate::error::StartError;
use crate::gate::Gate;
use crate::inbox::Inbox;
use crate::link::LinkQueue;
use crate::network_key::NetworkKey;
use crate::trace::Label;
use crate::transport::{Addresses, Caller, Tls, WorkingAddresses};
use crate::tuning::Tuning;
use crate::wall::Wall;

/// An input for the driver, from the tasks of the links, of the dials and of the store.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A link is ready; the driver writes to it through its queue.
    Up { link: LinkId, info: Box<LinkInfo>, queue: Arc<LinkQueue> },
    /// A verified frame.
    Frame { link: LinkId, frame: Verified<Frame> },
    /// A link has ended; the last input of that link.
    Down { link: LinkId, why: LinkDown },
    /// A dial failed.
    DialFailed { dial: DialId, why: DialError },
    /// The name of a linked seed resolves to other addresses.
    SeedMoved { seed: String },
    /// A change is durable.
    Stored(StoreTicket),
    /// An event to report.
    Tell(Event),
}

/// Whether batches that this node published still wait for a writer. While they do, further
/// messages gather for the next batches, which then cost one signature and few frames. The driver
/// is notified as soon as the first writer has taken the waiting batches.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    waits: AtomicBool,
    pub(crate) eased: Notify,
}

impl Outflow {
    /// Records that a batch was put into a queue.
    pub(crate) fn begin(&self) {
        self.waits.store(true, Ordering::Release);
    }

    /// Records that a writer has taken all of these batches, or that a link is gone.
    pub(crate) fn ease(&self) {
        if self.waits() && self.waits.swap(false, Ordering::AcqRel) {
            self.eased.notify_one();
        }
    }

    /// Whether no writer has taken the batches yet.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }
}

/// The lateness of this node's timers: the largest recent value, which decays by an eighth with
/// each timer.
#[derive(Debug, Default)]
pub(crate) struct Lateness(AtomicU64);

impl Lateness {
    /// Records how late a timer fired.
    pub(crate) fn note(&self, late: Duration) {
        let now = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(now.max(before - before / 8), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The state that all tasks of one node share. When the last task has ended, it is dropped, and
/// with it the sender that `stopped` waits for.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) label: Label,
    pub(crate) role: Role,
    /// A random number of this process, sent in Hello.
    pub(crate) process: u64,
    pub(crate) tls: Tls,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) tuning: Tuning,
    pub(crate) tally: Arc<Tally>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) gate: Gate,
    pub(crate) wall: Wall,
    pub(crate) inbox: Inbox,
    /// Slots for connections between `accept` and Hello.
    pub(crate) handshakes: Arc<Semaphore>,
    /// Slots for dials.
    pub(crate) dials: Arc<Semaphore>,
    /// Slots for links.
    pub(crate) links: Arc<Semaphore>,
    /// Inbound connections by address.
    pub(crate) addresses: Arc<Addresses>,
    /// The addresses that answered last, for dials.
    pub(crate) working: WorkingAddresses,
    pub(crate) outflow: Outflow,
    pub(crate) lateness: Lateness,
    next_link: AtomicU64,
    _alive: watch::Sender<()>,
}

/// The parts that the shared state is made of.
#[derive(Debug)]
pub(crate) struct NetSetup {
    pub(crate) label: Label,
    pub(crate) role: Role,
    pub(crate) identity: Identity,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) tuning: Tuning,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) tally: Arc<Tally>,
}

/// The shared state of a new node, and the signal of its end.
pub(crate) struct NewNet {
    pub(crate) net: Arc<Net>,
    /// Closed when all tasks of the node have ended.
    pub(crate) ended: watch::Receiver<()>,
}

impl Net {
    pub(crate) fn caller(&self) -> Caller<'_> {
        let Net { role, tls, network_key, tally, working, .. } = self;
        let (id, role, process) = (self.id(), *role, self.process);
        Caller { id, role, process, tls, network_key: network_key.as_ref(), tally, working }
    }

    pub(crate) fn set_up(setup: NetSetup) -> Result<NewNet, StartError> {
        let NetSetup { label, role, identity, network_key, tuning, verifier, tally } = setup;
        let tls = Tls::new(&identity).map_err(|e| StartError::Tls(e.to_string()))?;
        let process = u64::from_le_bytes(crate::random_bytes()?);
        let (alive, ended) = watch::channel(());
        let net = Net {
            label,
            role,
            process,
            tls,
            network_key,
            tally,
            verifier,
            gate: Gate::new(),
            wall: Wall::new(),
            inbox: Inbox::new(&tuning),
            handshakes: Arc::new(Semaphore::new(tuning.max_handshakes)),
            dials: Arc::new(Semaphore::new(tuning.max_dials)),
            links: Arc::new(Semaphore::new(tuning.max_links)),
            addresses: Arc::new(Addresses::new(tuning.max_per_address, tuning.loopback_exempt)),
            working: WorkingAddresses::default(),
            outflow: Outflow::default(),
            lateness: Lateness::default(),
            next_link: AtomicU64::new(1),
            _alive: alive,
            tuning,
        };
        Ok(NewNet { net: Arc::new(net), ended })
    }

    pub(crate) fn next_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.label.id
    }

    /// Sends an input to the driver; waits while the driver is behind. All tasks end with the
    /// driver.
    pub(crate) async fn tell(&self, news: Arrival) {
        self.inbox.tell(news).await;
    }
}
