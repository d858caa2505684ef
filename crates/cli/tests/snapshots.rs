//! What every command prints, as text and as JSON. What changes from run to run (keys, ports, times, rates)
//! is replaced by a word; the rest is held to `snapshots/`. After a change that is meant,
//! `INSTA_UPDATE=always cargo test -p rumormill-cli --test snapshots` writes it anew, to be read in the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use insta::{Settings, assert_snapshot};
use serde_json::Value;
use support::{Place, Ran, Running, until};

/// A run as a terminal would show it, with its exit code if that is not 0.
fn shown(ran: &Ran) -> String {
    let mut text = format!("$ rumor {}\n", ran.command);
    for line in ran.out.lines().chain(ran.err.lines()) {
        text += &narrow(line);
        text.push('\n');
    }
    if ran.code != 0 {
        text += &format!("(exit code {})\n", ran.code);
    }
    text
}

/// A line with its columns two spaces apart: they are as wide as what is in them.
fn narrow(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let cells = line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    " ".repeat(indent) + &cells.collect::<Vec<_>>().join("  ")
}

/// JSON with a word in the place of each value that changes from run to run.
fn steady(mut value: Value) -> String {
    steady_value("", &mut value);
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

/// Names of fields whose numbers say how fast or how long, or depend on chance.
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
        "held_bytes",
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
            // Which there are is chance; docs/METRICS.md has all of them.
            if fields.contains_key("counters") {
                fields.insert("counters".to_owned(), "[counters]".into());
            }
            for (name, value) in fields.iter_mut() {
                steady_value(name, value);
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|v| steady_value(field, v));
            // By name: the order of keys is chance.
            items.sort_by_key(|v| v["name"].as_str().unwrap_or_default().to_owned());
        }
        _ => {}
    }
}

/// Words for keys, addresses, times and paths.
fn settings(place: &Place) -> Settings {
    let mut s = Settings::clone_current();
    s.set_prepend_module_to_snapshot(false);
    s.set_omit_expression(true);
    s.add_filter(&regex_of(place.path().to_str().unwrap()), "[place]");
    s.add_filter(r"\b[0-9a-f]{64}\b", "[key]");
    // Milliseconds since 1970, when the process started.
    s.add_filter(r"\b1[0-9]{12}\b", "[epoch]");
    s.add_filter(r"(127\.0\.0\.1|\[::1\]):\d+", "[address]");
    // Who of the two made the connection is chance.
    s.add_filter(r"[01] of 1 neighbour connected", "[some] of 1 neighbour connected");
    s.add_filter(r"\b(accepted|dialled) ", "[made] ");
    s.add_filter(r"process \d+", "process [pid]");
    s.add_filter(r"\d\d:\d\d:\d\d(\.\d+)?", "[time]");
    s.add_filter(r"\b\d+(\.\d+)? ?(ms|us|s|min|h)\b", "[delay]");
    // Nothing is known of a delay before the first answer.
    s.add_filter(r"ago  -", "ago  [delay]");
    s.add_filter(r"registered, \[delay\]", "registered");
    s.add_filter(r"\b\d+(\.\d+)? (KiB|MiB|GiB)\b", "[size]");
    s.add_filter(env!("CARGO_PKG_VERSION"), "[version]");
    s
}

fn regex_of(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") })
        .collect()
}

/// A seed and two peers that are neighbours, whose keys have names.
struct Network {
    place: Place,
    seed: Running,
    peers: [Running; 2],
}

impl Network {
    fn start() -> Self {
        let place = Place::new();
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

    /// Holds what a command prints, both ways, to what is kept.
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

/// The rows of a table by name, where there is one: the order of keys is chance.
fn sorted_rows(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.get(1).is_some_and(|head| head.starts_with("NAME")) {
        let end = lines.len() - 1;
        lines[2..end].sort_unstable();
    }
    lines.join("\n") + "\n"
}

#[test]
fn commands_that_ask_a_running_node() {
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
fn commands_that_need_no_network() {
    let place = Place::new();
    place.write(
        "rumor.toml",
        "seeds = [\"127.0.0.1:7001\"]\npreset = \"lan\"\n\n[peer]\nname = \"anna\"\n",
    );
    place.write("broken.toml", "seeds = [\"127.0.0.1:7001\"]\npresett = \"lan\"\n");
    let runs: [&[&str]; 12] = [
        &["config", "check", "rumor.toml"],
        &["config", "check", "broken.toml"],
        &["config", "show", "peer", "--config", "rumor.toml", "--listen", "127.0.0.1:0"],
        &["clean", "--yes"],
        &["status"],
        &["doctor"],
        &["top"],
        &["leave"],
        &["plot", "degrees", "-o", "x.svg"],
        &["sim", "--builtin", "no-such"],
        &["peer", "--config", "missing.txt"],
        &["unheard-of"],
    ];
    let text: Vec<String> = runs.iter().map(|args| shown(&place.run(args))).collect();
    settings(&place).bind(|| assert_snapshot!("no-network", text.join("\n")));
    let shown_json = place.run(&["config", "show", "peer", "--config", "rumor.toml", "--json"]);
    settings(&place).bind(|| {
        assert_snapshot!("config-show-json", shown(&shown_json));
        assert_snapshot!("sim-list", shown(&place.run(&["sim", "--list"])));
    });
}

/// Which figures there are; what they are is the matter of other tests.
#[test]
fn commands_that_run_a_network() {
    let place = Place::new();
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
    ];
    let up_json: Vec<&str> = up.iter().copied().chain(["--after", "100ms", "--json"]).collect();
    let sim = ["sim", "--builtin", "join", "--nodes", "20", "--replicates", "0"];
    let sim_json: Vec<&str> = sim.iter().copied().chain(["--json"]).collect();
    let report = place.run(&sim_json);
    place.write("report.json", &report.out);
    settings(&place).bind(|| {
        assert_snapshot!("sim-json", shape(&report.json()));
        assert_snapshot!("up-json", shape(&place.run(&up_json).json()));
    });
    let mut s = settings(&place);
    s.add_filter(r"\d+(,\d\d\d)*(\.\d+)?", "#");
    s.add_filter(r"[0-9a-f#]{6,}", "#");
    s.bind(|| {
        assert_snapshot!("sim", shown(&place.run(&sim)));
        assert_snapshot!(
            "sim-compare",
            shown(&place.run(&["sim", "compare", "report.json", "report.json"]))
        );
        assert_snapshot!(
            "plot",
            shown(&place.run(&["plot", "degrees", "report.json", "-o", "d.svg"]))
        );
    });
}

/// The names of all fields and the kinds of their values.
fn shape(value: &Value) -> String {
    let mut lines = Vec::new();
    name("", value, &mut lines);
    lines.dedup();
    lines.join("\n") + "\n"
}

fn name(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(_) if path.ends_with(".counters") => lines.push(format!("{path}: numbers")),
        Value::Object(fields) => {
            for (field, value) in fields {
                name(&format!("{path}.{field}"), value, lines);
            }
        }
        Value::Array(items) => match items.first() {
            Some(first) => name(&format!("{path}[]"), first, lines),
            None => lines.push(format!("{path}: empty")),
        },
        Value::Null => lines.push(format!("{path}: null")),
        Value::Bool(_) => lines.push(format!("{path}: yes or no")),
        Value::Number(_) => lines.push(format!("{path}: number")),
        Value::String(_) => lines.push(format!("{path}: text")),
    }
}

#[test]
fn the_help_of_every_command() {
    let place = Place::new();
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut at = 0;
    while at < commands.len() {
        let path = commands[at].clone();
        at += 1;
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let ran = place.run(&args).ok();
        let listed = ran.out.split("Commands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            let word = line.split_whitespace().next().unwrap_or_default();
            let is_name = line.as_bytes().get(2).is_some_and(u8::is_ascii_lowercase);
            if is_name && word != "help" {
                commands.push(path.iter().cloned().chain([word.to_owned()]).collect());
            }
        }
        let name = if path.is_empty() { "rumor".to_owned() } else { path.join("-") };
        settings(&place).bind(|| assert_snapshot!(format!("help-{name}"), shown(&ran)));
    }
    assert!(commands.len() >= 24, "{commands:?}");
}
