//! The links of a seed.

use super::Seed;
use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::io::{DialError, DialId, LinkId, LinkInfo, Role};
use crate::limits::{IDLE_LINK_TIMEOUT, MAX_SEED_LINKS};
use crate::quota::Quota;
use crate::record::Address;
use crate::time::Time;
use crate::wire::Frame;

/// One link.
#[derive(Debug)]
pub(super) struct SeedLink {
    pub(super) remote: PeerId,
    pub(super) role: Role,
    pub(super) up: Time,
    /// The last sign of life.
    pub(super) last_heard: Time,
    /// Whether it has a purpose: a registration, another seed.
    pub(super) has_purpose: bool,
    pub(super) list_sent: Option<Time>,
    /// Whether a registration was acknowledged on it.
    pub(super) acknowledged: bool,
    /// The remaining requests that it may send.
    pub(super) quota: Quota,
    /// Whether the link uses the loopback interface: the remote is on this host, or tunnelled.
    pub(super) on_loopback: bool,
    /// The number of the process that registered on it.
    pub(super) process: Option<u64>,
    /// Whether the seed has sent it the record of another process with its identity.
    pub(super) has_reported_duplicate: bool,
}

/// The purpose of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeedDialPurpose {
    Seed(usize),
    Probe(PeerId),
}

impl Seed {
    pub(super) fn on_link_up(&mut self, id: LinkId, info: LinkInfo) {
        let now = self.fx.now();
        let purpose = info.dial.and_then(|d| self.dials.remove(&d));
        if info.remote == self.id() {
            self.fx.close(id, CloseReason::Duplicate);
            match purpose {
                // The configured address is this seed's own.
                Some(SeedDialPurpose::Seed(index)) if info.same_process => {
                    self.on_own_address(index)
                }
                Some(SeedDialPurpose::Seed(index)) => self.on_copy_answered(index),
                _ if info.same_process => {}
                _ => self.on_copy_dialled(info.remote_address),
            }
            return;
        }
        if self.links.len() >= MAX_SEED_LINKS {
            self.fx.counters.links_refused += 1;
            self.fx.close(id, CloseReason::Limit);
            return;
        }
        let link = SeedLink {
            remote: info.remote,
            role: info.role,
            up: now,
            last_heard: now,
            has_purpose: false,
            list_sent: None,
            acknowledged: false,
            quota: Quota::new(now),
            on_loopback: Address(info.remote_address).is_loopback(),
            process: None,
            has_reported_duplicate: false,
        };
        self.links.insert(id, link);
        self.next_idle_check = self.next_idle_check.min(now + IDLE_LINK_TIMEOUT);
        self.on_traffic(info.remote);
        // The handshake has proved its key.
        self.refute(info.remote);
        match purpose {
            Some(SeedDialPurpose::Seed(index)) => self.on_seed_up(index, id, &info),
            // The handshake was the sign of life that the probe needed.
            Some(SeedDialPurpose::Probe(_)) => self.close(id, CloseReason::Done),
            // Its first frame will show the purpose.
            None => {}
        }
    }

    pub(super) fn mark_purpose(&mut self, id: LinkId) {
        if let Some(l) = self.links.get_mut(&id) {
            l.has_purpose = true;
        }
    }

    pub(super) fn close(&mut self, id: LinkId, reason: CloseReason) {
        if self.links.contains_key(&id) {
            self.fx.close(id, reason);
            self.on_link_down(id, LinkEnd::Local(reason));
        }
    }

    pub(super) fn refuse_frame(&mut self, id: LinkId, why: &str) {
        let Some(link) = self.links.get(&id) else { return };
        let peer = link.remote;
        self.fx.counters.frames_refused += 1;
        self.fx.event(Event::FrameRefused { peer, why: why.to_owned() });
        self.fx.event(Event::LinkClosed { peer, reason: CloseReason::ProtocolViolation });
        self.close(id, CloseReason::ProtocolViolation);
    }

    /// Whether a frame is accepted. Peers repeat their requests to a seed, so a request beyond the
    /// quota of a link gets no answer.
    pub(super) fn admit(&mut self, id: LinkId, frame: &Frame) -> bool {
        let is_request = matches!(
            frame,
            Frame::Register(_) | Frame::GetPeerList | Frame::Report(_) | Frame::Testify(_)
        );
        let now = self.fx.now();
        let Some(link) = self.links.get_mut(&id) else { return false };
        if !is_request || link.quota.take_request(now) {
            return true;
        }
        let (peer, is_report_due) = (link.remote, link.quota.report_due(now));
        self.fx.counters.requests_throttled += 1;
        if is_report_due {
            self.fx.event(Event::Throttled { peer, request: frame.name() });
        }
        false
    }

    pub(super) fn on_link_down(&mut self, id: LinkId, why: LinkEnd) {
        let Some(link) = self.links.remove(&id) else { return };
        if self.registrants.get(&link.remote) == Some(id) {
            self.registrants.remove(&link.remote);
            self.on_registrant_gone(link.remote, why);
        }
        if self.displaced.get(&link.remote) == Some(&id) {
            self.displaced.remove(&link.remote);
        }
        if link.role == Role::Seed && self.others.iter().all(|o| o.link != Some(id)) {
            self.drop_votes_of(&link.remote);
        }
        self.on_seed_link_down(id);
    }

    pub(super) fn on_dial_failed(&mut self, dial: DialId, why: DialError) {
        self.fx.counters.dials_failed += 1;
        match self.dials.remove(&dial) {
            Some(SeedDialPurpose::Seed(index)) => self.on_seed_dial_failed(index, why),
            Some(SeedDialPurpose::Probe(peer)) => {
                if let Some(case) = self.cases.get_mut(&peer) {
                    case.probe.dial = None;
                    case.host_refuses = why == DialError::Refused;
                }
            }
            None => {}
        }
    }

    /// Closes links without a purpose.
    pub(super) fn check_idle_links(&mut self) {
        let now = self.fx.now();
        if now < self.next_idle_check {
            return;
        }
        let idle: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, l)| !l.has_purpose && now.since(l.up) >= IDLE_LINK_TIMEOUT)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.fx.counters.links_idle_closed += 1;
            self.close(id, CloseReason::Idle);
        }
        let next =
            self.links.values().filter(|l| !l.has_purpose).map(|l| l.up + IDLE_LINK_TIMEOUT).min();
        self.next_idle_check = next.unwrap_or(Time::MAX);
    }
}
