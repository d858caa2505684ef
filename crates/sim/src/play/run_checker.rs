//! Checks the promises during a run and collects the violations.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{BroadcastMode, Time};

use crate::checkers::{self, Violation};
use crate::report::PromiseReport;
use crate::scenario::Scenario;
use crate::world::World;

/// Interval of checks in the replay of a run with a violation.
const REPLAY_INTERVAL: Duration = Duration::from_millis(100);
/// Number of violations that are stored; further ones are only counted.
const MAX_STORED: usize = 50;

/// A violation and the time at which it was found.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) at: Time,
    pub(super) violation: Violation,
}

/// Runs the checkers on a run.
#[derive(Debug)]
pub(super) struct RunChecker {
    every: Duration,
    /// The period of a replay in which the promises are checked every [`REPLAY_INTERVAL`].
    window: Option<(Time, Time)>,
    /// The last check without a violation.
    last_valid_check: Time,
    /// Number of checks.
    checks: u64,
    failures: Vec<Failure>,
    counts: BTreeMap<&'static str, u64>,
    /// Whether the network did not come to rest: then a replay cannot find the moment of the
    /// violation.
    never_at_rest: bool,
    /// Trace of the nodes concerned before the first failure.
    pub(super) trace: Vec<String>,
    stop_at: Option<Time>,
    /// Whether trees are checked at rest. They are not with adversaries, which may report any
    /// position in a tree, and not with packet loss, because then peers change parents all the
    /// time.
    checks_trees: bool,
}

impl RunChecker {
    pub(super) fn new(scenario: &Scenario) -> Self {
        RunChecker {
            every: scenario.check_every.0,
            window: None,
            last_valid_check: Time::ZERO,
            checks: 0,
            failures: Vec::new(),
            counts: BTreeMap::new(),
            never_at_rest: false,
            trace: Vec::new(),
            stop_at: None,
            checks_trees: !scenario.adversaries.iter().any(|a| a.kind.has_neighbours())
                && scenario.network.loss == 0.0
                && scenario.broadcast == BroadcastMode::Trees,
        }
    }

    /// For the replay of a run with a violation in `window`: checks often within it.
    pub(super) fn for_replay(scenario: &Scenario, window: (Time, Time)) -> Self {
        let stop_at = Some(window.1);
        RunChecker { window: Some(window), stop_at, ..RunChecker::new(scenario) }
    }

    /// For the replay of a run until `at`, without checks.
    pub(super) fn until(scenario: &Scenario, at: Time) -> Self {
        let window = Some((Time::MAX, Time::MAX));
        RunChecker { stop_at: Some(at), window, ..RunChecker::new(scenario) }
    }

    /// Time from `at` to the next check.
    pub(super) fn interval(&self, at: Time) -> Duration {
        match self.window {
            Some((from, to)) if at >= from && at < to => REPLAY_INTERVAL,
            _ => self.every,
        }
    }

    /// Whether the run need not continue.
    pub(super) fn is_finished(&self, now: Time) -> bool {
        !self.failures.is_empty() || self.stop_at.is_some_and(|at| now >= at)
    }

    /// The period in which a promise was first violated, if a replay can narrow it down.
    pub(super) fn failed_between(&self) -> Option<(Time, Time)> {
        let first = self.failures.first()?;
        let window = (self.last_valid_check, first.at);
        (!self.never_at_rest && first.at > self.last_valid_check).then_some(window)
    }

    /// Replaces the failures by those that the replay found, if it found any.
    pub(super) fn take_failures_of(&mut self, replay: RunChecker) {
        if !replay.failures.is_empty() {
            self.failures = replay.failures;
        }
    }

    pub(super) fn first(&self) -> Option<&Failure> {
        self.failures.first()
    }

    /// Checks the promises that hold at every moment.
    pub(super) fn check(&mut self, world: &World) {
        if self.window.is_some_and(|(from, _)| world.now() < from) {
            return;
        }
        let found = checkers::always(&world.observe());
        self.note(world.now(), found);
    }

    fn note(&mut self, at: Time, found: Vec<Violation>) {
        self.checks += 1;
        if found.is_empty() {
            self.last_valid_check = at;
        }
        for violation in found {
            *self.counts.entry(violation.promise).or_default() += 1;
            if self.failures.len() < MAX_STORED {
                self.failures.push(Failure { at, violation });
            }
        }
    }

    /// Whether all promises of a network at rest hold. Violations of promises that hold at every
    /// moment are recorded.
    pub(super) fn is_at_rest(&mut self, world: &World) -> bool {
        let observation = world.observe();
        let violations = checkers::always(&observation);
        if !violations.is_empty() {
            self.note(world.now(), violations);
            return false;
        }
        self.last_valid_check = world.now();
        checkers::only_at_rest(&observation).is_empty()
    }

    /// Records that the network did not come to rest in time, with the remaining violations.
    pub(super) fn note_never_at_rest(&mut self, world: &World) {
        let found = checkers::only_at_rest(&world.observe());
        self.never_at_rest = true;
        self.note(world.now(), found);
    }

    /// Whether the trees of publishers in the last `within` are valid, or are not checked.
    pub(super) fn has_valid_trees(&self, world: &World, within: Duration) -> bool {
        !self.checks_trees || checkers::trees::check(&world.observe(), within).is_empty()
    }

    /// Checks the trees of publishers in the last `within`.
    pub(super) fn check_trees(&mut self, world: &World, within: Duration) {
        if self.checks_trees {
            let found = checkers::trees::check(&world.observe(), within);
            self.never_at_rest |= !found.is_empty();
            self.note(world.now(), found);
        }
    }

    /// The result of each promise.
    pub(super) fn promises(&self) -> BTreeMap<String, PromiseReport> {
        let mut all: BTreeMap<String, PromiseReport> =
            checkers::PROMISES.iter().map(|p| ((*p).to_owned(), PromiseReport::kept())).collect();
        for (promise, broken) in &self.counts {
            let first = self.failures.iter().find(|f| f.violation.promise == *promise);
            let report = PromiseReport {
                held: false,
                broken: *broken,
                first: first.map(|f| f.violation.what.clone()),
            };
            all.insert((*promise).to_owned(), report);
        }
        all
    }

    pub(super) const fn checks(&self) -> u64 {
        self.checks
    }
}

/// Virtual time in seconds.
pub(super) fn seconds(at: Time) -> f64 {
    at.as_micros() as f64 / 1e6
}
