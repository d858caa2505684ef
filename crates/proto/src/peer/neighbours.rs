//! Making and ending the edges of the overlay: PeerRequest, PeerReply, edge transfer, edge swap.

use core::time::Duration;
use std::sync::Arc;

use super::Peer;
use crate::broadcast::Broadcast;
use crate::event::{CloseReason, Event, LinkEnd, RefuseReason};
use crate::failure::Adjacency;
use crate::failure::{FailureDetector, Watch};
use crate::identity::PeerId;
use crate::io::{DialError, DialId, LinkId};
use crate::limits::MAX_NEIGHBOURHOOD;
use crate::links::{DialPurpose, Link, LinkPurpose};
use crate::membership::{Member, MergeOutcome};
use crate::overlay::{
    EdgeLoad, Neighbour, PendingRequest, PlannedRequest, RequestAnswer, TrimAction,
};
use crate::record::{Address, Presence, SignedRecord};
use crate::signed::Signed;
use crate::time::Time;
use crate::wire::{
    Accept, Neighbourhood, PeerReply, PeerRequest, PeerRequestKind, Permit, ProbeRequest, Redirect,
    Reject,
};

/// First wait before an unreachable peer is dialled again; it doubles up to 64 times this.
const AVOID_UNREACHABLE: Duration = Duration::from_secs(1);
/// The degree in a record that a seed has listed so lately is up to date.
const FRESH_RECORD: Duration = Duration::from_secs(15);
/// Number of requests above which a neighbour's request to be replaced is refused.
const MAX_REWIRE_REQUESTS: usize = 16;
/// Wait before a peer that refused is asked again.
const AVOID_REFUSED: Duration = Duration::from_millis(1500);

/// The peer that gets the granted edge: in an exchange it is not the requester but the neighbour
/// that the requester gives.
const fn taker(kind: PeerRequestKind, requester: PeerId) -> PeerId {
    match kind {
        PeerRequestKind::EdgeSwap { give } | PeerRequestKind::SurplusPairing { give } => give,
        _ => requester,
    }
}

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
        self.failure.watch(neighbour).and_then(Watch::smoothed_delay)
    }
}

impl Peer {
    /// Asks peers for missing edges.
    pub(super) fn fill(&mut self) {
        let now = self.fx.now();
        if now < self.overlay.fill.next {
            return;
        }
        if self.takes_no_neighbours() {
            self.overlay.fill.next = Time::MAX;
            return;
        }
        if self.overlay.deficit() == 0 {
            self.review_members();
        }
        let (me, members) = (self.id(), &self.membership.members);
        let asks = self.overlay.fill(me, members, now, &mut self.rng.overlay);
        let place = |ask: &PlannedRequest| matches!(ask.kind, PeerRequestKind::FreeSlot);
        if !asks.iter().any(place) && self.overlay.fill.wants_list(now) {
            self.request_list();
        }
        for PlannedRequest { candidates, kind } in asks {
            self.ask_nearest(&candidates, kind);
        }
    }

    /// Asks one of some members: the one whose link is up first.
    fn ask_nearest(&mut self, candidates: &[PeerId], kind: PeerRequestKind) {
        for id in candidates {
            self.ask_member(*id, kind);
        }
        if candidates.len() > 1 {
            self.overlay.begin_race(candidates);
        }
    }

    /// Whether a member is to be asked for an exchange: it is no neighbour and has no pending
    /// request, and it is likely to answer.
    fn may_exchange(&self, id: &PeerId, m: &Member, now: Time) -> bool {
        !m.suspect
            && m.avoid_until <= now
            && !self.overlay.neighbours.contains_key(id)
            && !self.overlay.requests.contains_key(id)
    }

    fn ask_member(&mut self, id: PeerId, kind: PeerRequestKind) {
        let addresses = self.membership.members.get(&id).map(|m| m.record.addresses.clone());
        self.request(id, addresses.unwrap_or_default(), kind, None);
    }

    /// Exchanges one edge with a random peer (i-a, j-b become i-j, a-b): all degrees stay, and no
    /// two parts of the network stay disconnected for long.
    pub(super) fn request_swap(&mut self) {
        let now = self.fx.now();
        if now < self.overlay.next_swap {
            return;
        }
        if self.overlay.soon_swaps > 0 {
            self.overlay.soon_swaps -= 1;
            let soon = Duration::from_secs(2);
            self.overlay.next_swap = now + self.rng.overlay.scaled(soon, 0.5, 1.5);
        } else {
            self.overlay.next_swap = now + self.swap_period();
        }
        let free = self.overlay.neighbours.iter().filter(|(_, n)| !n.is_promised(now));
        let give: Vec<(PeerId, bool)> =
            free.map(|(id, _)| (*id, self.broadcast.is_busy(id, now))).collect();
        let others: Vec<PeerId> = self
            .membership
            .members
            .alive()
            .filter(|(id, m)| self.may_exchange(id, m, now))
            .map(|(id, _)| *id)
            .collect();
        if self.is_departing() || give.is_empty() {
            return;
        }
        let candidates = match self.overlay.dial_candidates {
            0 | 1 => {
                others.get(self.rng.overlay.below(others.len())).copied().into_iter().collect()
            }
            n => self.rng.overlay.sample(others, n),
        };
        if candidates.is_empty() {
            return;
        }
        let edges = Edges { broadcast: &self.broadcast, failure: &self.failure, now };
        let Some(give) =
            self.overlay.choose_transferred(&give, true, &edges, &mut self.rng.overlay)
        else {
            return;
        };
        self.ask_nearest(&candidates, PeerRequestKind::EdgeSwap { give });
    }

    /// Gives up surplus neighbours.
    pub(super) fn trim(&mut self) {
        let now = self.fx.now();
        let me = self.id();
        let edges = Edges { broadcast: &self.broadcast, failure: &self.failure, now };
        let (a, b) = match self.overlay.trim(&me, &edges, now, &mut self.rng.overlay) {
            Some(TrimAction::Pair(a, b)) => (a, b),
            Some(TrimAction::Drop(id) | TrimAction::DropShared(id)) => {
                self.fx.count("edges_given_up");
                return self.drop_replaced(id);
            }
            Some(TrimAction::FindPartner) => return self.find_surplus_partner(),
            None => return,
        };
        let in_place_of = me;
        let links = (self.overlay.neighbours.get(&a), self.overlay.neighbours.get(&b));
        let (Some(na), Some(nb)) = links else { return };
        self.fx.send(nb.link, Permit { peer: a });
        self.fx.send(na.link, Redirect { to: nb.record.clone(), in_place_of });
        self.overlay.promise(&a, now);
        self.overlay.promise(&b, now);
    }

    /// Looks for another peer with a surplus neighbour: i-a, u-b become a-b.
    fn find_surplus_partner(&mut self) {
        let now = self.fx.now();
        let over = |(id, m): &(&PeerId, &Member)| {
            m.record.degree > m.record.target
                && now.since(m.confirmed) < FRESH_RECORD
                && self.may_exchange(id, m, now)
        };
        let others: Vec<PeerId> =
            self.membership.members.alive().filter(over).map(|(id, _)| *id).collect();
        let Some(&other) = others.get(self.rng.overlay.below(others.len())) else {
            // The degrees of others are not pushed; the seeds know them better.
            if self.overlay.surplus_search.wants_list(now) {
                self.request_list();
            }
            return;
        };
        let idle = |(id, n): &(&PeerId, &Neighbour)| {
            !n.is_promised(now) && !self.broadcast.is_busy(id, now)
        };
        let give: Vec<PeerId> =
            self.overlay.neighbours.iter().filter(idle).map(|(id, _)| *id).collect();
        let Some(&give) = give.get(self.rng.overlay.below(give.len())) else { return };
        self.ask_member(other, PeerRequestKind::SurplusPairing { give });
    }

    /// Dials a peer to send it a request.
    pub(super) fn request(
        &mut self,
        id: PeerId,
        addresses: Vec<Address>,
        kind: PeerRequestKind,
        close_on_accept: Option<PeerId>,
    ) {
        let known = self.overlay.neighbours.contains_key(&id)
            || self.overlay.requests.contains_key(&id)
            || id == self.id();
        let addresses = self.links.reachable(&mut self.fx, addresses);
        if known {
            return;
        }
        if addresses.is_empty() {
            self.fx.count("requests_without_address");
            if let Some(m) = self.membership.members.get_mut(&id) {
                m.avoid_until = self.fx.now() + AVOID_UNREACHABLE * 16;
            }
            return;
        }
        let dial =
            self.links.dial_peer(&mut self.fx, id, addresses.clone(), DialPurpose::Request(id));
        let request = PendingRequest {
            kind,
            dial: Some(dial),
            link: None,
            addresses,
            close_on_accept,
            retried: false,
            race: None,
        };
        self.overlay.requests.insert(id, request);
    }

    /// Sends a request when its link is up.
    pub(super) fn on_request_link(&mut self, peer: PeerId, link: LinkId) {
        for slower in self.overlay.end_race(&peer) {
            self.cancel_request(slower, CloseReason::Duplicate, None);
        }
        let record = self.current_record();
        let neighbours = self.overlay.named();
        let adjacency = self.adjacency(peer);
        let waits = |r: &&mut PendingRequest| r.link.is_none();
        let Some(request) = self.overlay.requests.get_mut(&peer).filter(waits) else {
            // Answered on another link in the meantime, or another peer was nearer.
            self.close(link, CloseReason::Duplicate);
            return;
        };
        request.dial = None;
        request.link = Some(link);
        let kind = request.kind;
        self.set_purpose(link, LinkPurpose::Request);
        self.fx.send(link, PeerRequest { record, kind, neighbours, adjacency });
    }

    fn adjacency(&self, neighbour: PeerId) -> Signed<Adjacency> {
        let (subject, incarnation) = (self.id(), self.incarnation());
        Signed::sign(Adjacency { subject, neighbour, incarnation }, &self.identity)
    }

    pub(super) fn on_peer_request(&mut self, link: LinkId, remote: PeerId, f: PeerRequest) {
        let identity_holds = f.record.id == remote
            && f.adjacency.subject == remote
            && f.adjacency.neighbour == self.id()
            && f.adjacency.incarnation == f.record.incarnation;
        if !identity_holds {
            return self.refuse(link, remote, RefuseReason::WrongIdentity);
        }
        if self.takes_no_neighbours() {
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
                let now = self.fx.now();
                self.with_failure(|f, _| f.add_indirect_probe(&remote, now, link));
                return self.refuse(link, remote, RefuseReason::AlreadyNeighbours);
            }
            // It is a new process or incarnation; the old link is outdated.
            let old = n.link;
            self.close(old, CloseReason::Duplicate);
            self.drop_neighbour(remote, LinkEnd::Local(CloseReason::Duplicate));
        }
        if let Some(own) = self.overlay.requests.get(&remote) {
            if self.id() < remote && own.race.is_none() {
                // Both ask: the request of the smaller id stands.
                return self.refuse(link, remote, RefuseReason::Crossed);
            }
            self.cancel_request(remote, CloseReason::Duplicate, Some(link));
        }
        let now = self.fx.now();
        let rng = &mut self.rng.overlay;
        let edges = Edges { broadcast: &self.broadcast, failure: &self.failure, now };
        let answer = self.overlay.answer(&f.record, f.kind, &f.neighbours, &edges, now, rng);
        self.send_answer(link, remote, f, answer);
    }

    fn send_answer(&mut self, link: LinkId, remote: PeerId, f: PeerRequest, answer: RequestAnswer) {
        let now = self.fx.now();
        let (replaced, given) = match answer {
            RequestAnswer::Refuse(reason) => return self.refuse(link, remote, reason),
            RequestAnswer::RefuseAndTransfer(v) => {
                return self.refuse_and_transfer(link, remote, v, taker(f.kind, remote));
            }
            RequestAnswer::Accept => (None, None),
            RequestAnswer::AcceptInPlaceOf(of) => (Some(of), None),
            RequestAnswer::AcceptAndTransfer(v) => (None, Some(v)),
        };
        let adjacency = self.adjacency(remote);
        self.attach(link, remote, f.record, f.adjacency);
        let transfer = given.and_then(|v| {
            self.overlay.promise(&v, now);
            let n = self.overlay.neighbours.get(&v)?;
            self.fx.send(n.link, Permit { peer: taker(f.kind, remote) });
            Some(n.record.clone())
        });
        let record = self.current_record();
        self.fx.send(link, PeerReply::Accept(Accept { record, adjacency, transfer }));
        if let Some(of) = replaced {
            self.drop_replaced(of);
        }
        self.with_broadcast(|b, cx| b.start_sync(cx, link, remote));
    }

    /// Ends the edge to a neighbour that another peer has replaced.
    fn drop_replaced(&mut self, id: PeerId) {
        let Some(n) = self.overlay.neighbours.get(&id) else { return };
        let link = n.link;
        self.close(link, CloseReason::EdgeTransferred);
        self.drop_neighbour(id, LinkEnd::Local(CloseReason::EdgeTransferred));
    }

    fn refuse_and_transfer(&mut self, link: LinkId, remote: PeerId, v: PeerId, taker: PeerId) {
        let now = self.fx.now();
        self.overlay.promise(&v, now);
        let Some(n) = self.overlay.neighbours.get(&v) else { return };
        let transfer = Some(n.record.clone());
        self.fx.send(n.link, Permit { peer: taker });
        self.send_reject(link, remote, RefuseReason::Full, transfer);
    }

    pub(super) fn refuse(&mut self, link: LinkId, remote: PeerId, reason: RefuseReason) {
        self.send_reject(link, remote, reason, None);
    }

    fn send_reject(
        &mut self,
        link: LinkId,
        remote: PeerId,
        reason: RefuseReason,
        transfer: Option<SignedRecord>,
    ) {
        self.fx.count("requests_refused");
        self.fx.event(Event::RequestRefused { peer: remote, by_this_node: true, reason });
        let record = self.current_record();
        self.fx.send(link, PeerReply::Reject(Reject { reason, record, transfer }));
        // The requester closes the link when it has read the answer; an idle link is closed in
        // time.
    }

    pub(super) fn on_peer_reply(&mut self, link: LinkId, remote: PeerId, f: PeerReply) {
        let Some(request) = self.overlay.requests.remove(&remote) else {
            self.close(link, CloseReason::Duplicate);
            return;
        };
        match f {
            PeerReply::Accept(a) => self.on_accept(link, remote, &request, a),
            PeerReply::Reject(r) => self.on_reject(link, remote, request, &r),
        }
    }

    fn on_accept(&mut self, link: LinkId, remote: PeerId, request: &PendingRequest, a: Accept) {
        let identity_holds = a.record.id == remote
            && a.adjacency.subject == remote
            && a.adjacency.neighbour == self.id()
            && a.adjacency.incarnation == a.record.incarnation;
        if !identity_holds || a.record.presence == Presence::Left {
            return self.refuse_frame(link, "the answer does not carry the record of a live peer");
        }
        if self.is_leaving() || self.merge_record(&a.record) == MergeOutcome::Dead {
            return self.close(link, CloseReason::Done);
        }
        // The other kinds are for edges that are promised to other peers as well.
        let own_need = matches!(
            request.kind,
            PeerRequestKind::FreeSlot | PeerRequestKind::Overflow | PeerRequestKind::EdgeTransfer
        );
        if own_need && self.overlay.deficit() == 0 {
            // Other requests were accepted before this one.
            self.fx.count("places_declined");
            return self.close(link, CloseReason::Full);
        }
        self.attach(link, remote, a.record, a.adjacency);
        self.with_broadcast(|b, cx| b.start_sync(cx, link, remote));
        if let Some(id) = request.close_on_accept {
            self.drop_replaced(id);
        }
        match (request.kind, a.transfer) {
            (PeerRequestKind::EdgeTransfer, Some(v)) => {
                self.request(v.id, v.addresses.clone(), PeerRequestKind::Replacement(remote), None);
            }
            (PeerRequestKind::EdgeSwap { give }, Some(v)) => {
                if let Some(n) = self.overlay.neighbours.get(&give) {
                    self.fx.send(n.link, Redirect { to: v, in_place_of: remote });
                    self.overlay.promise(&give, self.fx.now());
                }
            }
            _ => {}
        }
    }

    fn on_reject(&mut self, link: LinkId, remote: PeerId, request: PendingRequest, r: &Reject) {
        let now = self.fx.now();
        self.close(link, CloseReason::Done);
        self.fx.event(Event::RequestRefused {
            peer: remote,
            by_this_node: false,
            reason: r.reason,
        });
        if r.record.id == remote {
            self.merge_record(&r.record);
        }
        if let Some(m) = self.membership.members.get_mut(&remote) {
            m.avoid_until = now + AVOID_REFUSED;
        }
        match (request.kind, r.reason, &r.transfer) {
            (PeerRequestKind::SurplusEdge | PeerRequestKind::EdgeTransfer, _, Some(v)) => {
                self.request(v.id, v.addresses.clone(), PeerRequestKind::Replacement(remote), None);
            }
            (PeerRequestKind::SurplusPairing { give }, _, Some(v)) => {
                if let Some(n) = self.overlay.neighbours.get(&give) {
                    self.fx.count("edges_paired");
                    self.fx.send(n.link, Redirect { to: v.clone(), in_place_of: remote });
                    self.overlay.promise(&give, now);
                }
            }
            (PeerRequestKind::Replacement(_), RefuseReason::NoPermit, _) if !request.retried => {
                // The permission travels on another link and may arrive a moment later.
                let PendingRequest { kind, addresses, close_on_accept, .. } = request;
                self.request(remote, addresses, kind, close_on_accept);
                if let Some(again) = self.overlay.requests.get_mut(&remote) {
                    again.retried = true;
                }
            }
            (_, RefuseReason::DeclaredDead, _) => {
                // The seeds know more: a refresh returns their certificate.
                self.renew_record(|_| {});
                self.send_record_to_seeds();
            }
            (PeerRequestKind::FreeSlot, ..) => self.overlay.fill.look_soon(now),
            _ => self.overlay.fill.back_off(now),
        }
    }

    /// Handles a failed dial of a request.
    pub(super) fn request_dial_failed(&mut self, peer: PeerId, dial: DialId, why: DialError) {
        // The dial of a cancelled request does not affect a later one.
        if self.overlay.requests.get(&peer).is_some_and(|r| r.dial == Some(dial)) {
            self.request_failed(peer, why);
        }
    }

    /// Handles a failed request.
    pub(super) fn request_failed(&mut self, peer: PeerId, why: DialError) {
        let now = self.fx.now();
        if self.overlay.requests.remove(&peer).is_none() {
            return;
        }
        if let Some(m) = self.membership.members.get_mut(&peer) {
            m.failures = m.failures.saturating_add(1);
            m.avoid_until = if why == DialError::Limit {
                now + AVOID_UNREACHABLE
            } else {
                now + AVOID_UNREACHABLE * (1 << (m.failures - 1).min(6))
            };
        }
        self.overlay.fill.look_soon(now);
    }

    /// Cancels a request and its link, except the link to `keep`. A link that is still being made
    /// is closed when it is up.
    fn cancel_request(&mut self, peer: PeerId, reason: CloseReason, keep: Option<LinkId>) {
        let Some(request) = self.overlay.requests.remove(&peer) else { return };
        if let Some(link) = request.link.filter(|l| Some(*l) != keep) {
            self.close(link, reason);
        }
    }

    /// Moves indirect probes through a peer that becomes a neighbour to its new link.
    fn move_questions(&mut self, link: LinkId, id: PeerId) {
        let asks = |l: &Link| l.remote == id && matches!(l.purpose, LinkPurpose::IndirectProbe(_));
        let asking: Vec<(LinkId, LinkPurpose)> = self
            .links
            .open
            .iter()
            .filter(|(at, l)| **at != link && asks(l))
            .map(|(at, l)| (*at, l.purpose.clone()))
            .collect();
        for (at, purpose) in asking {
            self.close(at, CloseReason::Done);
            if let LinkPurpose::IndirectProbe(subject) = purpose
                && let Some(s) = self.failure.suspect(&subject)
            {
                let (subject, incarnation) = (*subject, s.record.incarnation);
                self.fx.send(link, ProbeRequest { subject, incarnation });
            }
        }
    }

    /// Adds a neighbour.
    fn attach(
        &mut self,
        link: LinkId,
        id: PeerId,
        record: SignedRecord,
        adjacency: Signed<Adjacency>,
    ) {
        let now = self.fx.now();
        self.move_questions(link, id);
        let Some(l) = self.links.open.get_mut(&link) else { return };
        l.purpose = LinkPurpose::Neighbour;
        let listening = record.addresses.first().copied();
        let neighbour = Neighbour {
            link,
            dialed: l.dialed,
            address: listening.map_or_else(|| l.address.clone(), |a| a.0.into()),
            degree: record.degree,
            target: record.target,
            adjacency,
            since: now,
            neighbourhood: Arc::default(),
            promised: None,
            record,
        };
        if let Some(m) = self.membership.members.get_mut(&id) {
            m.failures = 0;
            m.suspect = false;
        }
        let name = neighbour.record.name.clone();
        self.overlay.neighbours.insert(id, neighbour);
        self.with_broadcast(|b, _| b.neighbour_up(id, now));
        self.with_failure(|f, cx| f.neighbour_up(cx, id));
        if self.membership.own.participates_since.is_none() {
            self.begin_to_participate();
        }
        let (degree, target) = (self.overlay.degree(), self.overlay.target);
        self.fx.event(Event::NeighbourUp { id, name, degree, target });
        self.schedule_record_update();
        self.store_anchors();
        self.review_address();
    }

    /// Removes a neighbour.
    pub(super) fn drop_neighbour(
        &mut self,
        id: PeerId,
        why: LinkEnd,
    ) -> Option<(Neighbour, Option<Watch>)> {
        let neighbour = self.overlay.neighbours.remove(&id)?;
        let watch = self.with_failure(|f, _| f.neighbour_down(&id));
        self.with_broadcast(|b, cx| b.neighbour_down(cx, id));
        let (name, degree) = (neighbour.record.name.clone(), self.overlay.degree());
        self.fx.event(Event::NeighbourDown { id, name, why, degree });
        let now = self.fx.now();
        self.overlay.fill.look_soon(now);
        self.schedule_record_update();
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
            LinkEnd::Closed(CloseReason::DeclaredDead) => {
                self.renew_record(|_| {});
                self.send_record_to_seeds();
            }
            LinkEnd::Closed(CloseReason::ProtocolViolation | CloseReason::TooSlow)
            | LinkEnd::Local(CloseReason::ProtocolViolation | CloseReason::TooSlow) => {
                let until = self.fx.now() + AVOID_UNREACHABLE * 16;
                if let Some(m) = self.membership.members.get_mut(&id) {
                    m.avoid_until = until;
                }
            }
            _ => {}
        }
    }

    /// Handles a neighbour's request to link with another peer in its place.
    pub(super) fn on_redirect(&mut self, remote: PeerId, f: &Redirect) {
        // The record is at best a statement of another peer: it is not merged, and few such peers
        // are dialled.
        let dead = self.membership.members.is_dead(&f.to.id, f.to.incarnation);
        if dead || self.overlay.requests.len() >= MAX_REWIRE_REQUESTS {
            return self.fx.count("redirects_refused");
        }
        let addresses = f.to.addresses.clone();
        self.request(f.to.id, addresses, PeerRequestKind::Replacement(f.in_place_of), Some(remote));
    }

    pub(super) fn on_neighbourhood(&mut self, remote: PeerId, f: Neighbourhood) {
        if let Some(n) = self.overlay.neighbours.get_mut(&remote) {
            n.neighbourhood = f.neighbours;
            n.degree = f.degree;
            n.target = f.target;
        }
    }

    /// Sends the neighbours the list of neighbours.
    pub(super) fn announce_neighbourhood(&mut self) {
        self.overlay.announce_at = None;
        let all = self.overlay.neighbours.iter().map(|(id, n)| (*id, n.address.get()));
        let frame = Neighbourhood {
            neighbours: all.take(MAX_NEIGHBOURHOOD).collect(),
            degree: self.overlay.degree(),
            target: self.overlay.target,
        };
        for n in self.overlay.neighbours.values() {
            self.fx.send(n.link, frame.clone());
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
        self.cancel_request(id, CloseReason::Done, None);
        if self.overlay.neighbours.get(&id).is_some_and(|n| over(&n.record)) {
            let link = self.overlay.neighbours.get(&id).map(|n| n.link);
            let dropped = self.drop_neighbour(id, LinkEnd::Local(reason));
            if let Some(link) = link {
                self.close(link, reason);
            }
            self.heal(id, &dropped.map(|(n, _)| n.neighbourhood).unwrap_or_default());
        } else if let Some(neighbourhood) = neighbourhood {
            self.heal(id, &neighbourhood);
        }
        self.with_broadcast(|b, cx| b.on_member_ended(cx, id));
    }
}
