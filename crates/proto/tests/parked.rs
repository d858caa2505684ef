//! A registration that stands without a link: a seed with many peers closes what it does not need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use rumormill_proto::snapshot::PeerState;
use rumormill_proto::{CloseReason, Config, DialTarget, LinkDown, LinkId};

use support::rig::{Rig, SEEDS};

/// A joined peer of whose links to seeds all have ended for this reason.
fn without_links(reason: CloseReason) -> Rig {
    let mut rig = Rig::peer(Config::lan().build().unwrap());
    rig.join(1);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    for link in seed_links(&rig) {
        rig.link_down(link, LinkDown::Closed(reason));
    }
    rig
}

fn seed_links(rig: &Rig) -> Vec<LinkId> {
    rig.links.iter().filter(|(_, r)| SEEDS.contains(&r.who)).map(|(l, _)| *l).collect()
}

fn dials_to_seeds(rig: &Rig) -> usize {
    rig.dials.iter().filter(|(_, to)| matches!(to, DialTarget::Seed(_))).count()
}

/// Lets the peer meet its deadlines for a while; says after how long it dialled a seed.
fn dials_after(rig: &mut Rig, limit: Duration) -> Option<Duration> {
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
fn the_seed_is_done_and_the_peer_stays_joined() {
    let mut rig = without_links(CloseReason::Done);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    let view = rig.as_peer().snapshot(rig.now);
    assert!(view.network_size > 0, "what the seeds said holds");
    let registered = view.seeds.iter().filter(|s| s.registered && !s.connected).count();
    assert_eq!(registered, 2);
    assert_eq!(dials_to_seeds(&rig), 0, "there is nothing to say");
    // A list that it wants, its new degree and the lease are reasons to come again.
    assert!(dials_after(&mut rig, Duration::from_secs(40)).is_some());
    let registers = rig.total("Register").0;
    for (dial, _) in rig.dials.clone() {
        rig.answer_dial(dial, None);
    }
    assert!(rig.total("Register").0 > registers);
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
}

#[test]
fn any_other_end_of_the_link_ends_the_registration() {
    let mut rig = without_links(CloseReason::Incompatible);
    assert_eq!(rig.as_peer().state(), PeerState::Degraded);
    assert!(dials_after(&mut rig, Duration::from_secs(5)).is_some());
}

/// It lives, and has no room for another link: it may have some in a moment. A registration that is
/// never refreshed ends with its lease.
#[test]
fn a_seed_without_room_keeps_the_registration_until_the_lease_ends() {
    let mut rig = without_links(CloseReason::Limit);
    let from = rig.now;
    assert_eq!(rig.as_peer().state(), PeerState::Joined);
    assert!(dials_after(&mut rig, Duration::from_secs(5)).is_some(), "it tries again");
    while rig.as_peer().state() == PeerState::Joined {
        assert!(rig.now.since(from) < Duration::from_secs(150), "its lease is over");
        while let Some((dial, to)) = rig.dials.first().cloned() {
            rig.answer_dial(dial, None);
            if matches!(to, DialTarget::Seed(_)) {
                for link in seed_links(&rig) {
                    rig.link_down(link, LinkDown::Closed(CloseReason::Limit));
                }
            }
        }
        rig.next_deadline();
    }
    assert!(rig.now.since(from) >= Duration::from_secs(110), "{:?}", rig.now.since(from));
}

#[test]
fn the_goodbye_is_told_on_a_new_link() {
    let mut rig = without_links(CloseReason::Done);
    let now = rig.now;
    rig.as_peer_mut().leave(now, Duration::from_secs(2));
    rig.drain();
    assert_eq!(rig.as_peer().state(), PeerState::Leaving);
    let registers = rig.total("Register").0;
    // The neighbours have read it.
    for link in rig.links.keys().copied().collect::<Vec<_>>() {
        rig.link_down(link, LinkDown::Closed(CloseReason::Done));
    }
    assert!(dials_after(&mut rig, Duration::from_millis(500)).is_some());
    for (dial, _) in rig.dials.clone() {
        rig.answer_dial(dial, None);
    }
    assert!(rig.total("Register").0 > registers, "the record that says so");
    rig.pass(Duration::from_secs(1));
    rig.timeout();
    assert_eq!(rig.as_peer().state(), PeerState::Left);
}
