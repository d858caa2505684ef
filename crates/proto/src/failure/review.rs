//! The review of a case: this seed's own probe, further witnesses, its vote, and the certificate.

use std::collections::BTreeSet;

use super::cases::{name_of, send_votes};
use super::{Appointment, Cases, Certificate};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{DialTarget, LinkId};
use crate::seed::{CaseContext, SeedDialPurpose};
use crate::signed::Signed;
use crate::wire::{Accusation, Appoint, Ping};

impl Cases {
    /// Fails the probes whose time is over, and returns the accused peers whose cases are due. Only
    /// the timeout may do so: a seed that was paused first reads the frames that arrived meanwhile,
    /// which may have the answer.
    pub(crate) fn fail_due_probes(&mut self, cx: &mut CaseContext<'_>) -> BTreeSet<PeerId> {
        let due = self.open.due(cx.now);
        for subject in &due {
            if self.open.update(subject, |c| c.probe.check_failed(cx.now)) == Some(true) {
                cx.fx.counters.probes_failed += 1;
            }
        }
        due
    }

    /// Continues a case. Returns the certificate of a majority, which ends it.
    pub(crate) fn review(
        &mut self,
        cx: &mut CaseContext<'_>,
        subject: PeerId,
    ) -> Option<Certificate> {
        self.probe(cx, subject);
        self.appoint(cx, subject);
        let probe = &self.open.get(&subject)?.probe;
        let probed = probe.last_burst(cx.config.probe_burst());
        if probe.has_failed() {
            self.check_reach(cx, probed);
        }
        if self.may_vote(cx, probed) {
            self.vote(cx, subject);
        }
        let case = self.open.get(&subject)?;
        let certificate = case.certificate(cx.registry.quorum());
        if certificate.is_none() && case.is_stale(cx.now) {
            self.end_round(cx, subject);
        }
        certificate
    }

    /// Votes in a case, if the evidence suffices.
    fn vote(&mut self, cx: &mut CaseContext<'_>, subject: PeerId) {
        let needed = self.needed(cx.registry, &subject);
        let vote = self.open.update(&subject, |case| {
            let vote = case.decide(cx.identity, needed, cx.now)?;
            Some((case.votes_of(&cx.identity.id()), vote.witnesses.clone()))
        });
        let Some((votes, witnesses)) = vote.flatten() else { return };
        let name = name_of(cx.registry, &subject);
        cx.fx.counters.votes += 1;
        cx.fx.event(Event::Voted { id: subject, name, witnesses });
        send_votes(cx, &votes);
    }

    /// Appoints random witnesses where too few neighbours are left to report.
    fn appoint(&mut self, cx: &mut CaseContext<'_>, subject: PeerId) {
        let needed = self.needed(cx.registry, &subject);
        let drawn = self.open.update(&subject, |case| {
            let missing = case.witnesses_to_appoint(needed, cx.now, cx.config);
            (missing, case.incarnation)
        });
        let Some((missing @ 1.., incarnation)) = drawn else { return };
        let Some(entry) = cx.registry.table.get(&subject) else { return };
        for (witness, link) in self.draw_witnesses(cx, &subject, missing) {
            cx.fx.counters.witnesses_appointed += 1;
            let seed = cx.identity.id();
            let appointment = Appointment { seed, witness, subject, incarnation };
            let appointment = Signed::sign(appointment, cx.identity);
            cx.fx.send(link, Appoint { appointment, record: entry.record.clone() });
            self.open.update(&subject, |case| case.appointed.insert(witness));
        }
    }

    /// Draws registered peers that are no witnesses in a case yet, and not accused themselves.
    fn draw_witnesses(
        &self,
        cx: &mut CaseContext<'_>,
        subject: &PeerId,
        missing: usize,
    ) -> Vec<(PeerId, LinkId)> {
        let Some(case) = self.open.get(subject) else { return Vec::new() };
        let heard = case.witnesses();
        let qualifies = |id: &PeerId| {
            !heard.contains(id) && !case.appointed.contains(id) && !self.open.contains(id)
        };
        let registrants = &cx.registry.registrants;
        // Most of the accused have no link. If many have one, more are drawn until enough qualify.
        let mut drawn = missing + heard.len() + case.appointed.len() + 1;
        let candidates: Vec<(PeerId, LinkId)> = loop {
            let sample = registrants.sample(drawn, cx.rng);
            let found: Vec<_> = sample.filter(|(id, _)| qualifies(id)).copied().collect();
            if found.len() >= missing || drawn >= registrants.len() {
                break found;
            }
            drawn *= 2;
        };
        cx.rng.sample(candidates, missing)
    }

    /// Ends a fruitless round of a case: another one begins, or the case is closed. While no
    /// majority of the seeds is linked, or this seed doubts its own view, no verdict is possible,
    /// and the round does not count.
    fn end_round(&mut self, cx: &mut CaseContext<'_>, subject: PeerId) {
        let (me, now) = (cx.identity.id(), cx.now);
        let linked = 1 + cx.registry.seed_links().count();
        let counts = linked >= cx.registry.quorum() && self.reach.doubts_since.is_none();
        let is_alive = cx.registry.table.alive_record(&subject).is_some();
        let votes = self.open.update(&subject, |case| {
            (is_alive && !(counts && case.is_given_up())).then(|| {
                case.next_round(&me, counts, now);
                case.votes_of(&me)
            })
        });
        if let Some(votes) = votes.flatten() {
            cx.fx.counters.cases_repeated += 1;
            send_votes(cx, &votes);
        } else {
            self.close(cx, &subject);
            cx.fx.counters.cases_expired += 1;
        }
    }

    /// Probes the accused itself.
    fn probe(&mut self, cx: &mut CaseContext<'_>, subject: PeerId) {
        let due = self.open.update(&subject, |case| {
            case.probe.take_due_try(cx.now).then(|| {
                let nonce = case.probe.nonce;
                (case.incarnation, nonce, !case.witnesses().is_empty(), case.probe.dial.is_none())
            })
        });
        let Some((incarnation, nonce, is_accused, has_no_dial)) = due.flatten() else { return };
        if let Some(link) = cx.registry.registrants.get(&subject) {
            cx.fx.send(link, Ping { nonce });
            if is_accused {
                cx.fx.send(link, Accusation { incarnation, certificate: None });
            }
        }
        // Only the link may be broken: a new connection is tried as well.
        if has_no_dial {
            let entry = cx.registry.table.get(&subject);
            let mut addresses = entry.map(|e| e.record.addresses.clone()).unwrap_or_default();
            // Without a link over the loopback interface, loopback addresses are of other hosts.
            if !cx.links.open.values().any(|l| l.on_loopback) {
                addresses.retain(|a| !a.is_loopback());
            }
            let dial = cx.fx.dial(DialTarget::Peer { id: subject, addresses });
            self.open.update(&subject, |case| case.probe.dial = Some(dial));
            cx.links.dials.insert(dial, SeedDialPurpose::Probe(subject));
        }
    }
}
