//! One accused peer in the eyes of one seed: reports, the seed's own probe, votes.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::statements::{Certificate, DeathReport, Testimony, Vote};
use crate::config::Config;
use crate::identity::{Identity, PeerId};
use crate::io::DialId;
use crate::limits::MAX_REPORTS;
use crate::signed::Signed;
use crate::time::Time;

/// How many distinct witnesses a seed must have heard before it votes on the death of a peer of
/// degree `degree`: a majority of its neighbours, at least 2, at most 5. Where too few neighbours
/// can report, peers that a seed appointed count as well.
///
/// In a network where so many others are not left, all of those that are left are enough, and one
/// at least: of two peers, the other one and the seeds' own probes.
#[must_use]
pub fn reports_needed(degree: u16) -> usize {
    (usize::from(degree) / 2 + 1).clamp(2, 5)
}

/// Probe bursts that a seed's probe lasts at most, if a connection to the accused is under way.
const LONGEST: u32 = 3;
/// Times that a seed draws witnesses in one round of a case.
const DRAWS: u32 = 4;
/// Rounds of a case that lead to nothing before it is closed.
const MAX_ROUNDS: u32 = 12;
/// A round takes twice as long as the one before, so many times.
const DOUBLINGS: u32 = 2;

/// The seed's own probe of the accused.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) started: Time,
    /// What the accused has to repeat: an answer to anything older is no evidence.
    pub(crate) nonce: u64,
    /// Between two tries.
    every: Duration,
    deadline: Time,
    /// The end, if a connection is still under way at the deadline.
    longest: Time,
    next_try: Time,
    tries_left: u32,
    pub(crate) dial: Option<DialId>,
    failed: Option<Time>,
}

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) subject: PeerId,
    pub(crate) incarnation: u64,
    /// This seed lost the subject itself: its link ended without Leave, or its lease ran out.
    pub(crate) lost: bool,
    /// The last dial to the subject was refused: its host is within reach, and the process is not there.
    pub(crate) host_refuses: bool,
    /// This seed has voted in the case, though it may not stand by that any more.
    pub(crate) has_voted: bool,
    /// Rounds that led to nothing.
    rounds: u32,
    /// Draws of witnesses left in this round.
    draws_left: u32,
    reports: BTreeMap<PeerId, (Time, Signed<DeathReport>)>,
    testimonies: BTreeMap<PeerId, (Time, Signed<Testimony>)>,
    /// Whom this seed has appointed.
    pub(crate) appointed: BTreeSet<PeerId>,
    appoint_at: Time,
    pub(crate) probe: Probe,
    votes: BTreeMap<PeerId, Signed<Vote>>,
    last_change: Time,
    window: Duration,
    burst: Duration,
    retries: u32,
}

impl Case {
    /// A case opened by a neighbour's report. `nonce` is fresh; the probe takes `patience` times as long
    /// as configured, and what is heard counts for as many times as long.
    pub(crate) fn new(
        subject: PeerId,
        incarnation: u64,
        nonce: u64,
        patience: u32,
        now: Time,
        config: &Config,
    ) -> Self {
        let burst = config.probe_burst() * patience;
        Case {
            subject,
            incarnation,
            lost: false,
            host_refuses: false,
            has_voted: false,
            rounds: 0,
            draws_left: DRAWS,
            reports: BTreeMap::new(),
            testimonies: BTreeMap::new(),
            appointed: BTreeSet::new(),
            // The neighbours have the first word.
            appoint_at: now + config.probe_burst() / 2,
            probe: Probe::new(nonce, now, burst, burst, config.probe_retries()),
            votes: BTreeMap::new(),
            last_change: now,
            window: config.report_window() * patience,
            burst,
            retries: config.probe_retries(),
        }
    }

    /// A case opened because a seed lost the subject. No neighbour has probed it yet, so the probe takes
    /// twice as long; and if it has neighbours, they have the first word.
    pub(crate) fn of_lost(
        subject: PeerId,
        incarnation: u64,
        has_neighbours: bool,
        nonce: u64,
        patience: u32,
        now: Time,
        config: &Config,
    ) -> Self {
        let burst = config.probe_burst();
        let wait = if has_neighbours { burst + burst / 4 } else { Duration::ZERO };
        let case = Case::new(subject, incarnation, nonce, patience, now, config);
        Case {
            appoint_at: now + wait,
            probe: Probe::new(nonce, now, case.burst * 2, case.burst, config.probe_retries()),
            ..case
        }
    }

    /// Takes a neighbour's report; says whether it is a new one.
    pub(crate) fn report(&mut self, report: Signed<DeathReport>, now: Time) -> bool {
        debug_assert_eq!(report.subject, self.subject);
        self.forget_old(now);
        if self.reports.len() >= MAX_REPORTS || self.reports.contains_key(&report.reporter) {
            return false;
        }
        self.last_change = now;
        self.reports.insert(report.reporter, (now, report));
        self.probe_again(now);
        true
    }

    /// Takes an appointed witness's testimony; says whether it is a new one.
    pub(crate) fn testify(&mut self, testimony: Signed<Testimony>, now: Time) -> bool {
        debug_assert_eq!(testimony.appointment.subject, self.subject);
        self.forget_old(now);
        let known = self.testimonies.contains_key(&testimony.witness);
        if known || self.testimonies.len() >= MAX_REPORTS {
            return false;
        }
        self.last_change = now;
        self.testimonies.insert(testimony.witness, (now, testimony));
        self.probe_again(now);
        true
    }

    /// A probe that failed too long ago to vote on says nothing about what is accused now.
    fn probe_again(&mut self, now: Time) {
        if self.probe.failed.is_some_and(|at| now.since(at) > self.window) {
            self.renew_probe(now, self.burst);
        }
    }

    fn renew_probe(&mut self, now: Time, length: Duration) {
        let nonce = self.probe.nonce.wrapping_add(1);
        let dial = self.probe.dial;
        self.probe = Probe { dial, ..Probe::new(nonce, now, length, self.burst, self.retries) };
    }

    /// Begins again: a new probe, new witnesses. What this seed voted in an earlier round does not
    /// stand any more.
    pub(crate) fn next_round(&mut self, me: &PeerId, counts: bool, now: Time) {
        self.rounds += u32::from(counts);
        self.withdraw(me);
        self.appointed.clear();
        self.draws_left = DRAWS;
        self.appoint_at = now;
        self.last_change = now;
        self.renew_probe(now, self.burst * 2);
    }

    /// Whether there is a probe under way, or one whose outcome can still be voted on.
    pub(crate) fn is_fresh(&self, now: Time) -> bool {
        self.probe.failed.is_none_or(|at| now.since(at) <= self.window)
    }

    /// Whether it has had all the rounds that a case is given.
    pub(crate) const fn is_given_up(&self) -> bool {
        self.rounds + 1 >= MAX_ROUNDS
    }

    fn forget_old(&mut self, now: Time) {
        let window = self.window;
        self.reports.retain(|_, (at, _)| now.since(*at) <= window);
        self.testimonies.retain(|_, (at, _)| now.since(*at) <= window);
    }

    /// The distinct witnesses heard within the window, ascending: neighbours, and peers that a seed
    /// appointed.
    pub(crate) fn witnesses(&self) -> BTreeSet<PeerId> {
        self.reports.keys().chain(self.testimonies.keys()).copied().take(MAX_REPORTS).collect()
    }

    /// How many witnesses to appoint now, if it is time to.
    pub(crate) fn appoint_due(&mut self, needed: usize, now: Time, config: &Config) -> usize {
        let missing = needed.saturating_sub(self.witnesses().len());
        if now < self.appoint_at || self.draws_left == 0 {
            return 0;
        }
        self.appoint_at = now + config.probe_burst() * 2;
        if missing == 0 {
            return 0;
        }
        self.draws_left -= 1;
        // One more than needed, should one of them be gone as well.
        missing + 1
    }

    /// Takes another seed's vote; says whether it is a new one.
    pub(crate) fn vote(&mut self, vote: Signed<Vote>, now: Time) -> bool {
        debug_assert_eq!(vote.subject, self.subject);
        let new = !self.votes.contains_key(&vote.seed);
        if new {
            self.last_change = now;
            self.votes.insert(vote.seed, vote);
        }
        new
    }

    pub(crate) fn reports(&self) -> impl Iterator<Item = &Signed<DeathReport>> {
        self.reports.values().map(|(_, r)| r)
    }

    pub(crate) fn testimonies(&self) -> impl Iterator<Item = &Signed<Testimony>> {
        self.testimonies.values().map(|(_, t)| t)
    }

    pub(crate) fn vote_of(&self, seed: &PeerId) -> Option<&Signed<Vote>> {
        self.votes.get(seed)
    }

    /// A seed does not stand by its vote any more.
    pub(crate) fn withdraw(&mut self, seed: &PeerId) {
        self.votes.remove(seed);
    }

    /// This seed's vote, once the probe has failed and `needed` neighbours have reported within
    /// the window.
    pub(crate) fn decide(
        &mut self,
        seed: &Identity,
        needed: usize,
        now: Time,
    ) -> Option<Signed<Vote>> {
        self.forget_old(now);
        let witnesses = self.witnesses();
        let failed = self.probe.failed.is_some_and(|at| now.since(at) <= self.window);
        if !failed || witnesses.len() < needed || self.vote_of(&seed.id()).is_some() {
            return None;
        }
        let vote = Vote {
            seed: seed.id(),
            subject: self.subject,
            incarnation: self.incarnation,
            witnesses: witnesses.into_iter().collect(),
        };
        let vote = Signed::sign(vote, seed);
        self.votes.insert(seed.id(), vote.clone());
        self.has_voted = true;
        Some(vote)
    }

    /// The certificate, once `quorum` seeds have voted.
    pub(crate) fn certificate(&self, quorum: usize) -> Option<Certificate> {
        if self.votes.len() < quorum.max(1) {
            return None;
        }
        Certificate::new(self.votes.values().cloned().collect())
    }

    /// When the round has led to nothing.
    fn round_end(&self) -> Time {
        let first = self.window * 2 + Duration::from_secs(1);
        self.last_change + first * (1 << self.rounds.min(DOUBLINGS))
    }

    /// Whether the round led to nothing.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        now > self.round_end()
    }

    /// When to look at it next.
    pub(crate) fn deadline(&self) -> Time {
        let appoint = if self.draws_left == 0 { Time::MAX } else { self.appoint_at };
        let stale = self.round_end() + Duration::from_micros(1);
        self.probe.next().unwrap_or(Time::MAX).min(appoint).min(stale)
    }
}

impl Probe {
    fn new(nonce: u64, now: Time, length: Duration, burst: Duration, retries: u32) -> Self {
        Probe {
            started: now,
            nonce,
            every: length / retries.max(1),
            deadline: now + length,
            longest: now + burst * LONGEST,
            next_try: now,
            tries_left: retries,
            dial: None,
            failed: None,
        }
    }

    /// Whether it has come to its end without an answer.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// When the last burst of it began. A probe that was given more time may have begun long before a cut that made
    /// it fail.
    pub(crate) fn last_burst(&self, burst: Duration) -> Time {
        self.failed.map_or(self.started, |at| self.started.max(at - burst))
    }

    /// Whether to ask the accused once more now.
    pub(crate) fn try_due(&mut self, now: Time) -> bool {
        if self.tries_left == 0 || now < self.next_try || self.failed.is_some() {
            return false;
        }
        self.tries_left -= 1;
        self.next_try = now + self.every;
        true
    }

    /// Whether it has just come to its end without an answer.
    pub(crate) fn just_failed(&mut self, now: Time) -> bool {
        if self.failed.is_some() || now < self.end() {
            return false;
        }
        self.failed = Some(now);
        true
    }

    fn next(&self) -> Option<Time> {
        if self.failed.is_some() {
            return None;
        }
        Some(if self.tries_left > 0 { self.next_try.min(self.end()) } else { self.end() })
    }

    /// When it has failed. A connection that is neither up nor refused gets more time: the first
    /// packets of one may have been lost.
    fn end(&self) -> Time {
        if self.dial.is_some() { self.deadline.max(self.longest) } else { self.deadline }
    }

    /// It does not fail before. A seed that has heard from the accused more lately than its accusers can have
    /// has no reason to take a moment's silence for their word.
    pub(crate) fn not_before(&mut self, at: Time) {
        self.deadline = self.deadline.max(at);
    }

    /// This seed itself was late: the accused gets as much more time.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.deadline += by;
        self.longest += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Adjacency, Appointment};

    #[test]
    fn the_number_of_reports() {
        let table = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (8, 5), (9, 5), (100, 5)];
        for (degree, needed) in table {
            assert_eq!(reports_needed(degree), needed, "degree {degree}");
        }
    }

    /// One witness is heard again and again, the other comes late: by then the first probe is too long ago,
    /// so there is another one.
    #[test]
    fn witnesses_that_come_late_are_voted_on_by_a_fresh_probe() {
        let config = Config::lan().build().unwrap();
        let (seed, at) = (Identity::from_secret(&[11; 32]), |ms: u64| Time::from_micros(ms * 1000));
        let subject = report(1).subject;
        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        assert!(case.report(report(1), at(0)));
        assert!(case.probe.just_failed(at(600)));
        assert!(case.decide(&seed, 2, at(600)).is_none());
        assert!(case.report(report(1), at(3100)));
        assert!(case.report(report(2), at(4000)));
        assert!(case.decide(&seed, 2, at(4000)).is_none(), "on a probe of long ago");
        assert!(!case.probe.just_failed(at(4500)) && case.probe.just_failed(at(4700)));
        assert!(case.decide(&seed, 2, at(4700)).is_some());
    }

    /// Whether the seed reaches its peers is asked within the last burst: a connection that was under way gave the probe
    /// three times as long, in which a cut may have come (chaos, seed 431).
    #[test]
    fn last_burst_of_a_probe_ends_with_it() {
        let config = Config::lan().build().unwrap();
        let (at, burst) = (|ms: u64| Time::from_micros(ms * 1000), config.probe_burst());
        let subject = report(1).subject;
        let mut short = Case::new(subject, 1, 1, 1, at(0), &config).probe;
        assert!(short.just_failed(at(600)));
        assert_eq!(short.last_burst(burst), at(0));
        let mut long = Case::new(subject, 1, 1, 1, at(0), &config).probe;
        long.dial = Some(crate::io::DialId(1));
        assert!(!long.just_failed(at(600)) && long.just_failed(at(1800)));
        assert_eq!(long.last_burst(burst), at(1200));
    }

    fn report(reporter: u8) -> Signed<DeathReport> {
        let subject = Identity::from_secret(&[200; 32]);
        let reporter = Identity::from_secret(&[reporter; 32]);
        let adjacency =
            Adjacency { subject: subject.id(), neighbour: reporter.id(), incarnation: 1 };
        let report = DeathReport {
            reporter: reporter.id(),
            subject: subject.id(),
            incarnation: 1,
            adjacency: Signed::sign(adjacency, &subject),
        };
        Signed::sign(report, &reporter)
    }

    fn testimony(witness: u8) -> Signed<Testimony> {
        let seed = Identity::from_secret(&[50; 32]);
        let witness = Identity::from_secret(&[witness; 32]);
        let appointment = Appointment {
            seed: seed.id(),
            witness: witness.id(),
            subject: report(1).subject,
            incarnation: 1,
        };
        let appointment = Signed::sign(appointment, &seed);
        Signed::sign(Testimony { witness: witness.id(), appointment }, &witness)
    }

    #[test]
    fn appointed_witnesses_suffice_where_a_seed_lost_the_subject() {
        let config = Config::lan().build().unwrap();
        let seed = Identity::from_secret(&[50; 32]);
        let lost = |has| Case::of_lost(report(1).subject, 1, has, 1, 1, at(0), &config);
        assert_eq!(lost(false).appoint_due(2, at(0), &config), 3, "no neighbour can report it");
        let mut case = lost(true);
        assert_eq!(case.appoint_due(2, at(740), &config), 0, "the neighbours have the first word");
        assert_eq!(case.appoint_due(2, at(750), &config), 3);
        assert!(case.testify(testimony(3), at(1100)));
        assert!(case.testify(testimony(4), at(1100)));
        assert!(!case.probe.just_failed(at(1199)) && case.probe.just_failed(at(1200)));
        assert_eq!(case.decide(&seed, 2, at(1200)).unwrap().witnesses.len(), 2);
    }

    #[test]
    fn a_case_is_tried_again_with_growing_pauses_and_given_up_in_the_end() {
        let config = Config::lan().build().unwrap();
        let me = Identity::from_secret(&[50; 32]).id();
        let mut case = Case::of_lost(report(1).subject, 1, true, 7, 1, at(0), &config);
        let (mut now, mut pauses) = (at(0), Vec::new());
        while !case.is_given_up() {
            let before = now;
            while !case.is_stale(now) {
                let _ = case.probe.try_due(now) | case.probe.just_failed(now);
                case.appoint_due(2, now, &config);
                now = now.max(case.deadline());
            }
            pauses.push(now.since(before).as_secs());
            let nonce = case.probe.nonce;
            case.next_round(&me, true, now);
            assert_ne!(case.probe.nonce, nonce, "an answer to the probe before is no evidence");
        }
        assert_eq!(pauses[..4], [6, 12, 24, 24]);
        assert_eq!(pauses.len(), 11);
    }

    #[test]
    fn a_report_comes_before_appointments() {
        let config = Config::lan().build().unwrap();

        let mut case = Case::new(report(1).subject, 1, 1, 1, at(0), &config);
        case.report(report(1), at(0));
        assert_eq!(case.appoint_due(2, at(100), &config), 0, "the neighbours have the first word");
        assert_eq!(case.appoint_due(2, at(300), &config), 2, "one missing, one to spare");
        assert_eq!(case.appoint_due(2, at(301), &config), 0, "not again at once");
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_seed_votes_only_on_enough_reports_in_the_window_and_a_failed_probe() {
        let config = Config::lan().build().unwrap();
        let seed = Identity::from_secret(&[50; 32]);
        let subject = report(1).subject;
        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        assert!(case.report(report(1), at(0)));
        assert!(!case.report(report(1), at(1)), "one neighbour counts once");
        assert!(!case.probe.just_failed(at(100)));
        assert!(case.probe.just_failed(at(700)));
        assert!(case.decide(&seed, 2, at(700)).is_none(), "one accuser is not enough");
        // The second report comes when the first has left the window.
        assert!(case.report(report(2), at(2600)));
        assert!(case.decide(&seed, 2, at(2600)).is_none());

        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        case.report(report(1), at(0));
        case.report(report(2), at(10));
        assert!(case.decide(&seed, 2, at(300)).is_none(), "the probe is still under way");
        assert!(case.probe.just_failed(at(700)));
        let vote = case.decide(&seed, 2, at(700)).unwrap();
        assert_eq!(vote.witnesses.len(), 2);
        assert!(vote.signature_is_valid());
        assert!(case.decide(&seed, 2, at(701)).is_none(), "it votes once");
        assert!(case.certificate(2).is_none());
        assert_eq!(case.certificate(1).unwrap().witnesses().len(), 2);
    }
}
