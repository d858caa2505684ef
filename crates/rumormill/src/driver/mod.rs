//! The task that owns a node's state machine.
//!
//! It feeds the core with what happened and does what the core asks for. It never waits for
//! anything but the next thing to happen: sending puts a frame into a link's queue, dialing and
//! storing are other tasks.

mod clock;
mod core;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumormill_proto::wire::{self, Frame};
use rumormill_proto::{
    Class, CloseReason, Delivery, Event, Input, LinkId, Message, MessageId, Output, PeerId, Time,
    WallTime,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use self::clock::Clock;
pub(crate) use self::core::Core;
use crate::fanout::Hub;
use crate::link::{LinkQueue, Pushed};
use crate::net::{Arrival, Net};
use crate::store::StoreHandle;
use crate::trace::trace;
use crate::transport;

/// If the timer fires so late, this process (or machine) was held up: then the links' tasks get a
/// turn before others are blamed for silence.
const LATE: Duration = Duration::from_millis(20);
/// Turns they get.
const TURNS: usize = 4;
/// A wake-up without any reason, so that the wall clock is looked at now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Stamped {
    /// When, by this node's wall clock: microseconds since 1970-01-01 00:00 UTC.
    pub at: WallTime,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Something to do with the core, in its own task.
type Call<C> = Box<dyn FnOnce(&mut C, Time) + Send>;

/// What a handle asks of the driver.
pub(crate) enum Command<C> {
    /// Call the core.
    Call(Call<C>),
    /// Get a message: `ask` makes the core look for it.
    Fetch {
        id: MessageId,
        ask: fn(&mut C, Time, MessageId),
        reply: oneshot::Sender<Option<Message>>,
    },
    /// Say goodbye and end.
    Stop,
}

/// Where applications listen.
#[derive(Debug, Clone)]
pub(crate) struct Hubs {
    pub(crate) deliveries: Arc<Hub<Delivery>>,
    pub(crate) events: Arc<Hub<Stamped>>,
}

impl Hubs {
    pub(crate) fn new() -> Self {
        Hubs { deliveries: Arc::new(Hub::new()), events: Arc::new(Hub::new()) }
    }
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    queue: Arc<LinkQueue>,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The core says goodbye, until then at the latest.
    Leaving(Instant),
    /// The links write what they have, until then at the latest.
    Closing(Instant),
}

/// The driver of one node.
pub(crate) struct Driver<C: Core> {
    core: C,
    net: Arc<Net>,
    hubs: Hubs,
    clock: Clock,
    commands: mpsc::Receiver<Command<C>>,
    arrivals: mpsc::Receiver<Arrival>,
    store: Option<StoreHandle>,
    links: BTreeMap<LinkId, Link>,
    /// Inputs that arose while outputs were carried out.
    ready: VecDeque<Input>,
    waiting: BTreeMap<MessageId, Vec<oneshot::Sender<Option<Message>>>>,
    /// The last message sent and its encoding: one message goes to many links in a row.
    last_gossip: Option<(Frame, Bytes)>,
    phase: Phase,
}

/// What a driver is made of.
pub(crate) struct DriverSetup<C: Core> {
    pub(crate) core: C,
    pub(crate) net: Arc<Net>,
    pub(crate) hubs: Hubs,
    pub(crate) commands: mpsc::Receiver<Command<C>>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) store: Option<StoreHandle>,
}

/// Starts the driver of a node as a task of its own. The core was made at [`Time::ZERO`], which is
/// now.
pub(crate) fn spawn<C: Core>(setup: DriverSetup<C>) {
    let DriverSetup { core, net, hubs, commands, arrivals, store } = setup;
    let driver = Driver {
        core,
        net: net.clone(),
        hubs,
        clock: Clock::start(),
        commands,
        arrivals,
        store,
        links: BTreeMap::new(),
        ready: VecDeque::new(),
        waiting: BTreeMap::new(),
        last_gossip: None,
        phase: Phase::Running,
    };
    tokio::spawn(async move {
        let _ = net.gate.govern(driver.run()).await;
    });
}

impl<C: Core> Drop for Driver<C> {
    /// However the driver ends (a goodbye, a kill, a panic in the core), all tasks of the node end
    /// with it.
    fn drop(&mut self) {
        self.net.gate.kill();
        self.hubs.deliveries.close();
        self.hubs.events.close();
    }
}

impl<C: Core> Driver<C> {
    async fn run(mut self) {
        self.tell_wall_clock();
        self.drain();
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        while !self.is_finished() {
            let wake = self.wake_at();
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                command = self.commands.recv(), if self.phase == Phase::Running => {
                    // All handles are gone: nobody can want this node any more.
                    self.command(command.unwrap_or(Command::Stop));
                }
                Some(news) = self.arrivals.recv() => self.take_in(news),
                () = &mut timer => {}
            }
            self.take_in_all();
            self.fire_timeout().await;
            self.tell_wall_clock();
        }
        self.finish().await;
    }

    /// When to wake up if nothing happens.
    fn wake_at(&self) -> Instant {
        let core = self.core.poll_timeout().map(|t| self.clock.instant(t));
        let end = match self.phase {
            Phase::Running => None,
            Phase::Leaving(at) | Phase::Closing(at) => Some(at),
        };
        let latest = Instant::now() + LONGEST_SLEEP;
        [core, end].into_iter().flatten().fold(latest, Instant::min)
    }

    /// Takes in everything that has already arrived. What arrives meanwhile waits for the next
    /// round, so that the timers get their turn under any load.
    fn take_in_all(&mut self) {
        for _ in 0..self.arrivals.len() {
            let Ok(news) = self.arrivals.try_recv() else { break };
            self.take_in(news);
        }
    }

    /// Tells the core that its deadline has come, after everything that arrived before it.
    async fn fire_timeout(&mut self) {
        let Some(deadline) = self.core.poll_timeout() else { return };
        let now = self.clock.now();
        if now < deadline {
            return;
        }
        if now.since(deadline) > LATE {
            // What others sent in the meantime lies in the sockets.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
                self.take_in_all();
            }
        }
        self.feed(Input::Timeout);
    }

    fn feed(&mut self, input: Input) {
        self.core.handle(self.clock.now(), input);
        self.drain();
    }

    fn take_in(&mut self, news: Arrival) {
        match news {
            Arrival::Frame { link, frame, _room } => self.feed(Input::Frame { link, frame }),
            Arrival::Up { link, info, queue } => {
                if matches!(self.phase, Phase::Closing(_)) {
                    queue.close(CloseReason::Leaving);
                }
                self.links.insert(link, Link { peer: info.remote, queue });
                self.feed(Input::LinkUp { link, info });
            }
            Arrival::Down { link, why } => {
                self.links.remove(&link);
                self.feed(Input::LinkDown { link, why });
            }
            Arrival::DialFailed { dial, why } => self.feed(Input::DialFailed { dial, why }),
            Arrival::Stored(ticket) => self.feed(Input::Stored { ticket }),
            Arrival::Tell(event) => self.tell(event),
        }
    }

    fn command(&mut self, command: Command<C>) {
        match command {
            Command::Call(call) => {
                call(&mut self.core, self.clock.now());
                self.drain();
            }
            Command::Fetch { id, ask, reply } => {
                self.waiting.entry(id).or_default().push(reply);
                ask(&mut self.core, self.clock.now(), id);
                self.drain();
            }
            Command::Stop => {
                if self.core.say_goodbye(self.clock.now()) {
                    self.phase = Phase::Leaving(Instant::now() + self.net.tuning.farewell);
                    self.drain();
                } else {
                    self.close_all();
                }
            }
        }
    }

    /// Carries out all that the core asks for.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.carry_out(output);
            }
            let Some(input) = self.ready.pop_front() else { return };
            self.core.handle(self.clock.now(), input);
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
            Output::Store { ticket, ops } => match &self.store {
                Some(store) => store.store(&self.net, ticket, ops),
                None => self.ready.push_back(Input::Stored { ticket }),
            },
            Output::Deliver(delivery) => {
                let size = delivery.message.size();
                let missed = self.hubs.deliveries.send(delivery, size);
                self.net.tally.subscriber_missed_messages.add(missed);
            }
            Output::Fetched { id, message } => {
                for reply in self.waiting.remove(&id).unwrap_or_default() {
                    // Whoever asked may have given up.
                    let _ = reply.send(message.clone());
                }
            }
            Output::Event(event) => {
                let left = event == Event::Left;
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
        let bytes = match &self.last_gossip {
            Some((last, bytes)) if *last == frame => bytes.clone(),
            _ => {
                let bytes = wire::encode(&frame);
                if matches!(frame, Frame::Gossip(_)) {
                    self.last_gossip = Some((frame, bytes.clone()));
                }
                bytes
            }
        };
        match to.queue.push(class, bytes) {
            Pushed::Queued => {}
            Pushed::DroppedOldest(n) => tally.dropped_announce.add(n),
            Pushed::Skipped if class == Class::Announce => tally.dropped_announce.one(),
            Pushed::Skipped => tally.dropped_payload.one(),
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
        // The text and lists in an event are bounded by the frames they come from.
        let missed = self.hubs.events.send(stamped, size_of::<Stamped>());
        self.net.tally.subscriber_missed_events.add(missed);
    }

    fn tell_wall_clock(&mut self) {
        if let Some(wall) = self.clock.wall_if_due() {
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
        // The links keep to the flush time themselves; the rest is for their tasks to be run.
        let grace = self.net.tuning.close_flush * 2 + Duration::from_millis(500);
        self.phase = Phase::Closing(Instant::now() + grace);
    }

    fn is_finished(&mut self) -> bool {
        match self.phase {
            Phase::Running => false,
            Phase::Leaving(until) => {
                if Instant::now() >= until {
                    self.close_all();
                }
                false
            }
            Phase::Closing(until) => self.links.is_empty() || Instant::now() >= until,
        }
    }

    /// Lets the store write what it still has.
    async fn finish(&mut self) {
        if let Some(store) = self.store.take() {
            store.finish().await;
        }
    }
}
