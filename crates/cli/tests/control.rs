//! The commands that talk to a running node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, Ran, Running, free_port, until};

/// A seed and two peers that are neighbours.
struct Network {
    place: Place,
    _seed: Running,
    anna: Running,
    bert: Running,
}

impl Network {
    fn start() -> Self {
        let place = support::new_place();
        let (seed, config) = place.seed();
        let anna = place.peer(&config, "anna");
        let bert = place.peer(&config, "bert");
        let network = Network { place, _seed: seed, anna, bert };
        until("they are neighbours", || {
            network.json(&["neighbours", "--node", "anna"]).as_array().unwrap().len() == 1
        });
        network
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        self.place.run(&args).ok().json()
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        self.place.run(args).ok().out
    }
}

#[test]
fn message_from_one_peer_is_shown_at_the_other() {
    let network = Network::start();
    let mut tail = Running::spawn(
        network.place.command(&["tail", "--node", "bert", "--json", "--count", "1"]),
    );
    let mut events =
        Running::spawn(network.place.command(&["tail", "--events", "--node", "bert", "--json"]));
    // `tail` shows messages published after it has connected, a moment that the test cannot know;
    // so the message is published again and again.
    let hostile = "hi \u{1b}[2Jthere";
    let mut sent = Vec::new();
    until("tail ends", || {
        let id = network.text(&["send", "--node", "anna", "--topic", "news", hostile]);
        sent.push(id.trim().to_owned());
        tail.child.try_wait().unwrap().is_some()
    });
    let message = tail.line();
    assert!(sent.contains(&message["id"].as_str().unwrap().to_owned()), "{message:#}");
    assert_eq!((message["text"].as_str(), message["name"].as_str()), (Some(hostile), Some("anna")));

    let listed = network.json(&["messages", "--node", "bert", "--limit", "1"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["topic"], &listed[0]["hops"]), (&"news".into(), &1.into()));
    // The payload that is largest as JSON text: each of its bytes takes six.
    let large = "\0".repeat(1024 * 1024);
    let file = network.place.write("large", &large);
    let mut send = network.place.command(&["send", "--node", "anna", "--topic", "large", "-"]);
    let ran = Ran::of(&["send"], send.stdin(fs::File::open(file).unwrap()).output().unwrap()).ok();
    let id = ran.out.trim();
    until("the large message is there", || {
        network.place.run(&["get", id, "--node", "bert"]).code == 0
    });
    assert_eq!(network.text(&["get", id, "--node", "bert", "--raw"]), large);

    let shown = network.text(&["messages", "--node", "bert"]);
    assert!(shown.contains("anna") && shown.contains("news"), "{shown}");

    let id = sent[0].as_str();
    assert_eq!(network.json(&["get", id, "--node", "bert"])["text"], hostile);
    let shown = network.text(&["get", id, "--node", "bert"]);
    assert!(shown.contains(r"hi \u{1b}[2Jthere") && !shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(network.text(&["get", id, "--node", "bert", "--raw"]), hostile);
    let unknown = format!("{}/7/7", network.anna.ready["id"].as_str().unwrap());
    let ran = network.place.run(&["get", &unknown, "--node", "bert"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("holds the message"), "{ran:#?}");

    let log = network.place.path().join("logs/peers/bert.messages.log");
    let line = r": Message 0 [hi \u{1b}[2Jthere]";
    until("it is logged, escaped", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains(line))
    });

    network.text(&["leave", "--node", "anna"]);
    until("the departure is an event", || events.line()["event"] == "member_left");
}

#[test]
fn commands_show_the_state_of_a_node() {
    let network = Network::start();
    let status = network.json(&["status", "--node", "anna"]);
    assert_eq!((&status["role"], &status["state"]), (&"peer".into(), &"joined".into()));
    assert_eq!(status["pid"], network.anna.pid());
    assert_eq!(status["seeds"][0]["registered"], true);
    let text = network.text(&["status", "--node", "anna", "--counters"]);
    for part in ["anna (peer", "joined, incarnation 1", "at 1 of 1 seed (1 needed)", "counters"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let text = network.text(&["status", "--node", "seed-1"]);
    assert!(text.contains("answers for the network") && text.contains("2 peers alive"), "{text}");

    // A node is also found by its id, whole or short.
    let id = network.bert.ready["id"].as_str().unwrap();
    assert_eq!(network.json(&["status", "--node", id])["name"], "bert");
    assert_eq!(network.json(&["status", "--node", &id[..8]])["name"], "bert");

    for node in ["anna", "seed-1"] {
        let members = network.json(&["members", "--node", node]);
        let names: Vec<_> =
            members.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"anna") && names.contains(&"bert"), "{members:#}");
    }
    let text = network.text(&["members", "--node", "seed-1"]);
    assert!(text.contains("2 members, 2 alive"), "{text}");
    let text = network.text(&["neighbours", "--node", "bert"]);
    assert!(text.contains("anna") && text.contains("1 neighbour\n"), "{text}");

    let ran = network.place.run(&["neighbours", "--node", "seed-1"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("is a seed"), "{ran:#?}");
}

#[test]
fn peer_leaves_the_network_however_it_is_ended() {
    let mut network = Network::start();
    let control = |name: &str, node: &Running| {
        let id = node.ready["id"].as_str().unwrap();
        network.place.run_dir().join(format!("{name}-{}.json", &id[..8]))
    };
    let (anna, bert) = (control("anna", &network.anna), control("bert", &network.bert));
    assert!(anna.exists() && bert.exists());

    network.text(&["leave", "--node", "anna"]);
    assert_eq!(network.anna.wait(), 0);
    assert!(!anna.exists());
    until("anna has left", || state_of(&network, "anna") == "left");

    network.bert.close_stdin();
    assert_eq!(network.bert.wait(), 0);
    assert!(!bert.exists());
    until("bert has left", || state_of(&network, "bert") == "left");

    let config = network.place.path().join("config.txt").to_str().unwrap().to_owned();
    for signal in ["-INT", "-TERM"] {
        let mut carl = network.place.peer(&config, "carl");
        until("carl is there", || state_of(&network, "carl") == "alive");
        carl.signal(signal);
        assert_eq!(carl.wait(), 0);
        until("carl has left", || state_of(&network, "carl") != "alive");
    }
}

fn state_of(network: &Network, name: &str) -> String {
    let members = network.json(&["members", "--node", "seed-1"]);
    // The last process of that name: a new identity each time.
    let mut states = members.as_array().unwrap().iter().filter(|m| m["name"] == name);
    let alive = states.clone().any(|m| m["state"] == "alive");
    if alive {
        return "alive".to_owned();
    }
    states.next_back().map_or_else(String::new, |m| m["state"].as_str().unwrap().to_owned())
}

#[test]
fn seed_command_starts_all_seeds_of_a_file_or_one_of_them() {
    let place = support::new_place();
    let ports = [free_port(), free_port(), free_port()];
    let text: String = ports.iter().map(|p| format!("127.0.0.1:{p}\n")).collect();
    let config = place.write("config.txt", &text);
    let name = |i: usize| format!("seed-{}", ports[i]);
    let seen = |i: usize| place.run(&["status", "--node", &name(i), "--json"]);

    let mut all = Running::spawn(place.command(&["seed", "--config", &config, "--all"]));
    until("all seeds have compared their registries", || {
        (0..3).all(|i| {
            let ran = seen(i);
            ran.code == 0 && ran.json()["synced"] == true
        })
    });
    // One of the seeds may leave; the others run on, and its control file is removed.
    place.run(&["leave", "--node", &name(0)]).ok();
    until("its control file is gone", || seen(0).code == 6);
    let ran = place.run(&["doctor", "--json"]);
    assert_eq!(ran.json().as_array().unwrap().len(), 2, "{ran:#?}");
    all.signal("-INT");
    assert_eq!(all.wait(), 0);
    assert_eq!(seen(1).code, 6);

    let port = ports[1].to_string();
    let mut one = Running::spawn(place.command(&["seed", "--config", &config, "--port", &port]));
    until("the seed runs", || seen(1).code == 0);
    assert_eq!(seen(1).json()["address"], format!("127.0.0.1:{}", ports[1]));
    // The only node needs no --node.
    assert_eq!(place.run(&["status", "--json"]).ok().json()["name"], name(1));
    place.run(&["leave"]).ok();
    assert_eq!(one.wait(), 0);
}

#[test]
fn peer_listens_at_the_given_port_and_gets_a_default_name() {
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let port = free_port().to_string();
    let one = ["peer", "--config", &config, "--port", &port];
    let _one = Running::spawn(place.command(&one));
    let _other = Running::spawn(place.command(&["peer", "--config", &config]));
    let members = || {
        let ran = place.run(&["members", "--node", "seed-1", "--json"]);
        ran.json().as_array().cloned().unwrap_or_default()
    };
    until("both are there", || members().len() == 2);
    let text = |m: &serde_json::Value, field: &str| m[field].to_string();
    let all = members();
    assert_ne!(text(&all[0], "name"), text(&all[1], "name"));
    let at = format!("127.0.0.1:{port}");
    assert_eq!(all.iter().filter(|m| m.to_string().contains(&at)).count(), 1, "{all:?}");
}

#[test]
fn classic_peer_publishes_ten_messages_and_others_as_many_as_told() {
    let place = support::new_place();
    let (_seed, config) = place.seed();
    let mut anna = place.start(&[
        "peer",
        "--config",
        &config,
        "--supervised",
        "--listen",
        "127.0.0.1:0",
        "--name",
        "anna",
        "--preset",
        "classic",
        "--after",
        "500ms",
        "--every",
        "100ms",
    ]);
    anna.go_on();
    let mut bert = place.start(&[
        "peer",
        "--config",
        &config,
        "--supervised",
        "--listen",
        "127.0.0.1:0",
        "--name",
        "bert",
        "--messages",
        "3",
        "--after",
        "0",
        "--every",
        "10ms",
    ]);
    bert.go_on();
    let published = |name: &str| {
        place.run(&["status", "--node", name, "--json"]).ok().json()["published"].clone()
    };
    until("ten and three", || published("anna") == 10 && published("bert") == 3);
}

#[test]
fn running_network_answers_commands_and_a_peer_may_leave() {
    let place = support::new_place();
    for more in [&[][..], &["--processes"]] {
        let mut args = vec!["up", "--peers", "3", "--seeds", "1", "--messages", "0", "--json"];
        args.extend(["--for", "forever"]);
        args.extend(more);
        let mut up = Running::spawn(place.command(&args));
        let alive = |node: &str| {
            let ran = place.run(&["members", "--node", node, "--json"]);
            if ran.code != 0 {
                return 0;
            }
            ran.json().as_array().unwrap().iter().filter(|m| m["state"] == "alive").count()
        };
        until("all are there", || alive("peer-1") == 3);
        let id = place.run(&["send", "--node", "peer-1", "hi"]).ok().out;
        until("it arrives", || {
            place.run(&["get", id.trim(), "--node", "peer-2"]).out.contains("peer-1 #0: hi")
        });
        place.run(&["leave", "--node", "peer-3"]).ok();
        until("it is gone", || {
            place.run(&["status", "--node", "peer-3"]).code == 6 && alive("seed-1") == 2
        });
        // The peer that left may have been the only connection between the two others.
        until("the others are neighbours", || {
            let ran = place.run(&["neighbours", "--node", "peer-1", "--json"]).ok();
            ran.json().as_array().unwrap().len() == 1
        });
        // Ctrl-C ends a run without a given length as intended, and a departure is no fault.
        up.signal("-INT");
        let code = up.wait();
        let summary: Value = serde_json::from_str(&up.rest()).unwrap();
        assert_eq!(code, 0, "{summary:#}");
        assert_eq!((&summary["errors"], &summary["false_deaths"]), (&0.into(), &0.into()));
        assert_eq!(std::fs::read_dir(place.run_dir()).unwrap().count(), 0);
    }
}
