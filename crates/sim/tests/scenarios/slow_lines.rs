//! Lines that are slower than the data to send: a late peer is not declared dead.

use rumormill_proto::Event;
use rumormill_sim::{NodeId, World};

use crate::common::{Net, ms, s};

/// 128 kbit/s.
const RATE: u64 = 16_000;

/// Publishes 36 messages of 2 kB a second, more than four times the bandwidth of the line. Returns
/// the numbers of accepted and refused messages.
fn publish_too_much(net: &mut Net, host: NodeId, seconds: u64) -> (u64, u64) {
    let (mut accepted, mut busy) = (0, 0);
    for _ in 0..36 * seconds {
        match net.world.publish(host, "t", &[7; 2000]) {
            Ok(_) => accepted += 1,
            Err(_) => busy += 1,
        }
        net.world.run_for(ms(1000) / 36);
    }
    (accepted, busy)
}

fn death_reports(net: &Net, world: &World) -> usize {
    let reported = |e: &Event| matches!(e, Event::DeathReported { .. });
    net.seeds.iter().map(|&s| world.events(s).iter().filter(|(_, e)| reported(e)).count()).sum()
}

#[test]
fn host_on_slow_uplink_that_publishes_too_much_is_not_declared_dead() {
    for seed in 0..3 {
        let mut net = Net::lan(500 + seed, 3, 12);
        let host = net.peer_with_degree(3);
        net.world.set_bandwidth(host, Some(RATE));
        let (accepted, busy) = publish_too_much(&mut net, host, 45);
        assert!(busy > 0, "flow control must slow the publisher: {accepted} messages accepted");
        net.assert_only_removed(&[]);
        assert_eq!(death_reports(&net, &net.world), 0, "seed {seed}: no peer reports the host");
        net.world.set_bandwidth(host, None);
        net.assert_at_rest_within(s(60));
    }
}
