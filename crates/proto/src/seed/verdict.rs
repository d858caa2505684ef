//! The second level of a death: a seed collects reports, probes, and votes.

use super::Seed;
use super::links::SeedDialPurpose;
use std::collections::BTreeSet;

use crate::event::{CloseReason, Event};
use crate::failure::{Appointment, Case, Certificate, DeathReport, Testimony, reports_needed};
use crate::identity::PeerId;
use crate::io::{DialTarget, LinkId};
use crate::limits::MAX_CASES;
use crate::name::Name;
use crate::peer::unknown_name;
use crate::registry::{Entry, EntryState};
use crate::signed::Signed;
use crate::time::Time;
use crate::wire::{Accusation, Appoint, LostPeer, MembershipUpdate, Ping, Votes};

/// The reports and testimonies of a case, and this seed's own vote, for another seed. Other seeds
/// send their own votes. A vote of an earlier round is withdrawn.
fn votes_of(case: &Case, by: PeerId) -> Votes {
    Votes {
        reports: case.reports().cloned().collect(),
        vote: case.vote_of(&by).cloned(),
        testimonies: case.testimonies().cloned().collect(),
        withdrawn: (case.has_voted && case.vote_of(&by).is_none()).then_some(case.subject),
        lost: case
            .lost
            .then_some(LostPeer { subject: case.subject, incarnation: case.incarnation }),
    }
}

/// An empty frame, to be filled in.
pub(super) const EMPTY_VOTES: Votes =
    Votes { reports: Vec::new(), vote: None, testimonies: Vec::new(), withdrawn: None, lost: None };

impl Seed {
    fn name_of(&self, id: &PeerId) -> Name {
        self.table.get(id).map_or_else(|| unknown_name(id), |e| e.record.name.clone())
    }

    /// Handles traffic of any kind. It may have been in flight since before the case, so it does
    /// not end one; but a peer that still sends gets time to answer the probe.
    pub(super) fn on_traffic(&mut self, remote: PeerId) {
        self.heard_other_seed(remote);
        let until = self.fx.now() + self.config.probe_burst();
        if !self.is_behind
            && let Some(case) = self.cases.get_mut(&remote)
        {
            case.probe.extend_until(until);
        }
    }

    /// Handles a pong: it ends a case if it answers the case's probe.
    pub(super) fn on_pong(&mut self, remote: PeerId, nonce: u64) {
        self.on_reach_pong(remote, nonce);
        if self.cases.get(&remote).is_some_and(|c| c.probe.nonce == nonce) {
            self.refute(remote);
        }
    }

    /// Ends the case of an accused peer that answered a probe of the case, or completed a
    /// handshake.
    pub(super) fn refute(&mut self, remote: PeerId) {
        let (now, burst) = (self.fx.now(), self.config.probe_burst());
        let asked = self.cases.get(&remote).map(|c| c.probe.started);
        if self.close_case(&remote) {
            // A late answer: paths are slower than configured.
            if asked.is_some_and(|at| now.since(at) > burst / 2)
                && self.health.record_trouble(now, burst)
            {
                self.fx.counters.local_health_lowered += 1;
            }
            self.fx.counters.accusations_refuted += 1;
            let name = self.name_of(&remote);
            self.fx.event(Event::AccusationRefuted { id: remote, name });
        }
    }

    /// Closes a case without a certificate. Returns whether there was one. A vote of this seed
    /// would otherwise stay at the other seeds, although it has heard from the accused since.
    pub(super) fn close_case(&mut self, subject: &PeerId) -> bool {
        let Some(case) = self.cases.remove(subject) else { return false };
        if case.has_voted {
            self.fx.counters.votes_withdrawn += 1;
            self.send_votes(Votes { withdrawn: Some(*subject), ..EMPTY_VOTES });
        }
        true
    }

    /// Drops the votes of a seed whose link ended: it may not stand by them any more. If it does,
    /// it sends them on its next link.
    pub(super) fn drop_votes_of(&mut self, seed: &PeerId) {
        for case in self.cases.values_mut() {
            case.withdraw_vote(seed);
        }
    }

    pub(super) fn on_report(&mut self, link: LinkId, remote: PeerId, report: Signed<DeathReport>) {
        if report.reporter != remote {
            return self.fx.counters.reports_refused += 1;
        }
        if self.tell_verdict(link, &report) {
            return;
        }
        if self.take_report(report.clone()) {
            let subject = report.subject;
            self.send_votes(Votes { reports: vec![report], ..EMPTY_VOTES });
            self.review_case(subject);
        }
    }

    /// Sends the certificate to the reporter of a dead peer: in a large network not all peers are
    /// told of a death. Returns whether there is one.
    fn tell_verdict(&mut self, link: LinkId, report: &DeathReport) -> bool {
        let entry = self.table.get(&report.subject).filter(|e| e.state() == EntryState::Dead);
        let certificate = entry.and_then(|e| e.certificate.clone());
        let Some(c) = certificate.filter(|c| c.incarnation() >= report.incarnation) else {
            return false;
        };
        let (joined, left, dead) = (Vec::new(), Vec::new(), vec![c]);
        let (alive, participating) = self.counts_for(link);
        self.fx.send(link, MembershipUpdate { joined, left, dead, alive, participating });
        true
    }

    pub(super) fn on_testify(&mut self, remote: PeerId, testimony: Signed<Testimony>) {
        if testimony.witness != remote {
            return self.fx.counters.testimonies_refused += 1;
        }
        if self.take_testimony(testimony.clone()) {
            let subject = testimony.appointment.subject;
            self.send_votes(Votes { testimonies: vec![testimony], ..EMPTY_VOTES });
            self.review_case(subject);
        }
    }

    /// Adds the testimony of a witness that a seed appointed. Returns whether it is new.
    fn take_testimony(&mut self, testimony: Signed<Testimony>) -> bool {
        let now = self.fx.now();
        let appointment = testimony.appointment.clone();
        let trusted = self.trusted().contains(&appointment.seed);
        let is_alive = self.table.get(&testimony.witness).is_some_and(Entry::is_alive);
        let case = self.cases.get_mut(&appointment.subject);
        let case = case.filter(|c| c.incarnation == appointment.incarnation);
        match case {
            Some(case) if trusted && is_alive => case.add_testimony(testimony, now),
            _ => {
                self.fx.counters.testimonies_refused += 1;
                false
            }
        }
    }

    /// Adds a report, from a neighbour or through another seed. Returns whether it is new.
    fn take_report(&mut self, report: Signed<DeathReport>) -> bool {
        let now = self.fx.now();
        let subject = report.subject;
        let is_alive = |id: &PeerId| self.table.get(id).is_some_and(Entry::is_alive);
        let of_this_life = self
            .table
            .get(&subject)
            .is_some_and(|e| e.is_alive() && e.record.incarnation == report.incarnation);
        if !of_this_life || !is_alive(&report.reporter) {
            self.fx.counters.reports_refused += 1;
            return false;
        }
        if !self.cases.contains_key(&subject) && self.cases.len() >= MAX_CASES {
            self.fx.counters.cases_refused += 1;
            return false;
        }
        let (nonce, factor) = (self.rng.u64(), self.health.timeout_factor());
        let is_new = !self.cases.contains_key(&subject);
        let config = &self.config;
        // Neighbours report after a burst of their own: a dead peer has been silent for as long.
        let link = self.registrants.get(&subject).and_then(|link| self.links.get(&link));
        let silent_until = link.map(|l| l.last_heard + config.probe_burst() * 2);
        let incarnation = report.incarnation;
        let case = self
            .cases
            .entry(subject)
            .or_insert_with(|| Case::new(subject, incarnation, nonce, factor, now, config));
        if case.incarnation != incarnation {
            *case = Case::new(subject, incarnation, nonce, factor, now, config);
        }
        match silent_until {
            Some(at) => case.probe.extend_until(at),
            // The probe has to connect first.
            None if is_new => case.probe.extend_until(now + config.probe_burst() * 2 * factor),
            None => {}
        }
        let reporter = report.reporter;
        if !case.add_report(report, now) {
            return false;
        }
        let reports = u32::try_from(case.reports().count()).unwrap_or(u32::MAX);
        let needed = u32::try_from(self.needed(&subject)).unwrap_or(u32::MAX);
        let name = self.name_of(&subject);
        self.fx.counters.reports += 1;
        self.fx.event(Event::DeathReported { id: subject, name, reporter, reports, needed });
        true
    }

    /// Number of witnesses needed: by the rule, or as many as are left.
    fn needed(&self, subject: &PeerId) -> usize {
        let by_rule = reports_needed(self.table.get(subject).map_or(0, |e| e.record.degree));
        // Other accused peers will not testify; if they are alive, their cases are closed soon.
        let alive = self.table.alive_count();
        if alive >= self.cases.len().max(1) + by_rule {
            return by_rule;
        }
        let accused = self.cases.keys().filter(|id| self.table.counts_as_alive(id)).count();
        by_rule.min(alive.saturating_sub(accused.max(1)).max(1))
    }

    /// Appoints random witnesses where too few neighbours are left to report.
    fn appoint(&mut self, subject: PeerId) {
        let now = self.fx.now();
        let needed = self.needed(&subject);
        let Some(case) = self.cases.get_mut(&subject) else { return };
        let missing = case.witnesses_to_appoint(needed, now, &self.config);
        if missing == 0 {
            return;
        }
        let (incarnation, heard) = (case.incarnation, case.witnesses());
        let asked = case.appointed.clone();
        let Some(record) = self.table.get(&subject).map(|e| e.record.clone()) else { return };
        let qualifies = |id: &PeerId| {
            !heard.contains(id) && !asked.contains(id) && !self.cases.contains_key(id)
        };
        // Most of the accused have no link. If many have one, more are drawn until enough qualify.
        let mut drawn = missing + heard.len() + asked.len() + 1;
        let candidates: Vec<(PeerId, LinkId)> = loop {
            let sample = self.registrants.sample(drawn, &mut self.rng);
            let found: Vec<_> = sample.filter(|(id, _)| qualifies(id)).copied().collect();
            if found.len() >= missing || drawn >= self.registrants.len() {
                break found;
            }
            drawn *= 2;
        };
        for (witness, link) in self.rng.sample(candidates, missing) {
            self.fx.counters.witnesses_appointed += 1;
            let appointment = Appointment { seed: self.id(), witness, subject, incarnation };
            let appointment = Signed::sign(appointment, &self.identity);
            self.fx.send(link, Appoint { appointment, record: record.clone() });
            if let Some(case) = self.cases.get_mut(&subject) {
                case.appointed.insert(witness);
            }
        }
    }

    pub(super) fn on_votes(&mut self, remote: PeerId, f: Votes) {
        let trusted = self.trusted();
        if !trusted.contains(&remote) {
            return self.fx.counters.frames_from_unproved_seeds += 1;
        }
        let mut subjects = BTreeSet::new();
        // First, because the other parts belong to the case that this opens.
        if let Some(lost) = f.lost {
            self.open_lost_case(lost);
            subjects.insert(lost.subject);
        }
        for report in f.reports {
            subjects.insert(report.subject);
            self.take_report(report);
        }
        for testimony in f.testimonies {
            subjects.insert(testimony.appointment.subject);
            self.take_testimony(testimony);
        }
        let now = self.fx.now();
        if let Some(subject) = f.withdrawn
            && let Some(case) = self.cases.get_mut(&subject)
        {
            case.withdraw_vote(&remote);
        }
        if let Some(vote) = f.vote {
            subjects.insert(vote.subject);
            let of_this_life = self
                .table
                .get(&vote.subject)
                .is_some_and(|e| e.is_alive() && e.record.incarnation == vote.incarnation);
            // A vote without the reports that it rests on opens no case.
            let case = self.cases.get_mut(&vote.subject);
            match case.filter(|c| of_this_life && c.incarnation == vote.incarnation) {
                Some(case) if vote.seed == remote => {
                    case.add_vote(vote, now);
                }
                _ => self.fx.counters.votes_refused += 1,
            }
        }
        for subject in subjects {
            self.review_case(subject);
        }
    }

    pub(super) fn send_votes(&mut self, votes: Votes) {
        let links: Vec<LinkId> = self.others.iter().filter_map(|o| o.link).collect();
        for link in links {
            self.fx.send(link, votes.clone());
        }
    }

    /// Sends the open cases to a seed whose link is up again. Cases that waited for a majority
    /// begin another round, with a new probe.
    pub(super) fn send_open_cases(&mut self, link: LinkId) {
        let (me, now) = (self.id(), self.fx.now());
        self.restart_cases(|c| !c.has_current_probe(now));
        for case in self.cases.values() {
            self.fx.send(link, votes_of(case, me));
        }
    }

    /// Begins another round of some cases. The other seeds have votes of the last rounds, which are
    /// withdrawn.
    pub(super) fn restart_cases(&mut self, which: impl Fn(&Case) -> bool) {
        let (me, now) = (self.id(), self.fx.now());
        let mut voted = Vec::new();
        for case in self.cases.values_mut().filter(|c| which(c)) {
            case.next_round(&me, false, now);
            voted.extend(case.has_voted.then_some(case.subject));
        }
        for subject in voted {
            self.send_votes(Votes { withdrawn: Some(subject), ..EMPTY_VOTES });
        }
    }

    /// Fails the probes whose time is over, and returns their subjects. Only the timeout may do so:
    /// a seed that was paused first reads the frames that arrived meanwhile, which may have the
    /// answer.
    pub(super) fn fail_due_probes(&mut self) -> Vec<PeerId> {
        let now = self.fx.now();
        let failed =
            self.cases.iter_mut().filter_map(|(id, c)| c.probe.check_failed(now).then_some(*id));
        let failed: Vec<PeerId> = failed.collect();
        self.fx.counters.probes_failed += failed.len() as u64;
        failed
    }

    /// Reviews the cases that are due, and those whose probes have just `failed`. If a part of the
    /// network dies at once there are thousands of cases, so each is reviewed only for its own
    /// events.
    pub(super) fn review_cases(&mut self, failed: &[PeerId]) {
        let now = self.fx.now();
        let due = self.cases.iter().filter(|(_, c)| c.deadline() <= now).map(|(id, _)| *id);
        let subjects: BTreeSet<PeerId> = due.chain(failed.iter().copied()).collect();
        for subject in subjects {
            self.review_case(subject);
        }
    }

    /// Continues a case: probe, vote, certificate.
    pub(super) fn review_case(&mut self, subject: PeerId) {
        let now = self.fx.now();
        self.probe(subject);
        self.appoint(subject);
        let burst = self.config.probe_burst();
        let Some(probe) = self.cases.get(&subject).map(|c| &c.probe) else { return };
        let probed = probe.last_burst(burst);
        if probe.has_failed() {
            self.check_reach(probed);
        }
        let (needed, may_vote) = (self.needed(&subject), self.may_vote(probed));
        let Some(case) = self.cases.get_mut(&subject) else { return };
        if may_vote && let Some(vote) = case.decide(&self.identity, needed, now) {
            let votes = votes_of(case, self.identity.id());
            let witnesses = vote.witnesses.clone();
            let name = self.name_of(&subject);
            self.fx.counters.votes += 1;
            self.fx.event(Event::Voted { id: subject, name, witnesses });
            self.send_votes(votes);
        }
        let quorum = self.quorum();
        let Some(case) = self.cases.get(&subject) else { return };
        if let Some(certificate) = case.certificate(quorum) {
            self.certify(certificate);
            self.cases.remove(&subject);
        } else if case.is_stale(now) {
            self.end_round(subject);
        }
    }

    /// Ends a fruitless round of a case: another one begins, or the case is closed. While no
    /// majority of the seeds is linked, or this seed doubts its own view, no verdict is possible,
    /// and the round does not count.
    fn end_round(&mut self, subject: PeerId) {
        let (me, now) = (self.id(), self.fx.now());
        let linked = 1 + self.others.iter().filter(|o| o.link.is_some()).count();
        let counts = linked >= self.quorum() && !self.reach.is_in_doubt();
        let Some(case) = self.cases.get_mut(&subject) else { return };
        let is_alive = self.table.get(&subject).is_some_and(Entry::is_alive);
        if is_alive && !(counts && case.is_given_up()) {
            case.next_round(&me, counts, now);
            let votes = votes_of(case, me);
            self.fx.counters.cases_repeated += 1;
            return self.send_votes(votes);
        }
        self.close_case(&subject);
        self.fx.counters.cases_expired += 1;
    }

    /// Probes the accused itself.
    fn probe(&mut self, subject: PeerId) {
        let now = self.fx.now();
        let registered_on = self.registrants.get(&subject);
        let addresses = self.table.get(&subject).map(|e| e.record.addresses.clone());
        let Some(case) = self.cases.get_mut(&subject) else { return };
        if !case.probe.take_due_try(now) {
            return;
        }
        let (incarnation, nonce) = (case.incarnation, case.probe.nonce);
        let is_accused = !case.witnesses().is_empty();
        if let Some(link) = registered_on {
            self.fx.send(link, Ping { nonce });
            if is_accused {
                self.fx.send(link, Accusation { incarnation, certificate: None });
            }
        }
        // Only the link may be broken: a new connection is tried as well.
        if case.probe.dial.is_none() {
            let mut addresses = addresses.unwrap_or_default();
            // Without a link over the loopback interface, loopback addresses are of other hosts.
            if !self.links.values().any(|l| l.on_loopback) {
                addresses.retain(|a| !a.is_loopback());
            }
            let dial = self.fx.dial(DialTarget::Peer { id: subject, addresses });
            case.probe.dial = Some(dial);
            self.dials.insert(dial, SeedDialPurpose::Probe(subject));
        }
    }

    /// Records a certificate of a majority: the peer is dead.
    fn certify(&mut self, certificate: Certificate) {
        let Some(entry) = self.table.get(&certificate.subject()) else { return };
        let mut entry = entry.clone();
        entry.certificate = Some(certificate);
        self.merge_entry(entry);
    }

    /// Handles a death, certified here or by other seeds.
    pub(super) fn on_death(&mut self, entry: &Entry) {
        let Some(certificate) = &entry.certificate else { return };
        let id = entry.id();
        if let Some(case) = self.cases.remove(&id) {
            self.pending_updates.concerned.extend(case.reports().map(|r| r.reporter));
            self.pending_updates.concerned.extend(case.testimonies().map(|t| t.witness));
        }
        self.pending_updates.dead.insert(id);
        self.fx.counters.removals += 1;
        self.fx.event(Event::PeerRemoved {
            id,
            name: Some(entry.record.name.clone()),
            incarnation: certificate.incarnation(),
            witnesses: certificate.witnesses(),
            seeds: certificate.seeds(),
        });
        if let Some(link) = self.registrants.remove(&id) {
            // If it is alive after all, it learns here what to refute.
            let incarnation = certificate.incarnation();
            let accused = Accusation { incarnation, certificate: Some(certificate.clone()) };
            self.fx.send(link, accused);
            self.close(link, CloseReason::DeclaredDead);
        }
    }

    pub(super) fn cases_deadline(&self) -> Time {
        self.cases.values().map(Case::deadline).min().unwrap_or(Time::MAX)
    }
}
