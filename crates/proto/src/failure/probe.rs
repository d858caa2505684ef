//! A probe of a suspect: retries, and indirect probes.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_INDIRECT_PROBES;
use crate::small::VecSet;
use crate::time::Time;
use crate::wire::Verdict;

/// A running probe of one suspect.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) started: Time,
    /// The suspect has to repeat it: an answer to an older probe is no evidence.
    pub(crate) nonce: u64,
    length: Duration,
    deadline: Time,
    next_retry: Time,
    retries_left: u32,
    /// The answers of the suspect's other neighbours.
    pub(crate) verdicts: BTreeMap<PeerId, Verdict>,
    /// The neighbours of the suspect that were asked.
    pub(crate) helpers: BTreeSet<PeerId>,
    /// Links on which other nodes wait for the outcome.
    pub(crate) requesters: VecSet<LinkId>,
    /// How often the end was postponed because this node doubted its own view.
    pub(crate) extensions: u32,
}

impl Probe {
    /// Number of other neighbours of the suspect that are asked.
    pub(crate) const HELPERS: usize = 3;

    /// A probe that begins now and takes `length`. The nonce is new.
    pub(crate) fn new(now: Time, nonce: u64, length: Duration, config: &Config) -> Self {
        Probe {
            started: now,
            nonce,
            length,
            deadline: now + length,
            next_retry: now,
            retries_left: config.probe_retries(),
            verdicts: BTreeMap::new(),
            helpers: BTreeSet::new(),
            requesters: VecSet::new(),
            extensions: 0,
        }
    }

    /// Takes a retry, if one is due now.
    pub(crate) fn retry_due(&mut self, now: Time, config: &Config) -> bool {
        if self.retries_left == 0 || now < self.next_retry {
            return false;
        }
        self.retries_left -= 1;
        self.next_retry = now + self.length / config.probe_retries();
        true
    }

    /// Whether the time is up.
    pub(crate) fn is_finished(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// Postpones the end by one more length, with its retries.
    pub(crate) fn extend(&mut self, now: Time, config: &Config) {
        self.extensions += 1;
        self.deadline = now + self.length;
        self.next_retry = now;
        self.retries_left = config.probe_retries();
    }

    /// Adds the question of another node: the suspect has to answer a probe sent after it. Returns
    /// `false` if too many nodes ask.
    pub(crate) fn add_indirect_probe(&mut self, now: Time, by: LinkId) -> bool {
        if self.requesters.contains(&by) {
            return true;
        }
        if self.requesters.len() >= MAX_INDIRECT_PROBES {
            return false;
        }
        self.requesters.insert(by);
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
