//! The virtual disk of a node: its durable content, and when a write becomes durable.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::registry::Entry;
use rumormill_proto::{
    Batch, DeliveredMark, MessageId, PeerId, SignedRecord, StoreOp, StreamId, Time,
};

/// The content of a node's disk. It survives a crash of the process.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The peer's last incarnation.
    pub incarnation: Option<u64>,
    /// Anchors: peers to dial first after a restart.
    pub anchors: Vec<SignedRecord>,
    /// Stored batches, by order of arrival.
    batches: BTreeMap<u64, Batch>,
    arrival: BTreeMap<MessageId, u64>,
    arrivals: u64,
    /// Delivery mark of each stream: the sequence number after the last delivered one.
    marks: BTreeMap<StreamId, u64>,
    /// The epoch of each publisher up to which its streams have ended.
    closed_up_to: BTreeMap<PeerId, u64>,
    /// The registry of a seed.
    pub entries: BTreeMap<PeerId, Entry>,
    /// The nonce from which target degrees are drawn.
    pub nonce: Option<[u8; 16]>,
}

impl Disk {
    /// Stored batches, in order of arrival.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    /// The delivery mark of each stream.
    pub fn marks(&self) -> impl Iterator<Item = DeliveredMark> {
        let mark = |(&StreamId { publisher, epoch }, &to)| DeliveredMark { publisher, epoch, to };
        self.marks.iter().map(mark)
    }

    /// For each publisher the last of its streams that has ended; all earlier ones have ended too.
    pub fn closed_up_to(&self) -> impl Iterator<Item = StreamId> {
        self.closed_up_to.iter().map(|(&publisher, &epoch)| StreamId { publisher, epoch })
    }

    /// The end of each known stream of a publisher: the highest of its delivery mark and the ends
    /// of its stored batches.
    pub(crate) fn stream_ends(&self, publisher: &PeerId) -> Vec<DeliveredMark> {
        let kept = self.batches.values().map(|b| (b.stream(), b.end()));
        let marks = self.marks.iter().map(|(stream, to)| (*stream, *to));
        let mut ends: BTreeMap<StreamId, u64> = BTreeMap::new();
        for (stream, end) in kept.chain(marks).filter(|(s, _)| s.publisher == *publisher) {
            let known = ends.entry(stream).or_default();
            *known = end.max(*known);
        }
        let mark = |(StreamId { publisher, epoch }, to)| DeliveredMark { publisher, epoch, to };
        ends.into_iter().map(mark).collect()
    }

    /// Applies all operations of one write request.
    pub(crate) fn apply(&mut self, ops: Vec<StoreOp>) {
        for op in ops {
            self.apply_one(op);
        }
    }

    fn apply_one(&mut self, op: StoreOp) {
        match op {
            StoreOp::PutIncarnation(n) => self.incarnation = Some(n),
            StoreOp::PutAnchors(records) => self.anchors = records,
            StoreOp::PutBatch(batch) => {
                let number = *self.arrival.entry(batch_id(&batch)).or_insert(self.arrivals);
                self.arrivals += 1;
                self.batches.insert(number, batch);
            }
            StoreOp::RemoveBatch(id) => {
                if let Some(number) = self.arrival.remove(&id) {
                    self.batches.remove(&number);
                }
            }
            StoreOp::PutDelivered(m) => {
                self.marks.insert(m.stream(), m.to);
            }
            StoreOp::RemoveDelivered(stream) => {
                self.marks.remove(&stream);
            }
            StoreOp::PutClosedUpTo(stream) => {
                self.closed_up_to.insert(stream.publisher, stream.epoch);
            }
            StoreOp::RemoveClosedUpTo(publisher) => {
                self.closed_up_to.remove(&publisher);
            }
            StoreOp::PutEntry(entry) => {
                self.entries.insert(entry.id(), entry);
            }
            StoreOp::RemoveEntry(id) => {
                self.entries.remove(&id);
            }
            StoreOp::PutNonce(nonce) => self.nonce = Some(nonce),
        }
    }
}

/// Computes when a write becomes durable. It groups commits as the library does: all writes that
/// are requested during a commit go into the next commit together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DiskWriter {
    /// The end of the last commit that has begun.
    ends: Time,
    /// Whether writes wait for the commit after it.
    has_next: bool,
}

impl DiskWriter {
    /// The time at which a write requested now is durable, if a commit takes `latency`.
    pub(crate) fn commit(&mut self, now: Time, latency: Duration) -> Time {
        if self.has_next && now >= self.ends {
            self.ends += latency;
            self.has_next = false;
        }
        if now >= self.ends {
            self.ends = now + latency;
            self.has_next = false;
            return self.ends;
        }
        self.has_next = true;
        self.ends + latency
    }

    /// Delays the end of the current commit to `until`.
    pub(crate) fn stall(&mut self, until: Time) {
        self.ends = self.ends.max(until);
    }
}

/// The id of the first message of a batch, which identifies the batch.
pub(crate) fn batch_id(batch: &Batch) -> MessageId {
    let StreamId { publisher, epoch } = batch.stream();
    MessageId { publisher, epoch, sequence: batch.first() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_during_a_commit_share_the_next_commit() {
        let (at, took) = (Time::from_micros, Duration::from_micros(10));
        let mut w = DiskWriter::default();
        let done = [0, 1, 9, 10, 19, 20, 45].map(|now| w.commit(at(now), took).as_micros());
        assert_eq!(done, [10, 20, 20, 30, 30, 40, 55]);
        w.stall(at(100));
        assert_eq!(w.commit(at(50), took), at(110));
    }

    #[test]
    fn later_write_replaces_earlier_value() {
        let mut disk = Disk::default();
        disk.apply(vec![StoreOp::PutIncarnation(1), StoreOp::PutNonce([1; 16])]);
        disk.apply(vec![StoreOp::PutIncarnation(2)]);
        assert_eq!(disk.incarnation, Some(2));
        assert_eq!(disk.nonce, Some([1; 16]));
        assert_eq!(disk.batches().count(), 0);
    }
}
