//! The second level of a death, at a seed: the cases of accused peers, from the first report to the
//! certificate.

use core::time::Duration;

use super::open_cases::OpenCases;
use super::reach::ReachCheck;
use super::{Case, Health};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{DialError, LinkId};
use crate::name::Name;
use crate::name::unknown_name;
use crate::registry::{Entry, EntryChange, Registry};
use crate::seed::CaseContext;
use crate::time::Time;
use crate::timers::SeedTimer;
use crate::wire::Votes;

/// The cases of one seed.
#[derive(Debug)]
pub(crate) struct Cases {
    pub(super) open: OpenCases,
    /// How far this seed trusts its own view.
    pub(super) health: Health,
    /// Whether it reaches the peers that it serves.
    pub(super) reach: ReachCheck,
    /// When to look for silent registrants.
    pub(super) next_watch: Time,
    /// Since when this seed was not late.
    pub(super) awake_since: Time,
    /// It was paused or starved, and has not read everything that arrived meanwhile.
    is_behind: bool,
}

pub(super) fn send_votes(cx: &mut CaseContext<'_>, votes: &Votes) {
    for link in cx.registry.seed_links() {
        cx.fx.send(link, votes.clone());
    }
}

pub(super) fn name_of(registry: &Registry, id: &PeerId) -> Name {
    registry.table.get(id).map_or_else(|| unknown_name(id), |e| e.record.name.clone())
}

impl Cases {
    pub(crate) fn new(now: Time) -> Self {
        Cases {
            open: OpenCases::default(),
            health: Health::new(now),
            reach: ReachCheck::default(),
            next_watch: now,
            awake_since: now,
            is_behind: false,
        }
    }

    /// The number of open cases.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Sets the timers of the cases; called at the end of every call.
    pub(crate) fn set_timers(&self, cx: &mut CaseContext<'_>) {
        cx.timers.set(SeedTimer::Watch, self.next_watch);
        cx.timers.set(SeedTimer::Reach, self.reach_deadline(cx.config));
        cx.timers.set(SeedTimer::Case, self.open.deadline());
    }

    /// Handles lateness of this seed itself: probes get as much more time.
    pub(crate) fn on_late(&mut self, cx: &mut CaseContext<'_>, late: Duration) {
        cx.fx.counters.late_wakeups += 1;
        self.open.update_all(|case| case.probe.postpone(late));
        self.awake_since = cx.now;
        self.is_behind = true;
    }

    /// Begins a timeout: everything that arrived before it has been handled.
    pub(crate) fn on_timeout(&mut self) {
        self.is_behind = false;
        if self.open.is_empty() {
            // Its time counts only while it is checked.
            self.reach.doubts_since = None;
        }
    }

    /// Handles traffic of any kind. It may have been in flight since before the case, so it does
    /// not end one; but a peer that still sends gets time to answer the probe.
    pub(crate) fn on_traffic(&mut self, cx: &mut CaseContext<'_>, remote: PeerId) {
        let until = cx.now + cx.config.probe_burst();
        if !self.is_behind {
            self.open.update(&remote, |case| case.probe.extend_until(until));
        }
    }

    /// Handles a pong: it ends a case if it answers the case's probe.
    pub(crate) fn on_probe_pong(&mut self, cx: &mut CaseContext<'_>, remote: PeerId, nonce: u64) {
        if self.open.get(&remote).is_some_and(|c| c.probe.nonce == nonce) {
            self.refute(cx, remote);
        }
    }

    pub(crate) fn on_dial_failed(&mut self, subject: &PeerId, why: DialError) {
        self.open.update(subject, |case| {
            case.probe.dial = None;
            case.host_refuses = why == DialError::Refused;
        });
    }

    /// Ends the case of an accused peer that answered a probe of the case, or completed a
    /// handshake.
    pub(crate) fn refute(&mut self, cx: &mut CaseContext<'_>, remote: PeerId) {
        let Some(asked) = self.open.get(&remote).map(|c| c.probe.started) else { return };
        self.close(cx, &remote);
        // A late answer: paths are slower than configured.
        let burst = cx.config.probe_burst();
        if cx.now.since(asked) > burst / 2 && self.health.record_trouble(cx.now, burst) {
            cx.fx.counters.local_health_lowered += 1;
        }
        cx.fx.counters.accusations_refuted += 1;
        let name = name_of(cx.registry, &remote);
        cx.fx.event(Event::AccusationRefuted { id: remote, name });
    }

    /// Closes a case without a certificate. A vote of this seed would otherwise stay at the other
    /// seeds, although it has heard from the accused since.
    pub(super) fn close(&mut self, cx: &mut CaseContext<'_>, subject: &PeerId) {
        if self.open.remove(subject).is_some_and(|case| case.has_voted) {
            cx.fx.counters.votes_withdrawn += 1;
            send_votes(cx, &Votes { withdrawn: Some(*subject), ..Votes::default() });
        }
    }

    /// Ends the case that a change of the registry has decided. Returns the witnesses of a death.
    pub(crate) fn on_entry_changed(
        &mut self,
        cx: &mut CaseContext<'_>,
        entry: &Entry,
        change: EntryChange,
    ) -> Vec<PeerId> {
        let id = entry.id();
        let is_over = |c: &Case| entry.incarnation() > c.incarnation || change == EntryChange::Left;
        if self.open.get(&id).is_some_and(is_over) {
            self.close(cx, &id);
        }
        if change != EntryChange::Died {
            return Vec::new();
        }
        let Some(case) = self.open.remove(&id) else { return Vec::new() };
        let reporters = case.reports().map(|r| r.reporter);
        reporters.chain(case.testimonies().map(|t| t.witness)).collect()
    }

    /// Ends a case after its certificate.
    pub(crate) fn remove(&mut self, subject: &PeerId) {
        self.open.remove(subject);
    }

    /// Drops the votes of a seed whose link ended.
    pub(crate) fn drop_votes_of(&mut self, seed: &PeerId) {
        self.open.update_all(|case| case.withdraw_vote(seed));
    }

    /// Sends the open cases to a seed whose link is up again. Cases that waited for a majority
    /// begin another round, with a new probe.
    pub(crate) fn send_open_cases(&mut self, cx: &mut CaseContext<'_>, link: LinkId) {
        let (me, now) = (cx.identity.id(), cx.now);
        self.restart(cx, |c| !c.has_current_probe(now));
        for case in self.open.iter() {
            cx.fx.send(link, case.votes_of(&me));
        }
    }

    /// Begins another round of some cases. The other seeds have votes of the last rounds, which are
    /// withdrawn.
    pub(super) fn restart(&mut self, cx: &mut CaseContext<'_>, which: impl Fn(&Case) -> bool) {
        let (me, now) = (cx.identity.id(), cx.now);
        let mut voted = Vec::new();
        self.open.update_all(|case| {
            if which(case) {
                case.next_round(&me, false, now);
                voted.extend(case.has_voted.then_some(case.subject));
            }
        });
        for subject in voted {
            send_votes(cx, &Votes { withdrawn: Some(subject), ..Votes::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Adjacency, Certificate, DeathReport};
    use crate::io::Role;
    use crate::seed::context::testing::{SeedParts, identity, record};
    use crate::signed::Signed;

    /// A seed that is the only one, and has registered peers 1 and 2.
    fn registry(parts: &mut SeedParts) -> Registry {
        let entries = [1, 2].map(|n| Entry::new(record(n, 1))).into();
        Registry::new(&mut parts.at(Time::ZERO, ()), Vec::new(), None, entries, None)
    }

    /// Peer 2 reports peer 1.
    fn report() -> Signed<DeathReport> {
        let (subject, reporter, incarnation) = (identity(1).id(), identity(2).id(), 1);
        let adjacency = Adjacency { subject, neighbour: reporter, incarnation };
        let adjacency = Signed::sign(adjacency, &identity(1));
        Signed::sign(DeathReport { reporter, subject, incarnation, adjacency }, &identity(2))
    }

    /// Cases with the one that the report opens.
    fn accused(parts: &mut SeedParts, registry: &Registry) -> Cases {
        parts.link_up(1, identity(2).id(), Role::Peer);
        let mut cases = Cases::new(Time::ZERO);
        let cx = &mut parts.at(Time::ZERO, registry);
        let subject = cases.on_report(cx, LinkId(1), identity(2).id(), report());
        assert_eq!(subject, Some(identity(1).id()));
        assert!(cases.review(cx, identity(1).id()).is_none(), "the probe has just begun");
        cases.set_timers(cx);
        cases
    }

    /// Runs the timer of the cases until a certificate, for a minute.
    fn run(parts: &mut SeedParts, registry: &Registry, cases: &mut Cases) -> Option<Certificate> {
        let minute = Time::from_micros(60_000_000);
        while let Some(at) = parts.timers.get(SeedTimer::Case).filter(|at| *at < minute) {
            let cx = &mut parts.at(at, registry);
            let due = cases.fail_due_probes(cx);
            assert!(!due.is_empty(), "no timer without a case");
            let certificate = due.into_iter().find_map(|subject| cases.review(cx, subject));
            cases.set_timers(cx);
            if certificate.is_some() {
                return certificate;
            }
        }
        None
    }

    #[test]
    fn accused_peer_is_certified_after_report_and_failed_probe() {
        let parts = &mut SeedParts::new();
        let registry = &registry(parts);
        let mut cases = accused(parts, registry);
        // Otherwise this seed doubts that it reaches any peer.
        cases.on_dial_failed(&identity(1).id(), DialError::Refused);
        let certificate = run(parts, registry, &mut cases).unwrap();
        assert_eq!(certificate.subject(), identity(1).id());
        assert_eq!(certificate.witnesses(), [identity(2).id()]);
    }

    #[test]
    fn seed_that_reaches_no_peer_does_not_vote() {
        let parts = &mut SeedParts::new();
        let registry = &registry(parts);
        let mut cases = accused(parts, registry);
        cases.on_dial_failed(&identity(1).id(), DialError::TimedOut);
        assert!(run(parts, registry, &mut cases).is_none());
        assert!(parts.timers.get(SeedTimer::Reach).is_some(), "it checks again");
    }

    #[test]
    fn answer_to_the_probe_closes_the_case() {
        let parts = &mut SeedParts::new();
        let registry = &registry(parts);
        let mut cases = accused(parts, registry);
        let nonce = cases.open.get(&identity(1).id()).unwrap().probe.nonce;
        let cx = &mut parts.at(Time::ZERO, registry);
        cases.on_probe_pong(cx, identity(1).id(), nonce.wrapping_add(1));
        assert_eq!(cases.len(), 1, "the answer to another probe");
        cases.on_probe_pong(cx, identity(1).id(), nonce);
        cases.set_timers(cx);
        assert_eq!((cases.len(), parts.timers.get(SeedTimer::Case)), (0, None));
    }
}
