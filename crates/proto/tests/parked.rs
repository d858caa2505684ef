//! Registrations that stand without a link: a seed with many peers closes links that it does not
//! need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{CloseReason, Config, DialTarget, LinkEnd, LinkId};

use support::rig::{Rig, SEEDS};

/// A joined peer of which every seed has closed the link with this reason.
fn joined_peer_without_seed_links(reason: CloseReason) -> Rig {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(1);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    for link in seed_links(&rig) {
        rig.link_down(link, LinkEnd::Closed(reason));
    }
    rig
}

fn seed_links(rig: &Rig) -> Vec<LinkId> {
    rig.links.iter().filter(|(_, r)| SEEDS.contains(&r.number)).map(|(l, _)| *l).collect()
}

fn dials_to_seeds(rig: &Rig) -> usize {
    rig.dials.iter().filter(|(_, to)| matches!(to, DialTarget::Seed(_))).count()
}

/// Lets the peer meet its deadlines until `limit`, and returns after how long it dialled a seed.
fn time_to_next_seed_dial(rig: &mut Rig, limit: Duration) -> Option<Duration> {
    let start = rig.now;
    while rig.now.since(start) < limit {
        if dials_to_seeds(rig) > 0 {
            return Some(rig.now.since(start));
        }
        rig.next_deadline();
    }
    None
}

#[test]
fn peer_stays_joined_after_seeds_park_its_links() {
    let mut rig = joined_peer_without_seed_links(CloseReason::Done);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    let view = rig.as_peer().snapshot(rig.now);
    assert!(view.network_size > 0, "the network size of the seeds stands");
    let registered = view.seeds.iter().filter(|s| s.registered && !s.connected).count();
    assert_eq!(registered, 2);
    assert_eq!(dials_to_seeds(&rig), 0, "there is no reason to dial");
    // A list that the peer needs, its new degree and the lease are reasons to dial again.
    assert!(time_to_next_seed_dial(&mut rig, Duration::from_secs(40)).is_some());
    let registers = rig.total("Register").0;
    for (dial, _) in rig.dials.clone() {
        rig.answer_dial(dial, None);
    }
    assert!(rig.total("Register").0 > registers);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
}

#[test]
fn registration_ends_with_any_other_close_reason() {
    let mut rig = joined_peer_without_seed_links(CloseReason::Incompatible);
    assert_eq!(rig.as_peer().state(), PeerState::Degraded);
    assert!(time_to_next_seed_dial(&mut rig, Duration::from_secs(5)).is_some());
}

/// A seed that is alive and at its link limit may accept a link later. A registration that is never
/// refreshed ends with its lease.
#[test]
fn seed_at_its_link_limit_keeps_the_registration_until_the_lease_ends() {
    let mut rig = joined_peer_without_seed_links(CloseReason::Limit);
    let from = rig.now;
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    assert!(
        time_to_next_seed_dial(&mut rig, Duration::from_secs(5)).is_some(),
        "the peer dials again"
    );
    while rig.as_peer().state() == PeerState::Joined {
        assert!(rig.now.since(from) < Duration::from_secs(150), "its lease is over");
        while let Some((dial, to)) = rig.dials.first().cloned() {
            rig.answer_dial(dial, None);
            if matches!(to, DialTarget::Seed(_)) {
                for link in seed_links(&rig) {
                    rig.link_down(link, LinkEnd::Closed(CloseReason::Limit));
                }
            }
        }
        rig.next_deadline();
    }
    assert!(rig.now.since(from) >= Duration::from_secs(110), "{:?}", rig.now.since(from));
}

#[test]
fn leave_is_sent_to_parked_seeds_on_a_new_link() {
    let mut rig = joined_peer_without_seed_links(CloseReason::Done);
    let now = rig.now;
    rig.as_peer_mut().leave(now, Duration::from_secs(2));
    rig.drain();
    assert_eq!(rig.as_peer().state(), PeerState::Leaving);
    let registers = rig.total("Register").0;
    // The neighbours have read the Leave.
    for link in rig.links.keys().copied().collect::<Vec<_>>() {
        rig.link_down(link, LinkEnd::Closed(CloseReason::Done));
    }
    assert!(time_to_next_seed_dial(&mut rig, Duration::from_millis(500)).is_some());
    for (dial, _) in rig.dials.clone() {
        rig.answer_dial(dial, None);
    }
    assert!(rig.total("Register").0 > registers, "the record with presence left");
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    assert_eq!(rig.as_peer().state(), PeerState::Left);
}
