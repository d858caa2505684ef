//! Asking neighbours what they hold, and answering.

use core::time::Duration;

use super::Peer;
use crate::broadcast::handover::key;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output};
use crate::limits::REMEMBERED_EPOCHS;
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::{Confirm, Confirmed, Range, StreamMark};

/// How long it takes until a new neighbour has got what it lacks.
const COMPARED_WITHIN: Duration = Duration::from_secs(60);

impl Peer {
    /// Asks the neighbours to confirm what was published so far. Says up to which number of the present
    /// stream that is; [`Output::Confirmed`] follows whenever more is confirmed, until all of it is. A peer without
    /// a neighbour asks as soon as it has one.
    pub fn flush(&mut self, now: Time) -> u64 {
        self.begin(now);
        self.send_all_batches();
        let published = self.outbox.published();
        if published > self.handover.confirmed() {
            self.handover.wanted = published;
            self.handover.ask_by(now);
            self.run_handover();
        }
        published
    }

    /// Up to which number of the present stream another node is known to hold what this peer published.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.handover.confirmed()
    }

    /// How many messages of the present stream no other node is known to hold.
    #[must_use]
    pub fn unconfirmed(&self) -> u64 {
        self.outbox.published().saturating_sub(self.handover.confirmed())
    }

    /// What a neighbour has to confirm now.
    pub(super) fn owed(&self) -> Vec<Range> {
        let (own, published) = (self.own_stream(), self.outbox.published());
        let list = &self.broadcast.list;
        let held_since = |stream, end| list.get(stream).map_or(0, |seen| seen.held_since(end));
        self.handover.owed(own, published, self.is_draining(), held_since, self.fx.now())
    }

    /// Asks the neighbours what they hold, if that is due.
    pub(super) fn run_handover(&mut self) {
        let now = self.fx.now();
        if self.handover.due.is_none_or(|at| at > now) {
            return;
        }
        self.handover.due = None;
        let owed = self.owed();
        if owed.is_empty() {
            return;
        }
        for (id, n) in self.overlay.neighbours.iter() {
            if self.handover.ask(*id, &owed, now) {
                self.fx.count("confirmations_asked");
                // Behind the payload that is queued: what was sent has come when the answer is given.
                self.fx.send_as(n.link, Confirm { streams: owed.clone() }, Class::Payload);
            }
        }
    }

    /// There is a new neighbour to ask.
    pub(super) fn ask_new_neighbour(&mut self) {
        if self.is_draining() || self.handover.wanted > self.handover.confirmed() {
            self.handover.ask_by(self.fx.now());
            self.run_handover();
        }
    }

    /// A neighbour asks what this peer holds. What it lacks is announced by the question.
    pub(super) fn on_confirm(&mut self, link: LinkId, remote: PeerId, f: &Confirm) {
        let (now, leaving) = (self.fx.now(), self.is_departing());
        let mut streams = Vec::new();
        for r in &f.streams {
            let &Range { publisher, epoch, from, to } = r;
            let seen = self.broadcast.list.get(r.stream());
            let next = seen.map_or(from, |seen| seen.held_until(from)).min(to);
            if next > from {
                streams.push(StreamMark { publisher, epoch, next });
                self.handover.vouch(r.stream(), next, leaving, now);
            }
            if next < to {
                let range = Range { from: next, ..*r };
                self.missing.announced(&self.broadcast.list, remote, &range, now);
            }
        }
        self.fx.send(link, Confirmed { streams, leaving });
        self.run_pulls();
    }

    pub(super) fn on_confirmed(&mut self, remote: PeerId, f: Confirmed) {
        let own = self.own_stream();
        let published = self.outbox.published();
        let end = f.streams.iter().find(|m| key(m) == own).map(|m| m.next.min(published));
        if !self.handover.answered(remote, &f.streams, f.leaving, end, self.fx.now()) {
            return self.fx.count("confirmations_unasked");
        }
        self.fx.count("confirmations");
        self.review_confirmed();
        self.review_leave();
    }

    /// A neighbour has acknowledged the own stream, or confirmed it.
    pub(super) fn review_confirmed(&mut self) {
        let confirmed = self.handover.confirmed();
        if self.handover.wanted > 0 {
            self.fx.output(Output::Confirmed { to: confirmed });
            if confirmed >= self.handover.wanted {
                self.handover.wanted = 0;
            }
        }
    }

    /// Up to where another node has held the own stream, or need not get it from here any more: one that has been linked for
    /// so long has compared what it has.
    pub(super) fn reached(&self) -> u64 {
        let now = self.fx.now();
        let oldest = self.overlay.neighbours.values().map(|n| n.since).min();
        let is_compared = oldest.is_some_and(|since| now.since(since) >= COMPARED_WITHIN);
        if is_compared || self.members.alive_count() == 0 {
            return u64::MAX;
        }
        self.handover.reached()
    }

    /// Before it leaves, this peer hands over what its earlier processes published as well.
    pub(super) fn owe_earlier_streams(&mut self) {
        let (now, own) = (self.fx.now(), self.own_stream());
        // The latest: of those before them others may remember nothing, and they have had time to get them.
        let all: Vec<(u64, u64)> = self
            .broadcast
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
    pub(super) fn vouch_for_stream_of(&mut self, publisher: PeerId) {
        let now = self.fx.now();
        if let Some((epoch, seen)) = self.broadcast.list.epochs(publisher).last() {
            self.handover.vouch(StreamId { publisher, epoch }, seen.high_water(), false, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::example_setup;
    use crate::wire::Frame;

    fn peer() -> Peer {
        Peer::new(example_setup(), Time::ZERO)
    }

    const STREAM: StreamId = StreamId { publisher: PeerId::from_bytes([1; 32]), epoch: 1 };

    /// Up to where it confirms a range of the stream.
    fn confirmed(p: &mut Peer, from: u64, to: u64) -> Option<u64> {
        let StreamId { publisher, epoch } = STREAM;
        let question = Confirm { streams: vec![Range { publisher, epoch, from, to }] };
        p.on_confirm(LinkId(1), PeerId::from_bytes([2; 32]), &question);
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
        let list = &mut p.broadcast.list;
        list.receive(STREAM, 0, 5);
        list.receive(STREAM, 8, 10);
        assert_eq!(confirmed(&mut p, 0, 10), Some(5));
        assert_eq!(confirmed(&mut p, 8, 9), Some(9), "what is missing below was not asked for");
        p.broadcast.give_up(STREAM, 5, 8);
        p.broadcast.give_up(STREAM, 10, 12);
        assert_eq!(confirmed(&mut p, 0, 12), Some(5), "a gap is not held");
        assert_eq!(confirmed(&mut p, 6, 12), None);
        assert_eq!(confirmed(&mut p, 8, 12), Some(10), "nor an end that neighbours claim");
        p.broadcast.list.receive(STREAM, 10, 12);
        assert_eq!(confirmed(&mut p, 8, 12), Some(12), "it came after all");
    }

    /// A publisher that is started again and again keeps what its earlier processes published longer than others do.
    #[test]
    fn only_those_earlier_streams_are_owed_that_others_can_remember() {
        let mut p = peer();
        let own = p.own_stream();
        for epoch in 1..=40 {
            p.broadcast.list.receive(StreamId { epoch, ..own }, 0, 5);
        }
        p.owe_earlier_streams();
        let now = p.fx.now();
        let owed = p.handover.owed(own, 0, true, |_, _| 0, now);
        let epochs: Vec<u64> = owed.iter().map(|r| r.epoch).collect();
        let first = 41 - (REMEMBERED_EPOCHS as u64 - 1);
        assert_eq!(epochs, (first..=40).collect::<Vec<u64>>());
    }

    #[test]
    fn newcomer_confirms_nothing_of_the_time_before_it() {
        let mut p = peer();
        p.broadcast.list.begin(STREAM, 40);
        p.broadcast.list.receive(STREAM, 40, 50);
        assert_eq!(confirmed(&mut p, 30, 50), None);
        assert_eq!(confirmed(&mut p, 40, 50), Some(50));
    }
}
