//! The links to the seeds: dials, pings, silence, and what makes a seed unusable.

use super::{Membership, MembershipContext, SeedSlot};
use crate::config::Config;
use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::io::{DialTarget, LinkId, LinkInfo, Role};
use crate::limits::MAX_SILENT_INTERVALS;
use crate::links::{DialPurpose, LinkPurpose};
use crate::time::Time;
use crate::wire::{Frame, Ping};

impl SeedSlot {
    fn start_dial(&mut self, cx: &mut MembershipContext<'_>, index: usize) {
        let dial = cx.fx.dial(DialTarget::Seed((*self.address).clone()));
        self.dial = Some(dial);
        cx.links.dials.insert(dial, DialPurpose::Seed(index));
    }

    fn ping(&mut self, cx: &mut MembershipContext<'_>, link: LinkId) {
        let nonce = cx.nonces.u64();
        self.pending_ping = Some((nonce, cx.now));
        self.last_ping = cx.now;
        cx.fx.send(link, Ping { nonce });
    }
}

impl Membership {
    /// Dials the seeds that are due.
    pub(crate) fn dial_seeds(&mut self, cx: &mut MembershipContext<'_>) {
        let now = cx.now;
        let leaving = self.own.is_leaving();
        for index in self.registrations.seeds_to_dial(now) {
            let Some(slot) = self.registrations.slots.get_mut(index) else { continue };
            if leaving && !slot.parked {
                continue; // it does not know this peer, or has read Leave
            }
            slot.start_dial(cx, index);
        }
    }

    /// Handles a new link to a seed's address. Returns whether the seed may be used.
    pub(crate) fn link_up(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        link: LinkId,
        info: &LinkInfo,
    ) -> bool {
        let now = cx.now;
        cx.links.set_purpose(link, LinkPurpose::Seed(index));
        if info.role != Role::Seed {
            let why = "a peer answers there, not a seed".to_owned();
            self.refuse_seed(cx, index, link, CloseReason::Incompatible, why);
            return false;
        }
        if self.refuse_shared_identity(cx, index, link, info.remote) {
            return false;
        }
        // The name of the seed resolves to another address: the new link replaces the old one.
        let before = self.registrations.slots.get(index).and_then(|s| s.link);
        if let Some(old) = before.filter(|old| *old != link) {
            cx.links.close(cx.fx, old, CloseReason::Done);
        }
        let Some(slot) = self.registrations.slots.get_mut(index) else { return false };
        slot.dial = None;
        slot.link = Some(link);
        slot.parked = false;
        if slot.id != Some(info.remote) {
            slot.acknowledged = None;
            slot.list_applied = false;
        }
        slot.id = Some(info.remote);
        slot.problem = None;
        slot.last_heard = now;
        slot.register_sent = Some(now);
        slot.pending_ping = None;
        slot.last_ping = now;
        slot.list_requested = None;
        slot.list_complete = false;
        true
    }

    /// Refuses a seed whose identity is in use under another configured name: otherwise one process
    /// would count as two of a majority. Returns whether it was refused.
    fn refuse_shared_identity(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        link: LinkId,
        id: PeerId,
    ) -> bool {
        let Some(other) = self.registrations.in_use_as(index, &id) else { return false };
        let seed = self.registrations.slots.get(index).map(|s| s.address.host_port.clone());
        let seed = seed.unwrap_or_default();
        let why = format!("it has the same identity as seed {other}");
        cx.fx.counters.seeds_sharing_identity += 1;
        if self.registrations.set_problem(index, why.clone()) {
            cx.fx.event(Event::SeedsShareIdentity { seed, other: Some(other), id });
        }
        self.refuse_seed(cx, index, link, CloseReason::Duplicate, why);
        true
    }

    /// Refuses a remote at a seed's address; a link to the seed at another address stays.
    fn refuse_seed(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        link: LinkId,
        reason: CloseReason,
        why: String,
    ) {
        cx.links.close(cx.fx, link, reason);
        if self.registrations.is_linked(index) {
            self.registrations.end_dial(index);
        } else {
            self.on_seed_lost(cx, index, why);
        }
    }

    /// Dials a seed whose name resolves to another address; the new link replaces the old one.
    pub(crate) fn on_seed_moved(&mut self, cx: &mut MembershipContext<'_>, seed: &str) {
        if self.own.is_leaving() {
            return;
        }
        for index in 0..self.registrations.slots.len() {
            let Some(slot) = self.registrations.slots.get_mut(index) else { continue };
            if slot.address.host_port != seed || slot.link.is_none() || slot.dial.is_some() {
                continue;
            }
            slot.start_dial(cx, index);
            cx.fx.counters.seed_moves += 1;
            cx.fx.event(Event::SeedMoved { seed: seed.to_owned() });
        }
    }

    /// Requests a list of peers with their degrees from one seed.
    pub(crate) fn request_list(&mut self, cx: &mut MembershipContext<'_>) {
        let now = cx.now;
        let linked: Vec<usize> = (0..self.registrations.slots.len())
            .filter(|&i| self.registrations.slots.get(i).is_some_and(|s| s.link.is_some()))
            .collect();
        let Some(&index) = linked.get(cx.rng.below(linked.len())) else {
            return self.registrations.redial_parked_by(now);
        };
        let Some(slot) = self.registrations.slots.get_mut(index) else { return };
        let Some(link) = slot.link else { return };
        slot.list_requested = Some(now);
        slot.list_complete = false;
        cx.fx.counters.lists_asked += 1;
        cx.fx.send(link, Frame::GetPeerList);
    }

    /// Handles the end of a link to a seed.
    pub(crate) fn on_seed_down(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        why: LinkEnd,
    ) {
        let (now, rng) = (cx.now, &mut *cx.rng);
        let stands = match why {
            LinkEnd::Closed(CloseReason::Done) => self.registrations.park(index),
            LinkEnd::Closed(CloseReason::Limit) => {
                self.registrations.on_link_refused(index, now, cx.config, rng)
            }
            _ => false,
        };
        match why {
            _ if !stands => self.on_seed_lost(cx, index, why.to_string()),
            LinkEnd::Closed(CloseReason::Done) => cx.fx.counters.seeds_parked += 1,
            _ => cx.fx.counters.seeds_crowded += 1,
        }
    }

    pub(crate) fn on_seed_lost(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        why: String,
    ) {
        let now = cx.now;
        let wait = self.registrations.on_failed(index, now, cx.config, cx.rng);
        if let Some(slot) = self.registrations.slots.get(index) {
            let seed = slot.address.host_port.clone();
            let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            cx.fx.event(Event::SeedLost { seed, why, retry_ms });
        }
        self.review_registrations(cx);
    }

    pub(crate) fn heard_seed(&mut self, cx: &mut MembershipContext<'_>, index: usize) {
        let now = cx.now;
        if let Some(slot) = self.registrations.slots.get_mut(index) {
            slot.last_heard = now;
        }
    }

    pub(crate) fn on_seed_pong(
        &mut self,
        cx: &mut MembershipContext<'_>,
        index: usize,
        nonce: u64,
    ) {
        let now = cx.now;
        if let Some(slot) = self.registrations.slots.get_mut(index)
            && let Some((expected, sent)) = slot.pending_ping
            && expected == nonce
        {
            slot.reply_delay = Some(now.since(sent));
            slot.pending_ping = None;
        }
    }

    /// Pings the seeds, and closes links to silent ones.
    pub(crate) fn watch_seeds(&mut self, cx: &mut MembershipContext<'_>) {
        let now = cx.now;
        let interval = cx.config.seed_ping_interval();
        let mut dead = Vec::new();
        for (index, slot) in self.registrations.slots.iter_mut().enumerate() {
            let Some(link) = slot.link else { continue };
            if now >= slot.last_heard + interval * MAX_SILENT_INTERVALS {
                dead.push((index, link));
                continue;
            }
            // Regardless of traffic from the seed, because the seed has to hear from this peer as
            // well.
            if now >= slot.last_ping + interval {
                slot.ping(cx, link);
            }
        }
        self.request_quorum_lists(cx);
        match self.registrations.choose_for_overdue(now, cx.rng) {
            0 => {}
            overdue => cx.fx.counters.registrations_overdue += overdue,
        }
        for (index, link) in dead {
            cx.fx.counters.seeds_silent += 1;
            cx.links.close(cx.fx, link, CloseReason::NoSignOfLife);
            self.on_seed_lost(cx, index, LinkEnd::Local(CloseReason::NoSignOfLife).to_string());
        }
    }

    /// When [`Peer::watch_seeds`] has to be called next.
    pub(crate) fn seeds_deadline(&self, config: &Config) -> Time {
        let interval = config.seed_ping_interval();
        let watch =
            self.registrations.slots.iter().filter(|s| s.link.is_some()).map(|s| {
                (s.last_ping + interval).min(s.last_heard + interval * MAX_SILENT_INTERVALS)
            });
        let dial = self.registrations.next_dial(self.own.is_leaving());
        let answers = self.registrations.answers_deadline();
        watch.chain(dial).chain(answers).min().unwrap_or(Time::MAX)
    }

    /// Pings all seeds now.
    pub(crate) fn ping_seeds(&mut self, cx: &mut MembershipContext<'_>) {
        for slot in &mut self.registrations.slots {
            if let Some(link) = slot.link {
                slot.ping(cx, link);
            }
        }
    }

    /// Handles a seed on another host that cannot use this peer's loopback addresses.
    pub(crate) fn on_loopback_refused(&mut self, cx: &mut MembershipContext<'_>, link: LinkId) {
        let Some(index) = self.registrations.index_of_link(link) else { return };
        let Some(slot) = self.registrations.slots.get(index) else { return };
        let (seed, addresses) = (slot.address.host_port.clone(), self.own.record.addresses.clone());
        cx.fx.event(Event::LoopbackAdvertised { seed, addresses });
        let why = "it is on another host, and this peer advertises loopback addresses only";
        self.registrations.set_problem(index, why.to_owned());
    }
}
