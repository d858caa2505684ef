//! Where history ends for a peer that has just started: what its first neighbours keep is delivered.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Broadcast;
use super::MessageList;
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::limits::MAX_PUBLISHERS;
use crate::message::StreamId;
use crate::overlay::Neighbour;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::SummaryEntry;

/// Neighbours whose messages a peer waits for, if it gets so many.
const FEW: usize = 3;
/// How long it waits for further neighbours, and for the message list of one.
const SETTLE: Duration = Duration::from_secs(2);

/// What a peer waits for before it says that it has caught up.
#[derive(Debug, Default)]
pub(crate) struct History {
    is_over: bool,
    /// What the first message lists of neighbours named and was not delivered: the number after the last.
    /// At most [`MAX_PUBLISHERS`] streams.
    awaited: BTreeMap<StreamId, u64>,
}

impl History {
    /// A neighbour's first message list.
    fn listed(&mut self, list: &MessageList, entries: &[SummaryEntry]) {
        for e in entries {
            let stream = e.stream();
            let is_done = has_delivered(list, stream, e.next);
            if !is_done && self.awaited.len() < MAX_PUBLISHERS {
                let next = self.awaited.entry(stream).or_default();
                *next = e.next.max(*next);
            }
        }
    }

    /// Something of a publisher was delivered, or told as a gap.
    pub(crate) fn delivered(&mut self, list: &MessageList, publisher: PeerId) {
        if self.awaited.is_empty() {
            return;
        }
        let first = StreamId { publisher, epoch: 0 };
        let all = first..=StreamId { epoch: u64::MAX, ..first };
        let is_done = |(stream, next): (&StreamId, &u64)| {
            has_delivered(list, *stream, *next).then_some(*stream)
        };
        let done: Vec<StreamId> = self.awaited.range(all).filter_map(is_done).collect();
        for stream in done {
            self.awaited.remove(&stream);
        }
    }
}

/// Whether everything of a stream below a number was delivered or told as a gap.
fn has_delivered(list: &MessageList, stream: StreamId, next: u64) -> bool {
    let follows = list.get(stream).is_some_and(|seen| seen.delivered() >= next);
    next == 0 || follows || list.is_over(stream)
}

impl Broadcast {
    /// A neighbour has told what it has seen; `entries` is absent where that is the same as here.
    pub(crate) fn hear_of_history(&mut self, neighbour: PeerId, entries: Option<&[SummaryEntry]>) {
        if self.history.is_over {
            return;
        }
        let Some(n) = self.neighbours.get_mut(&neighbour) else { return };
        if !core::mem::replace(&mut n.has_told, true) {
            self.history.listed(&self.store.list, entries.unwrap_or_default());
        }
    }

    /// Says, once, that history is over. A peer waits for the message lists of its first neighbours (three,
    /// or as many as it is to have), and until all that they name is delivered or told as a gap. What
    /// one neighbour names and no neighbour gives is not waited for longer than for a gap.
    pub(crate) fn review_history(&mut self, cx: &mut Context<'_>) {
        if !self.history.is_over && self.is_history_over(cx) {
            self.history = History { is_over: true, ..History::default() };
            cx.fx.event(Event::CaughtUp);
        }
    }

    fn is_history_over(&self, cx: &View<'_>) -> bool {
        let now = cx.now;
        let knows_members = cx.membership.own.state == PeerState::Joined
            || cx.membership.registrations.quorum() == 0;
        let others = cx.membership.members.alive_count();
        let neighbours = &cx.overlay.neighbours;
        if neighbours.is_empty() && knows_members && others == 0 {
            return true;
        }
        let Some(since) = cx.membership.own.participates_since else { return false };
        if now >= self.history_ends_by(cx, since) {
            return true;
        }
        let few = FEW.min(others).min(usize::from(cx.overlay.target));
        let enough = knows_members && neighbours.len() >= few || now >= since + SETTLE;
        let told = |(id, n): (&PeerId, &Neighbour)| self.has_told(id) || now >= n.since + SETTLE;
        enough
            && !neighbours.is_empty()
            && neighbours.iter().all(told)
            && self.history.awaited.is_empty()
    }

    fn has_told(&self, neighbour: &PeerId) -> bool {
        self.neighbours.get(neighbour).is_some_and(|n| n.has_told)
    }

    /// When history is over in any case: by then what is missing is told as a gap.
    fn history_ends_by(&self, cx: &View<'_>, since: Time) -> Time {
        since + cx.config.retention_age() / 2 + SETTLE
    }

    /// When to look again whether history is over.
    pub(crate) fn history_deadline(&self, cx: &View<'_>) -> Option<Time> {
        if self.history.is_over {
            return None;
        }
        let since = cx.membership.own.participates_since?;
        let now = cx.now;
        let silent = cx.overlay.neighbours.iter().filter(|(id, _)| !self.has_told(id));
        let times = silent.map(|(_, n)| n.since + SETTLE);
        let times = times.chain([since + SETTLE, self.history_ends_by(cx, since)]);
        times.filter(|at| *at > now).min()
    }
}
