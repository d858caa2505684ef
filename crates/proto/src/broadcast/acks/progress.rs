//! The acknowledgement state of one stream: how far the subtree of this peer is, and when that is
//! sent.

use core::time::Duration;
use std::collections::VecDeque;

use super::AckContext;
use super::aggregate::{Aggregate, NOTHING_REPORTED, PacingMinimum};
use crate::identity::PeerId;
use crate::small::VecMap;
use crate::time::Time;
use crate::wire::ack_token;

/// A peer that has lagged for this long does not pace the publisher any more.
pub(super) const PACING_LAG_LIMIT: Duration = Duration::from_secs(1);
/// [`PACING_LAG_LIMIT`] where many peers lag.
pub(super) const LONG_PACING_LAG_LIMIT: Duration = Duration::from_secs(10);
/// A child that has reported nothing counts as more than one peer: it may have a subtree.
const SILENT_CHILD_PEERS: u32 = 2;
/// How often this peer's own progress is recorded for [`LONG_PACING_LAG_LIMIT`].
const LONG_MARK_INTERVAL: Duration = Duration::from_secs(2);
/// How often this peer's own progress is recorded, to find out which peers have lagged for long.
pub(super) const MARK_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes received after which an acknowledgement is due soon.
const ACK_SOON_BYTES: u64 = 32 * 1024;
/// Bytes received after which an acknowledgement is due at once.
const ACK_NOW_BYTES: u64 = 128 * 1024;
/// How long acknowledgements are gathered when one is due soon.
pub(super) const ACK_GATHER_DELAY: Duration = Duration::from_millis(5);
/// How long the acknowledgement of a leaf may wait if few bytes came. A peer with children sends
/// its own when all children have sent theirs, so one acknowledgement goes over each link, from the
/// leaves up.
pub(super) const ACK_LEAF_DELAY: Duration = Duration::from_secs(1);
/// How long a peer waits for its children: the delay of a leaf, and some for the network.
pub(super) const ACK_RELAY_DELAY: Duration = Duration::from_millis(1500);

/// The last report of a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChildReport {
    pub(super) aggregate: Aggregate,
    /// This peer has not passed it on yet.
    pub(super) is_unsent: bool,
}

/// The acknowledgement state of one stream at this peer.
#[derive(Debug)]
pub(super) struct Progress {
    /// The publisher of the stream.
    pub(super) publisher: PeerId,
    pub(super) child_reports: VecMap<PeerId, ChildReport>,
    /// This peer's own progress at some times of the last [`PACING_LAG_LIMIT`], oldest first.
    pub(super) recent_marks: VecDeque<(Time, u64)>,
    /// The same over [`LONG_PACING_LAG_LIMIT`], at longer intervals.
    pub(super) long_marks: VecDeque<(Time, u64)>,
    /// The neighbour that was sent the last acknowledgement, and its content.
    pub(super) last_sent: Option<(PeerId, Aggregate)>,
    pub(super) unacknowledged_bytes: u64,
    pub(super) due: Option<Time>,
    /// When the unacknowledged bytes last required an acknowledgement soon.
    pub(super) hurried_at: Option<Time>,
    /// The publisher waits for a receipt up to this sequence number.
    pub(super) receipt_until: u64,
    /// A queue at this peer or downstream is congested: passed on once.
    pub(super) congested: bool,
    /// The round of the publisher's last census, and when it arrived.
    pub(super) census: u64,
    pub(super) census_at: Time,
    pub(super) last_used: u64,
}

impl Progress {
    pub(super) const fn new(publisher: PeerId) -> Self {
        Progress {
            publisher,
            child_reports: VecMap::new(),
            recent_marks: VecDeque::new(),
            long_marks: VecDeque::new(),
            last_sent: None,
            unacknowledged_bytes: 0,
            due: None,
            hurried_at: None,
            receipt_until: 0,
            congested: false,
            census: 0,
            census_at: Time::ZERO,
            last_used: 0,
        }
    }

    /// The last report of each child, `None` for a child that has reported nothing.
    fn child_reports(
        &self,
        context: &impl AckContext,
    ) -> impl Iterator<Item = Option<ChildReport>> {
        let children = context.children(&self.publisher).into_iter();
        children.map(|c| self.child_reports.get(&c).copied())
    }

    /// When the acknowledgement is due.
    pub(super) fn ack_due_at(&mut self, now: Time, context: &impl AckContext) -> Time {
        let is_receipt_open = self.receipt_until > 0
            && self.last_sent.is_none_or(|(_, s)| s.held < self.receipt_until);
        if self.unacknowledged_bytes >= ACK_SOON_BYTES {
            self.hurried_at = Some(now);
        }
        let delay = if is_receipt_open || self.unacknowledged_bytes >= ACK_NOW_BYTES {
            Duration::ZERO
        } else if self.unacknowledged_bytes >= ACK_SOON_BYTES {
            ACK_GATHER_DELAY
        } else {
            self.unhurried_delay(context)
        };
        now + delay
    }

    /// How long an acknowledgement waits if few bytes came.
    fn unhurried_delay(&self, context: &impl AckContext) -> Duration {
        let (mut all, mut unsent) = (0, 0);
        for report in self.child_reports(context) {
            all += 1;
            unsent += usize::from(report.is_some_and(|r| r.is_unsent));
        }
        if all == 0 {
            ACK_LEAF_DELAY
        } else if unsent == all {
            ACK_GATHER_DELAY
        } else {
            ACK_RELAY_DELAY
        }
    }

    /// Records this peer's own progress.
    pub(super) fn record_mark(&mut self, now: Time, high_water: u64) {
        let mark = (now, high_water);
        push_mark(&mut self.recent_marks, mark, MARK_INTERVAL, PACING_LAG_LIMIT);
        push_mark(&mut self.long_marks, mark, LONG_MARK_INTERVAL, LONG_PACING_LAG_LIMIT);
    }

    /// The aggregate of this peer, which has everything below `own`, and its subtree.
    pub(super) fn aggregate(&self, own: u64, now: Time, context: &impl AckContext) -> Aggregate {
        // A peer below the mark that this peer has passed so long ago has lagged since.
        let mark_before = |marks: &VecDeque<(Time, u64)>, ago| {
            let old = marks.iter().rev().find(|(at, _)| now.since(*at) >= ago);
            old.map_or(0, |(_, high_water)| *high_water)
        };
        let mut paced = PacingMinimum::new(mark_before(&self.recent_marks, PACING_LAG_LIMIT));
        let mut long_paced =
            PacingMinimum::new(mark_before(&self.long_marks, LONG_PACING_LAG_LIMIT));
        let (mut lagging_peers, mut held, mut peers, mut sum) =
            (0u32, own, 1u32, ack_token(&context.me()));
        let mut children = 0;
        for report in self.child_reports(context) {
            let heard = report.map(|report| report.aggregate);
            let b = heard.unwrap_or(NOTHING_REPORTED);
            held = held.min(b.held);
            peers = peers.saturating_add(b.peers);
            children += 1;
            sum = sum.wrapping_add(b.sum);
            let counts = paced.include(b.paced, heard.is_some());
            let all = if heard.is_some() { b.peers } else { SILENT_CHILD_PEERS };
            lagging_peers =
                lagging_peers.saturating_add(if counts { b.lagging_peers } else { all });
            long_paced.include(b.long_paced, heard.is_some());
        }
        // At a publisher none of whose children has reported, the tree is changing, and the
        // progress of the peers is unknown. Without children, no other node can have what is
        // published, however long that lasts.
        let is_cut_off =
            self.publisher == context.me() && paced.fastest.is_none() && !context.is_alone();
        let own = match is_cut_off {
            true if children == 0 => 0,
            true => long_paced.mark,
            false => own,
        };
        let (paced, long_paced) = (paced.least(own), long_paced.least(own));
        Aggregate { paced, lagging_peers, long_paced, held, peers, sum }
    }
}

/// Records progress in intervals of `every`, as far back as `over`.
fn push_mark(
    recent_marks: &mut VecDeque<(Time, u64)>,
    (now, high_water): (Time, u64),
    every: Duration,
    over: Duration,
) {
    if recent_marks.back().is_none_or(|(at, _)| now.since(*at) >= every) {
        recent_marks.push_back((now, high_water));
    }
    while recent_marks.get(1).is_some_and(|(at, _)| now.since(*at) >= over) {
        recent_marks.pop_front();
    }
}
