//! A real `Peer` or `Seed` among remotes that are all hostile: they sign any content with valid
//! keys, send answers without a request, replay the node's own frames, and end links and dials in
//! any order. After every move the rig checks the node against the contract with its driver.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use minicbor::bytes::ByteArray;
use rumormill_proto::failure::Adjacency;
use rumormill_proto::limits::{MAX_CERTIFICATES, MAX_FRAME, MAX_NEIGHBOURS, MAX_STREAMS};
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{self, Frame, PeerReply, Verifier};
use rumormill_proto::{
    CloseReason, Config, Counters, DialError, DialId, DialTarget, Event, Input, LinkEnd, LinkId,
    LinkInfo, MessageId, Name, Output, Peer, PeerId, PeerSetup, Role, Seed, SeedAddress, SeedSetup,
    SignedRecord, StoreOp, StoreTicket, StreamId, Time, WallTime,
};

use super::script::Script;
use super::statements::{address, identity, without_prefix};

/// The identity number of the node under test.
pub const VICTIM: u8 = 20;
/// The remotes in the role of a peer.
pub const PEERS: core::ops::RangeInclusive<u8> = 1..=6;
/// The remotes that are the configured seeds; the first seed is pinned.
pub const SEEDS: core::ops::RangeInclusive<u8> = 11..=13;
/// More outputs than any one move may cause: a full push of everything that the rig knows is less.
const MAX_OUTPUTS: usize = 8_192;

/// One of the two state machines.
#[derive(Debug)]
pub enum Node {
    Peer(Box<Peer>),
    Seed(Box<Seed>),
}

macro_rules! either {
    ($node:expr, $n:ident => $body:expr) => {
        match $node {
            Node::Peer($n) => $body,
            Node::Seed($n) => $body,
        }
    };
}

/// The remote end of a link that is up.
#[derive(Debug, Clone, Copy)]
pub struct Remote {
    /// The identity number.
    pub number: u8,
    pub role: Role,
}

/// How far a stream was delivered.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// The next number, or the first number of the gap before it.
    earliest: u64,
    next: u64,
}

/// The node under test, and its driver and remotes.
#[derive(Debug)]
pub struct Rig {
    pub node: Node,
    pub now: Time,
    pub links: BTreeMap<LinkId, Remote>,
    pub dials: Vec<(DialId, DialTarget)>,
    pub events: BTreeMap<&'static str, u64>,
    /// The last frames that the node sent, newest last.
    pub sent: VecDeque<(LinkId, Frame)>,
    /// Frames and bytes sent in all, by the type of the frame.
    pub totals: BTreeMap<&'static str, (u64, u64)>,
    /// Records that the node signed and the remotes have received.
    pub stolen_records: Vec<SignedRecord>,
    pub stolen_adjacencies: Vec<Signed<Adjacency>>,
    pub stored: Vec<StoreTicket>,
    /// The highest incarnation that the node has stored.
    pub incarnation: u64,
    pub deliveries: BTreeMap<MessageId, u64>,
    streams: BTreeMap<StreamId, Position>,
    verifier: Verifier,
    next_link: u64,
    counted: u64,
    id: PeerId,
}

/// The seeds as the node's configuration names them.
pub fn seed_addresses() -> Vec<SeedAddress> {
    let pin = |n: u8| (n == *SEEDS.start()).then(|| identity(n).id());
    SEEDS.map(|n| SeedAddress { host_port: format!("seed{n}:7000"), pin: pin(n) }).collect()
}

/// The identity number of an id.
pub fn number_of(id: &PeerId) -> Option<u8> {
    PEERS.chain(SEEDS).chain([VICTIM]).find(|&n| identity(n).id() == *id)
}

impl Rig {
    pub fn peer(config: Config) -> Self {
        let setup = PeerSetup {
            config: config.into(),
            identity: identity(VICTIM),
            name: Name::new("victim").unwrap(),
            addresses: vec![address(7020)],
            seeds: seed_addresses().into(),
            incarnation: 1,
            anchors: Vec::new(),
            retained: Vec::new(),
            delivered_marks: Vec::new(),
            closed_up_to: vec![],
            rng_seed: [7; 32],
        };
        Self::around(Node::Peer(Box::new(Peer::new(setup, Time::ZERO))))
    }

    /// A seed that is itself one of five, so that the hostile ones are a majority of the others.
    pub fn seed(config: Config) -> Self {
        let mut seeds = seed_addresses();
        seeds.push(SeedAddress { host_port: "victim:7000".to_owned(), pin: None });
        let own_index = Some(seeds.len() - 1);
        let setup = SeedSetup {
            config,
            identity: identity(VICTIM),
            seeds,
            own_index,
            entries: Vec::new(),
            nonce: None,
            rng_seed: [7; 32],
        };
        Self::around(Node::Seed(Box::new(Seed::new(setup, Time::ZERO))))
    }

    fn around(node: Node) -> Self {
        let id = identity(VICTIM).id();
        let mut rig = Rig {
            node,
            now: Time::ZERO,
            links: BTreeMap::new(),
            dials: Vec::new(),
            events: BTreeMap::new(),
            sent: VecDeque::new(),
            totals: BTreeMap::new(),
            stolen_records: Vec::new(),
            stolen_adjacencies: Vec::new(),
            stored: Vec::new(),
            incarnation: 1,
            deliveries: BTreeMap::new(),
            streams: BTreeMap::new(),
            verifier: Verifier::new(),
            next_link: 0,
            counted: 0,
            id,
        };
        rig.drain();
        rig.timeout();
        rig
    }

    pub fn as_peer(&self) -> &Peer {
        match &self.node {
            Node::Peer(p) => p,
            Node::Seed(_) => panic!("a seed"),
        }
    }

    pub fn as_peer_mut(&mut self) -> &mut Peer {
        match &mut self.node {
            Node::Peer(p) => p,
            Node::Seed(_) => panic!("a seed"),
        }
    }

    pub fn handle(&mut self, input: Input) {
        let now = self.now;
        either!(&mut self.node, n => n.handle(now, input));
        self.drain();
    }

    // ---- the driver's inputs -----------------------------------------------------------------

    /// Brings a link up, inbound if there is no dial.
    pub fn link_up(&mut self, number: u8, role: Role, dial: Option<DialId>) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        if let Some(dial) = dial {
            self.dials.retain(|(d, _)| *d != dial);
        }
        self.links.insert(link, Remote { number, role });
        let info = LinkInfo {
            remote: identity(number).id(),
            role,
            dial,
            remote_address: address(9000 + u16::from(number)).0,
            observed: Some(address(7020).0),
            local_address: Some(address(7020).0),
            same_process: number == VICTIM,
        };
        self.handle(Input::LinkUp { link, info });
        link
    }

    pub fn link_down(&mut self, link: LinkId, why: LinkEnd) {
        self.links.remove(&link);
        self.handle(Input::LinkDown { link, why });
    }

    /// Answers a dial with its target, or with an impostor for a seed without a pin. False if the
    /// rig has no such remote.
    pub fn answer_dial(&mut self, dial: DialId, impostor: Option<u8>) -> bool {
        let Some((_, to)) = self.dials.iter().find(|(d, _)| *d == dial).cloned() else {
            return false;
        };
        let number = match to {
            DialTarget::Peer { id, .. } => match number_of(&id) {
                Some(number) if number != VICTIM => (number, Role::Peer),
                _ => return false,
            },
            DialTarget::Seed(SeedAddress { host_port, pin }) => {
                let configured = SEEDS.into_iter().find(|n| host_port == format!("seed{n}:7000"));
                match (pin, impostor) {
                    (None, Some(number)) => (number, Role::Seed),
                    _ => (configured.unwrap_or(*SEEDS.start()), Role::Seed),
                }
            }
        };
        self.link_up(number.0, number.1, Some(dial));
        true
    }

    /// Hands the node a frame as from the wire: encoded, checked against the limit, decoded,
    /// verified. False if the frame is refused.
    pub fn receive(&mut self, link: LinkId, frame: impl Into<Frame>) -> bool {
        let bytes = wire::encode(&frame.into());
        let Ok(frame) = wire::decode(&without_prefix(&bytes)) else { return false };
        let Ok(frame) = self.verifier.verify(frame) else { return false };
        self.handle(Input::Frame { link, frame });
        true
    }

    /// Frames and bytes of one type sent so far.
    pub fn total(&self, name: &str) -> (u64, u64) {
        self.totals.get(name).copied().unwrap_or_default()
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The next deadline of the node.
    pub fn deadline(&self) -> Option<Time> {
        either!(&self.node, n => n.poll_timeout())
    }

    /// Moves the time to the next deadline, if there is one.
    pub fn next_deadline(&mut self) {
        if let Some(at) = self.deadline() {
            self.now = self.now.max(at);
            self.timeout();
        }
    }

    /// Meets the deadline. Panics if the node asks again and again to be called at the same time,
    /// which would keep a processor busy.
    pub fn timeout(&mut self) {
        for _ in 0..64 {
            self.handle(Input::Timeout);
            let next = either!(&self.node, n => n.poll_timeout());
            if next.is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the deadline does not advance: a busy loop at {}", self.now);
    }

    // ---- the node's outputs ------------------------------------------------------------------

    pub fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = either!(&mut self.node, n => n.poll_output()) {
            outputs += 1;
            assert!(outputs <= MAX_OUTPUTS, "one input causes more than {MAX_OUTPUTS} outputs");
            self.on_output(output);
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Send { link, frame, .. } => self.on_frame(link, frame),
            Output::Dial { dial, to } => {
                if let DialTarget::Peer { id, .. } = &to {
                    assert_ne!(*id, self.id, "the node dials itself");
                }
                self.dials.push((dial, to));
            }
            Output::Close { link, .. } => {
                assert!(self.links.remove(&link).is_some(), "{link:?} is closed twice");
            }
            Output::Store { ticket, ops } => {
                for op in ops {
                    if let StoreOp::PutIncarnation(n) = op {
                        assert!(n > self.incarnation, "incarnation {n} is not a new one");
                        self.incarnation = n;
                    }
                }
                self.stored.push(ticket);
            }
            Output::Deliver(d) => {
                assert!(d.count() > 0 && d.from >= d.batch.first());
                assert_eq!(d.messages().count() as u64, d.count());
                for m in d.messages() {
                    let id = m.id();
                    self.check_order(id, id.sequence + 1, false);
                    let n = self.deliveries.entry(id).or_default();
                    *n += 1;
                    assert_eq!(*n, 1, "{id} is delivered twice");
                }
            }
            Output::Receipt(r) => {
                assert_eq!(r.id.publisher, self.id, "a receipt for a message of another publisher");
                assert!(r.held <= r.live, "{r:?}");
                assert!(!r.complete || r.held == r.live, "{r:?}");
            }
            Output::Fetched { .. } | Output::Confirmed { .. } => {}
            Output::Event(e) => {
                if let Event::Gap { publisher, epoch, from, to } = e {
                    assert!(from < to, "an empty gap");
                    self.check_order(MessageId { publisher, epoch, sequence: from }, to, true);
                }
                *self.events.entry(kind(&e)).or_default() += 1;
            }
        }
    }

    /// Checks that messages are delivered in order, and that a number that is left out was reported
    /// as a gap before. The first number may be any. Messages in a gap at the end of a stream may
    /// be delivered after all, because that gap rests on claims of neighbours.
    fn check_order(&mut self, first: MessageId, end: u64, is_gap: bool) {
        let at = first.sequence;
        let known = self.streams.get(&first.stream());
        if let Some(Position { earliest, next }) = known {
            assert!((*earliest..=*next).contains(&at), "{first} is delivered where {next} is next");
        }
        let earliest = if is_gap { known.map_or(at, |p| p.earliest.min(at)) } else { end };
        self.streams.insert(first.stream(), Position { earliest, next: end });
    }

    /// Checks that other nodes accept a frame that the node sends.
    fn on_frame(&mut self, link: LinkId, frame: Frame) {
        assert!(self.links.contains_key(&link), "{} on a closed link", frame.name());
        let bytes = wire::encode(&frame);
        assert!(bytes.len() - 4 <= MAX_FRAME, "{} of {} bytes", frame.name(), bytes.len());
        let back = wire::decode(&without_prefix(&bytes))
            .unwrap_or_else(|e| panic!("the node sent a malformed {}: {e}", frame.name()));
        assert_eq!(back, frame);
        self.verifier
            .verify(back)
            .unwrap_or_else(|e| panic!("the node sent an invalid {}: {e}", frame.name()));
        let total = self.totals.entry(frame.name()).or_default();
        *total = (total.0 + 1, total.1 + bytes.len() as u64);
        self.steal(&frame);
        if self.sent.len() >= 64 {
            self.sent.pop_front();
        }
        self.sent.push_back((link, frame));
    }

    fn steal(&mut self, frame: &Frame) {
        let (record, adjacency) = match frame {
            Frame::Register(f) => (Some(&f.record), None),
            Frame::PeerRequest(f) => (Some(&f.record), Some(&f.adjacency)),
            Frame::PeerReply(f) => match &**f {
                PeerReply::Accept(a) => (Some(&a.record), Some(&a.adjacency)),
                PeerReply::Reject(r) => (Some(&r.record), None),
            },
            _ => (None, None),
        };
        if let Some(r) = record.filter(|r| r.id == self.id) {
            let last = self.stolen_records.last();
            assert!(
                last.is_none_or(|l| r.version() >= l.version()),
                "the node's record went back from {:?} to {:?}",
                last.map(|l| l.version()),
                r.version()
            );
            self.stolen_records.push(r.clone());
            if self.stolen_records.len() > 16 {
                self.stolen_records.remove(1);
            }
        }
        if let Some(a) = adjacency.filter(|a| a.subject == self.id) {
            self.stolen_adjacencies.push(a.clone());
            if self.stolen_adjacencies.len() > 16 {
                self.stolen_adjacencies.remove(0);
            }
        }
    }

    /// Checks the invariants that hold after any input.
    pub fn check(&mut self) {
        let counters = match &self.node {
            Node::Peer(p) => self.check_peer(p),
            Node::Seed(s) => self.check_seed(s),
        };
        let total: u64 = counters.iter().map(|(_, n)| n).fold(0, u64::saturating_add);
        assert!(total >= self.counted, "a counter went back");
        self.counted = total;
        // These facts are both an event and a counter.
        let pairs = [
            ("frame_refused", "frames_refused"),
            ("gap", "gaps"),
            ("registration_refused", "registrations_refused"),
            ("suspected", "suspicions"),
            ("reported", "reports"),
            ("refuted", "refutations"),
            ("accusation_refuted", "accusations_refuted"),
            ("voted", "votes"),
            ("peer_removed", "removals"),
            ("duplicate_identity", "duplicate_identities"),
        ];
        for (event, counter) in pairs {
            if counter == "registrations_refused" && matches!(self.node, Node::Peer(_)) {
                continue; // at a peer, the event is a refusal by a seed
            }
            let events = self.events.get(event).copied().unwrap_or(0);
            assert_eq!(events, counters.get(counter), "events {event}, counter {counter}");
        }
        // Reported once, and counted at each attempt.
        let reported = self.events.get("seeds_share_identity").copied().unwrap_or(0);
        assert!(reported <= counters.get("seeds_sharing_identity"));
    }

    fn check_peer(&self, p: &Peer) -> Counters {
        let s = p.snapshot(self.now);
        assert!(s.neighbours.len() <= MAX_NEIGHBOURS);
        assert!(s.neighbours.iter().all(|n| n.id != self.id), "the node is its own neighbour");
        for n in &s.neighbours {
            let link = self.links.get(&n.link).expect("a neighbour without a link");
            assert_eq!(
                identity(link.number).id(),
                n.id,
                "a neighbour on the link of another remote"
            );
        }
        assert_eq!(s.links as usize, self.links.len(), "the node counts other links than it has");
        assert!(s.retained_bytes <= 16 * 1024 * 1024);
        assert!(s.incarnation >= self.incarnation);
        assert!(p.members().len() <= s.alive as usize + 2 * MAX_CERTIFICATES);
        assert!(p.publishers().len() <= MAX_STREAMS);
        assert_eq!(p.retained_messages(usize::MAX, None).len() as u64, s.retained_messages);
        s.counters
    }

    fn check_seed(&self, s: &Seed) -> Counters {
        let view = s.snapshot(self.now);
        assert_eq!(
            view.links as usize,
            self.links.len(),
            "the node counts other links than it has"
        );
        assert!(view.connected_peers as usize <= self.links.len());
        assert!(view.alive <= view.entries);
        assert_eq!(s.members().len(), view.entries as usize);
        view.counters
    }

    /// Lets the node join by honest answers: the rig answers every dial to a seed, acknowledges
    /// every registration, and makes the peers `1..=neighbours` neighbours.
    pub fn join(&mut self, neighbours: u8) {
        let dials: Vec<DialId> = self.dials.iter().map(|(d, _)| *d).collect();
        for dial in dials {
            self.answer_dial(dial, None);
        }
        for _ in 0..4 {
            self.cooperate(&mut Script::new(&[]));
        }
        for number in (1..=neighbours).filter(|n| PEERS.contains(n)) {
            let link = self.link_up(number, Role::Peer, None);
            let me = identity(number);
            let request = wire::PeerRequest {
                record: super::statements::signed_record(&me, 1, 1),
                kind: wire::PeerRequestKind::FreeSlot,
                neighbours: Vec::new(),
                adjacency: super::statements::adjacency(&me, self.id, 1),
            };
            self.receive(link, request);
        }
    }

    /// Answers the newest unanswered request of the node as an honest remote would.
    pub fn cooperate(&mut self, script: &mut Script<'_>) {
        while let Some((link, frame)) = self.sent.pop_back() {
            let Some(remote) = self.links.get(&link).copied() else { continue };
            if let Some(answer) = super::hostile::honest_answer(script, remote, &frame) {
                self.receive(link, answer);
                return;
            }
        }
    }

    // ---- one move --------------------------------------------------------------------------

    /// Makes the next move of the script.
    pub fn step(&mut self, s: &mut Script<'_>) {
        match s.byte() % 16 {
            0 => {
                let (number, role) = any_remote(s);
                self.link_up(number, role, None);
            }
            1 | 2 => self.end_a_dial(s),
            3 => {
                if let Some(link) = self.some_link(s) {
                    let reason = [CloseReason::Full, CloseReason::DeclaredDead, CloseReason::Done];
                    let why = match s.byte() % 6 {
                        0..3 => LinkEnd::Lost,
                        3 => LinkEnd::Local(CloseReason::TooSlow),
                        n => LinkEnd::Closed(reason[usize::from(n) % 3]),
                    };
                    self.link_down(link, why);
                }
            }
            4 => self.pass_some_time(s),
            5 => self.next_deadline(),
            6 => {
                let ticket = match self.stored.len() {
                    0 => StoreTicket(s.number()),
                    n => self.stored.swap_remove(s.below(n)),
                };
                self.handle(Input::Stored { ticket });
            }
            7 => self.command(s),
            8..=10 => self.cooperate(s),
            11 => self.replay(s),
            _ => {
                if let Some(link) = self.some_link(s) {
                    let Some(remote) = self.links.get(&link).copied() else { return };
                    let frame = super::hostile::frame(s, self, remote);
                    self.receive(link, frame);
                }
            }
        }
    }

    pub fn some_link(&self, s: &mut Script<'_>) -> Option<LinkId> {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        s.pick(&links).copied()
    }

    fn end_a_dial(&mut self, s: &mut Script<'_>) {
        let Some((dial, _)) = s.pick(&self.dials).cloned() else { return };
        if s.once_in(4) {
            let why = [
                DialError::Refused,
                DialError::NoAddress,
                DialError::TimedOut,
                DialError::WrongIdentity,
                DialError::Incompatible,
                DialError::OtherNetwork,
                DialError::Limit,
            ];
            let why = s.pick(&why).copied().unwrap_or(DialError::Refused);
            self.dials.retain(|(d, _)| *d != dial);
            self.handle(Input::DialFailed { dial, why });
        } else {
            let impostor = s.once_in(4).then(|| any_remote(s).0);
            self.answer_dial(dial, impostor);
        }
    }

    fn pass_some_time(&mut self, s: &mut Script<'_>) {
        let ms = match s.byte() % 8 {
            0 => 0,
            1 => 1,
            2 => u64::from(s.byte()),
            3 => 500,
            4 => 3_000,
            5 => 30_000,
            6 => 150_000,
            _ => 26 * 3600 * 1000,
        };
        self.pass(Duration::from_millis(ms));
        if !s.once_in(3) {
            self.timeout();
        }
    }

    fn command(&mut self, s: &mut Script<'_>) {
        let now = self.now;
        let which = s.byte() % 16;
        match &mut self.node {
            Node::Peer(p) => match which {
                0 if s.once_in(2) => p.leave(now, Duration::from_millis(u64::from(s.u16()) / 4)),
                0 => drop(p.flush(now)),
                1..=5 => {
                    let payload = vec![s.byte(); s.below(64)];
                    let n = if s.once_in(8) { s.below(200) } else { 1 };
                    for _ in 0..n {
                        let published = p.publish(now, "topic", &payload);
                        if let Ok(id) = published
                            && s.once_in(3)
                        {
                            p.request_receipt(now, id);
                        }
                    }
                }
                6 => {
                    let link = self.links.keys().nth(s.below(self.links.len())).copied();
                    let link = link.unwrap_or(LinkId(s.number()));
                    p.handle(now, Input::Congested { link });
                }
                7..=12 => {
                    let publisher = identity(s.byte() % 7).id();
                    let (epoch, sequence) = (s.number(), s.number());
                    p.fetch(now, MessageId { publisher, epoch, sequence });
                }
                _ => p.handle(now, Input::WallClock(WallTime(s.number()))),
            },
            Node::Seed(n) => n.handle(now, Input::WallClock(WallTime(s.number()))),
        }
        self.drain();
    }

    /// Sends one of the node's own frames back to it.
    fn replay(&mut self, s: &mut Script<'_>) {
        let at = s.below(self.sent.len());
        let Some((_, frame)) = self.sent.get(at).cloned() else { return };
        if let Some(link) = self.some_link(s) {
            self.receive(link, frame);
        }
    }
}

/// Any identity, sometimes in a wrong role.
fn any_remote(s: &mut Script<'_>) -> (u8, Role) {
    let all: Vec<u8> = PEERS.chain(SEEDS).chain([VICTIM]).collect();
    let number = s.pick(&all).copied().unwrap_or(1);
    let lies = s.once_in(8);
    (number, if SEEDS.contains(&number) != lies { Role::Seed } else { Role::Peer })
}

/// The digest of an empty registry.
pub fn empty_digest() -> wire::Digest {
    wire::Digest { buckets: vec![0; 256], nonce: ByteArray::from([9; 16]), synced: true }
}

fn kind(e: &Event) -> &'static str {
    match e {
        Event::FrameRefused { .. } => "frame_refused",
        Event::Gap { .. } => "gap",
        Event::Fetched { .. } => "fetched",
        Event::RegistrationRefused { .. } => "registration_refused",
        Event::Suspected { .. } => "suspected",
        Event::Reported { .. } | Event::DeathReported { .. } => "reported",
        Event::Refuted { .. } => "refuted",
        Event::AccusationRefuted { .. } => "accusation_refuted",
        Event::SelfDoubt { .. } => "self_doubt",
        Event::Voted { .. } => "voted",
        Event::PeerRemoved { .. } => "peer_removed",
        Event::Throttled { .. } => "throttled",
        Event::DuplicateIdentity { .. } => "duplicate_identity",
        Event::LeftUnconfirmed { .. } => "left_unconfirmed",
        Event::SeedsShareIdentity { .. } => "seeds_share_identity",
        _ => "other",
    }
}
