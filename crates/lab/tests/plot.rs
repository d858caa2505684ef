//! `rumor-lab plot`: pictures of reports, logs and a running network, and its errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use rumormill::proto::SeedAddress;
use rumormill::{Listener, Node, SeedNode};
use rumormill_launch::control::{Control, HttpArgs};
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_testing::{Place, Ran, until};
use support::new_place;

/// A report of a run without messages: a hub, its neighbours and a ring around it.
fn report(peers: u32) -> String {
    let ring = (1..peers).map(|i| (i, i % (peers - 1) + 1));
    let edges: Vec<(u32, u32)> = (1..peers).map(|i| (0, i)).chain(ring).collect();
    let graph = serde_json::json!({ "nodes": peers, "edges": edges });
    serde_json::json!({ "scenario": "<wheel> & co", "peers": peers, "graph": graph }).to_string()
}

#[track_caller]
fn fails(place: &Place, args: &[&str], code: i32, fragments: &[&str]) -> Ran {
    let ran = place.run(args);
    assert_eq!(ran.code, code, "{ran:#?}");
    for fragment in fragments {
        assert!(ran.err.contains(fragment), "no {fragment:?} in {ran:#?}");
    }
    assert!(ran.out.is_empty() && !ran.err.contains("panicked"), "{ran:#?}");
    ran
}

#[test]
fn report_gives_pictures_as_svg_and_png() {
    let place = new_place();
    let report = place.write("report.json", &report(40));
    for kind in ["degrees", "graph", "robustness"] {
        let (svg, png) = (format!("{kind}.svg"), format!("{kind}.PNG"));
        let ran = place.run(&["plot", kind, &report, "-o", &svg, "--theme", "dark"]).ok();
        assert_eq!(ran.out, format!("{svg} written\n"));
        let text = fs::read_to_string(place.path().join(svg)).unwrap();
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{kind}");
        assert!(text.contains("scenario &lt;wheel&gt; &amp; co"), "{kind}");
        place.run(&["plot", kind, &report, "-o", &png, "--size", "500x400"]).ok();
        let bytes = fs::read(place.path().join(&png)).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&bytes[16..24], &[0, 0, 1, 0xf4, 0, 0, 1, 0x90]);
        // Another process draws the same picture, byte by byte.
        place.run(&["plot", kind, &report, "-o", "again.png", "--size", "500x400"]).ok();
        assert!(fs::read(place.path().join("again.png")).unwrap() == bytes, "{kind}");
    }
}

#[test]
fn report_is_read_from_standard_input_and_title_is_escaped() {
    let place = new_place();
    let args = ["plot", "graph", "-", "-o", "g.svg", "--title", "<b>\u{1b}[2J & so"];
    let mut child = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(report(9).as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(place.path().join("g.svg")).unwrap();
    assert!(text.contains("<title>&lt;b&gt;\u{fffd}[2J &amp; so</title>"), "{text}");
}

#[test]
fn picture_of_equal_degrees_says_why_there_is_no_fit() {
    let place = new_place();
    let edges: Vec<(u32, u32)> = (0..20).map(|i| (i, (i + 1) % 20)).collect();
    let ring = serde_json::json!({ "graph": { "nodes": 20, "edges": edges } }).to_string();
    let ring = place.write("ring.json", &ring);
    place.run(&["plot", "degrees", &ring, "-o", "ring.svg"]).ok();
    let text = fs::read_to_string(place.path().join("ring.svg")).unwrap();
    assert!(text.contains("No power law was fitted"), "{text}");
}

#[test]
fn wrong_command_line_exits_with_2() {
    let place = new_place();
    let report = place.write("report.json", &report(9));
    let table: &[(&[&str], &[&str])] = &[
        (&["plot", "degrees", &report, "-o", "x.gif"], &["x.gif", ".svg or .png"]),
        (&["plot", "degrees", &report, "-o", "x"], &[".svg or .png"]),
        (&["plot", "degrees", &report], &["--output"]),
        (&["plot", "weather", &report, "-o", "x.svg"], &["degrees", "robustness"]),
        (&["plot", "graph", &report, "-o", "x.svg", "--size", "10x10"], &["480x360 to 6000x6000"]),
        (&["plot", "graph", &report, "-o", "x.svg", "--theme", "pink"], &["light", "dark"]),
    ];
    for (args, fragments) in table {
        fails(&place, args, 2, fragments);
    }
    assert!(!place.path().join("x.svg").exists());
}

#[test]
fn error_about_missing_data_names_the_sources_that_have_it() {
    let place = new_place();
    let one = place.write("one.json", r#"{"graph": {"nodes": 1, "edges": []}}"#);
    let none = place.write("none.json", r#"{"degrees": [], "degrees_fit": null}"#);
    let bad = place.write("bad.json", "{\"scenario\": \"x\",\n \"peers\": \"many\"}");
    let hole = place.write("hole.json", r#"{"graph": {"nodes": 2, "edges": [[0, 7]]}}"#);
    let empty = place.write("empty.json", "");
    let line = "2026-02-26T19:39:24.123Z abcdef0123456789=>3\n";
    fs::create_dir_all(place.path().join("logs/seeds")).unwrap();
    place.write("logs/seeds/s.degrees.log", line);
    fs::create_dir(place.path().join("bare")).unwrap();
    let plot = |kind, from| ["plot", kind, from, "-o", "x.svg"];
    let table: &[([&str; 5], &[&str])] = &[
        (plot("degrees", &one), &["1 peer without any neighbour"]),
        (plot("degrees", &none), &["no peers"]),
        (plot("graph", &none), &["none.json has no data for graph", "a running network"]),
        (plot("latency", &one), &["one.json has no data for latency"]),
        (plot("graph", &bad), &["bad.json", "invalid type", "line 2"]),
        (plot("graph", &hole), &["hole.json", "an edge names node 7"]),
        (plot("graph", &empty), &["empty.json is empty"]),
        (plot("graph", "missing.json"), &["cannot read missing.json", "rumor-lab sim --json"]),
        (plot("latency", "logs"), &["not when they arrived", "rumor-lab sim --json", "running"]),
        (plot("graph", "logs"), &["logs has no data for graph"]),
        (plot("graph", "bare"), &["bare holds no logs"]),
    ];
    for (args, fragments) in table {
        fails(&place, args, 1, fragments);
    }
    fails(&place, &["plot", "graph", "-o", "x.svg"], 6, &["no node is running here"]);
    let degrees = ["plot", "degrees", "logs", "-o", "no/such/x.svg"];
    fails(&place, &degrees, 1, &["cannot write no/such/x.svg"]);
}

/// A seed and two peers in this process, served where the program finds them.
struct Network {
    peers: [Node; 2],
    _seed: SeedNode,
    _control: Control,
}

impl Network {
    async fn start(place: &Place) -> Self {
        let bind = || Listener::bind(ANY_LOOPBACK_PORT).unwrap();
        let mut control =
            Control::start(Some(&place.run_dir()), &HttpArgs::default()).await.unwrap();
        let listener = bind();
        let host_port = listener.local_addr().to_string();
        let seeds = vec![SeedAddress { host_port, pin: None }];
        let seed = SeedNode::builder().listener(listener).seeds(seeds.clone()).own_index(Some(0));
        let seed = seed.start().await.unwrap();
        control.add("seed-1", seed.clone());
        let mut peers = Vec::new();
        for name in ["anna", "bert"] {
            let peer = Node::builder().name(name.parse().unwrap()).listener(bind());
            let peer = peer.seeds(seeds.clone()).start().await.unwrap();
            control.add(name, peer.clone());
            peers.push(peer);
        }
        Network { peers: peers.try_into().unwrap(), _seed: seed, _control: control }
    }
}

#[test]
fn running_network_gives_pictures_of_every_kind() {
    let place = new_place();
    // It serves the network while this thread runs the program.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let network = runtime.block_on(Network::start(&place));
    let [anna, _] = &network.peers;
    until("they are neighbours", || {
        runtime.block_on(anna.snapshot()).unwrap().neighbours.len() == 1
    });
    let drawn = |args: &[&str]| {
        let args = [&["plot"], args, &["-o", "x.svg"]].concat();
        place.run(&args).ok();
        fs::read_to_string(place.path().join("x.svg")).unwrap()
    };
    assert!(drawn(&["graph"]).contains("Overlay of 2 peers with 1 link"));
    assert!(drawn(&["robustness", "running"]).contains("2 peers"));
    until("the seed knows both degrees", || {
        let args = ["plot", "degrees", "-o", "x.svg"];
        place.run(&args).code == 0
            && fs::read_to_string(place.path().join("x.svg")).unwrap().contains("n = 2")
    });
    let nothing = place.run(&["plot", "latency", "-o", "x.svg"]);
    assert!(nothing.code == 1 && nothing.err.contains("no deliveries"), "{nothing:#?}");
    runtime.block_on(anna.publish("", "hello")).unwrap();
    until("bert has it", || place.run(&["plot", "latency", "-o", "x.svg"]).code == 0);
    assert!(drawn(&["latency"]).contains("Delay of 1 delivery"));
    assert!(drawn(&["propagation"]).contains("Spread of 1 message"));
}
