//! The task that drives a node's state machine.
//!
//! It feeds the core with inputs and carries out its outputs. It waits only for the next input:
//! sending puts a frame into a link's queue, and other tasks dial and write to disk.

mod channels;
mod clock;
mod shared_core;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::link_queue::{DropReason, EnqueueOutcome};
use rumormill_proto::wire::{self, Encoded, Frame};
use rumormill_proto::{
    Class, CloseReason, Event, Input, LinkId, Message, MessageId, Output, PeerId, StateMachine,
    StreamId, Time,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::channels::{AppChannels, ChannelsGuard};
pub use self::channels::{DuplicateIdentity, TimestampedEvent};
use self::clock::WallClockMonitor;
pub(crate) use self::clock::{Clock, wall_clock};
pub(crate) use self::shared_core::SharedCore;
use crate::context::{DriverInput, NodeContext};
use crate::inbox::ServedLane;
use crate::link::SharedLinkQueue;
use crate::publish::UnconfirmedMessages;
use crate::store::StoreHandle;
use crate::trace::trace;
use crate::transport;

/// If a timer fires this late, the process (or the machine) was held up. The link tasks then run
/// first, so that this node does not blame its neighbours for its own pause.
const LATE_TIMER: Duration = Duration::from_millis(20);
/// How often the driver yields to the link tasks after such a late timer.
const YIELDS_AFTER_LATE_TIMER: usize = 4;
/// The longest sleep, so that the driver compares the wall clock regularly.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// How long a node that ends waits for the last acknowledgement of its consumer.
const CONSUMER_EXIT_WAIT: Duration = Duration::from_secs(2);
/// The least time that the links, and then the consumer, get for their last work, even after the
/// time to leave has passed.
const MIN_EXIT_WAIT: Duration = Duration::from_millis(250);
/// Inputs handled in one round, before timers and publishers have their turn.
const MAX_ROUND_INPUTS: usize = 256;
/// The longest duration of one round.
const MAX_ROUND_TIME: Duration = Duration::from_millis(5);

/// A call of the core that the driver's task executes.
type Call<C> = Box<dyn FnOnce(&mut C, Time) + Send>;

/// A request of a handle to the driver.
pub(crate) enum Command<C> {
    /// Call the core.
    Call(Call<C>),
    /// Fetch a message; `ask` starts the search in the core.
    Fetch {
        id: MessageId,
        ask: fn(&mut C, Time, MessageId),
        reply: oneshot::Sender<Option<Message>>,
    },
    /// Leave within a time, and end.
    Leave(Duration),
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    queue: Arc<SharedLinkQueue>,
}

/// The progress of shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShutdownPhase {
    Running,
    /// The core is leaving, and emits `Event::Left` when it has left.
    Leaving,
    /// The links write their queues, until this time at the latest.
    Closing(Instant),
}

/// The driver of one node.
pub(crate) struct Driver<C: StateMachine + Send + 'static> {
    shared_core: Arc<SharedCore<C>>,
    context: Arc<NodeContext>,
    channels: AppChannels,
    wall_clock: WallClockMonitor,
    commands: mpsc::Receiver<Command<C>>,
    /// A buffer for the inputs of the current round.
    inputs: Vec<DriverInput>,
    store: Option<StoreHandle>,
    links: BTreeMap<LinkId, Link>,
    /// Outputs of the core that are not carried out yet.
    outputs: VecDeque<Output>,
    /// Inputs that arose while outputs were carried out.
    ready: VecDeque<Input>,
    /// Callers that wait for a fetched message.
    waiting: BTreeMap<MessageId, Vec<oneshot::Sender<Option<Message>>>>,
    /// The last batch sent and its encoding: the same batch usually goes to several links in a row.
    last_gossip: Option<(Frame, Encoded)>,
    phase: ShutdownPhase,
    /// The time by which the node has to end, once it leaves.
    leave_by: Option<Instant>,
    /// Whether handles exist that may send commands.
    takes_commands: bool,
}

/// The parts of a driver.
pub(crate) struct DriverSetup<C: StateMachine + Send + 'static> {
    pub(crate) shared_core: Arc<SharedCore<C>>,
    pub(crate) context: Arc<NodeContext>,
    pub(crate) channels: AppChannels,
    pub(crate) commands: mpsc::Receiver<Command<C>>,
    pub(crate) store: Option<StoreHandle>,
}

/// Starts the driver of a node in its own task. The core was created at [`Time::ZERO`], which is
/// now.
pub(crate) fn spawn<C: StateMachine + Send + 'static>(setup: DriverSetup<C>) {
    let DriverSetup { shared_core, context, channels, commands, store } = setup;
    let driver = Driver {
        shared_core,
        context: context.clone(),
        channels,
        wall_clock: WallClockMonitor::default(),
        commands,
        inputs: Vec::new(),
        store,
        links: BTreeMap::new(),
        outputs: VecDeque::new(),
        ready: VecDeque::new(),
        waiting: BTreeMap::new(),
        last_gossip: None,
        phase: ShutdownPhase::Running,
        leave_by: None,
        takes_commands: true,
    };
    tokio::spawn(async move {
        let _ = context.gate.run(driver.run()).await;
    });
}

impl<C: StateMachine + Send + 'static> Drop for Driver<C> {
    /// However the driver ends (a leave, a kill, a panic in the core), all tasks of the node end
    /// with it, and no caller keeps waiting for an answer.
    fn drop(&mut self) {
        self.context.gate.kill();
        self.shared_core.close();
        self.channels.close();
    }
}

impl<C: StateMachine + Send + 'static> Driver<C> {
    async fn run(mut self) {
        self.report_wall_clock();
        self.step(|_, _| ());
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        loop {
            let Some(wake) = self.fire_timeout().await else { return };
            // The core may have left at this deadline.
            if self.is_finished() {
                break;
            }
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            let (shared_core, progress) =
                (self.shared_core.clone(), self.channels.progress.clone());
            tokio::select! {
                biased;
                command = self.commands.recv(), if self.takes_commands => {
                    self.takes_commands &= command.is_some();
                    // All handles are gone: no caller waits for this node any more.
                    let leave = Command::Leave(self.context.tuning.leave_within);
                    self.handle_command(command.unwrap_or(leave));
                }
                () = self.context.inbox.ready() => self.handle_round(),
                () = shared_core.wake.notified() => {
                    // Publishers that are about to add more messages run first, so that all of them
                    // go out as one batch.
                    tokio::task::yield_now().await;
                    self.step(|_, _| ());
                }
                () = self.context.own_batches.taken.notified() => self.step(|_, _| ()),
                () = progress.changed.notified() => self.handle_consumer_progress(),
                () = &mut timer => {}
            }
            self.report_wall_clock();
        }
        self.finish().await;
    }

    /// The time of the next wake-up if no input arrives.
    fn wake_at(&self, deadline: Option<Time>) -> Instant {
        let core = deadline.map(|t| self.shared_core.clock().instant(t));
        let end = match self.phase {
            ShutdownPhase::Running | ShutdownPhase::Leaving => None,
            ShutdownPhase::Closing(at) => Some(at),
        };
        let latest = Instant::now() + MAX_SLEEP;
        [core, end].into_iter().flatten().fold(latest, Instant::min)
    }

    /// Handles the inputs that have arrived, up to the limits of a round. Later inputs wait for the
    /// next round, so that timers run on time under any load.
    fn handle_round(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        let (began, mut handled) = (Instant::now(), 0);
        while handled < MAX_ROUND_INPUTS && began.elapsed() < MAX_ROUND_TIME {
            let served = self.context.inbox.take_next(&mut inputs);
            if served == ServedLane::Empty {
                break;
            }
            handled += inputs.len();
            let began_turn = std::time::Instant::now();
            for input in inputs.drain(..) {
                self.handle_input(input);
            }
            if let ServedLane::Link(link) = served {
                self.context.inbox.charge(link, began_turn.elapsed());
            }
        }
        inputs.shrink_to(16);
        self.inputs = inputs;
    }

    /// Handles one input of every link that has some.
    fn handle_one_input_of_each_link(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        self.context.inbox.take_one_of_each(&mut inputs);
        for input in inputs.drain(..) {
            self.handle_input(input);
        }
        self.inputs = inputs;
    }

    /// Tells the core that its deadline has passed, if it has, after handling one input of every
    /// link that has some. Returns the time of the next wake-up; `None` if the core is gone.
    async fn fire_timeout(&mut self) -> Option<Instant> {
        let (deadline, now) = self.shared_core.with(|core, now| (core.poll_timeout(), now))?;
        let Some(deadline) = deadline.filter(|at| *at <= now) else {
            return Some(self.wake_at(deadline));
        };
        self.context.lateness.record(now.since(deadline));
        self.handle_one_input_of_each_link();
        if now.since(deadline) > LATE_TIMER {
            // Frames that neighbours sent in the meantime are still in the sockets.
            for _ in 0..YIELDS_AFTER_LATE_TIMER {
                tokio::task::yield_now().await;
                self.handle_one_input_of_each_link();
            }
        }
        self.feed(Input::Timeout);
        self.channels.log.evict_expired(Instant::now());
        let deadline = self.shared_core.with(|core, _| core.poll_timeout())?;
        Some(self.wake_at(deadline))
    }

    fn feed(&mut self, input: Input) {
        self.step(|core, now| core.handle(now, input));
    }

    /// Calls the core, and carries out all outputs that follow.
    fn step(&mut self, call: impl FnOnce(&mut C, Time)) {
        let outputs = &mut self.outputs;
        // While earlier batches still wait for a writer, the core packs further messages into the
        // next ones.
        let is_writer_busy = self.context.own_batches.has_waiting();
        let Some(mut can_publish) = self.shared_core.with(|core, now| {
            core.set_writer_busy(is_writer_busy);
            call(core, now);
            outputs.extend(std::iter::from_fn(|| core.poll_output()));
            core.can_publish()
        }) else {
            return;
        };
        loop {
            // An output can cause an input at once (a full queue, a change without a store), and
            // that input further outputs: both are drained before the driver waits again.
            while let Some(output) = self.outputs.pop_front() {
                self.carry_out(output);
            }
            let Some(input) = self.ready.pop_front() else { break };
            let outputs = &mut self.outputs;
            let Some(admits) = self.shared_core.with(|core, now| {
                core.handle(now, input);
                outputs.extend(std::iter::from_fn(|| core.poll_output()));
                core.can_publish()
            }) else {
                return;
            };
            can_publish = admits;
        }
        // The window may have opened: the publisher whose turn it is tries again.
        if can_publish && self.shared_core.has_blocked_publisher() {
            self.shared_core.window_opened.notify_one();
        }
    }

    fn handle_input(&mut self, input: DriverInput) {
        match input {
            DriverInput::Frame { link, frame } => self.feed(Input::Frame { link, frame }),
            DriverInput::LinkUp { link, info, queue } => {
                if matches!(self.phase, ShutdownPhase::Closing(_)) {
                    queue.close(CloseReason::Leaving);
                }
                self.links.insert(link, Link { peer: info.remote, queue });
                self.feed(Input::LinkUp { link, info: *info });
            }
            DriverInput::LinkDown { link, why } => {
                self.links.remove(&link);
                self.context.inbox.remove(link);
                self.context.own_batches.mark_taken();
                self.feed(Input::LinkDown { link, why });
            }
            DriverInput::DialFailed { dial, why } => self.feed(Input::DialFailed { dial, why }),
            DriverInput::SeedMoved { seed } => self.feed(Input::SeedMoved { seed }),
            DriverInput::Stored(ticket) => self.feed(Input::Stored { ticket }),
            DriverInput::Event(event) => self.emit(event),
        }
    }

    fn handle_command(&mut self, command: Command<C>) {
        match command {
            Command::Call(call) => self.step(call),
            Command::Fetch { id, ask, reply } => {
                self.waiting.entry(id).or_default().push(reply);
                self.step(|core, now| ask(core, now, id));
            }
            Command::Leave(within) => {
                // A duration beyond the range of the clock is no limit.
                let by = Instant::now().checked_add(within);
                self.leave_by = [self.leave_by, by].into_iter().flatten().min();
                let mut reports_left = false;
                self.step(|core, now| reports_left = core.leave(now, within));
                if reports_left {
                    // The core may have left in this very step.
                    if self.phase == ShutdownPhase::Running {
                        self.phase = ShutdownPhase::Leaving;
                    }
                } else {
                    self.close_all();
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { link, frame, class } => self.send(link, frame, class),
            Output::Dial { dial, to } => transport::dial(&self.context, dial, to),
            Output::Close { link, reason } => {
                if let Some(link) = self.links.get(&link) {
                    link.queue.close(reason);
                }
            }
            Output::Store { ticket, ops } => {
                let taken = self.store.as_ref().map(|s| s.store(&self.context, ticket, ops));
                match taken {
                    Some(true) => {}
                    Some(false) => self.ready.push_back(Input::StoreFailed { ticket }),
                    None => self.ready.push_back(Input::Stored { ticket }),
                }
            }
            Output::Deliver(delivery) => {
                if delivery.batch.publisher() != self.context.id() {
                    let published = delivery.batch.published_at().0;
                    let delay =
                        Duration::from_micros(clock::wall_clock().0.saturating_sub(published));
                    self.context.counters.delays.add(delay, delivery.count());
                }
                self.channels.log.append(delivery);
            }
            Output::Confirmed { to } => self.channels.handover.record_confirmed(to),
            Output::Receipt(receipt) => self.channels.receipts.update(receipt),
            Output::Fetched { id, message } => {
                for reply in self.waiting.remove(&id).unwrap_or_default() {
                    // The caller may have given up.
                    let _ = reply.send(message.clone());
                }
            }
            Output::Event(event) => {
                let left = match &event {
                    Event::DuplicateIdentity { address, stops: true, .. } => {
                        self.channels.end_as_duplicate(address.map(|a| a.0));
                        true
                    }
                    event => matches!(event, Event::Left { .. }),
                };
                if let Event::LeftUnconfirmed { epoch, from, to, others, earlier } = event {
                    self.channels.handover.record_unconfirmed(UnconfirmedMessages {
                        epoch,
                        from,
                        to,
                        others,
                        earlier,
                    });
                }
                if let Event::StreamMoved { from, to, .. } = event {
                    self.channels.receipts.move_stream(from, to);
                }
                if let Event::Gap { publisher, epoch, from, to } = event {
                    self.channels.log.append_gap(StreamId { publisher, epoch }, from, to);
                }
                if event == Event::CaughtUp {
                    self.channels.log.mark_caught_up();
                }
                self.emit(event);
                if left {
                    self.close_all();
                }
            }
        }
    }

    fn send(&mut self, link: LinkId, frame: Frame, class: Class) {
        let counters = &self.context.counters;
        let Some(to) = self.links.get(&link) else {
            counters.dropped_link_gone.increment();
            return;
        };
        let own = class == Class::Payload && is_own(&frame, self.context.id());
        let encoded = match &self.last_gossip {
            Some((last, encoded)) if *last == frame => encoded.clone(),
            _ => {
                let encoded = wire::encode(&frame);
                if matches!(frame, Frame::Gossip(_)) {
                    self.last_gossip = Some((frame, encoded.clone()));
                }
                encoded
            }
        };
        let outcome = to.queue.enqueue(class, encoded);
        if own && outcome.is_queued() {
            to.queue.mark_own_payload();
            self.context.own_batches.mark_queued();
        }
        match outcome {
            EnqueueOutcome::Queued => {}
            EnqueueOutcome::Congested => self.ready.push_back(Input::Congested { link }),
            EnqueueOutcome::Dropped { items, reason: DropReason::LinkClosed } => {
                counters.dropped_link_gone.add(items);
            }
            EnqueueOutcome::Dropped { items, .. } => counters.dropped(class).add(items),
            EnqueueOutcome::Overflow => {
                counters.dropped(class).increment();
                to.queue.close(CloseReason::TooSlow);
                let event = Event::LinkClosed { peer: to.peer, reason: CloseReason::TooSlow };
                self.emit(event);
            }
        }
    }

    fn emit(&self, event: Event) {
        trace(&self.context.label, &event);
        let timestamped = TimestampedEvent { at: clock::wall_clock(), event };
        // The frames that cause an event bound the size of its text and lists.
        let missed = self.channels.events.send(timestamped, size_of::<TimestampedEvent>());
        self.context.counters.subscriber_missed_events.add(missed);
    }

    fn report_wall_clock(&mut self) {
        if let Some(reading) = self.wall_clock.reading_if_due() {
            self.context.verifier.release_unused_tables(reading);
            self.feed(Input::WallClock(reading));
        }
    }

    fn close_all(&mut self) {
        if matches!(self.phase, ShutdownPhase::Closing(_)) {
            return;
        }
        for link in self.links.values() {
            link.queue.close(CloseReason::Leaving);
        }
        // The links limit their flush themselves; the rest is time for their tasks to run.
        let grace = self.context.tuning.close_flush * 2 + Duration::from_millis(500);
        self.phase = ShutdownPhase::Closing(self.end_after(grace));
        self.takes_commands = false;
    }

    /// The deadline of work that the exit waits for, for at most `longest`: the end of the time to
    /// leave, or [`MIN_EXIT_WAIT`] from now if that is later.
    fn end_after(&self, longest: Duration) -> Instant {
        let now = Instant::now();
        let latest = now + longest;
        self.leave_by.map_or(latest, |by| latest.min(by.max(now + MIN_EXIT_WAIT)))
    }

    fn is_finished(&mut self) -> bool {
        match self.phase {
            ShutdownPhase::Running | ShutdownPhase::Leaving => false,
            ShutdownPhase::Closing(until) => self.links.is_empty() || Instant::now() >= until,
        }
    }

    fn handle_consumer_progress(&mut self) {
        let marks = self.channels.progress.take();
        if !marks.is_empty() {
            self.feed(Input::Consumed { marks });
        }
    }

    /// Lets the consumer process the delivered messages, and the store write its pending changes.
    async fn finish(&mut self) {
        // All links are gone: nothing is delivered any more.
        self.channels.log.close();
        let progress = self.channels.progress.clone();
        progress.wait_until_ended(self.end_after(CONSUMER_EXIT_WAIT)).await;
        self.handle_consumer_progress();
        if let Some(store) = self.store.take() {
            store.finish().await;
        }
    }
}

/// Whether a frame is a batch that this node published itself and sends over its first link.
fn is_own(frame: &Frame, me: PeerId) -> bool {
    matches!(frame, Frame::Gossip(g) if g.hops == 1 && g.batch.publisher() == me)
}
