//! Answers to this peer's own requests for edges.

use core::time::Duration;

use super::{Overlay, OverlayContext, OverlayEffect, PendingRequest};
use crate::event::{CloseReason, RefuseReason};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::record::SignedRecord;
use crate::wire::{Accept, PeerRequestKind, Redirect, Reject};

/// Wait before a peer that refused is asked again.
const AVOID_REFUSED: Duration = Duration::from_millis(1500);

impl Overlay {
    /// Handles an accept from a live peer whose record was merged.
    pub(crate) fn on_accept(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        remote: PeerId,
        request: &PendingRequest,
        a: Accept,
    ) {
        // The other kinds are for edges that are promised to other peers as well.
        let own_need = matches!(
            request.kind,
            PeerRequestKind::FreeSlot | PeerRequestKind::Overflow | PeerRequestKind::EdgeTransfer
        );
        if own_need && self.deficit() == 0 {
            // Other requests were accepted before this one.
            cx.fx.counters.slots_declined += 1;
            return cx.links.close(cx.fx, link, CloseReason::Full);
        }
        self.attach(cx, link, remote, a.record, a.adjacency);
        if let Some(id) = request.close_on_accept {
            self.drop_replaced(cx, id);
        }
        match (request.kind, a.transfer) {
            (PeerRequestKind::EdgeTransfer, Some(v)) => {
                self.request_replacement(cx, &v, remote, None);
            }
            (PeerRequestKind::EdgeSwap { give }, Some(v)) => {
                self.redirect(cx, &give, v, remote);
            }
            _ => {}
        }
    }

    /// Handles a refusal whose record was merged.
    pub(crate) fn on_reject(
        &mut self,
        cx: &mut OverlayContext<'_>,
        remote: PeerId,
        request: PendingRequest,
        r: &Reject,
    ) {
        let now = cx.now;
        cx.membership.members.avoid(&remote, now + AVOID_REFUSED);
        match (request.kind, r.reason, &r.transfer) {
            (PeerRequestKind::SurplusEdge | PeerRequestKind::EdgeTransfer, _, Some(v)) => {
                self.request_replacement(cx, v, remote, None);
            }
            (PeerRequestKind::SurplusPairing { give }, _, Some(v)) => {
                let is_redirected = self.redirect(cx, &give, v.clone(), remote);
                cx.fx.counters.edges_paired += u64::from(is_redirected);
            }
            (PeerRequestKind::Replacement(_), RefuseReason::NoPermit, _) if !request.retried => {
                // The permission travels on another link and may arrive a moment later.
                let PendingRequest { kind, addresses, close_on_accept, .. } = request;
                self.request(cx, remote, addresses, kind, close_on_accept);
                if let Some(again) = self.requests.get_mut(&remote) {
                    again.retried = true;
                }
            }
            (_, RefuseReason::DeclaredDead, _) => {
                // The seeds know more: a refresh returns their certificate.
                self.effects.push(OverlayEffect::RecordDoubted);
            }
            (PeerRequestKind::FreeSlot, ..) => self.fill.look_soon(now),
            _ => self.fill.back_off(now),
        }
    }

    /// Tells a neighbour to link with another peer in the place of `in_place_of`. Returns whether
    /// there is such a neighbour.
    pub(super) fn redirect(
        &mut self,
        cx: &mut OverlayContext<'_>,
        neighbour: &PeerId,
        to: SignedRecord,
        in_place_of: PeerId,
    ) -> bool {
        let Some(n) = self.neighbours.get_mut(neighbour) else { return false };
        cx.fx.send(n.link, Redirect { to, in_place_of });
        n.promise(cx.now);
        true
    }
}
