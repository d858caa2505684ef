//! What is measured, with its options checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::stamp::STAMP_BYTES;
use crate::systems::SystemKind;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// As many messages as the system carries
    Throughput,
    /// Few messages, each timed to its last delivery
    Delay,
    /// No messages
    Idle,
    /// A node is killed, and another one paused
    Detection,
}

impl Work {
    /// Every kind, in the order of the table.
    pub(crate) const ALL: [Work; 4] = [Work::Throughput, Work::Delay, Work::Idle, Work::Detection];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Work::Throughput => "throughput",
            Work::Delay => "delay",
            Work::Idle => "idle",
            Work::Detection => "detection",
        }
    }
}

/// The options that all kinds of work share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) publishers: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// How long messages are published, or how long the idle nodes are measured.
    pub(crate) seconds: f64,
    /// Messages per second, all publishers together, where delays are measured.
    pub(crate) rate: f64,
    /// Messages of each publisher in flight, where throughput is measured.
    pub(crate) window: u64,
    /// How long a failure may take to be detected, in seconds.
    pub(crate) detect_within_s: f64,
}

impl Plan {
    /// Reports options that contradict each other.
    ///
    /// # Errors
    /// There are more publishers than nodes, or the payload is shorter than a stamp.
    pub(crate) fn check(&self) -> Result<()> {
        if self.publishers > self.nodes {
            bail!(
                "--publishers {} is more than --nodes {}; name at most as many publishers as nodes",
                self.publishers,
                self.nodes
            );
        }
        if self.payload < STAMP_BYTES {
            bail!(
                "--payload {} is too short: it carries {STAMP_BYTES} bytes by which a delivery is \
                 recognised and timed",
                self.payload
            );
        }
        Ok(())
    }

    /// The node of each publisher. Publishers are spread evenly over the nodes.
    pub(crate) fn homes(&self) -> Vec<usize> {
        (0..self.publishers).map(|p| p * self.nodes / self.publishers.max(1)).collect()
    }

    /// How long the work lasts.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The number of messages that are published at the rate, at least one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Positive, and small.
    pub(crate) fn messages_at_rate(&self) -> usize {
        ((self.rate * self.seconds).round() as usize).max(1)
    }

    /// The time after which a failure counts as never detected.
    pub(crate) fn detect_within(&self) -> Duration {
        Duration::from_secs_f64(self.detect_within_s)
    }
}

/// One piece of work over one system, for a process of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) system: SystemKind,
    pub(crate) work: Work,
    pub(crate) plan: Plan,
    /// A directory for temporary files.
    pub(crate) scratch: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            nodes: 16,
            publishers: 4,
            payload: 1024,
            seconds: 5.0,
            rate: 20.0,
            window: 256,
            detect_within_s: 30.0,
        }
    }

    #[test]
    fn publishers_are_spread_over_the_nodes() {
        assert_eq!(plan().homes(), [0, 4, 8, 12]);
        assert_eq!(Plan { nodes: 3, publishers: 2, ..plan() }.homes(), [0, 1]);
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert!(plan().check().is_ok());
        let error = |plan: Plan| plan.check().unwrap_err().to_string();
        assert!(error(Plan { publishers: 17, ..plan() }).contains("--publishers 17"));
        assert!(error(Plan { payload: 23, ..plan() }).contains("24 bytes"));
    }

    #[test]
    fn number_of_messages_follows_from_rate_and_time() {
        assert_eq!(plan().messages_at_rate(), 100);
        assert_eq!(Plan { rate: 0.1, ..plan() }.messages_at_rate(), 1);
    }
}
