//! `rumor doctor` with healthy nodes, and with faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{free_port, until};

#[test]
fn doctor_checks_all_nodes_and_the_seeds_of_a_file() {
    let place = support::new_place();
    let ran = place.run(&["doctor"]);
    assert!(ran.code == 6 && ran.err.contains("no node is running"), "{ran:#?}");

    let (mut seed, config) = place.seed();
    let _anna = place.peer(&config, "anna");
    let bert = place.peer(&config, "bert");
    until("all is well", || {
        let ran = place.run(&["doctor"]);
        ran.code == 0 && ran.out.ends_with("all is well\n")
    });
    let ran = place.run(&["doctor"]).ok();
    for what in [
        "anna (peer)",
        "seed-1 (seed)",
        "registered at 1 of 1 seed, 1 needed",
        "answers for the network",
    ] {
        assert!(ran.out.contains(what), "{what}: {}", ran.out);
    }
    let ran = place.run(&["doctor", "--config", &config]).ok();
    assert!(ran.out.contains("is seed ") && ran.out.contains("all is well"), "{}", ran.out);
    // A seed with another identity than its pin, and one of another network.
    let addresses = std::fs::read_to_string(&config).unwrap();
    let seeds = addresses.lines().map(|l| l.split('#').next().unwrap().trim()).collect::<String>();
    let pinned = place.write("pinned.txt", &format!("{seeds}#{}\n", "07".repeat(32)));
    let ran = place.run(&["doctor", "--config", &pinned]);
    assert!(ran.code == 1 && ran.out.contains("correct the pin"), "{ran:#?}");
    let key = place.write("network.key", &"5".repeat(64));
    let toml = format!("seeds = [\"{seeds}\"]\nnetwork-key-file = {key:?}\n");
    let toml = place.write("rumor.toml", &toml);
    let ran = place.run(&["doctor", "--config", &toml]);
    assert!(ran.code == 1 && ran.out.contains("another network"), "{ran:#?}");
    let ran = place.run(&["peer", "--config", &toml, "--no-log", "--join-within", "2s"]);
    assert!(ran.code == 7 && ran.err.contains("--network-key-file"), "{ran:#?}");

    // A node that does not answer is one finding among those of the others.
    bert.signal("-STOP");
    let ran = place.run(&["doctor", "--json"]);
    bert.signal("-CONT");
    let found = |name: &str, check: &str| {
        let of = ran.json().as_array().unwrap().iter().find(|p| p["of"] == name).unwrap().clone();
        of["findings"].as_array().unwrap().iter().find(|f| f["check"] == check).cloned()
    };
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert_eq!(found("bert (peer)", "answers").unwrap()["level"], "wrong");
    assert!(found("anna (peer)", "membership").is_some(), "{ran:#?}");
    until("all is well again", || place.run(&["doctor"]).code == 0);

    // Without its seed a peer is no longer a member.
    seed.signal("-KILL");
    seed.wait();
    until("the peer notices", || place.run(&["doctor", "--node", "anna"]).code == 1);
    let ran = place.run(&["doctor", "--node", "anna", "--json"]);
    let findings = ran.json()[0]["findings"].as_array().unwrap().clone();
    let membership = findings.iter().find(|f| f["check"] == "membership").unwrap();
    assert!(membership["level"] == "wrong" && membership["advice"].is_string(), "{membership}");

    let config = place.write("no-seed.txt", &format!("127.0.0.1:{}\n", free_port()));
    let ran = place.run(&["doctor", "--config", &config]);
    assert!(ran.code == 1 && ran.out.contains("WRONG  majority"), "{ran:#?}");
}
