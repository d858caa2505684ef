//! Delivery receipts: which members hold a message of this peer, reported to the application.
//!
//! Only members that participate count, that is, have had a neighbour since their processes
//! started: a process that registers and never links with a peer delays no receipt. The holders are
//! known from the aggregates of the acknowledgements, as far as these can be taken apart, and from
//! the names that a census asks for when a receipt stays open. Knowledge about a member stays:
//! holding a message is never undone while the member counts.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broadcast;
use super::acks::{Aggregate, ReceivedBatch};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::Output;
use crate::limits::MAX_RECEIPTS;
use crate::message::{MessageId, StreamId};
use crate::signed::Signed;
use crate::small::VecMap;
use crate::snapshot::{DepartedMember, MemberState, MissingMember, PeerState, Receipt};
use crate::time::Time;
use crate::wire::{Census, CensusBody, Holder, ack_token};

/// How often receipts are reviewed while nothing new arrives.
const RECEIPT_REVIEW_INTERVAL: Duration = Duration::from_millis(250);
/// How long a receipt stays open before a census is sent. The wait doubles with each census.
const INITIAL_CENSUS_WAIT: Duration = Duration::from_millis(500);
const MAX_CENSUS_WAIT: Duration = Duration::from_secs(4);
/// How long a receipt stays open before a census asks for names as well.
const NAMES_AFTER: Duration = Duration::from_secs(1);

/// A receipt that is not complete.
#[derive(Debug)]
struct PendingReceipt {
    since: Time,
    /// The members that counted when it was requested; shared by receipts requested at the same
    /// time.
    counted_at_start: Arc<[PeerId]>,
    last_reported: Option<Receipt>,
    /// The least number of members that hold it: the last reported number, less each member that
    /// has stopped counting since. Keeps `held` from falling while a tree changes.
    min_holders: u32,
}

/// When the next census is sent.
#[derive(Debug)]
struct CensusPlan {
    at: Time,
    wait: Duration,
    round: u64,
}

/// The receipts that the application waits for.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// By sequence number.
    pending: VecMap<u64, PendingReceipt>,
    /// The known progress of members: each holds everything below its number. Empty while no
    /// receipt is pending; at most one entry for each member.
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
        let census = CensusPlan { at: Time::MAX, wait: INITIAL_CENSUS_WAIT, round: 0 };
        Receipts {
            pending: VecMap::new(),
            progress: BTreeMap::new(),
            counted: Vec::new(),
            suspected: BTreeMap::new(),
            review_at: Time::MAX,
            census,
        }
    }

    /// When the receipts are to be reviewed.
    pub(crate) const fn deadline(&self) -> Time {
        self.review_at
    }

    /// Schedules a review at once, because receipts may have changed.
    pub(crate) fn review_at_once(&mut self, now: Time) {
        if !self.pending.is_empty() {
            self.review_at = now;
        }
    }

    /// Forgets the progress of a member that has a new process.
    pub(crate) fn forget_progress(&mut self, member: &PeerId) {
        self.progress.remove(member);
        self.lose_holders(1);
    }

    /// Accounts for `n` members that have stopped counting, or have a new process: each may have
    /// been a holder.
    fn lose_holders(&mut self, n: usize) {
        for r in self.pending.values_mut() {
            r.min_holders = r.min_holders.saturating_sub(crate::peer::count(n));
        }
    }

    fn note(&mut self, member: PeerId, held: u64) {
        let known = self.progress.entry(member).or_default();
        *known = held.max(*known);
    }
}

/// The members that count for receipts, without the publisher.
struct CountedMembers {
    /// By id.
    members: Vec<PeerId>,
    /// The sum of their tokens and the publisher's.
    sum: u64,
    /// How many count in all, the publisher included, as far as members and seeds report.
    live: u32,
    /// Whether `members` contains all of them.
    is_complete_list: bool,
}

impl CountedMembers {
    fn member_count(&self) -> u32 {
        u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX)
    }
}

/// The peers of a subtree, as far as its number and sum of tokens tell.
enum Composition {
    /// All that count, and perhaps a member that was not known to count.
    All(Option<PeerId>),
    AllBut(PeerId),
    Unknown,
}

impl Broadcast {
    /// Forgets the progress of a member that has a new process.
    pub(crate) fn forget_progress(&mut self, member: &PeerId) {
        self.receipts.forget_progress(member);
    }

    /// Schedules a review of the receipts at once.
    pub(crate) fn review_receipts_at_once(&mut self, now: Time) {
        self.receipts.review_at_once(now);
    }

    /// See [`Peer::request_receipt`](crate::Peer::request_receipt).
    pub(crate) fn request_receipt(&mut self, cx: &mut Context<'_>, id: MessageId) -> bool {
        let now = cx.now;
        let own = id.stream() == self.own_stream();
        let is_full = self.receipts.pending.len() >= MAX_RECEIPTS;
        if !own || id.sequence >= self.outbox.published() || is_full {
            return false;
        }
        self.outbox.receipt_requested = self.outbox.receipt_requested.max(id.sequence + 1);
        let counted = self.counted(cx).members;
        let last =
            self.receipts.pending.iter().next_back().map(|(_, r)| r.counted_at_start.clone());
        let counted = last.filter(|c| **c == *counted).unwrap_or_else(|| counted.into());
        let receipt = PendingReceipt {
            since: now,
            counted_at_start: counted,
            last_reported: None,
            min_holders: 0,
        };
        self.receipts.pending.insert(id.sequence, receipt);
        self.receipts.review_at = self.receipts.review_at.min(now + RECEIPT_REVIEW_INTERVAL);
        if self.receipts.census.at == Time::MAX {
            self.receipts.census.at = now + INITIAL_CENSUS_WAIT;
        }
        true
    }

    /// See [`Peer::cancel_receipt`](crate::Peer::cancel_receipt).
    pub(crate) fn cancel_receipt(&mut self, id: &MessageId) {
        self.receipts.pending.remove(&id.sequence);
    }

    /// Whether this peer has learned the members: an earlier receipt would count too few.
    fn knows_members(&self, cx: &View<'_>) -> bool {
        let joining = matches!(cx.membership.own.state, PeerState::Joining);
        cx.membership.registrations.slots.is_empty() || !joining
    }

    /// Whether a live member counts for receipts. Neighbours of this peer do, before the seeds
    /// report it.
    fn counts(&self, cx: &View<'_>, id: &PeerId, participates: bool) -> bool {
        participates
            || cx.membership.own.participates_since.is_none()
            || cx.overlay.neighbours.contains_key(id)
            || self.receipts.progress.contains_key(id)
    }

    fn counted(&self, cx: &View<'_>) -> CountedMembers {
        let alive = cx.membership.members.alive();
        let counts = alive.filter(|(id, m)| self.counts(cx, id, m.record.participates));
        let members: Vec<PeerId> = counts.map(|(id, _)| *id).collect();
        let own = ack_token(&cx.id());
        let sum = members.iter().fold(own, |sum, id| sum.wrapping_add(ack_token(id)));
        let known = u32::try_from(members.len() + 1).unwrap_or(u32::MAX);
        let seed_count = self.counted_by_seeds(cx);
        let is_complete_list =
            self.knows_members(cx) && !cx.membership.is_large() && seed_count <= known;
        CountedMembers { members, sum, live: known.max(seed_count), is_complete_list }
    }

    /// How many peers count for receipts as far as the seeds report, this one included.
    fn counted_by_seeds(&self, cx: &View<'_>) -> u32 {
        if cx.membership.own.participates_since.is_none() {
            return cx.membership.registrations.network_size();
        }
        let participating = cx.membership.registrations.participating();
        // In a large network the count decides, and it has to contain this peer.
        let is_counted = !cx.membership.is_large()
            || cx.membership.own.participation_is_known(&cx.membership.registrations);
        participating.saturating_add(u32::from(!is_counted))
    }

    /// Handles the names of holders of this peer's messages.
    pub(crate) fn on_holders(&mut self, cx: &mut Context<'_>, min_holders: &[Holder]) {
        if self.receipts.pending.is_empty() {
            return;
        }
        let published = self.outbox.published();
        for h in min_holders {
            match cx.membership.members.with_token(h.token) {
                // A peer cannot hold more than was published.
                Some(id) => self.receipts.note(id, h.held.min(published)),
                None if h.token == ack_token(&cx.id()) => {}
                None => cx.fx.counters.ack_names_refused += 1,
            }
        }
    }

    /// Reports receipts that have changed.
    pub(crate) fn review_receipts(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.receipts.pending.is_empty() {
            self.receipts.progress.clear();
            self.receipts.counted.clear();
            self.receipts.suspected.clear();
            self.receipts.review_at = Time::MAX;
            (self.receipts.census.at, self.receipts.census.wait) = (Time::MAX, INITIAL_CENSUS_WAIT);
            return;
        }
        self.receipts.review_at = now + RECEIPT_REVIEW_INTERVAL;
        let own = self.own_stream();
        let (acks, view) = self.acks_with_view(cx);
        let Some(aggregate) = acks.aggregate(own, now, &view) else { return };
        let parts = acks.child_aggregates(own, &view);
        let parts: Vec<Aggregate> = parts.into_iter().map(|(_, part)| part).collect();
        // Update the progress and the members that count.
        self.note_progress(cx, aggregate);
        let members = &cx.membership.members;
        self.receipts.progress.retain(|id, _| members.get(id).is_some());
        self.note_suspects(cx);
        let counted = self.counted(cx);
        let is_gone = |id: &&PeerId| counted.members.binary_search(id).is_err();
        let gone = self.receipts.counted.iter().filter(is_gone).count();
        self.receipts.lose_holders(gone);
        self.receipts.counted.clone_from(&counted.members);
        // Sort by progress: the members that lack a message are a prefix.
        let known = |id: &PeerId| self.receipts.progress.get(id).copied().unwrap_or(0);
        let mut by_progress: Vec<(u64, PeerId)> =
            counted.members.iter().map(|id| (known(id), *id)).collect();
        by_progress.sort_unstable();
        // While a peer moves in the tree, its old and its new parent both report it.
        let is_consistent = cx.membership.is_large()
            || !matches!(
                self.composition(cx, &counted, aggregate.peers, aggregate.sum),
                Composition::Unknown
            );
        // Evaluate each pending receipt.
        let (mut missing, mut departed) = (BTreeMap::new(), BTreeMap::new());
        let mut news = Vec::new();
        for (&sequence, pending) in self.receipts.pending.iter() {
            let last_reported = pending.last_reported.as_ref();
            let lacking = by_progress.partition_point(|(held, _)| *held <= sequence);
            let complete = self.is_complete(cx, sequence, lacking, &counted, &aggregate);
            // Receipts requested at the same time share their members.
            let place = pending.counted_at_start.as_ptr();
            let departed = departed
                .entry(place)
                .or_insert_with(|| self.departed(cx, &pending.counted_at_start))
                .clone();
            let by_name = counted.member_count() - u32::try_from(lacking).unwrap_or(0);
            let held = if complete {
                counted.live
            } else {
                let whole = parts.iter().filter(|p| p.held > sequence).map(|p| p.peers);
                let by_sum = if is_consistent { whole.fold(1, u32::saturating_add) } else { 1 };
                by_name.max(by_sum).max(pending.min_holders).min(counted.live - 1).max(1)
            };
            let is_exact = complete || (counted.is_complete_list && by_name == held);
            let missing = is_exact.then(|| {
                let names = || by_progress.iter().take(lacking).map(|(_, id)| self.missing(cx, id));
                Arc::clone(missing.entry(lacking).or_insert_with(|| names().collect()))
            });
            let id = MessageId { publisher: own.publisher, epoch: own.epoch, sequence };
            let receipt = Receipt { id, held, live: counted.live, complete, missing, departed };
            if last_reported != Some(&receipt) {
                news.push((sequence, receipt));
            }
        }
        // Report the changed ones.
        for (sequence, receipt) in news {
            if receipt.complete {
                self.receipts.pending.remove(&sequence);
                cx.fx.counters.receipts_complete += 1;
            } else if let Some(pending) = self.receipts.pending.get_mut(&sequence) {
                (pending.last_reported, pending.min_holders) =
                    (Some(receipt.clone()), receipt.held);
            }
            cx.fx.output(Output::Receipt(receipt));
        }
    }

    /// Whether all that count hold a message, with `lacking` of the known members not known to hold
    /// it.
    fn is_complete(
        &self,
        cx: &View<'_>,
        sequence: u64,
        lacking: usize,
        counted: &CountedMembers,
        aggregate: &Aggregate,
    ) -> bool {
        if aggregate.held <= sequence || !self.knows_members(cx) {
            return false;
        }
        if cx.membership.is_large() {
            // Not all members are known by name; then the number that the seeds report decides.
            return aggregate.peers == counted.live;
        }
        counted.is_complete_list && lacking == 0
    }

    /// Takes the aggregates apart: the progress of members, as far as numbers and sums of subtrees
    /// tell.
    fn note_progress(&mut self, cx: &mut Context<'_>, whole: Aggregate) {
        if cx.membership.is_large() {
            return;
        }
        let own = self.own_stream();
        let counted = self.counted(cx);
        let (acks, view) = self.acks_with_view(cx);
        let mut parts = acks.child_aggregates(own, &view);
        parts.sort_unstable_by_key(|(_, part)| core::cmp::Reverse(part.held));
        // The publisher with its fastest subtrees, then one more subtree each, then the whole tree.
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
        // Descending by the progress of a group.
        for (held, peers, sum) in groups {
            let (except, plus) = match self.composition(cx, &counted, peers, sum) {
                Composition::All(plus) => (None, plus),
                Composition::AllBut(one) => (Some(one), None),
                Composition::Unknown => continue,
            };
            let holders = counted.members.iter().filter(|id| Some(**id) != except);
            for id in holders.copied().chain(plus) {
                self.receipts.note(id, held);
            }
            if except.is_none() {
                break;
            }
        }
    }

    fn composition(
        &self,
        cx: &View<'_>,
        counted: &CountedMembers,
        peers: u32,
        sum: u64,
    ) -> Composition {
        let all = counted.member_count();
        if peers == all && sum == counted.sum {
            return Composition::All(None);
        }
        let member_with_token = |token| cx.membership.members.with_token(token);
        if peers.checked_add(1) == Some(all) {
            let missing = member_with_token(counted.sum.wrapping_sub(sum));
            return match missing.filter(|id| counted.members.binary_search(id).is_ok()) {
                Some(one) => Composition::AllBut(one),
                None => Composition::Unknown,
            };
        }
        // A member has just got its first neighbour, and the seeds have not reported it yet.
        let more = (all.checked_add(1) == Some(peers))
            .then(|| member_with_token(sum.wrapping_sub(counted.sum)))
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
        let (now, wall) = (cx.now, cx.wall_clock.0);
        let ago = since.map(|at| u64::try_from(now.since(*at).as_micros()).unwrap_or(u64::MAX));
        MissingMember {
            id: *id,
            name: name.unwrap_or_else(|| crate::name::unknown_name(id)),
            state: since.map_or(MemberState::Alive, |_| MemberState::Suspect),
            suspected_since: ago.map(|ago| wall.saturating_sub(ago)),
        }
    }

    /// The members that do not count any more, and the reason.
    fn departed(&self, cx: &View<'_>, counted: &[PeerId]) -> Vec<DepartedMember> {
        let gone = counted.iter().filter(|id| {
            // In a large network a member may only be evicted from the table.
            cx.membership.members.get(id).is_none()
                && (!cx.membership.is_large() || cx.membership.members.record(id).is_some())
        });
        gone.map(|id| self.departure(cx, id)).collect()
    }

    fn departure(&self, cx: &View<'_>, id: &PeerId) -> DepartedMember {
        let certificate = cx.membership.members.dead().map(|(c, _)| c).find(|c| c.subject() == *id);
        DepartedMember {
            id: *id,
            name: cx.membership.members.record(id).map(|r| r.name.clone()),
            state: certificate.map_or(MemberState::Left, |_| MemberState::Dead),
            witnesses: certificate.map(crate::failure::Certificate::witnesses).unwrap_or_default(),
            seeds: certificate.map(crate::failure::Certificate::seeds).unwrap_or_default(),
        }
    }

    /// Sends a census to the whole tree, if receipts do not complete by themselves.
    pub(crate) fn run_census(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let census = &mut self.receipts.census;
        if now < census.at || self.receipts.pending.is_empty() {
            return;
        }
        census.wait = (census.wait * 2).min(MAX_CENSUS_WAIT);
        census.at = now + census.wait;
        self.start_census(cx, self.outbox.receipt_requested);
    }

    /// Sends a census over all links.
    pub(crate) fn start_exploring_census(&mut self, cx: &mut Context<'_>) {
        let round = &mut self.receipts.census.round;
        *round = super::acknowledge::next_exploring_round(*round) - 1;
        self.start_census(cx, self.outbox.published());
    }

    /// Asks all peers on the tree for the size and progress of their subtrees, up to a sequence
    /// number.
    pub(crate) fn start_census(&mut self, cx: &mut Context<'_>, until: u64) {
        let now = cx.now;
        self.receipts.census.round += 1;
        let round = self.receipts.census.round;
        let stream = self.own_stream();
        let StreamId { publisher, epoch } = stream;
        let is_old = |r: &PendingReceipt| now.since(r.since) >= NAMES_AFTER;
        let wants_names = !cx.membership.is_large() && self.receipts.pending.values().any(is_old);
        let body = CensusBody { publisher, epoch, round, until, wants_names };
        let census = Census { body: Signed::sign(body, cx.identity) };
        let received = ReceivedBatch { stream, bytes: 0, receipt_until: None, wants_names };
        let (acks, view) = self.acks_with_view(cx);
        acks.on_census(&received, round, now, &view);
        cx.fx.counters.censuses += 1;
        self.send_census(cx, &census, None);
    }
}
