//! `kill -9` of a seed in the middle of 200 registrations: after its restart it has all
//! registrations that it acknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill::proto::Event;
use rumormill::{EventItem, Node, seeds_file};

use support::{Place, Running};

const PEERS: usize = 200;

fn start_seed(place: &Place, config: &str, listen: &str) -> Running {
    let dir = place.path().join("seed-data");
    place.start(&[
        "seed",
        "--config",
        config,
        "--listen",
        listen,
        "--supervised",
        "--name",
        "seed-1",
        "--data-dir",
        dir.to_str().unwrap(),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_seed_keeps_acknowledged_registrations_after_restart() {
    let place = support::new_place();
    let config = place.path().join("config.txt").to_str().unwrap().to_owned();
    let mut seed = start_seed(&place, &config, "127.0.0.1:0");
    let address = seed.listening["listening"].as_str().unwrap().to_owned();
    place.write("config.txt", &format!("{address}\n"));
    seed.go_on();
    let id = seed.ready["id"].clone();

    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..PEERS {
        let builder = Node::builder()
            .name(format!("p{n}").parse().unwrap())
            .listen("127.0.0.1:0".parse().unwrap())
            .seeds(seeds_file::read(&config).unwrap());
        let acknowledged = Arc::clone(&acknowledged);
        starts.spawn(async move {
            let node = builder.start().await.unwrap();
            let (mut events, id) = (node.events(), node.id());
            tokio::spawn(async move {
                while let Some(seen) = events.recv().await {
                    if let EventItem::Event(e) = seen
                        && matches!(e.event, Event::Registered { .. })
                    {
                        acknowledged.lock().unwrap().insert(id);
                    }
                }
            });
            node
        });
    }
    // In the middle: some are acknowledged, some in flight, some have not begun.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while acknowledged.lock().unwrap().len() < PEERS / 4 {
        assert!(tokio::time::Instant::now() < deadline, "the registrations make no progress");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    seed.signal("-KILL");
    seed.wait();
    // No peer is left to register again: all that the seed knows now comes from its disk.
    let nodes = starts.join_all().await;
    let before = acknowledged.lock().unwrap().clone();
    for node in &nodes {
        node.kill();
    }
    for node in &nodes {
        node.stopped().await;
    }

    let mut seed = start_seed(&place, &config, &address);
    seed.go_on();
    assert_eq!(seed.ready["id"], id, "the seed keeps its key");
    let members = place.run(&["members", "--json"]).ok().json();
    let list = members["members"].as_array().or(members.as_array()).unwrap();
    let known: BTreeSet<&str> = list.iter().map(|m| m["id"].as_str().unwrap()).collect();
    for id in &before {
        assert!(known.contains(id.to_hex().as_str()), "{id} was acknowledged and is gone");
    }
    assert!(before.len() >= PEERS / 4);
}
