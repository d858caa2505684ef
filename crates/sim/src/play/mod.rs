//! Plays a scenario: the join phase, the active phase with load and faults, the calm phase, and a
//! final check; the promises are checked all along.
//!
//! The scenario and the random seed determine a run. If a promise is broken, the run is replayed up
//! to that point with more frequent checks, and the report has the first violation, its time, and
//! the inputs and events of the nodes concerned just before.

mod chaos;
mod inject;
mod load;
mod measure;
mod revert;
mod run_checker;
mod schedule;
mod streams;
#[cfg(test)]
mod tests;
mod unobserved;

use core::time::Duration;

use rumormill_proto::Time;

use self::run_checker::RunChecker;
use self::schedule::{Action, Revert, Schedule};
use crate::node::{NodeId, NodeStatus};
use crate::random::RngStream;
use crate::report::Report;
use crate::scenario::{Keys, Scenario, ScenarioError};
use crate::world::{RecordLevel, World, WorldConfig};

/// Number of peers that publish in the final check.
const FINAL_PUBLISHERS: usize = 20;
/// Messages of each of these peers: the first one builds the tree, and the others show which links
/// can become lazy.
const FINAL_MESSAGES: u32 = 4;
/// Time between two of these messages.
const FINAL_MESSAGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the consumer of every second peer takes to acknowledge, as the message log of
/// `rumor peer` does.
const CONSUMER_LAG: Duration = Duration::from_millis(250);
/// Virtual time between two checks whether the network is at rest, and between two reports of
/// progress.
const STEP: Duration = Duration::from_millis(500);

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The peers join.
    Joining,
    /// Load, faults and churn.
    Active,
    /// Faults have ended, and every promise must hold again.
    Calm,
    /// A promise was broken: the run is replayed to find the first violation.
    Replaying,
    /// The figures of the report are computed.
    Measuring,
}

/// The progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The present phase.
    pub phase: Phase,
    /// Virtual time since the beginning.
    pub time: Duration,
    /// Virtual time at which the phase ends at the latest.
    pub end: Duration,
    /// Number of inputs handled so far.
    pub events: u64,
}

/// The answer of a [`ProgressCallback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressReply {
    /// The run continues.
    Continue,
    /// The run stops without a report.
    Stop,
}

/// Called with the progress of a run, at least every half second of virtual time.
pub type ProgressCallback<'a> = &'a mut dyn FnMut(Progress) -> ProgressReply;

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The scenario cannot be played.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The progress callback stopped the run.
    #[error("stopped")]
    Stopped,
}

/// Options for the measurements of a run.
#[derive(Debug, Clone, Copy)]
pub struct MeasureOptions {
    /// Bootstrap replicates for the p-values of the power-law fits; 0 for none.
    pub replicates: u32,
    /// Whether the report contains the overlay graph, if it is not too large.
    pub graph: bool,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        MeasureOptions { replicates: 200, graph: true }
    }
}

/// Plays a scenario with a random seed.
///
/// # Errors
/// The scenario cannot be played, or `on_progress` stops the run.
pub fn play(
    scenario: &Scenario,
    seed: u64,
    options: MeasureOptions,
    on_progress: ProgressCallback<'_>,
) -> Result<Report, PlayError> {
    let mut run = Run::new(scenario, seed, RunChecker::new(scenario))?;
    run.play(on_progress)?;
    if let Some(window) = run.checker.failed_between() {
        // The first replay, with more frequent checks, finds the time of the first violation.
        let checker = RunChecker::for_replay(scenario, window);
        let mut replay = Run::new(scenario, seed, checker)?;
        replay.is_replay = true;
        replay.play(on_progress)?;
        run.checker.take_failures_of(replay.checker);
        if let Some(failure) = run.checker.first().cloned() {
            // The second replay, up to this time, traces the nodes concerned.
            let checker = RunChecker::until(scenario, failure.at);
            let mut traced = Run::new(scenario, seed, checker)?;
            traced.is_replay = true;
            let from = Time::from_micros(failure.at.as_micros().saturating_sub(2_000_000));
            traced.world.watch(&failure.violation.nodes, from);
            traced.play(on_progress)?;
            run.checker.trace = traced.world.watch_lines();
        }
    }
    run.report(options, on_progress)
}

/// A run in progress.
struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    checker: RunChecker,
    schedule: Schedule,
    /// Reverts of faults that last until the calm phase.
    pending_reverts: Vec<Revert>,
    seeds: Vec<NodeId>,
    /// All peers that were ever added, without adversaries.
    peers: Vec<NodeId>,
    load_rng: RngStream,
    churn_rng: RngStream,
    fault_rng: RngStream,
    chaos_rng: RngStream,
    /// The publishers of each load.
    publishers: Vec<Vec<NodeId>>,
    /// Beginning and end of the active phase.
    active_phase: (Time, Time),
    /// How long the network took to come to rest after the joins, and after the active phase.
    rest_times: [Option<Duration>; 2],
    /// Peers that departed by churn.
    departures: u64,
    /// Publish calls that flow control refused.
    busy: u64,
    is_replay: bool,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: u64, checker: RunChecker) -> Result<Self, ScenarioError> {
        let network = &scenario.network;
        let world = World::new(WorldConfig {
            latency: network.latency(),
            loss: network.loss,
            bandwidth: network.bandwidth.map(|b| b.0),
            disk_latency: network.disk.0,
            fast: scenario.keys == Keys::Fast,
            check_every: STEP,
            record: RecordLevel::Ledger,
            learned_addresses: scenario.moves_hosts(),
            consumer_lag: Some(CONSUMER_LAG),
            ..WorldConfig::new(seed, scenario.config()?)
        });
        Ok(Run {
            scenario,
            world,
            checker,
            schedule: Schedule::default(),
            pending_reverts: Vec::new(),
            seeds: Vec::new(),
            peers: Vec::new(),
            load_rng: RngStream::new(seed, "load"),
            churn_rng: RngStream::new(seed, "churn"),
            fault_rng: RngStream::new(seed, "faults"),
            chaos_rng: RngStream::new(seed, "chaos"),
            publishers: vec![Vec::new(); scenario.loads.len()],
            active_phase: (Time::ZERO, Time::ZERO),
            rest_times: [None, None],
            departures: 0,
            busy: 0,
            is_replay: false,
        })
    }

    /// Plays all phases, or until the checker is finished.
    fn play(&mut self, on_progress: ProgressCallback<'_>) -> Result<(), PlayError> {
        self.join(on_progress)?;
        if !self.checker.is_finished(self.world.now()) {
            self.act(on_progress)?;
        }
        if !self.checker.is_finished(self.world.now()) {
            self.calm(on_progress)?;
        }
        Ok(())
    }

    fn report_progress(
        &self,
        on_progress: &mut ProgressCallback<'_>,
        phase: Phase,
        end: Time,
    ) -> Result<(), PlayError> {
        let since = |t: Time| t.since(Time::ZERO);
        let phase = if self.is_replay { Phase::Replaying } else { phase };
        let (time, end) = (since(self.world.now()), since(end));
        match on_progress(Progress { phase, time, end, events: self.world.steps() }) {
            ProgressReply::Continue => Ok(()),
            ProgressReply::Stop => Err(PlayError::Stopped),
        }
    }

    /// Advances virtual time to `until`, in steps, and reports the progress.
    fn run_to(
        &mut self,
        until: Time,
        phase: Phase,
        on_progress: &mut ProgressCallback<'_>,
    ) -> Result<(), PlayError> {
        while self.world.now() < until {
            let before = self.world.now();
            let next = (before + STEP).min(until);
            #[cfg(test)]
            let next = self.plant_violation(before, next);
            self.world.run_for(next.since(before));
            self.report_progress(on_progress, phase, until)?;
        }
        Ok(())
    }

    /// Plants the violation of a test at its time. Returns the end of the next step, which is that
    /// time if it is between the two.
    #[cfg(test)]
    fn plant_violation(&mut self, from: Time, to: Time) -> Time {
        let planted = self.scenario.planted_violation;
        let Some(at) = planted.map(|s| Time::ZERO + s.0) else { return to };
        if at == from {
            self.world.repeat_last_arrival();
        }
        if at > from && at < to { at } else { to }
    }

    fn join(&mut self, mut on_progress: ProgressCallback<'_>) -> Result<(), PlayError> {
        self.seeds = self.world.add_seeds(self.scenario.seeds);
        for a in &self.scenario.adversaries {
            for _ in 0..a.count.of(self.scenario.peers) {
                self.world.add_adversary(a.kind);
            }
        }
        let join = self.scenario.join;
        self.peers = self.world.add_peers_over(self.scenario.peers, join.over.0);
        let started = self.world.now() + join.over.0;
        self.run_to(started, Phase::Joining, &mut on_progress)?;
        let limit = started + join.within.0;
        self.rest_times[0] = self.wait_for_rest(limit, Phase::Joining, &mut on_progress)?;
        Ok(())
    }

    /// Waits until the network is at rest, and returns how long it took. Records the violations if
    /// it does not come to rest within the limit.
    fn wait_for_rest(
        &mut self,
        limit: Time,
        phase: Phase,
        on_progress: &mut ProgressCallback<'_>,
    ) -> Result<Option<Duration>, PlayError> {
        let from = self.world.now();
        let mut step = STEP;
        loop {
            if self.checker.is_at_rest(&self.world) {
                return Ok(Some(self.world.now().since(from)));
            }
            if self.checker.is_finished(self.world.now()) {
                return Ok(None);
            }
            if self.world.now() >= limit {
                self.checker.note_never_at_rest(&self.world);
                return Ok(None);
            }
            let next = (self.world.now() + step).min(limit);
            self.run_to(next, phase, on_progress)?;
            // With many peers a check costs as much as the simulation of a step.
            step = (step + step / 4).min(Duration::from_secs(5));
        }
    }

    /// The active phase.
    fn act(&mut self, mut on_progress: ProgressCallback<'_>) -> Result<(), PlayError> {
        let begin = self.world.now();
        self.active_phase = (begin, begin + self.scenario.length.0);
        self.world.set_adversaries_active(true);
        self.fill_schedule();
        while let Some((at, action)) = self.schedule.next_until(self.active_phase.1) {
            self.run_to(at, Phase::Active, &mut on_progress)?;
            self.carry_out(action);
            if self.checker.is_finished(self.world.now()) {
                return Ok(());
            }
        }
        self.run_to(self.active_phase.1, Phase::Active, &mut on_progress)?;
        self.checker.check(&self.world);
        Ok(())
    }

    /// Schedules the loads, churns, faults, chaos and checks of the scenario.
    fn fill_schedule(&mut self) {
        let (begin, end) = self.active_phase;
        for load in 0..self.scenario.loads.len() {
            self.schedule_load(load);
        }
        for churn in 0..self.scenario.churn.len() {
            self.schedule_churn(churn);
        }
        for (i, fault) in self.scenario.faults.iter().enumerate() {
            self.schedule.add(begin + fault.at.0, Action::InjectFault { fault: i });
        }
        self.schedule_chaos();
        let mut at = begin;
        while at < end {
            at += self.checker.interval(at);
            self.schedule.add(at, Action::Check);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Publish { load } => self.publish(load),
            Action::Arrive { churn } => self.arrive(churn),
            Action::Depart { churn } => self.depart(churn),
            Action::InjectFault { fault } => self.inject_scheduled_fault(fault),
            Action::Revert(revert) => self.revert(revert),
            Action::InjectChaos => self.inject_chaos(),
            Action::Flap { a, b, cut, down, up, until } => {
                self.flap(a, b, cut, (down, up), until);
            }
            Action::CrashLoop { left, gap } => self.crash_loop(left, gap),
            Action::Crash { node } => self.world.crash(node),
            Action::Overload { node, size, until } => self.overload(node, size, until),
            Action::PublishAndLeave { node, messages, size } => {
                self.publish_and_leave(node, messages, size);
            }
            Action::RestartIsolated { node, left } => self.restart_isolated(node, left),
            Action::Isolate { node, left } => self.isolate(node, left),
            Action::RestoreDisk { node, clock_back } => self.restore_disk(node, clock_back),
            Action::Check => self.checker.check(&self.world),
        }
    }

    /// The calm phase: reverts all faults and waits until every promise holds.
    fn calm(&mut self, mut on_progress: ProgressCallback<'_>) -> Result<(), PlayError> {
        let mut reverts = self.schedule.drain_reverts();
        reverts.append(&mut self.pending_reverts);
        for revert in reverts {
            self.revert(revert);
        }
        for revert in [Revert::Heal, Revert::Loss, Revert::Delay, Revert::QueueDrops] {
            self.revert(revert);
        }
        self.world.set_adversaries_active(false);
        let all: Vec<NodeId> = self.world.nodes().collect();
        self.revert(Revert::Thaw(all.clone()));
        self.revert(Revert::Line(all.clone()));
        self.revert(Revert::Uplink(all));
        for seed in self.seeds.clone() {
            if !matches!(self.world.status(seed), NodeStatus::Running) {
                self.world.restart(seed, crate::world::DiskFate::Kept);
            }
        }
        let limit = self.world.now() + self.scenario.calm.0;
        self.rest_times[1] = self.wait_for_rest(limit, Phase::Calm, &mut on_progress)?;
        if self.rest_times[1].is_some() {
            self.final_check(&mut on_progress)?;
        }
        Ok(())
    }

    /// Some peers publish once more: the network must deliver the messages and have valid trees.
    fn final_check(&mut self, on_progress: &mut ProgressCallback<'_>) -> Result<(), PlayError> {
        let live = self.world.live_peers();
        let publishers = self.load_rng.pick(&live, FINAL_PUBLISHERS);
        let begin = self.world.now();
        for _ in 0..FINAL_MESSAGES {
            for &node in &publishers {
                // Flow control may still refuse the message.
                let _ = self.world.publish(node, "last-words", b"as on the first day");
            }
            let next = self.world.now() + FINAL_MESSAGE_INTERVAL;
            self.run_to(next, Phase::Calm, on_progress)?;
        }
        let settle = crate::observation::settle(&self.world.config().node);
        let until = self.world.now() + settle + STEP;
        self.run_to(until, Phase::Calm, on_progress)?;
        let limit = self.world.now() + self.scenario.calm.0;
        if self.wait_for_rest(limit, Phase::Calm, on_progress)?.is_some() {
            // A prune may wait behind other frames on a slow line.
            while self.world.now() < limit
                && !self.checker.has_valid_trees(&self.world, self.world.now().since(begin))
            {
                let next = (self.world.now() + Duration::from_secs(5)).min(limit);
                self.run_to(next, Phase::Calm, on_progress)?;
            }
            self.checker.check_trees(&self.world, self.world.now().since(begin));
        }
        Ok(())
    }

    /// The live peers, without adversaries.
    fn live(&self) -> Vec<NodeId> {
        self.world.live_peers()
    }
}
