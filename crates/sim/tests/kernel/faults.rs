//! Crashes, frozen processes, hosts without power, partitions.

use rumormill_sim::DiskFate;

use crate::script::{AT_START, MS, close, dial, lines, listener, ping, scripted_node, world};

#[test]
fn killed_process_resets_its_links_after_its_sent_frames() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(0, &w, b)), (100 * MS, ping(0, 1))];
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(105 * MS);
    w.crash(a);
    w.run_for(1000 * MS);
    assert_eq!(lines(&b_log)[1..], ["110 ping 1 on 1", "115 down 1 Lost"]);
    assert_eq!(lines(&a_log).len(), 1, "a killed process gets no input");
}

#[test]
fn host_without_power_loses_link_when_a_frame_is_sent_to_it() {
    let mut w = world();
    let (b, _) = listener(&mut w);
    let script =
        vec![(AT_START, dial(0, &w, b)), (200 * MS, ping(0, 1)), (300 * MS, dial(1, &w, b))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.power_off(b);
    w.run_for(20_000 * MS);
    let expected = ["3300 dial 1 TimedOut", "15200 down 0 Lost"];
    assert_eq!(lines(&a_log)[1..], expected);
}

#[test]
fn restarted_host_resets_old_links() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(0, &w, b)), (500 * MS, ping(0, 1))];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.power_off(b);
    w.run_for(100 * MS);
    w.restart(b, DiskFate::Kept);
    w.run_for(1000 * MS);
    assert_eq!(lines(&a_log)[1..], ["520 down 0 Lost"]);
    assert_eq!(lines(&b_log).len(), 1, "the new process does not know the old link");
}

#[test]
fn thawed_process_receives_all_frames_late_and_in_order() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![
        (AT_START, dial(0, &w, b)),
        (200 * MS, ping(0, 1)),
        (300 * MS, ping(0, 2)),
        (400 * MS, close(0)),
    ];
    let (_, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.freeze(b);
    w.run_for(900 * MS);
    assert_eq!(lines(&b_log).len(), 1);
    assert_eq!(lines(&a_log)[1..], ["400 down 0 Local(Done)"]);
    w.thaw(b);
    let late = ["1000 ping 1 on 1", "1000 ping 2 on 1", "1000 down 1 Closed(Done)"];
    assert_eq!(lines(&b_log)[1..], late);
}

#[test]
fn frozen_receiver_fills_the_queue_of_its_sender() {
    use rumormill_proto::wire::{Frame, GetData};
    use rumormill_proto::{Class, LinkId, MessageId, Output};
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let id = MessageId { publisher: w.id(b), epoch: 0, sequence: 0 };
    let frame = || Frame::from(GetData { id });
    // 20,000 frames of 50 bytes exceed both the receive buffer of the kernel and the queue for
    // announcements.
    let mut script = vec![(AT_START, dial(0, &w, b))];
    script.extend((0..20_000).map(|_| {
        let output = Output::Send { link: LinkId(0), frame: frame(), class: Class::Announce };
        (200 * MS, output)
    }));
    script.extend((0..10_000).map(|_| {
        let output = Output::Send { link: LinkId(0), frame: frame(), class: Class::Announce };
        (300 * MS, output)
    }));
    let (_, _) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.freeze(b);
    w.run_for(400 * MS);
    w.thaw(b);
    w.run_for(100 * MS);
    let got = b_log.borrow().len() as u64 - 1;
    let dropped = w.ledger().queue_drops;
    assert!(dropped > 0, "the queue for announcements is bounded");
    assert_eq!(got + dropped, 30_000, "every frame is received or counted as dropped");
}

#[test]
fn partition_delays_frames_until_it_ends() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![
        (AT_START, dial(0, &w, b)),
        (200 * MS, ping(0, 1)),
        (250 * MS, ping(0, 2)),
        (260 * MS, dial(1, &w, b)),
    ];
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition(&[a], &[b]);
    w.run_for(3900 * MS);
    assert_eq!(lines(&b_log).len(), 1);
    assert_eq!(lines(&a_log)[1..], ["3260 dial 1 TimedOut"]);
    w.heal();
    w.run_for(5000 * MS);
    // First sent at 200 ms, and retransmitted 200, 600, 1400, 3000 and 6200 ms later.
    assert_eq!(lines(&b_log)[1..], ["6410 ping 1 on 1", "6410 ping 2 on 1"]);
}

#[test]
fn long_partition_ends_a_link_in_use() {
    let mut w = world();
    let (b, b_log) = scripted_node(&mut w, vec![(40_000 * MS, ping(1, 9))]);
    let script = vec![(AT_START, dial(0, &w, b)), (200 * MS, ping(0, 1))];
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition(&[a], &[b]);
    w.run_for(30_000 * MS);
    assert_eq!(lines(&a_log)[1..], ["15200 down 0 Lost"]);
    assert_eq!(lines(&b_log).len(), 1, "the other end has sent nothing and has not noticed yet");
    w.heal();
    w.run_for(30_000 * MS);
    assert_eq!(lines(&b_log)[1..], ["40020 down 1 Lost"], "it gets a reset when it sends");
}

#[test]
fn one_way_partition_passes_data_without_acknowledgements() {
    let mut w = world();
    let (b, b_log) = scripted_node(&mut w, vec![(300 * MS, ping(1, 9))]);
    let script =
        vec![(AT_START, dial(0, &w, b)), (200 * MS, ping(0, 1)), (400 * MS, dial(1, &w, b))];
    let (a, a_log) = scripted_node(&mut w, script);
    w.run_for(100 * MS);
    w.partition_one_way(&[a], &[b]);
    w.run_for(20_000 * MS);
    assert_eq!(
        lines(&a_log)[1..],
        ["310 ping 9 on 0", "3400 dial 1 TimedOut", "15200 down 0 Lost"]
    );
    assert_eq!(lines(&b_log)[1..], ["15300 down 1 Lost"]);
}

#[test]
fn cut_path_stays_cut_when_partitions_heal() {
    let mut w = world();
    let (b, _) = listener(&mut w);
    let script = vec![(100 * MS, dial(0, &w, b)), (5000 * MS, dial(1, &w, b))];
    let (a, a_log) = scripted_node(&mut w, script);
    w.cut_path(a, b);
    w.heal();
    w.run_for(4000 * MS);
    w.restore_path(a, b);
    w.run_for(4000 * MS);
    assert_eq!(lines(&a_log), ["3100 dial 0 TimedOut", "5060 up 2 peer by dial 1"]);
}

#[test]
fn dialer_killed_during_handshake_leaves_no_link() {
    let mut w = world();
    let (b, b_log) = listener(&mut w);
    let script = vec![(AT_START, dial(0, &w, b))];
    let (a, _) = scripted_node(&mut w, script);
    w.run_for(45 * MS);
    w.crash(a);
    w.run_for(1000 * MS);
    // Its Hello was in transit when it died, and the reset followed.
    assert_eq!(lines(&b_log), ["50 up 1 peer", "55 down 1 Lost"]);
    w.restart(a, DiskFate::Kept);
    w.run_for(1000 * MS);
    assert_eq!(lines(&b_log).len(), 2);
}
