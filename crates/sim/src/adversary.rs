//! Adversaries: real peers that violate one rule of the protocol.
//!
//! An adversary wraps a real [`Peer`]. It joins, has neighbours and registrations like any other
//! peer, and can sign only with its own key. [`AdversaryKind`] names the rule that it violates.

use core::cell::Cell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use rumormill_proto::failure::{Adjacency, DeathReport};
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{
    Announce, Frame, GetData, PeerReply, ProbeReply, ProbeRequest, Pull, Range, Report, Summary,
    Verdict,
};
use rumormill_proto::{
    Batch, Class, Identity, Input, LinkId, MessageId, Output, Peer, PeerId, PeerSetup, Role,
    StateMachine, StoreOp, Time,
};

use crate::random::RngStream;
use crate::scenario::AdversaryKind;

/// Interval between two attacks of an adversary.
const PERIOD: Duration = Duration::from_millis(500);
/// Interval between two attacks of a flooder or a greedy peer.
const FLOOD_PERIOD: Duration = Duration::from_millis(20);
/// Frames that a flooder sends on each link in one attack.
const FLOOD_FRAMES: usize = 8;
/// Pulls that a greedy peer sends on each link in one attack: 3,200 a second.
const GREEDY_PULLS: usize = 64;
/// Most frames that a replayer stores, streams that a greedy peer pulls, and batches of the twin
/// that an equivocator stores.
const MAX_STORED: usize = 512;
/// Frames that a replayer sends in one attack.
const REPLAYED_FRAMES: usize = 16;
/// Topic of the messages that an equivocator publishes.
const TOPIC: &str = "two-faced";

/// A peer that violates one rule of the protocol.
pub(crate) struct AdversaryPeer {
    kind: AdversaryKind,
    identity: Identity,
    peer: Peer,
    /// A second peer with the same identity and without links: it makes the second content of
    /// every sequence number.
    twin: Peer,
    /// The twin's batches, by first sequence number; half of the neighbours get these.
    twin_batches: BTreeMap<u64, Batch>,
    links: BTreeMap<LinkId, (PeerId, Role)>,
    /// The adjacencies that neighbours have signed for this peer.
    adjacencies: BTreeMap<PeerId, Signed<Adjacency>>,
    /// Frames that this peer has received or sent, oldest first.
    history: VecDeque<Frame>,
    /// Streams of which this peer has received a batch.
    known_streams: BTreeSet<(PeerId, u64)>,
    outputs: VecDeque<Output>,
    rng: RngStream,
    /// Whether adversaries attack now; all adversaries of a world share the flag.
    active: Rc<Cell<bool>>,
    /// When the next attack is due.
    next: Time,
}

impl AdversaryPeer {
    /// An adversary that follows the protocol while `active` is false. `setup` makes a peer with
    /// its identity.
    pub(crate) fn new(
        kind: AdversaryKind,
        identity: Identity,
        setup: impl Fn() -> PeerSetup,
        rng: RngStream,
        active: Rc<Cell<bool>>,
        now: Time,
    ) -> Self {
        AdversaryPeer {
            kind,
            identity,
            peer: Peer::new(setup(), now),
            twin: Peer::new(setup(), now),
            twin_batches: BTreeMap::new(),
            links: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            history: VecDeque::new(),
            known_streams: BTreeSet::new(),
            outputs: VecDeque::new(),
            rng,
            active,
            next: Time::ZERO,
        }
    }

    /// Records the parts of an input that an attack needs.
    fn record_input(&mut self, input: &Input) {
        match input {
            Input::LinkUp { link, info } => {
                self.links.insert(*link, (info.remote, info.role));
            }
            Input::LinkDown { link, .. } => {
                self.links.remove(link);
            }
            Input::Frame { frame, .. } => {
                match &**frame {
                    Frame::PeerRequest(r) => {
                        self.adjacencies.insert(r.record.id, r.adjacency.clone());
                    }
                    Frame::PeerReply(reply) => {
                        if let PeerReply::Accept(a) = &**reply {
                            self.adjacencies.insert(a.record.id, a.adjacency.clone());
                        }
                    }
                    Frame::Gossip(g) if self.kind == AdversaryKind::Greedy => {
                        self.known_streams.insert((g.batch.publisher(), g.batch.epoch()));
                    }
                    _ => {}
                }
                self.store_frame(frame);
            }
            _ => {}
        }
    }

    fn store_frame(&mut self, frame: &Frame) {
        if self.kind == AdversaryKind::Replayer {
            if self.history.len() >= MAX_STORED {
                self.history.pop_front();
            }
            self.history.push_back(frame.clone());
        }
    }

    /// The links to nodes with this role.
    fn links_to(&self, role: Role) -> Vec<(LinkId, PeerId)> {
        let of = self.links.iter().filter(|(_, (_, r))| *r == role);
        of.map(|(link, (id, _))| (*link, *id)).collect()
    }

    fn send(&mut self, link: LinkId, frame: Frame) {
        self.outputs.push_back(Output::Send { link, frame, class: Class::Control });
    }

    /// Performs one attack.
    fn attack(&mut self, now: Time) {
        match self.kind {
            AdversaryKind::Liar => self.send_false_reports(),
            AdversaryKind::Flooder => self.flood(),
            AdversaryKind::Greedy => self.request_everything(),
            AdversaryKind::Replayer => self.replay(),
            AdversaryKind::Equivocator => self.equivocate(now),
            AdversaryKind::SilentRelay | AdversaryKind::Forger | AdversaryKind::Idle => {}
        }
    }

    /// Reports every live neighbour as dead to every seed, and tells the other neighbours that it
    /// does not answer.
    fn send_false_reports(&mut self) {
        let (peers, seeds) = (self.links_to(Role::Peer), self.links_to(Role::Seed));
        for (_, subject) in &peers {
            let Some(adjacency) = self.adjacencies.get(subject).cloned() else { continue };
            let report = DeathReport {
                reporter: self.identity.id(),
                subject: *subject,
                incarnation: adjacency.incarnation,
                adjacency,
            };
            let report = Signed::sign(report, &self.identity);
            for (link, _) in &seeds {
                self.send(*link, Report { report: report.clone() }.into());
            }
            for (link, _) in peers.iter().filter(|(_, other)| other != subject) {
                let silent = ProbeReply { subject: *subject, verdict: Verdict::Silent };
                self.send(*link, silent.into());
            }
        }
    }

    /// A random peer id, which no node has.
    fn random_id(&mut self) -> PeerId {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.rng.bits().to_le_bytes());
        }
        PeerId::from_bytes(bytes)
    }

    fn flood(&mut self) {
        for (link, _) in self.links_to(Role::Peer) {
            for _ in 0..FLOOD_FRAMES {
                let publisher = self.random_id();
                let from = self.rng.bits() >> 32;
                let range = Range { publisher, epoch: from, from, to: from + 1000 };
                let id = MessageId { publisher, epoch: from, sequence: from };
                let frame: Frame = match self.rng.below(4) {
                    0 => Announce { ranges: vec![range; 16] }.into(),
                    1 => Pull { ranges: vec![range; 16], nonce: 0 }.into(),
                    2 => GetData { id }.into(),
                    _ => ProbeReply { subject: publisher, verdict: Verdict::Silent }.into(),
                };
                self.send(link, frame);
            }
        }
    }

    /// Pulls all messages of the streams that it knows, and sends every other kind of request.
    fn request_everything(&mut self) {
        let streams: Vec<_> = self.known_streams.iter().copied().take(MAX_STORED).collect();
        let ranges: Vec<Range> = streams
            .iter()
            .map(|&(publisher, epoch)| Range { publisher, epoch, from: 0, to: 1 << 40 })
            .collect();
        for (link, id) in self.links_to(Role::Peer) {
            for _ in 0..GREEDY_PULLS {
                self.send(link, Pull { ranges: ranges.clone(), nonce: 0 }.into());
            }
            self.send(link, ProbeRequest { subject: id, incarnation: 1 }.into());
            let hash = self.rng.bits();
            self.send(link, Summary { hash, entries: None }.into());
        }
        for (link, _) in self.links_to(Role::Seed) {
            (0..GREEDY_PULLS).for_each(|_| self.send(link, Frame::GetPeerList));
        }
    }

    fn replay(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        if links.is_empty() || self.history.is_empty() {
            return;
        }
        for _ in 0..REPLAYED_FRAMES {
            let frame = self.history[self.rng.below(self.history.len())].clone();
            let link = links[self.rng.below(links.len())];
            self.send(link, frame);
        }
    }

    fn equivocate(&mut self, now: Time) {
        let _ = self.twin.publish(now, TOPIC, b"and the other");
        while let Some(output) = self.twin.poll_output() {
            let Output::Store { ticket, ops } = output else { continue };
            for op in ops {
                if let StoreOp::PutBatch(batch) = op {
                    self.twin_batches.insert(batch.first(), batch);
                }
            }
            self.twin.handle(now, Input::Stored { ticket });
        }
        while self.twin_batches.len() > MAX_STORED {
            self.twin_batches.pop_first();
        }
        let _ = self.peer.publish(now, TOPIC, b"the one");
    }

    /// Applies the violated rule to an output of the wrapped peer; `None` drops the output.
    fn alter_output(&mut self, output: Output) -> Option<Output> {
        let Output::Send { link, frame, class } = output else { return Some(output) };
        let me = self.identity.id();
        let frame = match (self.kind, frame) {
            (AdversaryKind::Liar, Frame::ProbeReply(mut reply)) => {
                reply.verdict = Verdict::Silent;
                Frame::ProbeReply(reply)
            }
            (AdversaryKind::SilentRelay, Frame::Gossip(g)) if g.batch.publisher() != me => {
                return None;
            }
            (AdversaryKind::Equivocator, Frame::Gossip(mut g)) => {
                // Link numbers at the dialer are even, and every second of these leaves 0 when
                // divided by 4: about half of the neighbours get the other content.
                let other = self.twin_batches.get(&g.batch.first());
                if let Some(other) = other.filter(|_| g.batch.publisher() == me && link.0 % 4 < 2) {
                    g.batch = other.clone();
                }
                Frame::Gossip(g)
            }
            (AdversaryKind::Forger, Frame::Gossip(mut g)) if g.batch.publisher() != me => {
                if let Some(forged) = forge(&g.batch) {
                    g.batch = forged;
                }
                Frame::Gossip(g)
            }
            (_, frame) => frame,
        };
        self.store_frame(&frame);
        Some(Output::Send { link, frame, class })
    }
}

/// The batch with one bit of its last message changed; `None` if the result cannot be decoded.
fn forge(batch: &Batch) -> Option<Batch> {
    let last = batch.messages().last()?;
    let payload = last.payload();
    let mut bytes = batch.wire().to_vec();
    let found = bytes.windows(payload.len().max(1)).position(|w| w == payload)?;
    *bytes.get_mut(found)? ^= 1;
    Batch::from_wire(Bytes::from(bytes)).ok()
}

impl StateMachine for AdversaryPeer {
    fn id(&self) -> PeerId {
        self.peer.id()
    }

    fn handle(&mut self, now: Time, input: Input) {
        self.record_input(&input);
        if !matches!(input, Input::Timeout) || self.peer.poll_timeout().is_some_and(|t| t <= now) {
            self.peer.handle(now, input);
        }
        if self.active.get() && self.next <= now {
            let often = matches!(self.kind, AdversaryKind::Flooder | AdversaryKind::Greedy);
            self.next = now + if often { FLOOD_PERIOD } else { PERIOD };
            self.attack(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            // A link may have ended since a frame was queued for it.
            while let Some(output) = self.outputs.pop_front() {
                match &output {
                    Output::Send { link, .. } if !self.links.contains_key(link) => {}
                    _ => return Some(output),
                }
            }
            let output = self.peer.poll_output()?;
            if !self.active.get() {
                return Some(output);
            }
            if let Some(output) = self.alter_output(output) {
                return Some(output);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let own = Some(self.next).filter(|_| self.active.get());
        [own, self.peer.poll_timeout()].into_iter().flatten().min()
    }
}
