//! Requests for edges: whom this peer asks, and what ends a request.

use core::time::Duration;

use super::{Overlay, OverlayContext, PendingRequest};
use crate::event::CloseReason;
use crate::failure::Adjacency;
use crate::identity::PeerId;
use crate::io::{DialError, DialId, LinkId};
use crate::links::{DialPurpose, LinkPurpose};
use crate::membership::Member;
use crate::record::{Address, Record};
use crate::signed::Signed;
use crate::time::Time;
use crate::wire::{PeerRequest, PeerRequestKind, Redirect};

/// First wait before an unreachable peer is dialled again; it doubles up to 64 times this.
pub(crate) const AVOID_UNREACHABLE: Duration = Duration::from_secs(1);
/// Number of requests above which a neighbour's request to be replaced is refused.
const MAX_REDIRECTED_REQUESTS: usize = 16;

impl Overlay {
    /// Asks one of some members: the one whose link is up first.
    pub(super) fn ask_nearest(
        &mut self,
        cx: &mut OverlayContext<'_>,
        candidates: &[PeerId],
        kind: PeerRequestKind,
    ) {
        for id in candidates {
            self.ask_member(cx, *id, kind);
        }
        if candidates.len() > 1 {
            self.begin_race(candidates);
        }
    }

    /// Whether a member is to be asked for an exchange: it is no neighbour and has no pending
    /// request, and it is likely to answer.
    pub(super) fn may_exchange(&self, id: &PeerId, m: &Member, now: Time) -> bool {
        !m.suspect
            && m.avoid_until <= now
            && !self.neighbours.contains_key(id)
            && !self.requests.contains_key(id)
    }

    pub(super) fn ask_member(
        &mut self,
        cx: &mut OverlayContext<'_>,
        id: PeerId,
        kind: PeerRequestKind,
    ) {
        let addresses = cx.membership.members.get(&id).map(|m| m.record.addresses.clone());
        self.request(cx, id, addresses.unwrap_or_default(), kind, None);
    }

    /// Dials a peer to send it a request.
    pub(crate) fn request(
        &mut self,
        cx: &mut OverlayContext<'_>,
        id: PeerId,
        addresses: Vec<Address>,
        kind: PeerRequestKind,
        close_on_accept: Option<PeerId>,
    ) {
        let known = self.neighbours.contains_key(&id)
            || self.requests.contains_key(&id)
            || id == cx.identity.id();
        let addresses = cx.links.reachable(cx.fx, addresses);
        if known {
            return;
        }
        if addresses.is_empty() {
            cx.fx.counters.requests_without_address += 1;
            cx.membership.members.avoid(&id, cx.now + AVOID_UNREACHABLE * 16);
            return;
        }
        let dial = cx.links.dial_peer(cx.fx, id, addresses.clone(), DialPurpose::Request(id));
        let request = PendingRequest {
            kind,
            dial: Some(dial),
            link: None,
            addresses,
            close_on_accept,
            retried: false,
            race: None,
        };
        self.requests.insert(id, request);
    }

    /// Sends a request when its link is up.
    pub(crate) fn on_request_link(
        &mut self,
        cx: &mut OverlayContext<'_>,
        peer: PeerId,
        link: LinkId,
    ) {
        for slower in self.end_race(&peer) {
            self.cancel_request(cx, slower, CloseReason::Duplicate, None);
        }
        let record = self.current_record(cx);
        let neighbours = self.named();
        let adjacency = adjacency(cx, peer);
        let waits = |r: &&mut PendingRequest| r.link.is_none();
        let Some(request) = self.requests.get_mut(&peer).filter(waits) else {
            // Answered on another link in the meantime, or another peer was nearer.
            cx.links.close(cx.fx, link, CloseReason::Duplicate);
            return;
        };
        request.dial = None;
        request.link = Some(link);
        let kind = request.kind;
        cx.links.set_purpose(link, LinkPurpose::Request);
        cx.fx.send(link, PeerRequest { record, kind, neighbours, adjacency });
    }

    /// Handles a neighbour's request to link with another peer in its place.
    pub(crate) fn on_redirect(
        &mut self,
        cx: &mut OverlayContext<'_>,
        remote: PeerId,
        f: &Redirect,
    ) {
        // The record is at best a statement of another peer: it is not merged, and few such peers
        // are dialled.
        let dead = cx.membership.members.is_dead(&f.to.id, f.to.incarnation);
        if dead || self.requests.len() >= MAX_REDIRECTED_REQUESTS {
            return cx.fx.counters.redirects_refused += 1;
        }
        self.request_replacement(cx, &f.to, f.in_place_of, Some(remote));
    }

    /// Dials a peer to take the place of `of` at it.
    pub(super) fn request_replacement(
        &mut self,
        cx: &mut OverlayContext<'_>,
        at: &Record,
        of: PeerId,
        close_on_accept: Option<PeerId>,
    ) {
        let kind = PeerRequestKind::Replacement(of);
        self.request(cx, at.id, at.addresses.clone(), kind, close_on_accept);
    }

    /// Handles a failed dial of a request.
    pub(crate) fn request_dial_failed(
        &mut self,
        cx: &mut OverlayContext<'_>,
        peer: PeerId,
        dial: DialId,
        why: DialError,
    ) {
        // The dial of a cancelled request does not affect a later one.
        if self.requests.get(&peer).is_some_and(|r| r.dial == Some(dial)) {
            self.request_failed(cx, peer, why);
        }
    }

    /// Handles a failed request.
    pub(crate) fn request_failed(
        &mut self,
        cx: &mut OverlayContext<'_>,
        peer: PeerId,
        why: DialError,
    ) {
        let now = cx.now;
        if self.requests.remove(&peer).is_none() {
            return;
        }
        if let Some(m) = cx.membership.members.get_mut(&peer) {
            m.failures = m.failures.saturating_add(1);
            m.avoid_until = if why == DialError::Limit {
                now + AVOID_UNREACHABLE
            } else {
                now + AVOID_UNREACHABLE * (1 << (m.failures - 1).min(6))
            };
        }
        self.fill.look_soon(now);
    }

    /// Cancels a request and its link, except the link to `keep`. A link that is still being made
    /// is closed when it is up.
    pub(crate) fn cancel_request(
        &mut self,
        cx: &mut OverlayContext<'_>,
        peer: PeerId,
        reason: CloseReason,
        keep: Option<LinkId>,
    ) {
        let Some(request) = self.requests.remove(&peer) else { return };
        if let Some(link) = request.link.filter(|l| Some(*l) != keep) {
            cx.links.close(cx.fx, link, reason);
        }
    }

    /// Begins a race between candidates that are dialled for one request: the first linked one is
    /// asked.
    fn begin_race(&mut self, between: &[PeerId]) {
        self.races += 1;
        for id in between {
            if let Some(request) = self.requests.get_mut(id) {
                request.race = Some(self.races);
            }
        }
    }

    /// Ends the race of a candidate whose link is up. Returns the other candidates.
    fn end_race(&mut self, first: &PeerId) -> Vec<PeerId> {
        let race = self.requests.get_mut(first).and_then(|r| r.race.take());
        let of_it = |r: &PendingRequest| race.is_some() && r.race == race;
        self.requests.iter().filter(|(_, r)| of_it(r)).map(|(id, _)| *id).collect()
    }
}

/// The statement that a peer is this one's neighbour.
pub(super) fn adjacency(cx: &OverlayContext<'_>, neighbour: PeerId) -> Signed<Adjacency> {
    let (subject, incarnation) = (cx.identity.id(), cx.membership.own.record.incarnation);
    Signed::sign(Adjacency { subject, neighbour, incarnation }, cx.identity)
}
