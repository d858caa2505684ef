//! Delivery receipts: the publisher learns which members hold a message.

use core::time::Duration;

use rumormill_proto::snapshot::{MemberState, Receipt};
use rumormill_proto::{BroadcastMode, Config, MessageId, PeerId};
use rumormill_sim::checkers::receipts;
use rumormill_sim::ledger::ReceiptUpdate;
use rumormill_sim::scenario::AdversaryKind;
use rumormill_sim::{Latency, NodeId, World, WorldConfig};

use crate::common::{Net, classic, lan, ms, s, world_config};

fn updates(w: &World, id: MessageId) -> Vec<&ReceiptUpdate> {
    w.ledger().receipts.iter().filter(|r| r.receipt.id == id).collect()
}

fn last_receipt(w: &World, id: MessageId) -> Option<&Receipt> {
    updates(w, id).last().map(|r| &r.receipt)
}

fn is_complete(w: &World, id: MessageId) -> bool {
    last_receipt(w, id).is_some_and(|r| r.complete)
}

/// Checks that no receipt counts more holders than there are.
#[track_caller]
fn assert_receipts_correct(w: &World) {
    assert_eq!(receipts::check(&w.observe()), []);
    for r in &w.ledger().receipts {
        let id = r.receipt.id;
        let lacking: Vec<&NodeId> = r.live.iter().filter(|n| !r.holders.contains(n)).collect();
        if r.receipt.complete {
            assert_eq!(r.receipt.held, r.receipt.live, "{id} at {}", r.at);
            assert_eq!(lacking, Vec::<&NodeId>::new(), "{id} is complete at {} without them", r.at);
        }
        assert!(r.receipt.held <= r.receipt.live, "{id} at {}: {:?}", r.at, r.receipt);
        // A receipt may count dead peers that held the message while they lived.
        let dead = w.nodes().filter(|n| !r.live.contains(n)).count();
        let holders = r.holders.len() + dead;
        assert!(r.receipt.held as usize <= holders, "{id} at {}: {:?}", r.at, r.receipt);
    }
}

/// A network at rest in which every peer has published, if it has trees.
fn network_with_trees(config: WorldConfig, peers: usize) -> Net {
    let mut net = Net::new(config, 3, peers);
    net.assert_at_rest_within(s(60));
    if net.world.config().node.broadcast() == BroadcastMode::Trees {
        net.build_trees();
    }
    net
}

/// The first message of a publisher is flooded, so some neighbours get it from another peer first.
#[test]
fn receipt_of_a_first_message_is_as_fast_as_later_ones() {
    for mode in [BroadcastMode::Trees, BroadcastMode::Flood] {
        for seed in 1..=4 {
            // The overlay does not change during the test, because a receipt would need a census
            // then.
            let node = Config::lan().broadcast(mode).swap_interval(s(86_400)).build().unwrap();
            let latency = Latency::PerPair { min: ms(1), max: ms(12) };
            let config = WorldConfig { latency, ..world_config(seed, node) };
            let mut net = Net::new(config, 3, 14);
            net.assert_at_rest_within(s(60));
            net.world.run_for(s(10));
            for p in net.peers.clone() {
                for round in ["first", "second"] {
                    let took = completion_time(&mut net, p, s(10));
                    assert!(took < ms(400), "{mode:?}, seed {seed}, {p}, {round}: {took:?}");
                }
            }
        }
    }
}

/// Publishes a message and returns the time until all live peers hold it.
#[track_caller]
fn completion_time(net: &mut Net, at: NodeId, limit: Duration) -> Duration {
    let from = net.world.now();
    let id = net.world.publish_with_receipt(at, "t", b"wait for it").unwrap();
    net.wait_until(limit, "all hold it", |w| is_complete(w, id));
    let updates = updates(&net.world, id);
    let done = updates.last().unwrap();
    assert_eq!(done.receipt.live as usize, net.world.live_peers().len());
    done.at.since(from)
}

#[test]
fn receipt_completes_when_the_last_peer_holds_the_message() {
    let mut net = network_with_trees(world_config(1, lan()), 63);
    net.world.run_for(s(20));
    let publishers = net.peers.clone();
    for p in publishers.into_iter().step_by(9) {
        let took = completion_time(&mut net, p, s(2));
        assert!(took < ms(50), "{took:?} at 1 ms a link");
        net.world.run_for(ms(200));
    }
    assert_receipts_correct(&net.world);
}

#[test]
fn receipt_completes_in_networks_of_one_to_five_peers() {
    for n in 1..=5 {
        let mut net = Net::lan(n as u64 + 10, 1, n);
        net.world.run_for(s(30));
        for p in net.peers.clone() {
            let took = completion_time(&mut net, p, s(2));
            assert!(took < ms(20), "{n} peers: {took:?}");
        }
        assert_receipts_correct(&net.world);
    }
}

#[test]
fn receipt_completes_in_flood_mode() {
    let node = Config::lan().broadcast(BroadcastMode::Flood).build().unwrap();
    let mut net = network_with_trees(world_config(3, node), 20);
    for p in [0, 5, 13].map(|i| net.peers[i]) {
        completion_time(&mut net, p, s(5));
    }
    assert_receipts_correct(&net.world);
}

#[test]
fn concurrent_receipts_complete_during_a_stream_of_messages() {
    let mut net = network_with_trees(world_config(4, lan()), 30);
    let mut ids = Vec::new();
    for round in 0..100 {
        for p in [1, 8, 20].map(|i| net.peers[i]) {
            net.world.publish(p, "t", b"other").unwrap();
            if round % 3 == 0 {
                ids.push(net.world.publish_with_receipt(p, "t", b"awaited").unwrap());
            }
        }
        net.world.run_for(ms(20));
    }
    net.wait_until(s(5), "all are complete", |w| ids.iter().all(|id| is_complete(w, *id)));
    assert_receipts_correct(&net.world);
}

#[test]
fn receipt_can_be_requested_after_publication() {
    let mut net = network_with_trees(world_config(5, lan()), 20);
    let p = net.peers[4];
    let id = net.world.publish(p, "t", b"x").unwrap();
    net.world.run_for(s(5));
    assert!(net.world.request_receipt(p, id).unwrap());
    net.wait_until(s(10), "it is complete", |w| is_complete(w, id));
    let unpublished = MessageId { sequence: 99, ..id };
    assert!(
        !net.world.request_receipt(p, unpublished).unwrap(),
        "the message is not published yet"
    );
    let other = MessageId { publisher: net.id(net.peers[5]), ..id };
    assert!(!net.world.request_receipt(p, other).unwrap(), "another peer published the message");
    assert_receipts_correct(&net.world);
}

#[test]
fn killed_peer_is_not_counted_after_its_certificate() {
    let mut net = network_with_trees(world_config(6, lan()), 20);
    let (p, victim) = (net.peers[3], net.peers[11]);
    net.world.crash(victim);
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.world.run_for(ms(300));
    assert!(!is_complete(&net.world, id), "the killed peer counts until its removal");
    net.wait_until(s(10), "the receipt is complete without the removed peer", |w| {
        is_complete(w, id)
    });
    let receipt = last_receipt(&net.world, id).unwrap().clone();
    assert_eq!((receipt.held, receipt.live), (19, 19));
    let departed = &receipt.departed;
    assert_eq!(departed.len(), 1);
    assert_eq!((departed[0].id, departed[0].state), (net.id(victim), MemberState::Dead));
    assert!(!departed[0].witnesses.is_empty() && departed[0].seeds.len() >= 2);
    assert_receipts_correct(&net.world);
}

#[test]
fn receipt_waits_for_a_frozen_peer_until_it_is_declared_dead() {
    let mut net = network_with_trees(world_config(7, lan()), 20);
    let (p, victim) = (net.peers[3], net.peers[11]);
    net.world.freeze(victim);
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.wait_until(s(20), "the receipt is complete without the removed peer", |w| {
        is_complete(w, id)
    });
    assert_eq!(last_receipt(&net.world, id).unwrap().departed.len(), 1);
    let thawed = net.peers[12];
    net.world.freeze(thawed);
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.world.run_for(ms(300));
    net.world.thaw(thawed);
    net.wait_until(s(10), "the receipt is complete with the thawed peer", |w| is_complete(w, id));
    assert_eq!(last_receipt(&net.world, id).unwrap().departed, []);
    assert_receipts_correct(&net.world);
}

#[test]
fn receipt_does_not_wait_for_a_peer_that_leaves() {
    let mut net = network_with_trees(world_config(8, lan()), 20);
    let (p, leaver) = (net.peers[3], net.peers[11]);
    net.world.freeze(net.peers[15]);
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.world.run_for(ms(100));
    net.world.leave(leaver).unwrap();
    net.wait_until(s(20), "it is complete", |w| is_complete(w, id));
    let receipt = last_receipt(&net.world, id).unwrap();
    let left = receipt.departed.iter().find(|d| d.id == net.id(leaver)).unwrap();
    assert_eq!(left.state, MemberState::Left);
    assert_receipts_correct(&net.world);
}

#[test]
fn receipts_complete_after_an_inner_peer_is_killed() {
    let mut net = network_with_trees(world_config(9, lan()), 30);
    let p = net.peers[3];
    let victim = crate::trees::inner_peer(&net, p);
    let mut ids = Vec::new();
    for round in 0..100 {
        ids.push(net.world.publish_with_receipt(p, "t", b"x").unwrap());
        net.world.run_for(ms(50));
        if round == 20 {
            net.world.crash(victim);
        }
    }
    net.wait_until(s(15), "all are complete", |w| ids.iter().all(|id| is_complete(w, *id)));
    assert_receipts_correct(&net.world);
}

#[test]
fn receipts_are_late_and_correct_with_queue_drops() {
    let mut net = network_with_trees(world_config(10, lan()), 30);
    net.world.set_queue_drops(0.05);
    let mut ids = Vec::new();
    for _ in 0..50 {
        for p in [1, 8, 20].map(|i| net.peers[i]) {
            ids.push(net.world.publish_with_receipt(p, "t", b"x").unwrap());
        }
        net.world.run_for(ms(100));
    }
    net.world.set_queue_drops(0.0);
    net.wait_until(s(30), "all are complete", |w| ids.iter().all(|id| is_complete(w, *id)));
    assert_receipts_correct(&net.world);
}

#[test]
fn newcomer_is_counted_once_the_publisher_knows_it() {
    let mut net = network_with_trees(world_config(11, lan()), 10);
    let p = net.peers[3];
    let mut ids = Vec::new();
    for _ in 0..10 {
        let new = net.world.add_peers(1);
        net.peers.extend(new);
        for _ in 0..10 {
            ids.push(net.world.publish_with_receipt(p, "t", b"x").unwrap());
            net.world.run_for(ms(100));
        }
    }
    net.wait_until(s(30), "all are complete", |w| ids.iter().all(|id| is_complete(w, *id)));
    for r in net.world.ledger().receipts.iter().filter(|r| r.receipt.complete) {
        // The publisher may not know a peer yet that has just joined.
        let lacking = r.live.iter().filter(|n| !r.holders.contains(n)).count();
        assert!(lacking <= 1, "{:?}", r.receipt);
    }
}

#[test]
fn receipt_waits_for_partitioned_peers() {
    let mut net = network_with_trees(world_config(12, lan()), 20);
    let (near, far) = (net.peers[..10].to_vec(), net.peers[10..].to_vec());
    // The seeds reach both halves, so no peer is declared dead.
    net.world.partition(&near, &far);
    let id = net.world.publish_with_receipt(near[0], "t", b"x").unwrap();
    net.world.run_for(s(10));
    assert!(!is_complete(&net.world, id));
    let held = last_receipt(&net.world, id).map_or(0, |r| r.held);
    assert!(held <= 10, "{held}");
    net.world.heal();
    net.wait_until(s(90), "it is complete", |w| is_complete(w, id));
    assert_receipts_correct(&net.world);
}

/// All updates of receipts of one publisher.
fn receipts_of(w: &World, node: NodeId) -> Vec<&Receipt> {
    w.ledger().receipts.iter().filter(|r| r.node == node).map(|r| &r.receipt).collect()
}

fn ids(net: &Net, nodes: &[NodeId]) -> Vec<PeerId> {
    let mut ids: Vec<PeerId> = nodes.iter().map(|n| net.id(*n)).collect();
    ids.sort_unstable();
    ids
}

fn missing(w: &World, id: MessageId) -> Option<Vec<PeerId>> {
    let mut missing = last_receipt(w, id)?.missing()?;
    missing.sort_unstable();
    Some(missing)
}

#[test]
fn idle_registration_does_not_hold_up_receipts() {
    let mut net = Net::lan(20, 3, 6);
    let idle = net.world.add_adversary(AdversaryKind::Idle);
    net.world.run_for(s(5));
    let members = net.world.members(net.peers[0]);
    let registered = members.iter().find(|m| m.id == net.id(idle)).expect("it is registered");
    assert!(!registered.participates);
    for p in net.peers.clone() {
        let took = completion_time(&mut net, p, s(2));
        assert!(took < ms(50), "{took:?}");
    }
    assert_receipts_correct(&net.world);
}

#[test]
fn publisher_that_has_not_joined_completes_no_receipt() {
    let mut net = Net::lan(21, 3, 6);
    let new = net.world.add_peers(1)[0];
    let id = net.world.publish_with_receipt(new, "t", b"x").unwrap();
    net.wait_until(s(10), "all hold it", |w| is_complete(w, id));
    for r in receipts_of(&net.world, new) {
        assert_eq!(r.complete, r.live == 7 && r.held == 7, "{r:?}");
    }
    assert_receipts_correct(&net.world);
}

#[test]
fn publisher_that_reaches_no_seed_completes_no_receipt() {
    let mut net = Net::new(world_config(22, lan()), 3, 0);
    for seed in net.seeds.clone() {
        net.world.crash(seed);
    }
    let alone = net.world.add_peers(1)[0];
    let id = net.world.publish_with_receipt(alone, "t", b"x").unwrap();
    net.world.run_for(s(60));
    let receipt = last_receipt(&net.world, id).unwrap();
    assert_eq!((receipt.held, receipt.live, receipt.complete), (1, 1, false));
    assert_eq!(receipt.missing(), None);
}

#[test]
fn lone_joined_publisher_completes_its_receipt_at_once() {
    let mut net = Net::new(world_config(23, lan()), 3, 1);
    net.world.run_for(s(10));
    let p = net.peers[0];
    let took = completion_time(&mut net, p, s(1));
    assert!(took < ms(10), "{took:?}");
}

#[test]
fn receipt_of_publisher_without_neighbours_waits_for_all_members() {
    let mut net = Net::new(world_config(24, lan()), 3, 0);
    let idle = net.world.add_adversary(AdversaryKind::Idle);
    let p = net.world.add_peers(1)[0];
    net.world.run_for(s(10));
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.world.run_for(s(10));
    let receipt = last_receipt(&net.world, id).unwrap();
    assert_eq!((receipt.held, receipt.live, receipt.complete), (1, 2, false));
    assert_eq!(receipt.missing(), Some(vec![net.id(idle)]));
}

#[test]
fn one_frozen_member_is_named_as_missing() {
    let mut net = network_with_trees(world_config(25, classic()), 20);
    let (p, frozen) = (net.peers[3], net.peers[11]);
    net.world.freeze(frozen);
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.wait_until(s(8), "it is named", |w| missing(w, id).is_some_and(|m| m.len() == 1));
    assert_eq!(missing(&net.world, id).unwrap(), ids(&net, &[frozen]));
    let receipt = last_receipt(&net.world, id).unwrap();
    assert_eq!((receipt.held, receipt.live, receipt.complete), (19, 20, false));
    assert_receipts_correct(&net.world);
    net.world.thaw(frozen);
    net.wait_until(s(20), "all hold it", |w| is_complete(w, id));
    assert_eq!(missing(&net.world, id), Some(vec![]));
}

#[test]
fn exactly_the_partitioned_members_are_named_as_missing() {
    let mut net = network_with_trees(world_config(26, lan()), 20);
    let (near, far) = (net.peers[..11].to_vec(), net.peers[11..].to_vec());
    net.world.run_for(s(10));
    // The seeds reach both halves, so no peer is declared dead.
    net.world.partition(&near, &far);
    let id = net.world.publish_with_receipt(near[0], "t", b"x").unwrap();
    net.wait_until(s(30), "the partitioned members are named", |w| {
        missing(w, id).is_some_and(|m| m.len() == 9)
    });
    assert_eq!(missing(&net.world, id).unwrap(), ids(&net, &far));
    net.world.heal();
    net.wait_until(s(90), "it is complete", |w| is_complete(w, id));
    assert_receipts_correct(&net.world);
}

#[test]
fn three_frozen_members_are_named_within_two_seconds() {
    let mut net = network_with_trees(world_config(27, classic()), 20);
    net.world.run_for(s(5));
    let (p, frozen) = (net.peers[3], [7, 11, 15].map(|i| net.peers[i]));
    for f in frozen {
        net.world.freeze(f);
    }
    let from = net.world.now();
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    let named = ids(&net, &frozen);
    net.wait_until(s(10), "they are named", |w| missing(w, id).is_some_and(|m| m == named));
    let took = net.world.now().since(from);
    assert!(took < s(2), "{took:?}");
    net.world.thaw(frozen[1]);
    net.wait_until(s(12), "one holds it", |w| missing(w, id).is_some_and(|m| m.len() == 2));
    assert_eq!(missing(&net.world, id).unwrap(), ids(&net, &[frozen[0], frozen[2]]));
    assert_receipts_correct(&net.world);
}

#[test]
fn member_that_lost_all_neighbours_still_counts() {
    let mut net = network_with_trees(world_config(28, lan()), 20);
    let (p, isolated) = (net.peers[3], net.peers[11]);
    let others: Vec<NodeId> = net.peers.iter().copied().filter(|n| *n != isolated).collect();
    net.world.partition(&[isolated], &others);
    net.world.run_for(s(20));
    let id = net.world.publish_with_receipt(p, "t", b"x").unwrap();
    net.world.run_for(s(10));
    assert!(!is_complete(&net.world, id), "the seeds reach the peer, so it is not declared dead");
    assert_eq!(missing(&net.world, id).unwrap(), ids(&net, &[isolated]));
    assert_receipts_correct(&net.world);
}
