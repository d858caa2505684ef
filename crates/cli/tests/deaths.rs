//! Real processes, killed where none of their neighbours is left to report them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Place, Running, until};

/// Peers of a network with one seed; enough for a peer that is not a neighbour of all others.
const PEERS: usize = 14;
/// GUARANTEES.md G5 promises 3 s if only seeds can notice; the machine may be busy.
const IN_TIME: Duration = Duration::from_secs(10);

struct Network {
    place: Place,
    _seed: Running,
    config: String,
    peers: Vec<Running>,
}

impl Network {
    fn start() -> Self {
        let place = support::new_place();
        let (seed, config) = place.seed();
        let peers = (0..PEERS).map(|n| place.peer(&config, &format!("p{n}"))).collect();
        let network = Network { place, _seed: seed, config, peers };
        until("the degrees have settled", || (0..PEERS).all(|n| network.neighbours(n).len() >= 3));
        network
    }

    fn neighbours(&self, n: usize) -> Vec<usize> {
        let args = ["neighbours", "--json", "--node", &format!("p{n}")];
        let list = self.place.run(&args).ok().json();
        let name = |v: &Value| v["name"].as_str().unwrap()[1..].parse().unwrap();
        list.as_array().unwrap().iter().map(name).collect()
    }

    /// The states that the seed has of peers with these names.
    fn states(&self, names: &[String]) -> Vec<String> {
        let members = self.place.run(&["members", "--json", "--node", "seed-1"]).ok().json();
        let list = members.as_array().unwrap();
        let of = |m: &&Value| names.iter().any(|n| m["name"] == n.as_str());
        list.iter().filter(of).map(|m| m["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Requires that all of these peers are removed by certificate in time, and the others are
    /// alive.
    #[track_caller]
    fn are_certified(&self, names: &[String], killed: Instant) {
        until("the dead are certified", || {
            let states = self.states(names);
            states.len() == names.len() && states.iter().all(|s| s == "dead")
        });
        assert!(killed.elapsed() <= IN_TIME, "it took {:?}", killed.elapsed());
        let others: Vec<String> =
            (0..PEERS).map(|n| format!("p{n}")).filter(|n| !names.contains(n)).collect();
        assert!(self.states(&others).iter().all(|s| s == "alive"), "{:?}", self.states(&others));
    }
}

#[test]
fn peer_killed_with_all_its_neighbours_is_removed() {
    let network = Network::start();
    let degrees = (0..PEERS).map(|n| (network.neighbours(n), n));
    let (around, victim) = degrees.min_by_key(|(around, _)| around.len()).unwrap();
    let gone: Vec<usize> = around.into_iter().chain([victim]).collect();
    assert!(gone.len() < PEERS - 2, "others are left: {gone:?}");
    let killed = Instant::now();
    for &n in &gone {
        network.peers[n].signal("-KILL");
    }
    let names: Vec<String> = gone.iter().map(|n| format!("p{n}")).collect();
    network.are_certified(&names, killed);
}

#[test]
fn ten_peers_killed_right_after_joining_are_removed() {
    let network = Network::start();
    let names: Vec<String> = (0..10).map(|n| format!("short-{n}")).collect();
    for name in &names {
        let mut peer = network.place.peer(&network.config, name);
        let one = std::slice::from_ref(name);
        until("the seed has it", || !network.states(one).is_empty());
        peer.signal("-KILL");
        peer.wait();
    }
    network.are_certified(&names, Instant::now());
}
