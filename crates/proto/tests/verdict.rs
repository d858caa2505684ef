//! Which votes make a certificate: those that the seeds which gave them still stand by.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use core::time::Duration;

use minicbor::bytes::ByteArray;
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::{Entries, Frame, Ping, Pong, Register, Votes};
use rumormill_proto::{Config, LinkDown, LinkId, PeerId, Role, Time};

use support::rig::Rig;
use support::statements::{identity, report, signed_record, vote};

/// The accused, and two of its neighbours.
const ACCUSED: u8 = 1;
const WITNESSES: [u8; 2] = [2, 3];

fn nothing() -> Votes {
    Votes { reports: Vec::new(), vote: None, testimonies: Vec::new(), withdrawn: None, lost: None }
}

fn accused() -> PeerId {
    identity(ACCUSED).id()
}

/// One of four seeds, so that three votes make a certificate; linked with the others (11 to 13) and
/// with two neighbours of peer 1, and with the reports of these on its death.
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
            want: Vec::new(),
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
    rig.receive(links[0], Votes { reports, ..nothing() });
    rig.sent.clear();
    (rig, links)
}

/// The witnesses answer the seed's pings: once its probe has failed, it asks them whether it
/// reaches them.
fn witnesses_answer(rig: &mut Rig) {
    let pings: Vec<(LinkId, u64)> = rig
        .sent
        .iter()
        .filter_map(|(link, f)| if let Frame::Ping(p) = f { Some((*link, p.nonce)) } else { None })
        .filter(|(link, _)| rig.links.get(link).is_some_and(|l| WITNESSES.contains(&l.who)))
        .collect();
    for (link, nonce) in pings {
        rig.receive(link, Pong { nonce });
    }
}

/// A seed votes, on its own link.
fn votes(rig: &mut Rig, links: [LinkId; 3], seed: u8) {
    let link = links[usize::from(seed - 11)];
    let witnesses = {
        let mut ids = WITNESSES.map(|w| identity(w).id()).to_vec();
        ids.sort();
        ids
    };
    let vote = Some(vote(&identity(seed), accused(), 1, witnesses));
    assert!(rig.receive(link, Votes { vote, ..nothing() }));
}

/// Lets the seed's own probe fail.
fn probe_fails(rig: &mut Rig) {
    let until = rig.now + Duration::from_millis(2_200);
    while rig.now < until {
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
        witnesses_answer(rig);
    }
    assert_eq!(told(rig, "voted"), 1);
}

fn told(rig: &Rig, event: &str) -> u64 {
    rig.events.get(event).copied().unwrap_or(0)
}

#[test]
fn three_votes_of_four_seeds_make_a_certificate() {
    let (mut rig, links) = with_a_case();
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    assert_eq!(told(&rig, "peer_removed"), 0);
    probe_fails(&mut rig);
    assert_eq!(told(&rig, "peer_removed"), 1);
}

#[test]
fn a_vote_that_was_withdrawn_does_not_count() {
    let (mut rig, links) = with_a_case();
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    rig.receive(links[0], Votes { withdrawn: Some(accused()), ..nothing() });
    probe_fails(&mut rig);
    assert_eq!(told(&rig, "peer_removed"), 0);
    votes(&mut rig, links, 11);
    assert_eq!(told(&rig, "peer_removed"), 1, "it may come to the same view again");
}

/// What they answered before the cut that leaves it without peers says nothing about what follows
/// it.
#[test]
fn seed_that_reaches_no_peer_after_its_probe_does_not_vote() {
    let (mut rig, links) = with_a_case();
    probe_fails(&mut rig);
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(4), 1)).to_vec();
    rig.receive(links[0], Votes { reports, ..nothing() });
    let until = rig.now + Duration::from_millis(4_000);
    while rig.now < until {
        for link in links {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
    }
    assert_eq!((told(&rig, "voted"), told(&rig, "self_doubt")), (1, 1), "on the first case alone");
}

/// Each time as if they came back from behind a cut, so that cases begin again; but not for ever.
#[test]
fn seed_whose_peers_always_answer_late_votes_after_a_lease() {
    let (mut rig, links) = with_a_case();
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    let config = Config::lan().build().unwrap();
    let late = config.probe_burst() * 3 / 4;
    let mut pings: Vec<(Time, LinkId, u64)> = Vec::new();
    let until = rig.now + config.lease() * 2;
    while told(&rig, "voted") == 0 {
        assert!(rig.now < until, "it votes");
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.receive(links[0], Votes { reports: reports.clone(), ..nothing() });
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
            if rig.links.get(&link).is_some_and(|l| WITNESSES.contains(&l.who)) {
                rig.receive(link, Pong { nonce });
            }
        }
        rig.timeout();
    }
}

/// Its lease of doubt was over, so it voted, and the others still hold its vote.
#[test]
fn seed_that_reaches_its_peers_again_withdraws_what_it_voted_in_doubt() {
    let (mut rig, links) = with_a_case();
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    let until = rig.now + Config::lan().build().unwrap().lease() * 2;
    while told(&rig, "voted") == 0 {
        assert!(rig.now < until, "it votes after a lease");
        for link in rig.links.keys().copied().collect::<Vec<_>>() {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.receive(links[0], Votes { reports: reports.clone(), ..nothing() });
        rig.next_deadline();
    }
    let (mut withdrawn, until) = (0, rig.now + Duration::from_secs(2));
    let says_so = |f: &Frame| matches!(f, Frame::Votes(v) if v.withdrawn == Some(accused()));
    while rig.now < until {
        witnesses_answer(&mut rig);
        withdrawn += rig.sent.drain(..).filter(|(_, f)| says_so(f)).count();
        rig.next_deadline();
    }
    assert_eq!(withdrawn, 3, "at each of the others");
}

/// What it has to say about that vote cannot come any more.
#[test]
fn a_vote_of_a_seed_that_is_gone_does_not_count() {
    let (mut rig, links) = with_a_case();
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    rig.link_down(links[1], LinkDown::Lost);
    probe_fails(&mut rig);
    assert_eq!(told(&rig, "peer_removed"), 0);
}

/// Another seed could not withdraw it.
#[test]
fn a_vote_counts_only_from_the_seed_that_gave_it() {
    let (mut rig, links) = with_a_case();
    votes(&mut rig, links, 11);
    let mut witnesses = WITNESSES.map(|w| identity(w).id()).to_vec();
    witnesses.sort();
    let vote = Some(vote(&identity(12), accused(), 1, witnesses));
    rig.receive(links[0], Votes { vote, ..nothing() });
    probe_fails(&mut rig);
    assert_eq!(told(&rig, "peer_removed"), 0);
}

#[test]
fn who_hears_from_the_accused_withdraws_its_vote() {
    let (mut rig, links) = with_a_case();
    probe_fails(&mut rig);
    rig.sent.clear();
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(told(&rig, "accusation_refuted"), 1);
    let withdrawn = rig.sent.iter().filter(
        |(_, f)| matches!(f, Frame::Votes(v) if v.withdrawn == Some(accused()) && v.vote.is_none()),
    );
    assert_eq!(withdrawn.count(), 3, "at each of the other seeds");
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    assert_eq!(told(&rig, "peer_removed"), 0);
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

/// A seed that was stopped finds votes and a probe that has run out in what came meanwhile; but it
/// was not there to hear the answer.
#[test]
fn a_seed_that_was_stopped_does_not_take_its_own_silence_for_the_accuseds() {
    let (mut rig, links) = with_a_case();
    rig.timeout();
    rig.pass(Duration::from_millis(1_500));
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    rig.timeout();
    assert_eq!((told(&rig, "voted"), told(&rig, "peer_removed")), (0, 0));
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(told(&rig, "accusation_refuted"), 1);
}

/// The same where its probe was the next thing due when it was stopped: other seeds' votes come
/// before the accused's answer, though both wait.
#[test]
fn a_probe_does_not_run_out_before_what_came_meanwhile_was_read() {
    let (mut rig, links) = with_a_case();
    // Its connection to the accused is still under way.
    let end = rig.now + Config::lan().build().unwrap().probe_burst() * 3;
    while rig.deadline().unwrap() < end {
        for link in links {
            rig.receive(link, Ping { nonce: 0 });
        }
        rig.next_deadline();
    }
    assert_eq!(rig.deadline(), Some(end), "nothing else is due before it");
    rig.pass(Duration::from_millis(1_500));
    votes(&mut rig, links, 11);
    votes(&mut rig, links, 12);
    assert_eq!((told(&rig, "voted"), told(&rig, "peer_removed")), (0, 0));
    rig.link_up(ACCUSED, Role::Peer, None);
    assert_eq!(told(&rig, "accusation_refuted"), 1);
    rig.timeout();
    assert_eq!((told(&rig, "voted"), told(&rig, "peer_removed")), (0, 0));
}

/// What its accusers say is of at least a probe's time ago. A seed that has heard from it since
/// waits as long as they did before it takes a moment's silence (a frame lost on the way) for their
/// word.
#[test]
fn silence_counts_from_the_last_sign_of_life() {
    let (mut rig, links) = with_a_case();
    let link = rig.link_up(ACCUSED, Role::Peer, None);
    rig.receive(link, Register { record: signed_record(&identity(ACCUSED), 1, 1) });
    assert_eq!(told(&rig, "accusation_refuted"), 1);
    let reports = WITNESSES.map(|w| report(&identity(w), &identity(ACCUSED), 1)).to_vec();
    rig.receive(links[0], Votes { reports, ..nothing() });
    // A connection to the accused is under way, so the probe takes three bursts.
    for (ms, votes) in [(700, 0), (400, 0), (600, 0), (200, 1)] {
        // In small steps: a seed that wakes up late gives the accused as much more time.
        for _ in 0..ms / 20 {
            rig.pass(Duration::from_millis(20));
            rig.timeout();
            witnesses_answer(&mut rig);
        }
        assert_eq!(told(&rig, "voted"), votes, "after {ms} ms more");
    }
}
