//! A program that a peer delivers to and that acknowledges later what it was given, as one that writes a
//! file does.

use std::collections::BTreeMap;

use rumormill_proto::{DeliveredMark, StreamId};

/// How far the consumer of a peer has come.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// What it was given and has not acknowledged: the number after the last one.
    given: BTreeMap<StreamId, u64>,
    /// What it has acknowledged, to all processes of the peer.
    acknowledged: BTreeMap<StreamId, u64>,
}

impl Consumer {
    /// It is given messages, or a gap, of a stream, the last one before `next`. Says whether all before that was
    /// acknowledged.
    pub(crate) fn give(&mut self, stream: StreamId, next: u64) -> bool {
        let is_first = self.given.is_empty();
        self.given.insert(stream, next);
        is_first
    }

    /// It acknowledges everything that it was given.
    pub(crate) fn acknowledge(&mut self) -> Vec<DeliveredMark> {
        let given = core::mem::take(&mut self.given);
        self.acknowledged.extend(&given);
        marks(&given)
    }

    /// The process ends, and the consumer with it.
    pub(crate) fn end_process(&mut self) {
        self.given.clear();
    }

    /// Everything that it has acknowledged.
    pub(crate) fn acknowledged(&self) -> Vec<DeliveredMark> {
        marks(&self.acknowledged)
    }
}

fn marks(all: &BTreeMap<StreamId, u64>) -> Vec<DeliveredMark> {
    let mark = |(&StreamId { publisher, epoch }, &to)| DeliveredMark { publisher, epoch, to };
    all.iter().map(mark).collect()
}
