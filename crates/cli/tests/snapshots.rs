//! The output of every command, as text and as JSON. Values that change from run to run (keys,
//! ports, times, rates) are replaced by a word; the rest is compared with `snapshots/`. After an
//! intended change, `INSTA_UPDATE=always cargo test -p rumormill-cli --test snapshots` writes the
//! files anew, to be read in the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use insta::{Settings, assert_snapshot};
use rumormill_testing::{filters, help_pages, shape};
use serde_json::Value;
use support::{Place, Ran, Running, new_place, until};

fn shown(ran: &Ran) -> String {
    rumormill_testing::shown("rumor", ran)
}

fn settings(place: &Place) -> Settings {
    filters(place, env!("CARGO_PKG_VERSION"))
}

/// JSON with a word in the place of each value that changes from run to run.
fn steady(mut value: Value) -> String {
    steady_value("", &mut value);
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

/// Whether the values of a field depend on time or on chance.
fn is_chance(field: &str) -> bool {
    let ends = ["_us", "_ms", "_s", "_seconds", "_per_second", "_second", "_percent", "_kib"];
    let names = [
        "pid",
        "trace_hash",
        "incarnation",
        "epoch",
        "bytes_per_peer",
        "frames",
        "events",
        "inputs",
        "bytes",
        "cpu",
        "wall",
        "copies",
        "duplicates",
        "seconds",
        "peak_rss_bytes",
        "retained_bytes",
        "from",
        "since",
        "heard",
    ];
    ends.iter().any(|end| field.ends_with(end)) || names.contains(&field)
}

fn steady_value(field: &str, value: &mut Value) {
    match value {
        Value::Number(_) | Value::Null if is_chance(field) => *value = "[number]".into(),
        Value::Bool(_) if field == "dialed" => *value = "[either]".into(),
        Value::Object(fields) => {
            // The set of counters depends on chance; docs/METRICS.md lists all of them.
            if fields.contains_key("counters") {
                fields.insert("counters".to_owned(), "[counters]".into());
            }
            for (name, value) in fields.iter_mut() {
                steady_value(name, value);
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|v| steady_value(field, v));
            // Sorted by name, because the order of keys is chance.
            items.sort_by_key(|v| v["name"].as_str().unwrap_or_default().to_owned());
        }
        _ => {}
    }
}

/// A seed and two peers that are neighbours.
struct Network {
    place: Place,
    seed: Running,
    peers: [Running; 2],
}

impl Network {
    fn start() -> Self {
        let place = new_place();
        let (seed, config) = place.seed();
        let peers = ["anna", "bert"].map(|name| place.peer(&config, name));
        let network = Network { place, seed, peers };
        until("they are neighbours", || {
            let knows = |node: &str| {
                let members = network.place.run(&["members", "--node", node, "--json"]).ok().json();
                let all = members.as_array().unwrap();
                all.len() == 2 && all.iter().all(|m| m["degree"] == 1 && m["target"] == 1)
            };
            ["anna", "bert", "seed-1"].into_iter().all(knows)
        });
        network
    }

    fn both(&self, args: &[&str]) -> (Ran, Ran) {
        let json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        (self.place.run(args), self.place.run(&json))
    }

    /// Compares the output of a command, as text and as JSON, with its snapshot.
    fn check(&self, name: &str, args: &[&str]) {
        let (text, json) = self.both(args);
        let json_text = steady(json.json());
        let mut settings = settings(&self.place);
        for (who, node) in
            [("seed-1", &self.seed), ("anna", &self.peers[0]), ("bert", &self.peers[1])]
        {
            settings.add_filter(&short(node), format!("[{who}]"));
        }
        let text = sorted_rows(&shown(&text));
        settings.bind(|| {
            assert_snapshot!(name, format!("{text}\n$ rumor {}\n{json_text}", json.command));
        });
    }
}

/// The first digits of a node's key.
fn short(node: &Running) -> String {
    let id = [&node.listening["id"], &node.ready["id"]].into_iter().find_map(Value::as_str);
    id.unwrap()[..8].to_owned()
}

/// The text with the rows of its table, if it has one, sorted by name, because the order of keys is
/// chance.
fn sorted_rows(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.get(1).is_some_and(|head| head.starts_with("NAME")) {
        let end = lines.len() - 1;
        lines[2..end].sort_unstable();
    }
    lines.join("\n") + "\n"
}

#[test]
fn commands_to_a_running_node_print_text_and_json() {
    let network = Network::start();
    let sent = network.place.run(&["send", "--node", "anna", "--topic", "news", "hello"]).ok();
    let id = sent.out.trim().to_owned();
    until("it is there", || {
        network.place.run(&["messages", "--node", "bert", "--json"]).json()[0]["topic"] == "news"
    });
    network.check("status-peer", &["status", "--node", "anna"]);
    network.check("status-seed", &["status", "--node", "seed-1"]);
    network.check("members", &["members", "--node", "anna"]);
    network.check("registry", &["members", "--node", "seed-1"]);
    network.check("neighbours", &["neighbours", "--node", "anna"]);
    network.check("messages", &["messages", "--node", "bert"]);
    network.check("get", &["get", &id, "--node", "bert"]);
    network.check("tail", &["tail", "--node", "bert", "--from", "earliest", "--count", "1"]);
    network.check("send", &["send", "--node", "anna", "hello again"]);
    network.check("send-wait", &["send", "--node", "anna", "--wait", "to all"]);
    network.check("doctor", &["doctor"]);
    let place = &network.place;
    settings(place).bind(|| {
        let refused = [
            place.run(&["status"]),
            place.run(&["status", "--node", "carl"]),
            place.run(&["neighbours", "--node", "seed-1"]),
            place.run(&["get", "x", "--node", "anna"]),
            place.run(&["leave", "--node", "bert"]),
        ];
        let text: Vec<String> = refused.iter().map(shown).collect();
        let mut text = text.join("\n");
        for (who, node) in
            [("seed-1", &network.seed), ("anna", &network.peers[0]), ("bert", &network.peers[1])]
        {
            text = text.replace(&short(node), &format!("[{who}]"));
        }
        assert_snapshot!("refused", text);
    });
}

#[test]
fn commands_without_network_print_their_text() {
    let place = new_place();
    place.write(
        "rumor.toml",
        "seeds = [\"127.0.0.1:7001\"]\npreset = \"lan\"\n\n[peer]\nname = \"anna\"\n",
    );
    place.write("broken.toml", "seeds = [\"127.0.0.1:7001\"]\npresett = \"lan\"\n");
    let runs: [&[&str]; 10] = [
        &["config", "check", "rumor.toml"],
        &["config", "check", "broken.toml"],
        &["config", "show", "peer", "--config", "rumor.toml", "--listen", "127.0.0.1:0"],
        &["clean", "--yes"],
        &["status"],
        &["doctor"],
        &["top"],
        &["leave"],
        &["peer", "--config", "missing.txt"],
        &["unheard-of"],
    ];
    let text: Vec<String> = runs.iter().map(|args| shown(&place.run(args))).collect();
    settings(&place).bind(|| assert_snapshot!("no-network", text.join("\n")));
    let shown_json = place.run(&["config", "show", "peer", "--config", "rumor.toml", "--json"]);
    settings(&place).bind(|| assert_snapshot!("config-show-json", shown(&shown_json)));
}

#[test]
fn up_prints_every_field_of_its_summary() {
    let place = new_place();
    let up = [
        "up",
        "--seeds",
        "1",
        "--peers",
        "3",
        "--for",
        "2s",
        "--messages",
        "2",
        "--every",
        "200ms",
        "--after",
        "100ms",
        "--json",
    ];
    settings(&place).bind(|| assert_snapshot!("up-json", shape(&place.run(&up).json())));
}

#[test]
fn every_command_prints_its_help() {
    let place = new_place();
    let pages = help_pages("rumor", &place);
    assert!(pages.len() >= 20, "{}", pages.len());
    settings(&place).bind(|| {
        for (name, text) in pages {
            assert_snapshot!(name, text);
        }
    });
}
