//! Dials, order of frames, loss, and closed links.

use rumormill_proto::Address;
use rumormill_sim::NodeStatus;

use crate::script::{
    AT_START, MS, close, dial, dial_as, lines, listener, ping, scripted_node, store, world,
};

#[test]
fn dial_brings_link_up_at_both_ends() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(7, &w, b)), (100 * MS, ping(0, 5))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(200 * MS);
    assert_eq!(lines(&a_log), ["60 up 0 peer by dial 7"]);
    assert_eq!(lines(&b_log), ["50 up 1 peer", "110 ping 5 on 1"]);
    assert_eq!(w.ledger().seam_violations, []);
}

#[test]
fn dial_fails_when_refused_or_answered_by_another_identity() {
    let mut w = world();
    let (b, _) = listener(&mut w);
    let (c, c_log) = listener(&mut w);
    let unused = Address("10.9.9.9:1".parse().unwrap());
    let (at_b, at_c) = (Address(w.address(b)), Address(w.address(c)));
    let script = vec![
        (AT_START, dial(0, &w, b)),
        (AT_START, dial_as(1, w.id(b), vec![unused])),
        (AT_START, dial_as(2, w.id(b), vec![at_c])),
        (AT_START, dial_as(3, w.id(c), vec![unused, at_b, at_c])),
    ];
    w.crash(b);
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(200 * MS);
    assert_eq!(
        lines(&a_log),
        [
            "10 dial 1 Refused",
            "20 dial 0 Refused",
            "40 dial 2 WrongIdentity",
            // 20 ms until the second address refuses, then a whole handshake.
            "80 up 6 peer by dial 3"
        ]
    );
    assert_eq!(
        lines(&c_log),
        ["70 up 7 peer"],
        "the dial with the wrong identity never came up here"
    );
}

#[test]
fn frozen_process_accepts_dials_only_after_thaw() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    w.freeze(b);
    let script = vec![(AT_START, dial(0, &w, b)), (4000 * MS, dial(1, &w, b))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(5000 * MS);
    assert_eq!(w.status(b), NodeStatus::Frozen);
    assert_eq!(lines(&a_log), ["3000 dial 0 TimedOut"]);
    w.thaw(b);
    w.run_for(1000 * MS);
    assert_eq!(lines(&a_log)[1..], ["5050 up 2 peer by dial 1"]);
    assert_eq!(lines(&b_log), ["5040 up 3 peer"]);
}

#[test]
fn frames_keep_their_order_despite_loss() {
    let mut config =
        rumormill_sim::WorldConfig::new(9, rumormill_proto::Config::lan().build().unwrap());
    config.latency = rumormill_sim::Latency::Uniform { min: MS, max: 30 * MS };
    config.loss = 0.2;
    let mut w = rumormill_sim::World::new(config);
    let (b, b_log) = listener(&mut w);
    let mut script = vec![(AT_START, dial(0, &w, b))];
    script.extend((0..200).map(|n| (4000 * MS + MS * n, ping(0, u64::from(n)))));
    let (_, _) = scripted_node(&mut w, script);
    w.run_for(40_000 * MS);
    let log = b_log.borrow();
    let got: Vec<&str> = log[1..].iter().map(|(_, l)| l.as_str()).collect();
    let sent: Vec<String> = (0..200).map(|n| format!("ping {n} on 1")).collect();
    assert_eq!(got, sent);
    let slowest = log[1..].windows(2).map(|w| w[1].0 - w[0].0).max().unwrap();
    assert!(slowest >= 150, "a loss delays later frames, the longest pause was {slowest} ms");
}

#[test]
fn close_arrives_after_earlier_frames_and_once_at_each_end() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(0, &w, b)), (100 * MS, ping(0, 1)), (100 * MS, close(0))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(1000 * MS);
    assert_eq!(lines(&a_log), ["60 up 0 peer by dial 0", "100 down 0 Local(Done)"]);
    assert_eq!(lines(&b_log), ["50 up 1 peer", "110 ping 1 on 1", "110 down 1 Closed(Done)"]);
}

#[test]
fn simultaneous_closes_report_local_close_at_each_end() {
    let mut w = world();
    let (b, b_log) = scripted_node(&mut w, vec![(100 * MS, close(1))]);
    let script = vec![(AT_START, dial(0, &w, b)), (100 * MS, close(0))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(1000 * MS);
    assert_eq!(lines(&a_log)[1..], ["100 down 0 Local(Done)"]);
    assert_eq!(lines(&b_log)[1..], ["100 down 1 Local(Done)"]);
}

#[test]
fn use_of_a_link_that_is_not_up_is_recorded() {
    let mut w = world();
    let (_, _) = scripted_node(&mut w, vec![(AT_START, ping(0, 1)), (MS, close(4))]);
    w.run_for(100 * MS);
    assert_eq!(w.ledger().seam_violations.len(), 2);
}

#[test]
fn disk_keeps_only_durable_writes_after_a_crash() {
    let mut w = world();
    let (a, log) = scripted_node(&mut w, vec![(AT_START, store(0, 5)), (10 * MS, store(1, 6))]);
    w.run_for(11 * MS);
    w.crash(a);
    w.run_for(100 * MS);
    assert_eq!(lines(&log), ["2 stored 0"]);
    assert_eq!(w.disk(a).incarnation, Some(5));
}

#[test]
fn frame_with_invalid_signature_closes_the_link() {
    use rumormill_proto::wire::{Frame, Leave};
    use rumormill_proto::{Name, Presence, Record, SignedRecord};
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(0, &w, b))];
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    let record = Record {
        id: w.id(a),
        name: Name::new("a").unwrap(),
        addresses: Vec::new(),
        incarnation: 1,
        sequence: 0,
        presence: Presence::Left,
        degree: 0,
        target: 3,
        process: 1,
        other_process: None,
        participates: false,
    };
    let good = SignedRecord::sign(record, w.identity(a));
    w.inject(a, b, Frame::from(Leave { record: good.clone() })).unwrap();
    w.run_for(100 * MS);
    assert_eq!(lines(&b_log)[1..], ["110 Leave on 1"]);
    let mut bytes = good.to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = SignedRecord::from_bytes(&bytes).unwrap();
    w.inject(a, b, Frame::from(Leave { record: forged })).unwrap();
    w.run_for(100 * MS);
    assert_eq!(w.ledger().wire_violations.len(), 1);
    assert_eq!(lines(&b_log)[2..], ["210 down 1 Local(ProtocolViolation)"]);
    assert_eq!(lines(&a_log)[1..], ["220 down 0 Closed(ProtocolViolation)"]);
}

#[test]
fn machine_with_constant_timeouts_is_recorded_and_delayed() {
    use rumormill_proto::{Input, Output, PeerId, Role, StateMachine, Time};
    struct Restless(PeerId);
    impl StateMachine for Restless {
        fn id(&self) -> PeerId {
            self.0
        }
        fn handle(&mut self, _: Time, _: Input) {}
        fn poll_output(&mut self) -> Option<Output> {
            None
        }
        fn poll_timeout(&self) -> Option<Time> {
            Some(Time::ZERO)
        }
    }
    let mut w = world();
    w.add_machine(Role::Peer, |identity, _, _| Box::new(Restless(identity.id())));
    w.run_for(10 * MS);
    assert!(
        (1..=11).contains(&w.ledger().seam_violations.len()),
        "{:?}",
        w.ledger().seam_violations
    );
}
