//! Request quotas of links.

use super::Peer;
use crate::event::{Event, RefuseReason};
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::limits::ANSWER_BURST;
use crate::wire::{Data, Frame, ProbeReply, PullEnd, Verdict};

impl Peer {
    /// Whether a frame is accepted. A request beyond the quota of its link is answered with a
    /// refusal, if its kind has one.
    pub(super) fn admit(&mut self, id: LinkId, remote: PeerId, frame: &Frame) -> bool {
        let is_request = matches!(
            frame,
            Frame::GetData(_)
                | Frame::Pull(_)
                | Frame::Confirm(_)
                | Frame::Summary(_)
                | Frame::PeerRequest(_)
                | Frame::ProbeRequest(_)
        );
        if !is_request
            || self.admit_request(id, remote, frame.name(), matches!(frame, Frame::Pull(_)))
        {
            return true;
        }
        match frame {
            Frame::GetData(f) => {
                self.fx.send_as(id, Data { id: f.id, batch: None, age_ms: None }, Class::Payload);
            }
            Frame::Pull(f) => {
                let pulled = PullEnd { batches: 0, refused: true, nonce: f.nonce };
                self.fx.send_as(id, pulled, Class::History);
            }
            Frame::PeerRequest(_) => self.refuse(id, remote, RefuseReason::TooManyRequests),
            Frame::ProbeRequest(f) => {
                self.fx.send(id, ProbeReply { subject: f.subject, verdict: Verdict::Unknown });
            }
            // A comparison is repeated anyway.
            _ => {}
        }
        false
    }

    /// Whether a request is within the quota of its link; if it asks for messages, their bytes
    /// count as well.
    pub(super) fn admit_request(
        &mut self,
        id: LinkId,
        peer: PeerId,
        request: &'static str,
        for_messages: bool,
    ) -> bool {
        let now = self.fx.now();
        let Some(link) = self.links.open.get_mut(&id) else { return false };
        if link.quota.take_request(now) && (!for_messages || self.may_be_answered(id)) {
            return true;
        }
        let Some(link) = self.links.open.get_mut(&id) else { return false };
        let is_report_due = link.quota.report_due(now);
        self.fx.counters.requests_throttled += 1;
        if is_report_due {
            self.fx.event(Event::Throttled { peer, request });
        }
        false
    }

    /// Bytes that a neighbour may pull at once: twice the retention.
    fn answer_burst(&self) -> u64 {
        ANSWER_BURST.max(2 * self.config.retention_bytes())
    }

    /// Whether a link may be answered with more messages now.
    pub(super) fn may_be_answered(&self, id: LinkId) -> bool {
        let (now, burst) = (self.fx.now(), self.answer_burst());
        self.links.open.get(&id).is_some_and(|link| link.quota.has_bytes(now, burst))
    }

    /// Records the bytes of an answer.
    pub(super) fn record_answer(&mut self, id: LinkId, bytes: usize) {
        let now = self.fx.now();
        if let Some(link) = self.links.open.get_mut(&id) {
            link.quota.record_answer(now, bytes);
        }
    }
}
