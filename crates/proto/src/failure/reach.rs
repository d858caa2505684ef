//! Whether this seed reaches the peers that it serves. A seed that a partition leaves with a few
//! peers loses all others at once, as if they had died. So a seed votes on deaths only while it
//! reaches a quarter of its peers.

use std::collections::BTreeSet;

use super::{Case, Cases};
use crate::config::Config;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::registry::Registry;
use crate::seed::{CaseContext, count};
use crate::time::Time;
use crate::wire::Ping;

/// Most peers that one check asks.
const REACH_SAMPLE: usize = 64;

/// A seed that reaches one of this many of its peers reaches enough. One of two would be too
/// strict: a peer has a link to a majority of the seeds only, so after a partition into halves a
/// seed may have a quarter of the network on its side.
const REACHED_ONE_IN: usize = 4;

/// The last check: pings to random registrants with a link.
#[derive(Debug, Default)]
pub(super) struct ReachCheck {
    nonce: u64,
    started: Option<Time>,
    unanswered: BTreeSet<PeerId>,
    answered: usize,
    /// When the last successful check began.
    reached: Option<Time>,
    /// When the first of the latest consecutive checks failed.
    pub(super) doubts_since: Option<Time>,
    /// When the first of the latest consecutive checks succeeded late.
    late_since: Option<Time>,
}

impl ReachCheck {
    /// Whether the last check has not reached enough peers so far.
    fn is_open(&self) -> bool {
        self.started.is_some() && self.reached != self.started
    }
}

impl Cases {
    /// Whether this seed may vote in a case whose probe's last burst began at `probed`: it has
    /// reached enough of its peers since, or has not for as long as a lease.
    pub(super) fn may_vote(&self, cx: &CaseContext<'_>, probed: Time) -> bool {
        let lease = cx.config.lease();
        self.reach.reached.is_some_and(|at| at >= probed)
            || self.reach.doubts_since.is_some_and(|at| cx.now >= at + lease)
    }

    /// Removes a peer that has lost its link from the check; it counts among the accused without
    /// one.
    pub(crate) fn forget_reached(&mut self, peer: &PeerId) {
        self.reach.unanswered.remove(peer);
    }

    /// Begins a check after a probe failed whose last burst began at `probed`, unless one has begun
    /// since or is running.
    pub(super) fn check_reach(&mut self, cx: &mut CaseContext<'_>, probed: Time) {
        let is_covered = self.reach.started.is_some_and(|at| at >= probed);
        if !is_covered && !self.reach.is_open() {
            self.begin_reach_check(cx);
        }
    }

    fn begin_reach_check(&mut self, cx: &mut CaseContext<'_>) {
        let nonce = cx.rng.u64();
        let sample = cx.registry.registrants.sample(REACH_SAMPLE, cx.rng);
        let drawn: Vec<(PeerId, LinkId)> = sample.copied().collect();
        self.reach.nonce = nonce;
        self.reach.started = Some(cx.now);
        self.reach.answered = 0;
        self.reach.unanswered = drawn.iter().map(|(id, _)| *id).collect();
        for (_, link) in drawn {
            cx.fx.send(link, Ping { nonce });
        }
        self.review_reach(cx);
    }

    /// Handles the answer to a ping of the check. Returns the cases to review.
    pub(crate) fn on_reach_pong(
        &mut self,
        cx: &mut CaseContext<'_>,
        remote: PeerId,
        nonce: u64,
    ) -> Vec<PeerId> {
        if nonce != self.reach.nonce || !self.reach.unanswered.remove(&remote) {
            return Vec::new();
        }
        self.reach.answered += 1;
        if self.reach.is_open() && self.review_reach(cx) {
            return self.waiting_cases(cx.now);
        }
        Vec::new()
    }

    /// The cases that have waited for the check.
    fn waiting_cases(&self, now: Time) -> Vec<PeerId> {
        self.open.iter().filter(|c| c.has_votable_probe(now)).map(|c| c.subject).collect()
    }

    /// Reviews whether the last check has reached enough peers: of those with a link, and of the
    /// accused without one, unless their hosts refuse connections and so are reachable. Peers that
    /// only other seeds have lost count as well: a seed that was restarted behind a partition has
    /// lost none itself.
    fn review_reach(&mut self, cx: &mut CaseContext<'_>) -> bool {
        let (reached, all) = self.count_reached(cx.registry);
        if reached * REACHED_ONE_IN < all {
            return false;
        }
        self.reach.reached = self.reach.started;
        // Peers that answer late may come back from behind a partition: probes that failed
        // meanwhile prove nothing about peers that have not come back yet. If peers always answer
        // late, that ends after a lease.
        let (now, lease) = (cx.now, cx.config.lease());
        let started = self.reach.started.unwrap_or(Time::ZERO);
        let is_late = now >= started + cx.config.probe_burst() / 2;
        self.reach.late_since = is_late.then(|| self.reach.late_since.unwrap_or(now));
        let waits = self.reach.late_since.is_some_and(|at| now < at + lease);
        if self.reach.doubts_since.take().is_some() || waits {
            self.restart(cx, |_| true);
        }
        true
    }

    /// Estimates from the sample how many peers the last check reaches, of how many.
    fn count_reached(&self, registry: &Registry) -> (usize, usize) {
        let is_lost = |c: &&Case| !c.host_refuses && registry.registrants.get(&c.subject).is_none();
        let lost = self.open.iter().filter(is_lost).count();
        let (linked, answered) = (registry.registrants.len(), self.reach.answered);
        let checked = answered + self.reach.unanswered.len();
        ((linked * answered).div_ceil(checked.max(1)), linked + lost)
    }

    /// Repeats a check that has not reached enough peers in time, while there are cases. Returns
    /// the cases to review, if it has reached enough meanwhile.
    pub(crate) fn repeat_reach_check(&mut self, cx: &mut CaseContext<'_>) -> Vec<PeerId> {
        if self.review_reach(cx) {
            return self.waiting_cases(cx.now);
        }
        if self.open.is_empty() {
            self.reach.started = self.reach.reached;
            return Vec::new();
        }
        if self.reach.doubts_since.is_none() {
            self.reach.doubts_since = Some(cx.now);
            let (reached, all) = self.count_reached(cx.registry);
            cx.fx.counters.self_doubts += 1;
            cx.fx.event(Event::SelfDoubt { failing: count(all - reached), links: count(all) });
        }
        self.begin_reach_check(cx);
        Vec::new()
    }

    /// When the check ends that has not reached enough peers so far.
    pub(super) fn reach_deadline(&self, config: &Config) -> Option<Time> {
        let started = self.reach.started.filter(|_| self.reach.is_open());
        started.map(|at| at + config.probe_burst() * self.health.timeout_factor())
    }
}
