//! Asking neighbours what they hold, and answering.

use super::Peer;
use crate::broadcast::Seen;
use crate::broadcast::handover::key;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output};
use crate::message::StreamId;
use crate::time::Time;
use crate::wire::{Confirm, Confirmed, Range, StreamMark};

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
    pub(super) fn owed(&self) -> Vec<StreamMark> {
        let own = self.own_stream();
        self.handover.owed(own, self.outbox.published(), self.is_draining(), self.fx.now())
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

    fn high_water(&self, stream: StreamId) -> u64 {
        self.broadcast.list.get(stream).map_or(0, Seen::high_water)
    }

    /// A neighbour asks what this peer holds. What it lacks is announced by the question.
    pub(super) fn on_confirm(&mut self, link: LinkId, remote: PeerId, f: &Confirm) {
        let now = self.fx.now();
        let mut streams = Vec::new();
        for m in &f.streams {
            let (stream, held) = (key(m), self.high_water(key(m)));
            if held > 0 {
                streams.push(StreamMark { next: held.min(m.next), ..*m });
                self.handover.vouch(stream, held.min(m.next), now);
            }
            if held < m.next {
                let &StreamMark { publisher, epoch, next } = m;
                let range = Range { publisher, epoch, from: held, to: next };
                self.missing.announced(&self.broadcast.list, remote, &range, now);
            }
        }
        let leaving = self.is_departing();
        self.fx.send(link, Confirmed { streams, leaving });
        self.run_pulls();
    }

    pub(super) fn on_confirmed(&mut self, remote: PeerId, f: Confirmed) {
        let own = self.own_stream();
        let published = self.outbox.published();
        let end = f.streams.iter().find(|m| key(m) == own).map(|m| m.next.min(published));
        if !self.handover.answered(remote, f.streams, f.leaving, end, self.fx.now()) {
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

    /// What a neighbour that has left published last is held by this peer, perhaps by no other one.
    pub(super) fn vouch_for_stream_of(&mut self, publisher: PeerId) {
        let now = self.fx.now();
        if let Some((epoch, seen)) = self.broadcast.list.epochs(publisher).last() {
            self.handover.vouch(StreamId { publisher, epoch }, seen.high_water(), now);
        }
    }
}
