//! Queries about what neighbours hold, and the answers.

use core::time::Duration;
use std::collections::BTreeSet;

use super::Broadcast;
use super::confirmations::stream_of_mark;
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output};
use crate::limits::REMEMBERED_EPOCHS;
use crate::message::StreamId;
use crate::wire::{Confirm, ConfirmReply, Range, StreamMark};

/// How long it takes at most until a new neighbour has pulled what it lacks.
const COMPARISON_TIME: Duration = Duration::from_secs(60);

impl Broadcast {
    /// See [`Peer::flush`](crate::Peer::flush).
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> u64 {
        let now = cx.now;
        self.send_all_batches(cx);
        let published = self.outbox.published();
        if published > self.confirmations.confirmed_end() {
            self.confirmations.flush_until = published;
            self.confirmations.query_by(now);
            self.run_confirmations(cx);
        }
        published
    }

    /// The end of the part of the present stream that another node is known to hold.
    pub(crate) fn confirmed_end(&self) -> u64 {
        self.confirmations.confirmed_end()
    }

    /// The number of messages of the present stream that no other node is known to hold.
    pub(crate) fn unconfirmed_messages(&self) -> u64 {
        self.outbox.published().saturating_sub(self.confirmations.confirmed_end())
    }

    /// The ranges that a neighbour has to confirm now.
    pub(crate) fn ranges_to_confirm(&self, cx: &View<'_>) -> Vec<Range> {
        let (own, published) = (self.own_stream(), self.outbox.published());
        let list = &self.store.list;
        let held_since = |stream, end| list.get(stream).map_or(0, |seen| seen.held_since(end));
        self.confirmations.ranges_to_confirm(
            own,
            published,
            cx.membership.own.is_draining(),
            held_since,
            cx.now,
        )
    }

    /// Asks the neighbours what they hold, if a query is due.
    pub(crate) fn run_confirmations(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.confirmations.due.is_none_or(|at| at > now) {
            return;
        }
        self.confirmations.due = None;
        let ranges_to_confirm = self.ranges_to_confirm(cx);
        if ranges_to_confirm.is_empty() {
            return;
        }
        for (id, n) in cx.overlay.neighbours.iter() {
            if self.confirmations.try_query(*id, &ranges_to_confirm, now) {
                cx.fx.counters.confirmations_asked += 1;
                // In the queue behind the payload: the answer covers all that was sent before.
                cx.fx.send_as(
                    n.link,
                    Confirm { streams: ranges_to_confirm.clone() },
                    Class::Payload,
                );
            }
        }
    }

    /// Whether other nodes hold all that this peer has published and vouches for.
    pub(crate) fn is_drained(&self, cx: &View<'_>) -> bool {
        let ranges_to_confirm = self.ranges_to_confirm(cx);
        if ranges_to_confirm.is_empty()
            || self.confirmations.is_covered(&ranges_to_confirm, |_| false)
        {
            return true;
        }
        // Of several peers that leave together, none may rely on one that relies on it.
        let me = cx.id();
        let mut neighbours = cx.overlay.neighbours.keys();
        neighbours.all(|id| self.confirmations.is_leaving(id))
            && self.confirmations.is_covered(&ranges_to_confirm, |id| *id > me)
    }

    /// Reports the messages that no other node may hold, because this peer ends without a
    /// confirmation.
    pub(crate) fn report_unconfirmed(&self, cx: &mut Context<'_>) {
        let (own, ranges_to_confirm) = (self.own_stream(), self.ranges_to_confirm(cx));
        let to = self.outbox.published();
        let from = self.confirmations.confirmed_end().min(to);
        // A publisher that is alive holds its messages itself.
        let is_gone = |s: &StreamId| cx.membership.members.get(&s.publisher).is_none();
        let (of_own, of_others): (Vec<StreamId>, Vec<StreamId>) = self
            .confirmations
            .lost_if_leaving(&ranges_to_confirm)
            .partition(|s| s.publisher == own.publisher);
        let gone: BTreeSet<PeerId> =
            of_others.iter().filter(|s| is_gone(s)).map(|s| s.publisher).collect();
        let (others, earlier) = (crate::peer::count(gone.len()), crate::peer::count(of_own.len()));
        if from < to || others > 0 || earlier > 0 {
            cx.fx.counters.messages_unconfirmed += to - from;
            let epoch = own.epoch;
            cx.fx.event(Event::LeftUnconfirmed { epoch, from, to, others, earlier });
        } else {
            cx.fx.counters.handovers_incomplete += 1;
        }
    }

    /// Prepares to leave: sends queued messages, and asks the neighbours to confirm them.
    pub(crate) fn start_draining(&mut self, cx: &mut Context<'_>) {
        self.send_all_batches(cx);
        self.confirmations.query_by(cx.now);
    }

    /// Asks a new neighbour, if a confirmation is needed.
    pub(crate) fn query_new_neighbour(&mut self, cx: &mut Context<'_>) {
        if cx.membership.own.is_draining()
            || self.confirmations.flush_until > self.confirmations.confirmed_end()
        {
            self.confirmations.query_by(cx.now);
            self.run_confirmations(cx);
        }
    }

    /// Answers a neighbour that asks what this peer holds. The query also announces what this peer
    /// lacks.
    pub(crate) fn on_confirm(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Confirm,
    ) {
        let (now, leaving) = (cx.now, cx.membership.own.is_departing());
        let mut streams = Vec::new();
        for r in &f.streams {
            let &Range { publisher, epoch, from, to } = r;
            let seen = self.store.list.get(r.stream());
            let next = seen.map_or(from, |seen| seen.held_until(from)).min(to);
            if next > from {
                streams.push(StreamMark { publisher, epoch, next });
                self.confirmations.vouch(r.stream(), next, leaving, now);
            }
            if next < to {
                let range = Range { from: next, ..*r };
                self.missing.on_announced(&self.store.list, remote, &range, now);
            }
        }
        cx.fx.send(link, ConfirmReply { streams, leaving });
        self.run_pulls(cx);
    }

    /// Handles a neighbour's confirmation. Returns `false` if the neighbour was not asked.
    pub(crate) fn on_confirmed(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
        f: ConfirmReply,
    ) -> bool {
        let own = self.own_stream();
        let published = self.outbox.published();
        let end =
            f.streams.iter().find(|m| stream_of_mark(m) == own).map(|m| m.next.min(published));
        if !self.confirmations.on_confirmed(remote, &f.streams, f.leaving, end, cx.now) {
            cx.fx.counters.confirmations_unasked += 1;
            return false;
        }
        cx.fx.counters.confirmations += 1;
        self.review_confirmed(cx);
        true
    }

    /// Tells the application how far the stream of this peer is confirmed, if it waits for that.
    pub(crate) fn review_confirmed(&mut self, cx: &mut Context<'_>) {
        let confirmed = self.confirmations.confirmed_end();
        if self.confirmations.flush_until > 0 {
            cx.fx.output(Output::Confirmed { to: confirmed });
            if confirmed >= self.confirmations.flush_until {
                self.confirmations.flush_until = 0;
            }
        }
    }

    /// The end of the part of this peer's stream that another node has held, or that no node needs
    /// from here any more: a neighbour of [`COMPARISON_TIME`] has pulled what it lacks.
    pub(crate) fn ever_confirmed(&self, cx: &View<'_>) -> u64 {
        let now = cx.now;
        let oldest = cx.overlay.neighbours.values().map(|n| n.since).min();
        let is_compared = oldest.is_some_and(|since| now.since(since) >= COMPARISON_TIME);
        if is_compared || cx.membership.members.alive_count() == 0 {
            return u64::MAX;
        }
        self.confirmations.ever_confirmed()
    }

    /// Before this peer leaves, it vouches for the streams of its earlier processes as well.
    pub(crate) fn vouch_for_earlier_streams(&mut self, cx: &mut Context<'_>) {
        let (now, own) = (cx.now, self.own_stream());
        // Only the latest: others may not remember earlier ones, and have had time to get them.
        let all: Vec<(u64, u64)> = self
            .store
            .list
            .epochs(own.publisher)
            .map(|(epoch, seen)| (epoch, seen.high_water()))
            .collect();
        let earlier = all.into_iter().rev().filter(|(epoch, _)| *epoch != own.epoch);
        for (epoch, end) in earlier.take(REMEMBERED_EPOCHS - 1) {
            self.confirmations.add_earlier_stream(StreamId { epoch, ..own }, end, now);
        }
    }

    /// Vouches for the last stream of a neighbour that has left: perhaps only this peer holds it.
    pub(crate) fn vouch_for_last_stream_of(&mut self, cx: &mut Context<'_>, publisher: PeerId) {
        let now = cx.now;
        if let Some((epoch, seen)) = self.store.list.epochs(publisher).last() {
            self.confirmations.vouch(StreamId { publisher, epoch }, seen.high_water(), false, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Peer, example_setup};
    use crate::time::Time;
    use crate::wire::Frame;

    fn peer() -> Peer {
        Peer::new(example_setup(), Time::ZERO)
    }

    const STREAM: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

    /// The end of the part of a range that the peer confirms.
    fn confirmed(p: &mut Peer, from: u64, to: u64) -> Option<u64> {
        let StreamId { publisher, epoch } = STREAM;
        let query = Confirm { streams: vec![Range { publisher, epoch, from, to }] };
        let querier = PeerId::from_bytes([2; 32]);
        p.with_broadcast(|b, cx| b.on_confirm(cx, LinkId(1), querier, &query));
        while let Some(output) = p.poll_output() {
            if let Output::Send { frame: Frame::ConfirmReply(f), .. } = output {
                return f.streams.first().map(|m| m.next);
            }
        }
        unreachable!("every question is answered")
    }

    #[test]
    fn peer_confirms_only_what_it_has_received() {
        let mut p = peer();
        p.with_broadcast(|b, _| {
            b.store.list.receive(STREAM, 0, 5);
            b.store.list.receive(STREAM, 8, 10);
        });
        assert_eq!(confirmed(&mut p, 0, 10), Some(5));
        assert_eq!(
            confirmed(&mut p, 8, 9),
            Some(9),
            "messages missing below are not part of the query"
        );
        p.with_broadcast(|b, _| {
            b.store.give_up(STREAM, 5, 8);
            b.store.give_up(STREAM, 10, 12);
        });
        assert_eq!(confirmed(&mut p, 0, 12), Some(5), "a gap is not held");
        assert_eq!(confirmed(&mut p, 6, 12), None);
        assert_eq!(confirmed(&mut p, 8, 12), Some(10), "nor an end that only neighbours claim");
        p.with_broadcast(|b, _| b.store.list.receive(STREAM, 10, 12));
        assert_eq!(confirmed(&mut p, 8, 12), Some(12), "it came after all");
    }

    /// A publisher with many restarts keeps the streams of its earlier processes longer than others
    /// do.
    #[test]
    fn leaving_peer_vouches_only_for_its_latest_earlier_streams() {
        let mut p = peer();
        let ranges_to_confirm = p.with_broadcast(|b, cx| {
            let own = b.own_stream();
            for epoch in 1..=40 {
                b.store.list.receive(StreamId { epoch, ..own }, 0, 5);
            }
            b.vouch_for_earlier_streams(cx);
            b.confirmations.ranges_to_confirm(own, 0, true, |_, _| 0, cx.now)
        });
        let epochs: Vec<u64> = ranges_to_confirm.iter().map(|r| r.epoch).collect();
        let first = 41 - (REMEMBERED_EPOCHS as u64 - 1);
        assert_eq!(epochs, (first..=40).collect::<Vec<u64>>());
    }

    #[test]
    fn newcomer_does_not_confirm_messages_before_the_start_of_a_stream() {
        let mut p = peer();
        p.with_broadcast(|b, _| {
            b.store.list.set_start(STREAM, 40);
            b.store.list.receive(STREAM, 40, 50);
        });
        assert_eq!(confirmed(&mut p, 30, 50), None);
        assert_eq!(confirmed(&mut p, 40, 50), Some(50));
    }
}
