//! A peer and its seeds: registration, lists, and pushed changes.

use core::time::Duration;

use super::Peer;
use crate::event::{CloseReason, Event, LinkEnd, RefuseReason};
use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::io::{DialTarget, LinkId, LinkInfo, Role};
use crate::limits::{FULL_LIST_LIMIT, IDLE_MEMBERS, MAX_SEARCH_MEMBERS, MIN_SEARCH_MEMBERS};
use crate::links::{DialPurpose, LinkPurpose};
use crate::membership::{MergeOutcome, QuorumChange};
use crate::overlay::Overlay;
use crate::record::{Presence, SignedRecord};
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{
    Accusation, Frame, MembershipUpdate, PeerList, Ping, Register, RegisterAck, RegisterReject,
    Report,
};

/// Shortest time between two refutations.
const REFUTE_INTERVAL: Duration = Duration::from_millis(200);
/// How long the number of members may differ from the seeds' before whole lists are requested.
const SIZE_DIFFERENCE_LIMIT: Duration = Duration::from_secs(10);
/// Silence of a seed, in ping intervals, after which its link is closed.
const MAX_SILENT_INTERVALS: u32 = 3;

impl Peer {
    /// Dials the seeds that are due.
    pub(super) fn dial_seeds(&mut self) {
        let now = self.fx.now();
        let leaving = self.is_leaving();
        for index in self.membership.registrations.seeds_to_dial(now) {
            let Some(slot) = self.membership.registrations.slots.get_mut(index) else { continue };
            if leaving && !slot.parked {
                continue; // it does not know this peer, or has read Leave
            }
            let dial = self.fx.dial(DialTarget::Seed((*slot.address).clone()));
            slot.dial = Some(dial);
            self.links.dials.insert(dial, DialPurpose::Seed(index));
        }
    }

    pub(super) fn on_seed_up(&mut self, index: usize, link: LinkId, info: &LinkInfo) {
        let now = self.fx.now();
        self.set_purpose(link, LinkPurpose::Seed(index));
        if info.role != Role::Seed {
            let why = "a peer answers there, not a seed".to_owned();
            return self.refuse_seed(index, link, CloseReason::Incompatible, why);
        }
        if self.refuse_shared_identity(index, link, info.remote) {
            return;
        }
        // The name of the seed resolves to another address: the new link replaces the old one.
        let before = self.membership.registrations.slots.get(index).and_then(|s| s.link);
        if let Some(old) = before.filter(|old| *old != link) {
            self.close(old, CloseReason::Done);
        }
        let Some(slot) = self.membership.registrations.slots.get_mut(index) else { return };
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
        self.review_address();
        let record = self.current_record();
        self.fx.send(link, Register { record });
        for report in self.failure.reports() {
            self.fx.send(link, Report { report: report.clone() });
        }
    }

    /// Refuses a seed whose identity is in use under another configured name: otherwise one process
    /// would count as two of a majority. Returns whether it was refused.
    fn refuse_shared_identity(&mut self, index: usize, link: LinkId, id: PeerId) -> bool {
        let Some(other) = self.membership.registrations.in_use_as(index, &id) else { return false };
        let seed =
            self.membership.registrations.slots.get(index).map(|s| s.address.host_port.clone());
        let seed = seed.unwrap_or_default();
        let why = format!("it has the same identity as seed {other}");
        self.fx.counters.seeds_sharing_identity += 1;
        if self.membership.registrations.set_problem(index, why.clone()) {
            self.fx.event(Event::SeedsShareIdentity { seed, other: Some(other), id });
        }
        self.refuse_seed(index, link, CloseReason::Duplicate, why);
        true
    }

    /// Refuses a remote at a seed's address; a link to the seed at another address stays.
    fn refuse_seed(&mut self, index: usize, link: LinkId, reason: CloseReason, why: String) {
        self.close(link, reason);
        if self.membership.registrations.is_linked(index) {
            self.membership.registrations.end_dial(index);
        } else {
            self.on_seed_lost(index, why);
        }
    }

    /// Dials a seed whose name resolves to another address; the new link replaces the old one.
    pub(super) fn on_seed_moved(&mut self, seed: &str) {
        if self.is_leaving() {
            return;
        }
        for index in 0..self.membership.registrations.slots.len() {
            let Some(slot) = self.membership.registrations.slots.get_mut(index) else { continue };
            if slot.address.host_port != seed || slot.link.is_none() || slot.dial.is_some() {
                continue;
            }
            let dial = self.fx.dial(DialTarget::Seed((*slot.address).clone()));
            slot.dial = Some(dial);
            self.links.dials.insert(dial, DialPurpose::Seed(index));
            self.fx.counters.seed_moves += 1;
            self.fx.event(Event::SeedMoved { seed: seed.to_owned() });
        }
    }

    /// Requests a list of peers with their degrees from one seed.
    pub(super) fn request_list(&mut self) {
        let now = self.fx.now();
        let linked: Vec<usize> = (0..self.membership.registrations.slots.len())
            .filter(|&i| {
                self.membership.registrations.slots.get(i).is_some_and(|s| s.link.is_some())
            })
            .collect();
        let Some(&index) = linked.get(self.rng.seeds.below(linked.len())) else {
            return self.membership.registrations.redial_parked_by(now);
        };
        let Some(slot) = self.membership.registrations.slots.get_mut(index) else { return };
        let Some(link) = slot.link else { return };
        slot.list_requested = Some(now);
        slot.list_complete = false;
        self.fx.counters.lists_asked += 1;
        self.fx.send(link, Frame::GetPeerList);
    }

    /// Handles the end of a link to a seed.
    pub(super) fn on_seed_down(&mut self, index: usize, why: LinkEnd) {
        let (now, rng) = (self.fx.now(), &mut self.rng.seeds);
        let stands = match why {
            LinkEnd::Closed(CloseReason::Done) => self.membership.registrations.park(index),
            LinkEnd::Closed(CloseReason::Limit) => {
                self.membership.registrations.on_link_refused(index, now, &self.config, rng)
            }
            _ => false,
        };
        match why {
            _ if !stands => self.on_seed_lost(index, why.to_string()),
            LinkEnd::Closed(CloseReason::Done) => self.fx.counters.seeds_parked += 1,
            _ => self.fx.counters.seeds_crowded += 1,
        }
    }

    pub(super) fn on_seed_lost(&mut self, index: usize, why: String) {
        let now = self.fx.now();
        let wait =
            self.membership.registrations.on_failed(index, now, &self.config, &mut self.rng.seeds);
        if let Some(slot) = self.membership.registrations.slots.get(index) {
            let seed = slot.address.host_port.clone();
            let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.fx.event(Event::SeedLost { seed, why, retry_ms });
        }
        self.review_registrations();
    }

    pub(super) fn heard_seed(&mut self, index: usize) {
        let now = self.fx.now();
        if let Some(slot) = self.membership.registrations.slots.get_mut(index) {
            slot.last_heard = now;
        }
    }

    pub(super) fn on_seed_pong(&mut self, index: usize, nonce: u64) {
        let now = self.fx.now();
        if let Some(slot) = self.membership.registrations.slots.get_mut(index)
            && let Some((expected, sent)) = slot.pending_ping
            && expected == nonce
        {
            slot.reply_delay = Some(now.since(sent));
            slot.pending_ping = None;
        }
    }

    /// Pings the seeds, and closes links to silent ones.
    pub(super) fn watch_seeds(&mut self) {
        let now = self.fx.now();
        let interval = self.config.seed_ping_interval();
        let mut dead = Vec::new();
        for (index, slot) in self.membership.registrations.slots.iter_mut().enumerate() {
            let Some(link) = slot.link else { continue };
            if now >= slot.last_heard + interval * MAX_SILENT_INTERVALS {
                dead.push((index, link));
                continue;
            }
            // Regardless of traffic from the seed, because the seed has to hear from this peer as
            // well.
            if now >= slot.last_ping + interval {
                let nonce = self.failure.nonce();
                slot.pending_ping = Some((nonce, now));
                slot.last_ping = now;
                self.fx.send(link, Ping { nonce });
            }
        }
        self.request_quorum_lists();
        match self.membership.registrations.choose_for_overdue(now, &mut self.rng.seeds) {
            0 => {}
            overdue => self.fx.counters.registrations_overdue += overdue,
        }
        for (index, link) in dead {
            self.fx.counters.seeds_silent += 1;
            self.close(link, CloseReason::NoSignOfLife);
            self.on_seed_lost(index, LinkEnd::Local(CloseReason::NoSignOfLife).to_string());
        }
    }

    /// When [`Peer::watch_seeds`] has to be called next.
    pub(super) fn seeds_deadline(&self) -> Time {
        let interval = self.config.seed_ping_interval();
        let watch =
            self.membership.registrations.slots.iter().filter(|s| s.link.is_some()).map(|s| {
                (s.last_ping + interval).min(s.last_heard + interval * MAX_SILENT_INTERVALS)
            });
        let dial = self.membership.registrations.next_dial(self.is_leaving());
        let answers = self.membership.registrations.answers_deadline();
        watch.chain(dial).chain(answers).min().unwrap_or(Time::MAX)
    }

    /// Pings all seeds now.
    pub(super) fn ping_seeds(&mut self) {
        let now = self.fx.now();
        for slot in &mut self.membership.registrations.slots {
            if let Some(link) = slot.link {
                let nonce = self.failure.nonce();
                slot.pending_ping = Some((nonce, now));
                slot.last_ping = now;
                self.fx.send(link, Ping { nonce });
            }
        }
    }

    pub(super) fn on_register_ack(&mut self, link: LinkId, f: &RegisterAck) {
        let Some(index) = self.membership.registrations.index_of_link(link) else { return };
        let (incarnation, now) = (self.incarnation(), self.fx.now());
        let leaves = self.is_leaving();
        if leaves && f.sequence != self.membership.own.record.sequence {
            // It acknowledges a record before Leave.
            return;
        }
        if let Some(slot) = self.membership.registrations.slots.get_mut(index) {
            (slot.alive, slot.participating) = (f.alive, f.participating);
            slot.synced = f.synced;
            slot.nonce = Some(*f.nonce);
            slot.failures = 0;
            if f.incarnation == incarnation {
                let first = slot.acknowledged.replace((f.incarnation, f.sequence)).is_none();
                slot.problem = None;
                slot.acknowledged_at = now;
                slot.overdue = false;
                if first && !leaves {
                    // Also before there is a quorum: the lease runs from now on.
                    let refresh_at = now + self.config.lease_refresh();
                    self.membership.own.refresh_at = self.membership.own.refresh_at.min(refresh_at);
                    let seed = slot.address.host_port.clone();
                    let seed_id = slot.id.unwrap_or(PeerId::from_bytes([0; 32]));
                    self.fx.event(Event::Registered { seed, seed_id, known: f.alive });
                }
            }
        }
        if leaves {
            return self.leave_if_acknowledged(f);
        }
        self.membership.registrations.vouch(index, &f.seeds);
        self.review_target();
        self.review_network_size();
        self.review_registrations();
    }

    pub(super) fn on_register_reject(&mut self, link: LinkId, f: &RegisterReject) {
        self.fx.counters.registrations_refused += 1;
        let (peer, reason) = (self.id(), f.reason);
        self.fx.event(Event::RequestRefused { peer, by_this_node: false, reason });
        let own = (self.incarnation(), self.membership.own.record.sequence);
        match reason {
            RefuseReason::DeclaredDead => {
                let me = self.id();
                let proof = f.certificate.as_ref().filter(|c| c.subject() == me);
                match proof.filter(|c| self.membership.registrations.is_valid(c)) {
                    Some(c) => self.begin_new_incarnation(c.incarnation()),
                    None => self.fx.counters.certificates_refused += 1,
                }
            }
            RefuseReason::DuplicateIdentity => {
                if let Some(record) = &f.record {
                    self.on_own_record(record);
                }
            }
            RefuseReason::LoopbackAddress => self.on_loopback_refused(link),
            // Another process has signed the record: a predecessor, or a copy.
            RefuseReason::Stale if f.record.as_ref().is_some_and(|r| self.on_own_record(r)) => {
                // The seed's record is older than the present one of this process.
                let version = self.membership.own.record.version();
                if f.record.as_ref().is_some_and(|r| r.version() < version) {
                    self.schedule_record_update();
                }
            }
            // Only a record that this peer itself signed proves a past: a statement of one seed
            // alone does not end an incarnation, nor does this process's present record.
            RefuseReason::Stale => match f.record.as_ref().filter(|r| r.id == self.id()) {
                Some(r)
                    if (r.incarnation, r.sequence) >= own && *r != self.membership.own.record =>
                {
                    let purpose = r.incarnation;
                    self.on_number_used(purpose);
                    self.begin_new_incarnation(purpose);
                }
                Some(_) => self.schedule_record_update(),
                None => self.fx.counters.refusals_unproved += 1,
            },
            RefuseReason::TargetTooHigh => {
                // Drawn with a nonce that is not, or no longer, this seed's.
                if let Some(slot) = self.membership.registrations.by_link(link) {
                    slot.nonce = Some(*f.nonce);
                }
                self.review_target();
                self.schedule_record_update();
            }
            _ => {}
        }
    }

    /// Handles a seed on another host that cannot use this peer's loopback addresses.
    fn on_loopback_refused(&mut self, link: LinkId) {
        let Some(index) = self.membership.registrations.index_of_link(link) else { return };
        let Some(slot) = self.membership.registrations.slots.get(index) else { return };
        let (seed, addresses) =
            (slot.address.host_port.clone(), self.membership.own.record.addresses.clone());
        self.fx.event(Event::LoopbackAdvertised { seed, addresses });
        let why = "it is on another host, and this peer advertises loopback addresses only";
        self.membership.registrations.set_problem(index, why.to_owned());
    }

    pub(super) fn review_registrations(&mut self) {
        if self.is_leaving() {
            // Now the seeds acknowledge Leave.
            return;
        }
        let registrations =
            u32::try_from(self.membership.registrations.count()).unwrap_or(u32::MAX);
        let quorum = u32::try_from(self.membership.registrations.quorum()).unwrap_or(u32::MAX);
        let now = self.fx.now();
        let quorum_now = self.membership.registrations.review(now);
        self.request_quorum_lists();
        match quorum_now {
            QuorumChange::Unchanged => {}
            QuorumChange::Reached => {
                self.set_state(PeerState::Joined);
                self.fx.event(Event::Joined { registrations, quorum });
                self.with_overlay(Overlay::start_swapping);
            }
            QuorumChange::Lost => {
                self.set_state(PeerState::Degraded);
                self.fx.event(Event::Degraded { registrations, quorum });
            }
            QuorumChange::Regained => {
                self.set_state(PeerState::Joined);
                self.fx.event(Event::Restored { registrations });
                self.with_overlay(Overlay::schedule_swaps);
            }
        }
    }

    /// Requests the lists that this peer needs before it reports that it has joined. They are
    /// requested after a quorum has acknowledged: of two peers that join at the same time, at least
    /// one then finds the other in the list of the seed that they share.
    fn request_quorum_lists(&mut self) {
        for link in self.membership.registrations.take_due_lists(self.fx.now()) {
            self.fx.counters.lists_asked += 1;
            self.fx.send(link, Frame::GetPeerList);
        }
    }

    fn set_state(&mut self, state: PeerState) {
        if !self.is_leaving() {
            self.membership.own.state = state;
        }
    }

    pub(super) fn on_peer_list(&mut self, link: LinkId, f: &PeerList) {
        let now = self.fx.now();
        for record in &f.records {
            self.merge_record(record);
        }
        let quorum_at = self.membership.registrations.quorum_at();
        let Some(slot) = self.membership.registrations.by_link(link) else { return };
        (slot.alive, slot.participating) = (f.alive, f.participating);
        slot.synced = f.synced;
        if f.last {
            slot.on_list_complete(quorum_at);
        }
        self.remove_unlisted_members();
        self.review_members();
        self.review_target();
        self.review_network_size();
        self.overlay.fill.look_again(now);
        self.review_registrations();
    }

    /// Removes members that no seed lists, after whole lists from a quorum have arrived: this peer
    /// missed the notice of their removal.
    fn remove_unlisted_members(&mut self) {
        let whole = self.membership.registrations.slots.iter().filter(|s| {
            s.list_complete
                && s.synced
                && usize::try_from(s.alive).is_ok_and(|n| n <= FULL_LIST_LIMIT)
        });
        let asked: Vec<Time> = whole.filter_map(|s| s.list_requested).collect();
        if asked.len() < self.membership.registrations.quorum() {
            return;
        }
        let Some(since) = asked.into_iter().min() else { return };
        for slot in &mut self.membership.registrations.slots {
            slot.list_complete = false;
        }
        let neighbours = &self.overlay.neighbours;
        let failure = &self.failure;
        let gone = self
            .membership
            .members
            .remove_unconfirmed(since, |id| neighbours.contains_key(id) || failure.is_suspect(id));
        for record in gone {
            self.fx.event(Event::MemberExpired { id: record.id, name: record.name.clone() });
        }
    }

    pub(super) fn on_membership_update(&mut self, link: LinkId, f: &MembershipUpdate) {
        if let Some(slot) = self.membership.registrations.by_link(link) {
            (slot.alive, slot.participating) = (f.alive, f.participating);
        }
        for record in &f.joined {
            self.merge_record(record);
        }
        for record in &f.left {
            // Only the peer itself can sign that it leaves.
            if record.presence == Presence::Left {
                self.merge_departure(record);
            } else {
                self.fx.counters.leaves_unproved += 1;
            }
        }
        for certificate in &f.dead {
            self.merge_certificate(certificate);
        }
        self.review_members();
        self.review_target();
        self.review_network_size();
    }

    /// Whether this peer knows as many members as there are, in a network with whole lists.
    fn agrees_on_network_size(&self) -> bool {
        let size = self.membership.registrations.network_size() as usize;
        let apart = self.membership.own.state != PeerState::Joined
            || size == 0
            || self.membership.is_large();
        apart || self.membership.members.alive_count() + 1 == size
    }

    /// Schedules a request for whole lists if the number of members differs from the seeds': an
    /// expired lease, or a network that has shrunk to whole lists again, causes no notice.
    fn review_network_size(&mut self) {
        if self.agrees_on_network_size() {
            self.request_lists_at = None;
        } else if self.request_lists_at.is_none() {
            // At different times at different peers.
            let wait = self.rng.seeds.scaled(SIZE_DIFFERENCE_LIMIT, 1.0, 3.0);
            self.request_lists_at = Some(self.fx.now() + wait);
        }
    }

    /// Requests whole lists from all seeds, if the number of members has differed for long.
    pub(super) fn request_due_lists(&mut self) {
        let now = self.fx.now();
        if self.request_lists_at.is_none_or(|at| at > now) {
            return;
        }
        self.request_lists_at = None;
        if self.agrees_on_network_size() {
            return;
        }
        self.request_lists_at = Some(now + self.rng.seeds.scaled(self.config.lease(), 1.0, 1.5));
        self.fx.counters.lists_asked += 1;
        for slot in &mut self.membership.registrations.slots {
            if let Some(link) = slot.link {
                slot.list_requested = Some(now);
                slot.list_complete = false;
                self.fx.send(link, Frame::GetPeerList);
            }
        }
    }

    /// In a large network, retains a sample of the members only.
    pub(super) fn review_members(&mut self) {
        if !self.membership.is_large() {
            return;
        }
        let some = match usize::from(self.overlay.deficit()) {
            0 => IDLE_MEMBERS,
            missing => (missing * 8).clamp(MIN_SEARCH_MEMBERS, MAX_SEARCH_MEMBERS),
        };
        if self.membership.members.alive_count() <= some {
            return;
        }
        let neighbours = &self.overlay.neighbours;
        let requests = &self.overlay.requests;
        let keep = neighbours.keys().chain(self.failure.suspects());
        let keep = keep.chain(requests.keys()).chain(self.failure.reported());
        self.membership.members.retain_sample(some, keep, &mut self.rng.overlay);
    }

    /// Merges the record of a peer from any source.
    pub(super) fn merge_record(&mut self, record: &SignedRecord) -> MergeOutcome {
        if record.id == self.id() {
            self.on_own_record(record);
            return MergeOutcome::Unchanged;
        }
        if record.presence == Presence::Left {
            self.merge_departure(record);
            return MergeOutcome::Unchanged;
        }
        let now = self.fx.now();
        if self.membership.members.is_full_for(&record.id) {
            self.fx.counters.members_forgotten += 1;
        }
        let known_process = self.membership.members.get(&record.id).map(|m| m.record.process);
        let learned = self.membership.members.merge_record(record, now);
        // A restarted process has what is on its disk, which may be nothing.
        if learned == MergeOutcome::Newer && known_process != Some(record.process) {
            self.with_broadcast(|b, _| b.forget_progress(&record.id));
        }
        self.withdraw_loopback(&record.addresses);
        if matches!(learned, MergeOutcome::New | MergeOutcome::Newer) {
            self.with_broadcast(|b, _| b.review_receipts_at_once(now));
        }
        match learned {
            MergeOutcome::New => {
                self.fx.event(Event::MemberJoined {
                    id: record.id,
                    name: record.name.clone(),
                    address: record.addresses.first().copied(),
                    incarnation: record.incarnation,
                });
                self.overlay.fill.look_soon(now);
            }
            MergeOutcome::Newer => {
                // A process that refuted its death is still the other end of the link. A later
                // process has to send a PeerRequest to become a neighbour.
                if let Some(n) = self.overlay.neighbours.get_mut(&record.id)
                    && n.record.process == record.process
                {
                    n.record = record.clone();
                }
            }
            MergeOutcome::Unchanged | MergeOutcome::Dead => {}
        }
        learned
    }

    pub(super) fn merge_departure(&mut self, record: &SignedRecord) {
        if record.id == self.id() || !self.membership.members.merge_departure(record) {
            return;
        }
        let id = record.id;
        self.fx.event(Event::MemberLeft { id, name: record.name.clone() });
        self.remove_ended_member(id, record.incarnation, CloseReason::Done);
        self.review_target();
    }

    /// Handles a certificate: if a majority of the seeds has signed it, its subject is dead.
    pub(super) fn merge_certificate(&mut self, certificate: &Certificate) {
        if !self.membership.registrations.is_valid(certificate) {
            self.fx.counters.certificates_refused += 1;
            return;
        }
        let (id, incarnation) = (certificate.subject(), certificate.incarnation());
        if id == self.id() {
            self.begin_new_incarnation(incarnation);
            return;
        }
        let name = self.membership.members.record(&id).map(|r| r.name.clone());
        if !self.membership.members.merge_certificate(certificate) {
            return;
        }
        self.fx.event(Event::MemberDead {
            id,
            name,
            incarnation,
            witnesses: certificate.witnesses(),
            seeds: certificate.seeds(),
        });
        self.remove_ended_member(id, incarnation, CloseReason::DeclaredDead);
    }

    pub(super) fn on_accusation(&mut self, f: &Accusation) {
        let now = self.fx.now();
        if self.is_leaving() || now < self.membership.own.refute_after {
            return;
        }
        self.membership.own.refute_after = now + REFUTE_INTERVAL;
        let valid = f.certificate.as_ref().is_some_and(|c| {
            c.subject() == self.id()
                && c.incarnation() == f.incarnation
                && self.membership.registrations.is_valid(c)
        });
        if valid {
            self.begin_new_incarnation(f.incarnation);
        } else if f.incarnation == self.incarnation() {
            // There is no verdict yet: the answer is a new record at the seeds, besides the pong.
            self.fx.counters.accusations += 1;
            self.record_trouble();
            self.renew_record(|_| {});
            self.send_record_to_seeds();
            self.membership.registrations.redial_parked_by(now);
        }
    }
}
