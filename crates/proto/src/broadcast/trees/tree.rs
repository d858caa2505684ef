//! One tree at one peer.

use core::time::Duration;
use std::collections::VecDeque;

use super::Act;
use super::near::{Near, Nearby};
use super::root::{Candidates, goes_before};
use super::round::{
    ANSWERS, PAST_ROOTS, Round, SHORTEST_ROUND, TRANSIT, UNDERWAY, lifetime, order,
};
use crate::identity::PeerId;
use crate::random::Stream;
use crate::signed::Signed;
use crate::small::{VecMap, VecSet};
use crate::time::Time;
use crate::wire::{Beacon, BeaconBody, TreeId};

/// Children that a peer tells of a beacon at once. Further ones hear of it later, and by then most
/// have heard of it from somebody else, who becomes their parent.
const CHILDREN: usize = 8;
/// How much later each of them hears of it.
const PACE: Duration = Duration::from_millis(40);
/// The longest anybody waits for it.
const LONGEST_PACE: Duration = Duration::from_millis(1000);
/// How long the present parent may be behind the first to bring a beacon and still be kept. Shorter
/// than [`PACE`], or nobody would leave a hub that has too many children.
const GRACE: Duration = Duration::from_millis(30);
/// The same while much rides the tree.
const GRACE_UNDER_LOAD: Duration = Duration::from_millis(500);
/// How much that is, in bytes a second, and over which time it is measured.
const HEAVY: u64 = 1024 * 1024;
const LOAD_OVER: Duration = Duration::from_millis(500);
/// A new root beacons so often at its short interval, whatever the load.
const EAGER_BEACONS: u64 = 3;
/// One's own tree carries payload when it is so old: then its beacon has been everywhere.
const SETTLED: Duration = Duration::from_millis(1500);
/// For so long after a peer has found its way onto a tree, payload goes to all its neighbours:
/// those behind it may not have found theirs.
const YOUNG: Duration = Duration::from_secs(1);
/// Without a root: how long a peer waits before it looks whether it should be the root itself.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// And how long before it looks again.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// Roots that were followed, and their last beacon: an older one, still on its way somewhere, does not
/// make them come back.
#[derive(Debug, Default)]
struct Past {
    roots: VecDeque<(PeerId, (u64, u64))>,
    since: Time,
}

/// What this peer does as the root.
#[derive(Debug)]
struct Rooted {
    since: Time,
    sent: u64,
    next_beacon: Time,
}

/// Payload that rides the tree.
#[derive(Debug)]
struct Load {
    used: Time,
    /// Bytes since then, and whether it was much before that.
    bytes: u64,
    since: Time,
    heavy: bool,
}

impl Load {
    fn measure(&mut self, now: Time) {
        let passed = now.since(self.since);
        if passed >= LOAD_OVER {
            let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
            self.heavy = self.bytes.saturating_mul(1_000_000) / micros >= HEAVY;
            (self.bytes, self.since) = (0, now);
        }
    }
}

/// One tree. There are several at every peer, so what few need is boxed.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) id: TreeId,
    pub(super) round: Option<Round>,
    /// Parents that gave no sign of life, and their depths by the last beacon.
    pub(super) left: VecMap<Near, u16>,
    /// Neighbours grafted on: the way to the root. More than one only in passing.
    pub(super) parents: VecSet<Near>,
    /// Those of them that have not confirmed it.
    pub(super) unconfirmed: VecSet<Near>,
    /// Neighbours that grafted on this one, and since when.
    children: VecMap<Near, Time>,
    /// No way to the root is known, until the next beacon shows one: every neighbour is a parent.
    pub(super) lost: bool,
    /// Whom to tell of the beacon, and when.
    to_tell: VecDeque<(Time, Near)>,
    /// On the tree since then.
    riding: Option<Time>,
    /// If this peer is the root.
    rooted: Option<Box<Rooted>>,
    load: Option<Box<Load>>,
    past: Option<Box<Past>>,
    /// Without a root: when to look whether this peer should be it.
    look_at: Option<Time>,
    looks: u32,
}

impl Tree {
    pub(crate) const fn new(id: TreeId) -> Self {
        Tree {
            id,
            round: None,
            left: VecMap::new(),
            parents: VecSet::new(),
            unconfirmed: VecSet::new(),
            children: VecMap::new(),
            lost: false,
            to_tell: VecDeque::new(),
            riding: None,
            rooted: None,
            load: None,
            past: None,
            look_at: None,
            looks: 0,
        }
    }

    /// Whether this peer is on the tree.
    pub(crate) fn is_rooted(&self) -> bool {
        self.rooted.is_some() || !self.parents.is_empty()
    }

    /// Whether this peer has been on the tree for long enough that those behind it have said so.
    pub(crate) fn is_settled(&self, now: Time) -> bool {
        self.is_rooted() && self.riding.is_some_and(|at| now.since(at) >= YOUNG)
    }

    /// The neighbours that payload goes to.
    pub(crate) fn riders(&self) -> impl Iterator<Item = Near> {
        let children = self.children.keys().filter(|c| !self.parents.contains(c));
        self.parents.iter().chain(children).copied()
    }

    pub(crate) fn is_rider(&self, peer: Near) -> bool {
        self.parents.contains(&peer) || self.children.contains_key(&peer)
    }

    pub(crate) fn used(&mut self, bytes: u64, now: Time) {
        let fresh = || Box::new(Load { used: now, bytes: 0, since: now, heavy: false });
        let load = self.load.get_or_insert_with(fresh);
        load.used = now;
        load.bytes += bytes;
        load.measure(now);
    }

    /// How long the present parent may be behind the first to bring a beacon and still be kept.
    /// Under load beacons wait in queues, and who is first says little; a move then costs more than
    /// it brings.
    fn grace(&mut self, now: Time) -> Duration {
        let Some(load) = &mut self.load else { return GRACE };
        load.measure(now);
        if load.heavy { GRACE_UNDER_LOAD } else { GRACE }
    }

    /// Nobody roots it any more.
    pub(crate) fn has_ended(&self, now: Time) -> bool {
        self.rooted.is_none() && self.round.as_ref().is_none_or(|r| !r.is_fresh(now))
    }

    pub(crate) fn is_settled_root(&self, now: Time) -> bool {
        self.rooted.as_ref().is_some_and(|r| now.since(r.since) >= SETTLED)
    }

    // ---- neighbours ------------------------------------------------------------------------

    pub(crate) fn link_up(&mut self, peer: Near, now: Time, rng: &mut Stream) -> Vec<Act<Near>> {
        if self.look_at.is_none() && self.round.is_none() && self.rooted.is_none() {
            self.look_soon(FIRST_LOOK, now, rng);
        }
        // It hears of the root at once, not at the next beacon.
        let mut acts: Vec<Act<Near>> =
            self.beacon(now).map(|beacon| Act::Tell { to: peer, beacon }).into_iter().collect();
        if self.lost {
            acts.push(self.graft(peer, true));
        }
        acts
    }

    /// The link to a neighbour has ended.
    pub(crate) fn cut(&mut self, peer: Near, neighbours: &Nearby) -> Vec<Act<Near>> {
        self.children.remove(&peer);
        self.to_tell.retain(|(_, to)| *to != peer);
        let mut acts = self.leave_parent(peer, neighbours);
        self.left.remove(&peer);
        if let Some(r) = self.round.as_mut().filter(|r| r.first == Some(peer)) {
            r.first = None;
        }
        acts.retain(|a| !matches!(a, Act::Prune { to, .. } if *to == peer));
        acts
    }

    pub(super) fn graft(&mut self, to: Near, catch_up: bool) -> Act<Near> {
        self.parents.insert(to);
        self.unconfirmed.insert(to);
        Act::Graft { to, tree: self.id, catch_up }
    }

    /// A neighbour becomes a child; `astray` if it says that it lost the way it had.
    pub(crate) fn on_graft(
        &mut self,
        from: Near,
        astray: bool,
        neighbours: &Nearby,
        now: Time,
    ) -> Vec<Act<Near>> {
        self.children.get_or_insert(from, || now);
        if self.rooted.is_some() {
            return Vec::new();
        }
        if self.lost {
            // It has to know that this is no way either.
            let new = !self.parents.contains(&from);
            return new.then(|| self.graft(from, true)).into_iter().collect();
        }
        if let Some(r) = self.round.as_mut().filter(|_| astray) {
            r.offers.remove(&from);
            self.left.remove(&from);
            // Others that are nearer to the root may hang on the same peer that it lost.
            if self.parents.contains(&from) && !self.parents.iter().any(|p| self.is_way(*p)) {
                return self.lose_the_way(neighbours);
            }
        }
        Vec::new()
    }

    pub(crate) fn on_prune(&mut self, from: Near) {
        self.children.remove(&from);
    }

    /// The new parent sends from now on: the old one may stop.
    pub(crate) fn on_grafted(
        &mut self,
        from: Near,
        neighbours: &Nearby,
        now: Time,
    ) -> Vec<Act<Near>> {
        self.unconfirmed.remove(&from);
        let settled = self.round.as_ref().is_some_and(|r| r.settle_at.is_none());
        if settled && self.parents.contains(&from) && self.is_way(from) {
            return self.keep_only(from, neighbours, now);
        }
        Vec::new()
    }

    /// Whether a parent leads to the root by the last beacon.
    fn is_way(&self, parent: Near) -> bool {
        let Some(r) = &self.round else { return false };
        r.offers.get(&parent).is_some_and(|depth| *depth < r.depth)
    }

    fn keep_only(&mut self, parent: Near, neighbours: &Nearby, now: Time) -> Vec<Act<Near>> {
        let others: Vec<Near> = self.parents.iter().copied().filter(|p| *p != parent).collect();
        let mut acts = Vec::new();
        for to in others {
            self.parents.remove(&to);
            self.unconfirmed.remove(&to);
            acts.push(Act::Prune { to, tree: self.id });
        }
        if self.lost {
            acts.extend(self.find_the_way(neighbours, now));
        }
        acts
    }

    // ---- beacons ---------------------------------------------------------------------------

    /// The beacon to pass on, if there is a fresh one.
    fn beacon(&self, now: Time) -> Option<Beacon> {
        let r = self.round.as_ref()?;
        let fresh = self.rooted.is_some() || r.is_fresh(now);
        // Rounded up, and the link takes time: a beacon that does not get older as it travels would go
        // round for ever, among peers that forget its tree and hear of it again.
        let age = (r.age(now) + TRANSIT).as_nanos().div_ceil(1_000_000);
        let age_ms = u32::try_from(age).unwrap_or(u32::MAX);
        fresh.then(|| Beacon { body: r.body.clone(), depth: r.depth, age_ms })
    }

    pub(crate) fn on_beacon(
        &mut self,
        me: PeerId,
        from: Near,
        beacon: &Beacon,
        neighbours: &Nearby,
        now: Time,
    ) -> Vec<Act<Near>> {
        let body = &beacon.body;
        let age = Duration::from_millis(u64::from(beacon.age_ms));
        if body.root == me || beacon.depth == u16::MAX || age >= lifetime(body) {
            return Vec::new();
        }
        if let Some(r) = &mut self.round {
            let known = &r.body;
            if known.root == body.root {
                if order(body) < order(known) {
                    return Vec::new();
                }
                if order(body) == order(known) {
                    r.offers.insert(from, beacon.depth);
                    return self.settle_on(from, neighbours, now);
                }
                if now.since(r.heard) < SHORTEST_ROUND {
                    // No honest root is so eager, and everybody would pass it on.
                    return Vec::new();
                }
            } else {
                let stands = self.rooted.is_some() || r.is_fresh(now);
                let past = self.past.iter().flat_map(|p| &p.roots);
                let old = { past }.any(|(root, last)| *root == body.root && order(body) <= *last);
                if old || (stands && !goes_before(body, known)) {
                    return self.answer(from, neighbours, now);
                }
                self.remember_root(now);
                self.rooted = None;
            }
        }
        self.begin_round(from, beacon, neighbours, now)
    }

    /// Whoever tells of another root hears of the one that stands.
    fn answer(&mut self, to: Near, neighbours: &Nearby, now: Time) -> Vec<Act<Near>> {
        let beacon = self.beacon(now);
        let Some(r) = &mut self.round else { return Vec::new() };
        if usize::from(r.answers) >= ANSWERS * neighbours.all().count() {
            return Vec::new();
        }
        r.answers = r.answers.saturating_add(1);
        beacon.map(|beacon| Act::Tell { to, beacon }).into_iter().collect()
    }

    /// The root followed so far is not followed any more.
    fn remember_root(&mut self, now: Time) {
        let past = self.past.get_or_insert_default();
        past.since = now;
        let Some(r) = &self.round else { return };
        let last = (r.body.root, order(&r.body));
        past.roots.retain(|(root, _)| *root != last.0);
        past.roots.push_back(last);
        if past.roots.len() > PAST_ROOTS {
            past.roots.pop_front();
        }
    }

    /// A new beacon: pass it on, and find the way to the root by it.
    fn begin_round(
        &mut self,
        from: Near,
        beacon: &Beacon,
        neighbours: &Nearby,
        now: Time,
    ) -> Vec<Act<Near>> {
        self.look_at = None;
        self.looks = 0;
        if self.past.as_ref().is_some_and(|p| now.since(p.since) > UNDERWAY) {
            self.past = None;
        }
        let age = Duration::from_millis(u64::from(beacon.age_ms));
        let was_lost = core::mem::take(&mut self.lost);
        self.left = VecMap::new();
        self.riding.get_or_insert(now);
        let mut round = Round {
            body: beacon.body.clone(),
            depth: beacon.depth + 1,
            heard: now,
            expires: now + lifetime(&beacon.body).saturating_sub(age),
            first: Some(from),
            offers: VecMap::from_iter([(from, beacon.depth)]),
            settle_at: None,
            gone: false,
            lost: 0,
            answers: 0,
        };
        let mut acts = Vec::new();
        if self.parents.is_empty() {
            self.round = Some(round);
            acts.push(self.graft(from, false));
        } else if was_lost && !self.parents.contains(&from) {
            // Those who were lost with it take this peer for their way at once, so it waits for none.
            self.round = Some(round);
            acts.push(self.graft(from, true));
        } else if self.parents.contains(&from) {
            self.round = Some(round);
            acts.extend(self.settle_on(from, neighbours, now));
        } else {
            round.settle_at = Some(now + self.grace(now));
            self.round = Some(round);
        }
        self.plan_telling(Some(from), neighbours, now);
        acts.extend(self.tell_due(now));
        acts
    }

    /// A parent that brought the beacon, and is nearer to the root, stays the one parent.
    fn settle_on(&mut self, parent: Near, neighbours: &Nearby, now: Time) -> Vec<Act<Near>> {
        if !self.parents.contains(&parent) || !self.is_way(parent) {
            return Vec::new();
        }
        if let Some(r) = &mut self.round {
            r.settle_at = None;
        }
        if self.unconfirmed.contains(&parent) {
            Vec::new()
        } else {
            self.keep_only(parent, neighbours, now)
        }
    }

    /// The children that have been there longest hear of it at once, the others later.
    pub(super) fn plan_telling(&mut self, except: Option<Near>, neighbours: &Nearby, now: Time) {
        let mut children: Vec<(Time, Near)> =
            self.children.iter().map(|(p, since)| (*since, *p)).collect();
        children.sort_unstable();
        let others = neighbours.all().filter(|p| !self.children.contains_key(p));
        let order = children.into_iter().map(|(_, p)| p).chain(others);
        let order = order.filter(|p| Some(*p) != except);
        self.to_tell = order
            .enumerate()
            .map(|(i, p)| {
                let later = u32::try_from((i + 1).saturating_sub(CHILDREN)).unwrap_or(u32::MAX);
                (now + PACE.saturating_mul(later).min(LONGEST_PACE), p)
            })
            .collect();
    }

    pub(super) fn tell_due(&mut self, now: Time) -> Vec<Act<Near>> {
        let mut acts = Vec::new();
        while let Some(&(at, to)) = self.to_tell.front()
            && at <= now
        {
            self.to_tell.pop_front();
            acts.extend(self.beacon(now).map(|beacon| Act::Tell { to, beacon }));
        }
        if self.to_tell.is_empty() {
            // It takes as much memory as all else of the tree, and is needed once in a while.
            self.to_tell = VecDeque::new();
        }
        acts
    }

    // ---- the root --------------------------------------------------------------------------

    /// The root is dead or has left.
    pub(crate) fn root_gone(&mut self, peer: PeerId, now: Time, rng: &mut Stream) {
        if let Some(r) = &mut self.round
            && r.body.root == peer
            && !r.gone
        {
            r.gone = true;
            self.look_soon(FIRST_LOOK, now, rng);
        }
    }

    fn look_soon(&mut self, wait: Duration, now: Time, rng: &mut Stream) {
        if matches!(self.id, TreeId::Shared(_)) {
            self.look_at = Some(now + rng.scaled(wait, 0.5, 1.5));
        }
    }

    pub(crate) fn become_root(&mut self, now: Time) {
        self.riding.get_or_insert(now);
        if self.rooted.is_none() {
            self.rooted = Some(Box::new(Rooted { since: now, sent: 0, next_beacon: now }));
        }
        self.look_at = None;
        self.lost = false;
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let settle = self.round.as_ref().and_then(|r| r.settle_at);
        let expiry = self
            .round
            .as_ref()
            .filter(|r| self.rooted.is_none() && !r.gone && self.look_at.is_none());
        let tell = self.to_tell.front().map(|(at, _)| *at);
        let beacon = self.rooted.as_ref().map(|r| r.next_beacon);
        let all = [settle, expiry.map(|r| r.expires), tell, beacon, self.look_at];
        all.into_iter().flatten().min()
    }

    pub(crate) fn on_timeout(
        &mut self,
        with: &Candidates<'_>,
        neighbours: &Nearby,
        now: Time,
        rng: &mut Stream,
    ) -> Vec<Act<Near>> {
        let mut acts = Vec::new();
        if let Some(r) = &mut self.round {
            if r.settle_at.is_some_and(|at| at <= now) {
                r.settle_at = None;
                if let Some(first) = r.first.filter(|p| !self.parents.contains(p)) {
                    acts.push(self.graft(first, false));
                }
            } else if self.rooted.is_none() && !r.gone && now >= r.expires {
                r.gone = true;
                self.look_soon(Duration::ZERO, now, rng);
            }
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(with, now, rng);
        }
        if self.rooted.as_ref().is_some_and(|r| r.next_beacon <= now) {
            self.send_beacon(with, neighbours, now, rng);
            if self.rooted.as_ref().is_some_and(|r| r.sent > 1) {
                // The root needs no way to itself; but until its first beacon has been everywhere,
                // the old one holds the tree together.
                let parents = core::mem::take(&mut self.parents);
                self.unconfirmed.clear();
                acts.extend(parents.into_iter().map(|to| Act::Prune { to, tree: self.id }));
            }
        }
        acts.extend(self.tell_due(now));
        acts
    }

    /// Nobody beacons: the best of the peers known becomes the root; if it does not, the better
    /// half of twice as many with every look.
    fn look(&mut self, with: &Candidates<'_>, now: Time, rng: &mut Stream) {
        let within = 1usize << self.looks.min(20);
        self.looks += 1;
        if with.eligible && with.better(self.id) < within {
            self.become_root(now);
        } else {
            self.look_soon(NEXT_LOOK, now, rng);
        }
    }

    fn send_beacon(
        &mut self,
        with: &Candidates<'_>,
        neighbours: &Nearby,
        now: Time,
        rng: &mut Stream,
    ) {
        let Some(rooted) = &mut self.rooted else { return };
        let short = with.config.beacon_interval();
        let busy = self.load.as_ref().is_some_and(|l| now.since(l.used) < short * 2);
        let interval = if busy || rooted.sent < EAGER_BEACONS {
            short
        } else {
            with.config.beacon_interval_idle()
        };
        rooted.sent += 1;
        rooted.next_beacon = now + rng.scaled(interval, 0.9, 1.0);
        let body = BeaconBody {
            root: with.identity.id(),
            incarnation: with.incarnation,
            tree: self.id,
            // Time never runs backwards: it ascends also when this peer roots the tree again.
            sequence: now.as_micros(),
            target: with.target,
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        };
        if self.round.as_ref().is_some_and(|r| r.body.root != with.identity.id()) {
            self.remember_root(now);
        }
        self.round = Some(Round {
            expires: now + lifetime(&body),
            body: Signed::sign(body, with.identity),
            depth: 0,
            heard: now,
            first: None,
            offers: VecMap::new(),
            settle_at: None,
            gone: false,
            lost: 0,
            answers: 0,
        });
        self.plan_telling(None, neighbours, now);
    }

    pub(crate) fn view(&self, me: PeerId, neighbours: &Nearby) -> crate::snapshot::TreeView {
        let names = |some: &mut dyn Iterator<Item = &Near>| {
            let mut names: Vec<PeerId> = some.filter_map(|p| neighbours.id(*p)).collect();
            names.sort_unstable();
            names
        };
        let root =
            if self.rooted.is_some() { Some(me) } else { self.round.as_ref().map(|r| r.body.root) };
        crate::snapshot::TreeView {
            tree: self.id.to_string(),
            root,
            depth: self.round.as_ref().map_or(0, |r| r.depth),
            parents: names(&mut self.parents.iter()),
            children: names(&mut self.children.keys()),
        }
    }
}
