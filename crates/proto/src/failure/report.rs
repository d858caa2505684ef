//! Reports of a peer to the seeds: about a silent neighbour, and about the subject of an
//! appointment.

use super::detector::{FailureDetector, ReporterRole, Suspect};
use super::{Adjacency, Appointment, DeathReport, Testimony};
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::signed::Signed;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Appoint, Report, Testify};

/// Number of reports about one suspect without a verdict after which this peer gives up.
const MAX_EARLIER_REPORTS: u32 = 8;
/// How often the pause between two reports doubles.
const MAX_PAUSE_DOUBLINGS: u32 = 5;
/// Number of reports without a verdict at a time.
const MAX_PENDING_REPORTS: usize = 256;
/// Number of suspects that this peer probes for the seeds at a time.
const MAX_APPOINTED: usize = 64;

/// A report to the seeds without a verdict so far.
#[derive(Debug)]
pub(crate) struct PendingReport {
    pub(crate) statement: Signed<DeathReport>,
    pub(super) until: Time,
    pub(super) suspect: Suspect,
}

/// The action after a report without a verdict.
#[derive(Debug)]
pub(crate) enum ReportOutcome {
    /// It was withdrawn meanwhile.
    Withdrawn,
    /// The suspect is probed again.
    ProbeAgain(Box<Suspect>),
    /// Perhaps only this path is broken: the peer may be asked for an edge again.
    GiveUp,
}

impl FailureDetector {
    /// Reports to the seeds that a suspect is silent.
    pub(crate) fn report(
        &mut self,
        cx: &mut Context<'_>,
        suspect: Suspect,
        adjacency: Signed<Adjacency>,
    ) {
        let (id, incarnation) = (suspect.record.id, suspect.record.incarnation);
        let report = DeathReport { reporter: cx.id(), subject: id, incarnation, adjacency };
        let statement = Signed::sign(report, cx.identity);
        cx.fx.counters.reports += 1;
        let name = suspect.record.name.clone();
        cx.fx.event(Event::Reported { id, name, incarnation });
        for link in cx.view.membership.registrations.links() {
            cx.fx.send(link, Report { report: statement.clone() });
        }
        let pause =
            cx.config.report_window() * (1 << suspect.earlier_reports.min(MAX_PAUSE_DOUBLINGS));
        let until = cx.now + pause;
        if self.reports.len() >= MAX_PENDING_REPORTS && !self.reports.contains_key(&id) {
            let first = self.reports.iter().min_by_key(|(_, r)| r.until).map(|(id, _)| *id);
            if let Some(first) = first {
                self.reports.remove(&first);
                cx.fx.counters.reports_forgotten += 1;
            }
        }
        self.reports.insert(id, PendingReport { statement, until, suspect });
    }

    /// The reports without a verdict in time.
    pub(crate) fn overdue_reports(&self, now: Time) -> Vec<PeerId> {
        self.reports.iter().filter(|(_, r)| r.until <= now).map(|(id, _)| *id).collect()
    }

    /// Withdraws an overdue report.
    pub(crate) fn take_overdue_report(&mut self, view: &View<'_>, id: &PeerId) -> ReportOutcome {
        let Some(PendingReport { mut suspect, .. }) = self.reports.remove(id) else {
            return ReportOutcome::Withdrawn;
        };
        let member = view.membership.members.get(id);
        let is_current =
            member.is_none_or(|m| m.suspect && m.record.incarnation == suspect.record.incarnation);
        if !is_current || suspect.earlier_reports >= MAX_EARLIER_REPORTS {
            return ReportOutcome::GiveUp;
        }
        // Without a joined state no majority of the seeds gets the report: that does not count.
        let is_heard = view.membership.own.state == PeerState::Joined;
        suspect.earlier_reports =
            if is_heard { suspect.earlier_reports + 1 } else { suspect.earlier_reports.max(1) };
        ReportOutcome::ProbeAgain(Box::new(suspect))
    }

    // ---- appointments ----------------------------------------------------------------------

    /// Whether this peer accepts a seed's appointment to probe another peer.
    pub(crate) fn accepts_appointment(&self, view: &View<'_>, f: &Appoint) -> bool {
        let a = f.appointment.body();
        let is_proper = a.witness == view.id()
            && a.subject == f.record.id
            && a.incarnation == f.record.incarnation
            && view.membership.registrations.is_seed(&a.seed);
        let is_full = self.appointed().count() >= MAX_APPOINTED;
        is_proper && !is_full && !view.membership.own.is_leaving()
    }

    /// The suspects that this peer probes for seeds.
    pub(super) fn appointed(&self) -> impl Iterator<Item = &Suspect> {
        self.suspects.values().filter(|s| matches!(s.role, ReporterRole::Witness(_)))
    }

    /// Testifies to the seeds that the subject of an appointment is silent.
    pub(crate) fn testify(&self, cx: &mut Context<'_>, appointment: Signed<Appointment>) {
        let testimony = Testimony { witness: cx.id(), appointment };
        let testimony = Signed::sign(testimony, cx.identity);
        cx.fx.counters.testimonies += 1;
        for link in cx.view.membership.registrations.links() {
            cx.fx.send(link, Testify { testimony: testimony.clone() });
        }
    }
}
