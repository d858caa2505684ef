//! Links that come up and end, and dials that fail.

use super::Peer;
use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::io::{DialError, DialId, LinkId, LinkInfo};
use crate::limits::{IDLE_LINK_TIMEOUT, MAX_PEER_LINKS};
use crate::links::{DialPurpose, Link, LinkPurpose, ObservedAddress};
use crate::quota::Quota;
use crate::time::Time;
use crate::wire::ProbeRequest;

impl Peer {
    pub(super) fn on_link_up(&mut self, id: LinkId, info: LinkInfo) {
        let dial = info.dial.and_then(|d| Some((d, self.links.dials.remove(&d)?)));
        if info.remote == self.id() {
            // The peer's own address was among the candidates.
            self.fx.close(id, CloseReason::Duplicate);
            self.forget_dial(dial, DialError::WrongIdentity);
            return;
        }
        let for_seed = matches!(dial, Some((_, DialPurpose::Seed(_))));
        if self.membership.own.has_left() || (self.is_leaving() && !for_seed) {
            self.fx.close(id, CloseReason::Leaving);
            return;
        }
        // A suspect that took part in a handshake is alive, also where there is no room for a link.
        self.on_traffic(info.remote);
        self.on_handshake(info.remote);
        if self.links.open.len() >= MAX_PEER_LINKS {
            self.fx.counters.links_refused += 1;
            self.fx.close(id, CloseReason::Limit);
            self.forget_dial(dial, DialError::Limit);
            return;
        }
        let now = self.fx.now();
        let observed = info.observed.filter(|_| self.membership.observes_address());
        let link = Link {
            remote: info.remote,
            role: info.role,
            dialed: info.dial.is_some(),
            address: info.remote_address.into(),
            up_since: now,
            purpose: LinkPurpose::Unused,
            quota: Quota::new(now),
            observed: observed.map(|observed| {
                let ip = observed.ip().to_canonical();
                let local = info.local_address.map(|a| a.ip().to_canonical());
                Box::new(ObservedAddress { ip, confirmed: local == Some(ip) })
            }),
        };
        self.links.open.insert(id, link);
        self.links.next_idle_check = self.links.next_idle_check.min(now + IDLE_LINK_TIMEOUT);
        match dial.map(|(_, purpose)| purpose) {
            Some(DialPurpose::Seed(index)) => self.on_seed_up(index, id, &info),
            Some(DialPurpose::Request(peer)) => {
                self.with_overlay(|o, cx| o.on_request_link(cx, peer, id));
            }
            Some(DialPurpose::IndirectProbe { helper, subject }) => {
                self.set_purpose(id, LinkPurpose::IndirectProbe(Box::new(subject)));
                let suspect = self.failure.suspects.get(&subject);
                let incarnation = suspect.map(|s| s.record.incarnation);
                let neighbour = self.overlay.neighbours.get(&helper).map(|n| n.link);
                if let Some(incarnation) = incarnation {
                    let link = neighbour.unwrap_or(id);
                    self.fx.send(link, ProbeRequest { subject, incarnation });
                }
                if incarnation.is_none() || neighbour.is_some() {
                    self.close(id, CloseReason::Done);
                }
            }
            Some(DialPurpose::Probe(peer)) => {
                self.failure.probe_dial_ended(&peer);
                self.close(id, CloseReason::Done);
            }
            None => {}
        }
    }

    pub(super) fn set_purpose(&mut self, id: LinkId, purpose: LinkPurpose) {
        self.links.set_purpose(id, purpose);
    }

    /// Closes a link and removes it; the driver's `LinkDown` for it is ignored.
    pub(super) fn close(&mut self, id: LinkId, reason: CloseReason) {
        self.links.close(&mut self.fx, id, reason);
    }

    /// Closes a link because of a frame that the remote sent.
    pub(super) fn refuse_frame(&mut self, id: LinkId, why: &str) {
        let Some(link) = self.links.open.get(&id) else { return };
        let peer = link.remote;
        self.fx.counters.frames_refused += 1;
        self.fx.event(Event::FrameRefused { peer, why: why.to_owned() });
        self.fx.event(Event::LinkClosed { peer, reason: CloseReason::ProtocolViolation });
        let down = LinkEnd::Local(CloseReason::ProtocolViolation);
        let purpose = link.purpose.clone();
        self.close(id, CloseReason::ProtocolViolation);
        self.link_ended(id, peer, &purpose, down);
    }

    pub(super) fn on_link_down(&mut self, id: LinkId, why: LinkEnd) {
        let Some(link) = self.links.open.remove(&id) else { return };
        self.link_ended(id, link.remote, &link.purpose, why);
    }

    fn link_ended(&mut self, id: LinkId, remote: PeerId, purpose: &LinkPurpose, why: LinkEnd) {
        match purpose {
            LinkPurpose::Seed(index) => {
                self.with_membership(|m, cx| m.on_seed_down(cx, *index, why));
            }
            LinkPurpose::Neighbour => self.on_neighbour_link_down(remote, id, why),
            LinkPurpose::Request => self.request_failed(remote, DialError::Refused),
            LinkPurpose::Leaving(_) => self.review_leave(),
            LinkPurpose::IndirectProbe(_) | LinkPurpose::Unused => {}
        }
    }

    pub(super) fn on_dial_failed(&mut self, dial: DialId, why: DialError) {
        self.fx.counters.dials_failed += 1;
        let dial = self.links.dials.remove(&dial).map(|purpose| (dial, purpose));
        self.forget_dial(dial, why);
    }

    fn forget_dial(&mut self, dial: Option<(DialId, DialPurpose)>, why: DialError) {
        let Some((dial, purpose)) = dial else { return };
        match purpose {
            DialPurpose::Seed(index) if self.membership.registrations.is_linked(index) => {
                // The name of a linked seed resolves to another address without an answer: the link
                // stays.
                self.fx.counters.seed_moves_failed += 1;
                self.membership.registrations.end_dial(index);
            }
            DialPurpose::Seed(index) => {
                let Some(s) = self.membership.registrations.slots.get_mut(index) else { return };
                // An earlier problem is outdated: no seed answers there now.
                s.problem = None;
                if why == DialError::WrongIdentity {
                    let seed = s.address.host_port.clone();
                    self.membership.registrations.set_problem(index, why.to_string());
                    self.fx.event(Event::SeedRefused { seed, why: why.to_string() });
                }
                self.with_membership(|m, cx| m.on_seed_lost(cx, index, why.to_string()));
            }
            DialPurpose::Request(peer) => {
                self.with_overlay(|o, cx| o.request_dial_failed(cx, peer, dial, why));
            }
            DialPurpose::Probe(peer) => self.failure.probe_dial_ended(&peer),
            DialPurpose::IndirectProbe { .. } => {}
        }
    }

    /// Closes links without a purpose.
    pub(super) fn check_idle_links(&mut self) {
        let now = self.fx.now();
        if now < self.links.next_idle_check {
            return;
        }
        let unused = |l: &Link| {
            matches!(
                l.purpose,
                LinkPurpose::Unused | LinkPurpose::IndirectProbe(_) | LinkPurpose::Request
            )
        };
        let idle: Vec<LinkId> = self
            .links
            .open
            .iter()
            .filter(|(_, l)| unused(l) && now.since(l.up_since) >= IDLE_LINK_TIMEOUT)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.fx.counters.links_idle_closed += 1;
            let remote =
                self.links.open.get(&id).map(|l| (l.remote, l.purpose == LinkPurpose::Request));
            self.close(id, CloseReason::Idle);
            if let Some((remote, true)) = remote {
                self.request_failed(remote, DialError::TimedOut);
            }
        }
        let next = self
            .links
            .open
            .values()
            .filter(|l| unused(l))
            .map(|l| l.up_since + IDLE_LINK_TIMEOUT)
            .min();
        self.links.next_idle_check = next.unwrap_or(Time::MAX);
    }
}
