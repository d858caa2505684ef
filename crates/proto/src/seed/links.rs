//! The links and dials of a seed.

use std::collections::BTreeMap;

use super::{Seed, SeedTimer};
use crate::event::{CloseReason, Event};
use crate::identity::PeerId;
use crate::io::{DialError, DialId, LinkId, LinkInfo, Role};
use crate::limits::{IDLE_LINK_TIMEOUT, MAX_SEED_LINKS};
use crate::quota::Quota;
use crate::record::Address;
use crate::registry::{LinkLoss, Registry};
use crate::time::Time;
use crate::wire::Frame;

/// One link.
#[derive(Debug)]
pub(crate) struct SeedLink {
    pub(crate) remote: PeerId,
    pub(crate) role: Role,
    pub(crate) up: Time,
    /// The last sign of life.
    pub(crate) last_heard: Time,
    /// Whether it has a purpose: a registration, another seed.
    pub(crate) has_purpose: bool,
    pub(crate) list_sent: Option<Time>,
    /// Whether a registration was acknowledged on it.
    pub(crate) acknowledged: bool,
    /// The remaining requests that it may send.
    pub(crate) quota: Quota,
    /// Whether the link uses the loopback interface: the remote is on this host, or tunnelled.
    pub(crate) on_loopback: bool,
    /// The number of the process that registered on it.
    pub(crate) process: Option<u64>,
    /// Whether the seed has sent it the record of another process with its identity.
    pub(crate) has_reported_duplicate: bool,
}

impl SeedLink {
    pub(crate) fn new(info: &LinkInfo, now: Time) -> Self {
        SeedLink {
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
        }
    }
}

/// The purpose of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeedDialPurpose {
    Seed(usize),
    Probe(PeerId),
}

/// The links that are up, and the running dials.
#[derive(Debug, Default)]
pub(crate) struct SeedLinks {
    pub(crate) open: BTreeMap<LinkId, SeedLink>,
    pub(crate) dials: BTreeMap<DialId, SeedDialPurpose>,
}

impl SeedLinks {
    pub(crate) fn mark_purpose(&mut self, id: LinkId) {
        if let Some(l) = self.open.get_mut(&id) {
            l.has_purpose = true;
        }
    }

    /// Whether the other end of a link is on this host: the link uses the loopback interface.
    pub(crate) fn is_on_this_host(&self, id: LinkId) -> bool {
        self.open.get(&id).is_some_and(|l| l.on_loopback)
    }
}

impl Seed {
    pub(super) fn on_link_up(&mut self, id: LinkId, info: &LinkInfo) {
        let now = self.fx.now();
        let purpose = info.dial.and_then(|d| self.links.dials.remove(&d));
        if info.remote == self.id() {
            self.fx.close(id, CloseReason::Duplicate);
            return match purpose {
                Some(SeedDialPurpose::Seed(index)) => {
                    self.with_registry(|r, cx| r.on_own_key(cx, index, info.same_process));
                }
                _ if info.same_process => {}
                _ => self.with_registry(|r, cx| r.on_copy_dialled(cx, info.remote_address)),
            };
        }
        // The handshake has proved the key of the other end, also where there is no room for a link.
        self.on_traffic(info.remote);
        self.with_cases(|cases, cx| cases.refute(cx, info.remote));
        if self.links.open.len() >= MAX_SEED_LINKS {
            self.fx.counters.links_refused += 1;
            self.fx.close(id, CloseReason::Limit);
            return self.dial_ended(purpose, DialError::Limit);
        }
        self.links.open.insert(id, SeedLink::new(info, now));
        self.timers.set_earlier(SeedTimer::IdleLinks, now + IDLE_LINK_TIMEOUT);
        match purpose {
            Some(SeedDialPurpose::Seed(index)) => self.on_seed_up(index, id, info),
            // The handshake was the sign of life that the probe needed.
            Some(SeedDialPurpose::Probe(_)) => self.close(id, CloseReason::Done),
            // Its first frame will show the purpose.
            None => {}
        }
    }

    fn on_seed_up(&mut self, index: usize, link: LinkId, info: &LinkInfo) {
        if self.with_registry(|r, cx| r.on_seed_up(cx, index, link, info)) {
            self.with_cases(|cases, cx| cases.send_open_cases(cx, link));
            self.with_registry(Registry::compare);
        }
    }

    /// Handles traffic of any kind.
    pub(super) fn on_traffic(&mut self, remote: PeerId) {
        self.with_registry(|r, cx| r.on_traffic(cx.now, remote));
        self.with_cases(|cases, cx| cases.on_traffic(cx, remote));
    }

    pub(super) fn close(&mut self, id: LinkId, reason: CloseReason) {
        self.with_registry(|r, cx| r.close(cx, id, reason));
    }

    /// Passes the end of a link on to the cases.
    pub(super) fn on_link_loss(&mut self, loss: LinkLoss) {
        match loss {
            LinkLoss::Registrant { id, on_purpose } => {
                self.cases.forget_reached(&id);
                // A peer that has left is not alive in the registry any more.
                if !on_purpose {
                    self.on_peer_lost(id);
                }
            }
            LinkLoss::Voter(id) => self.with_cases(|cases, _| cases.drop_votes_of(&id)),
        }
    }

    pub(super) fn on_dial_failed(&mut self, dial: DialId, why: DialError) {
        self.fx.counters.dials_failed += 1;
        let purpose = self.links.dials.remove(&dial);
        self.dial_ended(purpose, why);
    }

    /// Handles the end of a dial that brought no link.
    fn dial_ended(&mut self, purpose: Option<SeedDialPurpose>, why: DialError) {
        match purpose {
            Some(SeedDialPurpose::Seed(index)) => {
                self.with_registry(|r, cx| r.on_seed_dial_failed(cx, index, why));
            }
            Some(SeedDialPurpose::Probe(peer)) => {
                self.with_cases(|cases, _| cases.on_dial_failed(&peer, why));
            }
            None => {}
        }
    }

    pub(super) fn refuse_frame(&mut self, id: LinkId, why: &str) {
        let Some(link) = self.links.open.get(&id) else { return };
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
        let Some(link) = self.links.open.get_mut(&id) else { return false };
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

    /// Closes links without a purpose.
    pub(super) fn close_idle_links(&mut self) {
        let now = self.fx.now();
        let unused = |(id, l): (&LinkId, &SeedLink)| (!l.has_purpose).then_some((*id, l.up));
        let idle: Vec<_> = self.links.open.iter().filter_map(unused).collect();
        for (id, _) in idle.into_iter().filter(|(_, up)| now.since(*up) >= IDLE_LINK_TIMEOUT) {
            self.fx.counters.links_idle_closed += 1;
            self.close(id, CloseReason::Idle);
        }
        let next =
            self.links.open.iter().filter_map(unused).map(|(_, up)| up + IDLE_LINK_TIMEOUT).min();
        self.timers.set(SeedTimer::IdleLinks, next);
    }
}
