//! The state that all tasks of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumormill_proto::wire::{Frame, Verified, Verifier};
use rumormill_proto::{
    DialError, DialId, Event, Identity, LinkEnd, LinkId, LinkInfo, PeerId, Role, StoreTicket,
};
use tokio::sync::{Notify, Semaphore, watch};

use crate::counters::TransportCounters;
use crate::error::StartError;
use crate::gate::Gate;
use crate::inbox::Inbox;
use crate::link::SharedLinkQueue;
use crate::network_key::NetworkKey;
use crate::partition::Partition;
use crate::trace::NodeLabel;
use crate::transport::{AddressLimits, Dialer, Tls, WorkingAddresses};
use crate::tuning::Tuning;

/// An input for the driver, from the tasks of the links, of the dials and of the store.
#[derive(Debug)]
pub(crate) enum DriverInput {
    /// A link is ready; the driver writes to it through its queue.
    LinkUp { link: LinkId, info: Box<LinkInfo>, queue: Arc<SharedLinkQueue> },
    /// A verified frame.
    Frame { link: LinkId, frame: Verified<Frame> },
    /// A link has ended; the last input of that link.
    LinkDown { link: LinkId, why: LinkEnd },
    /// A dial failed.
    DialFailed { dial: DialId, why: DialError },
    /// The name of a linked seed resolves to other addresses.
    SeedMoved { seed: String },
    /// A change is durable.
    Stored(StoreTicket),
    /// An event to report.
    Event(Event),
}

/// Whether batches that this node published still wait for a writer. While they do, further
/// messages gather for the next batches, which then cost one signature and few frames. The driver
/// is notified as soon as the first writer has taken the waiting batches.
#[derive(Debug, Default)]
pub(crate) struct OwnBatches {
    waiting: AtomicBool,
    pub(crate) taken: Notify,
}

impl OwnBatches {
    /// Records that a batch was put into a queue.
    pub(crate) fn mark_queued(&self) {
        self.waiting.store(true, Ordering::Release);
    }

    /// Records that a writer has taken all of these batches, or that a link is gone.
    pub(crate) fn mark_taken(&self) {
        if self.has_waiting() && self.waiting.swap(false, Ordering::AcqRel) {
            self.taken.notify_one();
        }
    }

    /// Whether no writer has taken the batches yet.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }
}

/// The lateness of this node's timers: the largest recent value, which decays by an eighth with
/// each timer.
#[derive(Debug, Default)]
pub(crate) struct TimerLateness(AtomicU64);

impl TimerLateness {
    /// Records how late a timer fired.
    pub(crate) fn record(&self, late: Duration) {
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
pub(crate) struct NodeContext {
    pub(crate) label: NodeLabel,
    pub(crate) role: Role,
    /// A random number of this process, sent in Hello.
    pub(crate) process: u64,
    pub(crate) tls: Tls,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) tuning: Tuning,
    pub(crate) counters: Arc<TransportCounters>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) gate: Gate,
    pub(crate) partition: Partition,
    pub(crate) inbox: Inbox,
    /// Slots for connections between `accept` and Hello.
    pub(crate) handshakes: Arc<Semaphore>,
    /// Slots for dials.
    pub(crate) dials: Arc<Semaphore>,
    /// Slots for links.
    pub(crate) links: Arc<Semaphore>,
    /// Inbound connections by address.
    pub(crate) addresses: Arc<AddressLimits>,
    /// The addresses that answered last, for dials.
    pub(crate) working: WorkingAddresses,
    pub(crate) own_batches: OwnBatches,
    pub(crate) lateness: TimerLateness,
    next_link: AtomicU64,
    _alive: watch::Sender<()>,
}

/// The parts that the shared state is made of.
#[derive(Debug)]
pub(crate) struct ContextSetup {
    pub(crate) label: NodeLabel,
    pub(crate) role: Role,
    pub(crate) identity: Identity,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) tuning: Tuning,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) counters: Arc<TransportCounters>,
}

/// The shared state of a new node, and the signal of its end.
pub(crate) struct NewContext {
    pub(crate) context: Arc<NodeContext>,
    /// Closed when all tasks of the node have ended.
    pub(crate) ended: watch::Receiver<()>,
}

impl NodeContext {
    pub(crate) fn dialer(&self) -> Dialer<'_> {
        let NodeContext { role, tls, network_key, counters, working, .. } = self;
        let (id, role, process) = (self.id(), *role, self.process);
        Dialer { id, role, process, tls, network_key: network_key.as_ref(), counters, working }
    }

    pub(crate) fn create(setup: ContextSetup) -> Result<NewContext, StartError> {
        let ContextSetup { label, role, identity, network_key, tuning, verifier, counters } = setup;
        let tls = Tls::new(&identity).map_err(|e| StartError::Tls(e.to_string()))?;
        let process = u64::from_le_bytes(crate::random_bytes()?);
        let (alive, ended) = watch::channel(());
        let context = NodeContext {
            label,
            role,
            process,
            tls,
            network_key,
            counters,
            verifier,
            gate: Gate::new(),
            partition: Partition::new(),
            inbox: Inbox::new(&tuning),
            handshakes: Arc::new(Semaphore::new(tuning.max_handshakes)),
            dials: Arc::new(Semaphore::new(tuning.max_dials)),
            links: Arc::new(Semaphore::new(tuning.max_links)),
            addresses: Arc::new(AddressLimits::new(tuning.max_per_address, tuning.loopback_exempt)),
            working: WorkingAddresses::default(),
            own_batches: OwnBatches::default(),
            lateness: TimerLateness::default(),
            next_link: AtomicU64::new(1),
            _alive: alive,
            tuning,
        };
        Ok(NewContext { context: Arc::new(context), ended })
    }

    pub(crate) fn next_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.label.id
    }

    /// Sends an input to the driver; waits while the driver is behind. All tasks end with the
    /// driver.
    pub(crate) async fn send_input(&self, input: DriverInput) {
        self.inbox.push(input).await;
    }
}
