//! Lines that carry less than their hosts have to say: what is late is not dead.

use rumormill_proto::Event;
use rumormill_sim::{NodeId, World};

use crate::common::{Net, ms, s};

/// 128 kbit/s.
const RATE: u64 = 16_000;

/// The host publishes 36 messages of 2 kB a second, more than four times what its line carries.
fn publish_too_much(net: &mut Net, host: NodeId, seconds: u64) -> (u64, u64) {
    let (mut taken, mut busy) = (0, 0);
    for _ in 0..36 * seconds {
        match net.world.publish(host, "t", &[7; 2000]) {
            Ok(_) => taken += 1,
            Err(_) => busy += 1,
        }
        net.world.run_for(ms(1000) / 36);
    }
    (taken, busy)
}

fn deaths(net: &Net, world: &World) -> usize {
    let reported = |e: &Event| matches!(e, Event::DeathReported { .. });
    net.seeds.iter().map(|&s| world.events(s).iter().filter(|(_, e)| reported(e)).count()).sum()
}

#[test]
fn host_on_slow_uplink_that_publishes_too_much_is_not_declared_dead() {
    for seed in 0..3 {
        let mut net = Net::lan(500 + seed, 3, 12);
        let host = net.peer_with_degree(3);
        net.world.set_bandwidth(host, Some(RATE));
        let (taken, busy) = publish_too_much(&mut net, host, 45);
        assert!(busy > 0, "flow control slows the publisher: {taken} messages were taken");
        net.assert_only_removed(&[]);
        assert_eq!(deaths(&net, &net.world), 0, "seed {seed}: nobody reports it either");
        net.world.set_bandwidth(host, None);
        net.assert_at_rest_within(s(60));
    }
}
