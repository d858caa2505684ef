//! What an edge of the overlay means for the other concerns of a peer.

use core::time::Duration;

use super::Peer;
use crate::broadcast::Broadcast;
use crate::event::{CloseReason, Event, LinkEnd, RefuseReason};
use crate::failure::{FailureDetector, Watch};
use crate::identity::PeerId;
use crate::io::{DialError, LinkId};
use crate::membership::{Membership, MergeOutcome};
use crate::overlay::{
    AVOID_UNREACHABLE, EdgeLoad, Neighbour, Overlay, OverlayContext, OverlayEffect, is_genuine,
};
use crate::record::{Address, Presence, SignedRecord};
use crate::time::Time;
use crate::wire::{PeerReply, PeerRequest, PeerRequestKind};

/// The state of the edges to the neighbours.
struct Edges<'a> {
    broadcast: &'a Broadcast,
    failure: &'a FailureDetector,
    now: Time,
}

impl EdgeLoad for Edges<'_> {
    fn is_busy(&self, neighbour: &PeerId) -> bool {
        self.broadcast.is_busy(neighbour, self.now)
    }

    fn smoothed_delay(&self, neighbour: &PeerId) -> Option<Duration> {
        self.failure.watches.get(neighbour).and_then(Watch::smoothed_delay)
    }
}

impl Peer {
    /// Calls the overlay with its context, and passes on what other concerns have to do.
    pub(super) fn with_overlay<R>(
        &mut self,
        call: impl FnOnce(&mut Overlay, &mut OverlayContext<'_>) -> R,
    ) -> R {
        let now = self.fx.now();
        let edges = &Edges { broadcast: &self.broadcast, failure: &self.failure, now };
        let result = call(
            &mut self.overlay,
            &mut OverlayContext {
                now,
                config: &self.config,
                identity: &self.identity,
                fx: &mut self.fx,
                links: &mut self.links,
                rng: &mut self.rng.overlay,
                membership: &mut self.membership,
                edges,
            },
        );
        for effect in core::mem::take(&mut self.overlay.effects) {
            self.on_overlay_effect(effect);
        }
        result
    }

    fn on_overlay_effect(&mut self, effect: OverlayEffect) {
        match effect {
            OverlayEffect::NeighbourUp { id, link } => {
                let now = self.fx.now();
                self.with_failure(|f, cx| {
                    f.move_indirect_probes(cx, link, id);
                    f.neighbour_up(cx, id);
                });
                self.with_broadcast(|b, _| b.neighbour_up(id, now));
                self.with_membership(Membership::review_address);
                self.with_broadcast(|b, cx| b.start_sync(cx, link, id));
            }
            OverlayEffect::NeighbourDown { id } => {
                self.with_failure(|f, _| f.watches.remove(&id));
                self.with_broadcast(|b, cx| b.neighbour_down(cx, id));
            }
            OverlayEffect::ListWanted => self.with_membership(Membership::request_list),
            // The seeds know more: they answer a new record with their certificate.
            OverlayEffect::RecordDoubted => self.renew_record_at_seeds(),
        }
    }

    /// Sends the seeds a new record.
    fn renew_record_at_seeds(&mut self) {
        self.renew_record(|_| {});
        self.send_record_to_seeds();
    }

    /// Fills the target degree; a peer without a deficit needs to know fewer members.
    pub(super) fn fill(&mut self) {
        if self.overlay.takes_no_neighbours(&self.membership.own) {
            self.overlay.fill.next = Time::MAX;
            return;
        }
        if self.overlay.deficit() == 0 {
            self.review_members();
        }
        let requests = self.with_overlay(Overlay::look_for_edges);
        self.with_overlay(|o, cx| o.send_requests(cx, requests));
    }

    /// Dials a peer to send it a request for a free slot.
    pub(super) fn request_slot(&mut self, id: PeerId, addresses: Vec<Address>) {
        self.with_overlay(|o, cx| o.request(cx, id, addresses, PeerRequestKind::FreeSlot, None));
    }

    pub(super) fn request_failed(&mut self, peer: PeerId, why: DialError) {
        self.with_overlay(|o, cx| o.request_failed(cx, peer, why));
    }

    /// Asks for an edge to replace that of a dead neighbour.
    pub(super) fn heal(&mut self, dead: PeerId, neighbourhood: &[(PeerId, Address)]) {
        self.with_overlay(|o, cx| o.heal(cx, dead, neighbourhood));
    }

    pub(super) fn refuse(&mut self, link: LinkId, remote: PeerId, reason: RefuseReason) {
        self.with_overlay(|o, cx| o.refuse(cx, link, remote, reason));
    }

    /// Handles a request for an edge: its record is merged before the overlay decides.
    pub(super) fn on_peer_request(&mut self, link: LinkId, remote: PeerId, f: PeerRequest) {
        if !is_genuine(&f.record, &f.adjacency, remote, self.id()) {
            return self.refuse(link, remote, RefuseReason::WrongIdentity);
        }
        if self.overlay.takes_no_neighbours(&self.membership.own) {
            return self.refuse(link, remote, RefuseReason::Leaving);
        }
        if f.record.presence == Presence::Left {
            return self.refuse(link, remote, RefuseReason::Stale);
        }
        if self.merge_record(&f.record) == MergeOutcome::Dead {
            return self.refuse(link, remote, RefuseReason::DeclaredDead);
        }
        if let Some(n) = self.overlay.neighbours.get(&remote) {
            if n.link == link || f.record.incarnation <= n.adjacency.incarnation {
                // If the old link is dead, find that out soon.
                self.with_failure(|f, cx| {
                    f.watches.get_mut(&remote).map(|w| w.add_indirect_probe(cx.now, link))
                });
                return self.refuse(link, remote, RefuseReason::AlreadyNeighbours);
            }
            // It is a new process or incarnation; the old link is outdated.
            let old = n.link;
            self.close(old, CloseReason::Duplicate);
            self.drop_neighbour(remote, LinkEnd::Local(CloseReason::Duplicate));
        }
        self.with_overlay(|o, cx| o.on_peer_request(cx, link, remote, f));
    }

    /// Handles the answer to a request: its record is merged before the overlay goes on.
    pub(super) fn on_peer_reply(&mut self, link: LinkId, remote: PeerId, f: PeerReply) {
        let Some(request) = self.overlay.requests.remove(&remote) else {
            self.close(link, CloseReason::Duplicate);
            return;
        };
        match f {
            PeerReply::Accept(a) => {
                if !is_genuine(&a.record, &a.adjacency, remote, self.id())
                    || a.record.presence == Presence::Left
                {
                    let why = "the answer does not carry the record of a live peer";
                    return self.refuse_frame(link, why);
                }
                if self.is_leaving() || self.merge_record(&a.record) == MergeOutcome::Dead {
                    return self.close(link, CloseReason::Done);
                }
                self.with_overlay(|o, cx| o.on_accept(cx, link, remote, &request, a));
            }
            PeerReply::Reject(r) => {
                self.close(link, CloseReason::Done);
                let reason = r.reason;
                self.fx.event(Event::RequestRefused { peer: remote, by_this_node: false, reason });
                if r.record.id == remote {
                    self.merge_record(&r.record);
                }
                self.with_overlay(|o, cx| o.on_reject(cx, remote, request, &r));
            }
        }
    }

    /// Removes a neighbour. Returns it, and its watch.
    pub(super) fn drop_neighbour(
        &mut self,
        id: PeerId,
        why: LinkEnd,
    ) -> Option<(Neighbour, Option<Watch>)> {
        if !self.overlay.neighbours.contains_key(&id) {
            return None;
        }
        let watch = self.with_failure(|f, _| f.watches.remove(&id));
        let neighbour = self.with_overlay(|o, cx| o.detach(cx, id, why))?;
        Some((neighbour, watch))
    }

    /// Handles the end of a neighbour's link.
    pub(super) fn on_neighbour_link_down(&mut self, id: PeerId, link: LinkId, why: LinkEnd) {
        if self.overlay.neighbours.get(&id).is_none_or(|n| n.link != link) {
            return;
        }
        let suspected = self.failure.is_suspect(&id);
        let Some((neighbour, watch)) = self.drop_neighbour(id, why) else { return };
        match why {
            LinkEnd::Lost if !suspected => self.suspect_lost(neighbour, watch),
            LinkEnd::Closed(CloseReason::DeclaredDead) => self.renew_record_at_seeds(),
            LinkEnd::Closed(CloseReason::ProtocolViolation | CloseReason::TooSlow)
            | LinkEnd::Local(CloseReason::ProtocolViolation | CloseReason::TooSlow) => {
                let until = self.fx.now() + AVOID_UNREACHABLE * 16;
                self.membership.members.avoid(&id, until);
            }
            _ => {}
        }
    }

    /// Removes a peer whose incarnation has ended.
    pub(super) fn remove_ended_member(
        &mut self,
        id: PeerId,
        incarnation: u64,
        reason: CloseReason,
    ) {
        let over = |r: &SignedRecord| r.incarnation <= incarnation;
        let neighbourhood = self.with_failure(|f, _| f.member_ended(&id));
        // First of all, so that no path to it is looked for.
        self.with_broadcast(|b, _| b.forget_publisher_tree(&id));
        self.with_overlay(|o, cx| o.cancel_request(cx, id, CloseReason::Done, None));
        if self.overlay.neighbours.get(&id).is_some_and(|n| over(&n.record)) {
            let link = self.overlay.neighbours.get(&id).map(|n| n.link);
            let dropped = self.drop_neighbour(id, LinkEnd::Local(reason));
            if let Some(link) = link {
                self.close(link, reason);
            }
            let neighbourhood = dropped.map(|(n, _)| n.neighbourhood).unwrap_or_default();
            self.heal(id, &neighbourhood);
        } else if let Some(neighbourhood) = neighbourhood {
            self.heal(id, &neighbourhood);
        }
        self.with_broadcast(|b, cx| b.on_member_ended(cx, id));
    }
}
