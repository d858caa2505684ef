//! The answer to a request for a neighbour: the capacity check of Peer Request / Peer Reply.

use super::request::adjacency;
use super::{Overlay, OverlayContext, given};
use crate::event::{CloseReason, Event, RefuseReason};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_NEIGHBOURS;
use crate::random::RngStream;
use crate::record::SignedRecord;
use crate::wire::{Accept, PeerReply, PeerRequest, PeerRequestKind, Permit, Reject};

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
enum RequestAnswer {
    /// Yes.
    Accept,
    /// Yes, in the place of this neighbour, which is closed.
    AcceptInPlaceOf(PeerId),
    /// Yes, and this neighbour is transferred to the requester.
    AcceptAndTransfer(PeerId),
    /// No.
    Refuse(RefuseReason),
    /// No, but the edge to this neighbour may be taken over.
    RefuseAndTransfer(PeerId),
}

impl Overlay {
    /// Decides on the request of a peer that is not a neighbour and not known to be dead.
    fn answer(&mut self, cx: &mut OverlayContext<'_>, f: &PeerRequest) -> RequestAnswer {
        let (degree, target) = (self.degree(), self.target);
        let (requester, kind) = (&f.record, f.kind);
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            return RequestAnswer::Refuse(RefuseReason::Full);
        }
        if let PeerRequestKind::Replacement(of) = kind
            && self.neighbours.contains_key(&of)
            && self.use_permit(requester.id, of, cx.now)
        {
            return RequestAnswer::AcceptInPlaceOf(of);
        }
        // A peer that is nearly isolated is accepted one above the target at once.
        let over = matches!(kind, PeerRequestKind::Overflow) || requester.degree < 2;
        let other = given(kind);
        if other.is_none() && (degree < target || (over && degree <= target)) {
            return RequestAnswer::Accept;
        }
        let is_possible = match kind {
            PeerRequestKind::Replacement(_) => {
                return RequestAnswer::Refuse(RefuseReason::NoPermit);
            }
            PeerRequestKind::FreeSlot | PeerRequestKind::Overflow => false,
            PeerRequestKind::EdgeTransfer | PeerRequestKind::SurplusEdge => true,
            PeerRequestKind::SurplusPairing { .. } => {
                degree > target && requester.degree > requester.target
            }
            PeerRequestKind::EdgeSwap { .. } => degree <= target,
        };
        if !is_possible || other == Some(requester.id) {
            return RequestAnswer::Refuse(RefuseReason::Full);
        }
        match (kind, self.transferable_neighbour(cx, f, other)) {
            (PeerRequestKind::SurplusEdge, Some(v)) if degree > target => {
                RequestAnswer::RefuseAndTransfer(v)
            }
            (PeerRequestKind::SurplusEdge, _) => RequestAnswer::Refuse(RefuseReason::Full),
            (_, None) => RequestAnswer::Refuse(RefuseReason::NoEdgeToTransfer),
            // A surplus of one costs nothing: an edge that carries payload is not transferred for
            // it.
            (PeerRequestKind::SurplusPairing { .. }, Some(v)) if cx.edges.is_busy(&v) => {
                RequestAnswer::Refuse(RefuseReason::NoEdgeToTransfer)
            }
            // Of the kinds that are left, only a transfer is possible above the target.
            (PeerRequestKind::SurplusPairing { .. }, Some(v)) => {
                RequestAnswer::RefuseAndTransfer(v)
            }
            (_, Some(v)) if degree > target => RequestAnswer::RefuseAndTransfer(v),
            (_, Some(v)) => RequestAnswer::AcceptAndTransfer(v),
        }
    }

    /// Handles the request of a live peer that is no neighbour and whose record was merged.
    pub(crate) fn on_peer_request(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        f: PeerRequest,
    ) {
        if let Some(own) = self.requests.get(&remote) {
            if cx.identity.id() < remote && own.race.is_none() {
                // Both ask: the request of the smaller id stands.
                return self.refuse(cx, link, remote, RefuseReason::Crossed);
            }
            self.cancel_request(cx, remote, CloseReason::Duplicate, Some(link));
        }
        let answer = self.answer(cx, &f);
        self.send_answer(cx, link, remote, f, answer);
    }

    fn send_answer(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        f: PeerRequest,
        answer: RequestAnswer,
    ) {
        // In an exchange, the neighbour that the requester gives gets the granted edge.
        let taker = given(f.kind).unwrap_or(remote);
        let (replaced, transferred) = match answer {
            RequestAnswer::Refuse(reason) => return self.refuse(cx, link, remote, reason),
            RequestAnswer::RefuseAndTransfer(v) => {
                let transfer = self.grant(cx, v, taker);
                return self.send_reject(cx, link, remote, RefuseReason::Full, transfer);
            }
            RequestAnswer::Accept => (None, None),
            RequestAnswer::AcceptInPlaceOf(of) => (Some(of), None),
            RequestAnswer::AcceptAndTransfer(v) => (None, Some(v)),
        };
        let adjacency = adjacency(cx, remote);
        self.attach(cx, link, remote, f.record, f.adjacency);
        let transfer = transferred.and_then(|v| self.grant(cx, v, taker));
        let record = self.current_record(cx);
        cx.fx.send(link, PeerReply::Accept(Accept { record, adjacency, transfer }));
        if let Some(of) = replaced {
            self.drop_replaced(cx, of);
        }
    }

    /// Promises the edge to a neighbour to `taker`, and tells the neighbour. Returns its record.
    fn grant(
        &mut self,
        cx: &mut OverlayContext<'_>,
        neighbour: PeerId,
        taker: PeerId,
    ) -> Option<SignedRecord> {
        let n = self.neighbours.get_mut(&neighbour)?;
        n.promise(cx.now);
        cx.fx.send(n.link, Permit { peer: taker });
        Some(n.record.clone())
    }

    pub(crate) fn refuse(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        reason: RefuseReason,
    ) {
        self.send_reject(cx, link, remote, reason, None);
    }

    fn send_reject(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        reason: RefuseReason,
        transfer: Option<SignedRecord>,
    ) {
        cx.fx.counters.requests_refused += 1;
        cx.fx.event(Event::RequestRefused { peer: remote, by_this_node: true, reason });
        let record = self.current_record(cx);
        cx.fx.send(link, PeerReply::Reject(Reject { reason, record, transfer }));
        // The requester closes the link when it has read the answer; an idle link is closed in
        // time.
    }

    /// A neighbour that can be transferred to the requester (or, in an exchange, to `other`).
    fn transferable_neighbour(
        &self,
        cx: &mut OverlayContext<'_>,
        f: &PeerRequest,
        other: Option<PeerId>,
    ) -> Option<PeerId> {
        let fits: Vec<(PeerId, bool)> = self
            .neighbours
            .iter()
            .filter(|(id, n)| {
                **id != f.record.id
                    && Some(**id) != other
                    && !f.neighbours.contains(id)
                    && !n.is_promised(cx.now)
                    && other.is_none_or(|o| !n.lists(&o))
            })
            .map(|(id, _)| (*id, cx.edges.is_busy(id)))
            .collect();
        // An exchange can wait for another time; a peer that needs an edge cannot.
        self.choose_transferred(cx, &fits, other.is_some())
    }

    /// Draws a neighbour to transfer, see [`idle_first`]. Where short links are preferred, it is
    /// the farthest of those that carry no payload.
    pub(crate) fn choose_transferred(
        &self,
        cx: &mut OverlayContext<'_>,
        some: &[(PeerId, bool)],
        can_wait: bool,
    ) -> Option<PeerId> {
        let idle =
            some.iter().filter(|(_, busy)| self.prefers_short_links() && !busy).map(|(id, _)| *id);
        let farthest = idle.filter_map(|id| Some((cx.edges.smoothed_delay(&id)?, id))).max();
        farthest.map(|(_, id)| id).or_else(|| idle_first(some, can_wait, cx.rng))
    }
}

/// Draws one of some neighbours, each with whether payload goes over its edge. Those without come
/// first; if there are none and the transfer can wait, it mostly does.
fn idle_first(some: &[(PeerId, bool)], can_wait: bool, rng: &mut RngStream) -> Option<PeerId> {
    let idle: Vec<PeerId> = some.iter().filter(|(_, busy)| !busy).map(|(id, _)| *id).collect();
    if !idle.is_empty() {
        return idle.get(rng.below(idle.len())).copied();
    }
    if can_wait && rng.below(4) > 0 {
        return None;
    }
    some.get(rng.below(some.len())).map(|(id, _)| *id)
}
