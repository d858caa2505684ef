//! What of an earlier life of this node is taken up, and what is made durable for the next one.
//!
//! With the batches a node keeps how far it delivered each publisher's messages, so that the next
//! life delivers what this one held back, and nothing twice. A batch and the marks that its arrival
//! moved are one request, so they become durable together: what is delivered again after a crash is
//! what the disk had not heard of, and no message is left out. A driver with a consumer says how far
//! that one has come, and only that is durable: then what is delivered again is what the consumer had
//! not dealt with.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Broadcast, Kept, MessageStore, name};
use crate::batch::Batch;
use crate::context::Context;
use crate::identity::PeerId;
use crate::io::{DeliveredMark, StoreOp};
use crate::limits::MAX_PUBLISHERS;
use crate::message::{Delivery, StreamId};
use crate::time::Time;

impl Broadcast {
    /// The marks that have moved, to be made durable.
    pub(crate) fn moved_marks(&mut self) -> impl Iterator<Item = StoreOp> + use<> {
        let mark = |(stream, to): (StreamId, Option<u64>)| match to {
            Some(to) => {
                let StreamId { publisher, epoch } = stream;
                StoreOp::Delivered(DeliveredMark { publisher, epoch, to })
            }
            None => StoreOp::Forget(stream),
        };
        let over = |(publisher, epoch): (PeerId, Option<u64>)| match epoch {
            Some(epoch) => StoreOp::Compacted(StreamId { publisher, epoch }),
            None => StoreOp::RemoveCompacted(publisher),
        };
        let list = &mut self.store.list;
        let over: Vec<StoreOp> = list.take_over_moved().into_iter().map(over).collect();
        list.take_moved().into_iter().map(mark).chain(over)
    }

    /// The consumer has come so far: that becomes durable, of streams that are still followed.
    pub(crate) fn on_consumed(&mut self, cx: &mut Context<'_>, marks: &[DeliveredMark]) {
        for m in marks {
            self.store.list.set_consumed(m.stream(), m.to);
        }
        self.store_marks(cx);
    }

    /// Makes durable what has moved without a batch: what was given up, or came out from behind it.
    pub(crate) fn store_marks(&mut self, cx: &mut Context<'_>) -> bool {
        let ops: Vec<StoreOp> = self.moved_marks().collect();
        let some = !ops.is_empty();
        if some {
            cx.fx.store(ops);
        }
        some
    }

    /// Goes on where an earlier life ended.
    pub(crate) fn resume(&mut self, cx: &mut Context<'_>, dropped: &[Batch]) {
        if !dropped.is_empty() {
            // The bounds are narrower than they were.
            cx.fx.store(dropped.iter().map(|b| StoreOp::RemoveBatch(name(b))).collect());
        }
        let streams: Vec<StreamId> = self.store.list.iter().map(|(s, _)| *s).collect();
        for stream in streams {
            self.look_for_beginning(cx, stream);
            self.deliver(cx, stream);
        }
    }
}

/// Takes up what an earlier life delivered and kept. Says what it delivered of what is kept, in the
/// order of its deliveries, and what is kept no more.
pub(crate) fn restore(
    store: &mut MessageStore,
    (compacted, marks): (&[StreamId], &[DeliveredMark]),
    kept: &[Batch],
    now: Time,
) -> (Vec<Delivery>, Vec<Batch>) {
    for stream in compacted {
        store.list.resume_over(*stream);
    }
    for m in marks.iter().take(MAX_PUBLISHERS) {
        store.list.resume(m.stream(), m.to);
    }
    let dropped = kept.iter().flat_map(|batch| store.restore(batch, now)).collect();
    for batch in kept {
        // What waits for an earlier stream goes on waiting.
        let waits = store.list.get(batch.stream()).is_some_and(|seen| seen.delivered() == 0);
        if let Some((previous, end)) = named_before(batch).filter(|_| waits)
            && store.list.is_owed(previous)
        {
            store.list.expect(previous, end);
        }
    }
    let mut delivered = Vec::new();
    // When the latest of a publisher's batches so far had come: then it was delivered at the
    // earliest.
    let mut latest: BTreeMap<PeerId, u64> = BTreeMap::new();
    let streams: Vec<(StreamId, u64)> =
        store.list.iter().map(|(s, seen)| (*s, seen.delivered())).collect();
    for (stream, mark) in streams {
        let latest = latest.entry(stream.publisher).or_default();
        let (mut floor, mut end) = (0, 0);
        for k in store.kept.range(stream, 0, mark) {
            if end < k.batch.first() {
                floor = k.batch.first();
            }
            // Of the last one, the consumer may have dealt with a part.
            end = k.batch.end().min(mark).max(end);
            *latest = k.arrival().max(*latest);
            delivered.push((*latest, delivery(k, end)));
        }
        if end == mark {
            store.list.lower_floor(stream, floor);
        }
    }
    delivered.sort_by_key(|(at, _)| *at);
    (delivered.into_iter().map(|(_, d)| d).collect(), dropped)
}

/// The stream that a batch names as the one before its own, and the end of that.
pub(crate) fn named_before(batch: &Batch) -> Option<(StreamId, u64)> {
    let previous = batch.previous()?;
    let stream = StreamId { publisher: batch.publisher(), epoch: previous.epoch };
    Some((stream, previous.next))
}

fn delivery(k: &Kept, to: u64) -> Delivery {
    Delivery {
        age: Duration::MAX,
        batch: k.batch.clone(),
        from: k.batch.first(),
        to,
        neighbour: None,
        hops: k.hops,
        received_at: k.received_at,
    }
}

#[cfg(test)]
mod tests {
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

    fn peer(config: Config, delivered: Vec<DeliveredMark>, kept: Vec<Batch>) -> Peer {
        let setup = PeerSetup { config: config.into(), kept, delivered, ..example_setup() };
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

    /// What is delivered and told, and what becomes durable.
    fn drained(peer: &mut Peer) -> (String, Vec<String>) {
        let (mut words, mut stored) = (Vec::new(), Vec::new());
        while let Some(output) = peer.poll_output() {
            match output {
                Output::Deliver(d) => words.push(span(&d)),
                Output::Event(Event::Gap { epoch, from, to, .. }) => {
                    words.push(format!("({epoch}:{from}-{to})"));
                }
                Output::Store { ops, .. } => {
                    let op = |op: &StoreOp| match op {
                        StoreOp::PutBatch(b) => Some(format!("+{}", b.first())),
                        StoreOp::RemoveBatch(id) => Some(format!("-{}", id.sequence)),
                        StoreOp::Delivered(m) => Some(format!("{}<{}", m.epoch, m.to)),
                        _ => None,
                    };
                    stored.push(ops.iter().filter_map(op).collect::<Vec<_>>().join(" "));
                }
                _ => {}
            }
        }
        (words.join(" "), stored)
    }

    const ARRIVAL: Arrival =
        Arrival { hops: 1, from: None, explores: false, receipt: false, pulled: false, age_ms: 0 };

    fn restored(peer: &mut Peer) -> String {
        peer.take_restored().iter().map(span).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_held_back_waits_for_what_is_missing() {
        let mut p = peer(lan(), vec![mark(1, 1, 5)], vec![batch(1, 1, 7, 2)]);
        assert_eq!((restored(&mut p).as_str(), drained(&mut p).0.as_str()), ("", ""));
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!((seen.delivered(), seen.gaps(), seen.floor()), (5, vec![(5, 7)], 5));
        // Whoever has it is asked for it; in the end it is given up, and told in its place.
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
    fn what_was_delivered_is_not_delivered_again() {
        let kept = vec![batch(1, 1, 3, 2), batch(1, 1, 7, 2), batch(1, 1, 5, 2)];
        let mut p = peer(lan(), vec![mark(1, 1, 9)], kept);
        assert_eq!(restored(&mut p), "1:3-5 1:5-7 1:7-9");
        assert_eq!(drained(&mut p).0, "");
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!((seen.high_water(), seen.floor()), (9, 3));
    }

    #[test]
    fn what_was_durable_before_its_mark_is_delivered() {
        let kept = vec![batch(1, 1, 0, 2), batch(1, 1, 2, 2), batch(1, 2, 0, 1)];
        let mut p = peer(lan(), vec![mark(1, 1, 2)], kept);
        assert_eq!(restored(&mut p), "1:0-2");
        let (words, stored) = drained(&mut p);
        assert_eq!(words, "1:2-4 2:0-1");
        assert_eq!(stored, ["1<4 2<1"], "one request for all that moved");
    }

    #[test]
    fn batch_that_the_consumer_has_dealt_with_in_part_is_kept_and_given_in_two_parts() {
        let kept = vec![batch(1, 1, 0, 5), batch(1, 1, 5, 5)];
        let mut p = peer(lan(), vec![mark(1, 1, 7)], kept);
        assert_eq!(restored(&mut p), "1:0-5 1:5-7");
        assert_eq!(drained(&mut p).0, "1:7-10");
        let seen =
            p.with_broadcast(|b, _| b.store.list.get(mark(1, 1, 0).stream()).unwrap().clone());
        assert_eq!(
            (seen.high_water(), seen.floor()),
            (10, 0),
            "others can have all of it from here"
        );
    }

    #[test]
    fn what_an_earlier_life_delivered_comes_in_the_order_of_its_deliveries() {
        let kept = vec![batch(2, 1, 0, 1), batch(1, 1, 1, 1), batch(2, 1, 1, 1), batch(1, 1, 0, 1)];
        let marks = vec![mark(1, 1, 2), mark(2, 1, 2)];
        let mut p = peer(lan(), marks, kept);
        let of: Vec<(bool, u64)> = p
            .take_restored()
            .iter()
            .map(|d| (d.batch.publisher() == publisher(1).id(), d.from))
            .collect();
        assert_eq!(of, [(false, 0), (false, 1), (true, 0), (true, 1)]);
    }

    #[test]
    fn a_mark_becomes_durable_with_the_batch_that_moved_it() {
        let mut p = peer(lan(), vec![mark(1, 1, 2)], vec![]);
        let arrival = ARRIVAL;
        take_in(&mut p, &batch(1, 1, 2, 3), arrival);
        take_in(&mut p, &batch(1, 1, 6, 1), arrival);
        take_in(&mut p, &batch(1, 1, 2, 3), arrival);
        let again: Vec<u32> = p.held_messages(9, None).iter().map(|m| m.duplicates).collect();
        assert_eq!(again, [1, 1, 1, 0], "and each copy too many is counted");
        let (words, stored) = drained(&mut p);
        assert_eq!((words.as_str(), stored), ("1:2-5", vec!["+2 1<5".into(), "+6".into()]));
    }

    #[test]
    fn durable_mark_follows_the_consumer() {
        let mut p = peer(lan(), vec![mark(1, 1, 2)], vec![batch(1, 1, 2, 3)]);
        p.follow_consumer();
        let consumed = |p: &mut Peer, to| {
            p.handle(Time::ZERO, Input::Consumed { marks: vec![mark(1, 1, to), mark(2, 1, 9)] });
            drained(p).1
        };
        let (words, stored) = drained(&mut p);
        assert_eq!(
            (words.as_str(), stored),
            ("1:2-5", vec![]),
            "delivered, and nothing is durable"
        );
        assert_eq!(consumed(&mut p, 4), ["1<4"], "an unknown stream has no mark");
        assert_eq!(consumed(&mut p, 99), Vec::<String>::new(), "no more than was delivered");
        assert_eq!(consumed(&mut p, 5), ["1<5"]);
    }

    #[test]
    fn peer_that_leaves_says_that_nobody_has_what_its_earlier_process_published() {
        let me = example_setup().identity;
        let id = MessageId { publisher: me.id(), epoch: 1, sequence: 0 };
        let mut b = BatchBuilder::new(id, WallTime(0));
        b.push(WallTime(0), "", b"x");
        let seeds = [SeedAddress { host_port: "seed:7000".to_owned(), pin: None }];
        let kept = vec![b.seal(&me)];
        let setup = PeerSetup { kept, seeds: seeds.into(), incarnation: 2, ..example_setup() };
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

    /// Only neighbours say that there is more of the stream: the next process waits for it anew.
    #[test]
    fn end_on_the_word_of_neighbours_is_not_durable() {
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
            p.with_broadcast(|b, cx| b.store_marks(cx));
            let (words, stored) = drained(&mut p);
            assert_eq!(words, "(1:5-9)");
            assert!(["", "1<5"].contains(&stored.concat().as_str()), "{stored:?}");
            let stored = consumed(&mut p, 9);
            assert!(["", "1<5"].contains(&stored.as_str()), "{stored:?}");
            take_in(&mut p, &batch(1, 1, 6, 1), ARRIVAL);
            let (words, stored) = drained(&mut p);
            assert_eq!(words, "1:6-7", "it was wrong");
            let before = if follows_consumer { "1<6" } else { "1<7" };
            assert_eq!(stored, [format!("+6 {before}")], "what is before it is a gap for certain");
            assert_eq!(consumed(&mut p, 7), if follows_consumer { "1<7" } else { "" });
        }
    }

    #[test]
    fn narrower_bounds_let_go_of_what_is_too_much() {
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
        assert_eq!((seen.delivered(), seen.floor()), (4, 2));
    }
}
