//! Delivery receipts: which members hold a message of this peer, told to the application that published
//! it.
//!
//! Counted are the members that participate, that is, have had a neighbour since their processes started:
//! a process that registers and never links with a peer holds up no receipt. Who holds what is known from
//! the sums of the acknowledgements, as far as these can be taken apart, and from the names that a
//! census asks for when a receipt stays open. What is known of a member stays known: holding a message is
//! never undone while the member counts.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broadcast;
use super::ack_view::AckView;
use super::acks::{Arrived, Summed};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::Output;
use crate::limits::MAX_RECEIPTS;
use crate::message::{MessageId, StreamId};
use crate::signed::Signed;
use crate::small::VecMap;
use crate::snapshot::{Departed, MemberState, MissingMember, PeerState, Receipt};
use crate::time::Time;
use crate::wire::{Census, CensusBody, Holder, ack_token};

/// How often receipts are reviewed without any news.
const REVIEW_EVERY: Duration = Duration::from_millis(250);
/// How long a receipt stays open before a census is sent. The wait doubles.
const FIRST_CENSUS: Duration = Duration::from_millis(500);
const LONGEST_CENSUS: Duration = Duration::from_secs(4);
/// How long a receipt stays open before a census asks for names as well.
const NAMES_AFTER: Duration = Duration::from_secs(1);

/// A receipt that is not complete.
#[derive(Debug)]
struct PendingReceipt {
    since: Time,
    /// The members that counted when it was asked for; shared by receipts of one moment.
    counted: Arc<[PeerId]>,
    told: Option<Receipt>,
    /// Least number of members that hold it: what was reported last, less each member that has stopped counting
    /// since. Keeps `held` from falling while a tree changes.
    holders: u32,
}

/// When the next census is sent.
#[derive(Debug)]
struct CensusPlan {
    at: Time,
    wait: Duration,
    round: u64,
}

/// The receipts that an application waits for.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// By sequence number.
    pending: VecMap<u64, PendingReceipt>,
    /// How far members are known to be: each holds everything below its number. Empty while nothing is
    /// pending; at most one for each member.
    progress: BTreeMap<PeerId, u64>,
    /// The members that counted at the last review, by id.
    counted: Vec<PeerId>,
    /// Members that are suspected of being dead, and since which review.
    suspected: BTreeMap<PeerId, Time>,
    review_at: Time,
    census: CensusPlan,
}

impl Receipts {
    pub(crate) const fn new() -> Self {
        let census = CensusPlan { at: Time::MAX, wait: FIRST_CENSUS, round: 0 };
        Receipts {
            pending: VecMap::new(),
            progress: BTreeMap::new(),
            counted: Vec::new(),
            suspected: BTreeMap::new(),
            review_at: Time::MAX,
            census,
        }
    }

    /// When they are to be reviewed.
    pub(crate) const fn deadline(&self) -> Time {
        self.review_at
    }

    /// Something changed that receipts go by: they are reviewed at once.
    pub(crate) fn review_at_once(&mut self, now: Time) {
        if !self.pending.is_empty() {
            self.review_at = now;
        }
    }

    /// A member has a new process: what the last one held says nothing about it.
    pub(crate) fn forget_progress(&mut self, member: &PeerId) {
        self.progress.remove(member);
        self.lose_holders(1);
    }

    /// `n` members have stopped counting, or have a new process: each may have been a holder.
    fn lose_holders(&mut self, n: usize) {
        for r in self.pending.values_mut() {
            r.holders = r.holders.saturating_sub(crate::peer::count(n));
        }
    }

    fn note(&mut self, member: PeerId, held: u64) {
        let known = self.progress.entry(member).or_default();
        *known = held.max(*known);
    }
}

/// The members that count for receipts, without the publisher.
struct Counted {
    /// By id.
    members: Vec<PeerId>,
    /// The sum of their tokens and the publisher's.
    sum: u64,
    /// How many count in all, the publisher included, as far as members and seeds say.
    live: u32,
    /// All that count are in `members`.
    is_whole: bool,
}

impl Counted {
    fn number(&self) -> u32 {
        u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX)
    }
}

/// Which peers a part of a tree is made of, as far as its count and sum say.
enum Composition {
    /// All that count, and perhaps a member that was not known to.
    All(Option<PeerId>),
    AllBut(PeerId),
    Unknown,
}

impl Broadcast {
    /// A member has a new process: what the last one held says nothing about it.
    pub(crate) fn forget_progress(&mut self, member: &PeerId) {
        self.receipts.forget_progress(member);
    }

    /// Something changed that receipts go by.
    pub(crate) fn review_receipts_at_once(&mut self, now: Time) {
        self.receipts.review_at_once(now);
    }

    /// See [`Peer::want_receipt`](crate::Peer::want_receipt).
    pub(crate) fn want_receipt(&mut self, cx: &mut Context<'_>, id: MessageId) -> bool {
        let now = cx.now;
        let own = id.stream() == self.own_stream();
        let is_full = self.receipts.pending.len() >= MAX_RECEIPTS;
        if !own || id.sequence >= self.outbox.published() || is_full {
            return false;
        }
        self.outbox.receipt_wanted = self.outbox.receipt_wanted.max(id.sequence + 1);
        let counted = self.counted(cx).members;
        let last = self.receipts.pending.iter().next_back().map(|(_, r)| r.counted.clone());
        let counted = last.filter(|c| **c == *counted).unwrap_or_else(|| counted.into());
        let receipt = PendingReceipt { since: now, counted, told: None, holders: 0 };
        self.receipts.pending.insert(id.sequence, receipt);
        self.receipts.review_at = self.receipts.review_at.min(now + REVIEW_EVERY);
        if self.receipts.census.at == Time::MAX {
            self.receipts.census.at = now + FIRST_CENSUS;
        }
        true
    }

    /// See [`Peer::forget_receipt`](crate::Peer::forget_receipt).
    pub(crate) fn forget_receipt(&mut self, id: &MessageId) {
        self.receipts.pending.remove(&id.sequence);
    }

    /// Whether this peer has learned who the members are: a receipt before that would count too few.
    fn knows_members(&self, cx: &View<'_>) -> bool {
        let joining = matches!(cx.membership.own.state, PeerState::Joining);
        cx.membership.registrations.slots.is_empty() || !joining
    }

    /// Whether a live member counts for receipts. This peer's own neighbours do, before the seeds say so.
    fn counts(&self, cx: &View<'_>, id: &PeerId, participates: bool) -> bool {
        participates
            || cx.membership.own.participates_since.is_none()
            || cx.overlay.neighbours.contains_key(id)
            || self.receipts.progress.contains_key(id)
    }

    fn counted(&self, cx: &View<'_>) -> Counted {
        let alive = cx.membership.members.alive();
        let counts = alive.filter(|(id, m)| self.counts(cx, id, m.record.participates));
        let members: Vec<PeerId> = counts.map(|(id, _)| *id).collect();
        let own = ack_token(&cx.id());
        let sum = members.iter().fold(own, |sum, id| sum.wrapping_add(ack_token(id)));
        let known = u32::try_from(members.len() + 1).unwrap_or(u32::MAX);
        let told = self.counted_by_seeds(cx);
        let is_whole = self.knows_members(cx) && !cx.membership.is_large() && told <= known;
        Counted { members, sum, live: known.max(told), is_whole }
    }

    /// How many peers count for receipts as far as the seeds say, this one included.
    fn counted_by_seeds(&self, cx: &View<'_>) -> u32 {
        if cx.membership.own.participates_since.is_none() {
            return cx.membership.registrations.network_size();
        }
        let told = cx.membership.registrations.participating();
        // In a large network the count decides, and it has to contain this peer.
        let is_counted = !cx.membership.is_large()
            || cx.membership.own.participation_is_known(&cx.membership.registrations);
        told.saturating_add(u32::from(!is_counted))
    }

    /// A neighbour names holders of this peer's own messages.
    pub(crate) fn on_holders(&mut self, cx: &mut Context<'_>, holders: &[Holder]) {
        if self.receipts.pending.is_empty() {
            return;
        }
        let published = self.outbox.published();
        for h in holders {
            match cx.membership.members.with_token(h.token) {
                // Nobody holds more than there is.
                Some(id) => self.receipts.note(id, h.held.min(published)),
                None if h.token == ack_token(&cx.id()) => {}
                None => cx.fx.count("ack_names_refused"),
            }
        }
    }

    /// Tells of receipts that have changed.
    pub(crate) fn review_receipts(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.receipts.pending.is_empty() {
            self.receipts.progress.clear();
            self.receipts.counted.clear();
            self.receipts.suspected.clear();
            self.receipts.review_at = Time::MAX;
            (self.receipts.census.at, self.receipts.census.wait) = (Time::MAX, FIRST_CENSUS);
            return;
        }
        self.receipts.review_at = now + REVIEW_EVERY;
        let own = self.own_stream();
        let Some(summed) =
            self.acks.summed(own, now, &AckView::new(&self.store.list, &self.trees, cx))
        else {
            return;
        };
        self.note_progress(cx, summed);
        let members = &cx.membership.members;
        self.receipts.progress.retain(|id, _| members.get(id).is_some());
        self.note_suspects(cx);
        let counted = self.counted(cx);
        let goes = |id: &&PeerId| counted.members.binary_search(id).is_err();
        let gone = self.receipts.counted.iter().filter(goes).count();
        self.receipts.lose_holders(gone);
        self.receipts.counted.clone_from(&counted.members);
        // Ascending by progress: those that lack a message are a prefix.
        let known = |id: &PeerId| self.receipts.progress.get(id).copied().unwrap_or(0);
        let mut by_progress: Vec<(u64, PeerId)> =
            counted.members.iter().map(|id| (known(id), *id)).collect();
        by_progress.sort_unstable();
        let parts: Vec<Summed> = self
            .acks
            .parts(own, &AckView::new(&self.store.list, &self.trees, cx))
            .into_iter()
            .map(|(_, part)| part)
            .collect();
        // While a peer moves in the tree, its old and its new parent both report it.
        let is_consistent = cx.membership.is_large()
            || !matches!(
                self.composition(cx, &counted, summed.peers, summed.sum),
                Composition::Unknown
            );
        let (mut missing, mut departed) = (BTreeMap::new(), BTreeMap::new());
        let mut news = Vec::new();
        for (&sequence, pending) in self.receipts.pending.iter() {
            let told = pending.told.as_ref();
            let lacking = by_progress.partition_point(|(held, _)| *held <= sequence);
            let complete = self.is_complete(cx, sequence, lacking, &counted, &summed);
            // Receipts of one moment have their members in one place.
            let place = pending.counted.as_ptr();
            let departed = departed
                .entry(place)
                .or_insert_with(|| self.departed(cx, &pending.counted))
                .clone();
            let by_name = counted.number() - u32::try_from(lacking).unwrap_or(0);
            let held = if complete {
                counted.live
            } else {
                let whole = parts.iter().filter(|p| p.held > sequence).map(|p| p.peers);
                let by_sum = if is_consistent { whole.fold(1, u32::saturating_add) } else { 1 };
                by_name.max(by_sum).max(pending.holders).min(counted.live - 1).max(1)
            };
            let is_exact = complete || (counted.is_whole && by_name == held);
            let missing = is_exact.then(|| {
                let names = || by_progress.iter().take(lacking).map(|(_, id)| self.missing(cx, id));
                Arc::clone(missing.entry(lacking).or_insert_with(|| names().collect()))
            });
            let id = MessageId { publisher: own.publisher, epoch: own.epoch, sequence };
            let receipt = Receipt { id, held, live: counted.live, complete, missing, departed };
            if told != Some(&receipt) {
                news.push((sequence, receipt));
            }
        }
        for (sequence, receipt) in news {
            if receipt.complete {
                self.receipts.pending.remove(&sequence);
                cx.fx.count("receipts_complete");
            } else if let Some(pending) = self.receipts.pending.get_mut(&sequence) {
                (pending.told, pending.holders) = (Some(receipt.clone()), receipt.held);
            }
            cx.fx.output(Output::Receipt(receipt));
        }
    }

    /// Whether all that count hold a message, `lacking` of the known ones not being known to.
    fn is_complete(
        &self,
        cx: &View<'_>,
        sequence: u64,
        lacking: usize,
        of: &Counted,
        summed: &Summed,
    ) -> bool {
        if summed.held <= sequence || !self.knows_members(cx) {
            return false;
        }
        if cx.membership.is_large() {
            // Not all members are known by name; then the seeds' count decides.
            return summed.peers == of.live;
        }
        of.is_whole && lacking == 0
    }

    /// Takes the sums apart: who is how far, as far as counts and sums of the parts of the tree say.
    fn note_progress(&mut self, cx: &mut Context<'_>, whole: Summed) {
        if cx.membership.is_large() {
            return;
        }
        let own = self.own_stream();
        let counted = self.counted(cx);
        let mut parts = self.acks.parts(own, &AckView::new(&self.store.list, &self.trees, cx));
        parts.sort_unstable_by_key(|(_, part)| core::cmp::Reverse(part.held));
        let mut groups = Vec::new();
        let (mut peers, mut sum) = (1u32, ack_token(&own.publisher));
        for (neighbour, part) in &parts {
            peers = peers.saturating_add(part.peers);
            sum = sum.wrapping_add(part.sum);
            groups.push((part.held, peers, sum));
            if part.peers == 1 && part.sum == ack_token(neighbour) {
                self.receipts.note(*neighbour, part.held);
            }
        }
        groups.push((whole.held, whole.peers, whole.sum));
        // Descending by what all of a group hold.
        for (held, peers, sum) in groups {
            let (but, and) = match self.composition(cx, &counted, peers, sum) {
                Composition::All(and) => (None, and),
                Composition::AllBut(one) => (Some(one), None),
                Composition::Unknown => continue,
            };
            let those = counted.members.iter().filter(|id| Some(**id) != but);
            for id in those.copied().chain(and) {
                self.receipts.note(id, held);
            }
            if but.is_none() {
                break;
            }
        }
    }

    fn composition(&self, cx: &View<'_>, counted: &Counted, peers: u32, sum: u64) -> Composition {
        let all = counted.number();
        if peers == all && sum == counted.sum {
            return Composition::All(None);
        }
        let of = |token| cx.membership.members.with_token(token);
        if peers.checked_add(1) == Some(all) {
            let missing = of(counted.sum.wrapping_sub(sum));
            return match missing.filter(|id| counted.members.binary_search(id).is_ok()) {
                Some(one) => Composition::AllBut(one),
                None => Composition::Unknown,
            };
        }
        // A member has just got its first neighbour, and the seeds have not said so yet.
        let more = (all.checked_add(1) == Some(peers))
            .then(|| of(sum.wrapping_sub(counted.sum)))
            .flatten();
        match more.filter(|id| counted.members.binary_search(id).is_err()) {
            Some(one) => Composition::All(Some(one)),
            None => Composition::Unknown,
        }
    }

    fn note_suspects(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let members = &cx.membership.members;
        let is_suspect =
            |id: &PeerId| cx.is_suspect(id) || members.get(id).is_some_and(|m| m.suspect);
        self.receipts.suspected.retain(|id, _| is_suspect(id));
        for (id, _) in members.alive().filter(|(id, _)| is_suspect(id)) {
            self.receipts.suspected.entry(*id).or_insert(now);
        }
    }

    fn missing(&self, cx: &View<'_>, id: &PeerId) -> MissingMember {
        let name = cx.membership.members.record(id).map(|r| r.name.clone());
        let since = self.receipts.suspected.get(id);
        let (now, wall) = (cx.now, cx.wall.0);
        let ago = since.map(|at| u64::try_from(now.since(*at).as_micros()).unwrap_or(u64::MAX));
        MissingMember {
            id: *id,
            name: name.unwrap_or_else(|| crate::peer::unknown_name(id)),
            state: since.map_or(MemberState::Alive, |_| MemberState::Suspect),
            suspected_since: ago.map(|ago| wall.saturating_sub(ago)),
        }
    }

    /// Those of the members that do not count any more, and why.
    fn departed(&self, cx: &View<'_>, counted: &[PeerId]) -> Vec<Departed> {
        let gone = counted.iter().filter(|id| {
            // In a large network a member may only be forgotten.
            cx.membership.members.get(id).is_none()
                && (!cx.membership.is_large() || cx.membership.members.record(id).is_some())
        });
        gone.map(|id| self.departure(cx, id)).collect()
    }

    fn departure(&self, cx: &View<'_>, id: &PeerId) -> Departed {
        let certificate = cx.membership.members.dead().map(|(c, _)| c).find(|c| c.subject() == *id);
        Departed {
            id: *id,
            name: cx.membership.members.record(id).map(|r| r.name.clone()),
            state: certificate.map_or(MemberState::Left, |_| MemberState::Dead),
            witnesses: certificate.map(crate::failure::Certificate::witnesses).unwrap_or_default(),
            seeds: certificate.map(crate::failure::Certificate::seeds).unwrap_or_default(),
        }
    }

    /// Asks all peers on the tree to be counted, if receipts do not complete by themselves.
    pub(crate) fn run_census(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let census = &mut self.receipts.census;
        if now < census.at || self.receipts.pending.is_empty() {
            return;
        }
        census.wait = (census.wait * 2).min(LONGEST_CENSUS);
        census.at = now + census.wait;
        self.take_census(cx, self.outbox.receipt_wanted);
    }

    /// Takes a census over all links.
    pub(crate) fn explore_by_census(&mut self, cx: &mut Context<'_>) {
        let round = &mut self.receipts.census.round;
        *round = super::acknowledge::next_exploring(*round) - 1;
        self.take_census(cx, self.outbox.published());
    }

    /// Asks all peers on the tree which peers are behind them and how far they are, up to a sequence number.
    pub(crate) fn take_census(&mut self, cx: &mut Context<'_>, until: u64) {
        let now = cx.now;
        self.receipts.census.round += 1;
        let round = self.receipts.census.round;
        let stream = self.own_stream();
        let StreamId { publisher, epoch } = stream;
        let is_old = |r: &PendingReceipt| now.since(r.since) >= NAMES_AFTER;
        let names = !cx.membership.is_large() && self.receipts.pending.values().any(is_old);
        let body = CensusBody { publisher, epoch, round, until, names };
        let census = Census { body: Signed::sign(body, cx.identity) };
        let arrived = Arrived { stream, bytes: 0, wanted: None, names };
        self.acks.census(&arrived, round, now, &AckView::new(&self.store.list, &self.trees, cx));
        cx.fx.count("censuses");
        self.send_census(cx, &census, None);
    }
}
