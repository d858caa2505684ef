//! The probe burst: the last efforts to get a sign of life.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::small::VecSet;
use crate::time::Time;
use crate::wire::Verdict;

/// A burst under way about one suspect.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) started: Time,
    deadline: Time,
    next_retry: Time,
    retries_left: u32,
    /// What the suspect's other neighbours said.
    pub(crate) verdicts: BTreeMap<PeerId, Verdict>,
    /// Who was asked.
    pub(crate) asked: BTreeSet<PeerId>,
    /// Links on which somebody waits for the outcome.
    pub(crate) questioners: VecSet<LinkId>,
    /// Times the end was put off because this node doubted itself.
    pub(crate) extended: u32,
}

impl Burst {
    /// Helpers to ask.
    pub(crate) const HELPERS: usize = 3;

    pub(crate) fn new(now: Time, config: &Config) -> Self {
        Burst {
            started: now,
            deadline: now + config.probe_burst(),
            next_retry: now,
            retries_left: config.probe_retries(),
            verdicts: BTreeMap::new(),
            asked: BTreeSet::new(),
            questioners: VecSet::new(),
            extended: 0,
        }
    }

    /// Whether to ask the suspect once more now.
    pub(crate) fn retry_due(&mut self, now: Time, config: &Config) -> bool {
        if self.retries_left == 0 || now < self.next_retry {
            return false;
        }
        self.retries_left -= 1;
        self.next_retry = now + config.probe_burst() / config.probe_retries();
        true
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// Puts the end off by one more burst, with its retries.
    pub(crate) fn extend(&mut self, now: Time, config: &Config) {
        self.extended += 1;
        self.deadline = now + config.probe_burst();
        self.next_retry = now;
        self.retries_left = config.probe_retries();
    }

    pub(crate) fn deadline(&self) -> Time {
        if self.retries_left > 0 { self.next_retry.min(self.deadline) } else { self.deadline }
    }

    pub(crate) fn postpone(&mut self, by: Duration) {
        self.deadline += by;
        self.next_retry += by;
    }
}
