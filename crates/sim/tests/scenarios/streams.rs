//! Streams: messages reach all peers in order, across restarts and refutations of their publisher.

use core::time::Duration;

use rumormill_proto::limits::REMEMBERED_EPOCHS;
use rumormill_proto::{Config, Event, MessageId};
use rumormill_sim::{DiskFate, NodeId, World};

use crate::common::{Net, ms, s, world_config};

/// The messages of a publisher that a node delivered, in order.
fn delivered(w: &World, node: NodeId, publisher: NodeId) -> Vec<MessageId> {
    let publisher = w.id(publisher);
    let to_node = w.deliveries().iter().filter(|a| a.node == node && a.id.publisher == publisher);
    to_node.map(|a| a.id).collect()
}

/// The gaps in a publisher's streams that a node reported.
fn gaps(w: &World, node: NodeId, publisher: NodeId) -> Vec<(u64, u64, u64)> {
    let of = w.id(publisher);
    let gaps = w.events(node).iter().filter_map(|(_, event)| match *event {
        Event::Gap { publisher, epoch, from, to } if publisher == of => Some((epoch, from, to)),
        _ => None,
    });
    gaps.collect()
}

fn publish(net: &mut Net, publisher: NodeId, count: usize) -> Vec<MessageId> {
    (0..count)
        .map(|_| {
            net.world.run_for(ms(5));
            net.world.publish(publisher, "t", b"message").unwrap()
        })
        .collect()
}

/// Checks that every other peer delivers all of these messages in this order, without a gap.
#[track_caller]
fn assert_all_receive_in_order(
    net: &mut Net,
    publisher: NodeId,
    published: &[MessageId],
    limit: Duration,
) {
    let others: Vec<NodeId> = net.peers.iter().copied().filter(|&p| p != publisher).collect();
    let expected = published.len();
    let everywhere = |w: &World| {
        others.iter().all(|&p| {
            let missed: u64 = gaps(w, p, publisher).iter().map(|g| g.2 - g.1).sum();
            delivered(w, p, publisher).len() as u64 + missed >= expected as u64
        })
    };
    let in_time = net.world.run_until(limit, everywhere);
    for &p in &others {
        assert_eq!(gaps(&net.world, p, publisher), [], "gaps of {p}");
        let messages = delivered(&net.world, p, publisher);
        assert_eq!(messages, published, "at {p}, in time: {in_time}");
    }
}

fn all_but(net: &Net, publisher: NodeId) -> Vec<NodeId> {
    let peers = net.peers.iter().copied().filter(|&p| p != publisher);
    net.seeds.iter().copied().chain(peers).collect()
}

#[test]
fn publisher_that_restarts_six_times_behind_a_partition_loses_nothing() {
    let mut net = Net::lan(1, 3, 12);
    let p = net.peer_with_degree(3);
    let others = all_but(&net, p);
    let mut published = publish(&mut net, p, 5);
    net.world.run_for(s(2));
    for _ in 0..6 {
        net.world.partition(&[p], &others);
        published.extend(publish(&mut net, p, 5));
        net.world.run_for(s(1));
        net.world.restart(p, DiskFate::Kept);
    }
    net.world.heal();
    net.world.run_for(s(5));
    published.extend(publish(&mut net, p, 5));
    assert_all_receive_in_order(&mut net, p, &published, s(60));
    net.assert_at_rest_within(s(60));
}

#[test]
fn paused_peer_receives_all_epochs_of_a_publisher_that_restarts_eight_times() {
    let mut net = Net::lan(2, 3, 12);
    let p = net.peer_with_degree(3);
    let paused = *net.peers.iter().find(|&&o| o != p).unwrap();
    let mut published = publish(&mut net, p, 5);
    net.world.run_for(s(2));
    net.world.freeze(paused);
    for _ in 0..8 {
        net.world.restart(p, DiskFate::Kept);
        net.world.run_for(s(1));
        published.extend(publish(&mut net, p, 5));
        net.world.run_for(ms(250));
    }
    net.world.thaw(paused);
    assert_all_receive_in_order(&mut net, p, &published, s(60));
    net.assert_at_rest_within(s(60));
}

#[test]
fn publisher_that_refuted_its_death_continues_its_stream() {
    let mut net = Net::lan(3, 3, 12);
    let p = net.peer_with_degree(3);
    let others = all_but(&net, p);
    let mut published = publish(&mut net, p, 5);
    for _ in 0..6 {
        net.world.partition(&[p], &others);
        published.extend(publish(&mut net, p, 5));
        net.world.run_for(s(12));
        published.extend(publish(&mut net, p, 5));
        net.world.heal();
        net.world.run_for(s(10));
    }
    let refuted = net.event_times(p, |e| matches!(e, Event::Refuted { .. })).len();
    assert!(refuted >= 3, "it was declared dead {refuted} times");
    published.extend(publish(&mut net, p, 5));
    assert!(published.iter().all(|id| id.stream() == published[0].stream()), "one stream");
    assert_all_receive_in_order(&mut net, p, &published, s(60));
    net.assert_at_rest_within(s(60));
}

/// A peer is partitioned for longer than messages are retained, while a publisher publishes its
/// last ones. `end` ends the publisher in some way, or does nothing.
fn missed_tail(seed: u64, end: impl Fn(&mut Net, NodeId)) {
    let node = rumormill_proto::Config::lan().retention_age(s(60)).build().unwrap();
    let mut net = Net::new(world_config(seed, node), 3, 12);
    net.assert_at_rest_within(s(30));
    let p = net.peers[0];
    let isolated = *net.peers.iter().find(|&&o| o != p).unwrap();
    let first = publish(&mut net, p, 3);
    net.world.run_for(s(3));
    let others = all_but(&net, isolated);
    net.world.partition(&[isolated], &others);
    publish(&mut net, p, 4);
    net.world.run_for(s(5));
    end(&mut net, p);
    net.world.run_for(s(80));
    net.world.heal();
    let epoch = first[0].epoch;
    net.wait_until(s(60), "the missed tail is reported as a gap", |w| {
        gaps(w, isolated, p) == [(epoch, 3, 7)]
    });
    net.world.run_for(s(60));
    assert_eq!(gaps(&net.world, isolated, p), [(epoch, 3, 7)], "the gap is reported once");
}

#[test]
fn tail_missed_for_longer_than_retention_is_reported_as_a_gap() {
    missed_tail(4, |_, _| {});
}

#[test]
fn missed_tail_of_a_dead_publisher_is_reported_as_a_gap() {
    missed_tail(5, |net, p| net.world.crash(p));
}

#[test]
fn missed_tail_of_a_publisher_that_left_is_reported_as_a_gap() {
    missed_tail(6, |net, p| net.world.leave(p).unwrap());
}

#[test]
fn streams_of_a_publisher_that_restarts_often_are_bounded() {
    let node = Config::lan().retention_age(s(60)).build().unwrap();
    let mut net = Net::new(world_config(7, node), 3, 6);
    net.assert_at_rest_within(s(30));
    let p = net.peers[0];
    let mut published = Vec::new();
    for _ in 0..40 {
        published.extend(publish(&mut net, p, 1));
        net.world.run_for(ms(1500));
        net.world.restart(p, DiskFate::Kept);
        net.world.run_for(ms(1500));
    }
    assert_all_receive_in_order(&mut net, p, &published, s(60));
    // Wait until no message is retained any more.
    net.world.run_for(s(120));
    let (observation, id) = (net.world.observe(), net.id(p));
    for n in &observation.nodes {
        let streams = n.publishers.iter().filter(|s| s.publisher == id).count();
        assert!(streams <= REMEMBERED_EPOCHS, "{} remembers {streams} streams", n.node);
    }
}

/// Restores a publisher's disk from an old copy after the publisher has published more. With
/// `clock_back` its clock is set back as well, to before the time of the copy.
fn restore_publisher(seed: u64, clock_back: bool) {
    let mut net = Net::lan(seed, 3, 12);
    let p = net.peer_with_degree(3);
    let mut published = publish(&mut net, p, 5);
    net.world.run_for(s(3));
    net.world.back_up_disk(p);
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(3));
    published.extend(publish(&mut net, p, 20));
    net.world.run_for(s(3));
    if clock_back {
        net.world.set_clock(p, s(3600), true);
    }
    net.world.restart(p, DiskFate::Restored);
    // The publisher publishes before it has joined again, and afterwards.
    publish(&mut net, p, 3);
    net.world.run_for(s(5));
    publish(&mut net, p, 3);
    net.world.run_for(s(15));
    let moved = net.event_times(p, |e| matches!(e, Event::StreamMoved { .. })).len();
    assert_eq!(
        moved,
        usize::from(clock_back),
        "the stream moves only if its epoch was used before"
    );
    // If the stream has moved, the ledger has the new ids of its messages.
    let id = net.id(p);
    let all: Vec<MessageId> = net.world.ledger().publications.iter().map(|p| p.id).collect();
    let all: Vec<MessageId> = all.into_iter().filter(|i| i.publisher == id).collect();
    assert_eq!(all[..published.len()], published);
    assert_eq!(all.len(), published.len() + 6);
    assert_all_receive_in_order(&mut net, p, &all, s(30));
    net.assert_at_rest_within(s(60));
}

#[test]
fn publisher_restored_from_an_old_copy_gets_a_new_epoch() {
    restore_publisher(8, false);
}

#[test]
fn publisher_restored_with_clock_set_back_moves_to_a_free_epoch() {
    restore_publisher(9, true);
}

/// No seed answers: the publisher finds its first neighbour among the anchors of the old copy.
#[test]
fn restored_publisher_without_seeds_learns_its_epoch_from_a_neighbour() {
    let mut net = Net::lan(10, 3, 12);
    let p = net.peer_with_degree(3);
    net.world.back_up_disk(p);
    publish(&mut net, p, 5);
    net.world.run_for(s(3));
    net.world.back_up_disk(p);
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(3));
    let published = publish(&mut net, p, 20);
    net.world.run_for(s(3));
    for seed in net.seeds.clone() {
        net.world.crash(seed);
    }
    net.world.set_clock(p, s(3600), true);
    net.world.restart(p, DiskFate::Restored);
    publish(&mut net, p, 3);
    net.world.run_for(s(20));
    let ids: Vec<MessageId> = net.world.ledger().publications.iter().map(|p| p.id).collect();
    let last: Vec<MessageId> = ids[ids.len() - 3..].to_vec();
    assert!(last[0].epoch > published[0].epoch, "the stream has a free epoch");
    for &other in net.peers.iter().filter(|&&o| o != p) {
        let messages = delivered(&net.world, other, p);
        assert!(last.iter().all(|id| messages.contains(id)), "{other} delivered {messages:?}");
    }
}
