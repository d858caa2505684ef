//! Which votes make a certificate: only those that their seeds have not withdrawn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::MAX_SEED_LINKS;
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::{Entries, Frame, Ping, Pong, Register, Votes};
use rumormill_proto::{Config, LinkEnd, LinkId, PeerId, Role, Time};

use support::rig::Rig;
use support::statements::{identity, report, signed_record, vote};

/// The accused peer, and two of its neighbours.
const ACCUSED: u8 = 1;
const WITNESSES: [u8; 2] = [2, 3];

fn no_votes() -> Votes {
    Votes { reports: Vec::new(), vote: None, testimonies: Vec::new(), withdrawn: None, lost: None }
}

fn accused() -> PeerId {
    identity(ACCUSED).id()
}

/// One of four seeds, so that three votes make a certificate. It is linked with the other seeds (11
/// to 13) and with two neighbours of the accused, and has the death reports of these neighbours.
fn with_a_case() -> (Rig, [LinkId; 3]) {
    let mut rig = Rig::seed(Config::lan().build().unwrap());
    while let Some((dial, _)) = rig.dials.first().cloned() {
        rig.answer_dial(dial, None);
    }
    let links = [11, 12, 13].map(|seed| rig.link_up(seed, Role::Seed, None));
    let alive = |n: u8| Entry::new(signed_record(&identity(n), 1, 0));
    rig.receive(
        links[0],
        Entries {
            entries: [ACCUSED, WITNESSES[0], WITNESSES[1], 4].map(alive).to_vec(),
            requested_buckets: Vec::new(),
            nonce: ByteArray::from([0; 16]),
            compared: true,
            synced: true,
        },
    );
    for witness in WITNESSES {
        let link = rig.link_up(witness, Role::Peer, None);
        rig.receive(link, Register { record: signed_record(&identity(witness), 1, 1) });
    }
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    rig.receive(links[0], Votes { reports, ..no_votes() });
    rig.sent.clear();
    (rig, links)
}

/// The witnesses answer the pings of the seed, which checks with them that it reaches its peers
/// once its probe has failed.
fn witnesses_answer(rig: &mut Rig) {
    let pings: Vec<(LinkId, u64)> = rig
        .sent
        .iter()
        .filter_map(|(link, f)| if let Frame::Ping(p) = f { Some((*link, p.nonce)) } else { None })
        .filter(|(link, _)| rig.links.get(link).is_some_and(|l| WITNESSES.contains(&l.number)))
        .collect();
    for (link, nonce) in pings {
        rig.receive(link, Pong { nonce });
    }
}

/// Seed `seed` sends its vote on its own link.
fn cast_vote(rig: &mut Rig, links: [LinkId; 3], seed: u8) {
    let link = links[usize::from(seed - 11)];
    let witnesses = {
        let mut ids = WITNESSES.map(|w| identity(w).id()).to_vec();
        ids.sort();
        ids
    };
    let vote = Some(vote(&identity(seed), accused(), 1, witnesses));
    assert!(rig.receive(link, Votes { vote, ..no_votes() }));
}

/// Lets the probe of the seed under test fail.
fn probe_fails(rig: &mut Rig) {
    let until = rig.now + Duration::from_millis(2_200);
    while rig.now < until {
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
        witnesses_answer(rig);
    }
    assert_eq!(event_count(rig, "voted"), 1);
}

fn event_count(rig: &Rig, event: &str) -> u64 {
    rig.events.get(event).copied().unwrap_or(0)
}

#[test]
fn three_votes_of_four_seeds_make_a_certificate() {
    let (mut rig, links) = with_a_case();
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    assert_eq!(event_count(&rig, "peer_removed"), 0);
    probe_fails(&mut rig);
    assert_eq!(event_count(&rig, "peer_removed"), 1);
}

#[test]
fn withdrawn_vote_does_not_count() {
    let (mut rig, links) = with_a_case();
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    rig.receive(links[0], Votes { withdrawn: Some(accused()), ..no_votes() });
    probe_fails(&mut rig);
    assert_eq!(event_count(&rig, "peer_removed"), 0);
    cast_vote(&mut rig, links, 11);
    assert_eq!(event_count(&rig, "peer_removed"), 1, "a seed may vote again after it withdrew");
}

/// Answers from before a partition do not show that the seed reaches its peers after it.
#[test]
fn seed_that_reaches_no_peer_after_its_probe_does_not_vote() {
    let (mut rig, links) = with_a_case();
    probe_fails(&mut rig);
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(4), 1)).to_vec();
    rig.receive(links[0], Votes { reports, ..no_votes() });
    let until = rig.now + Duration::from_millis(4_000);
    while rig.now < until {
        for link in links {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
    }
    assert_eq!(
        (event_count(&rig, "voted"), event_count(&rig, "self_doubt")),
        (1, 1),
        "on the first case alone"
    );
}

/// Each late answer looks like the end of a partition, so the cases begin again; a lease bounds
/// this.
#[test]
fn seed_whose_peers_always_answer_late_votes_after_a_lease() {
    let (mut rig, links) = with_a_case();
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    let config = Config::lan().build().unwrap();
    let late = config.probe_burst() * 3 / 4;
    let mut pings: Vec<(Time, LinkId, u64)> = Vec::new();
    let until = rig.now + config.lease() * 2;
    while event_count(&rig, "voted") == 0 {
        assert!(rig.now < until, "no vote after two leases");
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.receive(links[0], Votes { reports: reports.clone(), ..no_votes() });
        let now = rig.now;
        let asked = rig.sent.drain(..).filter_map(|(link, f)| match f {
            Frame::Ping(p) => Some((now + late, link, p.nonce)),
            _ => None,
        });
        pings.extend(asked);
        let next = pings.iter().map(|p| p.0).chain(rig.deadline()).min().unwrap();
        rig.now = rig.now.max(next);
        let now = rig.now;
        for (_, link, nonce) in pings.extract_if(.., |p| p.0 <= now).collect::<Vec<_>>() {
            if rig.links.get(&link).is_some_and(|l| WITNESSES.contains(&l.number)) {
                rig.receive(link, Pong { nonce });
            }
        }
        rig.timeout();
    }
}

/// The seed reached no peer for a whole lease and voted; the other seeds hold its vote.
#[test]
fn seed_that_reaches_its_peers_again_withdraws_votes_given_in_doubt() {
    let (mut rig, links) = with_a_case();
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    let until = rig.now + Config::lan().build().unwrap().lease() * 2;
    while event_count(&rig, "voted") == 0 {
        assert!(rig.now < until, "no vote after two leases");
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.receive(links[0], Votes { reports: reports.clone(), ..no_votes() });
        rig.next_deadline();
    }
    let (mut withdrawn, until) = (0, rig.now + Duration::from_secs(2));
    let is_withdrawal = |f: &Frame| matches!(f, Frame::Votes(v) if v.withdrawn == Some(accused()));
    while rig.now < until {
        witnesses_answer(&mut rig);
        withdrawn += rig.sent.drain(..).filter(|(_, f)| is_withdrawal(f)).count();
        rig.next_deadline();
    }
    assert_eq!(withdrawn, 3, "at each of the others");
}

/// A withdrawal of that vote could not arrive.
#[test]
fn vote_of_an_unlinked_seed_does_not_count() {
    let (mut rig, links) = with_a_case();
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    rig.link_down(links[1], LinkEnd::Lost);
    probe_fails(&mut rig);
    assert_eq!(event_count(&rig, "peer_removed"), 0);
}

/// A vote that another seed relays could not be withdrawn.
#[test]
fn vote_counts_only_on_the_link_of_its_seed() {
    let (mut rig, links) = with_a_case();
    cast_vote(&mut rig, links, 11);
    let mut witnesses = WITNESSES.map(|w| identity(w).id()).to_vec();
    witnesses.sort();
    let vote = Some(vote(&identity(12), accused(), 1, witnesses));
    rig.receive(links[0], Votes { vote, ..no_votes() });
    probe_fails(&mut rig);
    assert_eq!(event_count(&rig, "peer_removed"), 0);
}

#[test]
fn seed_that_hears_from_the_accused_withdraws_its_vote() {
    let (mut rig, links) = with_a_case();
    probe_fails(&mut rig);
    rig.sent.clear();
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(event_count(&rig, "accusation_refuted"), 1);
    let withdrawn = rig.sent.iter().filter(
        |(_, f)| matches!(f, Frame::Votes(v) if v.withdrawn == Some(accused()) && v.vote.is_none()),
    );
    assert_eq!(withdrawn.count(), 3, "at each of the other seeds");
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    assert_eq!(event_count(&rig, "peer_removed"), 0);
}

#[test]
fn seed_withdraws_its_vote_at_the_other_seeds_when_it_probes_again() {
    let (mut rig, links) = with_a_case();
    probe_fails(&mut rig);
    let repeated = |f: &Frame| matches!(f, Frame::Votes(v) if v.withdrawn == Some(accused()));
    let (mut withdrawn, until) = (0, rig.now + Duration::from_secs(7));
    while rig.now < until {
        for link in links {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
        withdrawn += rig.sent.drain(..).filter(|(_, f)| repeated(f)).count();
    }
    assert_eq!(withdrawn, 3, "at each of them");
}

/// A seed that was paused finds votes among the waiting frames, and a probe that is overdue. It
/// could not receive the answer to that probe during its pause.
#[test]
fn paused_seed_does_not_vote_for_silence_during_its_pause() {
    let (mut rig, links) = with_a_case();
    rig.timeout();
    rig.pass(Duration::from_millis(1_500));
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    rig.timeout();
    assert_eq!((event_count(&rig, "voted"), event_count(&rig, "peer_removed")), (0, 0));
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(event_count(&rig, "accusation_refuted"), 1);
}

/// The same where the end of the probe is the first deadline that passes during the pause: the
/// votes of other seeds are read before the answer of the accused, though both are waiting.
#[test]
fn probe_does_not_fail_before_earlier_frames_were_read() {
    let (mut rig, links) = with_a_case();
    // The dial to the accused is still pending.
    let end = rig.now + Config::lan().build().unwrap().probe_burst() * 3;
    while rig.deadline().unwrap() < end {
        for link in links {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
    }
    assert_eq!(rig.deadline(), Some(end), "no other deadline is earlier");
    rig.pass(Duration::from_millis(1_500));
    cast_vote(&mut rig, links, 11);
    cast_vote(&mut rig, links, 12);
    assert_eq!((event_count(&rig, "voted"), event_count(&rig, "peer_removed")), (0, 0));
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(event_count(&rig, "accusation_refuted"), 1);
    rig.timeout();
    assert_eq!((event_count(&rig, "voted"), event_count(&rig, "peer_removed")), (0, 0));
}

/// The reports are based on a silence that began at least one probe ago. A seed that has received a
/// frame of the accused since then waits as long as the reporters did, so that one lost frame does
/// not confirm their reports.
#[test]
fn silence_counts_from_the_last_sign_of_life() {
    let (mut rig, links) = with_a_case();
    let link = rig.link_up(ACCUSED, Role::Peer, None);
    rig.receive(link, Register { record: signed_record(&identity(ACCUSED), 1, 1) });
    assert_eq!(event_count(&rig, "accusation_refuted"), 1);
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    rig.receive(links[0], Votes { reports, ..no_votes() });
    // A dial to the accused is pending, so the probe takes three bursts.
    for (ms, votes) in [(700, 0), (400, 0), (600, 0), (200, 1)] {
        // The steps are small because a seed that wakes up late gives the accused as much more
        // time.
        for _ in 0..ms / 20 {
            rig.pass(Duration::from_millis(20));
            rig.timeout();
            witnesses_answer(&mut rig);
        }
        assert_eq!(event_count(&rig, "voted"), votes, "after {ms} ms more");
    }
}

/// The connection that proves that the accused is alive is one more than the seed may have.
#[test]
fn handshake_refutes_an_accusation_also_at_a_seed_without_room_for_the_link() {
    let (mut rig, _) = with_a_case();
    while rig.links.len() < MAX_SEED_LINKS {
        rig.link_up(4, Role::Peer, None);
    }
    let link = rig.link_up(ACCUSED, Role::Peer, None);
    assert!(!rig.links.contains_key(&link), "there is no room for it");
    assert_eq!(rig.events.get("accusation_refuted"), Some(&1));
}
