//! The simulation loop: takes events from the queue, feeds inputs to the cores and carries out
//! their outputs.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use rumormill_proto::snapshot::MemberState;
use rumormill_proto::{
    Address, Delivery, Event, Input, LinkEnd, MessageId, Output, Peer, PeerSetup, Role, Seed,
    SeedSetup, StreamId, Time, WallTime, start_number,
};

use super::{RecordLevel, SimEvent, WALL_EPOCH, World};
use crate::consumer::Consumer;
use crate::disk::DiskWriter;
use crate::ledger::{
    Arrival, ContractViolation, Departure, FetchAnswer, GapReport, Join, ReceiptUpdate, Removal,
    Resume,
};
use crate::machine::NodeCore;
use crate::node::{NodeId, NodeKind, NodeStatus};
use crate::random::{derive, micros};
use crate::trace::Step;

/// Timeouts that a core may request at one moment before the next one is delayed.
const MAX_SPINS: u32 = 64;

impl World {
    /// Advances virtual time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_to(self.now + time);
    }

    /// Advances virtual time until a condition holds, by at most `limit`. Returns whether it holds.
    /// The condition is evaluated every [`check_every`](super::WorldConfig::check_every).
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
        while let Some((at, event)) = self.queue.pop_until(until) {
            self.now = self.now.max(at);
            self.handle_or_defer(event);
        }
        self.now = self.now.max(until);
    }

    /// Handles an event; an event for a frozen process waits in its backlog.
    fn handle_or_defer(&mut self, event: SimEvent) {
        if let Some(node) = self.process_of(&event)
            && self.node(node).status == NodeStatus::Frozen
        {
            self.note_unread(&event);
            self.node_mut(node).backlog.push_back(event);
            return;
        }
        self.dispatch(event);
    }

    /// The node whose process must run for this event; `None` if a kernel or a disk handles it.
    fn process_of(&self, event: &SimEvent) -> Option<NodeId> {
        let end = |link| self.links.end(link).map(|e| e.node);
        match event {
            SimEvent::Accept { link } => end(crate::link::other(*link)),
            SimEvent::ServerFlight { link }
            | SimEvent::Refused { link }
            | SimEvent::DialDeadline { link }
            | SimEvent::Arrive { link, .. } => end(*link),
            SimEvent::DialFailed { node, .. }
            | SimEvent::LinkEnded { node, .. }
            | SimEvent::Congested { node, .. }
            | SimEvent::Stored { node, .. }
            | SimEvent::Consumed { node, .. } => Some(*node),
            SimEvent::Start { .. }
            | SimEvent::Wake { .. }
            | SimEvent::Syn { .. }
            | SimEvent::UserTimeout { .. }
            | SimEvent::LineFree { .. }
            | SimEvent::Retry { .. } => None,
        }
    }

    fn dispatch(&mut self, event: SimEvent) {
        match event {
            SimEvent::Start { node } => self.start(node),
            SimEvent::Wake { node, process } => self.wake(node, process),
            SimEvent::Syn { link } => self.syn(link),
            SimEvent::Accept { link } => self.accept(link),
            SimEvent::ServerFlight { link } => self.server_flight(link),
            SimEvent::Refused { link } => {
                self.fail_dial(link, rumormill_proto::DialError::Refused);
            }
            SimEvent::DialDeadline { link } => {
                self.fail_dial(link, rumormill_proto::DialError::TimedOut);
            }
            SimEvent::DialFailed { node, process, dial, why } => {
                if self.is_current_process(node, process) {
                    self.feed(node, Step::DialFailed, dial.0, Input::DialFailed { dial, why });
                }
            }
            SimEvent::Arrive { link, item } => self.arrive(link, item),
            SimEvent::LinkEnded { node, process, link, why } => {
                if self.is_current_process(node, process) {
                    self.link_down(node, link, why);
                }
            }
            SimEvent::UserTimeout { link, since } => self.user_timeout(link, since),
            SimEvent::Retry { link } => self.retry(link),
            SimEvent::LineFree { link } => self.line_free(link),
            SimEvent::Congested { node, process, link } => {
                if self.is_current_process(node, process)
                    && self.node(node).open_links.contains(&link)
                {
                    self.feed(node, Step::Congested, link.0, Input::Congested { link });
                }
            }
            SimEvent::Stored { node, process, ticket, ops } => {
                if self.is_current_process(node, process) {
                    self.node_mut(node).disk.apply(ops);
                    self.feed(node, Step::Stored, ticket.0, Input::Stored { ticket });
                }
            }
            SimEvent::Consumed { node, process } => {
                if self.is_current_process(node, process)
                    && let Some(consumer) = &mut self.node_mut(node).consumer
                {
                    let (marks, is_left) = consumer.acknowledge();
                    if is_left && let Some(lag) = self.config.consumer_lag {
                        self.queue.push(self.now + lag, SimEvent::Consumed { node, process });
                    }
                    let streams = marks.len() as u64;
                    self.feed(node, Step::Consumed, streams, Input::Consumed { marks });
                }
            }
        }
    }

    pub(super) fn is_current_process(&self, node: NodeId, process: u32) -> bool {
        let n = self.node(node);
        n.process == process && n.core.is_some()
    }

    // ---- processes --------------------------------------------------------------------------

    /// Starts a node's process from its identity and disk.
    pub(super) fn start(&mut self, node: NodeId) {
        let (now, world_seed) = (self.now, self.config.seed);
        let (keeps_ledger, learns) = (self.keeps_ledger(), self.config.learned_addresses);
        let has_consumer = self.config.consumer_lag.is_some() && node.0 % 2 == 1;
        let n = self.node_mut(node);
        if matches!(n.status, NodeStatus::Running | NodeStatus::Frozen) {
            return;
        }
        let was_off = n.status == NodeStatus::HostDown;
        let own_address = n.address;
        n.end_process(now, NodeStatus::Running);
        n.started_at = now;
        n.acknowledged.clear();
        n.writer = DiskWriter::default();
        let stream = (u64::from(node.0) << 32) | u64::from(n.process);
        let rng_seed = derive(world_seed, "node", stream);
        let identity = n.identity.clone();
        let core = match &mut n.kind {
            NodeKind::Peer { name, advertise, seeds } => {
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
                    retained: n.disk.batches().cloned().collect(),
                    delivered_marks: n.disk.marks().collect(),
                    closed_up_to: n.disk.closed_up_to().collect(),
                    rng_seed,
                };
                let mut peer = Peer::new(setup, now);
                if has_consumer {
                    peer.follow_consumer();
                    n.consumer.get_or_insert_default();
                }
                NodeCore::Peer(Box::new(peer))
            }
            NodeKind::Seed { seeds, own_index } => {
                let setup = SeedSetup {
                    config: n.config.as_ref().clone(),
                    identity,
                    seeds: seeds.to_vec(),
                    own_index: *own_index,
                    entries: n.disk.entries.values().cloned().collect(),
                    nonce: n.disk.nonce,
                    rng_seed,
                };
                NodeCore::Seed(Box::new(Seed::new(setup, now)))
            }
            NodeKind::Machine { factory, .. } => NodeCore::Other(factory(&identity, &n.disk, now)),
        };
        n.core = Some(core);
        if keeps_ledger {
            let (process, marks) = (n.process, n.disk.marks().collect());
            let closed_up_to = n.disk.closed_up_to().collect();
            let consumed = n.consumer.as_ref().map(Consumer::acknowledged);
            let own = n.disk.stream_ends(&n.identity.id());
            self.ledger.resumes.push(Resume {
                at: now,
                node,
                process,
                marks,
                closed_up_to,
                own,
                consumed,
            });
        }
        self.hosts_down -= usize::from(was_off);
        self.trace.step(now, node, Step::Start, 0);
        self.watch_change(node, "starts");
        self.send_wall_clock(node);
        if was_off {
            self.path_changed();
        } else {
            self.note_parts_if_partitioned();
        }
    }

    /// Sends a process the time of its wall clock.
    pub(super) fn send_wall_clock(&mut self, node: NodeId) {
        let wall = wall_clock(self.now, self.node(node).clock_ahead);
        self.feed(node, Step::WallClock, 0, Input::WallClock(wall));
    }

    /// Feeds an input to a core and carries out the outputs.
    pub(super) fn feed(&mut self, node: NodeId, step: Step, number: u64, input: Input) {
        let now = self.now;
        self.trace.step(now, node, step, number);
        self.watch_input(node, &input);
        if let Some(core) = &mut self.node_mut(node).core {
            core.machine_mut().handle(now, input);
        }
        self.drain(node);
    }

    /// Carries out all outputs of a core, then schedules its next wake-up.
    pub(super) fn drain(&mut self, node: NodeId) {
        let poll = |core: &mut NodeCore| core.machine_mut().poll_output();
        while let Some(output) = self.node_mut(node).core.as_mut().and_then(poll) {
            self.carry_out(node, output);
            if self.node(node).leaving {
                // As in the library's driver, no output after this event is carried out.
                self.process_left(node);
                return;
            }
        }
        self.schedule_wake(node);
    }

    /// Schedules the next wake-up, unless an earlier one is in the queue.
    pub(super) fn schedule_wake(&mut self, node: NodeId) {
        let now = self.now;
        let n = self.node_mut(node);
        let Some(deadline) = n.core.as_ref().and_then(|c| c.machine().poll_timeout()) else {
            return;
        };
        if deadline == Time::MAX {
            return;
        }
        let mut at = deadline.max(now);
        // A core that requests a timeout at the same moment again and again would stop virtual
        // time.
        if at == now && n.spins == (now, MAX_SPINS) {
            at = now + Duration::from_millis(1);
            self.note_seam_violation(node, format!("{MAX_SPINS} timeouts at one moment"));
        }
        let n = self.node_mut(node);
        if n.wake.is_none_or(|due| at < due) {
            n.wake = Some(at);
            let process = n.process;
            self.queue.push(at, SimEvent::Wake { node, process });
        }
    }

    fn wake(&mut self, node: NodeId, process: u32) {
        let now = self.now;
        let n = self.node_mut(node);
        // A wake-up that was replaced by an earlier one finds another time here.
        if n.process != process || n.wake != Some(now) {
            return;
        }
        n.wake = None;
        if n.status == NodeStatus::Running {
            self.timeout_if_due(node);
        }
    }

    pub(super) fn timeout_if_due(&mut self, node: NodeId) {
        let deadline = self.node(node).core.as_ref().and_then(|c| c.machine().poll_timeout());
        let now = self.now;
        if deadline.is_some_and(|d| d <= now) {
            let n = self.node_mut(node);
            n.spins = if n.spins.0 == now { (now, n.spins.1 + 1) } else { (now, 1) };
            self.feed(node, Step::Timeout, 0, Input::Timeout);
        } else {
            self.schedule_wake(node);
        }
    }

    /// Handles the backlog of a thawed process: everything that arrived first, then the timeout.
    pub(super) fn process_backlog(&mut self, node: NodeId) {
        let process = self.node(node).process;
        let mut backlog = core::mem::take(&mut self.node_mut(node).backlog);
        while let Some(event) = backlog.pop_front() {
            self.dispatch(event);
        }
        if self.is_current_process(node, process) {
            self.timeout_if_due(node);
        }
    }

    // ---- outputs ----------------------------------------------------------------------------

    fn carry_out(&mut self, node: NodeId, output: Output) {
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
                let (at, process) = (n.writer.commit(now, latency), n.process);
                self.queue.push(at, SimEvent::Stored { node, process, ticket, ops });
            }
            Output::Deliver(delivery) => {
                for m in delivery.messages() {
                    self.figures.delivered(m.id(), self.now, delivery.hops);
                }
                if self.keeps_ledger() {
                    let (at, process) = (self.now, self.node(node).process);
                    let Delivery { neighbour: from, hops, age, .. } = delivery;
                    let arrival = |id| Arrival { at, node, process, id, from, hops, age };
                    self.ledger.arrivals.extend(delivery.messages().map(|m| arrival(m.id())));
                }
                self.deliver_to_consumer(node, delivery.batch.stream(), delivery.from, delivery.to);
            }
            Output::Receipt(receipt) => {
                self.figures.receipts += 1;
                self.figures.receipts_complete += u64::from(receipt.complete);
                if self.keeps_ledger() {
                    let has = |n: &NodeId| self.peer(*n).is_some_and(|p| p.has_seen(&receipt.id));
                    let holders = self.nodes().filter(has).collect();
                    let (at, live) = (self.now, self.live_peers());
                    let owed = self.peers_to_count(node, &receipt.id);
                    let update = ReceiptUpdate { at, node, receipt, holders, live, owed };
                    self.ledger.receipts.push(update);
                }
            }
            Output::Confirmed { to } => {
                let n = self.node_mut(node);
                n.confirmed = n.confirmed.max(to);
            }
            Output::Fetched { id, message } => {
                let (at, found) = (self.now, message.is_some());
                self.figures.fetches += 1;
                if self.keeps_ledger() {
                    self.ledger.fetches.push(FetchAnswer { at, node, id, found });
                }
            }
            Output::Event(event) => self.handle_event(node, event),
        }
    }

    /// Delivers messages or a gap to the consumer of a peer, if it has one.
    fn deliver_to_consumer(&mut self, node: NodeId, stream: StreamId, from: u64, next: u64) {
        let Some(lag) = self.config.consumer_lag else { return };
        let at = self.now + lag;
        let n = self.node_mut(node);
        if n.consumer.as_mut().is_some_and(|consumer| consumer.deliver(stream, from, next)) {
            let process = n.process;
            self.queue.push(at, SimEvent::Consumed { node, process });
        }
    }

    fn handle_event(&mut self, node: NodeId, event: Event) {
        self.watch_event(node, &event);
        self.figures.events += 1;
        let ends_process =
            matches!(event, Event::Left { .. } | Event::DuplicateIdentity { stops: true, .. });
        self.node_mut(node).leaving |= ends_process;
        match &event {
            &Event::Gap { publisher, epoch, from, to } => {
                self.figures.missed += to - from;
                self.deliver_to_consumer(node, StreamId { publisher, epoch }, to, to);
            }
            Event::PeerRemoved { .. } | Event::MemberDead { .. } => self.figures.removals += 1,
            _ => {}
        }
        if self.keeps_ledger() {
            self.record_event(node, event);
        }
    }

    /// Records the exit of a peer, with the nodes that are connected with a holder of its last
    /// message.
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
        let (since, reported) = (n.started_at, n.unconfirmed);
        let unconfirmed = reported.map(|(from, to, _)| (from, to)).filter(|(from, to)| from < to);
        let others = reported.map_or(0, |(_, _, others)| others);
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

    /// Records an event, and the entries of the ledger that follow from it.
    fn record_event(&mut self, node: NodeId, event: Event) {
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
                let live_states = [MemberState::Alive, MemberState::Suspect];
                let members = self.members(node).into_iter();
                let known =
                    members.filter(|m| live_states.contains(&m.state)).map(|m| m.id).collect();
                let id = self.id(node);
                self.ledger.joins.push(Join { at: now, node, id, registered, known });
            }
            &Event::StreamMoved { from, to, .. } => {
                let stream = StreamId { publisher: self.id(node), epoch: from };
                let since = self.node(node).started_at;
                self.ledger.move_stream(node, stream, to, since);
            }
            &Event::Gap { publisher, epoch, from, to } => {
                let (process, after) = (self.node(node).process, self.ledger.arrivals.len());
                let first = MessageId { publisher, epoch, sequence: from };
                let holder = self.reachable_holder(node, &first);
                self.ledger.gaps.push(GapReport {
                    at: now,
                    node,
                    process,
                    first,
                    to,
                    after,
                    holder,
                });
            }
            &Event::LeftUnconfirmed { from, to, others, .. } => {
                self.node_mut(node).unconfirmed = Some((from, to, others));
            }
            &Event::Left { acknowledged } => self.note_departure(node, acknowledged),
            _ => {}
        }
        if self.config.record == RecordLevel::Everything {
            self.node_mut(node).events.push((now, event));
        }
    }

    pub(super) fn link_down(&mut self, node: NodeId, link: rumormill_proto::LinkId, why: LinkEnd) {
        if self.node_mut(node).open_links.remove(&link) {
            self.feed(node, Step::LinkDown, link.0, Input::LinkDown { link, why });
        }
    }

    pub(super) fn note_seam_violation(&mut self, node: NodeId, what: String) {
        let at = self.now;
        self.ledger.seam_violations.push(ContractViolation { at, node, what });
    }
}

/// The time of a wall clock that is `ahead` microseconds ahead of the world's.
fn wall_clock(now: Time, ahead: i64) -> WallTime {
    let exact = WALL_EPOCH + micros(now.since(Time::ZERO));
    WallTime(exact.saturating_add_signed(ahead))
}
