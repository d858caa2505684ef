//! Runs as a whole: that they repeat, that they find what is wrong, and say so.

use super::{Go, Measures, PlayError, play};
use crate::report::Report;
use crate::scenario::{Scenario, Span};

fn small(more: &str) -> Scenario {
    let text = format!(
        "name = \"small\"\npeers = 12\nkeys = \"fast\"\nfor = \"20s\"\ncheck-every = \"5s\"\n{more}\n\
         [[load]]\npublishers = 3\nrate = 10"
    );
    Scenario::parse(&text).unwrap()
}

fn run(scenario: &Scenario, seed: u64) -> Report {
    let measures = Measures { replicates: 0, graph: true };
    play(scenario, seed, measures, &mut |_| Go::On).unwrap()
}

#[test]
fn the_same_number_gives_the_same_report() {
    let scenario = small("[chaos]\nevery = \"300ms..1s\"");
    let (a, b) = (run(&scenario, 3), run(&scenario, 3));
    assert_eq!(a, b);
    assert!(a.passed, "{:?}", a.problems);
    assert!(a.messages.published > 100 && a.events > 10_000, "{a:?}");
    assert_ne!(run(&scenario, 4).trace_hash, a.trace_hash);
}

/// Disks that are put back to an old copy, with clocks that are behind, and chaos beside it.
#[test]
fn promises_hold_when_disks_are_restored() {
    let scenario = small(
        "[chaos]\nevery = \"500ms..2s\"\n[[fault]]\nat = \"4s\"\ndo = \"restore\"\npeers = 3\n\
         clock-back = true\nfor = \"8s\"",
    );
    let failed: Vec<(u64, Vec<String>)> = (20..26)
        .map(|seed| (seed, run(&scenario, seed)))
        .filter(|(_, r)| !r.passed)
        .map(|(seed, r)| (seed, r.problems))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_sound_run_reports_what_it_saw() {
    let r = run(&small(""), 1);
    assert!(r.passed, "{:?}", r.problems);
    assert_eq!((r.components, r.live_peers, r.messages.delivered_fraction), (1, 12, 1.0));
    assert!(r.join_seconds.is_some() && r.calm_seconds.is_some() && r.failure.is_none());
    let graph = r.graph.unwrap();
    assert_eq!((graph.nodes, graph.edges.len()), (12, r.edges));
    let spread = r.propagation.unwrap();
    assert_eq!(spread.complete, spread.messages);
}

/// The planted fault: at a time, an application gets its last message a second time.
#[test]
fn a_broken_promise_is_found_when_it_was_broken_with_who_did_what() {
    let mut scenario = small("");
    scenario.sabotage = Some(Span(core::time::Duration::from_millis(8_730)));
    let r = run(&scenario, 1);
    assert!(!r.passed);
    assert!(!r.promises["G1"].held && r.promises["G3"].held);
    let f = r.failure.unwrap();
    assert_eq!(f.promise, "G1");
    assert!(f.what.contains("2 times"), "{}", f.what);
    // The looks are five seconds apart; the report is exact to a tenth of one.
    assert!((8.7..=8.9).contains(&f.at_seconds), "{}", f.at_seconds);
    let [node] = f.nodes.as_slice() else { panic!("{:?}", f.nodes) };
    assert!(!f.trace.is_empty() && f.trace.iter().all(|line| line.contains(node)), "{f:?}");
}

#[test]
fn who_does_not_come_to_rest_has_failed() {
    let mut scenario = small("[[fault]]\nat = \"5s\"\ndo = \"crash-seeds\"\nseeds = 3");
    scenario.calm = Span::default();
    // Seeds that were started a moment ago have not synced.
    let r = run(&scenario, 1);
    assert!(!r.passed && r.calm_seconds.is_none());
    assert!(!r.promises["G4"].held, "{:?}", r.problems);
}

#[test]
fn an_expectation_that_is_not_met_is_a_problem() {
    let r = run(&small("[expect]\ncopies-max = 0.5\nalpha-min = 2\ndelivered-min = 1.1"), 1);
    assert!(r.promises.values().all(|p| p.held) && !r.passed);
    assert!(r.problems.iter().any(|p| p.contains("copies per peer")), "{:?}", r.problems);
    assert!(r.problems.iter().any(|p| p.contains("part delivered is 1.000")), "{:?}", r.problems);
    let unknown = r.problems.iter().find(|p| p.contains("alpha"));
    assert!(unknown.unwrap().contains("not known"), "twelve peers have no law: {:?}", r.problems);
}

#[test]
fn a_run_stops_when_it_is_told() {
    let mut left = 10;
    let told = play(&small(""), 1, Measures::default(), &mut |_| {
        left -= 1;
        if left > 0 { Go::On } else { Go::Stop }
    });
    assert!(matches!(told, Err(PlayError::Stopped)));
}
