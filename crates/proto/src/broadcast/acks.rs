//! Acknowledgements: summed on their way back to the publisher.
//!
//! Every peer tells the neighbour that brings it a publisher's messages how far all of the part of
//! the tree behind it has come: the minimum over itself and what the neighbours behind it told, and
//! how many peers that is. So the publisher learns with a handful of numbers who holds what, and how
//! fast the slowest part is, whatever the size of the network.
//!
//! Two minima go along. `held` counts everybody, for receipts. `paced` leaves out those who have
//! been behind for [`PATIENCE`], so that one peer that reads slowly or has stopped does not slow
//! the others. If most are behind, it is not they who are slow, but the way to them (a hub hands
//! everything to eight children over one line): they count for up to [`LONG_PATIENCE`]. If all have
//! been behind for longer, the fastest of them still counts.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::message_list::StreamId;
use super::trees::Route;
use crate::identity::PeerId;
use crate::limits::MAX_ACKS;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::{AckEntry, ack_token};

/// Who has been behind for so long does not pace the publisher any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for whoever is no slower than half of those behind.
const LONG_PATIENCE: Duration = Duration::from_secs(10);
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
/// How long it may wait if little came.
const LATER: Duration = Duration::from_secs(1);

/// Nobody is behind: neither minimum is held back.
const NOBODY: Behind = Behind { paced: u64::MAX, held: u64::MAX, peers: 0, sum: 0 };

/// What is taken of a neighbour that has told nothing.
const UNHEARD: Behind = Behind { paced: 0, held: 0, peers: 0, sum: 0 };

/// What a neighbour told of the part of the tree behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behind {
    paced: u64,
    held: u64,
    peers: u32,
    sum: u64,
}

/// The sum over a part of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summed {
    /// All who keep up hold everything below it.
    pub(crate) paced: u64,
    /// All hold everything below it.
    pub(crate) held: u64,
    /// How many they are, this peer included.
    pub(crate) peers: u32,
    /// Their tokens.
    pub(crate) sum: u64,
}

/// One stream's way through this peer.
#[derive(Debug)]
struct Progress {
    route: Route,
    /// Who brings it; `None` for one's own.
    upstream: Option<PeerId>,
    behind: VecMap<PeerId, Behind>,
    /// One's own progress at some times of the last [`PATIENCE`], oldest first.
    marks: VecDeque<(Time, u64)>,
    /// The same over [`LONG_PATIENCE`], at longer intervals.
    earlier_marks: VecDeque<(Time, u64)>,
    /// What was told last, and to whom.
    told: Option<(PeerId, Summed)>,
    unacknowledged: u64,
    due: Option<Time>,
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
    /// Boxed: a B-tree has room for eleven when there is one.
    streams: BTreeMap<StreamId, Box<Progress>>,
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
            wanted: 0,
            congested: false,
            census: 0,
            census_at: Time::ZERO,
            touched: 0,
        };
        let p = self.streams.entry(stream).or_insert_with(|| Box::new(fresh()));
        (p.route, p.upstream, p.touched) = (route, upstream, clock);
        p.unacknowledged += bytes;
        p.mark(now, with.high_water(stream));
        if let Some(wanted) = wanted {
            p.wanted = p.wanted.max(wanted);
        }
        if upstream.is_some() {
            sooner(&mut self.next, p.schedule(now));
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
    pub(crate) fn caught_up(&mut self, stream: StreamId, high_water: u64, now: Time) {
        if let Some(p) = self.streams.get_mut(&stream) {
            p.mark(now, high_water);
            if p.upstream.is_some() {
                sooner(&mut self.next, p.schedule(now));
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
        }
        true
    }

    /// Whether a repeat from a neighbour shows that it is not behind this peer, nor this peer
    /// behind it: then it has to know.
    pub(crate) fn repeated(&mut self, stream: StreamId, from: PeerId) -> Option<AckEntry> {
        let p = self.streams.get_mut(&stream)?;
        if p.upstream == Some(from) || p.behind.get(&from) == Some(&NOBODY) {
            return None;
        }
        p.behind.insert(from, NOBODY);
        let (publisher, incarnation) = stream;
        let Behind { paced, held, peers, sum } = NOBODY;
        Some(AckEntry { publisher, incarnation, paced, held, peers, sum })
    }

    /// A neighbour told of the part behind it. `false` if this peer does not follow the stream.
    pub(crate) fn told(&mut self, from: PeerId, e: &AckEntry, now: Time) -> bool {
        let Some(p) = self.streams.get_mut(&(e.publisher, e.incarnation)) else { return false };
        if p.upstream == Some(from) {
            return true;
        }
        let told = Behind { paced: e.paced, held: e.held, peers: e.peers, sum: e.sum };
        if p.behind.insert(from, told) != Some(told) && p.upstream.is_some() {
            sooner(&mut self.next, p.schedule(now));
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
    pub(crate) fn reroute(&mut self, now: Time) {
        for p in self.streams.values_mut().filter(|p| p.upstream.is_some() && p.wanted > 0) {
            sooner(&mut self.next, p.schedule(now));
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
        p.behind.get(&neighbour).is_none_or(|b| *b != NOBODY && b.held < number)
    }

    /// How many hold everything below `number`, as far as is told: whole parts only.
    pub(crate) fn holders(&self, stream: StreamId, number: u64, with: &impl Surroundings) -> u32 {
        let Some(p) = self.streams.get(&stream) else { return 0 };
        let own = u32::from(with.high_water(stream) >= number);
        let parts = p.behind.values().filter(|b| b.held >= number).map(|b| b.peers);
        parts.fold(own, u32::saturating_add)
    }

    /// When something is due at the earliest.
    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// What is to be told to whom now.
    pub(crate) fn due(&mut self, now: Time, with: &impl Surroundings) -> BTreeMap<PeerId, Told> {
        let mut all: BTreeMap<PeerId, Told> = BTreeMap::new();
        for (stream, p) in &mut self.streams {
            if p.due.is_none_or(|at| at > now) {
                continue;
            }
            p.due = None;
            let Some(upstream) = p.upstream else { continue };
            let own = with.high_water(*stream);
            p.mark(now, own);
            let summed = p.summed(own, now, with);
            if summed.paced < own {
                // Whoever is behind catches up, or stops counting without saying anything.
                p.due = Some(now + MARK_EVERY);
            }
            let congested = core::mem::take(&mut p.congested);
            if p.told == Some((upstream, summed)) && !congested {
                continue;
            }
            p.told = Some((upstream, summed));
            p.unacknowledged = 0;
            let Summed { paced, held, peers, sum } = summed;
            let (publisher, incarnation) = *stream;
            let entry = AckEntry { publisher, incarnation, paced, held, peers, sum };
            let told = all.entry(upstream).or_default();
            told.entries.push(entry);
            told.congested |= congested;
            if held < p.wanted {
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
    fn schedule(&mut self, now: Time) -> Time {
        let awaited = self.wanted > 0 && self.told.is_none_or(|(_, s)| s.held < self.wanted);
        let wait = if awaited || self.unacknowledged >= NOW_BYTES {
            Duration::ZERO
        } else if self.unacknowledged >= SOON_BYTES {
            SOON
        } else {
            LATER
        };
        let at = now + wait;
        *self.due.insert(self.due.map_or(at, |due| due.min(at)))
    }

    /// Notes one's own progress.
    fn mark(&mut self, now: Time, high_water: u64) {
        let mark = (now, high_water);
        note(&mut self.marks, mark, MARK_EVERY, PATIENCE);
        note(&mut self.earlier_marks, mark, EARLIER_MARK_EVERY, LONG_PATIENCE);
    }

    /// Who has not come this far has been behind for too long. `behind` is how far the parts behind
    /// this peer have come.
    fn patience_mark(&self, behind: &[u64], now: Time) -> u64 {
        let had = |marks: &VecDeque<(Time, u64)>, ago| {
            let old = marks.iter().rev().find(|(at, _)| now.since(*at) >= ago);
            old.map_or(0, |(_, high_water)| *high_water)
        };
        let (soon, late) = (had(&self.marks, PATIENCE), had(&self.earlier_marks, LONG_PATIENCE));
        let mut behind = behind.to_vec();
        behind.sort_unstable_by(|a, b| b.cmp(a));
        let half = behind.get(behind.len().saturating_sub(1) / 2).copied();
        half.filter(|half| (late..soon).contains(half)).unwrap_or(soon)
    }

    fn summed(&self, own: u64, now: Time, with: &impl Surroundings) -> Summed {
        let (mut held, mut peers, mut sum) = (own, 1u32, ack_token(&with.me()));
        let (mut behind, mut has_unheard) = (Vec::new(), false);
        for rider in with.riders(self.route).iter().filter(|r| Some(**r) != self.upstream) {
            // On the tree and not heard of yet: it holds nothing as far as is known.
            let heard = self.behind.get(rider).copied();
            let b = heard.unwrap_or(UNHEARD);
            if b == NOBODY {
                continue;
            }
            held = held.min(b.held);
            peers = peers.saturating_add(b.peers);
            sum = sum.wrapping_add(b.sum);
            has_unheard |= heard.is_none();
            behind.extend(heard.map(|b| b.paced));
        }
        let fastest = behind.iter().copied().max();
        // As long as nobody has said anything, it is too early to go on without those who have not.
        if has_unheard && behind.is_empty() {
            behind.push(UNHEARD.paced);
        }
        let mark = self.patience_mark(&behind, now);
        let unheard = has_unheard.then_some(UNHEARD.paced);
        let pace = behind.iter().copied().chain(unheard).filter(|paced| *paced >= mark).min();
        let paced = pace.or(fastest).unwrap_or(own).min(own);
        Summed { paced, held, peers, sum }
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
    }

    fn arrived(wanted: Option<u64>) -> Arrived {
        Arrived { stream: S, route: ROUTE, upstream: Some(UP), bytes: 10, wanted }
    }

    fn entry(paced: u64, held: u64, peers: u32) -> AckEntry {
        AckEntry { publisher: S.0, incarnation: S.1, paced, held, peers, sum: u64::from(peers) }
    }

    #[test]
    fn a_receipt_goes_up_when_everybody_behind_has_it() {
        let mut acks = Acks::default();
        let t = Time::ZERO;
        acks.received(&arrived(Some(1)), t, &World(1));
        let first = acks.due(t, &World(1));
        assert_eq!(first[&UP].entries[0].held, 0, "A and B have not said anything");
        acks.told(A, &entry(1, 1, 3), t);
        acks.told(B, &entry(1, 1, 2), t);
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
        acks.told(A, &entry(10, 10, 1), now);
        acks.told(B, &entry(5, 5, 1), now);
        assert_eq!(acks.summed(S, now, &World(10)).unwrap().paced, 5);
        for n in 11..30 {
            now += MARK_EVERY;
            acks.received(&arrived(None), now, &World(n));
            acks.told(A, &entry(n, n, 1), now);
        }
        let s = acks.summed(S, now, &World(29)).unwrap();
        assert_eq!((s.paced, s.held), (29, 5), "it paces nobody, and does not hold it");
        now += PATIENCE * 2;
        acks.received(&arrived(None), now, &World(99));
        let s = acks.summed(S, now, &World(99)).unwrap();
        assert_eq!(s.paced, 29, "all are behind: the fastest counts");
    }

    #[test]
    fn if_half_are_behind_the_way_to_them_is_slow_and_they_are_waited_for() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        // Both get everything four seconds late.
        let late = |n: u64| n.saturating_sub(16);
        for n in 0..80 {
            acks.received(&arrived(None), now, &World(n));
            acks.told(A, &entry(late(n), late(n), 1), now);
            acks.told(B, &entry(late(n).saturating_sub(1), 0, 1), now);
            now += MARK_EVERY;
        }
        let s = acks.summed(S, now, &World(79)).unwrap();
        assert_eq!(s.paced, late(79), "the better half counts");
        // One of three stands still: it is left behind.
        acks.told(B, &entry(3, 3, 1), now);
        assert_eq!(acks.summed(S, now, &World(79)).unwrap().paced, late(79));
        // Nothing comes through at all: the fastest counts for ever, as before.
        for n in 80..200 {
            now += MARK_EVERY;
            acks.received(&arrived(None), now, &World(n));
        }
        assert_eq!(acks.summed(S, now, &World(199)).unwrap().paced, late(79));
    }

    #[test]
    fn who_stopped_stops_counting_also_when_nothing_new_comes() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        acks.received(&arrived(None), now, &World(10));
        acks.told(A, &entry(10, 10, 1), now);
        acks.told(B, &entry(5, 5, 1), now);
        let mut told = 0;
        while let Some(at) = acks.deadline() {
            now = at;
            for (_, t) in acks.due(now, &World(10)) {
                told = t.entries[0].paced;
            }
            assert!(now < Time::ZERO + PATIENCE * 4, "it ends");
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn riders_that_have_said_nothing_do_not_stop_a_publisher_for_ever() {
        let mut acks = Acks::default();
        let mut now = Time::ZERO;
        acks.received(&Arrived { upstream: None, ..arrived(None) }, now, &World(10));
        for _ in 0..48 {
            assert_eq!(acks.summed(S, now, &World(10)).unwrap().paced, 0);
            now += MARK_EVERY;
            acks.tick(S, now, 10);
            if now.since(Time::ZERO) >= LONG_PATIENCE {
                break;
            }
        }
        assert_eq!(acks.summed(S, now, &World(10)).unwrap().paced, 10);
    }

    #[test]
    fn who_gets_it_from_elsewhere_is_behind_nobody() {
        let mut acks = Acks::default();
        acks.received(&arrived(None), Time::ZERO, &World(1));
        acks.told(A, &entry(1, 1, 1), Time::ZERO);
        let exempt = acks.repeated(S, B).unwrap();
        assert_eq!(exempt.peers, 0);
        assert!(acks.repeated(S, B).is_none() && acks.repeated(S, UP).is_none());
        let s = acks.summed(S, Time::ZERO, &World(1)).unwrap();
        assert_eq!((s.held, s.peers), (1, 2));
    }
}
