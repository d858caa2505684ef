//! `rumor-lab bench`: the tests check that it measures, not the values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rumormill_testing::Ran;
use serde_json::Value;
use support::new_place;

/// A short measurement, with little time for the network to settle.
const SHORT: [&str; 6] = ["--settle", "500ms", "--warmup", "200ms", "--json", "--nodes"];

fn bench(args: &[&str]) -> Ran {
    let mut all = vec!["bench"];
    all.extend(SHORT);
    all.extend(args);
    new_place().run(&all)
}

fn positive(figures: &Value, names: &[&str]) {
    for name in names {
        assert!(figures[name].as_f64().unwrap() > 0.0, "{name}: {figures:#}");
    }
}

fn check(ran: &Ran) -> Value {
    let figures = ran.json();
    assert_eq!(figures["delivered_fraction"], 1.0, "{figures:#}");
    assert_eq!(figures["deliveries"], figures["deliveries_expected"]);
    for field in ["duplicates_delivered", "lost_by_subscribers", "foreign"] {
        assert_eq!(figures[field], 0, "{field}: {figures:#}");
    }
    assert_eq!(figures["alive_min"], figures["nodes"], "{figures:#}");
    assert!(figures["counters"]["messages_delivered"].as_u64() >= figures["deliveries"].as_u64());
    // Messages out of order make a run fail.
    let in_order = figures["order_violations"] == 0;
    assert_eq!(ran.code, i32::from(!in_order), "{ran:#?}");
    figures
}

#[test]
fn bench_delivers_a_number_of_messages() {
    let ran = bench(&["5", "--messages", "2000"]);
    let figures = check(&ran);
    assert_eq!((&figures["nodes"], &figures["publishers"]), (&5.into(), &4.into()));
    assert_eq!(figures["published"], 2000);
    assert_eq!(figures["deliveries"], 8000);
    assert_eq!(figures["ceiling"], "tls");
    assert_eq!(figures["ceiling_delivered_fraction"], 1.0);
    positive(
        &figures,
        &[
            "deliveries_per_second",
            "ceiling_deliveries_per_second",
            "ceiling_ratio",
            "wire_bytes_per_payload_byte",
            "cpu_seconds",
            "cpu_us_per_delivery",
            "seconds",
        ],
    );
    assert!(figures["wire_bytes_per_payload_byte"].as_f64().unwrap() >= 1.0, "{figures:#}");
    assert!(figures["duplicates"].as_f64().unwrap() >= 0.0);
    for delays in ["latency_ms", "last_delivery_ms"] {
        positive(&figures[delays], &["p50", "p90", "p99", "max"]);
    }
    #[cfg(target_os = "linux")]
    positive(&figures, &["rss_kib_per_node", "rss_kib_per_node_end"]);
}

#[test]
fn bench_publishes_at_a_rate() {
    let ran = bench(&["3", "--rate", "200", "--messages", "101", "--ceiling", "tcp"]);
    let figures = check(&ran);
    assert_eq!((&figures["published"], &figures["deliveries"]), (&101.into(), &202.into()));
    assert_eq!((&figures["ceiling"], &figures["window"]), (&"tcp".into(), &Value::Null));
    for delays in ["latency_ms", "ceiling_latency_ms", "ceiling_last_delivery_ms"] {
        positive(&figures[delays], &["p50", "p90", "p99", "max"]);
    }
}

#[test]
fn idle_bench_measures_the_cost_of_an_idle_network() {
    let figures = bench(&["3", "--idle", "--for", "1s"]).ok().json();
    assert_eq!((&figures["published"], &figures["ceiling"]), (&0.into(), &Value::Null));
    positive(&figures, &["idle_cpu_ms_per_node_second", "idle_bytes_per_node_second"]);
    assert_eq!(figures["alive_min"], 3);
}

#[test]
fn impossible_measurements_are_refused() {
    for (args, why) in [
        (&["3", "--publishers", "4"][..], "4 publishers are more than the 3 nodes"),
        (&["3", "--payload", "8"], "it carries 24 B"),
        (&["3", "--for", "0s"], "give --for a time"),
        (&["1"], "1 is not in 2.."),
        (&["3", "--rate", "5", "--window", "5"], "cannot be used with"),
        (&["3", "--messages", "5", "--for", "5s"], "cannot be used with"),
        (&["3", "--rate", "none"], "expected messages per second"),
    ] {
        let ran = bench(args);
        assert_eq!(ran.code, 2, "{ran:#?}");
        assert!(ran.err.contains(why), "{ran:#?}");
    }
}
