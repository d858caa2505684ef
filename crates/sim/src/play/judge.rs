//! Holds the promises against a run.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::{BroadcastMode, Time};

use crate::checkers::{self, Violation};
use crate::report::PromiseReport;
use crate::scenario::Scenario;
use crate::world::World;

/// How closely a run is looked at when it is known to fail.
const CLOSE: Duration = Duration::from_millis(100);
/// Broken promises that are kept in words; the others are counted.
const KEPT: usize = 50;

/// A promise that was found broken.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// When it was found.
    pub(super) at: Time,
    pub(super) violation: Violation,
}

/// Judges a run.
#[derive(Debug)]
pub(super) struct Judge {
    every: Duration,
    /// Where to look closely: the failure is known to be found in between.
    window: Option<(Time, Time)>,
    /// When all was well last.
    sound_at: Time,
    /// Looks taken.
    looks: u64,
    failures: Vec<Failure>,
    counts: BTreeMap<&'static str, u64>,
    /// The network did not come to rest: no single moment is to blame.
    restless: bool,
    /// What the nodes concerned did before the first failure.
    pub(super) trace: Vec<String>,
    enough_at: Option<Time>,
    /// Whether the trees have to be sound at rest: an adversary's word on its place counts for
    /// nothing, and where packets are lost, peers look for other ways all the time.
    demands_trees: bool,
}

impl Judge {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Judge {
            every: scenario.check_every.0,
            window: None,
            sound_at: Time::ZERO,
            looks: 0,
            failures: Vec::new(),
            counts: BTreeMap::new(),
            restless: false,
            trace: Vec::new(),
            enough_at: None,
            demands_trees: !scenario.adversaries.iter().any(|a| a.kind.has_neighbours())
                && scenario.network.loss == 0.0
                && scenario.broadcast == BroadcastMode::Trees,
        }
    }

    /// One that looks closely within a time, for a run that is known to fail there.
    pub(super) fn close(scenario: &Scenario, window: (Time, Time)) -> Self {
        let enough_at = Some(window.1);
        Judge { window: Some(window), enough_at, ..Judge::new(scenario) }
    }

    /// One that has seen enough at that time.
    pub(super) fn until(scenario: &Scenario, at: Time) -> Self {
        Judge { enough_at: Some(at), window: Some((Time::MAX, Time::MAX)), ..Judge::new(scenario) }
    }

    /// How long from `at` until the next look.
    pub(super) fn interval(&self, at: Time) -> Duration {
        match self.window {
            Some((from, to)) if at >= from && at < to => CLOSE,
            _ => self.every,
        }
    }

    /// Whether the run need not go on.
    pub(super) fn has_seen_enough(&self, now: Time) -> bool {
        !self.failures.is_empty() || self.enough_at.is_some_and(|at| now >= at)
    }

    /// The time in which the promises for every moment were first broken, if it is worth a closer
    /// look.
    pub(super) fn failed_between(&self) -> Option<(Time, Time)> {
        let first = self.failures.first()?;
        (!self.restless && first.at > self.sound_at).then_some((self.sound_at, first.at))
    }

    /// What a closer look found takes the place of what was found before.
    pub(super) fn take_closer(&mut self, other: Judge) {
        if !other.failures.is_empty() {
            self.failures = other.failures;
        }
    }

    pub(super) fn first(&self) -> Option<&Failure> {
        self.failures.first()
    }

    /// Looks at what must hold at every moment.
    pub(super) fn look(&mut self, world: &World) {
        if self.window.is_some_and(|(from, _)| world.now() < from) {
            return;
        }
        let found = checkers::always(&world.observe());
        self.note(world.now(), found);
    }

    fn note(&mut self, at: Time, found: Vec<Violation>) {
        self.looks += 1;
        if found.is_empty() {
            self.sound_at = at;
        }
        for violation in found {
            *self.counts.entry(violation.promise).or_default() += 1;
            if self.failures.len() < KEPT {
                self.failures.push(Failure { at, violation });
            }
        }
    }

    /// Whether everything holds that must hold at rest. What is broken for good is noted.
    pub(super) fn is_at_rest(&mut self, world: &World) -> bool {
        let seen = world.observe();
        let broken = checkers::always(&seen);
        if !broken.is_empty() {
            self.note(world.now(), broken);
            return false;
        }
        self.sound_at = world.now();
        checkers::only_at_rest(&seen).is_empty()
    }

    /// The time for coming to rest is over.
    pub(super) fn never_rested(&mut self, world: &World) {
        let found = checkers::only_at_rest(&world.observe());
        self.restless = true;
        self.note(world.now(), found);
    }

    /// Whether the trees of those who have published for so long are sound, or need not be.
    pub(super) fn has_sound_trees(&self, world: &World, within: Duration) -> bool {
        !self.demands_trees || checkers::trees::check(&world.observe(), within).is_empty()
    }

    /// The trees of those who have published for so long must be sound.
    pub(super) fn trees(&mut self, world: &World, within: Duration) {
        if self.demands_trees {
            let found = checkers::trees::check(&world.observe(), within);
            self.restless |= !found.is_empty();
            self.note(world.now(), found);
        }
    }

    /// What became of each promise.
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

    pub(super) const fn looks(&self) -> u64 {
        self.looks
    }
}

/// Virtual time in seconds.
pub(super) fn seconds(at: Time) -> f64 {
    at.as_micros() as f64 / 1e6
}
