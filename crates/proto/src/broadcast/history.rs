//! Catching up: the history that the first neighbours of a restarted or new peer retain is
//! delivered.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Broadcast;
use super::MessageList;
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::limits::MAX_STREAMS;
use crate::message::StreamId;
use crate::overlay::Neighbour;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::SummaryEntry;

/// Number of neighbours whose message lists a peer waits for, if it gets so many.
const EXPECTED_NEIGHBOURS: usize = 3;
/// How long it waits for further neighbours, and for the message list of one.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The messages that a peer waits for before it reports that it has caught up.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    is_done: bool,
    /// Streams in the first message lists of neighbours that are not delivered: the number after
    /// the last, by stream. At most [`MAX_STREAMS`] streams.
    undelivered: BTreeMap<StreamId, u64>,
}

impl CatchUp {
    /// Records the first message list of a neighbour.
    fn on_message_list(&mut self, list: &MessageList, entries: &[SummaryEntry]) {
        for e in entries {
            let stream = e.stream();
            let is_done = has_delivered(list, stream, e.next);
            if !is_done && self.undelivered.len() < MAX_STREAMS {
                let next = self.undelivered.entry(stream).or_default();
                *next = e.next.max(*next);
            }
        }
    }

    /// Removes streams of a publisher that are delivered, or reported as gaps, by now.
    pub(crate) fn on_delivered(&mut self, list: &MessageList, publisher: PeerId) {
        let first = StreamId { publisher, epoch: 0 };
        let all = first..=StreamId { epoch: u64::MAX, ..first };
        let is_done = |stream: &StreamId, next: &mut u64| has_delivered(list, *stream, *next);
        self.undelivered.extract_if(all, is_done).for_each(drop);
    }
}

/// Whether everything of a stream below a number was delivered or reported as a gap.
fn has_delivered(list: &MessageList, stream: StreamId, next: u64) -> bool {
    let follows = list.get(stream).is_some_and(|seen| seen.delivered() >= next);
    next == 0 || follows || list.is_closed(stream)
}

impl Broadcast {
    /// Handles the message list of a neighbour; `entries` is absent if it is the same as the own
    /// one.
    pub(crate) fn on_neighbour_history(
        &mut self,
        neighbour: PeerId,
        entries: Option<&[SummaryEntry]>,
    ) {
        if self.catch_up.is_done {
            return;
        }
        let Some(n) = self.neighbours.get_mut(&neighbour) else { return };
        if !core::mem::replace(&mut n.sent_message_list, true) {
            self.catch_up.on_message_list(&self.store.list, entries.unwrap_or_default());
        }
    }

    /// Reports once that this peer has caught up. It waits for the message lists of its first
    /// neighbours ([`EXPECTED_NEIGHBOURS`], or its target degree), and until everything in them is
    /// delivered or reported as a gap. Messages that one neighbour lists and no neighbour sends are
    /// waited for no longer than a gap is.
    pub(crate) fn review_catch_up(&mut self, cx: &mut Context<'_>) {
        if !self.catch_up.is_done && self.is_caught_up(cx) {
            self.catch_up = CatchUp { is_done: true, ..CatchUp::default() };
            cx.fx.event(Event::CaughtUp);
        }
    }

    /// Whether the state of other concerns may end the catch-up, or the comparison of this peer's
    /// stream.
    pub(crate) fn is_starting(&self, cx: &View<'_>) -> bool {
        !self.catch_up.is_done || self.may_compare_own_stream(cx)
    }

    fn is_caught_up(&self, cx: &View<'_>) -> bool {
        let now = cx.now;
        let knows_members = cx.membership.own.state == PeerState::Joined
            || cx.membership.registrations.quorum() == 0;
        let others = cx.membership.members.alive_count();
        let neighbours = &cx.overlay.neighbours;
        if neighbours.is_empty() && knows_members && others == 0 {
            return true;
        }
        let Some(since) = cx.membership.own.participates_since else { return false };
        if now >= self.catch_up_ends_by(cx, since) {
            return true;
        }
        let expected = EXPECTED_NEIGHBOURS.min(others).min(usize::from(cx.overlay.target));
        let enough = knows_members && neighbours.len() >= expected || now >= since + SETTLE_TIME;
        let has_sent_list = |(id, n): (&PeerId, &Neighbour)| {
            self.sent_message_list(id) || now >= n.since + SETTLE_TIME
        };
        enough
            && !neighbours.is_empty()
            && neighbours.iter().all(has_sent_list)
            && self.catch_up.undelivered.is_empty()
    }

    fn sent_message_list(&self, neighbour: &PeerId) -> bool {
        self.neighbours.get(neighbour).is_some_and(|n| n.sent_message_list)
    }

    /// When this peer counts as caught up in any case: by then missing ranges are reported as gaps.
    fn catch_up_ends_by(&self, cx: &View<'_>, since: Time) -> Time {
        since + cx.config.retention_age() / 2 + SETTLE_TIME
    }

    /// When to check again whether this peer has caught up.
    pub(crate) fn catch_up_deadline(&self, cx: &View<'_>) -> Option<Time> {
        if self.catch_up.is_done {
            return None;
        }
        let since = cx.membership.own.participates_since?;
        let now = cx.now;
        let silent = cx.overlay.neighbours.iter().filter(|(id, _)| !self.sent_message_list(id));
        let times = silent.map(|(_, n)| n.since + SETTLE_TIME);
        let times = times.chain([since + SETTLE_TIME, self.catch_up_ends_by(cx, since)]);
        times.filter(|at| *at > now).min()
    }
}
