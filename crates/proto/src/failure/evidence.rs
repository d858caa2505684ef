//! The evidence in the cases of a seed: reports, testimonies, and the votes of other seeds.

use std::collections::BTreeSet;

use super::cases::{name_of, send_votes};
use super::{Case, Cases, DeathReport, Testimony, Vote, reports_needed};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::registry::{EntryState, Registry};
use crate::seed::{CaseContext, count};
use crate::signed::Signed;
use crate::wire::{MembershipUpdate, Votes};

/// Whether an accused peer is alive in the incarnation that is accused.
fn is_current(registry: &Registry, subject: &PeerId, incarnation: u64) -> bool {
    registry.table.alive_record(subject).is_some_and(|r| r.incarnation == incarnation)
}

impl Cases {
    /// Handles the report of a neighbour. Returns the case to review.
    pub(crate) fn on_report(
        &mut self,
        cx: &mut CaseContext<'_>,
        link: LinkId,
        remote: PeerId,
        report: Signed<DeathReport>,
    ) -> Option<PeerId> {
        if report.reporter != remote {
            cx.fx.counters.reports_refused += 1;
            return None;
        }
        if send_verdict(cx, link, &report) || !self.add_report(cx, report.clone()) {
            return None;
        }
        let subject = report.subject;
        send_votes(cx, &Votes { reports: vec![report], ..Votes::default() });
        Some(subject)
    }

    /// Handles the testimony of an appointed witness. Returns the case to review.
    pub(crate) fn on_testify(
        &mut self,
        cx: &mut CaseContext<'_>,
        remote: PeerId,
        testimony: Signed<Testimony>,
    ) -> Option<PeerId> {
        if testimony.witness != remote {
            cx.fx.counters.testimonies_refused += 1;
            return None;
        }
        if !self.add_testimony(cx, testimony.clone()) {
            return None;
        }
        let subject = testimony.appointment.subject;
        send_votes(cx, &Votes { testimonies: vec![testimony], ..Votes::default() });
        Some(subject)
    }

    /// Handles the evidence and the vote of another seed. Returns the cases to review.
    pub(crate) fn on_votes(
        &mut self,
        cx: &mut CaseContext<'_>,
        remote: PeerId,
        f: Votes,
    ) -> BTreeSet<PeerId> {
        let mut subjects = BTreeSet::new();
        if !cx.registry.trusted().contains(&remote) {
            cx.fx.counters.frames_from_unproved_seeds += 1;
            return subjects;
        }
        // First, because the other parts belong to the case that this opens.
        if let Some(lost) = f.lost {
            self.open_lost_case(cx, lost);
            subjects.insert(lost.subject);
        }
        for report in f.reports {
            subjects.insert(report.subject);
            self.add_report(cx, report);
        }
        for testimony in f.testimonies {
            subjects.insert(testimony.appointment.subject);
            self.add_testimony(cx, testimony);
        }
        if let Some(subject) = f.withdrawn {
            self.open.update(&subject, |case| case.withdraw_vote(&remote));
        }
        if let Some(vote) = f.vote {
            subjects.insert(vote.subject);
            self.add_vote(cx, remote, vote);
        }
        subjects
    }

    /// Adds the vote of another seed. A vote without the reports that it rests on opens no case.
    fn add_vote(&mut self, cx: &mut CaseContext<'_>, remote: PeerId, vote: Signed<Vote>) {
        let (subject, incarnation) = (vote.subject, vote.incarnation);
        let has_case = self.open.get(&subject).is_some_and(|c| c.incarnation == incarnation);
        if has_case && vote.seed == remote && is_current(cx.registry, &subject, incarnation) {
            self.open.update(&subject, |case| case.add_vote(vote, cx.now));
        } else {
            cx.fx.counters.votes_refused += 1;
        }
    }

    /// Adds the testimony of a witness that a seed appointed. Returns whether it is new.
    fn add_testimony(&mut self, cx: &mut CaseContext<'_>, testimony: Signed<Testimony>) -> bool {
        let appointment = testimony.appointment.body();
        let subject = appointment.subject;
        let case = self.open.get(&subject);
        if case.is_some_and(|c| c.incarnation == appointment.incarnation)
            && cx.registry.trusted().contains(&appointment.seed)
            && cx.registry.table.alive_record(&testimony.witness).is_some()
        {
            let is_new = self.open.update(&subject, |case| case.add_testimony(testimony, cx.now));
            return is_new == Some(true);
        }
        cx.fx.counters.testimonies_refused += 1;
        false
    }

    /// Adds a report, from a neighbour or through another seed. Returns whether it is new.
    fn add_report(&mut self, cx: &mut CaseContext<'_>, report: Signed<DeathReport>) -> bool {
        let (subject, reporter, incarnation) =
            (report.subject, report.reporter, report.incarnation);
        if !is_current(cx.registry, &subject, incarnation)
            || cx.registry.table.alive_record(&reporter).is_none()
        {
            cx.fx.counters.reports_refused += 1;
            return false;
        }
        let is_new = !self.open.contains(&subject);
        if is_new && self.open.is_full() {
            cx.fx.counters.cases_refused += 1;
            return false;
        }
        let (nonce, factor) = (cx.rng.u64(), self.health.timeout_factor());
        let (now, burst) = (cx.now, cx.config.probe_burst());
        if self.open.get(&subject).is_none_or(|c| c.incarnation != incarnation) {
            self.open.insert(Case::new(subject, incarnation, nonce, factor, now, cx.config));
        }
        // Neighbours report after a burst of their own: a dead peer has been silent for as long.
        let link = cx.registry.registrants.get(&subject);
        let silent_until =
            link.and_then(|link| cx.links.open.get(&link)).map(|l| l.last_heard + burst * 2);
        // Without a link, the probe has to connect first.
        let until = silent_until.or_else(|| is_new.then(|| now + burst * 2 * factor));
        let reports = self.open.update(&subject, |case| {
            if let Some(at) = until {
                case.probe.extend_until(at);
            }
            case.add_report(report, now).then(|| case.reports().count())
        });
        let Some(reports) = reports.flatten() else { return false };
        let (reports, needed) = (count(reports), count(self.needed(cx.registry, &subject)));
        let name = name_of(cx.registry, &subject);
        cx.fx.counters.reports += 1;
        cx.fx.event(Event::DeathReported { id: subject, name, reporter, reports, needed });
        true
    }

    /// Number of witnesses needed: by the rule, or as many as are left.
    pub(super) fn needed(&self, registry: &Registry, subject: &PeerId) -> usize {
        let table = &registry.table;
        let by_rule = reports_needed(table.get(subject).map_or(0, |e| e.record.degree));
        // Other accused peers will not testify; if they are alive, their cases are closed soon.
        let alive = table.alive_count();
        if alive >= self.open.len().max(1) + by_rule {
            return by_rule;
        }
        let accused = self.open.iter().filter(|c| table.counts_as_alive(&c.subject)).count();
        by_rule.min(alive.saturating_sub(accused.max(1)).max(1))
    }
}

/// Sends the certificate to the reporter of a dead peer: in a large network not all peers are told
/// of a death. Returns whether there is one.
fn send_verdict(cx: &mut CaseContext<'_>, link: LinkId, report: &DeathReport) -> bool {
    let entry = cx.registry.table.get(&report.subject);
    let certificate =
        entry.filter(|e| e.state() == EntryState::Dead).and_then(|e| e.certificate.clone());
    let Some(c) = certificate.filter(|c| c.incarnation() >= report.incarnation) else {
        return false;
    };
    let (alive, participating) = cx.registry.counts_for(cx.links, link);
    let dead = vec![c];
    cx.fx.send(link, MembershipUpdate { dead, alive, participating, ..Default::default() });
    true
}
