//! Reports of a peer to the seeds: of a silent neighbour, and of a subject that a seed appointed it for.

use super::detector::{FailureDetector, ReporterRole, Suspect};
use super::{Adjacency, Appointment, DeathReport, Testimony};
use crate::context::{Context, View};
use crate::event::Event;
use crate::identity::PeerId;
use crate::signed::Signed;
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Appoint, Report, Testify};

/// Reports about one suspect without a verdict, after which this peer gives up.
const MAX_REPEATED: u32 = 8;
/// How often the pause between two reports doubles.
const REPORT_DOUBLINGS: u32 = 5;
/// Reports without a verdict at a time.
const MAX_OPEN_REPORTS: usize = 256;
/// Suspects that this peer probes for the seeds at a time.
const MAX_APPOINTED: usize = 64;

/// A report to the seeds that has not led to a verdict yet.
#[derive(Debug)]
pub(super) struct OpenReport {
    pub(super) statement: Signed<DeathReport>,
    pub(super) until: Time,
    pub(super) suspect: Suspect,
}

/// What follows a report that has led to no verdict.
#[derive(Debug)]
pub(crate) enum AfterReport {
    /// It has been withdrawn meanwhile.
    Withdrawn,
    /// The suspect is probed again.
    ProbeAgain(Box<Suspect>),
    /// Perhaps it was only this path: the peer may be asked for an edge again.
    GiveUp,
}

impl FailureDetector {
    /// Tells the seeds that a suspect is silent.
    pub(crate) fn report(
        &mut self,
        cx: &mut Context<'_>,
        suspect: Suspect,
        adjacency: Signed<Adjacency>,
    ) {
        let (id, incarnation) = (suspect.record.id, suspect.record.incarnation);
        let report = DeathReport { reporter: cx.id(), subject: id, incarnation, adjacency };
        let statement = Signed::sign(report, cx.identity);
        cx.fx.count("reports");
        let name = suspect.record.name.clone();
        cx.fx.event(Event::Reported { id, name, incarnation });
        for link in cx.view.membership.registrations.links() {
            cx.fx.send(link, Report { report: statement.clone() });
        }
        let pause = cx.config.report_window() * (1 << suspect.repeated.min(REPORT_DOUBLINGS));
        let until = cx.now + pause;
        if self.reports.len() >= MAX_OPEN_REPORTS && !self.reports.contains_key(&id) {
            let first = self.reports.iter().min_by_key(|(_, r)| r.until).map(|(id, _)| *id);
            if let Some(first) = first {
                self.reports.remove(&first);
                cx.fx.count("reports_forgotten");
            }
        }
        self.reports.insert(id, OpenReport { statement, until, suspect });
    }

    /// The reports that have led to no verdict in time.
    pub(crate) fn overdue_reports(&self, now: Time) -> Vec<PeerId> {
        self.reports.iter().filter(|(_, r)| r.until <= now).map(|(id, _)| *id).collect()
    }

    /// Withdraws a report that has led to no verdict.
    pub(crate) fn take_overdue(&mut self, view: &View<'_>, id: &PeerId) -> AfterReport {
        let Some(OpenReport { mut suspect, .. }) = self.reports.remove(id) else {
            return AfterReport::Withdrawn;
        };
        let member = view.membership.members.get(id);
        let is_current =
            member.is_none_or(|m| m.suspect && m.record.incarnation == suspect.record.incarnation);
        if !is_current || suspect.repeated >= MAX_REPEATED {
            return AfterReport::GiveUp;
        }
        // Where no majority of the seeds hears the report there can be no verdict: that does not count.
        let is_heard = view.membership.own.state == PeerState::Joined;
        suspect.repeated = if is_heard { suspect.repeated + 1 } else { suspect.repeated.max(1) };
        AfterReport::ProbeAgain(Box::new(suspect))
    }

    /// Withdraws the report of a peer that has proved to live. `false` if there is none.
    pub(crate) fn withdraw_report(&mut self, id: &PeerId) -> bool {
        self.reports.remove(id).is_some()
    }

    // ---- appointments ----------------------------------------------------------------------

    /// Whether this peer probes another one for a seed that appoints it.
    pub(crate) fn accepts(&self, view: &View<'_>, f: &Appoint) -> bool {
        let a = f.appointment.body();
        let is_proper = a.witness == view.id()
            && a.subject == f.record.id
            && a.incarnation == f.record.incarnation
            && view.membership.registrations.is_seed(&a.seed);
        let is_full = self.appointed().count() >= MAX_APPOINTED;
        is_proper && !is_full && !view.membership.own.is_leaving()
    }

    /// The suspects that this peer probes for a seed.
    pub(super) fn appointed(&self) -> impl Iterator<Item = &Suspect> {
        self.suspects.values().filter(|s| matches!(s.role, ReporterRole::Witness(_)))
    }

    /// Tells the seeds that the subject of an appointment is silent.
    pub(crate) fn testify(cx: &mut Context<'_>, appointment: Signed<Appointment>) {
        let testimony = Testimony { witness: cx.id(), appointment };
        let testimony = Signed::sign(testimony, cx.identity);
        cx.fx.count("testimonies");
        for link in cx.view.membership.registrations.links() {
            cx.fx.send(link, Testify { testimony: testimony.clone() });
        }
    }
}
