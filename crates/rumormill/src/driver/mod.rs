//! The task that drives a node's state machine.
//!
//! It feeds the core with inputs and carries out its outputs. It waits only for the next input:
//! sending puts a frame into a link's queue, and other tasks dial and write to disk.

mod clock;
mod core;
mod hubs;
mod seat;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::wire::{self, Encoded, Frame};
use rumormill_proto::{
    Class, CloseReason, Event, Input, LinkId, Message, MessageId, Output, PeerId, StreamId, Time,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use self::clock::WallWatch;
pub(crate) use self::clock::{Clock, wall};
pub(crate) use self::core::Core;
pub(crate) use self::hubs::{Audience, Hubs};
pub use self::hubs::{DuplicateIdentity, Stamped};
pub(crate) use self::seat::Seat;
use crate::inbox::Served;
use crate::link::{LinkQueue, Pushed};
use crate::net::{Arrival, Net};
use crate::publish::Unconfirmed;
use crate::store::StoreHandle;
use crate::trace::trace;
use crate::transport;

/// If a timer fires this late, the process (or the machine) was held up. The link tasks then run
/// first, so that this node does not blame its neighbours for its own pause.
const LATE: Duration = Duration::from_millis(20);
/// How often the driver yields to the link tasks after such a late timer.
const TURNS: usize = 4;
/// The longest sleep, so that the driver compares the wall clock regularly.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long a node that ends waits for the last acknowledgement of its consumer.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(2);
/// The least time that the links, and then the consumer, get for their last work, even after the
/// time to leave has passed.
const LEAST_WAIT: Duration = Duration::from_millis(250);
/// Inputs handled in one round, before timers and publishers have their turn.
const ROUND: usize = 256;
/// The longest duration of one round.
const ROUND_TIME: Duration = Duration::from_millis(5);

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
    queue: Arc<LinkQueue>,
}

/// The progress of shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The core is leaving, and emits `Event::Left` when it has left.
    Leaving,
    /// The links write their queues, until this time at the latest.
    Closing(Instant),
}

/// The driver of one node.
pub(crate) struct Driver<C: Core> {
    seat: Arc<Seat<C>>,
    net: Arc<Net>,
    hubs: Hubs,
    wall: WallWatch,
    commands: mpsc::Receiver<Command<C>>,
    /// A buffer for the inputs of the current round.
    news: Vec<Arrival>,
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
    phase: Phase,
    /// The time by which the node has to end, once it leaves.
    leave_by: Option<Instant>,
    /// Whether handles exist that may send commands.
    takes_commands: bool,
}

/// The parts of a driver.
pub(crate) struct DriverSetup<C: Core> {
    pub(crate) seat: Arc<Seat<C>>,
    pub(crate) net: Arc<Net>,
    pub(crate) hubs: Hubs,
    pub(crate) commands: mpsc::Receiver<Command<C>>,
    pub(crate) store: Option<StoreHandle>,
}

/// Starts the driver of a node in its own task. The core was created at [`Time::ZERO`], which is
/// now.
pub(crate) fn spawn<C: Core>(setup: DriverSetup<C>) {
    let DriverSetup { seat, net, hubs, commands, store } = setup;
    let driver = Driver {
        seat,
        net: net.clone(),
        hubs,
        wall: WallWatch::default(),
        commands,
        news: Vec::new(),
        store,
        links: BTreeMap::new(),
        outputs: VecDeque::new(),
        ready: VecDeque::new(),
        waiting: BTreeMap::new(),
        last_gossip: None,
        phase: Phase::Running,
        leave_by: None,
        takes_commands: true,
    };
    tokio::spawn(async move {
        let _ = net.gate.govern(driver.run()).await;
    });
}

impl<C: Core> Drop for Driver<C> {
    /// However the driver ends (a leave, a kill, a panic in the core), all tasks of the node end
    /// with it, and no caller keeps waiting for an answer.
    fn drop(&mut self) {
        self.net.gate.kill();
        self.seat.vacate();
        self.hubs.close();
    }
}

impl<C: Core> Driver<C> {
    async fn run(mut self) {
        self.tell_wall_clock();
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
            let (seat, progress) = (self.seat.clone(), self.hubs.progress.clone());
            tokio::select! {
                biased;
                command = self.commands.recv(), if self.takes_commands => {
                    self.takes_commands &= command.is_some();
                    // All handles are gone: no caller waits for this node any more.
                    self.command(command.unwrap_or(Command::Leave(self.net.tuning.leave_within)));
                }
                () = self.net.inbox.ready() => self.take_in_round(),
                () = seat.poke.notified() => {
                    // Publishers that are about to add more messages run first, so that all of them
                    // go out as one batch.
                    tokio::task::yield_now().await;
                    self.step(|_, _| ());
                }
                () = self.net.outflow.eased.notified() => self.step(|_, _| ()),
                () = progress.moved.notified() => self.take_in_progress(),
                () = &mut timer => {}
            }
            self.tell_wall_clock();
        }
        self.finish().await;
    }

    /// The time of the next wake-up if no input arrives.
    fn wake_at(&self, deadline: Option<Time>) -> Instant {
        let core = deadline.map(|t| self.seat.clock().instant(t));
        let end = match self.phase {
            Phase::Running | Phase::Leaving => None,
            Phase::Closing(at) => Some(at),
        };
        let latest = Instant::now() + LONGEST_SLEEP;
        [core, end].into_iter().flatten().fold(latest, Instant::min)
    }

    /// Handles the inputs that have arrived, up to the limits of a round. Later inputs wait for the
    /// next round, so that timers run on time under any load.
    fn take_in_round(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        let (began, mut taken) = (Instant::now(), 0);
        while taken < ROUND && began.elapsed() < ROUND_TIME {
            let served = self.net.inbox.next(&mut news);
            if served == Served::Nobody {
                break;
            }
            taken += news.len();
            let turn = std::time::Instant::now();
            for one in news.drain(..) {
                self.take_in(one);
            }
            if let Served::Link(link) = served {
                self.net.inbox.charge(link, turn.elapsed());
            }
        }
        news.shrink_to(16);
        self.news = news;
    }

    /// Handles one input of every link that has some.
    fn hear_all(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.net.inbox.first_of_each(&mut news);
        for one in news.drain(..) {
            self.take_in(one);
        }
        self.news = news;
    }

    /// Tells the core that its deadline has passed, if it has, after handling one input of every
    /// link that has some. Returns the time of the next wake-up; `None` if the core is gone.
    async fn fire_timeout(&mut self) -> Option<Instant> {
        let (deadline, now) = self.seat.with(|core, now| (core.poll_timeout(), now))?;
        let Some(deadline) = deadline.filter(|at| *at <= now) else {
            return Some(self.wake_at(deadline));
        };
        self.net.lateness.note(now.since(deadline));
        self.hear_all();
        if now.since(deadline) > LATE {
            // Frames that neighbours sent in the meantime are still in the sockets.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
                self.hear_all();
            }
        }
        self.feed(Input::Timeout);
        self.hubs.log.expire(Instant::now());
        let deadline = self.seat.with(|core, _| core.poll_timeout())?;
        Some(self.wake_at(deadline))
    }

    fn feed(&mut self, input: Input) {
        self.step(|core, now| core.handle(now, input));
    }

    /// Calls the core, and carries out all outputs that follow.
    fn step(&mut self, call: impl FnOnce(&mut C, Time)) {
        let outputs = &mut self.outputs;
        let hold = self.net.outflow.waits();
        let Some(mut has_room) = self.seat.with(|core, now| {
            core.hold_back(hold);
            call(core, now);
            outputs.extend(std::iter::from_fn(|| core.poll_output()));
            core.has_room()
        }) else {
            return;
        };
        loop {
            while let Some(output) = self.outputs.pop_front() {
                self.carry_out(output);
            }
            let Some(input) = self.ready.pop_front() else { break };
            let outputs = &mut self.outputs;
            let Some(room) = self.seat.with(|core, now| {
                core.handle(now, input);
                outputs.extend(std::iter::from_fn(|| core.poll_output()));
                core.has_room()
            }) else {
                return;
            };
            has_room = room;
        }
        if has_room && self.seat.is_awaited() {
            self.seat.room.notify_one();
        }
    }

    fn take_in(&mut self, news: Arrival) {
        match news {
            Arrival::Frame { link, frame } => self.feed(Input::Frame { link, frame }),
            Arrival::Up { link, info, queue } => {
                if matches!(self.phase, Phase::Closing(_)) {
                    queue.close(CloseReason::Leaving);
                }
                self.links.insert(link, Link { peer: info.remote, queue });
                self.feed(Input::LinkUp { link, info: *info });
            }
            Arrival::Down { link, why } => {
                self.links.remove(&link);
                self.net.inbox.remove(link);
                self.net.outflow.ease();
                self.feed(Input::LinkDown { link, why });
            }
            Arrival::DialFailed { dial, why } => self.feed(Input::DialFailed { dial, why }),
            Arrival::SeedMoved { seed } => self.feed(Input::SeedMoved { seed }),
            Arrival::Stored(ticket) => self.feed(Input::Stored { ticket }),
            Arrival::Tell(event) => self.tell(event),
        }
    }

    fn command(&mut self, command: Command<C>) {
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
                    if self.phase == Phase::Running {
                        self.phase = Phase::Leaving;
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
            Output::Dial { dial, to } => transport::dial(&self.net, dial, to),
            Output::Close { link, reason } => {
                if let Some(link) = self.links.get(&link) {
                    link.queue.close(reason);
                }
            }
            Output::Store { ticket, ops } => {
                let taken = self.store.as_ref().map(|s| s.store(&self.net, ticket, ops));
                match taken {
                    Some(true) => {}
                    Some(false) => self.ready.push_back(Input::NotStored { ticket }),
                    None => self.ready.push_back(Input::Stored { ticket }),
                }
            }
            Output::Deliver(delivery) => {
                if delivery.batch.publisher() != self.net.id() {
                    let published = delivery.batch.published_at().0;
                    let delay = Duration::from_micros(clock::wall().0.saturating_sub(published));
                    self.net.tally.delays.add(delay, delivery.count());
                }
                self.hubs.log.append(delivery);
            }
            Output::Confirmed { to } => self.hubs.handover.confirmed(to),
            Output::Receipt(receipt) => self.hubs.receipts.tell(receipt),
            Output::Fetched { id, message } => {
                for reply in self.waiting.remove(&id).unwrap_or_default() {
                    // The caller may have given up.
                    let _ = reply.send(message.clone());
                }
            }
            Output::Event(event) => {
                let left = match &event {
                    Event::DuplicateIdentity { address, stops: true, .. } => {
                        self.hubs.end_as_duplicate(address.map(|a| a.0));
                        true
                    }
                    event => matches!(event, Event::Left { .. }),
                };
                if let Event::LeftUnconfirmed { epoch, from, to, others, earlier } = event {
                    self.hubs.handover.lost(Unconfirmed { epoch, from, to, others, earlier });
                }
                if let Event::StreamMoved { from, to, .. } = event {
                    self.hubs.receipts.move_stream(from, to);
                }
                if let Event::Gap { publisher, epoch, from, to } = event {
                    self.hubs.log.append_gap(StreamId { publisher, epoch }, from, to);
                }
                if event == Event::CaughtUp {
                    self.hubs.log.caught_up();
                }
                self.tell(event);
                if left {
                    self.close_all();
                }
            }
        }
    }

    fn send(&mut self, link: LinkId, frame: Frame, class: Class) {
        let tally = &self.net.tally;
        let Some(to) = self.links.get(&link) else {
            tally.dropped_link_gone.one();
            return;
        };
        let own = class == Class::Payload && is_own(&frame, self.net.id());
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
        let pushed = to.queue.push(class, encoded);
        if own && matches!(pushed, Pushed::Queued | Pushed::HalfFull) {
            to.queue.mark_own();
            self.net.outflow.begin();
        }
        match pushed {
            Pushed::Queued => {}
            Pushed::HalfFull => self.ready.push_back(Input::Congested { link }),
            Pushed::DroppedOldest(n) => match class {
                Class::Liveness => &tally.dropped_liveness,
                _ => &tally.dropped_announce,
            }
            .add(n),
            Pushed::Skipped => match class {
                Class::Liveness => &tally.dropped_liveness,
                Class::Announce => &tally.dropped_announce,
                Class::History => &tally.dropped_history,
                Class::Payload | Class::Control | Class::Last => &tally.dropped_payload,
            }
            .one(),
            Pushed::Gone => tally.dropped_link_gone.one(),
            Pushed::Overflow => {
                tally.dropped_control.one();
                to.queue.close(CloseReason::TooSlow);
                let event = Event::LinkClosed { peer: to.peer, reason: CloseReason::TooSlow };
                self.tell(event);
            }
        }
    }

    fn tell(&self, event: Event) {
        trace(&self.net.label, &event);
        let stamped = Stamped { at: clock::wall(), event };
        // The frames that cause an event bound the size of its text and lists.
        let missed = self.hubs.events.send(stamped, size_of::<Stamped>());
        self.net.tally.subscriber_missed_events.add(missed);
    }

    fn tell_wall_clock(&mut self) {
        if let Some(wall) = self.wall.wall_if_due() {
            self.feed(Input::WallClock(wall));
        }
    }

    fn close_all(&mut self) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        for link in self.links.values() {
            link.queue.close(CloseReason::Leaving);
        }
        // The links limit their flush themselves; the rest is time for their tasks to run.
        let grace = self.net.tuning.close_flush * 2 + Duration::from_millis(500);
        self.phase = Phase::Closing(self.end_after(grace));
        self.takes_commands = false;
    }

    /// The deadline of work that the exit waits for, for at most `longest`: the end of the time to
    /// leave, or [`LEAST_WAIT`] from now if that is later.
    fn end_after(&self, longest: Duration) -> Instant {
        let now = Instant::now();
        let latest = now + longest;
        self.leave_by.map_or(latest, |by| latest.min(by.max(now + LEAST_WAIT)))
    }

    fn is_finished(&mut self) -> bool {
        match self.phase {
            Phase::Running | Phase::Leaving => false,
            Phase::Closing(until) => self.links.is_empty() || Instant::now() >= until,
        }
    }

    fn take_in_progress(&mut self) {
        let marks = self.hubs.progress.take();
        if !marks.is_empty() {
            self.feed(Input::Consumed { marks });
        }
    }

    /// Lets the consumer process the delivered messages, and the store write its pending changes.
    async fn finish(&mut self) {
        // All links are gone: nothing is delivered any more.
        self.hubs.log.close();
        let progress = self.hubs.progress.clone();
        progress.ended(self.end_after(LAST_ACKNOWLEDGEMENT)).await;
        self.take_in_progress();
        if let Some(store) = self.store.take() {
            store.finish().await;
        }
    }
}

/// Whether a frame is a batch that this node published itself and sends over its first link.
fn is_own(frame: &Frame, me: PeerId) -> bool {
    matches!(frame, Frame::Gossip(g) if g.hops == 1 && g.batch.publisher() == me)
}
