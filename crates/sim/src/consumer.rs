//! A program that a peer delivers to and that acknowledges later what it was given, as one that writes a
//! file does: message by message, so that it may have come to the middle of a batch when its process ends.

use std::collections::BTreeMap;

use rumormill_proto::{DeliveredMark, StreamId};

/// How far the consumer of a peer has come.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// What it was given and has not acknowledged: the first number of the last batch, and the number after the
    /// last one.
    given: BTreeMap<StreamId, (u64, u64)>,
    /// What it has acknowledged, to all processes of the peer.
    acknowledged: BTreeMap<StreamId, u64>,
}

impl Consumer {
    /// It is given messages, or a gap, of a stream: those from `from` on and below `next`. Says whether all before
    /// that was acknowledged.
    pub(crate) fn give(&mut self, stream: StreamId, from: u64, next: u64) -> bool {
        let is_first = self.given.is_empty();
        self.given.insert(stream, (from, next));
        is_first
    }

    /// It acknowledges what it was given: everything of a stream, or, where the last batch has several messages,
    /// half of them, and the rest the next time. Says whether something is left.
    pub(crate) fn acknowledge(&mut self) -> (Vec<DeliveredMark>, bool) {
        let mut now = BTreeMap::new();
        self.given.retain(|stream, (from, next)| {
            let half = *from + (*next - *from) / 2;
            let is_left = half > *from;
            now.insert(*stream, if is_left { half } else { *next });
            *from = *next;
            is_left
        });
        self.acknowledged.extend(&now);
        (marks(&now), !self.given.is_empty())
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
