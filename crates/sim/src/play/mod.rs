//! Plays a scenario: the peers join, things happen to them, then there is calm; the promises are
//! looked at all along.
//!
//! A run is decided by the scenario and one number. If a promise is broken, the run is played again
//! up to there, now looking closely, and the report says when it was broken first and what the nodes
//! concerned did just before.

mod act;
mod agenda;
mod alone;
mod chaos;
mod judge;
mod load;
mod measure;
mod streams;
#[cfg(test)]
mod tests;

use core::time::Duration;

use rumormill_proto::Time;

use self::agenda::{Agenda, Deed, Undo};
use self::judge::Judge;
use crate::node::{NodeId, NodeStatus};
use crate::random::Dice;
use crate::report::Report;
use crate::scenario::{Keys, Scenario, ScenarioError};
use crate::world::{Record, World, WorldConfig};

/// Peers that publish once more when calm has returned, to see that all is as on the first day.
const LAST_WORDS: usize = 20;
/// How many messages each publishes then, and how soon one after the other: the first one finds the way, and those
/// behind it show which links need not carry it.
const WORDS: u32 = 4;
const WORD_EVERY: Duration = Duration::from_secs(1);
/// How long the consumer of every second peer takes: as the message log of `rumor peer`.
const CONSUMER_LAG: Duration = Duration::from_millis(250);
/// Virtual time between two looks at whether a network has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where in a run one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The peers join.
    Joining,
    /// Load, faults, churn.
    Action,
    /// Everything is to hold again.
    Calm,
    /// A promise was broken: the same again, to see how.
    LookingBack,
    /// The figures of the report are worked out.
    Measuring,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Where in the run.
    pub phase: Phase,
    /// Virtual time since the beginning.
    pub time: Duration,
    /// Virtual time at which the phase ends at the latest.
    pub end: Duration,
    /// Inputs handled.
    pub events: u64,
}

/// What becomes of a run that is told of its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// It goes on.
    On,
    /// It stops, and gives no report.
    Stop,
}

/// Who hears of the progress, every half second of virtual time or more often.
pub type Tell<'a> = &'a mut dyn FnMut(Progress) -> Go;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The scenario cannot be played.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Whoever was told of the progress did not want it to go on.
    #[error("stopped")]
    Stopped,
}

/// How a run is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Measures {
    /// Replicates of the bootstrap for the p of the power-law fits; 0 for none.
    pub replicates: u32,
    /// Whether the report has the graph, if it is not too large.
    pub graph: bool,
}

impl Default for Measures {
    fn default() -> Self {
        Measures { replicates: 200, graph: true }
    }
}

/// Plays a scenario with a number that decides everything left to chance.
///
/// # Errors
/// The scenario cannot be played, or `tell` says that it is to stop.
pub fn play(
    scenario: &Scenario,
    seed: u64,
    measures: Measures,
    tell: Tell<'_>,
) -> Result<Report, PlayError> {
    let mut run = Run::new(scenario, seed, Judge::new(scenario))?;
    run.play(tell)?;
    if let Some(window) = run.judge.failed_between() {
        // The same again, up to the failure, with a closer look.
        let mut again = Run::new(scenario, seed, Judge::close(scenario, window))?;
        again.is_replay = true;
        again.play(tell)?;
        run.judge.take_closer(again.judge);
        if let Some(failure) = run.judge.first().cloned() {
            let mut third = Run::new(scenario, seed, Judge::until(scenario, failure.at))?;
            third.is_replay = true;
            let from = Time::from_micros(failure.at.as_micros().saturating_sub(2_000_000));
            third.world.watch(&failure.violation.nodes, from);
            third.play(tell)?;
            run.judge.trace = third.world.watched();
        }
    }
    run.report(measures, tell)
}

/// A run under way.
struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    judge: Judge,
    agenda: Agenda,
    /// How faults end that stand until the calm.
    standing: Vec<Undo>,
    seeds: Vec<NodeId>,
    /// All peers there ever were, adversaries not among them.
    peers: Vec<NodeId>,
    load_dice: Dice,
    churn_dice: Dice,
    fault_dice: Dice,
    chaos_dice: Dice,
    /// Who publishes, for each load.
    publishers: Vec<Vec<NodeId>>,
    /// Virtual time at which the action began, and is to end.
    action: (Time, Time),
    /// When the network had come to rest after the joins, and after the action.
    rested: [Option<Duration>; 2],
    /// Peers that came and went by churn.
    replaced: u64,
    /// Messages refused by their own peer because it was busy.
    busy: u64,
    is_replay: bool,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: u64, judge: Judge) -> Result<Self, ScenarioError> {
        let network = &scenario.network;
        let world = World::new(WorldConfig {
            latency: network.latency(),
            loss: network.loss,
            bandwidth: network.bandwidth.map(|b| b.0),
            disk_latency: network.disk.0,
            fast: scenario.keys == Keys::Fast,
            check_every: LOOK_EVERY,
            record: Record::Judged,
            learned_addresses: scenario.moves_hosts(),
            consumer_lag: Some(CONSUMER_LAG),
            ..WorldConfig::new(seed, scenario.config()?)
        });
        Ok(Run {
            scenario,
            world,
            judge,
            agenda: Agenda::default(),
            standing: Vec::new(),
            seeds: Vec::new(),
            peers: Vec::new(),
            load_dice: Dice::new(seed, "load"),
            churn_dice: Dice::new(seed, "churn"),
            fault_dice: Dice::new(seed, "faults"),
            chaos_dice: Dice::new(seed, "chaos"),
            publishers: vec![Vec::new(); scenario.loads.len()],
            action: (Time::ZERO, Time::ZERO),
            rested: [None, None],
            replaced: 0,
            busy: 0,
            is_replay: false,
        })
    }

    /// Plays it, until it is over or the judge has seen enough.
    fn play(&mut self, tell: Tell<'_>) -> Result<(), PlayError> {
        self.join(tell)?;
        if !self.judge.has_seen_enough(self.world.now()) {
            self.action(tell)?;
        }
        if !self.judge.has_seen_enough(self.world.now()) {
            self.calm(tell)?;
        }
        Ok(())
    }

    fn tell(&self, tell: &mut Tell<'_>, phase: Phase, end: Time) -> Result<(), PlayError> {
        let since = |t: Time| t.since(Time::ZERO);
        let phase = if self.is_replay { Phase::LookingBack } else { phase };
        let (time, end) = (since(self.world.now()), since(end));
        match tell(Progress { phase, time, end, events: self.world.steps() }) {
            Go::On => Ok(()),
            Go::Stop => Err(PlayError::Stopped),
        }
    }

    /// Lets time pass until then, in steps, telling of it.
    fn run_to(&mut self, until: Time, phase: Phase, tell: &mut Tell<'_>) -> Result<(), PlayError> {
        while self.world.now() < until {
            let before = self.world.now();
            let next = (before + LOOK_EVERY).min(until);
            #[cfg(test)]
            let next = self.sabotage(before, next);
            self.world.run_for(next.since(before));
            self.tell(tell, phase, until)?;
        }
        Ok(())
    }

    /// Plants the fault of a test, if it falls between the two times: then the next step ends there.
    #[cfg(test)]
    fn sabotage(&mut self, from: Time, to: Time) -> Time {
        let Some(at) = self.scenario.sabotage.map(|s| Time::ZERO + s.0) else { return to };
        if at == from {
            self.world.repeat_the_last_arrival();
        }
        if at > from && at < to { at } else { to }
    }

    fn join(&mut self, mut tell: Tell<'_>) -> Result<(), PlayError> {
        self.seeds = self.world.add_seeds(self.scenario.seeds);
        for a in &self.scenario.adversaries {
            for _ in 0..a.count.of(self.scenario.peers) {
                self.world.add_adversary(a.kind);
            }
        }
        let join = self.scenario.join;
        self.peers = self.world.add_peers_over(self.scenario.peers, join.over.0);
        let started = self.world.now() + join.over.0;
        self.run_to(started, Phase::Joining, &mut tell)?;
        let limit = started + join.within.0;
        self.rested[0] = self.come_to_rest(limit, Phase::Joining, &mut tell)?;
        Ok(())
    }

    /// Waits until all promises hold; says how long it took. The judge hears of it if they do not.
    fn come_to_rest(
        &mut self,
        limit: Time,
        phase: Phase,
        tell: &mut Tell<'_>,
    ) -> Result<Option<Duration>, PlayError> {
        let from = self.world.now();
        let mut step = LOOK_EVERY;
        loop {
            if self.judge.is_at_rest(&self.world) {
                return Ok(Some(self.world.now().since(from)));
            }
            if self.judge.has_seen_enough(self.world.now()) {
                return Ok(None);
            }
            if self.world.now() >= limit {
                self.judge.never_rested(&self.world);
                return Ok(None);
            }
            let next = (self.world.now() + step).min(limit);
            self.run_to(next, phase, tell)?;
            // Looking costs as much as living where there are many peers.
            step = (step + step / 4).min(Duration::from_secs(5));
        }
    }

    fn action(&mut self, mut tell: Tell<'_>) -> Result<(), PlayError> {
        let begin = self.world.now();
        self.action = (begin, begin + self.scenario.length.0);
        self.world.unleash(true);
        self.plan();
        while let Some((at, deed)) = self.agenda.next_until(self.action.1) {
            self.run_to(at, Phase::Action, &mut tell)?;
            self.carry_out(deed);
            if self.judge.has_seen_enough(self.world.now()) {
                return Ok(());
            }
        }
        self.run_to(self.action.1, Phase::Action, &mut tell)?;
        self.judge.look(&self.world);
        Ok(())
    }

    /// Puts everything that the scenario says onto the agenda.
    fn plan(&mut self) {
        let (begin, end) = self.action;
        for load in 0..self.scenario.loads.len() {
            self.plan_load(load);
        }
        for churn in 0..self.scenario.churn.len() {
            self.plan_churn(churn);
        }
        for (i, fault) in self.scenario.faults.iter().enumerate() {
            self.agenda.put(begin + fault.at.0, Deed::Fault { fault: i });
        }
        self.plan_chaos();
        let mut at = begin;
        while at < end {
            at += self.judge.interval(at);
            self.agenda.put(at, Deed::Check);
        }
    }

    fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Publish { load } => self.publish(load),
            Deed::Come { churn } => self.come(churn),
            Deed::Go { churn } => self.go(churn),
            Deed::Fault { fault } => self.fault(fault),
            Deed::Undo(undo) => self.undo(undo),
            Deed::Chaos => self.chaos(),
            Deed::Flap { a, b, closed, down, up, until } => {
                self.flap(a, b, closed, (down, up), until);
            }
            Deed::CrashLoop { left, gap } => self.crash_loop(left, gap),
            Deed::Crash { node } => self.world.crash(node),
            Deed::Overload { node, size, until } => self.overload(node, size, until),
            Deed::Depart { node, messages, size } => self.publish_and_leave(node, messages, size),
            Deed::RestartBurst { node, left } => self.restart_again(node, left),
            Deed::CutOff { node, left } => self.cut_off_again(node, left),
            Deed::Restore { node, clock_back } => self.restore(node, clock_back),
            Deed::Check => self.judge.look(&self.world),
        }
    }

    /// Ends all faults, and demands that everything holds.
    fn calm(&mut self, mut tell: Tell<'_>) -> Result<(), PlayError> {
        let mut ends = self.agenda.clear();
        ends.append(&mut self.standing);
        for undo in ends {
            self.undo(undo);
        }
        for undo in [Undo::Heal, Undo::Loss, Undo::Delay, Undo::Queues] {
            self.undo(undo);
        }
        self.world.unleash(false);
        let all: Vec<NodeId> = self.world.nodes().collect();
        self.undo(Undo::Thaw(all.clone()));
        self.undo(Undo::Line(all.clone()));
        self.undo(Undo::Uplink(all));
        let dead: Vec<NodeId> = self.seeds.clone();
        for seed in dead {
            if !matches!(self.world.status(seed), NodeStatus::Running) {
                self.world.restart(seed, crate::world::DiskFate::Kept);
            }
        }
        let limit = self.world.now() + self.scenario.calm.0;
        self.rested[1] = self.come_to_rest(limit, Phase::Calm, &mut tell)?;
        if self.rested[1].is_some() {
            self.last_words(&mut tell)?;
        }
        Ok(())
    }

    /// It works as on the first day.
    fn last_words(&mut self, tell: &mut Tell<'_>) -> Result<(), PlayError> {
        let live = self.world.live_peers();
        let publishers = self.load_dice.pick(&live, LAST_WORDS);
        let begun = self.world.now();
        for _ in 0..WORDS {
            for &node in &publishers {
                // It may still be busy with what it published before.
                let _ = self.world.publish(node, "last-words", b"as on the first day");
            }
            self.run_to(self.world.now() + WORD_EVERY, Phase::Calm, tell)?;
        }
        let settle = crate::observation::settle(&self.world.config().node);
        let until = self.world.now() + settle + LOOK_EVERY;
        self.run_to(until, Phase::Calm, tell)?;
        let limit = self.world.now() + self.scenario.calm.0;
        if self.come_to_rest(limit, Phase::Calm, tell)?.is_some() {
            // What tells a peer to stop sending may wait behind much else on a slow line.
            while self.world.now() < limit
                && !self.judge.has_sound_trees(&self.world, self.world.now().since(begun))
            {
                let next = (self.world.now() + Duration::from_secs(5)).min(limit);
                self.run_to(next, Phase::Calm, tell)?;
            }
            self.judge.trees(&self.world, self.world.now().since(begun));
        }
        Ok(())
    }

    /// Peers whose process runs, that are no adversaries.
    fn live(&self) -> Vec<NodeId> {
        self.world.live_peers()
    }
}
