//! Packet loss and slow uplinks: no live peer is removed.

use core::time::Duration;

use rumormill_proto::{Config, PeerId};
use rumormill_sim::{WorldConfig, checkers};

use crate::common::{Net, lan, ms, s, world_config};

/// Number of incarnations of live peers that were removed in a network of 20 peers with packet
/// loss.
fn false_deaths(seed: u64, config: Config, loss: f64, time: Duration) -> usize {
    let mut net = Net::new(WorldConfig { fast: true, ..world_config(seed, config) }, 3, 20);
    net.assert_at_rest_within(s(90));
    net.world.set_loss(loss);
    net.world.run_for(time);
    let deaths = checkers::death::false_deaths(&net.world.observe());
    let mut removed: Vec<(PeerId, u64)> =
        deaths.iter().map(|r| (r.subject, r.incarnation)).collect();
    removed.sort_unstable();
    removed.dedup();
    removed.len()
}

#[test]
fn loss_of_a_fifth_of_the_packets_causes_no_false_death() {
    for seed in 600..603 {
        assert_eq!(false_deaths(seed, lan(), 0.2, s(45)), 0, "seed {seed}");
    }
}

#[test]
fn loss_of_a_quarter_of_the_packets_causes_at_most_one_false_death() {
    let deaths = (600..603).map(|seed| false_deaths(seed, lan(), 0.25, s(45)));
    assert!(deaths.sum::<usize>() <= 1);
}

#[test]
fn loss_of_30_percent_causes_at_most_one_false_death_in_45_seconds() {
    for seed in 610..614 {
        assert!(false_deaths(seed, lan(), 0.3, s(45)) <= 1, "seed {seed}");
    }
}

#[test]
fn killed_peer_is_removed_in_time_despite_packet_loss() {
    let mut net = Net::lan(620, 3, 20);
    net.world.set_loss(0.05);
    net.world.run_for(s(20));
    let victim = net.peer_with_degree(3);
    let died = net.world.now();
    net.world.crash(victim);
    net.assert_removed_within(victim, died, s(4));
    net.assert_only_removed(&[victim]);
}

/// An uplink of 128 kbit/s with four times as much to send: probe answers wait only for the data in
/// the buffers of the kernel.
#[test]
fn publisher_with_too_slow_uplink_is_not_declared_dead() {
    for seed in 630..633 {
        let mut net = Net::lan(seed, 3, 20);
        let slow = net.peer_with_degree(3);
        net.world.set_uplink(slow, Some(16_000));
        for _ in 0..45 * 36 {
            let _ = net.world.publish(slow, "t", &[7; 2000]);
            net.world.run_for(ms(1000) / 36);
        }
        net.assert_only_removed(&[]);
    }
}
