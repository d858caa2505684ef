//! The answer to a request for a neighbour: the capacity check of Peer Request / Peer Reply.

use super::request::adjacency;
use super::{EdgeLoad, Overlay, OverlayContext};
use crate::event::{CloseReason, Event, RefuseReason};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_NEIGHBOURS;
use crate::random::RngStream;
use crate::record::{Record, SignedRecord};
use crate::time::Time;
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
    fn answer(
        &mut self,
        requester: &Record,
        kind: PeerRequestKind,
        named: &[PeerId],
        edges: &dyn EdgeLoad,
        now: Time,
        rng: &mut RngStream,
    ) -> RequestAnswer {
        let (degree, target) = (self.degree(), self.target);
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            return RequestAnswer::Refuse(RefuseReason::Full);
        }
        if let PeerRequestKind::Replacement(of) = kind
            && self.neighbours.contains_key(&of)
            && self.use_permit(requester.id, of, now)
        {
            return RequestAnswer::AcceptInPlaceOf(of);
        }
        // A peer that is nearly isolated is accepted one above the target at once.
        let over = matches!(kind, PeerRequestKind::Overflow) || requester.degree < 2;
        let exchange = matches!(
            kind,
            PeerRequestKind::EdgeSwap { .. } | PeerRequestKind::SurplusPairing { .. }
        );
        if !exchange && (degree < target || (over && degree <= target)) {
            return RequestAnswer::Accept;
        }
        match kind {
            PeerRequestKind::FreeSlot | PeerRequestKind::Overflow => {
                RequestAnswer::Refuse(RefuseReason::Full)
            }
            PeerRequestKind::Replacement(_) => RequestAnswer::Refuse(RefuseReason::NoPermit),
            PeerRequestKind::EdgeTransfer => {
                match self.transferable_neighbour(requester.id, None, (named, edges), now, rng) {
                    Some(v) if degree <= target => RequestAnswer::AcceptAndTransfer(v),
                    Some(v) => RequestAnswer::RefuseAndTransfer(v),
                    None => RequestAnswer::Refuse(RefuseReason::NoEdgeToTransfer),
                }
            }
            PeerRequestKind::SurplusEdge => {
                match self.transferable_neighbour(requester.id, None, (named, edges), now, rng) {
                    Some(v) if degree > target => RequestAnswer::RefuseAndTransfer(v),
                    _ => RequestAnswer::Refuse(RefuseReason::Full),
                }
            }
            PeerRequestKind::SurplusPairing { give } => {
                let both_over = degree > target && requester.degree > requester.target;
                if !both_over || give == requester.id {
                    return RequestAnswer::Refuse(RefuseReason::Full);
                }
                // A surplus of one costs nothing: an edge that carries payload is not transferred
                // for it.
                let idle = |v: &PeerId| !edges.is_busy(v);
                match self
                    .transferable_neighbour(requester.id, Some(give), (named, edges), now, rng)
                    .filter(idle)
                {
                    Some(v) => RequestAnswer::RefuseAndTransfer(v),
                    None => RequestAnswer::Refuse(RefuseReason::NoEdgeToTransfer),
                }
            }
            PeerRequestKind::EdgeSwap { give } => {
                if degree > target || give == requester.id {
                    return RequestAnswer::Refuse(RefuseReason::Full);
                }
                match self.transferable_neighbour(
                    requester.id,
                    Some(give),
                    (named, edges),
                    now,
                    rng,
                ) {
                    Some(v) => RequestAnswer::AcceptAndTransfer(v),
                    None => RequestAnswer::Refuse(RefuseReason::NoEdgeToTransfer),
                }
            }
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
        let (edges, now) = (cx.edges, cx.now);
        let answer = self.answer(&f.record, f.kind, &f.neighbours, edges, now, cx.rng);
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
        let now = cx.now;
        let (replaced, given) = match answer {
            RequestAnswer::Refuse(reason) => return self.refuse(cx, link, remote, reason),
            RequestAnswer::RefuseAndTransfer(v) => {
                return self.refuse_and_transfer(cx, link, remote, v, taker(f.kind, remote));
            }
            RequestAnswer::Accept => (None, None),
            RequestAnswer::AcceptInPlaceOf(of) => (Some(of), None),
            RequestAnswer::AcceptAndTransfer(v) => (None, Some(v)),
        };
        let adjacency = adjacency(cx, remote);
        self.attach(cx, link, remote, f.record, f.adjacency);
        let transfer = given.and_then(|v| {
            self.promise(&v, now);
            let n = self.neighbours.get(&v)?;
            cx.fx.send(n.link, Permit { peer: taker(f.kind, remote) });
            Some(n.record.clone())
        });
        let record = self.current_record(cx);
        cx.fx.send(link, PeerReply::Accept(Accept { record, adjacency, transfer }));
        if let Some(of) = replaced {
            self.drop_replaced(cx, of);
        }
    }

    fn refuse_and_transfer(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        v: PeerId,
        taker: PeerId,
    ) {
        let now = cx.now;
        self.promise(&v, now);
        let Some(n) = self.neighbours.get(&v) else { return };
        let transfer = Some(n.record.clone());
        cx.fx.send(n.link, Permit { peer: taker });
        self.send_reject(cx, link, remote, RefuseReason::Full, transfer);
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
        requester: PeerId,
        other: Option<PeerId>,
        (named, edges): (&[PeerId], &dyn EdgeLoad),
        now: Time,
        rng: &mut RngStream,
    ) -> Option<PeerId> {
        let fits: Vec<(PeerId, bool)> = self
            .neighbours
            .iter()
            .filter(|(id, n)| {
                **id != requester
                    && Some(**id) != other
                    && !named.contains(id)
                    && !n.is_promised(now)
                    && other.is_none_or(|o| !n.neighbourhood.iter().any(|(a, _)| *a == o))
            })
            .map(|(id, _)| (*id, edges.is_busy(id)))
            .collect();
        // An exchange can wait for another time; a peer that needs an edge cannot.
        self.choose_transferred(&fits, other.is_some(), edges, rng)
    }

    /// Draws a neighbour to transfer, see [`idle_first`]. Where short links are preferred, it is
    /// the farthest of those that carry no payload.
    pub(crate) fn choose_transferred(
        &self,
        some: &[(PeerId, bool)],
        can_wait: bool,
        edges: &dyn EdgeLoad,
        rng: &mut RngStream,
    ) -> Option<PeerId> {
        let idle =
            some.iter().filter(|(_, busy)| self.prefers_short_links() && !busy).map(|(id, _)| *id);
        let farthest = idle.filter_map(|id| Some((edges.smoothed_delay(&id)?, id))).max();
        farthest.map(|(_, id)| id).or_else(|| idle_first(some, can_wait, rng))
    }
}

/// The peer that gets the granted edge: in an exchange it is not the requester but the neighbour
/// that the requester gives.
const fn taker(kind: PeerRequestKind, requester: PeerId) -> PeerId {
    match kind {
        PeerRequestKind::EdgeSwap { give } | PeerRequestKind::SurplusPairing { give } => give,
        _ => requester,
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
