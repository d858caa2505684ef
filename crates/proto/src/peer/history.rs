//! Where history ends for a peer that has just started: what its first neighbours keep is delivered.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Peer;
use crate::broadcast::MessageList;
use crate::event::Event;
use crate::identity::PeerId;
use crate::limits::MAX_PUBLISHERS;
use crate::message::StreamId;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::SummaryEntry;

/// Neighbours whose messages a peer waits for, if it gets so many.
const FEW: usize = 3;
/// How long it waits for further neighbours, and for the message list of one.
const SETTLE: Duration = Duration::from_secs(2);

/// What a peer waits for before it says that it has caught up.
#[derive(Debug, Default)]
pub(super) struct History {
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
    pub(super) fn delivered(&mut self, list: &MessageList, publisher: PeerId) {
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

impl Peer {
    /// A neighbour has told what it has seen; `entries` is absent where that is the same as here.
    pub(super) fn hear_of_history(&mut self, neighbour: PeerId, entries: Option<&[SummaryEntry]>) {
        if self.history.is_over {
            return;
        }
        let Some(n) = self.overlay.neighbours.get_mut(&neighbour) else { return };
        if !core::mem::replace(&mut n.has_told, true) {
            self.history.listed(&self.broadcast.list, entries.unwrap_or_default());
        }
    }

    /// Says, once, that history is over. A peer waits for the message lists of its first neighbours (three,
    /// or as many as it is to have), and until all that they name is delivered or told as a gap. What
    /// one neighbour names and no neighbour gives is not waited for longer than for a gap.
    pub(super) fn review_history(&mut self) {
        if !self.history.is_over && self.is_history_over() {
            self.history = History { is_over: true, ..History::default() };
            self.fx.event(Event::CaughtUp);
        }
    }

    fn is_history_over(&self) -> bool {
        let now = self.fx.now();
        let knows_members = self.own.state == PeerState::Joined || self.registrations.quorum() == 0;
        let others = self.members.alive_count();
        let neighbours = &self.overlay.neighbours;
        if neighbours.is_empty() && knows_members && others == 0 {
            return true;
        }
        let Some(since) = self.neighbours_since else { return false };
        if now >= self.history_ends_by(since) {
            return true;
        }
        let few = FEW.min(others).min(usize::from(self.overlay.target));
        let enough = knows_members && neighbours.len() >= few || now >= since + SETTLE;
        let told = |n: &crate::overlay::Neighbour| n.has_told || now >= n.since + SETTLE;
        enough
            && !neighbours.is_empty()
            && neighbours.values().all(told)
            && self.history.awaited.is_empty()
    }

    /// When history is over in any case: by then what is missing is told as a gap.
    fn history_ends_by(&self, since: Time) -> Time {
        since + self.config.retention_age() / 2 + SETTLE
    }

    /// When to look again whether history is over.
    pub(super) fn history_deadline(&self) -> Option<Time> {
        if self.history.is_over {
            return None;
        }
        let since = self.neighbours_since?;
        let now = self.fx.now();
        let silent = self.overlay.neighbours.values().filter(|n| !n.has_told);
        let times = silent.map(|n| n.since + SETTLE);
        let times = times.chain([since + SETTLE, self.history_ends_by(since)]);
        times.filter(|at| *at > now).min()
    }
}
