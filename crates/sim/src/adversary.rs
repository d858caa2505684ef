//! Nodes that do not play by the rules: a real peer inside, and something else in its mouth.
//!
//! An adversary joins like anybody else, has neighbours and registrations, and can do what its own
//! key allows. What it does beside the protocol is one of [`AdversaryKind`].

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
    StoreOp, Time,
};

use crate::machine::Machine;
use crate::random::Dice;
use crate::scenario::AdversaryKind;

/// How often an adversary does something of its own accord.
const PERIOD: Duration = Duration::from_millis(500);
/// The flooder does it more often,
const FLOOD_PERIOD: Duration = Duration::from_millis(20);
/// and so many times on each link.
const FLOOD: usize = 8;
/// Pulls that the greedy one sends on each link each time: 3,200 a second.
const GREED: usize = 64;
/// Frames that a replayer remembers.
const MEMORY: usize = 512;
/// Frames that it sends again at once.
const REPLAYS: usize = 16;
/// What the equivocator publishes on.
const TOPIC: &str = "two-faced";

/// A peer that does not play by the rules.
pub(crate) struct Rogue {
    kind: AdversaryKind,
    identity: Identity,
    peer: Peer,
    /// A second peer of the same identity, which never has a link: it makes the other content of
    /// every number.
    twin: Peer,
    /// The twin's batches that are still to be told to half of the neighbours, by first number.
    other: BTreeMap<u64, Batch>,
    links: BTreeMap<LinkId, (PeerId, Role)>,
    /// What neighbours signed about being neighbours.
    adjacencies: BTreeMap<PeerId, Signed<Adjacency>>,
    past: VecDeque<Frame>,
    /// Streams that it has had something of.
    heard: BTreeSet<(PeerId, u64)>,
    outputs: VecDeque<Output>,
    dice: Dice,
    unleashed: Rc<Cell<bool>>,
    /// When it does something of its own accord again.
    next: Time,
}

impl Rogue {
    /// An adversary that behaves until it is unleashed. `setup` makes a peer of its identity.
    pub(crate) fn new(
        kind: AdversaryKind,
        identity: Identity,
        setup: impl Fn() -> PeerSetup,
        dice: Dice,
        unleashed: Rc<Cell<bool>>,
        now: Time,
    ) -> Self {
        Rogue {
            kind,
            identity,
            peer: Peer::new(setup(), now),
            twin: Peer::new(setup(), now),
            other: BTreeMap::new(),
            links: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            past: VecDeque::new(),
            heard: BTreeSet::new(),
            outputs: VecDeque::new(),
            dice,
            unleashed,
            next: Time::ZERO,
        }
    }

    fn note(&mut self, input: &Input) {
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
                        self.heard.insert((g.batch.publisher(), g.batch.epoch()));
                    }
                    _ => {}
                }
                self.remember(frame);
            }
            _ => {}
        }
    }

    fn remember(&mut self, frame: &Frame) {
        if self.kind == AdversaryKind::Replayer {
            if self.past.len() >= MEMORY {
                self.past.pop_front();
            }
            self.past.push_back(frame.clone());
        }
    }

    /// Links to nodes of a role.
    fn links_to(&self, role: Role) -> Vec<(LinkId, PeerId)> {
        let of = self.links.iter().filter(|(_, (_, r))| *r == role);
        of.map(|(link, (id, _))| (*link, *id)).collect()
    }

    fn say(&mut self, link: LinkId, frame: Frame) {
        self.outputs.push_back(Output::Send { link, frame, class: Class::Control });
    }

    /// Does what it is here for.
    fn act(&mut self, now: Time) {
        match self.kind {
            AdversaryKind::Liar => self.lie(),
            AdversaryKind::Flooder => self.flood(),
            AdversaryKind::Greedy => self.ask_for_everything(),
            AdversaryKind::Replayer => self.replay(),
            AdversaryKind::Equivocator => self.equivocate(now),
            AdversaryKind::SilentRelay | AdversaryKind::Forger | AdversaryKind::Idle => {}
        }
    }

    /// Reports every live neighbour to every seed, and tells everybody that it does not answer.
    fn lie(&mut self) {
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
                self.say(*link, Report { report: report.clone() }.into());
            }
            for (link, _) in peers.iter().filter(|(_, other)| other != subject) {
                let silent = ProbeReply { subject: *subject, verdict: Verdict::Silent };
                self.say(*link, silent.into());
            }
        }
    }

    /// A number nobody has.
    fn nonsense(&mut self) -> PeerId {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.dice.bits().to_le_bytes());
        }
        PeerId::from_bytes(bytes)
    }

    fn flood(&mut self) {
        for (link, _) in self.links_to(Role::Peer) {
            for _ in 0..FLOOD {
                let publisher = self.nonsense();
                let from = self.dice.bits() >> 32;
                let range = Range { publisher, epoch: from, from, to: from + 1000 };
                let id = MessageId { publisher, epoch: from, sequence: from };
                let frame: Frame = match self.dice.below(4) {
                    0 => Announce { ranges: vec![range; 16] }.into(),
                    1 => Pull { ranges: vec![range; 16], nonce: 0 }.into(),
                    2 => GetData { id }.into(),
                    _ => ProbeReply { subject: publisher, verdict: Verdict::Silent }.into(),
                };
                self.say(link, frame);
            }
        }
    }

    /// Pulls all messages of the publishers it has heard of, and asks for whatever else there is.
    fn ask_for_everything(&mut self) {
        let streams: Vec<_> = self.heard.iter().copied().take(MEMORY).collect();
        let ranges: Vec<Range> = streams
            .iter()
            .map(|&(publisher, epoch)| Range { publisher, epoch, from: 0, to: 1 << 40 })
            .collect();
        for (link, id) in self.links_to(Role::Peer) {
            for _ in 0..GREED {
                self.say(link, Pull { ranges: ranges.clone(), nonce: 0 }.into());
            }
            self.say(link, ProbeRequest { subject: id, incarnation: 1 }.into());
            let hash = self.dice.bits();
            self.say(link, Summary { hash, entries: None }.into());
        }
        for (link, _) in self.links_to(Role::Seed) {
            (0..GREED).for_each(|_| self.say(link, Frame::GetPeerList));
        }
    }

    fn replay(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        if links.is_empty() || self.past.is_empty() {
            return;
        }
        for _ in 0..REPLAYS {
            let frame = self.past[self.dice.below(self.past.len())].clone();
            let link = links[self.dice.below(links.len())];
            self.say(link, frame);
        }
    }

    fn equivocate(&mut self, now: Time) {
        let _ = self.twin.publish(now, TOPIC, b"and the other");
        while let Some(output) = self.twin.poll_output() {
            let Output::Store { ticket, ops } = output else { continue };
            for op in ops {
                if let StoreOp::PutBatch(batch) = op {
                    self.other.insert(batch.first(), batch);
                }
            }
            self.twin.handle(now, Input::Stored { ticket });
        }
        while self.other.len() > MEMORY {
            self.other.pop_first();
        }
        let _ = self.peer.publish(now, TOPIC, b"the one");
    }

    /// What becomes of something that the peer inside sends.
    fn twist(&mut self, output: Output) -> Option<Output> {
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
                // The ends of its links that it dialled are even: about a half.
                let other = self.other.get(&g.batch.first());
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
        self.remember(&frame);
        Some(Output::Send { link, frame, class })
    }
}

/// The batch with one bit of its last message changed; `None` if it has no form then.
fn forge(batch: &Batch) -> Option<Batch> {
    let last = batch.messages().last()?;
    let payload = last.payload();
    let mut bytes = batch.wire().to_vec();
    let found = bytes.windows(payload.len().max(1)).position(|w| w == payload)?;
    *bytes.get_mut(found)? ^= 1;
    Batch::from_wire(Bytes::from(bytes)).ok()
}

impl Machine for Rogue {
    fn handle(&mut self, now: Time, input: Input) {
        self.note(&input);
        if !matches!(input, Input::Timeout) || self.peer.poll_timeout().is_some_and(|t| t <= now) {
            self.peer.handle(now, input);
        }
        if self.unleashed.get() && self.next <= now {
            let often = matches!(self.kind, AdversaryKind::Flooder | AdversaryKind::Greedy);
            self.next = now + if often { FLOOD_PERIOD } else { PERIOD };
            self.act(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            // A link may have ended since the words for it were found.
            while let Some(output) = self.outputs.pop_front() {
                match &output {
                    Output::Send { link, .. } if !self.links.contains_key(link) => {}
                    _ => return Some(output),
                }
            }
            let output = self.peer.poll_output()?;
            if !self.unleashed.get() {
                return Some(output);
            }
            if let Some(output) = self.twist(output) {
                return Some(output);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let own = Some(self.next).filter(|_| self.unleashed.get());
        [own, self.peer.poll_timeout()].into_iter().flatten().min()
    }
}
