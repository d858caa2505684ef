//! A node's virtual disk: what it asked to store and what is safe, in the types of the protocol.

use core::time::Duration;
use std::collections::BTreeMap;

use rumormill_proto::registry::Entry;
use rumormill_proto::{
    Batch, DeliveredMark, MessageId, PeerId, SignedRecord, StoreOp, StreamId, Time,
};

/// What survives a crash of the node.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The peer's last incarnation.
    pub incarnation: Option<u64>,
    /// Peers to try first after a restart.
    pub anchors: Vec<SignedRecord>,
    /// Batches kept, by order of arrival.
    batches: BTreeMap<u64, Batch>,
    arrival: BTreeMap<MessageId, u64>,
    arrivals: u64,
    /// How far each stream was delivered.
    marks: BTreeMap<StreamId, u64>,
    /// The epoch of each publisher up to which its streams are over.
    compacted: BTreeMap<PeerId, u64>,
    /// The registry of a seed.
    pub entries: BTreeMap<PeerId, Entry>,
    /// The nonce for target degrees.
    pub nonce: Option<[u8; 16]>,
}

impl Disk {
    /// Batches kept, oldest arrival first.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    /// How far each publisher's messages were delivered.
    pub fn marks(&self) -> impl Iterator<Item = DeliveredMark> {
        let mark = |(&StreamId { publisher, epoch }, &to)| DeliveredMark { publisher, epoch, to };
        self.marks.iter().map(mark)
    }

    /// Streams up to which all of their publisher are over.
    pub fn compacted(&self) -> impl Iterator<Item = StreamId> {
        self.compacted.iter().map(|(&publisher, &epoch)| StreamId { publisher, epoch })
    }

    /// How far the streams of a publisher are known: delivered, or kept.
    pub(crate) fn published(&self, publisher: &PeerId) -> Vec<DeliveredMark> {
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

    /// Carries out one request, all of it.
    pub(crate) fn apply(&mut self, ops: Vec<StoreOp>) {
        for op in ops {
            self.apply_one(op);
        }
    }

    fn apply_one(&mut self, op: StoreOp) {
        match op {
            StoreOp::Incarnation(n) => self.incarnation = Some(n),
            StoreOp::Anchors(records) => self.anchors = records,
            StoreOp::PutBatch(batch) => {
                let number = *self.arrival.entry(name(&batch)).or_insert(self.arrivals);
                self.arrivals += 1;
                self.batches.insert(number, batch);
            }
            StoreOp::RemoveBatch(id) => {
                if let Some(number) = self.arrival.remove(&id) {
                    self.batches.remove(&number);
                }
            }
            StoreOp::Delivered(m) => {
                self.marks.insert(m.stream(), m.to);
            }
            StoreOp::Forget(stream) => {
                self.marks.remove(&stream);
            }
            StoreOp::Compacted(stream) => {
                self.compacted.insert(stream.publisher, stream.epoch);
            }
            StoreOp::RemoveCompacted(publisher) => {
                self.compacted.remove(&publisher);
            }
            StoreOp::PutEntry(entry) => {
                self.entries.insert(entry.id(), entry);
            }
            StoreOp::RemoveEntry(id) => {
                self.entries.remove(&id);
            }
            StoreOp::Nonce(nonce) => self.nonce = Some(nonce),
        }
    }
}

/// When a node's disk is done with what it is asked. It commits as the library does: what is asked
/// for while a commit is under way goes into the next one, all of it together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Writer {
    /// The end of the last commit that was begun.
    ends: Time,
    /// Whether another one follows it.
    another: bool,
}

impl Writer {
    /// When a request of now is durable, if a commit takes so long.
    pub(crate) fn commit(&mut self, now: Time, latency: Duration) -> Time {
        if self.another && now >= self.ends {
            self.ends += latency;
            self.another = false;
        }
        if now >= self.ends {
            self.ends = now + latency;
            self.another = false;
            return self.ends;
        }
        self.another = true;
        self.ends + latency
    }

    /// Nothing is done before this time.
    pub(crate) fn stall(&mut self, until: Time) {
        self.ends = self.ends.max(until);
    }
}

/// The first message of a batch names it.
pub(crate) fn name(batch: &Batch) -> MessageId {
    let StreamId { publisher, epoch } = batch.stream();
    MessageId { publisher, epoch, sequence: batch.first() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_commit_goes_into_the_next_one() {
        let (at, took) = (Time::from_micros, Duration::from_micros(10));
        let mut w = Writer::default();
        let done = [0, 1, 9, 10, 19, 20, 45].map(|now| w.commit(at(now), took).as_micros());
        assert_eq!(done, [10, 20, 20, 30, 30, 40, 55]);
        w.stall(at(100));
        assert_eq!(w.commit(at(50), took), at(110));
    }

    #[test]
    fn the_last_value_stands() {
        let mut disk = Disk::default();
        disk.apply(vec![StoreOp::Incarnation(1), StoreOp::Nonce([1; 16])]);
        disk.apply(vec![StoreOp::Incarnation(2)]);
        assert_eq!(disk.incarnation, Some(2));
        assert_eq!(disk.nonce, Some([1; 16]));
        assert_eq!(disk.batches().count(), 0);
    }
}
