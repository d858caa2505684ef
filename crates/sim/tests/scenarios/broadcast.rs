//! Broadcast: all messages arrive once and in order, with little more than one copy per peer.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::{BroadcastMode, Config, Event, MessageId, PublishError};
use rumormill_sim::checkers::{self, copies, order};
use rumormill_sim::{CommandError, DiskFate, NodeId, World, WorldConfig};

use crate::common::{Net, lan, ms, s, world_config};

/// Settings for a fast world, for large networks.
fn fast_config(seed: u64, node: Config) -> WorldConfig {
    WorldConfig { fast: true, check_every: s(1), ..world_config(seed, node) }
}

/// A network at rest in which every peer has published.
fn network_with_trees(config: WorldConfig, peers: usize) -> Net {
    let mut net = Net::new(config, 3, peers);
    net.assert_at_rest_within(s(60));
    net.build_trees();
    net
}

/// `publishers` peers publish one message each, `rounds` times, at this interval.
fn publish_rounds(
    net: &mut Net,
    publishers: usize,
    rounds: usize,
    every: Duration,
) -> Vec<MessageId> {
    let step = net.peers.len() / publishers;
    let nodes: Vec<NodeId> = net.peers.iter().copied().step_by(step).take(publishers).collect();
    let mut ids = Vec::new();
    for _ in 0..rounds {
        for &p in &nodes {
            ids.push(net.world.publish(p, "t", b"payload").unwrap());
        }
        net.world.run_for(every);
    }
    ids
}

/// The messages among `of` that a node delivered, in order.
fn delivered(w: &World, node: NodeId, of: &[MessageId]) -> Vec<MessageId> {
    let of: BTreeSet<_> = of.iter().collect();
    w.deliveries().iter().filter(|a| a.node == node && of.contains(&a.id)).map(|a| a.id).collect()
}

#[track_caller]
fn assert_all_delivered(net: &Net, ids: &[MessageId]) {
    for p in net.world.live_peers() {
        let n = delivered(&net.world, p, ids).len();
        let gaps = net.world.ledger().gaps.iter().filter(|g| g.node == p);
        let gaps: Vec<_> = gaps.map(|g| (g.at, g.first, g.to)).collect();
        let seed = net.world.config().seed;
        assert_eq!(n, ids.len(), "{p} (seed {seed}), its gaps: {gaps:?}");
    }
}

fn print_copies(what: &str, net: &Net, from: rumormill_proto::Time) -> copies::Copies {
    let c = copies::since(&net.world.observe(), from);
    println!("{what}: {:.4} copies per peer, {} of {} pulled", c.per_peer(), c.pulled, c.all);
    c
}

#[test]
fn twenty_publishers_among_200_peers_cost_one_copy_per_peer() {
    let mut net = network_with_trees(fast_config(1, lan()), 200);
    net.world.run_for(s(20));
    let from = net.world.now();
    let ids = publish_rounds(&mut net, 20, 50, ms(100));
    net.world.run_for(s(15));
    assert_all_delivered(&net, &ids);
    net.assert_at_rest_within(s(20));
    print_copies("200 peers, 20 publishers, no loss", &net, from);
    assert_eq!(copies::check(&net.world.observe(), from, 1.05), []);
}

#[test]
fn packet_loss_delays_and_loses_no_message() {
    let mut config = fast_config(2, lan());
    config.loss = 0.01;
    let mut net = network_with_trees(config, 60);
    net.world.run_for(s(20));
    let from = net.world.now();
    let ids = publish_rounds(&mut net, 20, 200, ms(100));
    net.world.run_for(s(20));
    assert_all_delivered(&net, &ids);
    net.assert_promises_hold();
    print_copies("60 peers, 20 publishers, 1 % of the packets lost (as TCP shows it)", &net, from);
    assert_eq!(copies::check(&net.world.observe(), from, 1.10), []);
}

#[test]
fn payloads_dropped_from_full_queues_are_pulled() {
    let mut net = network_with_trees(fast_config(3, lan()), 60);
    net.world.set_queue_drops(0.01);
    let from = net.world.now();
    let ids = publish_rounds(&mut net, 20, 50, ms(100));
    net.world.run_for(s(20));
    assert_all_delivered(&net, &ids);
    net.assert_promises_hold();
    print_copies("60 peers, 20 publishers, 1 % of the frames left out", &net, from);
    assert_eq!(copies::check(&net.world.observe(), from, 1.5), []);
    let delays = delays(&net.world, &ids);
    assert!(delays.1 < s(5), "median {:?}, slowest {:?}", delays.0, delays.1);
}

/// Median and longest delay of deliveries.
fn delays(w: &World, ids: &[MessageId]) -> (Duration, Duration) {
    let at: BTreeMap<MessageId, _> = w.ledger().publications.iter().map(|p| (p.id, p.at)).collect();
    let of: BTreeSet<_> = ids.iter().collect();
    let arrivals = w.deliveries().iter().filter(|a| of.contains(&a.id));
    let mut all: Vec<Duration> = arrivals.map(|a| a.at.since(at[&a.id])).collect();
    all.sort_unstable();
    (all[all.len() / 2], *all.last().unwrap())
}

#[test]
fn messages_arrive_when_half_of_the_payloads_are_dropped() {
    let mut net = network_with_trees(fast_config(4, lan()), 20);
    net.world.set_queue_drops(0.5);
    let ids = publish_rounds(&mut net, 5, 20, ms(100));
    // After a longer time some messages would be given up, because all pulls for them were dropped.
    net.world.run_for(s(4));
    net.world.set_queue_drops(0.0);
    net.world.run_for(s(30));
    assert_all_delivered(&net, &ids);
    net.assert_at_rest_within(s(30));
}

#[test]
fn networks_of_one_to_five_peers_deliver_one_copy_each() {
    for n in 1..=5 {
        let mut net = Net::lan(10 + n as u64, 1, n);
        net.world.run_for(s(30));
        net.build_trees();
        let from = net.world.now();
        let ids = publish_rounds(&mut net, n, 50, ms(20));
        net.world.run_for(s(2));
        assert_all_delivered(&net, &ids);
        net.assert_at_rest_within(s(20));
        assert_eq!(copies::check(&net.world.observe(), from, 1.0), [], "{n} peers");
        let slowest = delays(&net.world, &ids).1;
        assert!(slowest < ms(10), "{n} peers: {slowest:?}");
    }
}

#[test]
fn messages_published_before_trees_exist_reach_all_peers() {
    let mut net = Net::new(world_config(20, lan()), 3, 30);
    net.world.run_for(ms(100));
    let mut ids = Vec::new();
    for round in 0..20 {
        for p in [3, 7, 21] {
            ids.push(net.world.publish(net.peers[p], "t", &[round]).unwrap());
        }
        net.world.run_for(ms(50));
    }
    net.assert_at_rest_within(s(60));
    for p in net.world.live_peers() {
        assert_eq!(delivered(&net.world, p, &ids).len(), ids.len(), "{p}");
    }
}

#[test]
fn flooding_delivers_the_same_messages_as_trees() {
    let deliveries = |mode| {
        let node = Config::lan().broadcast(mode).build().unwrap();
        let mut net = Net::new(fast_config(21, node), 3, 40);
        net.assert_at_rest_within(s(60));
        net.world.run_for(s(20));
        net.publish_three_rounds();
        let from = net.world.now();
        let ids = publish_rounds(&mut net, 10, 20, ms(100));
        net.world.run_for(s(15));
        net.assert_at_rest_within(s(20));
        let all: BTreeMap<NodeId, BTreeSet<MessageId>> = net
            .peers
            .iter()
            .map(|&p| (p, delivered(&net.world, p, &ids).into_iter().collect()))
            .collect();
        (all, print_copies(&mode.to_string(), &net, from).per_peer())
    };
    let (trees, one) = deliveries(BroadcastMode::Trees);
    let (flood, several) = deliveries(BroadcastMode::Flood);
    assert_eq!(trees, flood);
    assert!(one < 1.05 && several > 2.0, "{one} and {several} copies");
}

#[test]
fn late_joiner_receives_history_in_order() {
    let mut net = Net::lan(22, 3, 20);
    let ids = publish_rounds(&mut net, 4, 200, ms(20));
    net.world.run_for(s(1));
    let late = net.world.add_peers(1)[0];
    net.peers.push(late);
    // Messages are also published after the newcomer has started.
    let more = publish_rounds(&mut net, 4, 50, ms(20));
    net.world.run_for(s(15));
    let all = [ids, more].concat();
    assert_eq!(delivered(&net.world, late, &all).len(), all.len());
    net.assert_at_rest_within(s(20));
}

/// History is everything that was published before the newcomer started, up to the network delay.
/// The newcomer reports when it has all of it.
#[test]
fn newcomer_distinguishes_history_by_age_and_reports_when_it_has_caught_up() {
    let mut net = Net::lan(91, 3, 12);
    for _ in 0..5 {
        net.publish_at_all_peers();
        net.world.run_for(s(2));
    }
    let history: Vec<MessageId> = net.world.ledger().publications.iter().map(|p| p.id).collect();
    let started = net.world.now();
    // The newcomers link with each other as well as with peers that have the history.
    let newcomers = net.world.add_peers(4);
    net.peers.extend(&newcomers);
    for _ in 0..20 {
        net.publish_at_all_peers();
        net.world.run_for(ms(250));
    }
    for &newcomer in &newcomers {
        let times = net.event_times(newcomer, |e| matches!(e, Event::CaughtUp));
        let [caught_up] = times.as_slice() else { panic!("{newcomer} reports it at {times:?}") };
        let arrivals = net.world.ledger().arrivals.iter().filter(|a| a.node == newcomer);
        let arrivals: Vec<_> = arrivals.collect();
        for id in &history {
            let arrival = arrivals.iter().find(|a| a.id == *id).expect("all history arrives");
            assert!(arrival.at <= *caught_up, "{id} arrived after the newcomer had caught up");
            assert!(arrival.at.since(started) < arrival.age, "{id} is history: {arrival:?}");
        }
        let new = arrivals.iter().filter(|a| !history.contains(&a.id));
        assert!(new.clone().count() > 100);
        for arrival in new {
            assert!(arrival.at.since(started) >= arrival.age, "it is new: {arrival:?}");
        }
    }
    net.assert_promises_hold();
}

#[test]
fn late_joiner_receives_retained_history() {
    let node = Config::lan().retention_age(s(10)).build().unwrap();
    let mut net = Net::new(world_config(23, node), 3, 20);
    net.assert_at_rest_within(s(30));
    let old = publish_rounds(&mut net, 4, 50, ms(20));
    net.world.run_for(s(12));
    let new = publish_rounds(&mut net, 4, 50, ms(20));
    let late = net.world.add_peers(1)[0];
    net.world.run_for(s(8));
    assert_eq!(delivered(&net.world, late, &old), []);
    assert_eq!(delivered(&net.world, late, &new).len(), new.len());
    assert!(net.world.ledger().gaps.iter().all(|g| g.node == late), "no other peer has a gap");
    net.assert_promises_hold();
}

#[test]
fn messages_of_a_restarting_publisher_arrive_in_order() {
    for (seed, disk) in [(24, DiskFate::Kept), (25, DiskFate::Lost)] {
        let mut net = Net::lan(seed, 3, 20);
        let p = net.peers[3];
        let mut ids = Vec::new();
        for process in 0..3 {
            for _ in 0..50 {
                ids.push(net.world.publish(p, "t", b"x").unwrap());
                net.world.run_for(ms(20));
            }
            if process < 2 {
                net.world.run_for(s(1));
                net.world.restart(p, disk);
                net.world.run_for(s(5));
            }
        }
        net.world.run_for(s(15));
        net.assert_at_rest_within(s(30));
        for &other in net.peers.iter().filter(|&&n| n != p) {
            assert_eq!(delivered(&net.world, other, &ids), ids, "{other} {disk:?}");
        }
        assert_eq!(order::epochs(&net.world.observe()), []);
    }
}

#[test]
fn restarted_peer_resumes_from_disk_and_serves_stored_messages() {
    let mut net = Net::lan(26, 3, 10);
    let ids = publish_rounds(&mut net, 2, 100, ms(10));
    net.world.run_for(s(1));
    let p = net.peers[4];
    net.world.crash(p);
    let meanwhile = publish_rounds(&mut net, 2, 20, ms(10));
    net.world.restart(p, DiskFate::Kept);
    net.world.run_for(s(10));
    let now = delivered(&net.world, p, &meanwhile);
    assert_eq!(now.len(), meanwhile.len(), "missed messages arrive");
    let twice = delivered(&net.world, p, &ids).len();
    assert_eq!(twice, ids.len(), "earlier messages are not delivered again");
    // The other peers leave; a newcomer gets everything from this one.
    for &other in net.peers.clone().iter().filter(|&&n| n != p) {
        net.world.leave(other).unwrap();
        net.world.run_for(ms(200));
    }
    net.world.run_for(s(5));
    let late = net.world.add_peers(1)[0];
    net.world.run_for(s(20));
    let all = [ids, meanwhile].concat();
    assert_eq!(delivered(&net.world, late, &all).len(), all.len(), "it serves stored messages");
    net.assert_promises_hold();
}

#[test]
fn messages_survive_restart_of_every_peer() {
    let mut net = Net::lan(27, 3, 12);
    let mut ids = Vec::new();
    for p in net.peers.clone() {
        ids.extend(publish_rounds(&mut net, 3, 5, ms(20)));
        net.world.run_for(ms(100));
        net.world.restart(p, DiskFate::Kept);
        net.world.run_for(s(4));
    }
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
    assert_all_delivered(&net, &ids);
    assert_eq!(net.world.ledger().gaps, []);
}

#[test]
fn both_sides_of_a_partition_receive_all_messages_in_order() {
    let mut net = Net::lan(28, 3, 24);
    let (near, far) = (net.peers[..12].to_vec(), net.peers[12..].to_vec());
    net.world.partition(&far, &[net.seeds.clone(), near].concat());
    let mut ids = publish_rounds(&mut net, 24, 10, ms(100));
    net.world.run_for(s(20));
    ids.extend(publish_rounds(&mut net, 24, 10, ms(100)));
    net.world.heal();
    ids.extend(publish_rounds(&mut net, 24, 10, ms(100)));
    net.assert_at_rest_within(s(120));
    net.world.run_for(s(15));
    assert_all_delivered(&net, &ids);
    assert_eq!(net.world.ledger().gaps, []);
    net.assert_at_rest_within(s(30));
}

/// Messages are retained for a second; some of them reach no other peer in that time.
#[test]
fn message_held_only_by_its_publisher_is_retained_past_its_age() {
    let node = Config::lan().retention_age(s(1)).build().unwrap();
    let mut net = Net::new(world_config(29, node), 3, 10);
    net.assert_at_rest_within(s(30));
    let p = net.peers[0];
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(net.world.publish(p, "t", b"x").unwrap());
        net.world.run_for(ms(100));
    }
    net.world.set_queue_drops(1.0);
    for _ in 5..9 {
        ids.push(net.world.publish(p, "t", b"late").unwrap());
    }
    net.world.run_for(s(3));
    net.world.set_queue_drops(0.0);
    net.world.run_for(s(15));
    assert_all_delivered(&net, &ids);
    assert_eq!(net.world.ledger().gaps, []);
    net.assert_promises_hold();
}

/// The last message of a publisher that dies reaches some peers; the message before it reached
/// none.
#[test]
fn message_lost_with_its_publisher_is_reported_as_a_gap() {
    let mut net = Net::lan(30, 3, 10);
    let p = net.peers[0];
    let first = net.world.publish(p, "t", b"x").unwrap();
    net.world.run_for(s(1));
    net.world.set_queue_drops(1.0);
    net.world.publish(p, "t", b"lost").unwrap();
    net.world.set_queue_drops(0.0);
    let last = net.world.publish(p, "t", b"last").unwrap();
    net.world.run_for(ms(2));
    net.world.crash(p);
    // All peers keep pulling for a while, because a holder might only be partitioned from them.
    net.world.run_for(s(150));
    for &other in &net.peers[1..] {
        assert_eq!(delivered(&net.world, other, &[first, last]), [first, last], "{other}");
        let gaps = net.world.ledger().gaps.iter().filter(|g| g.node == other);
        assert_eq!(gaps.map(|g| (g.first.sequence, g.to)).collect::<Vec<_>>(), [(1, 2)]);
    }
    net.assert_promises_hold();
}

#[test]
fn hop_count_is_number_of_links_crossed() {
    let mut net = network_with_trees(fast_config(31, lan()), 60);
    let ids = publish_rounds(&mut net, 10, 5, ms(100));
    net.world.run_for(s(1));
    let at: BTreeMap<(NodeId, MessageId), u16> =
        net.world.deliveries().iter().map(|a| ((a.node, a.id), a.hops)).collect();
    for a in net.world.deliveries().iter().filter(|a| ids.contains(&a.id)) {
        let Some(from) = a.from.and_then(|f| net.world.node_of(&f)) else {
            assert_eq!(a.hops, 0);
            continue;
        };
        assert_eq!(a.hops, at[&(from, a.id)] + 1, "one more than at {from}");
        assert!(a.hops < 10, "{} links", a.hops);
    }
}

#[test]
fn messages_arrive_while_ten_peers_die_and_ten_join() {
    let mut net = network_with_trees(fast_config(32, lan()), 50);
    let mut ids = Vec::new();
    let publishers: Vec<NodeId> = net.peers[..10].to_vec();
    for round in 0..100 {
        for &p in &publishers {
            ids.push(net.world.publish(p, "t", b"x").unwrap());
        }
        if round % 10 == 5 {
            net.world.crash(net.peers[20 + round / 10]);
        }
        if round % 10 == 8 {
            let new = net.world.add_peers(1);
            net.peers.extend(new);
        }
        net.world.run_for(ms(100));
    }
    net.world.run_for(s(20));
    net.assert_at_rest_within(s(60));
    for p in net.world.live_peers() {
        assert_eq!(delivered(&net.world, p, &ids).len(), ids.len(), "{p}");
    }
    assert_eq!(net.world.ledger().gaps, []);
}

#[test]
fn frozen_peer_slows_no_other_peer_and_catches_up() {
    let mut net = network_with_trees(fast_config(33, lan()), 20);
    let frozen = net.peers[7];
    net.world.freeze(frozen);
    let (from, payload) = (net.world.now(), vec![1; 20_000]);
    let mut ids = Vec::new();
    while ids.len() < 500 {
        match net.world.publish(net.peers[2], "t", &payload) {
            Ok(id) => ids.push(id),
            Err(e) => assert_eq!(e, CommandError::Refused(net.peers[2], PublishError::Busy)),
        }
        net.world.run_for(ms(10));
    }
    // Flow control waits for the frozen peer for about a second.
    assert!(net.world.now().since(from) < s(8), "{:?}", net.world.now().since(from));
    net.world.run_for(s(1));
    let others = net.world.live_peers();
    for &p in others.iter().filter(|&&p| p != frozen) {
        assert_eq!(delivered(&net.world, p, &ids).len(), ids.len(), "{p}");
    }
    net.world.run_for(s(10));
    net.world.thaw(frozen);
    net.world.run_for(s(30));
    assert_eq!(delivered(&net.world, frozen, &ids).len(), ids.len());
    net.assert_at_rest_within(s(60));
    assert_eq!(checkers::always(&net.world.observe()), []);
}
/// A peer that is not dead but far too slow: flow control waits for it for about a second.
#[test]
fn peer_on_a_slow_line_slows_no_publisher_for_longer_than_a_second() {
    let mut net = network_with_trees(fast_config(36, lan()), 20);
    let (publisher, slow) = (net.peers[2], net.peers[7]);
    net.world.set_bandwidth(slow, Some(64 * 1024));
    let payload = vec![1; 20_000];
    let (mut accepted, mut last, mut longest) = (0, net.world.now(), Duration::ZERO);
    while accepted < 1500 {
        match net.world.publish(publisher, "t", &payload) {
            Ok(_) => {
                longest = longest.max(net.world.now().since(last));
                last = net.world.now();
                accepted += 1;
            }
            Err(e) => assert_eq!(e, CommandError::Refused(publisher, PublishError::Busy)),
        }
        assert!(net.world.now().since(last) < s(30), "the publisher stands still");
        net.world.run_for(ms(10));
    }
    println!("the longest pause between two messages: {longest:?}");
    assert!(longest < ms(1_500), "{longest:?}");
}

/// Every peer publishes as much as flow control allows: no message is lost, and no publisher
/// starves. The retention holds everything that is in flight.
#[test]
fn all_peers_publish_at_full_speed_without_loss() {
    let node = Config::lan().retention_bytes(1 << 30).build().unwrap();
    let mut net = network_with_trees(fast_config(34, node), 12);
    let payload = vec![9; 16 * 1024];
    let mut counts: BTreeMap<NodeId, u64> = BTreeMap::new();
    for _ in 0..300 {
        for p in net.peers.clone() {
            while net.world.publish(p, "t", &payload).is_ok() {
                *counts.entry(p).or_default() += 1;
                if counts[&p].is_multiple_of(8) {
                    break;
                }
            }
        }
        net.world.run_for(ms(5));
    }
    net.world.run_for(s(20));
    let least = counts.values().min().unwrap();
    assert!(counts.len() == 12 && *least > 100, "{counts:?}");
    net.assert_promises_hold();
    net.assert_at_rest_within(s(30));
}

/// The send windows of the publishers hardly fit into the retention. Data in flight stays within
/// half of it, so a peer that is frozen for moments, for which flow control waits, gets everything.
#[test]
fn publishers_at_full_speed_evict_no_needed_message_from_small_retention() {
    let node = Config::lan().retention_bytes(2 << 20).build().unwrap();
    let mut net = network_with_trees(fast_config(35, node), 18);
    net.world.run_for(s(10));
    let (publishers, slow) = (net.peers[..16].to_vec(), net.peers[17]);
    let payload = vec![9; 30 * 1024];
    let burst = vec![payload.as_slice(); 40];
    net.world.set_queue_drops(0.005);
    for round in 0..400 {
        for &p in &publishers {
            // Flow control refuses the messages that exceed the send window.
            let _ = net.world.publish_all(p, "t", &burst);
        }
        match round % 80 {
            10 => net.world.freeze(slow),
            30 => net.world.thaw(slow),
            _ => {}
        }
        net.world.run_for(ms(10));
    }
    net.world.set_queue_drops(0.0);
    net.world.run_for(s(10));
    let gaps: Vec<_> = net.world.ledger().gaps.iter().map(|g| (g.node, g.first, g.to)).collect();
    assert!(gaps.is_empty(), "{} gaps, {:?}", gaps.len(), gaps.first());
    net.assert_at_rest_within(s(30));
    let mut counts: BTreeMap<NodeId, u64> = BTreeMap::new();
    let large = net.world.ledger().publications.iter().filter(|p| p.bytes >= 30 * 1024);
    for p in large {
        *counts.entry(p.node).or_default() += 1;
    }
    println!("messages of 30 KiB accepted from each publisher in 4 s: {counts:?}");
    assert!(
        counts.len() == 16 && counts.values().all(|n| *n > 8),
        "no publisher starves: {counts:?}"
    );
}

#[test]
fn occasional_message_is_acknowledged_once_per_peer_along_its_tree() {
    for (seed, peers) in [(1, 40), (2, 40), (3, 300)] {
        let mut net = network_with_trees(fast_config(seed, lan()), peers);
        net.world.run_for(s(20));
        let counters = |net: &Net| {
            ["messages_received", "acknowledgements", "censuses", "publishing_stalled"].map(
                |name| {
                    let of =
                        |p: NodeId| net.world.peer_snapshot(p).map_or(0, |s| s.counters.get(name));
                    net.world.live_peers().into_iter().map(of).sum::<u64>()
                },
            )
        };
        let before = counters(&net);
        let rounds = 20;
        let ids = publish_rounds(&mut net, 1, rounds, s(4));
        assert_all_delivered(&net, &ids);
        let after = counters(&net);
        let expected = rounds * (peers - 1);
        assert_eq!(
            after[0] - before[0],
            expected as u64,
            "no publisher receives its own messages (seed {seed})"
        );
        let each = (after[1] - before[1]) as f64 / expected as f64;
        assert_eq!(before[2..], after[2..], "censuses, stalls (seed {seed})");
        // Three of the twenty batches explore, and a peer with a new parent acknowledges to it
        // again.
        assert!((0.9..1.4).contains(&each), "{each:.2} a peer and message (seed {seed})");
    }
}
