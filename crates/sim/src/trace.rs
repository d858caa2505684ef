//! The trace hash: one hash over all inputs of a run.

use rumormill_proto::Time;

use crate::node::NodeId;

/// Kind of a step. The numbers are part of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Start = 1,
    LinkUp = 2,
    LinkDown = 3,
    DialFailed = 4,
    Frame = 5,
    Stored = 6,
    Timeout = 7,
    Command = 8,
    Stop = 9,
    WallClock = 10,
    Congested = 11,
    Consumed = 12,
}

/// A running hash over all steps.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    /// Rows that are not hashed yet; hashing many rows at once is several times as fast.
    rows: Vec<u8>,
    steps: u64,
}

/// Bytes to hash at once.
const ROWS: usize = 16 * 1024;

impl Trace {
    /// Adds a step. `number` is the frame type for frames, otherwise the number of the link, dial,
    /// ticket or message.
    pub(crate) fn step(&mut self, at: Time, node: NodeId, step: Step, number: u64) {
        let mut row = [0u8; 21];
        row[..8].copy_from_slice(&at.as_micros().to_le_bytes());
        row[8..12].copy_from_slice(&node.0.to_le_bytes());
        row[12] = step as u8;
        row[13..].copy_from_slice(&number.to_le_bytes());
        self.rows.extend_from_slice(&row);
        if self.rows.len() >= ROWS {
            self.hasher.update(&self.rows);
            self.rows.clear();
        }
        self.steps += 1;
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.clone().update(&self.rows).finalize().as_bytes()
    }

    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }
}
