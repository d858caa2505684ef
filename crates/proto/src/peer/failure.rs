//! The effects of the failure detector's findings on the rest of a peer.

use std::sync::Arc;

use super::Peer;
use crate::event::{CloseReason, LinkEnd};
use crate::failure::{
    ClearOutcome, FailureDetector, ProbeOutcome, ReportOutcome, ReporterRole, Suspect, Watch,
};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::links::LinkPurpose;
use crate::membership::Membership;
use crate::overlay::Neighbour;
use crate::record::{Address, SignedRecord};
use crate::wire::{Appoint, ProbeReply};

impl Peer {
    pub(super) fn on_traffic(&mut self, remote: PeerId) {
        let after = self.with_failure(|f, cx| f.on_traffic(cx, remote));
        self.suspicion_cleared(remote, after);
    }

    pub(super) fn on_pong(&mut self, remote: PeerId, purpose: &LinkPurpose, nonce: u64) {
        if let LinkPurpose::Seed(index) = purpose {
            return self.with_membership(|m, cx| m.on_seed_pong(cx, *index, nonce));
        }
        let after = self.with_failure(|f, cx| f.on_pong(cx, remote, nonce));
        self.suspicion_cleared(remote, after);
    }

    pub(super) fn on_handshake(&mut self, remote: PeerId) {
        let after = self.with_failure(|f, cx| f.on_handshake(cx, remote));
        self.suspicion_cleared(remote, after);
        // The report about a peer that has proved to be alive is withdrawn.
        if self.with_failure(|f, _| f.reports.remove(&remote)).is_some() {
            self.mark_suspect(&remote, false);
        }
    }

    pub(super) fn on_probe_reply(
        &mut self,
        link: LinkId,
        remote: PeerId,
        purpose: &LinkPurpose,
        f: &ProbeReply,
    ) {
        let after = self.with_failure(|d, cx| d.on_probe_reply(cx, link, remote, purpose, f));
        self.suspicion_cleared(f.subject, after);
    }

    fn mark_suspect(&mut self, id: &PeerId, suspect: bool) {
        if let Some(m) = self.membership.members.get_mut(id) {
            m.suspect = suspect;
        }
    }

    /// Handles the end of a suspicion: the suspect is alive.
    fn suspicion_cleared(&mut self, id: PeerId, after: Option<ClearOutcome>) {
        let Some(after) = after else { return };
        self.mark_suspect(&id, false);
        match after {
            ClearOutcome::Stays => {}
            ClearOutcome::Reconnect(addresses) => {
                self.request_slot(id, addresses);
            }
            ClearOutcome::Disconnect => {
                let wait = self.config.report_window().max(self.config.ping_interval() * 8);
                let until = self.fx.now() + wait;
                self.membership.members.avoid(&id, until);
                self.drop_silent(id);
            }
        }
    }

    /// Ends the edge to a silent neighbour.
    fn drop_silent(&mut self, id: PeerId) {
        let why = LinkEnd::Local(CloseReason::NoSignOfLife);
        if let Some((n, _)) = self.drop_neighbour(id, why) {
            self.close(n.link, CloseReason::NoSignOfLife);
        }
    }

    /// Watches every neighbour, and suspects those that are silent for too long.
    pub(super) fn watch_neighbours(&mut self) {
        for id in self.with_failure(FailureDetector::watch_neighbours) {
            let Some(n) = self.overlay.neighbours.get(&id) else { continue };
            let role = ReporterRole::Neighbour(n.adjacency.clone());
            let (record, neighbourhood) = (n.record.clone(), n.neighbourhood.clone());
            self.with_broadcast(|b, cx| b.on_suspected_neighbour(cx, id));
            self.begin_probe(record, role, neighbourhood, 0);
        }
    }

    /// Suspects a neighbour whose connection broke.
    pub(super) fn suspect_lost(&mut self, n: Neighbour, watch: Option<Watch>) {
        let id = n.record.id;
        let requesters = watch.map(|mut w| w.take_requesters()).unwrap_or_default();
        if !self.is_leaving() {
            self.begin_probe(n.record, ReporterRole::Neighbour(n.adjacency), n.neighbourhood, 0);
        }
        self.with_failure(|f, cx| f.transfer_indirect_probes(cx, id, &requesters));
    }

    fn begin_probe(
        &mut self,
        record: SignedRecord,
        role: ReporterRole,
        neighbourhood: Arc<[(PeerId, Address)]>,
        earlier_reports: u32,
    ) {
        if self
            .with_failure(|f, cx| f.begin_probe(cx, record, role, neighbourhood, earlier_reports))
        {
            self.run_probes();
        }
    }

    /// Continues every running probe.
    pub(super) fn run_probes(&mut self) {
        let suspects: Vec<PeerId> = self.failure.suspects.keys().copied().collect();
        for id in suspects {
            match self.with_failure(|f, cx| f.run_probe(cx, id)) {
                ProbeOutcome::Pending => {}
                ProbeOutcome::SelfDoubt => self.with_membership(Membership::ping_seeds),
                ProbeOutcome::Silent(suspect) => self.on_silent(*suspect),
            }
        }
    }

    /// Handles the end of a probe without a sign of life.
    fn on_silent(&mut self, s: Suspect) {
        let id = s.record.id;
        // A witness tests for the seeds, and has no report of its own that would end the suspicion.
        if matches!(s.role, ReporterRole::Neighbour(_)) {
            self.mark_suspect(&id, true);
        }
        self.drop_silent(id);
        if s.earlier_reports == 0 {
            self.heal(id, &s.neighbourhood);
        }
        match s.role.clone() {
            ReporterRole::Neighbour(adjacency) => {
                self.with_failure(|f, cx| f.report(cx, s, adjacency));
                // The report is sent when the link is up.
                self.membership.registrations.redial_parked_by(self.fx.now());
            }
            ReporterRole::Witness(appointment) => {
                self.with_failure(|f, cx| f.testify(cx, appointment));
            }
        }
    }

    /// Handles the appointment of this peer as a witness.
    pub(super) fn on_appoint(&mut self, f: &Appoint) {
        if !self.with_failure(|d, cx| d.accepts_appointment(cx, f)) {
            return self.fx.counters.appointments_refused += 1;
        }
        let subject = f.appointment.body().subject;
        // A neighbour is watched and reported anyway.
        if subject != self.id() && !self.overlay.neighbours.contains_key(&subject) {
            let role = ReporterRole::Witness(f.appointment.clone());
            self.begin_probe(f.record.clone(), role, Arc::default(), 0);
        }
    }

    /// Probes again after a report without a verdict, and gives up in the end.
    pub(super) fn expire_reports(&mut self) {
        for id in self.failure.overdue_reports(self.fx.now()) {
            match self.with_failure(|f, cx| f.take_overdue_report(cx, &id)) {
                ReportOutcome::Withdrawn => {}
                ReportOutcome::ProbeAgain(suspect) => {
                    let Suspect { record, role, neighbourhood, earlier_reports, .. } = *suspect;
                    self.begin_probe(record, role, neighbourhood, earlier_reports);
                }
                ReportOutcome::GiveUp => self.mark_suspect(&id, false),
            }
        }
    }

    /// Records that this peer itself, or its own link, is late.
    pub(super) fn record_trouble(&mut self) {
        self.with_failure(FailureDetector::record_trouble);
    }
}
