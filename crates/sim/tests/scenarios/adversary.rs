//! Liars and bad links: nobody dies of one of them.

use rumormill_proto::failure::{Adjacency, Appointment, DeathReport, Testimony};
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{Frame, ProbeReply, Report, Testify, Verdict};
use rumormill_proto::{Event, Identity};
use rumormill_sim::NodeId;

use crate::common::{Net, ms, s};

/// A report of `liar` on `subject`, with the adjacency that the subject gave it.
fn report(liar: &Identity, subject: &Identity, incarnation: u64) -> Frame {
    let adjacency = Adjacency { subject: subject.id(), neighbour: liar.id(), incarnation };
    let report = DeathReport {
        reporter: liar.id(),
        subject: subject.id(),
        incarnation,
        adjacency: Signed::sign(adjacency, subject),
    };
    Report { report: Signed::sign(report, liar) }.into()
}

/// The liar tells every seed it has a link to, and says that it does not hear the subject whenever
/// somebody might ask.
fn lie(net: &mut Net, liar: NodeId, subject: NodeId) -> usize {
    let incarnation = net.world.peer_snapshot(subject).unwrap().incarnation;
    let frame = report(net.world.identity(liar), net.world.identity(subject), incarnation);
    let id = net.id(subject);
    let silent: Frame = ProbeReply { subject: id, verdict: Verdict::Silent }.into();
    for p in net.peers.clone() {
        let _ = net.world.inject(liar, p, silent.clone());
    }
    net.seeds
        .clone()
        .into_iter()
        .filter(|&s| net.world.inject(liar, s, frame.clone()).is_ok())
        .count()
}

#[test]
fn one_liar_kills_nobody() {
    let mut net = Net::lan(1, 3, 20);
    let (liar, subject) = net.an_edge();
    for _ in 0..40 {
        assert!(lie(&mut net, liar, subject) >= 2, "the liar is registered at two seeds");
        net.world.run_for(ms(500));
    }
    let id = net.id(subject);
    let reported = |e: &Event| matches!(e, Event::DeathReported { id: who, .. } if *who == id);
    let heard: usize = net.seeds.iter().map(|&s| net.told(s, reported).len()).sum();
    assert!(heard > 0, "the lie reached a seed and was taken for a report");
    net.only_removed(&[]);
    net.rests_within(s(20));
}

#[test]
fn a_liar_among_two_is_refuted_by_the_seeds_own_probe() {
    for seeds in [1, 2] {
        let mut net = Net::lan(10 + seeds as u64, seeds, 2);
        let (liar, subject) = (net.peers[0], net.peers[1]);
        for _ in 0..20 {
            assert!(lie(&mut net, liar, subject) >= 1);
            net.world.run_for(ms(500));
        }
        net.only_removed(&[]);
        net.rests_within(s(20));
    }
}

#[test]
fn a_gang_of_liars_fails_at_the_seeds_own_probe() {
    let mut net = Net::lan(2, 3, 20);
    let subject = net.peer_of_degree(3);
    let gang: Vec<_> = net.world.graph().neighbours(subject).collect();
    for _ in 0..20 {
        for &liar in &gang {
            lie(&mut net, liar, subject);
        }
        net.world.run_for(ms(500));
    }
    net.only_removed(&[]);
    net.rests_within(s(20));
}

#[test]
fn an_accuser_that_was_never_a_neighbour_is_refused() {
    let mut net = Net::lan(3, 3, 20);
    let subject = net.peer_of_degree(3);
    let graph = net.world.graph();
    let strangers = net.peers.iter().filter(|&&p| p != subject && !graph.has_edge(p, subject));
    let liar = *strangers.clone().next().unwrap();
    // It has no adjacency of the subject, so it makes one up: signed by itself.
    let (liar_key, subject_id) = (net.world.identity(liar).clone(), net.id(subject));
    let adjacency = Adjacency { subject: liar_key.id(), neighbour: subject_id, incarnation: 1 };
    let body = DeathReport {
        reporter: liar_key.id(),
        subject: subject_id,
        incarnation: 1,
        adjacency: Signed::sign(adjacency, &liar_key),
    };
    let frame: Frame = Report { report: Signed::sign(body, &liar_key) }.into();
    let seed = *net.seeds.iter().find(|&&s| net.world.link_between(liar, s).is_some()).unwrap();
    net.world.inject(liar, seed, frame).unwrap();
    net.world.run_for(s(5));
    let told = |e: &Event| matches!(e, Event::DeathReported { id, .. } if *id == subject_id);
    assert!(net.told(seed, told).is_empty());
    assert_eq!(net.world.ledger().wire_faults.len(), 1, "its form alone gives it away");
    net.only_removed(&[]);
}

#[test]
fn a_cut_link_between_two_live_peers_kills_neither() {
    let mut net = Net::lan(4, 3, 20);
    let (a, b) = net.an_edge();
    net.world.cut(a, b);
    net.world.run_for(s(60));
    net.only_removed(&[]);
    assert!(!net.world.graph().has_edge(a, b), "they give each other up");
    net.publish_everywhere();
    net.world.run_for(s(15));
    net.rests_within(s(30));
}

#[test]
fn two_peers_with_nothing_but_a_cut_link_stay_alive() {
    let mut net = Net::lan(5, 1, 2);
    net.world.cut(net.peers[0], net.peers[1]);
    net.world.run_for(s(40));
    net.only_removed(&[]);
    net.world.mend(net.peers[0], net.peers[1]);
    net.rests_within(s(60));
}

#[test]
fn a_cut_to_one_seed_kills_nobody() {
    let mut net = Net::lan(6, 3, 20);
    let (p, seed) = (net.peer_of_degree(3), net.seeds[0]);
    net.world.cut(p, seed);
    net.world.run_for(s(60));
    net.only_removed(&[]);
    net.rests_within(s(30));
}

#[test]
fn many_cut_links_kill_nobody() {
    let mut net = Net::lan(7, 3, 30);
    let graph = net.world.graph();
    let edges: Vec<(NodeId, NodeId)> = graph
        .nodes()
        .flat_map(|a| graph.neighbours(a).map(move |b| (a, b)).collect::<Vec<_>>())
        .filter(|(a, b)| a < b)
        .step_by(5)
        .collect();
    for (a, b) in edges {
        net.world.cut(a, b);
    }
    net.world.run_for(s(60));
    net.only_removed(&[]);
    net.rests_within(s(60));
}

/// Peers that call themselves witnesses, with an appointment that one of them signed.
#[test]
fn nobody_appoints_itself() {
    let mut net = Net::lan(4, 3, 20);
    let (liar, subject) = net.an_edge();
    let incarnation = net.world.peer_snapshot(subject).unwrap().incarnation;
    let forger = net.world.identity(liar).clone();
    let subject_id = net.id(subject);
    for _ in 0..10 {
        lie(&mut net, liar, subject);
        for p in net.peers.clone().into_iter().filter(|&p| p != subject) {
            let witness = net.world.identity(p).clone();
            let appointment = Appointment {
                seed: forger.id(),
                witness: witness.id(),
                subject: subject_id,
                incarnation,
            };
            let appointment = Signed::sign(appointment, &forger);
            let testimony = Testimony { witness: witness.id(), appointment };
            let frame: Frame = Testify { testimony: Signed::sign(testimony, &witness) }.into();
            for s in net.seeds.clone() {
                let _ = net.world.inject(p, s, frame.clone());
            }
        }
        net.world.run_for(ms(500));
    }
    let refused =
        |s: &NodeId| net.world.seed_snapshot(*s).unwrap().counters.get("testimonies_refused");
    assert!(net.seeds.iter().map(refused).sum::<u64>() > 100, "they are known for what they are");
    net.only_removed(&[]);
    net.rests_within(s(20));
}
