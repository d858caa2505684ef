//! Messages reach every peer once, over networks with and without delay and loss.

use rumormill_proto::{Config, PublishError, limits};
use rumormill_sim::{CommandError, Latency, World, checkers};

use crate::common::{Net, lan, ms, s, world_config};

#[test]
fn message_reaches_every_peer_once() {
    let mut net = Net::lan(1, 3, 20);
    for _ in 0..10 {
        net.publish_at_all_peers();
        net.world.run_for(ms(300));
    }
    net.assert_at_rest_within(s(20));
    let from_others = net.world.deliveries().iter().filter(|d| d.from.is_some()).count();
    assert_eq!(from_others, 20 * 19 * 10);
    let hops = net.world.deliveries().iter().map(|d| d.hops).max().unwrap();
    assert!((2..20).contains(&hops), "the longest path has {hops} links");
}

#[test]
fn message_arrives_within_milliseconds() {
    let mut net = Net::lan(2, 3, 50);
    let at = net.world.now();
    net.world.publish(net.peers[7], "t", b"quick").unwrap();
    net.world.run_for(s(1));
    let deliveries: Vec<_> = net.world.deliveries().iter().filter(|d| d.from.is_some()).collect();
    assert_eq!(deliveries.len(), 49);
    let last = deliveries.iter().map(|d| d.at).max().unwrap();
    assert!(last.since(at) <= ms(20), "1 ms a link, but it took {:?}", last.since(at));
}

#[test]
fn single_site_with_packet_loss_keeps_all_promises() {
    let mut config = world_config(3, lan());
    config.loss = 0.01;
    let mut net = Net::new(config, 3, 20);
    net.assert_at_rest_within(s(60));
    for _ in 0..20 {
        net.publish_at_all_peers();
        net.world.run_for(s(1));
    }
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn distant_sites_with_packet_loss_keep_all_promises() {
    let mut config = world_config(4, Config::wan().build().unwrap());
    config.latency = Latency::PerPair { min: ms(5), max: ms(150) };
    config.loss = 0.02;
    let mut net = Net::new(config, 3, 30);
    net.assert_at_rest_within(s(120));
    for _ in 0..10 {
        net.publish_at_all_peers();
        net.world.run_for(s(2));
    }
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn varying_latency_causes_no_removal() {
    let mut config = world_config(5, Config::wan().build().unwrap());
    config.latency = Latency::Uniform { min: ms(1), max: ms(200) };
    let mut net = Net::new(config, 3, 20);
    net.assert_at_rest_within(s(120));
    net.publish_at_all_peers();
    net.world.run_for(s(30));
    net.assert_at_rest_within(s(60));
    net.assert_only_removed(&[]);
}

#[test]
fn largest_payload_is_delivered_and_larger_one_is_refused() {
    let mut net = Net::lan(6, 1, 5);
    let p = net.peers[0];
    net.world.publish(p, "big", &vec![7; limits::MAX_PAYLOAD]).unwrap();
    let refused = net.world.publish(p, "big", &vec![7; limits::MAX_PAYLOAD + 1]);
    assert!(matches!(refused, Err(CommandError::Refused(..))));
    let refused = net.world.publish(p, &"t".repeat(limits::MAX_TOPIC + 1), b"");
    assert!(matches!(refused, Err(CommandError::Refused(..))));
    let busy = net.world.publish(p, "", b"");
    assert_eq!(
        busy,
        Err(CommandError::Refused(p, PublishError::Busy)),
        "the first message fills the send window"
    );
    net.wait_until(s(5), "there is room again", |w| w.peer(p).unwrap().available_window() > 0);
    let next = net.world.publish(p, "", b"").unwrap();
    assert_eq!(next.sequence, 1, "a refused message uses no sequence number");
    net.world.run_for(s(20));
    net.assert_at_rest_within(s(20));
    assert_eq!(net.world.deliveries().iter().filter(|d| d.from.is_some()).count(), 8);
}

#[test]
fn fetch_finds_a_message_here_or_at_a_neighbour() {
    let mut net = Net::lan(7, 1, 10);
    let id = net.world.publish(net.peers[0], "t", b"x").unwrap();
    net.world.run_for(s(1));
    let answers = |w: &World, node| {
        let here = w.ledger().fetches.iter().filter(|f| f.node == node);
        here.map(|f| (f.id, f.found)).collect::<Vec<_>>()
    };
    let (holder, seeker) = (net.peers[5], net.peers[6]);
    net.world.fetch(holder, id).unwrap();
    net.world.run_for(ms(1));
    assert_eq!(answers(&net.world, holder), [(id, true)], "the peer has the message itself");
    // A peer that joined too late to receive the message asks its neighbours.
    let late = net.world.add_peers(1)[0];
    net.peers.push(late);
    net.assert_at_rest_within(s(20));
    net.world.fetch(late, id).unwrap();
    let unknown = rumormill_proto::MessageId { sequence: 99, ..id };
    net.world.fetch(seeker, unknown).unwrap();
    net.world.run_for(s(10));
    assert_eq!(answers(&net.world, late), [(id, true)]);
    assert_eq!(answers(&net.world, seeker), [(unknown, false)], "no node has the message");
}

#[test]
fn messages_missed_during_a_partition_arrive_afterwards() {
    let mut net = Net::lan(8, 3, 10);
    let (all, alone) = (net.peers.clone(), net.peers[4]);
    let others: Vec<_> = all.iter().copied().filter(|&p| p != alone).collect();
    // The partition is short: links survive or are made again, and the messages must arrive.
    net.world.partition(&[alone], &others);
    for &p in &others {
        net.world.publish(p, "t", b"while you were out").unwrap();
    }
    net.world.run_for(s(2));
    net.world.heal();
    net.wait_until(s(60), "the messages published meanwhile arrive", |w| {
        let arrived = w.deliveries().iter().filter(|d| d.node == alone && d.from.is_some());
        arrived.count() == others.len()
    });
    net.assert_at_rest_within(s(60));
}

#[test]
fn peer_that_reported_a_gap_is_not_a_holder() {
    let mut net = Net::lan(740, 3, 6);
    let publisher = net.peers[0];
    net.world.set_queue_drops(1.0);
    let lost = net.world.publish(publisher, "t", b"never sent").unwrap();
    net.world.run_for(ms(1));
    net.world.set_queue_drops(0.0);
    net.world.publish(publisher, "t", b"its last word").unwrap();
    net.world.run_for(ms(1));
    net.world.crash(publisher);
    net.world.run_for(s(300));
    let observation = net.world.observe();
    let gaps: Vec<_> = observation.ledger.gaps.iter().filter(|g| g.covers(&lost)).collect();
    assert_eq!(gaps.len(), 5, "{gaps:?}");
    assert!(gaps.iter().all(|g| g.holder.is_none()), "{gaps:?}");
    assert_eq!(checkers::delivery::complete(&observation), []);
}
