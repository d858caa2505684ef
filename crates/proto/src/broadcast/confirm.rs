//! Asking neighbours what they hold, and answering.

use core::time::Duration;
use std::collections::BTreeSet;

use super::Broadcast;
use super::handover::key;
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output};
use crate::limits::REMEMBERED_EPOCHS;
use crate::message::StreamId;
use crate::wire::{Confirm, Confirmed, Range, StreamMark};

/// How long it takes until a new neighbour has got what it lacks.
const COMPARED_WITHIN: Duration = Duration::from_secs(60);

impl Broadcast {
    /// See [`Peer::flush`](crate::Peer::flush).
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> u64 {
        let now = cx.now;
        self.send_all_batches(cx);
        let published = self.outbox.published();
        if published > self.handover.confirmed() {
            self.handover.wanted = published;
            self.handover.ask_by(now);
            self.run_handover(cx);
        }
        published
    }

    /// Up to which number of the present stream another node is known to hold what this peer published.
    pub(crate) fn confirmed(&self) -> u64 {
        self.handover.confirmed()
    }

    /// How many messages of the present stream no other node is known to hold.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.outbox.published().saturating_sub(self.handover.confirmed())
    }

    /// What a neighbour has to confirm now.
    pub(crate) fn owed(&self, cx: &View<'_>) -> Vec<Range> {
        let (own, published) = (self.own_stream(), self.outbox.published());
        let list = &self.store.list;
        let held_since = |stream, end| list.get(stream).map_or(0, |seen| seen.held_since(end));
        self.handover.owed(own, published, cx.membership.own.is_draining(), held_since, cx.now)
    }

    /// Asks the neighbours what they hold, if that is due.
    pub(crate) fn run_handover(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        if self.handover.due.is_none_or(|at| at > now) {
            return;
        }
        self.handover.due = None;
        let owed = self.owed(cx);
        if owed.is_empty() {
            return;
        }
        for (id, n) in cx.overlay.neighbours.iter() {
            if self.handover.ask(*id, &owed, now) {
                cx.fx.count("confirmations_asked");
                // Behind the payload that is queued: what was sent has come when the answer is given.
                cx.fx.send_as(n.link, Confirm { streams: owed.clone() }, Class::Payload);
            }
        }
    }

    /// Whether other nodes hold all that this peer published, and what it vouches for.
    pub(crate) fn is_drained(&self, cx: &View<'_>) -> bool {
        let owed = self.owed(cx);
        if owed.is_empty() || self.handover.is_covered(&owed, |_| false) {
            return true;
        }
        // Of several that leave together, none may rely on one that relies on it.
        let me = cx.id();
        let mut neighbours = cx.overlay.neighbours.keys();
        neighbours.all(|id| self.handover.is_leaving(id))
            && self.handover.is_covered(&owed, |id| *id > me)
    }

    /// This peer ends without such a confirmation: says what no other node may hold.
    pub(crate) fn tell_unconfirmed(&self, cx: &mut Context<'_>) {
        let (own, owed) = (self.own_stream(), self.owed(cx));
        let to = self.outbox.published();
        let from = self.handover.confirmed().min(to);
        // A publisher that lives holds its messages itself.
        let is_gone = |s: &StreamId| cx.membership.members.get(&s.publisher).is_none();
        let (of_own, of_others): (Vec<StreamId>, Vec<StreamId>) =
            self.handover.lost_with_this_peer(&owed).partition(|s| s.publisher == own.publisher);
        let gone: BTreeSet<PeerId> =
            of_others.iter().filter(|s| is_gone(s)).map(|s| s.publisher).collect();
        let (others, earlier) = (crate::peer::count(gone.len()), crate::peer::count(of_own.len()));
        if from < to || others > 0 || earlier > 0 {
            cx.fx.add("messages_unconfirmed", to - from);
            let epoch = own.epoch;
            cx.fx.event(Event::LeftUnconfirmed { epoch, from, to, others, earlier });
        } else {
            cx.fx.count("handovers_incomplete");
        }
    }

    /// This peer is about to leave: what waits is sent, and the neighbours are asked to confirm it.
    pub(crate) fn begin_to_drain(&mut self, cx: &mut Context<'_>) {
        self.send_all_batches(cx);
        self.handover.ask_by(cx.now);
    }

    /// There is a new neighbour to ask.
    pub(crate) fn ask_new_neighbour(&mut self, cx: &mut Context<'_>) {
        if cx.membership.own.is_draining() || self.handover.wanted > self.handover.confirmed() {
            self.handover.ask_by(cx.now);
            self.run_handover(cx);
        }
    }

    /// A neighbour asks what this peer holds. What it lacks is announced by the question.
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
                self.handover.vouch(r.stream(), next, leaving, now);
            }
            if next < to {
                let range = Range { from: next, ..*r };
                self.missing.announced(&self.store.list, remote, &range, now);
            }
        }
        cx.fx.send(link, Confirmed { streams, leaving });
        self.run_pulls(cx);
    }

    /// A neighbour says what it holds. `false` if it was not asked.
    pub(crate) fn on_confirmed(
        &mut self,
        cx: &mut Context<'_>,
        remote: PeerId,
        f: Confirmed,
    ) -> bool {
        let own = self.own_stream();
        let published = self.outbox.published();
        let end = f.streams.iter().find(|m| key(m) == own).map(|m| m.next.min(published));
        if !self.handover.answered(remote, &f.streams, f.leaving, end, cx.now) {
            cx.fx.count("confirmations_unasked");
            return false;
        }
        cx.fx.count("confirmations");
        self.review_confirmed(cx);
        true
    }

    /// A neighbour has acknowledged the own stream, or confirmed it.
    pub(crate) fn review_confirmed(&mut self, cx: &mut Context<'_>) {
        let confirmed = self.handover.confirmed();
        if self.handover.wanted > 0 {
            cx.fx.output(Output::Confirmed { to: confirmed });
            if confirmed >= self.handover.wanted {
                self.handover.wanted = 0;
            }
        }
    }

    /// Up to where another node has held the own stream, or need not get it from here any more: one that has been linked for
    /// so long has compared what it has.
    pub(crate) fn reached(&self, cx: &View<'_>) -> u64 {
        let now = cx.now;
        let oldest = cx.overlay.neighbours.values().map(|n| n.since).min();
        let is_compared = oldest.is_some_and(|since| now.since(since) >= COMPARED_WITHIN);
        if is_compared || cx.membership.members.alive_count() == 0 {
            return u64::MAX;
        }
        self.handover.reached()
    }

    /// Before it leaves, this peer hands over what its earlier processes published as well.
    pub(crate) fn owe_earlier_streams(&mut self, cx: &mut Context<'_>) {
        let (now, own) = (cx.now, self.own_stream());
        // The latest: of those before them others may remember nothing, and they have had time to get them.
        let all: Vec<(u64, u64)> = self
            .store
            .list
            .epochs(own.publisher)
            .map(|(epoch, seen)| (epoch, seen.high_water()))
            .collect();
        let earlier = all.into_iter().rev().filter(|(epoch, _)| *epoch != own.epoch);
        for (epoch, end) in earlier.take(REMEMBERED_EPOCHS - 1) {
            self.handover.owes_earlier(StreamId { epoch, ..own }, end, now);
        }
    }

    /// What a neighbour that has left published last is held by this peer, perhaps by no other one.
    pub(crate) fn vouch_for_stream_of(&mut self, cx: &mut Context<'_>, publisher: PeerId) {
        let now = cx.now;
        if let Some((epoch, seen)) = self.store.list.epochs(publisher).last() {
            self.handover.vouch(StreamId { publisher, epoch }, seen.high_water(), false, now);
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

    /// Up to where it confirms a range of the stream.
    fn confirmed(p: &mut Peer, from: u64, to: u64) -> Option<u64> {
        let StreamId { publisher, epoch } = STREAM;
        let question = Confirm { streams: vec![Range { publisher, epoch, from, to }] };
        let asker = PeerId::from_bytes([2; 32]);
        p.with_broadcast(|b, cx| b.on_confirm(cx, LinkId(1), asker, &question));
        while let Some(output) = p.poll_output() {
            if let Output::Send { frame: Frame::Confirmed(f), .. } = output {
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
        assert_eq!(confirmed(&mut p, 8, 9), Some(9), "what is missing below was not asked for");
        p.with_broadcast(|b, _| {
            b.store.give_up(STREAM, 5, 8);
            b.store.give_up(STREAM, 10, 12);
        });
        assert_eq!(confirmed(&mut p, 0, 12), Some(5), "a gap is not held");
        assert_eq!(confirmed(&mut p, 6, 12), None);
        assert_eq!(confirmed(&mut p, 8, 12), Some(10), "nor an end that neighbours claim");
        p.with_broadcast(|b, _| b.store.list.receive(STREAM, 10, 12));
        assert_eq!(confirmed(&mut p, 8, 12), Some(12), "it came after all");
    }

    /// A publisher that is started again and again keeps what its earlier processes published longer than others do.
    #[test]
    fn leaving_peer_owes_only_the_latest_earlier_streams() {
        let mut p = peer();
        let owed = p.with_broadcast(|b, cx| {
            let own = b.own_stream();
            for epoch in 1..=40 {
                b.store.list.receive(StreamId { epoch, ..own }, 0, 5);
            }
            b.owe_earlier_streams(cx);
            b.handover.owed(own, 0, true, |_, _| 0, cx.now)
        });
        let epochs: Vec<u64> = owed.iter().map(|r| r.epoch).collect();
        let first = 41 - (REMEMBERED_EPOCHS as u64 - 1);
        assert_eq!(epochs, (first..=40).collect::<Vec<u64>>());
    }

    #[test]
    fn newcomer_confirms_nothing_of_the_time_before_it() {
        let mut p = peer();
        p.with_broadcast(|b, _| {
            b.store.list.begin(STREAM, 40);
            b.store.list.receive(STREAM, 40, 50);
        });
        assert_eq!(confirmed(&mut p, 30, 50), None);
        assert_eq!(confirmed(&mut p, 40, 50), Some(50));
    }
}
