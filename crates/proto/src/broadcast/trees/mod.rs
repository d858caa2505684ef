//! Broadcast trees: which links carry whose batches.
//!
//! Every publisher has a tree of its own, as Plumtree (Leitao, Pereira, Rodrigues 2007) has one for its
//! one sender. A peer knows of a tree its own place only: the *parent*, the link over which the
//! publisher's batches come, and the *lazy* links, which are told of them by announcements. Over all other
//! links the batches go on.
//!
//! - A publisher that is not known here is flooded. The link over which its first batch comes is the
//!   parent; a link over which a batch comes again becomes lazy, in both directions. What is left is
//!   the tree of shortest paths, as the flood took them.
//! - Once that is settled, data changes nothing: with several changes at once, duplicates would tear at the
//!   tree from all sides. A parent is left if its link ends, if it gives no sign of life, or if others
//!   bring first what it should have brought, several times in a row.
//! - Whoever loses its parent without another one in sight grafts on all its neighbours. It cannot know which of them
//!   are behind it in the tree; those take the graft of their parent for a loss of their own, and do the
//!   same. So every link that leads out of the part that was cut off carries batches again, and the first
//!   batch leaves one of them.
//! - Now and then, a publisher marks a batch as exploring: it goes over all links, and the first link that
//!   brings it is the parent from then on. Among those who follow it, a parent is nearer to the publisher in time than
//!   its child, so that they are on no cycle, and trees follow the present delays. A cycle that forms otherwise ends
//!   after some batches, since what had to be pulled does not count in favour of a parent.
//!
//! A publisher that was forgotten is flooded again. At rest nothing is sent for trees.

mod near;
#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::identity::PeerId;
use crate::limits::{MAX_GRAFTED, MAX_TREES};
use crate::small::GrowMap;
use crate::snapshot::TreeView;
use crate::time::Time;
use crate::wire::ack_token;

use near::{Near, NearSet, Nearby};

/// How often in a row others have to bring first what the parent should have brought.
const MISSES: u8 = 3;
/// Misses in shorter intervals count as one: what one hole lacked is pulled in many batches.
const MISS_EVERY: Duration = Duration::from_millis(200);
/// What another neighbour announced so long before the parent brought it came late: several links' delays, and more than
/// announcements are gathered for.
const LATE: Duration = Duration::from_millis(300);
/// How often in a row that has to be the same way before the other is followed.
const LATE_TIMES: u8 = 3;
/// Batches that explore more often are not followed.
const EXPLORE_EVERY: Duration = Duration::from_secs(5);
/// How soon a neighbour is told once more that it need not send batches: what it has sent meanwhile was on its way.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A graft says of publishers whose last batch came so lately what this peer has of them: something may have been missed
/// meanwhile. Of others, what is just going round is announced to whoever grafts.
const RECENT: Duration = Duration::from_secs(10);

/// How a batch came to this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Along the tree.
    Pushed,
    /// Over all links of everybody, to find the shortest ways.
    Explores,
    /// This peer had to ask for it, where its parent should have brought it.
    Pulled,
    /// Another peer had to ask for it, and passes it on to those that seem to be behind it.
    PassedOn,
    /// It is old: it says nothing of the way that the next one takes.
    History,
}

impl Way {
    /// The way of a batch that had existed for so long when it came.
    pub(crate) const fn of(age: Duration, pulled: bool, asked: bool, explores: bool) -> Way {
        if age.as_millis() >= RECENT.as_millis() {
            Way::History
        } else if pulled && asked {
            Way::Pulled
        } else if pulled {
            Way::PassedOn
        } else if explores {
            Way::Explores
        } else {
            Way::Pushed
        }
    }
}

impl Way {
    /// Whether somebody had to ask for it on its way.
    pub(crate) const fn is_late(self) -> bool {
        matches!(self, Way::Pulled | Way::PassedOn)
    }
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Send me their batches. Of the `recent` ones, something may have been missed.
    Graft { to: PeerId, publishers: Vec<u64>, recent: Vec<PeerId> },
    /// Send me announcements of their batches only.
    Prune { to: PeerId, publishers: Vec<u64> },
}

/// This peer's place in the tree of one publisher.
#[derive(Debug)]
struct Tree {
    publisher: PeerId,
    /// Over this link the batches come. None at the publisher itself, and where the way to it was lost.
    parent: Option<Near>,
    /// These links are told of batches by announcements; the parent is always among them.
    lazy: NearSet,
    /// These have grafted on this peer.
    grafted: NearSet,
    /// These were told since `told_at` that their batches are not needed here.
    told: NearSet,
    told_at: Time,
    /// Another neighbour that has brought a batch before the parent did.
    rival: Option<Near>,
    misses: u8,
    missed_at: Time,
    /// How often in a row the parent was late.
    late: u8,
    /// The parent has sent something of its own accord since it is the parent, and when it last did.
    brings: bool,
    brought_at: Time,
    used: Time,
    explored: Time,
}

impl Tree {
    fn new(publisher: PeerId, now: Time) -> Self {
        Tree {
            publisher,
            parent: None,
            lazy: NearSet::default(),
            grafted: NearSet::default(),
            told: NearSet::default(),
            told_at: Time::ZERO,
            rival: None,
            misses: 0,
            missed_at: Time::ZERO,
            late: 0,
            brings: false,
            brought_at: Time::ZERO,
            used: now,
            explored: now,
        }
    }

    fn token(&self) -> u64 {
        ack_token(&self.publisher)
    }

    /// Takes another parent. Says which one it had.
    fn follow(&mut self, parent: Near) -> Option<Near> {
        self.pruned(parent);
        (self.rival, self.misses, self.late, self.brings) = (None, 0, 0, false);
        self.parent.replace(parent)
    }

    /// Has no way to the publisher any more. What was missed until then says nothing of those that may lead there.
    fn lose_the_way(&mut self) {
        (self.parent, self.rival) = (None, None);
        (self.misses, self.late, self.brings) = (0, 0, false);
    }

    /// A neighbour wants announcements only.
    fn pruned(&mut self, near: Near) {
        self.lazy.insert(near);
        self.grafted.remove(near);
    }

    /// Notes that another neighbour brought what the parent should have. Whether that was once too often.
    fn miss(&mut self, now: Time) -> bool {
        if self.misses == 0 || now.since(self.missed_at) >= MISS_EVERY {
            self.misses += 1;
            self.missed_at = now;
        }
        self.misses >= MISSES
    }
}

/// The trees that a peer has a place in.
#[derive(Debug)]
pub(crate) struct Trees {
    me: PeerId,
    /// By the publisher's token.
    all: GrowMap<u64, Tree>,
    neighbours: Nearby,
    /// Batches go over all links anyway: nobody is asked to stop.
    floods: bool,
}

impl Trees {
    pub(crate) fn new(me: PeerId, floods: bool) -> Self {
        Trees { me, all: GrowMap::new(), neighbours: Nearby::default(), floods }
    }

    fn get(&self, publisher: &PeerId) -> Option<&Tree> {
        self.all.get(&ack_token(publisher))
    }

    /// The neighbour that brings a publisher's batches.
    pub(crate) fn parent(&self, publisher: &PeerId) -> Option<PeerId> {
        self.neighbours.id(self.get(publisher)?.parent?)
    }

    /// Whether batches come from the parent of their own accord these days. In a cycle of parents they stop coming.
    pub(crate) fn parent_brings(&self, publisher: &PeerId, now: Time) -> bool {
        let lately = |t: &Tree| t.brings && now.since(t.brought_at) < RECENT;
        self.get(publisher).is_some_and(lately)
    }

    /// The neighbours that get a publisher's batches from this peer: all of them, where nothing is known of its tree.
    pub(crate) fn children(&self, publisher: &PeerId) -> Vec<PeerId> {
        let tree = self.get(publisher);
        let gets = |near: &Near| tree.is_none_or(|t| !t.lazy.contains(*near));
        let ids = self.neighbours.all().filter(gets).filter_map(|near| self.neighbours.id(near));
        ids.filter(|id| id != publisher).collect()
    }

    /// Whether a neighbour is one of them.
    pub(crate) fn is_child(&self, neighbour: &PeerId, publisher: &PeerId) -> bool {
        let tree = self.get(publisher);
        let near = self.neighbours.find(neighbour);
        let gets = |near| tree.is_none_or(|t| !t.lazy.contains(near));
        neighbour != publisher && near.is_some_and(gets)
    }

    /// Whether a batch that explores is to be followed: not so soon after the last one.
    pub(crate) fn may_explore(&self, publisher: &PeerId, now: Time) -> bool {
        self.get(publisher).is_none_or(|t| now.since(t.explored) >= EXPLORE_EVERY)
    }

    /// A batch came for the first time.
    pub(crate) fn received(
        &mut self,
        publisher: PeerId,
        from: Option<PeerId>,
        way: Way,
        now: Time,
    ) -> Vec<Act> {
        if way == Way::History {
            return Vec::new();
        }
        let from = from.and_then(|id| self.neighbours.find(&id));
        let token = ack_token(&publisher);
        if !self.all.contains_key(&token) {
            self.make_room();
            self.all.insert(token, Tree::new(publisher, now));
            if publisher == self.me {
                return Vec::new();
            }
            let pushed = from.filter(|_| !way.is_late());
            let Some((from, tree)) = pushed.zip(self.all.get_mut(&token)) else {
                // The neighbours may still know a place of this peer that it has forgotten.
                return self.find_the_way(&[token], now);
            };
            tree.follow(from);
            return self.hang_on(from, token).into_iter().collect();
        }
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        tree.used = now;
        if way == Way::Explores {
            tree.explored = now;
        }
        let Some(from) = from.filter(|_| publisher != self.me) else { return Vec::new() };
        let is_parent = tree.parent == Some(from);
        if is_parent && way != Way::Pulled {
            // What a parent had to ask for says nothing: in a cycle, it may be this peer's own answer.
            // What goes over all links says nothing of the tree.
            if way == Way::Pushed {
                tree.misses = 0;
                (tree.brings, tree.brought_at) = (true, now);
            }
            return Vec::new();
        }
        if way.is_late() {
            // Who has it may have pulled it as well, from somebody behind this peer: there may be no way through it.
            if !tree.miss(now) {
                return Vec::new();
            }
            if core::mem::take(&mut tree.brings) {
                // The parent has sent something, but late: there may be more to send over its links than they carry. If
                // nothing more comes of its own accord until the next misses, it has lost the way.
                tree.misses = 0;
                let may_lead = way == Way::Pulled && !tree.grafted.contains(from);
                return if may_lead { self.change_to(from, token, now) } else { Vec::new() };
            }
            tree.lose_the_way();
            return self.find_the_way(&[token], now);
        }
        let waits = tree.grafted.contains(from);
        if waits && !tree.miss(now) {
            // It waits for batches from here, and sent this one before it did: grafts overtake batches on a link. Once
            // it has another parent, it says so first, unless it has forgotten that it waits.
            return Vec::new();
        }
        if tree.parent.is_some() && way == Way::Pushed {
            tree.rival = Some(from);
            if !tree.miss(now) {
                return Vec::new();
            }
        }
        let mut acts = Vec::new();
        let old = tree.follow(from);
        if waits {
            // Grafted on anew, it answers if it still waits.
            acts.extend(self.prune(from, token, now));
        }
        match old {
            Some(old) => {
                acts.extend(self.graft([from], &[token], now));
                acts.extend(self.prune(old, token, now));
            }
            // It has grafted on everybody.
            None => {
                acts.extend(self.hang_on(from, token));
                let others: Vec<Near> = self.neighbours.all().filter(|n| *n != from).collect();
                acts.extend(others.into_iter().filter_map(|n| self.prune(n, token, now)));
            }
        }
        acts
    }

    /// What has just come along the tree had been announced by a neighbour for so long. Where that is late several
    /// times in a row, that neighbour is the better parent: it had it without this peer.
    pub(crate) fn announced_earlier(
        &mut self,
        publisher: &PeerId,
        neighbour: PeerId,
        by: Duration,
        now: Time,
    ) -> Vec<Act> {
        let token = ack_token(publisher);
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        if by < LATE {
            tree.late = 0;
            return Vec::new();
        }
        // One that waits for batches from here is not followed.
        let may_lead = tree.parent.is_some_and(|p| p != near) && !tree.grafted.contains(near);
        if self.floods || !may_lead {
            return Vec::new();
        }
        tree.late += 1;
        if tree.late < LATE_TIMES { Vec::new() } else { self.change_to(near, token, now) }
    }

    /// What has just come along the tree had been announced by nobody. If it came from the parent, that was in time.
    pub(crate) fn was_first(&mut self, publisher: &PeerId, from: PeerId) {
        let near = self.neighbours.find(&from);
        let tree = self.all.get_mut(&ack_token(publisher));
        if let Some(tree) = tree.filter(|t| near.is_some() && t.parent == near) {
            tree.late = 0;
        }
    }

    /// Asks a neighbour to send from now on: another parent, or the present one, which takes this peer for one that
    /// needs nothing.
    fn change_to(&mut self, parent: Near, token: u64, now: Time) -> Vec<Act> {
        let Some(tree) = self.all.get_mut(&token) else { return Vec::new() };
        let old = tree.follow(parent);
        let mut acts = self.graft([parent], &[token], now);
        let old = old.filter(|old| *old != parent);
        acts.extend(old.and_then(|old| self.prune(old, token, now)));
        acts
    }

    /// A batch came again, along its tree or over all links.
    pub(crate) fn repeated(
        &mut self,
        publisher: PeerId,
        from: PeerId,
        way: Way,
        now: Time,
    ) -> Option<Act> {
        let near = self.neighbours.find(&from)?;
        let token = ack_token(&publisher);
        let floods = self.floods;
        let tree = self.all.get_mut(&token)?;
        let parent = tree.parent?;
        if parent == near {
            // What goes over all links, or somebody had to ask for, says nothing of the tree.
            if way != Way::Pushed {
                return None;
            }
            // It was only late; the other need not send it as well.
            (tree.brings, tree.brought_at) = (true, now);
            if now.since(tree.missed_at) < LATE {
                tree.misses = 0;
            }
            let rival = tree.rival.take().filter(|_| !floods)?;
            return self.prune(rival, token, now);
        }
        if way == Way::History {
            return None;
        }
        // It is sent none of its batches, so it sees none come again, and waits for what this peer would tell it of those behind.
        let is_publisher = from == publisher;
        let is_lazy = tree.lazy.contains(near) || tree.grafted.contains(near) || is_publisher;
        if !is_lazy {
            // Each of the two has got it from the other again, and needs it from somebody else.
            tree.lazy.insert(near);
            return None;
        }
        if (way == Way::Explores || floods) && !is_publisher {
            // It goes over lazy links as well.
            return None;
        }
        let lately = floods || now.since(tree.told_at) < TELL_EVERY;
        if tree.told.contains(near) && lately { None } else { self.prune(near, token, now) }
    }

    fn graft(&mut self, to: impl IntoIterator<Item = Near>, tokens: &[u64], now: Time) -> Vec<Act> {
        let to: Vec<Near> = to.into_iter().collect();
        let mut acts = Vec::new();
        for publishers in tokens.chunks(MAX_GRAFTED) {
            let mut recent = Vec::new();
            for token in publishers {
                let Some(tree) = self.all.get_mut(token) else { continue };
                to.iter().for_each(|near| tree.told.remove(*near));
                if now.since(tree.used) < RECENT {
                    recent.push(tree.publisher);
                }
            }
            for to in to.iter().filter_map(|near| self.neighbours.id(*near)) {
                let (publishers, recent) = (publishers.to_vec(), recent.clone());
                acts.push(Act::Graft { to, publishers, recent });
            }
        }
        acts
    }

    /// Grafts on a parent that sends batches already. The last one may have come over a link that is lazy for the next, or
    /// the parent may take this peer for one that needs none, or have lost the way since.
    fn hang_on(&mut self, parent: Near, token: u64) -> Option<Act> {
        self.all.get_mut(&token)?.told.remove(parent);
        let to = self.neighbours.id(parent)?;
        Some(Act::Graft { to, publishers: vec![token], recent: Vec::new() })
    }

    fn prune(&mut self, to: Near, token: u64, now: Time) -> Option<Act> {
        let tree = self.all.get_mut(&token)?;
        if now.since(tree.told_at) >= TELL_EVERY {
            (tree.told, tree.told_at) = (NearSet::default(), now);
        }
        tree.told.insert(to);
        Some(Act::Prune { to: self.neighbours.id(to)?, publishers: vec![token] })
    }

    /// Grafts on everybody for the trees whose parent was lost.
    fn find_the_way(&mut self, lost: &[u64], now: Time) -> Vec<Act> {
        let all: Vec<Near> = self.neighbours.all().collect();
        self.graft(all, lost, now)
    }

    /// The trees of others that have no parent.
    fn lost(&self) -> Vec<u64> {
        let lost = self.all.values().filter(|t| t.parent.is_none() && t.publisher != self.me);
        lost.map(Tree::token).collect()
    }

    /// Leaves a parent: says for which trees.
    fn leave(&mut self, parent: Near) -> Vec<u64> {
        let of = self.all.values_mut().filter(|t| t.parent == Some(parent));
        of.map(|t| {
            t.lose_the_way();
            t.token()
        })
        .collect()
    }

    // ---- neighbours ------------------------------------------------------------------------

    pub(crate) fn link_up(&mut self, neighbour: PeerId, now: Time) -> Vec<Act> {
        let Some(near) = self.neighbours.insert(neighbour) else { return Vec::new() };
        // What comes another way, the new neighbour need not send, and what nobody brings, it is to send. Of what is
        // not known here, it sends what it gets.
        let followed = self.all.values().filter(|t| t.parent.is_some() || t.publisher == self.me);
        let followed: Vec<u64> = followed.map(Tree::token).collect();
        let prunes = followed
            .chunks(MAX_GRAFTED)
            .map(|publishers| Act::Prune { to: neighbour, publishers: publishers.to_vec() });
        let lost = self.lost();
        prunes.chain(self.graft([near], &lost, now)).collect()
    }

    pub(crate) fn link_down(&mut self, neighbour: PeerId, now: Time) -> Vec<Act> {
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let lost = self.leave(near);
        self.neighbours.remove(near);
        for tree in self.all.values_mut() {
            // Another neighbour may get its number.
            tree.lazy.remove(near);
            tree.grafted.remove(near);
            tree.told.remove(near);
            tree.rival.take_if(|r| *r == near);
        }
        self.find_the_way(&lost, now)
    }

    /// A neighbour gives no sign of life: what comes through it is fetched from others. If it was only late, its
    /// next batch makes it the parent again, where no other has come first.
    pub(crate) fn suspect(&mut self, neighbour: PeerId, now: Time) -> Vec<Act> {
        let Some(near) = self.neighbours.find(&neighbour) else { return Vec::new() };
        let lost = self.leave(near);
        self.find_the_way(&lost, now)
    }

    /// A neighbour wants to get batches. Says of whose that is new, and what is to be sent.
    pub(crate) fn on_graft(
        &mut self,
        from: PeerId,
        publishers: &[u64],
        now: Time,
    ) -> (Vec<PeerId>, Vec<Act>) {
        let (mut lost, mut before, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        let Some(near) = self.neighbours.find(&from) else { return (changed, Vec::new()) };
        for token in publishers {
            let Some(tree) = self.all.get_mut(token) else { continue };
            let is_new = !tree.grafted.contains(near);
            if is_new || tree.lazy.contains(near) {
                changed.push(tree.publisher);
            }
            tree.lazy.remove(near);
            tree.grafted.insert(near);
            if tree.parent == Some(near) {
                // The parent has lost its way, and with it this peer.
                tree.lose_the_way();
                lost.push(*token);
            } else if tree.parent.is_none() && tree.publisher != self.me && is_new {
                // It is to know that this peer has lost the way, too: it may not have known the publisher when it was told.
                before.push(*token);
            }
        }
        let mut acts = self.graft([near], &before, now);
        acts.extend(self.find_the_way(&lost, now));
        (changed, acts)
    }

    /// A neighbour wants to get announcements only. Says of whose that is new.
    pub(crate) fn on_prune(&mut self, from: PeerId, publishers: &[u64]) -> Vec<PeerId> {
        let mut changed = Vec::new();
        let Some(near) = self.neighbours.find(&from) else { return changed };
        for token in publishers {
            if let Some(tree) = self.all.get_mut(token) {
                if !tree.lazy.contains(near) {
                    changed.push(tree.publisher);
                }
                tree.pruned(near);
            }
        }
        changed
    }

    /// Whether this peer has a place in a publisher's tree.
    pub(crate) fn knows(&self, publisher: &PeerId) -> bool {
        self.get(publisher).is_some()
    }

    // ---- publishers ------------------------------------------------------------------------

    /// A publisher is dead or has left.
    pub(crate) fn gone(&mut self, publisher: &PeerId) {
        self.all.remove(&ack_token(publisher));
    }

    /// Forgets a part of the trees that were used least recently, if there are too many.
    fn make_room(&mut self) {
        if self.all.len() < MAX_TREES {
            return;
        }
        let others = self.all.values().filter(|t| t.publisher != self.me);
        let mut by_use: Vec<(Time, u64)> = others.map(|t| (t.used, t.token())).collect();
        by_use.sort_unstable();
        for (_, token) in by_use.iter().take(MAX_TREES / 16) {
            self.all.remove(token);
        }
    }

    /// This peer's places, as views show them.
    pub(crate) fn views(&self) -> Vec<TreeView> {
        let view = |t: &Tree| TreeView {
            publisher: t.publisher,
            parent: t.parent.and_then(|near| self.neighbours.id(near)),
            children: self.children(&t.publisher),
        };
        self.all.values().map(view).collect()
    }
}
