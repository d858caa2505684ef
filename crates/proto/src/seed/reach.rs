//! Whether this seed reaches the peers that it serves. A seed that a partition leaves with a few
//! peers loses all others at once, as if they had died. So a seed votes on deaths only while it
//! reaches a quarter of its peers.

use std::collections::BTreeSet;

use super::Seed;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::LinkId;
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
    doubts_since: Option<Time>,
    /// When the first of the latest consecutive checks succeeded late.
    late_since: Option<Time>,
}

impl ReachCheck {
    /// Whether a check that began after `from` has reached enough peers.
    fn has_reached_since(&self, from: Time) -> bool {
        self.reached.is_some_and(|at| at >= from)
    }

    /// Whether the last check has not reached enough peers so far.
    fn is_open(&self) -> bool {
        self.started.is_some() && self.reached != self.started
    }

    /// Whether the last checks have not reached enough peers.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.doubts_since.is_some()
    }

    /// Removes a peer that has lost its link; it counts among the accused without one.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.unanswered.remove(peer);
    }
}

impl Seed {
    /// Whether this seed may vote in a case whose probe's last burst began at `probed`: it has
    /// reached enough of its peers since, or has not for as long as a lease.
    pub(super) fn may_vote(&self, probed: Time) -> bool {
        let lease = self.config.lease();
        self.reach.has_reached_since(probed)
            || self.reach.doubts_since.is_some_and(|at| self.fx.now() >= at + lease)
    }

    /// Begins a check after a probe failed whose last burst began at `probed`, unless one has begun
    /// since or is running.
    pub(super) fn check_reach(&mut self, probed: Time) {
        let is_covered = self.reach.started.is_some_and(|at| at >= probed);
        if !is_covered && !self.reach.is_open() {
            self.begin_reach_check();
        }
    }

    fn begin_reach_check(&mut self) {
        let (now, nonce) = (self.fx.now(), self.rng.u64());
        let drawn: Vec<(PeerId, LinkId)> =
            self.registrants.sample(REACH_SAMPLE, &mut self.rng).copied().collect();
        self.reach.nonce = nonce;
        self.reach.started = Some(now);
        self.reach.answered = 0;
        self.reach.unanswered = drawn.iter().map(|(id, _)| *id).collect();
        for (_, link) in drawn {
            self.fx.send(link, Ping { nonce });
        }
        self.review_reach();
    }

    /// Handles the answer to a ping of the check.
    pub(super) fn on_reach_pong(&mut self, remote: PeerId, nonce: u64) {
        if nonce != self.reach.nonce || !self.reach.unanswered.remove(&remote) {
            return;
        }
        self.reach.answered += 1;
        if self.reach.is_open() && self.review_reach() {
            self.review_waiting_cases();
        }
    }

    /// Reviews the cases that have waited for the check.
    fn review_waiting_cases(&mut self) {
        let now = self.fx.now();
        let waiting =
            self.cases.iter().filter(|(_, c)| c.probe.has_failed() && c.has_current_probe(now));
        let waiting: Vec<PeerId> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.review_case(id));
    }

    /// Reviews whether the last check has reached enough peers: of those with a link, and of the
    /// accused without one, unless their hosts refuse connections and so are reachable. Peers that
    /// only other seeds have lost count as well: a seed that was restarted behind a partition has
    /// lost none itself.
    fn review_reach(&mut self) -> bool {
        let (reached, all) = self.count_reached();
        if reached * REACHED_ONE_IN < all {
            return false;
        }
        self.reach.reached = self.reach.started;
        // Peers that answer late may come back from behind a partition: probes that failed
        // meanwhile prove nothing about peers that have not come back yet. If peers always answer
        // late, that ends after a lease.
        let (now, lease) = (self.fx.now(), self.config.lease());
        let started = self.reach.started.unwrap_or(Time::ZERO);
        let is_late = now >= started + self.config.probe_burst() / 2;
        self.reach.late_since = is_late.then(|| self.reach.late_since.unwrap_or(now));
        let waits = self.reach.late_since.is_some_and(|at| now < at + lease);
        if self.reach.doubts_since.take().is_some() || waits {
            self.restart_cases(|_| true);
        }
        true
    }

    /// Estimates from the sample how many peers the last check reaches, of how many.
    fn count_reached(&self) -> (usize, usize) {
        let lost = |id: &PeerId| self.registrants.get(id).is_none();
        let lost = self.cases.iter().filter(|(id, case)| !case.host_refuses && lost(id)).count();
        let (linked, answered) = (self.registrants.len(), self.reach.answered);
        let checked = answered + self.reach.unanswered.len();
        ((linked * answered).div_ceil(checked.max(1)), linked + lost)
    }

    /// Repeats a check that has not reached enough peers in time, while there are cases.
    pub(super) fn repeat_reach_check(&mut self) {
        if self.cases.is_empty() {
            // The time of a doubt counts only while it is checked.
            self.reach.doubts_since = None;
        }
        if self.fx.now() < self.reach_deadline() {
            return;
        }
        if self.review_reach() {
            return self.review_waiting_cases();
        }
        if self.cases.is_empty() {
            self.reach.started = self.reach.reached;
            return;
        }
        if self.reach.doubts_since.is_none() {
            self.reach.doubts_since = Some(self.fx.now());
            let (reached, all) = self.count_reached();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.fx.counters.self_doubts += 1;
            self.fx.event(Event::SelfDoubt { failing: count(all - reached), links: count(all) });
        }
        self.begin_reach_check();
    }

    pub(super) fn reach_deadline(&self) -> Time {
        let started = self.reach.started.filter(|_| self.reach.is_open());
        started
            .map_or(Time::MAX, |at| at + self.config.probe_burst() * self.health.timeout_factor())
    }
}
