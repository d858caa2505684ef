//! State that a restarted node takes over from its earlier processes, and stores for the next one.
//!
//! Beside the retained batches a node stores the delivered marks of each publisher, so that the
//! next process delivers the messages that this one held back, and none twice. A batch and the
//! marks that its arrival has changed are one request, so they become durable together: after a
//! crash, the messages that the disk had not recorded are delivered again, and none is skipped. A
//! driver with a consumer reports how far the consumer is, and only that mark is stored: then
//! messages that the consumer had not processed are delivered again.

use std::collections::BTreeMap;

use super::{Broadcast, MessageStore, batch_id};
use crate::batch::Batch;
use crate::context::Context;
use crate::identity::PeerId;
use crate::io::{DeliveredMark, StoreOp};
use crate::limits::MAX_STREAMS;
use crate::message::{Delivery, StreamId};
use crate::time::Time;

impl Broadcast {
    /// Takes the marks that have changed, as operations of the store.
    pub(crate) fn take_changed_marks(&mut self) -> impl Iterator<Item = StoreOp> + use<> {
        let mark_op = |(stream, to): (StreamId, Option<u64>)| match to {
            Some(to) => {
                let StreamId { publisher, epoch } = stream;
                StoreOp::PutDelivered(DeliveredMark { publisher, epoch, to })
            }
            None => StoreOp::RemoveDelivered(stream),
        };
        let closed_op = |(publisher, epoch): (PeerId, Option<u64>)| match epoch {
            Some(epoch) => StoreOp::PutClosedUpTo(StreamId { publisher, epoch }),
            None => StoreOp::RemoveClosedUpTo(publisher),
        };
        let list = &mut self.store.list;
        let closed: Vec<StoreOp> = list.take_closed_changes().into_iter().map(closed_op).collect();
        list.take_changed_marks().into_iter().map(mark_op).chain(closed)
    }

    /// Records and stores how far the consumer is, for streams that are still followed.
    pub(crate) fn on_consumed(&mut self, cx: &mut Context<'_>, marks: &[DeliveredMark]) {
        for m in marks {
            self.store.list.set_consumed(m.stream(), m.to);
        }
        self.store_changed_marks(cx);
    }

    /// Stores marks that have changed without a new batch: after a gap was given up.
    pub(crate) fn store_changed_marks(&mut self, cx: &mut Context<'_>) -> bool {
        let ops: Vec<StoreOp> = self.take_changed_marks().collect();
        let has_changes = !ops.is_empty();
        if has_changes {
            cx.fx.store(ops);
        }
        has_changes
    }

    /// Continues where an earlier process ended.
    pub(crate) fn resume(&mut self, cx: &mut Context<'_>, evicted: &[Batch]) {
        if !evicted.is_empty() {
            // The bounds are lower than they were.
            cx.fx.store(evicted.iter().map(|b| StoreOp::RemoveBatch(batch_id(b))).collect());
        }
        let streams: Vec<StreamId> = self.store.list.iter().map(|(s, _)| *s).collect();
        for stream in streams {
            self.find_stream_start(cx, stream);
            self.deliver(cx, stream);
        }
    }
}

/// Restores the retained batches and delivered marks of an earlier process. Returns its deliveries
/// of batches that are still retained, in the order of delivery, and the batches that are evicted.
pub(crate) fn restore(
    store: &mut MessageStore,
    (closed_up_to, marks): (&[StreamId], &[DeliveredMark]),
    retained: &[Batch],
    now: Time,
) -> (Vec<Delivery>, Vec<Batch>) {
    for stream in closed_up_to {
        store.list.restore_closed(*stream);
    }
    for m in marks.iter().take(MAX_STREAMS) {
        store.list.resume(m.stream(), m.to);
    }
    let evicted = retained.iter().flat_map(|batch| store.restore(batch, now)).collect();
    for batch in retained {
        // A stream that waited for an earlier one continues to wait.
        let waits = store.list.get(batch.stream()).is_some_and(|seen| seen.delivered() == 0);
        if let Some((previous, end)) = previous_stream_of(batch).filter(|_| waits)
            && store.list.is_followed(previous)
        {
            store.list.expect_up_to(previous, end);
        }
    }
    let mut delivered = Vec::new();
    // The arrival of the latest of a publisher's batches so far: the earliest time of its delivery.
    let mut latest: BTreeMap<PeerId, u64> = BTreeMap::new();
    let streams: Vec<(StreamId, u64)> =
        store.list.iter().map(|(s, seen)| (*s, seen.delivered())).collect();
    for (stream, mark) in streams {
        let latest = latest.entry(stream.publisher).or_default();
        let (mut oldest_retained, mut end) = (0, 0);
        for k in store.retention.range(stream, 0, mark) {
            if end < k.batch.first() {
                oldest_retained = k.batch.first();
            }
            // The consumer may have processed a part of the last batch.
            end = k.batch.end().min(mark).max(end);
            *latest = k.arrival_order().max(*latest);
            delivered.push((*latest, k.clone().delivery(k.batch.first(), end, now)));
        }
        if end == mark {
            store.list.lower_oldest_retained(stream, oldest_retained);
        }
    }
    delivered.sort_by_key(|(at, _)| *at);
    (delivered.into_iter().map(|(_, d)| d).collect(), evicted)
}

/// The previous stream that a batch names, and its end.
pub(crate) fn previous_stream_of(batch: &Batch) -> Option<(StreamId, u64)> {
    let previous = batch.previous()?;
    let stream = StreamId { publisher: batch.publisher(), epoch: previous.epoch };
    Some((stream, previous.next))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::batch::BatchBuilder;
    use crate::broadcast::Arrival;
    use crate::config::Config;
    use crate::event::Event;
    use crate::identity::Identity;
    use crate::io::{Input, Output, SeedAddress};
    use crate::message::MessageId;
    use crate::peer::{Peer, PeerSetup, example_setup};
    use crate::time::WallTime;

    fn publisher(n: u8) -> Identity {
        Identity::from_secret(&[n; 32])
    }

    fn batch(n: u8, epoch: u64, first: u64, count: u64) -> Batch {
        let me = publisher(n);
        let id = MessageId { publisher: me.id(), epoch, sequence: first };
        let mut b = BatchBuilder::new(id, WallTime(0));
        for _ in 0..count {
            b.push(WallTime(0), "", b"x");
        }
        b.seal(&me)
    }

    fn mark(n: u8, epoch: u64, to: u64) -> DeliveredMark {
        DeliveredMark { publisher: publisher(n).id(), epoch, to }
    }

    fn peer(config: Config, delivered: Vec<DeliveredMark>, retained: Vec<Batch>) -> Peer {
        let setup = PeerSetup {
            config: config.into(),
            retained,
            delivered_marks: delivered,
            ..example_setup()
        };
        Peer::new(setup, Time::ZERO)
    }

    fn take_in(peer: &mut Peer, batch: &Batch, arrival: Arrival) {
        peer.with_broadcast(|b, cx| b.receive(cx, batch, arrival));
    }

    fn lan() -> Config {
        Config::lan().build().unwrap()
    }

    fn span(d: &Delivery) -> String {
        format!("{}:{}-{}", d.batch.epoch(), d.from, d.to)
    }

    /// The deliveries and gaps, and the operations of the store.
    fn drained(peer: &mut Peer) -> (String, Vec<String>) {
        let (mut deliveries, mut stored) = (Vec::new(), Vec::new());
        while let Some(output) = peer.poll_output() {
            match output {
                Output::Deliver(d) => deliveries.push(span(&d)),
                Output::Event(Event::Gap { epoch, from, to, .. }) => {
                    deliveries.push(format!("({epoch}:{from}-{to})"));
                }
                Output::Store { ops, .. } => {
                    let op = |op: &StoreOp| match op {
                        StoreOp::PutBatch(b) => Some(format!("+{}", b.first())),
                        StoreOp::RemoveBatch(id) => Some(format!("-{}", id.sequence)),
                        StoreOp::PutDelivered(m) => Some(format!("{}<{}", m.epoch, m.to)),
                        _ => None,
                    };
                    stored.push(ops.iter().filter_map(op).collect::<Vec<_>>().join(" "));
                }
                _ => {}
            }
        }
        (deliveries.join(" "), stored)
    }

    const ARRIVAL: Arrival =
        Arrival { hops: 1, from: None, explores: false, receipt: false, pulled: false, age_ms: 0 };

    fn restored(peer: &mut Peer) -> String {
        peer.take_restored().iter().map(span).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn held_back_messages_wait_for_missing_ones_after_a_restart() {
        let mut p = peer(lan(), vec![mark(1, 1, 5)], vec![batch(1, 1, 7, 2)]);
        assert_eq!((restored(&mut p).as_str(), drained(&mut p).0.as_str()), ("", ""));
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!((seen.delivered(), seen.gaps(), seen.oldest_available()), (5, vec![(5, 7)], 5));
        // The range is pulled; in the end it is given up, and reported in its place.
        let mut told = String::new();
        while told.is_empty() {
            let at = p.poll_timeout().unwrap();
            assert!(at < Time::from_micros(240_000_000));
            p.handle(at, Input::Timeout);
            told = drained(&mut p).0;
        }
        assert_eq!(told, "(1:5-7) 1:7-9");
    }

    #[test]
    fn delivered_messages_are_not_delivered_again_after_a_restart() {
        let retained = vec![batch(1, 1, 3, 2), batch(1, 1, 7, 2), batch(1, 1, 5, 2)];
        let mut p = peer(lan(), vec![mark(1, 1, 9)], retained);
        assert_eq!(restored(&mut p), "1:3-5 1:5-7 1:7-9");
        assert_eq!(drained(&mut p).0, "");
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!((seen.high_water(), seen.oldest_available()), (9, 3));
    }

    #[test]
    fn messages_stored_before_their_mark_are_delivered_after_a_restart() {
        let retained = vec![batch(1, 1, 0, 2), batch(1, 1, 2, 2), batch(1, 2, 0, 1)];
        let mut p = peer(lan(), vec![mark(1, 1, 2)], retained);
        assert_eq!(restored(&mut p), "1:0-2");
        let (deliveries, stored) = drained(&mut p);
        assert_eq!(deliveries, "1:2-4 2:0-1");
        assert_eq!(stored, ["1<4 2<1"], "one request for all changed marks");
    }

    #[test]
    fn batch_that_the_consumer_has_processed_in_part_is_delivered_in_two_parts() {
        let retained = vec![batch(1, 1, 0, 5), batch(1, 1, 5, 5)];
        let mut p = peer(lan(), vec![mark(1, 1, 7)], retained);
        assert_eq!(restored(&mut p), "1:0-5 1:5-7");
        assert_eq!(drained(&mut p).0, "1:7-10");
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!(
            (seen.high_water(), seen.oldest_available()),
            (10, 0),
            "all of it is available from here"
        );
    }

    #[test]
    fn deliveries_of_an_earlier_process_are_restored_in_their_order() {
        let retained =
            vec![batch(2, 1, 0, 1), batch(1, 1, 1, 1), batch(2, 1, 1, 1), batch(1, 1, 0, 1)];
        let marks = vec![mark(1, 1, 2), mark(2, 1, 2)];
        let mut p = peer(lan(), marks, retained);
        let of: Vec<(bool, u64)> = p
            .take_restored()
            .iter()
            .map(|d| (d.batch.publisher() == publisher(1).id(), d.from))
            .collect();
        assert_eq!(of, [(false, 0), (false, 1), (true, 0), (true, 1)]);
    }

    #[test]
    fn mark_is_stored_with_the_batch_that_changed_it() {
        let mut p = peer(lan(), vec![mark(1, 1, 2)], vec![]);
        let arrival = ARRIVAL;
        take_in(&mut p, &batch(1, 1, 2, 3), arrival);
        take_in(&mut p, &batch(1, 1, 6, 1), arrival);
        take_in(&mut p, &batch(1, 1, 2, 3), arrival);
        let again: Vec<u32> = p.retained_messages(9, None).iter().map(|m| m.duplicates).collect();
        assert_eq!(again, [1, 1, 1, 0], "and each duplicate is counted");
        let (deliveries, stored) = drained(&mut p);
        assert_eq!((deliveries.as_str(), stored), ("1:2-5", vec!["+2 1<5".into(), "+6".into()]));
    }

    #[test]
    fn stored_mark_follows_the_consumer() {
        let mut p = peer(lan(), vec![mark(1, 1, 2)], vec![batch(1, 1, 2, 3)]);
        p.follow_consumer();
        let consumed = |p: &mut Peer, to| {
            p.handle(Time::ZERO, Input::Consumed { marks: vec![mark(1, 1, to), mark(2, 1, 9)] });
            drained(p).1
        };
        let (deliveries, stored) = drained(&mut p);
        assert_eq!(
            (deliveries.as_str(), stored),
            ("1:2-5", vec![]),
            "delivered, but no mark is stored"
        );
        assert_eq!(consumed(&mut p, 4), ["1<4"], "an unknown stream has no mark");
        assert_eq!(consumed(&mut p, 99), Vec::<String>::new(), "no more than was delivered");
        assert_eq!(consumed(&mut p, 5), ["1<5"]);
    }

    #[test]
    fn leaving_peer_reports_that_no_other_node_has_the_stream_of_its_earlier_process() {
        let me = example_setup().identity;
        let id = MessageId { publisher: me.id(), epoch: 1, sequence: 0 };
        let mut b = BatchBuilder::new(id, WallTime(0));
        b.push(WallTime(0), "", b"x");
        let seeds = [SeedAddress { host_port: "seed:7000".to_owned(), pin: None }];
        let retained = vec![b.seal(&me)];
        let setup = PeerSetup { retained, seeds: seeds.into(), incarnation: 2, ..example_setup() };
        let mut p = Peer::new(setup, Time::ZERO);
        p.leave(Time::ZERO, Duration::from_secs(1));
        let mut told = None;
        while told.is_none() {
            while let Some(output) = p.poll_output() {
                if let Output::Event(Event::LeftUnconfirmed { from, to, earlier, .. }) = output {
                    told = Some((from, to, earlier));
                }
            }
            let Some(at) = p.poll_timeout() else { break };
            p.handle(at, Input::Timeout);
        }
        assert_eq!(told, Some((0, 0, 1)));
    }

    /// Only neighbours claim that there is more of the stream: the next process waits for it again.
    #[test]
    fn end_claimed_by_neighbours_is_not_stored() {
        for follows_consumer in [false, true] {
            let mut p = peer(lan(), vec![mark(1, 1, 5)], vec![]);
            if follows_consumer {
                p.follow_consumer();
            }
            let consumed = |p: &mut Peer, to| {
                p.handle(Time::ZERO, Input::Consumed { marks: vec![mark(1, 1, to)] });
                drained(p).1.concat()
            };
            let stream = mark(1, 1, 0).stream();
            p.with_broadcast(|b, cx| {
                b.store.give_up(stream, 5, 9);
                b.deliver(cx, stream);
            });
            p.with_broadcast(Broadcast::store_changed_marks);
            let (deliveries, stored) = drained(&mut p);
            assert_eq!(deliveries, "(1:5-9)");
            assert!(["", "1<5"].contains(&stored.concat().as_str()), "{stored:?}");
            let stored = consumed(&mut p, 9);
            assert!(["", "1<5"].contains(&stored.as_str()), "{stored:?}");
            take_in(&mut p, &batch(1, 1, 6, 1), ARRIVAL);
            let (deliveries, stored) = drained(&mut p);
            assert_eq!(deliveries, "1:6-7", "the claim was wrong");
            let before = if follows_consumer { "1<6" } else { "1<7" };
            assert_eq!(stored, [format!("+6 {before}")], "the range before it is a certain gap");
            assert_eq!(consumed(&mut p, 7), if follows_consumer { "1<7" } else { "" });
        }
    }

    #[test]
    fn lower_bounds_evict_batches_after_a_restart() {
        let config = Config::lan().retention_bytes(1 << 20).build().unwrap();
        let big = |first: u64| {
            let me = publisher(1);
            let id = MessageId { publisher: me.id(), epoch: 1, sequence: first };
            let mut b = BatchBuilder::new(id, WallTime(0));
            b.push(WallTime(0), "", &vec![0; 400_000]);
            b.seal(&me)
        };
        let mut p = peer(config, vec![mark(1, 1, 4)], (0..4).map(big).collect());
        assert_eq!(restored(&mut p), "1:2-3 1:3-4");
        assert_eq!(drained(&mut p).1, ["-0 -1"]);
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!((seen.delivered(), seen.oldest_available()), (4, 2));
    }
}
