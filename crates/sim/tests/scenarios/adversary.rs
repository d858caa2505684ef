//! Liars and cut paths: they cause no removal of live peers.

use rumormill_proto::failure::{Adjacency, Appointment, DeathReport, Testimony};
use rumormill_proto::signed::Signed;
use rumormill_proto::wire::{Frame, ProbeReply, Report, Testify, Verdict};
use rumormill_proto::{Event, Identity};
use rumormill_sim::NodeId;

use crate::common::{Net, ms, s};

/// A death report of `liar` on `subject`, with the adjacency that the subject signed for it.
fn death_report(liar: &Identity, subject: &Identity, incarnation: u64) -> Frame {
    let adjacency = Adjacency { subject: subject.id(), neighbour: liar.id(), incarnation };
    let report = DeathReport {
        reporter: liar.id(),
        subject: subject.id(),
        incarnation,
        adjacency: Signed::sign(adjacency, subject),
    };
    Report { report: Signed::sign(report, liar) }.into()
}

/// Sends a false report to every seed to which the liar has a link, and negative probe replies to
/// all peers. Returns the number of seeds.
fn send_false_report(net: &mut Net, liar: NodeId, subject: NodeId) -> usize {
    let incarnation = net.world.peer_snapshot(subject).unwrap().incarnation;
    let frame = death_report(net.world.identity(liar), net.world.identity(subject), incarnation);
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
fn single_liar_causes_no_removal() {
    let mut net = Net::lan(1, 3, 20);
    let (liar, subject) = net.edge();
    for _ in 0..40 {
        assert!(
            send_false_report(&mut net, liar, subject) >= 2,
            "the liar is registered at two seeds"
        );
        net.world.run_for(ms(500));
    }
    let id = net.id(subject);
    let reported =
        |e: &Event| matches!(e, Event::DeathReported { id: accused, .. } if *accused == id);
    let reports: usize = net.seeds.iter().map(|&s| net.event_times(s, reported).len()).sum();
    assert!(reports > 0, "a seed accepted the false report");
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(20));
}

#[test]
fn liar_in_network_of_two_is_refuted_by_seed_probe() {
    for seeds in [1, 2] {
        let mut net = Net::lan(10 + seeds as u64, seeds, 2);
        let (liar, subject) = (net.peers[0], net.peers[1]);
        for _ in 0..20 {
            assert!(send_false_report(&mut net, liar, subject) >= 1);
            net.world.run_for(ms(500));
        }
        net.assert_only_removed(&[]);
        net.assert_at_rest_within(s(20));
    }
}

#[test]
fn colluding_liars_are_refuted_by_seed_probe() {
    let mut net = Net::lan(2, 3, 20);
    let subject = net.peer_with_degree(3);
    let liars: Vec<_> = net.world.graph().neighbours(subject).collect();
    for _ in 0..20 {
        for &liar in &liars {
            send_false_report(&mut net, liar, subject);
        }
        net.world.run_for(ms(500));
    }
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(20));
}

#[test]
fn report_without_adjacency_of_the_subject_is_refused() {
    let mut net = Net::lan(3, 3, 20);
    let subject = net.peer_with_degree(3);
    let graph = net.world.graph();
    let mut others = net.peers.iter().filter(|&&p| p != subject && !graph.has_edge(p, subject));
    let liar = *others.next().unwrap();
    // The liar has no adjacency of the subject, so it signs one itself.
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
    let reported = |e: &Event| matches!(e, Event::DeathReported { id, .. } if *id == subject_id);
    assert!(net.event_times(seed, reported).is_empty());
    assert_eq!(
        net.world.ledger().wire_violations.len(),
        1,
        "the frame is invalid by its form alone"
    );
    net.assert_only_removed(&[]);
}

#[test]
fn cut_path_between_two_live_peers_causes_no_removal() {
    let mut net = Net::lan(4, 3, 20);
    let (a, b) = net.edge();
    net.world.cut_path(a, b);
    net.world.run_for(s(60));
    net.assert_only_removed(&[]);
    assert!(!net.world.graph().has_edge(a, b), "both ends drop the edge");
    net.publish_at_all_peers();
    net.world.run_for(s(15));
    net.assert_at_rest_within(s(30));
}

#[test]
fn cut_path_in_network_of_two_causes_no_removal() {
    let mut net = Net::lan(5, 1, 2);
    net.world.cut_path(net.peers[0], net.peers[1]);
    net.world.run_for(s(40));
    net.assert_only_removed(&[]);
    net.world.restore_path(net.peers[0], net.peers[1]);
    net.assert_at_rest_within(s(60));
}

#[test]
fn cut_path_to_one_seed_causes_no_removal() {
    let mut net = Net::lan(6, 3, 20);
    let (p, seed) = (net.peer_with_degree(3), net.seeds[0]);
    net.world.cut_path(p, seed);
    net.world.run_for(s(60));
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(30));
}

#[test]
fn many_cut_paths_cause_no_removal() {
    let mut net = Net::lan(7, 3, 30);
    let graph = net.world.graph();
    let edges: Vec<(NodeId, NodeId)> = graph
        .nodes()
        .flat_map(|a| graph.neighbours(a).map(move |b| (a, b)).collect::<Vec<_>>())
        .filter(|(a, b)| a < b)
        .step_by(5)
        .collect();
    for (a, b) in edges {
        net.world.cut_path(a, b);
    }
    net.world.run_for(s(60));
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(60));
}

/// Peers testify as witnesses with an appointment that the liar has signed.
#[test]
fn self_signed_appointment_is_refused() {
    let mut net = Net::lan(4, 3, 20);
    let (liar, subject) = net.edge();
    let incarnation = net.world.peer_snapshot(subject).unwrap().incarnation;
    let forger = net.world.identity(liar).clone();
    let subject_id = net.id(subject);
    for _ in 0..10 {
        send_false_report(&mut net, liar, subject);
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
    assert!(net.seeds.iter().map(refused).sum::<u64>() > 100, "the seeds refuse the testimonies");
    net.assert_only_removed(&[]);
    net.assert_at_rest_within(s(20));
}
