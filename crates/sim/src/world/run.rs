//! The loop: what is due happens, the cores are fed and drained.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{
    Address, Delivery, Event, Input, LinkDown, MessageId, Output, Peer, PeerSetup, Role, Seed,
    SeedSetup, StreamId, Time, WallTime, start_number,
};

use super::{Happening, Record, WALL_EPOCH, World};
use crate::consumer::Consumer;
use crate::disk::Writer;
use crate::ledger::{
    Arrival, Departure, Fault, FetchAnswer, GapTold, Join, ReceiptTold, Removal, Resume,
};
use crate::machine::Core;
use crate::node::{Kind, NodeId, NodeStatus};
use crate::random::{derive, micros};
use crate::trace::Step;

/// Timeouts that a core may ask for at one and the same time before it is put off.
const MAX_SPINS: u32 = 64;

impl World {
    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_to(self.now + time);
    }

    /// Lets time pass until a condition holds, at most `limit`. Says whether it holds. The
    /// condition is looked at every [`check_every`](super::WorldConfig::check_every).
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run_to((self.now + self.config.check_every).min(end));
        }
    }

    pub(super) fn run_to(&mut self, until: Time) {
        while let Some((at, happening)) = self.queue.pop_until(until) {
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    /// One thing happens: at a frozen process it waits.
    fn happen(&mut self, happening: Happening) {
        if let Some(node) = self.process_of(&happening)
            && self.node(node).status == NodeStatus::Frozen
        {
            self.note_unread(&happening);
            self.node_mut(node).backlog.push_back(happening);
            return;
        }
        self.dispatch(happening);
    }

    /// The process that must run for this to happen; `None` if a kernel or disk does it.
    fn process_of(&self, happening: &Happening) -> Option<NodeId> {
        let end = |link| self.links.end(link).map(|e| e.node);
        match happening {
            Happening::Accept { link } => end(crate::link::other(*link)),
            Happening::ServerFlight { link }
            | Happening::Refused { link }
            | Happening::DialDeadline { link }
            | Happening::Arrive { link, .. } => end(*link),
            Happening::DialFailed { node, .. }
            | Happening::LinkEnded { node, .. }
            | Happening::Congested { node, .. }
            | Happening::Stored { node, .. }
            | Happening::Consumed { node, .. } => Some(*node),
            Happening::Start { .. }
            | Happening::Wake { .. }
            | Happening::Syn { .. }
            | Happening::UserTimeout { .. }
            | Happening::LineFree { .. }
            | Happening::Retry { .. } => None,
        }
    }

    fn dispatch(&mut self, happening: Happening) {
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Wake { node, life } => self.wake(node, life),
            Happening::Syn { link } => self.syn(link),
            Happening::Accept { link } => self.accept(link),
            Happening::ServerFlight { link } => self.server_flight(link),
            Happening::Refused { link } => {
                self.fail_dial(link, rumormill_proto::DialError::Refused);
            }
            Happening::DialDeadline { link } => {
                self.fail_dial(link, rumormill_proto::DialError::TimedOut);
            }
            Happening::DialFailed { node, life, dial, why } => {
                if self.is_life(node, life) {
                    self.feed(node, Step::DialFailed, dial.0, Input::DialFailed { dial, why });
                }
            }
            Happening::Arrive { link, item } => self.arrive(link, item),
            Happening::LinkEnded { node, life, link, why } => {
                if self.is_life(node, life) {
                    self.link_down(node, link, why);
                }
            }
            Happening::UserTimeout { link, since } => self.user_timeout(link, since),
            Happening::Retry { link } => self.retry(link),
            Happening::LineFree { link } => self.line_free(link),
            Happening::Congested { node, life, link } => {
                if self.is_life(node, life) && self.node(node).open_links.contains(&link) {
                    self.feed(node, Step::Congested, link.0, Input::Congested { link });
                }
            }
            Happening::Stored { node, life, ticket, ops } => {
                if self.is_life(node, life) {
                    self.node_mut(node).disk.apply(ops);
                    self.feed(node, Step::Stored, ticket.0, Input::Stored { ticket });
                }
            }
            Happening::Consumed { node, life } => {
                if self.is_life(node, life)
                    && let Some(consumer) = &mut self.node_mut(node).consumer
                {
                    let (marks, is_left) = consumer.acknowledge();
                    if is_left && let Some(lag) = self.config.consumer_lag {
                        self.queue.push(self.now + lag, Happening::Consumed { node, life });
                    }
                    let streams = marks.len() as u64;
                    self.feed(node, Step::Consumed, streams, Input::Consumed { marks });
                }
            }
        }
    }

    pub(super) fn is_life(&self, node: NodeId, life: u32) -> bool {
        let n = self.node(node);
        n.life == life && n.core.is_some()
    }

    // ---- processes --------------------------------------------------------------------------

    /// Starts a node's process from its identity and disk.
    pub(super) fn start(&mut self, node: NodeId) {
        let (now, world_seed) = (self.now, self.config.seed);
        let (is_judged, learns) = (self.is_judged(), self.config.learned_addresses);
        let has_consumer = self.config.consumer_lag.is_some() && node.0 % 2 == 1;
        let n = self.node_mut(node);
        if matches!(n.status, NodeStatus::Running | NodeStatus::Frozen) {
            return;
        }
        let was_off = n.status == NodeStatus::HostDown;
        let own_address = n.address;
        n.end_process(now, NodeStatus::Running);
        n.life_since = now;
        n.acknowledged.clear();
        n.writer = Writer::default();
        let stream = (u64::from(node.0) << 32) | u64::from(n.life);
        let rng_seed = derive(world_seed, "node", stream);
        let identity = n.identity.clone();
        let core = match &mut n.kind {
            Kind::Peer { name, advertise, seeds } => {
                let wall = wall_clock(now, n.clock_ahead);
                let incarnation = start_number(n.disk.incarnation, wall);
                n.disk.incarnation = Some(incarnation);
                let setup = PeerSetup {
                    config: Arc::clone(&n.config),
                    identity,
                    name: name.clone().unwrap_or_else(|| super::peer_name(node)),
                    addresses: advertise.clone().unwrap_or_else(|| {
                        let port = own_address.port();
                        let learned = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                        vec![Address(if learns { learned } else { own_address })]
                    }),
                    seeds: Arc::clone(seeds),
                    incarnation,
                    anchors: n.disk.anchors.clone(),
                    kept: n.disk.batches().cloned().collect(),
                    delivered: n.disk.marks().collect(),
                    compacted: n.disk.compacted().collect(),
                    rng_seed,
                };
                let mut peer = Peer::new(setup, now);
                if has_consumer {
                    peer.follow_consumer();
                    n.consumer.get_or_insert_default();
                }
                Core::Peer(Box::new(peer))
            }
            Kind::Seed { seeds, own_index } => {
                let setup = SeedSetup {
                    config: n.config.as_ref().clone(),
                    identity,
                    seeds: seeds.to_vec(),
                    own_index: *own_index,
                    entries: n.disk.entries.values().cloned().collect(),
                    nonce: n.disk.nonce,
                    rng_seed,
                };
                Core::Seed(Box::new(Seed::new(setup, now)))
            }
            Kind::Machine { factory, .. } => Core::Other(factory(&identity, &n.disk, now)),
        };
        n.core = Some(core);
        if is_judged {
            let (life, marks) = (n.life, n.disk.marks().collect());
            let compacted = n.disk.compacted().collect();
            let consumed = n.consumer.as_ref().map(Consumer::acknowledged);
            let own = n.disk.published(&n.identity.id());
            self.ledger.resumes.push(Resume {
                at: now,
                node,
                life,
                marks,
                compacted,
                own,
                consumed,
            });
        }
        self.hosts_down -= usize::from(was_off);
        self.trace.step(now, node, Step::Start, 0);
        self.watch_change(node, "starts");
        self.tell_wall_clock(node);
        if was_off {
            self.path_changed();
        } else {
            self.note_bridges();
        }
    }

    /// Tells a process what its wall clock says.
    pub(super) fn tell_wall_clock(&mut self, node: NodeId) {
        let wall = wall_clock(self.now, self.node(node).clock_ahead);
        self.feed(node, Step::WallClock, 0, Input::WallClock(wall));
    }

    /// Gives a core an input and carries out what comes of it.
    pub(super) fn feed(&mut self, node: NodeId, step: Step, number: u64, input: Input) {
        let now = self.now;
        self.trace.step(now, node, step, number);
        self.watch_input(node, &input);
        if let Some(core) = &mut self.node_mut(node).core {
            core.handle(now, input);
        }
        self.drain(node);
    }

    /// Carries out everything a core wants, then sets its alarm.
    pub(super) fn drain(&mut self, node: NodeId) {
        while let Some(output) = self.node_mut(node).core.as_mut().and_then(Core::poll_output) {
            self.perform(node, output);
            if self.node(node).leaving {
                // As the library's driver does: after that event nothing is sent any more.
                self.process_left(node);
                return;
            }
        }
        self.arm(node);
    }

    /// Puts the next wake-up into the queue, unless one is there that comes early enough.
    pub(super) fn arm(&mut self, node: NodeId) {
        let now = self.now;
        let n = self.node_mut(node);
        let Some(deadline) = n.core.as_ref().and_then(Core::poll_timeout) else { return };
        if deadline == Time::MAX {
            return;
        }
        let mut at = deadline.max(now);
        if at == now && n.spins == (now, MAX_SPINS) {
            at = now + Duration::from_millis(1);
            self.seam_fault(node, format!("{MAX_SPINS} timeouts, and no time passed"));
        }
        let n = self.node_mut(node);
        if n.wake.is_none_or(|due| at < due) {
            n.wake = Some(at);
            let life = n.life;
            self.queue.push(at, Happening::Wake { node, life });
        }
    }

    fn wake(&mut self, node: NodeId, life: u32) {
        let now = self.now;
        let n = self.node_mut(node);
        // A wake-up that an earlier one has replaced finds another time here.
        if n.life != life || n.wake != Some(now) {
            return;
        }
        n.wake = None;
        if n.status == NodeStatus::Running {
            self.timeout_if_due(node);
        }
    }

    pub(super) fn timeout_if_due(&mut self, node: NodeId) {
        let deadline = self.node(node).core.as_ref().and_then(Core::poll_timeout);
        let now = self.now;
        if deadline.is_some_and(|d| d <= now) {
            let n = self.node_mut(node);
            n.spins = if n.spins.0 == now { (now, n.spins.1 + 1) } else { (now, 1) };
            self.feed(node, Step::Timeout, 0, Input::Timeout);
        } else {
            self.arm(node);
        }
    }

    /// Thaws: everything that arrived comes first, then the timeout.
    pub(super) fn work_off_backlog(&mut self, node: NodeId) {
        let life = self.node(node).life;
        let mut backlog = core::mem::take(&mut self.node_mut(node).backlog);
        while let Some(happening) = backlog.pop_front() {
            self.dispatch(happening);
        }
        if self.is_life(node, life) {
            self.timeout_if_due(node);
        }
    }

    // ---- outputs ----------------------------------------------------------------------------

    fn perform(&mut self, node: NodeId, output: Output) {
        match output {
            Output::Send { link, frame, class } => self.send(node, link, frame, class),
            Output::Dial { dial, to } => self.dial(node, dial, to),
            Output::Close { link, reason } => self.close(node, link, reason),
            Output::Store { ticket, ops } => {
                let (now, latency, diskless) =
                    (self.now, self.config.disk_latency, self.config.diskless_peers);
                let n = self.node_mut(node);
                if diskless && n.role() == Role::Peer {
                    return;
                }
                let (at, life) = (n.writer.commit(now, latency), n.life);
                self.queue.push(at, Happening::Stored { node, life, ticket, ops });
            }
            Output::Deliver(delivery) => {
                for m in delivery.messages() {
                    self.figures.delivered(m.id(), self.now, delivery.hops);
                }
                if self.is_judged() {
                    let (at, life) = (self.now, self.node(node).life);
                    let Delivery { neighbour: from, hops, age, .. } = delivery;
                    let arrival = |id| Arrival { at, node, life, id, from, hops, age };
                    self.ledger.arrivals.extend(delivery.messages().map(|m| arrival(m.id())));
                }
                self.give_consumer(node, delivery.batch.stream(), delivery.from, delivery.to);
            }
            Output::Receipt(receipt) => {
                self.figures.receipts += 1;
                self.figures.receipts_complete += u64::from(receipt.complete);
                if self.is_judged() {
                    let has = |n: &NodeId| self.peer(*n).is_some_and(|p| p.has_seen(&receipt.id));
                    let holders = self.nodes().filter(has).collect();
                    let (at, live) = (self.now, self.live_peers());
                    let owed = self.owed_a_place(node, &receipt.id);
                    let told = ReceiptTold { at, node, receipt, holders, live, owed };
                    self.ledger.receipts.push(told);
                }
            }
            Output::Confirmed { to } => {
                let n = self.node_mut(node);
                n.confirmed = n.confirmed.max(to);
            }
            Output::Fetched { id, message } => {
                let (at, found) = (self.now, message.is_some());
                self.figures.fetches += 1;
                if self.is_judged() {
                    self.ledger.fetches.push(FetchAnswer { at, node, id, found });
                }
            }
            Output::Event(event) => self.tell(node, event),
        }
    }

    /// Gives the consumer of a peer, if it has one, messages or a gap of a stream.
    fn give_consumer(&mut self, node: NodeId, stream: StreamId, from: u64, next: u64) {
        let Some(lag) = self.config.consumer_lag else { return };
        let at = self.now + lag;
        let n = self.node_mut(node);
        if n.consumer.as_mut().is_some_and(|consumer| consumer.give(stream, from, next)) {
            let life = n.life;
            self.queue.push(at, Happening::Consumed { node, life });
        }
    }

    fn tell(&mut self, node: NodeId, event: Event) {
        self.watch_event(node, &event);
        self.figures.events += 1;
        let ends =
            matches!(event, Event::Left { .. } | Event::DuplicateIdentity { stops: true, .. });
        self.node_mut(node).leaving |= ends;
        match &event {
            &Event::Gap { publisher, epoch, from, to } => {
                self.figures.missed += to - from;
                self.give_consumer(node, StreamId { publisher, epoch }, to, to);
            }
            Event::PeerRemoved { .. } | Event::MemberDead { .. } => self.figures.removals += 1,
            _ => {}
        }
        if self.is_judged() {
            self.write_down(node, event);
        }
    }

    /// A peer has left: who can be reached from those that hold what it published last.
    fn note_departure(&mut self, node: NodeId, acknowledged: bool) {
        let last = self.ledger.publications.iter().rev().find(|p| p.node == node).map(|p| p.id);
        let mut connected = BTreeSet::new();
        if let Some(last) = last {
            let graph = self.graph();
            for holder in self.live_peers() {
                if !connected.contains(&holder) && self.has(holder, &last) {
                    connected.extend(graph.reachable(holder));
                }
            }
        }
        let (at, n) = (self.now, self.node(node));
        let (since, said) = (n.life_since, n.unconfirmed);
        let unconfirmed = said.map(|(from, to, _)| (from, to)).filter(|(from, to)| from < to);
        let others = said.map_or(0, |(_, _, others)| others);
        let connected = connected.into_iter().collect();
        self.ledger.departures.push(Departure {
            at,
            node,
            since,
            acknowledged,
            unconfirmed,
            others,
            connected,
        });
    }

    /// Keeps an event, and what is to be found in it.
    fn write_down(&mut self, node: NodeId, event: Event) {
        let now = self.now;
        match &event {
            Event::PeerRemoved { id, incarnation, witnesses, seeds, .. }
            | Event::MemberDead { id, incarnation, witnesses, seeds, .. } => {
                let is_first = self.removed.insert((*id, *incarnation));
                if is_first || self.node(node).role() == Role::Seed {
                    self.ledger.removals.push(Removal {
                        at: now,
                        observer: node,
                        subject: *id,
                        incarnation: *incarnation,
                        witnesses: witnesses.clone(),
                        seeds: seeds.clone(),
                    });
                }
            }
            Event::Registered { .. } => self.node_mut(node).acknowledged.push(now),
            Event::Joined { quorum, .. } => {
                let last = usize::try_from(*quorum).unwrap_or(usize::MAX).saturating_sub(1);
                let registered = self.node(node).acknowledged.get(last).copied().unwrap_or(now);
                let lives = [MemberState::Alive, MemberState::Suspect];
                let members = self.members(node).into_iter();
                let known = members.filter(|m| lives.contains(&m.state)).map(|m| m.id).collect();
                let id = self.id(node);
                self.ledger.joins.push(Join { at: now, node, id, registered, known });
            }
            &Event::StreamMoved { from, to, .. } => {
                let stream = StreamId { publisher: self.id(node), epoch: from };
                let since = self.node(node).life_since;
                self.ledger.move_stream(node, stream, to, since);
            }
            &Event::Gap { publisher, epoch, from, to } => {
                let (life, after) = (self.node(node).life, self.ledger.arrivals.len());
                let first = MessageId { publisher, epoch, sequence: from };
                let holder = self.reachable_holder(node, &first);
                self.ledger.gaps.push(GapTold { at: now, node, life, first, to, after, holder });
            }
            &Event::LeftUnconfirmed { from, to, others, .. } => {
                self.node_mut(node).unconfirmed = Some((from, to, others));
            }
            &Event::Left { acknowledged } => self.note_departure(node, acknowledged),
            _ => {}
        }
        if self.config.record == Record::Everything {
            self.node_mut(node).events.push((now, event));
        }
    }

    pub(super) fn link_down(&mut self, node: NodeId, link: rumormill_proto::LinkId, why: LinkDown) {
        if self.node_mut(node).open_links.remove(&link) {
            self.feed(node, Step::LinkDown, link.0, Input::LinkDown { link, why });
        }
    }

    pub(super) fn seam_fault(&mut self, node: NodeId, what: String) {
        let at = self.now;
        self.ledger.seam_faults.push(Fault { at, node, what });
    }
}

/// What a wall clock says that is ahead by so many microseconds.
fn wall_clock(now: Time, ahead: i64) -> WallTime {
    let right = WALL_EPOCH + micros(now.since(Time::ZERO));
    WallTime(right.saturating_add_signed(ahead))
}
