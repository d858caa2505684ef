//! The last efforts to get a sign of life from a suspect: retries, and indirect probes.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_QUESTIONERS;
use crate::small::VecSet;
use crate::time::Time;
use crate::wire::Verdict;

/// A probe of one suspect that is under way.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) started: Time,
    /// What the suspect has to repeat: an answer to anything older is no evidence.
    pub(crate) nonce: u64,
    length: Duration,
    deadline: Time,
    next_retry: Time,
    retries_left: u32,
    /// What the suspect's other neighbours said.
    pub(crate) verdicts: BTreeMap<PeerId, Verdict>,
    /// The neighbours of the suspect that were asked.
    pub(crate) asked: BTreeSet<PeerId>,
    /// Links on which other nodes wait for the outcome.
    pub(crate) questioners: VecSet<LinkId>,
    /// Times the end was put off because this node doubted itself.
    pub(crate) extended: u32,
}

impl Probe {
    /// Other neighbours of the suspect that are asked.
    pub(crate) const HELPERS: usize = 3;

    /// A probe that begins now and takes `length`. The nonce is fresh.
    pub(crate) fn new(now: Time, nonce: u64, length: Duration, config: &Config) -> Self {
        Probe {
            started: now,
            nonce,
            length,
            deadline: now + length,
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
        self.next_retry = now + self.length / config.probe_retries();
        true
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// Puts the end off by one more length, with its retries.
    pub(crate) fn extend(&mut self, now: Time, config: &Config) {
        self.extended += 1;
        self.deadline = now + self.length;
        self.next_retry = now;
        self.retries_left = config.probe_retries();
    }

    /// Another node asks about the suspect: the suspect has to answer a probe of after that. `false` if
    /// too many have asked to be answered.
    pub(crate) fn question(&mut self, now: Time, by: LinkId) -> bool {
        if self.questioners.contains(&by) {
            return true;
        }
        if self.questioners.len() >= MAX_QUESTIONERS {
            return false;
        }
        self.questioners.insert(by);
        self.nonce = self.nonce.wrapping_add(1);
        self.next_retry = now;
        self.retries_left = self.retries_left.max(1);
        true
    }

    pub(crate) fn deadline(&self) -> Time {
        if self.retries_left > 0 { self.next_retry.min(self.deadline) } else { self.deadline }
    }

    pub(crate) fn postpone(&mut self, by: Duration) {
        self.deadline += by;
        self.next_retry += by;
    }
}
