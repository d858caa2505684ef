//! Acknowledgements: summed on their way back to the publisher.
//!
//! Every peer tells the neighbour that brings it a publisher's messages how far all of the part of
//! the tree behind it has come: the minimum over itself and what the neighbours behind it told, and
//! how many peers that is. So the publisher learns with a handful of numbers who holds what, and how
//! fast the slowest part is, whatever the size of the network.
//!
//! Three minima go along. `held` counts everybody, for receipts. `paced` leaves out those who have
//! been behind for [`PATIENCE`], so that one peer that reads slowly or has stopped does not slow
//! the others. If many are left out, it is not they who are slow, but the way to them (a hub hands
//! everything to eight children over one line): then the publisher goes by `patient`, which leaves
//! out those who have been behind for [`LONG_PATIENCE`]. Only the publisher can tell the one from
//! the other: one of two is many where they are all, and few in a part of a tree. If all have been
//! behind for longer, the fastest of them still counts.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::message_list::StreamId;
use super::trees::Route;
use crate::identity::PeerId;
use crate::limits::MAX_ACKS;
use crate::small::{GrowMap, VecMap};
use crate::time::Time;
use crate::wire::{AckEntry, ack_token};

/// Who has been behind for so long does not pace the publisher any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where many are behind.
const LONG_PATIENCE: Duration = Duration::from_secs(10);
/// Many are more than one in so many, and more than one.
const MANY: u32 = 4;
/// A neighbour that has told nothing is taken for more than one: others may be behind it.
const UNKNOWN: u32 = 2;
/// How often one's own progress is noted for that.
const EARLIER_MARK_EVERY: Duration = Duration::from_secs(2);
/// How often one's own progress is noted, to tell who is behind for long.
const MARK_EVERY: Duration = Duration::from_millis(250);
/// Censuses of one publisher that come faster are not followed.
const SHORTEST_CENSUS: Duration = Duration::from_millis(100);
/// Bytes received after which an acknowledgement is due soon.
const SOON_BYTES: u64 = 32 * 1024;
/// Bytes received after which it is due at once.
const NOW_BYTES: u64 = 128 * 1024;
/// How long it is gathered otherwise.
const SOON: Duration = Duration::from_millis(5);
/// How long it may wait if little came, where nobody is behind. Who has others behind it tells of them and
/// itself when all of them have told: one acknowledgement goes over each link, from the leaves up.
const LATER: Duration = Duration::from_secs(1);
/// How long it waits for those behind it: a leaf's time, and some for the way.
const LATEST: Duration = Duration::from_millis(1500);

/// Nobody is behind: no minimum is held back.
const NOBODY: Summed =
    Summed { paced: u64::MAX, left: 0, patient: u64::MAX, held: u64::MAX, peers: 0, sum: 0 };

/// What is taken of a neighbour that has told nothing: it holds nothing.
const UNHEARD: Summed = Summed { paced: 0, left: 0, patient: 0, held: 0, peers: 0, sum: 0 };

/// The sum over a part of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summed {
    /// All who have not been behind for [`PATIENCE`] hold everything below it.
    pub(crate) paced: u64,
    /// How many have been.
    pub(crate) left: u32,
    /// All who have not been behind for [`LONG_PATIENCE`] hold everything below it.
    pub(crate) patient: u64,
    /// All hold everything below it.
    pub(crate) held: u64,
    /// How many they are, the peer that tells it included.
    pub(crate) peers: u32,
    /// Their tokens.
    pub(crate) sum: u64,
}

impl Summed {
    /// What the publisher goes by, if this is the sum over the whole tree: all that it waits for
    /// hold everything below.
    pub(crate) fn pace(&self) -> u64 {
        let many = self.left > 1 && self.left > self.peers / MANY;
        if many { self.patient.min(self.paced) } else { self.paced }
    }

    const fn entry(self, (publisher, incarnation): StreamId) -> AckEntry {
        let Summed { paced, left, patient, held, peers, sum } = self;
        AckEntry { publisher, incarnation, paced, left, patient, held, peers, sum }
    }

    const fn of(e: &AckEntry) -> Self {
        let &AckEntry { paced, left, patient, held, peers, sum, .. } = e;
        Summed { paced, left, patient, held, peers, sum }
    }
}

/// What a neighbour on the tree told of the part behind it.
#[derive(Debug, Clone, Copy)]
struct Part {
    told: Summed,
    /// This peer has not told of it yet.
    fresh: bool,
}

impl Part {
    const NOBODY: Part = Part { told: NOBODY, fresh: false };

    fn is_nobody(&self) -> bool {
        self.told == NOBODY
    }
}

/// One stream's way through this peer.
#[derive(Debug)]
struct Progress {
    route: Route,
    /// Who brings it; `None` for one's own.
    upstream: Option<PeerId>,
    behind: VecMap<PeerId, Part>,
    /// One's own progress at some times of the last [`PATIENCE`], oldest first.
    marks: VecDeque<(Time, u64)>,
    /// The same over [`LONG_PATIENCE`], at longer intervals.
    earlier_marks: VecDeque<(Time, u64)>,
    /// What was told last, and to whom.
    told: Option<(PeerId, Summed)>,
    unacknowledged: u64,
    due: Option<Time>,
    /// When so much came at a time that it mattered how soon this was told.
    hurried: Option<Time>,
    /// Somebody waits for a receipt up to this number.
    wanted: u64,
    /// A queue behind this peer fills: told along once.
    congested: bool,
    /// The publisher's last census, and when it came.
    census: u64,
    census_at: Time,
    touched: u64,
}

/// All streams that come through.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Boxed: a B-tree has room for eleven, which may all but two be empty.
    streams: GrowMap<StreamId, Box<Progress>>,
    clock: u64,
    /// Nothing is due before it.
    next: Option<Time>,
}

/// A batch as the acknowledgements see it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) stream: StreamId,
    pub(crate) route: Route,
    /// Who brought it; `None` for one's own.
    pub(crate) upstream: Option<PeerId>,
    pub(crate) bytes: u64,
    /// Its publisher waits for a receipt up to this number.
    pub(crate) wanted: Option<u64>,
}

/// Acknowledgements for one neighbour.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) entries: Vec<AckEntry>,
    pub(crate) congested: bool,
}

/// What the acknowledgements need to know of the rest of the node.
pub(crate) trait Surroundings {
    /// Everything below it was received.
    fn high_water(&self, stream: StreamId) -> u64;
    /// The neighbours on the tree of a route.
    fn riders(&self, route: Route) -> Vec<PeerId>;
    /// This node's own id.
    fn me(&self) -> PeerId;
    /// Whether no other member is known.
    fn is_alone(&self) -> bool;
}

impl Acks {
    /// New messages of a stream came in, or were published.
    pub(crate) fn received(&mut self, batch: &Arrived, now: Time, with: &impl Surroundings) {
        let &Arrived { stream, route, upstream, bytes, wanted } = batch;
        self.make_room(stream);
        self.clock += 1;
        let clock = self.clock;
        let fresh = || Progress {
            route,
            upstream,
            behind: VecMap::new(),
            marks: VecDeque::new(),
            earlier_marks: VecDeque::new(),
            told: None,
            unacknowledged: 0,
            due: None,
            hurried: None,
            wanted: 0,
            congested: false,
            census: 0,
            census_at: Time::ZERO,
            touched: 0,
        };
        let p = self.streams.get_or_insert(stream, || Box::new(fresh()));
        // It may have been told that this peer gets the stream from somebody else.
        let turned = p.upstream != upstream;
        (p.route, p.upstream, p.touched) = (route, upstream, clock);
        p.unacknowledged += bytes;
        p.mark(now, with.high_water(stream));
        if let Some(wanted) = wanted {
            p.wanted = p.wanted.max(wanted);
        }
        if upstream.is_some() {
            if turned {
                p.due = Some(now);
            }
            sooner(&mut self.next, p.schedule(now, with));
        }
    }

    fn make_room(&mut self, stream: StreamId) {
        if self.streams.len() < MAX_ACKS || self.streams.contains_key(&stream) {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, p)| p.touched).map(|(k, _)| *k);
        if let Some(oldest) = oldest {
            self.streams.remove(&oldest);
        }
    }

    /// What was missing of a stream was pulled: who brings it otherwise hears of it.
    pub(crate) fn caught_up(&mut self, stream: StreamId, now: Time, with: &impl Surroundings) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.mark(now, with.high_water(stream));
            if p.upstream.is_some() {
                sooner(&mut self.next, p.schedule(now, with));
            }
        }
    }

    /// The publisher asks everybody to be counted; `false` if it was asked before.
    pub(crate) fn census(
        &mut self,
        batch: &Arrived,
        round: u64,
        now: Time,
        with: &impl Surroundings,
    ) -> bool {
        let too_soon = |p: &Progress| p.census > 0 && now.since(p.census_at) < SHORTEST_CENSUS;
        if self.streams.get(&batch.stream).is_some_and(|p| p.census >= round || too_soon(p)) {
            return false;
        }
        self.received(batch, now, with);
        if let Some(p) = self.streams.get_mut(&batch.stream) {
            // Whoever is still behind answers it as well; what was told on other ways is of the past.
            (p.census, p.census_at) = (round, now);
            p.behind.clear();
            p.told = None;
            if p.upstream.is_some() {
                p.due = Some(now);
                sooner(&mut self.next, now);
            }
        }
        true
    }

    /// Whether a repeat from a neighbour shows that it is not behind this peer, nor this peer
    /// behind it: then it has to know.
    pub(crate) fn repeated(&mut self, stream: StreamId, from: PeerId) -> Option<AckEntry> {
        let p = self.streams.get_mut(&stream)?;
        if p.upstream == Some(from) || p.behind.get(&from).is_some_and(Part::is_nobody) {
            return None;
        }
        p.behind.insert(from, Part::NOBODY);
        Some(NOBODY.entry(stream))
    }

    /// A neighbour told of the part behind it. `false` if this peer does not follow the stream.
    pub(crate) fn told(
        &mut self,
        from: PeerId,
        e: &AckEntry,
        now: Time,
        with: &impl Surroundings,
    ) -> bool {
        let Some(p) = self.streams.get_mut(&(e.publisher, e.incarnation)) else { return false };
        if p.upstream == Some(from) {
            return true;
        }
        let told = Summed::of(e);
        let before = p.behind.insert(from, Part { told, fresh: true });
        if before.is_none_or(|b| b.told != told) && p.upstream.is_some() {
            sooner(&mut self.next, p.schedule(now, with));
        }
        true
    }

    /// A queue of this node fills, or one behind it (`stream` alone then).
    pub(crate) fn congested(&mut self, stream: Option<StreamId>, now: Time) {
        let those = self.streams.iter_mut().filter(|(s, _)| stream.is_none_or(|only| only == **s));
        for (_, p) in those.filter(|(_, p)| p.upstream.is_some()) {
            p.congested = true;
            p.due = Some(p.due.map_or(now + SOON, |due| due.min(now + SOON)));
            sooner(&mut self.next, now + SOON);
        }
    }

    /// The trees changed: who is behind whom has to be told anew.
    pub(crate) fn reroute(&mut self, now: Time, with: &impl Surroundings) {
        for p in self.streams.values_mut().filter(|p| p.upstream.is_some() && p.wanted > 0) {
            sooner(&mut self.next, p.schedule(now, with));
        }
    }

    /// A neighbour is gone.
    pub(crate) fn forget(&mut self, neighbour: PeerId) {
        for p in self.streams.values_mut() {
            p.behind.remove(&neighbour);
            if p.told.is_some_and(|(to, _)| to == neighbour) {
                p.told = None;
            }
        }
    }

    /// Time passes for those who are behind, also when nothing new comes.
    pub(crate) fn tick(&mut self, stream: StreamId, now: Time, high_water: u64) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.mark(now, high_water);
        }
    }

    /// The sum over this peer and everybody behind it.
    pub(crate) fn summed(
        &self,
        stream: StreamId,
        now: Time,
        with: &impl Surroundings,
    ) -> Option<Summed> {
        let p = self.streams.get(&stream)?;
        Some(p.summed(with.high_water(stream), now, with))
    }

    /// Whether a neighbour on the tree may lack what was pulled here, up to `number`. It has not if it
    /// said so, or gets the stream elsewhere, or if it brought something `later` of it itself.
    pub(crate) fn may_lack(
        &self,
        stream: StreamId,
        neighbour: PeerId,
        number: u64,
        later: bool,
    ) -> bool {
        let Some(p) = self.streams.get(&stream) else { return true };
        if p.upstream == Some(neighbour) {
            return !later;
        }
        p.behind.get(&neighbour).is_none_or(|b| !b.is_nobody() && b.told.held < number)
    }

    /// How many hold everything below `number`, as far as is told: whole parts only.
    pub(crate) fn holders(&self, stream: StreamId, number: u64, with: &impl Surroundings) -> u32 {
        let Some(p) = self.streams.get(&stream) else { return 0 };
        let own = u32::from(with.high_water(stream) >= number);
        let parts = p.behind.values().map(|b| b.told).filter(|b| b.held >= number).map(|b| b.peers);
        parts.fold(own, u32::saturating_add)
    }

    /// When something is due at the earliest.
    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// What is to be told to whom now.
    pub(crate) fn due(&mut self, now: Time, with: &impl Surroundings) -> BTreeMap<PeerId, Told> {
        let mut all: BTreeMap<PeerId, Told> = BTreeMap::new();
        for (stream, p) in self.streams.iter_mut() {
            if p.due.is_none_or(|at| at > now) {
                continue;
            }
            p.due = None;
            let Some(upstream) = p.upstream else { continue };
            let own = with.high_water(*stream);
            p.mark(now, own);
            let summed = p.summed(own, now, with);
            for part in p.behind.values_mut() {
                part.fresh = false;
            }
            if summed.paced.min(summed.patient) < own {
                // Whoever is behind catches up, or stops counting without saying anything.
                let hurried = p.hurried.is_some_and(|at| now.since(at) < LONG_PATIENCE);
                p.due = Some(now + if hurried { MARK_EVERY } else { LATER });
            }
            let congested = core::mem::take(&mut p.congested);
            if p.told == Some((upstream, summed)) && !congested {
                continue;
            }
            p.told = Some((upstream, summed));
            p.unacknowledged = 0;
            let told = all.entry(upstream).or_default();
            told.entries.push(summed.entry(*stream));
            told.congested |= congested;
            if summed.held < p.wanted {
                // Somebody waits: look again when more is told, and now and then in any case.
                p.due = Some(p.due.unwrap_or(now + LATER));
            }
        }
        self.next = self.streams.values().filter_map(|p| p.due).min();
        all
    }
}

fn sooner(next: &mut Option<Time>, at: Time) {
    *next = Some(next.map_or(at, |next| next.min(at)));
}

impl Progress {
    /// Says when it is due.
    fn schedule(&mut self, now: Time, with: &impl Surroundings) -> Time {
        let awaited = self.wanted > 0 && self.told.is_none_or(|(_, s)| s.held < self.wanted);
        if self.unacknowledged >= SOON_BYTES {
            self.hurried = Some(now);
        }
        let wait = if awaited || self.unacknowledged >= NOW_BYTES {
            Duration::ZERO
        } else if self.unacknowledged >= SOON_BYTES {
            SOON
        } else {
            self.unhurried(with)
        };
        let at = now + wait;
        *self.due.insert(self.due.map_or(at, |due| due.min(at)))
    }

    /// How long it waits if there is no hurry.
    fn unhurried(&self, with: &impl Surroundings) -> Duration {
        let (mut parts, mut fresh) = (0, 0);
        for rider in with.riders(self.route).iter().filter(|r| Some(**r) != self.upstream) {
            let part = self.behind.get(rider);
            if part.is_none_or(|p| !p.is_nobody()) {
                parts += 1;
                fresh += usize::from(part.is_some_and(|p| p.fresh));
            }
        }
        match parts - fresh {
            _ if parts == 0 => LATER,
            0 => SOON,
            _ => LATEST,
        }
    }

    /// Notes one's own progress.
    fn mark(&mut self, now: Time, high_water: u64) {
        let mark = (now, high_water);
        note(&mut self.marks, mark, MARK_EVERY, PATIENCE);
        note(&mut self.earlier_marks, mark, EARLIER_MARK_EVERY, LONG_PATIENCE);
    }

    fn summed(&self, own: u64, now: Time, with: &impl Surroundings) -> Summed {
        let had = |marks: &VecDeque<(Time, u64)>, ago| {
            let old = marks.iter().rev().find(|(at, _)| now.since(*at) >= ago);
            old.map_or(0, |(_, high_water)| *high_water)
        };
        let mut paced = Waited::new(had(&self.marks, PATIENCE));
        let mut patient = Waited::new(had(&self.earlier_marks, LONG_PATIENCE));
        let (mut left, mut held, mut peers, mut sum) = (0u32, own, 1u32, ack_token(&with.me()));
        for rider in with.riders(self.route).iter().filter(|r| Some(**r) != self.upstream) {
            let heard = self.behind.get(rider).map(|part| part.told);
            let b = heard.unwrap_or(UNHEARD);
            if b == NOBODY {
                continue;
            }
            held = held.min(b.held);
            peers = peers.saturating_add(b.peers);
            sum = sum.wrapping_add(b.sum);
            let counts = paced.part(b.paced, heard.is_some());
            let all = if heard.is_some() { b.peers } else { UNKNOWN };
            left = left.saturating_add(if counts { b.left } else { all });
            patient.part(b.patient, heard.is_some());
        }
        // All riders get it from somebody else, but who else should have it from the publisher? The
        // tree is changing. Nothing is known of anybody then.
        let lost = self.upstream.is_none() && paced.fastest.is_none() && !with.is_alone();
        let own = if lost { patient.mark } else { own };
        let (paced, patient) = (paced.least(own), patient.least(own));
        Summed { paced, left, patient, held, peers, sum }
    }
}

/// The minimum over those who have come as far as a mark.
struct Waited {
    /// One's own progress some time ago: who has not come so far has been behind since.
    mark: u64,
    least: Option<u64>,
    /// If all are behind, the fastest that has said anything still counts.
    fastest: Option<u64>,
}

impl Waited {
    const fn new(mark: u64) -> Self {
        Waited { mark, least: None, fastest: None }
    }

    /// A part has come so far; whether it counts.
    fn part(&mut self, reached: u64, heard: bool) -> bool {
        self.fastest = self.fastest.max(heard.then_some(reached));
        let counts = reached >= self.mark;
        if counts {
            self.least = Some(self.least.map_or(reached, |least| least.min(reached)));
        }
        counts
    }

    fn least(self, own: u64) -> u64 {
        self.least.or(self.fastest).map_or(own, |n| n.min(own))
    }
}

/// Notes one's own progress at a time, in intervals of `every`, as far back as `over`.
fn note(
    marks: &mut VecDeque<(Time, u64)>,
    (now, high_water): (Time, u64),
    every: Duration,
    over: Duration,
) {
    if marks.back().is_none_or(|(at, _)| now.since(*at) >= every) {
        marks.push_back((now, high_water));
    }
    while marks.get(1).is_some_and(|(at, _)| now.since(*at) >= over) {
        marks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId::from_bytes([1; 32]);
    const UP: PeerId = PeerId::from_bytes([2; 32]);
    const A: PeerId = PeerId::from_bytes([3; 32]);
    const B: PeerId = PeerId::from_bytes([4; 32]);
    const S: StreamId = (PeerId::from_bytes([9; 32]), 1);
    const ROUTE: Route = Route { own_tree: false, publisher: S.0 };

    struct World(u64);

    impl Surroundings for World {
        fn high_water(&self, _: StreamId) -> u64 {
            self.0
        }
        fn riders(&self, _: Route) -> Vec<PeerId> {
            vec![UP, A, B]
        }
        fn me(&self) -> PeerId {
            ME
        }
        fn is_alone(&self) -> bool {
            false
        }
    }

    fn arrived(wanted: Option<u64>) -> Arrived {
        Arrived { stream: S, route: ROUTE, upstream: Some(UP), bytes: 10, wanted }
    }

    fn entry(paced: u64, held: u64, peers: u32) -> AckEntry {
        let (left, patient, sum) = (0, paced, u64::from(peers));
        Summed { paced, left, patient, held, peers, sum }.entry(S)
    }

    #[test]
    fn a_receipt_goes_up_when_everybody_behind_has_it() {
        let mut acks = Acks::default();
        let t = Time::ZERO;
        acks.received(&arrived(Some(1)), t, &World(1));
        let first = acks.due(t, &World(1));
        assert_eq!(first[&UP].entries[0].held, 0, "A and B have not said anything");
        acks.told(A, &entry(1, 1, 3), t, &World(0));
        acks.told(B, &entry(1, 1, 2), t, &World(0));
        let all = acks.due(t, &World(1));
        let e = &all[&UP].entries[0];
        assert_eq!((e.held, e.paced, e.peers), (1, 1, 6));
        assert_eq!(e.sum, ack_token(&ME).wrapping_add(5));
        assert!(acks.due(t + LATER * 2, &World(1)).is_empty(), "nothing new");
    }

    #[test]
    fn a_peer_that_stands_still_is_waited_for_only_so_long() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        acks.received(&arrived(None), now, &World(10));
        acks.told(A, &entry(10, 10, 1), now, &World(0));
        acks.told(B, &entry(5, 5, 1), now, &World(0));
        assert_eq!(acks.summed(S, now, &World(10)).unwrap().paced, 5);
        for n in 11..30 {
            now += MARK_EVERY;
            acks.received(&arrived(None), now, &World(n));
            acks.told(A, &entry(n, n, 1), now, &World(0));
        }
        let s = acks.summed(S, now, &World(29)).unwrap();
        assert_eq!((s.paced, s.held), (29, 5), "it paces nobody, and does not hold it");
        now += PATIENCE * 2;
        acks.received(&arrived(None), now, &World(99));
        let s = acks.summed(S, now, &World(99)).unwrap();
        assert_eq!(s.paced, 29, "all are behind: the fastest counts");
    }

    /// A publisher's own view, with neighbours that told so much of so many peers.
    fn publisher(told: &[(PeerId, u64, u32)], published: u64, after: Duration) -> Summed {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        let end = now + after;
        let own = Arrived { upstream: None, ..arrived(None) };
        acks.received(&own, now, &World(published));
        for &(who, paced, peers) in told {
            acks.told(who, &entry(paced, paced, peers), now, &World(0));
        }
        while now < end {
            now += MARK_EVERY;
            acks.tick(S, now, published);
        }
        acks.summed(S, now, &World(published)).unwrap()
    }

    #[test]
    fn if_many_are_behind_the_way_to_them_is_slow_and_they_are_waited_for() {
        let fast_leaf_slow_hub = [(UP, 90, 1), (A, 90, 2), (B, 10, 12)];
        let s = publisher(&fast_leaf_slow_hub, 90, PATIENCE * 2);
        assert_eq!((s.paced, s.left, s.patient, s.pace()), (90, 12, 10, 10));
        let s = publisher(&fast_leaf_slow_hub, 90, LONG_PATIENCE * 2);
        assert_eq!(s.pace(), 90, "not for ever");
    }

    #[test]
    fn a_publisher_whose_riders_all_get_it_elsewhere_does_not_take_it_for_held() {
        let elsewhere = |after| {
            let mut acks = Acks::default();
            let own = Arrived { upstream: None, ..arrived(None) };
            acks.received(&own, Time::ZERO, &World(90));
            for who in [UP, A, B] {
                acks.told(who, &NOBODY.entry(S), Time::ZERO, &World(0));
            }
            let mut now = Time::ZERO;
            while now < Time::ZERO + after {
                now += MARK_EVERY;
                acks.tick(S, now, 90);
            }
            acks.summed(S, now, &World(90)).unwrap().pace()
        };
        assert_eq!(elsewhere(PATIENCE * 3), 0);
        assert_eq!(elsewhere(LONG_PATIENCE * 2), 90, "not for ever");
    }

    #[test]
    fn one_that_is_behind_is_few_however_small_the_network() {
        for others in [1, 2, 50] {
            let s = publisher(&[(UP, 90, 1), (A, 90, others), (B, 10, 1)], 90, PATIENCE * 2);
            assert_eq!((s.left, s.pace()), (1, 90));
        }
        let s = publisher(&[(UP, 90, 1), (A, 90, 9), (B, 10, 2)], 90, PATIENCE * 2);
        assert_eq!((s.left, s.pace()), (2, 90), "two of thirteen are few");
    }

    #[test]
    fn who_is_left_out_further_back_is_counted_by_the_publisher() {
        let mut acks = Acks::default();
        acks.received(&arrived(None), Time::ZERO, &World(9));
        let left_out = Summed { paced: 9, left: 3, patient: 4, held: 2, peers: 5, sum: 1 };
        acks.told(A, &left_out.entry(S), Time::ZERO, &World(0));
        acks.told(B, &entry(9, 9, 1), Time::ZERO, &World(0));
        let s = acks.summed(S, Time::ZERO, &World(9)).unwrap();
        assert_eq!((s.paced, s.left, s.patient, s.held, s.peers), (9, 3, 4, 2, 7));
    }

    #[test]
    fn who_stopped_stops_counting_also_when_nothing_new_comes() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        acks.received(&arrived(None), now, &World(10));
        acks.told(A, &entry(10, 10, 1), now, &World(0));
        acks.told(B, &entry(5, 5, 1), now, &World(0));
        let mut told = 0;
        while let Some(at) = acks.deadline() {
            now = at;
            for (_, t) in acks.due(now, &World(10)) {
                told = t.entries[0].paced;
            }
            assert!(now < Time::ZERO + LONG_PATIENCE * 2, "it ends");
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn riders_that_have_said_nothing_do_not_stop_a_publisher_for_ever() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        acks.received(&Arrived { upstream: None, ..arrived(None) }, now, &World(10));
        for _ in 0..48 {
            assert_eq!(acks.summed(S, now, &World(10)).unwrap().pace(), 0);
            now += MARK_EVERY;
            acks.tick(S, now, 10);
            if now.since(Time::ZERO) >= LONG_PATIENCE {
                break;
            }
        }
        assert_eq!(acks.summed(S, now, &World(10)).unwrap().pace(), 10);
    }

    #[test]
    fn a_census_is_answered_at_once_also_by_who_has_told_everything() {
        let mut acks = Acks::default();
        let now = Time::ZERO;
        acks.received(&arrived(Some(1)), now, &World(1));
        for who in [A, B] {
            acks.told(who, &entry(1, 1, 1), now, &World(1));
        }
        assert_eq!(acks.due(now, &World(1))[&UP].entries[0].held, 1);
        let later = now + LATER * 3;
        assert!(acks.census(&arrived(Some(1)), 1, later, &World(1)));
        assert_eq!(acks.due(later, &World(1))[&UP].entries.len(), 1);
    }

    #[test]
    fn little_is_told_from_the_leaves_up_and_without_those_who_say_nothing_for_long() {
        let all = [(None, LATER, 1), (Some(A), LATEST, 2), (Some(B), SOON, 3)];
        for (last, after, peers) in all {
            let mut acks = Acks::default();
            let now = Time::ZERO;
            acks.received(&arrived(None), now, &World(1));
            let told = match last {
                // Nobody is behind it: both get it from elsewhere.
                None => [A, B].map(|who| (who, NOBODY.entry(S))).to_vec(),
                Some(A) => vec![(A, entry(1, 1, 1))],
                _ => vec![(A, entry(1, 1, 1)), (B, entry(1, 1, 1))],
            };
            for (who, entry) in told {
                acks.told(who, &entry, now, &World(1));
            }
            if last.is_none() {
                acks.streams.get_mut(&S).unwrap().due = None;
                acks.received(&arrived(None), now, &World(1));
            }
            let due = acks.streams.get_mut(&S).unwrap().due;
            assert_eq!(due, Some(now + after), "{peers}");
            assert_eq!(acks.due(now + after, &World(1))[&UP].entries[0].peers, peers);
        }
    }

    #[test]
    fn a_neighbour_that_brings_it_from_now_on_hears_of_it_at_once() {
        let mut acks = Acks::default();
        acks.received(&arrived(None), Time::ZERO, &World(1));
        acks.due(Time::ZERO, &World(1));
        assert_eq!(acks.repeated(S, A).unwrap(), NOBODY.entry(S));
        acks.received(&Arrived { upstream: Some(A), ..arrived(None) }, Time::ZERO, &World(1));
        let told = acks.due(Time::ZERO, &World(1));
        assert_eq!((told.len(), told[&A].entries[0].held), (1, 0));
    }

    #[test]
    fn who_gets_it_from_elsewhere_is_behind_nobody() {
        let mut acks = Acks::default();
        acks.received(&arrived(None), Time::ZERO, &World(1));
        acks.told(A, &entry(1, 1, 1), Time::ZERO, &World(0));
        let exempt = acks.repeated(S, B).unwrap();
        assert_eq!(exempt.peers, 0);
        assert!(acks.repeated(S, B).is_none() && acks.repeated(S, UP).is_none());
        let s = acks.summed(S, Time::ZERO, &World(1)).unwrap();
        assert_eq!((s.held, s.peers), (1, 2));
    }
}
