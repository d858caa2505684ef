//! The simulated consumer: an application that acknowledges messages some time after delivery, as
//! a program does that writes them to a file. It acknowledges inside batches, so its process may
//! end in the middle of a batch.

use std::collections::BTreeMap;

use rumormill_proto::{DeliveredMark, StreamId};

/// The progress of a peer's consumer.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// Delivered and not acknowledged, by stream: the first sequence number of the last batch, and
    /// the number after its last one.
    pending: BTreeMap<StreamId, (u64, u64)>,
    /// Acknowledged to any process of the peer, by stream.
    acknowledged: BTreeMap<StreamId, u64>,
}

impl Consumer {
    /// Delivers the sequence numbers `from..next` of a stream, as messages or as a gap. Returns
    /// whether everything before was acknowledged.
    pub(crate) fn deliver(&mut self, stream: StreamId, from: u64, next: u64) -> bool {
        let is_first = self.pending.is_empty();
        self.pending.insert(stream, (from, next));
        is_first
    }

    /// Acknowledges pending deliveries. Of a batch with several messages it acknowledges the first
    /// half now and the rest in the next call. Returns the marks, and whether something is left.
    pub(crate) fn acknowledge(&mut self) -> (Vec<DeliveredMark>, bool) {
        let mut now = BTreeMap::new();
        self.pending.retain(|stream, (from, next)| {
            let half = *from + (*next - *from) / 2;
            let is_left = half > *from;
            now.insert(*stream, if is_left { half } else { *next });
            *from = *next;
            is_left
        });
        self.acknowledged.extend(&now);
        (marks(&now), !self.pending.is_empty())
    }

    /// Ends the consumer together with the process of its peer.
    pub(crate) fn end_process(&mut self) {
        self.pending.clear();
    }

    /// Everything acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<DeliveredMark> {
        marks(&self.acknowledged)
    }
}

fn marks(all: &BTreeMap<StreamId, u64>) -> Vec<DeliveredMark> {
    let mark = |(&StreamId { publisher, epoch }, &to)| DeliveredMark { publisher, epoch, to };
    all.iter().map(mark).collect()
}
