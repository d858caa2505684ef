//! Batches and censuses that a publisher sends over all links, and the parents that they change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use rumormill_proto::wire::{Census, Frame, Gossip};
use rumormill_proto::{Config, Identity, LinkId, PeerId};

use support::rig::Rig;
use support::statements::{census, identity, message};

fn with_neighbours(n: u8) -> Rig {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(n);
    rig.sent.clear();
    rig
}

fn link_of(rig: &Rig, number: u8) -> LinkId {
    let id = identity(number).id();
    let neighbours = rig.as_peer().snapshot(rig.now).neighbours;
    neighbours.into_iter().find(|v| v.id == id).expect("a neighbour").link
}

fn parent(rig: &Rig, publisher: &Identity) -> Option<PeerId> {
    let trees = rig.as_peer().snapshot(rig.now).trees;
    trees.iter().find(|t| t.publisher == publisher.id())?.parent
}

/// Publishes a message. Returns whether its batch explores, and how many censuses are sent.
fn publish(rig: &mut Rig, size: usize) -> (bool, usize) {
    rig.sent.clear();
    let now = rig.now;
    rig.as_peer_mut().publish(now, "t", &vec![7; size]).unwrap();
    rig.drain();
    let mut explores = false;
    let mut censuses = 0;
    for (_, frame) in &rig.sent {
        match frame {
            Frame::Gossip(g) => explores |= g.explores,
            Frame::Census(_) => censuses += 1,
            _ => {}
        }
    }
    (explores, censuses)
}

#[test]
fn large_first_message_is_preceded_by_a_census_and_does_not_go_over_all_links() {
    assert_eq!(publish(&mut with_neighbours(3), 1_000), (true, 0));
    let mut rig = with_neighbours(3);
    assert_eq!(publish(&mut rig, 100_000), (false, 3));
    assert_eq!(publish(&mut rig, 100_000), (false, 0), "one census is enough");
}

fn gossip(publisher: &Identity, sequence: u64) -> Gossip {
    let batch = message(publisher, 1, sequence, b"x");
    Gossip { hops: 1, explores: false, receipt: false, pulled: false, age_ms: 0, batch }
}

/// A census whose round is divisible by three goes over all links.
fn exploring_census(publisher: &Identity, round: u64) -> Census {
    Census { body: census(publisher, 1, 3 * round, 1) }
}

#[test]
fn exploring_census_moves_only_peers_without_recent_batches() {
    let mut rig = with_neighbours(3);
    let publisher = identity(6);
    let (one, two) = (link_of(&rig, 1), link_of(&rig, 2));
    rig.receive(one, gossip(&publisher, 0));
    assert_eq!(parent(&rig, &publisher), Some(identity(1).id()));
    rig.receive(one, gossip(&publisher, 1));
    rig.pass(Duration::from_secs(6));
    rig.receive(two, exploring_census(&publisher, 1));
    assert_eq!(parent(&rig, &publisher), Some(identity(1).id()), "the parent sends batches");
    // The parent forwards the census as well, as it also does in a cycle.
    rig.receive(one, exploring_census(&publisher, 1));
    rig.pass(Duration::from_secs(6));
    rig.receive(two, exploring_census(&publisher, 2));
    assert_eq!(
        parent(&rig, &publisher),
        Some(identity(2).id()),
        "no batch has arrived for ten seconds"
    );

    let mut rig = with_neighbours(3);
    rig.receive(one, gossip(&publisher, 0));
    rig.pass(Duration::from_secs(6));
    rig.receive(two, exploring_census(&publisher, 1));
    assert_eq!(parent(&rig, &publisher), Some(identity(2).id()), "the parents may form a cycle");
}
