//! One accused peer at one seed: reports, the seed's own probe, votes.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::statements::{Certificate, DeathReport, Testimony, Vote};
use crate::config::Config;
use crate::identity::{Identity, PeerId};
use crate::io::DialId;
use crate::limits::MAX_REPORTS;
use crate::signed::Signed;
use crate::time::Time;
use crate::wire::{LostPeer, Votes};

/// How many distinct witnesses a seed needs before it votes on the death of a peer of degree
/// `degree`: a majority of its neighbours, at least 2, at most 5. Where too few neighbours
/// can report, peers that a seed has appointed count as well.
///
/// Where fewer other peers are left, all of them are enough, and at least one: of two peers, the
/// other one and the seeds' own probes.
#[must_use]
pub fn reports_needed(degree: u16) -> usize {
    (usize::from(degree) / 2 + 1).clamp(2, 5)
}

/// A seed's probe lasts at most this many bursts, if a connection to the accused is being made.
const MAX_PROBE_BURSTS: u32 = 3;
/// How often a seed draws witnesses in one round of a case.
const WITNESS_DRAWS: u32 = 4;
/// Number of fruitless rounds before a case is closed.
const MAX_ROUNDS: u32 = 12;
/// How often the length of a round doubles.
const ROUND_DOUBLINGS: u32 = 2;

/// The seed's own probe of the accused.
#[derive(Debug)]
pub(crate) struct SeedProbe {
    pub(crate) started: Time,
    /// The accused has to repeat it: an answer to an older probe is no evidence.
    pub(crate) nonce: u64,
    /// Time between two tries.
    interval: Duration,
    deadline: Time,
    /// The end, if a connection is still being made at the deadline.
    hard_deadline: Time,
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
    /// This seed itself lost the subject: its link ended without Leave, or its lease expired.
    pub(crate) lost: bool,
    /// The last dial to the subject was refused: its host is reachable, and its process is gone.
    pub(crate) host_refuses: bool,
    /// This seed has voted in the case, perhaps in an earlier round.
    pub(crate) has_voted: bool,
    /// Number of fruitless rounds.
    rounds: u32,
    /// Draws of witnesses left in this round.
    draws_left: u32,
    reports: BTreeMap<PeerId, (Time, Signed<DeathReport>)>,
    testimonies: BTreeMap<PeerId, (Time, Signed<Testimony>)>,
    /// The witnesses that this seed has appointed.
    pub(crate) appointed: BTreeSet<PeerId>,
    appoint_at: Time,
    pub(crate) probe: SeedProbe,
    votes: BTreeMap<PeerId, Signed<Vote>>,
    last_change: Time,
    window: Duration,
    burst: Duration,
    retries: u32,
}

impl Case {
    /// A case opened by a neighbour's report. `nonce` is fresh; the probe takes `factor` times as
    /// long as configured, and reports are valid for `factor` times as long.
    pub(crate) fn new(
        subject: PeerId,
        incarnation: u64,
        nonce: u64,
        factor: u32,
        now: Time,
        config: &Config,
    ) -> Self {
        let burst = config.probe_burst() * factor;
        Case {
            subject,
            incarnation,
            lost: false,
            host_refuses: false,
            has_voted: false,
            rounds: 0,
            draws_left: WITNESS_DRAWS,
            reports: BTreeMap::new(),
            testimonies: BTreeMap::new(),
            appointed: BTreeSet::new(),
            // The neighbours can report first.
            appoint_at: now + config.probe_burst() / 2,
            probe: SeedProbe::new(nonce, now, burst, burst, config.probe_retries()),
            votes: BTreeMap::new(),
            last_change: now,
            window: config.report_window() * factor,
            burst,
            retries: config.probe_retries(),
        }
    }

    /// Changes a new case: it is opened because a seed lost the subject. No neighbour has probed it
    /// yet, so the probe takes twice as long; and if it has neighbours, they can report first.
    pub(crate) fn of_lost_subject(self, has_neighbours: bool, now: Time, config: &Config) -> Self {
        let burst = config.probe_burst();
        let wait = if has_neighbours { burst + burst / 4 } else { Duration::ZERO };
        let (nonce, length) = (self.probe.nonce, self.burst * 2);
        let probe = SeedProbe::new(nonce, now, length, self.burst, self.retries);
        Case { appoint_at: now + wait, probe, ..self }
    }

    /// Adds a neighbour's report. Returns whether it is new.
    pub(crate) fn add_report(&mut self, report: Signed<DeathReport>, now: Time) -> bool {
        debug_assert_eq!(report.subject, self.subject);
        self.forget_expired(now);
        if self.reports.len() >= MAX_REPORTS || self.reports.contains_key(&report.reporter) {
            return false;
        }
        self.last_change = now;
        self.reports.insert(report.reporter, (now, report));
        self.renew_outdated_probe(now);
        true
    }

    /// Adds an appointed witness's testimony. Returns whether it is new.
    pub(crate) fn add_testimony(&mut self, testimony: Signed<Testimony>, now: Time) -> bool {
        debug_assert_eq!(testimony.appointment.subject, self.subject);
        self.forget_expired(now);
        let known = self.testimonies.contains_key(&testimony.witness);
        if known || self.testimonies.len() >= MAX_REPORTS {
            return false;
        }
        self.last_change = now;
        self.testimonies.insert(testimony.witness, (now, testimony));
        self.renew_outdated_probe(now);
        true
    }

    /// Probes again if the last probe failed too long ago to vote on: it says nothing about the
    /// present accusation.
    fn renew_outdated_probe(&mut self, now: Time) {
        if !self.has_current_probe(now) {
            self.renew_probe(now, self.burst);
        }
    }

    fn renew_probe(&mut self, now: Time, length: Duration) {
        let nonce = self.probe.nonce.wrapping_add(1);
        let dial = self.probe.dial;
        self.probe =
            SeedProbe { dial, ..SeedProbe::new(nonce, now, length, self.burst, self.retries) };
    }

    /// Begins another round: a new probe, new witnesses. The vote of this seed in an earlier round
    /// is withdrawn.
    pub(crate) fn next_round(&mut self, me: &PeerId, counts: bool, now: Time) {
        self.rounds += u32::from(counts);
        self.withdraw_vote(me);
        self.appointed.clear();
        self.draws_left = WITNESS_DRAWS;
        self.appoint_at = now;
        self.last_change = now;
        self.renew_probe(now, self.burst * 2);
    }

    /// Whether the probe is running, or its outcome can still be voted on.
    pub(crate) fn has_current_probe(&self, now: Time) -> bool {
        self.probe.failed.is_none_or(|at| now.since(at) <= self.window)
    }

    /// Whether the probe has failed, lately enough to vote on it.
    pub(crate) fn has_votable_probe(&self, now: Time) -> bool {
        self.probe.has_failed() && self.has_current_probe(now)
    }

    /// Whether all rounds of the case are used up.
    pub(crate) const fn is_given_up(&self) -> bool {
        self.rounds + 1 >= MAX_ROUNDS
    }

    fn forget_expired(&mut self, now: Time) {
        let window = self.window;
        self.reports.retain(|_, (at, _)| now.since(*at) <= window);
        self.testimonies.retain(|_, (at, _)| now.since(*at) <= window);
    }

    /// The distinct witnesses within the window, ascending: neighbours, and appointed peers.
    pub(crate) fn witnesses(&self) -> BTreeSet<PeerId> {
        self.reports.keys().chain(self.testimonies.keys()).copied().take(MAX_REPORTS).collect()
    }

    /// How many witnesses to appoint now.
    pub(crate) fn witnesses_to_appoint(
        &mut self,
        needed: usize,
        now: Time,
        config: &Config,
    ) -> usize {
        let missing = needed.saturating_sub(self.witnesses().len());
        if now < self.appoint_at || self.draws_left == 0 {
            return 0;
        }
        self.appoint_at = now + config.probe_burst() * 2;
        if missing == 0 {
            return 0;
        }
        self.draws_left -= 1;
        // One more than needed, in case one of them is dead as well.
        missing + 1
    }

    /// Adds another seed's vote. Returns whether it is new.
    pub(crate) fn add_vote(&mut self, vote: Signed<Vote>, now: Time) -> bool {
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

    /// The reports and testimonies, and this seed's own vote, for another seed. Other seeds send
    /// their own votes. A vote of an earlier round is withdrawn.
    pub(crate) fn votes_of(&self, me: &PeerId) -> Votes {
        let (subject, incarnation) = (self.subject, self.incarnation);
        let vote = self.votes.get(me).cloned();
        Votes {
            reports: self.reports().cloned().collect(),
            testimonies: self.testimonies().cloned().collect(),
            withdrawn: (self.has_voted && vote.is_none()).then_some(subject),
            lost: self.lost.then_some(LostPeer { subject, incarnation }),
            vote,
        }
    }

    /// Withdraws the vote of a seed.
    pub(crate) fn withdraw_vote(&mut self, seed: &PeerId) {
        self.votes.remove(seed);
    }

    /// This seed's vote, once the probe has failed and `needed` witnesses have reported within the
    /// window.
    pub(crate) fn decide(
        &mut self,
        seed: &Identity,
        needed: usize,
        now: Time,
    ) -> Option<Signed<Vote>> {
        self.forget_expired(now);
        let witnesses = self.witnesses();
        if !self.has_votable_probe(now)
            || witnesses.len() < needed
            || self.votes.contains_key(&seed.id())
        {
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

    /// When the present round ends without a result.
    fn round_end(&self) -> Time {
        let first = self.window * 2 + Duration::from_secs(1);
        self.last_change + first * (1 << self.rounds.min(ROUND_DOUBLINGS))
    }

    /// Whether the round has ended without a result.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        now > self.round_end()
    }

    /// When the case has to be reviewed next.
    pub(crate) fn deadline(&self) -> Time {
        let appoint = if self.draws_left == 0 { Time::MAX } else { self.appoint_at };
        let stale = self.round_end() + Duration::from_micros(1);
        self.probe.next().min(appoint).min(stale)
    }
}

impl SeedProbe {
    fn new(nonce: u64, now: Time, length: Duration, burst: Duration, retries: u32) -> Self {
        SeedProbe {
            started: now,
            nonce,
            interval: length / retries.max(1),
            deadline: now + length,
            hard_deadline: now + burst * MAX_PROBE_BURSTS,
            next_try: now,
            tries_left: retries,
            dial: None,
            failed: None,
        }
    }

    /// Whether it has ended without an answer.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// When its last burst began. A probe with an extended deadline may have begun long before a
    /// partition that made it fail.
    pub(crate) fn last_burst(&self, burst: Duration) -> Time {
        self.failed.map_or(self.started, |at| self.started.max(at - burst))
    }

    /// Takes a try to ask the accused, if one is due now.
    pub(crate) fn take_due_try(&mut self, now: Time) -> bool {
        if self.tries_left == 0 || now < self.next_try || self.failed.is_some() {
            return false;
        }
        self.tries_left -= 1;
        self.next_try = now + self.interval;
        true
    }

    /// Whether the probe has just ended without an answer.
    pub(crate) fn check_failed(&mut self, now: Time) -> bool {
        if self.failed.is_some() || now < self.end() {
            return false;
        }
        self.failed = Some(now);
        true
    }

    /// When it tries again or fails; never, if it has failed.
    fn next(&self) -> Time {
        match (self.failed, self.tries_left) {
            (Some(_), _) => Time::MAX,
            (None, 0) => self.end(),
            (None, _) => self.next_try.min(self.end()),
        }
    }

    /// When it fails. A connection that is neither up nor refused gets more time: its first packets
    /// may have been lost.
    fn end(&self) -> Time {
        if self.dial.is_some() { self.deadline.max(self.hard_deadline) } else { self.deadline }
    }

    /// Extends the probe until `at`. If this seed has heard from the accused later than its
    /// accusers can have, a short silence does not confirm their reports.
    pub(crate) fn extend_until(&mut self, at: Time) {
        self.deadline = self.deadline.max(at);
    }

    /// Extends the probe because this seed itself was late.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.deadline += by;
        self.hard_deadline += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Adjacency, Appointment};

    #[test]
    fn needed_reports_follow_the_degree() {
        let table = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (8, 5), (9, 5), (100, 5)];
        for (degree, needed) in table {
            assert_eq!(reports_needed(degree), needed, "degree {degree}");
        }
    }

    /// One witness reports repeatedly, the other one late: by then the first probe is outdated, so
    /// there is another one.
    #[test]
    fn late_witnesses_are_voted_on_after_a_new_probe() {
        let config = Config::lan().build().unwrap();
        let (seed, at) = (Identity::from_secret(&[11; 32]), |ms: u64| Time::from_micros(ms * 1000));
        let subject = report(1).subject;
        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        assert!(case.add_report(report(1), at(0)));
        assert!(case.probe.check_failed(at(600)));
        assert!(case.decide(&seed, 2, at(600)).is_none());
        assert!(case.add_report(report(1), at(3100)));
        assert!(case.add_report(report(2), at(4000)));
        assert!(case.decide(&seed, 2, at(4000)).is_none(), "on an outdated probe");
        assert!(!case.probe.check_failed(at(4500)) && case.probe.check_failed(at(4700)));
        assert!(case.decide(&seed, 2, at(4700)).is_some());
    }

    /// Whether the seed reaches its peers is checked within the last burst: a connection in
    /// progress gave the probe three times as long, in which a partition may have begun (chaos,
    /// seed 431).
    #[test]
    fn last_burst_of_a_probe_ends_with_it() {
        let config = Config::lan().build().unwrap();
        let (at, burst) = (|ms: u64| Time::from_micros(ms * 1000), config.probe_burst());
        let subject = report(1).subject;
        let mut short = Case::new(subject, 1, 1, 1, at(0), &config).probe;
        assert!(short.check_failed(at(600)));
        assert_eq!(short.last_burst(burst), at(0));
        let mut long = Case::new(subject, 1, 1, 1, at(0), &config).probe;
        long.dial = Some(crate::io::DialId(1));
        assert!(!long.check_failed(at(600)) && long.check_failed(at(1800)));
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
        let new = || Case::new(report(1).subject, 1, 1, 1, at(0), &config);
        let lost = |has| new().of_lost_subject(has, at(0), &config);
        assert_eq!(
            lost(false).witnesses_to_appoint(2, at(0), &config),
            3,
            "no neighbour can report it"
        );
        let mut case = lost(true);
        assert_eq!(
            case.witnesses_to_appoint(2, at(740), &config),
            0,
            "the neighbours can report first"
        );
        assert_eq!(case.witnesses_to_appoint(2, at(750), &config), 3);
        assert!(case.add_testimony(testimony(3), at(1100)));
        assert!(case.add_testimony(testimony(4), at(1100)));
        assert!(!case.probe.check_failed(at(1199)) && case.probe.check_failed(at(1200)));
        assert_eq!(case.decide(&seed, 2, at(1200)).unwrap().witnesses.len(), 2);
    }

    #[test]
    fn case_is_repeated_with_growing_pauses_and_closed_in_the_end() {
        let config = Config::lan().build().unwrap();
        let me = Identity::from_secret(&[50; 32]).id();
        let case = Case::new(report(1).subject, 1, 7, 1, at(0), &config);
        let mut case = case.of_lost_subject(true, at(0), &config);
        let (mut now, mut pauses) = (at(0), Vec::new());
        while !case.is_given_up() {
            let before = now;
            while !case.is_stale(now) {
                let _ = case.probe.take_due_try(now) | case.probe.check_failed(now);
                case.witnesses_to_appoint(2, now, &config);
                now = now.max(case.deadline());
            }
            pauses.push(now.since(before).as_secs());
            let nonce = case.probe.nonce;
            case.next_round(&me, true, now);
            assert_ne!(case.probe.nonce, nonce, "an answer to the last probe is no evidence");
        }
        assert_eq!(pauses[..4], [6, 12, 24, 24]);
        assert_eq!(pauses.len(), 11);
    }

    #[test]
    fn report_delays_appointments() {
        let config = Config::lan().build().unwrap();

        let mut case = Case::new(report(1).subject, 1, 1, 1, at(0), &config);
        case.add_report(report(1), at(0));
        assert_eq!(
            case.witnesses_to_appoint(2, at(100), &config),
            0,
            "the neighbours can report first"
        );
        assert_eq!(case.witnesses_to_appoint(2, at(300), &config), 2, "one missing, one to spare");
        assert_eq!(case.witnesses_to_appoint(2, at(301), &config), 0, "not again at once");
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn seed_votes_only_after_enough_reports_in_the_window_and_a_failed_probe() {
        let config = Config::lan().build().unwrap();
        let seed = Identity::from_secret(&[50; 32]);
        let subject = report(1).subject;
        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        assert!(case.add_report(report(1), at(0)));
        assert!(!case.add_report(report(1), at(1)), "one neighbour counts once");
        assert!(!case.probe.check_failed(at(100)));
        assert!(case.probe.check_failed(at(700)));
        assert!(case.decide(&seed, 2, at(700)).is_none(), "one accuser is not enough");
        // The second report arrives after the first has left the window.
        assert!(case.add_report(report(2), at(2600)));
        assert!(case.decide(&seed, 2, at(2600)).is_none());

        let mut case = Case::new(subject, 1, 1, 1, at(0), &config);
        case.add_report(report(1), at(0));
        case.add_report(report(2), at(10));
        assert!(case.decide(&seed, 2, at(300)).is_none(), "the probe is still running");
        assert!(case.probe.check_failed(at(700)));
        let vote = case.decide(&seed, 2, at(700)).unwrap();
        assert_eq!(vote.witnesses.len(), 2);
        assert!(vote.signature_is_valid());
        assert!(case.decide(&seed, 2, at(701)).is_none(), "it votes once");
        assert!(case.certificate(2).is_none());
        assert_eq!(case.certificate(1).unwrap().witnesses().len(), 2);
    }
}
