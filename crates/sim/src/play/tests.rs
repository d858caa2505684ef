//! Tests of whole runs: they repeat exactly, find violations and report them.

use super::{MeasureOptions, PlayError, ProgressReply, play};
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
    let options = MeasureOptions { replicates: 0, graph: true };
    play(scenario, seed, options, &mut |_| ProgressReply::Continue).unwrap()
}

#[test]
fn same_random_seed_gives_the_same_report() {
    let scenario = small("[chaos]\nevery = \"300ms..1s\"");
    let (a, b) = (run(&scenario, 3), run(&scenario, 3));
    assert_eq!(a, b);
    assert!(a.passed, "{:?}", a.problems);
    assert!(a.messages.published > 100 && a.events > 10_000, "{a:?}");
    assert_ne!(run(&scenario, 4).trace_hash, a.trace_hash);
}

/// Disks are restored from an earlier copy, with clocks that are set back, during chaos.
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
fn passing_run_reports_its_figures() {
    let r = run(&small(""), 1);
    assert!(r.passed, "{:?}", r.problems);
    assert_eq!((r.components, r.live_peers, r.messages.delivered_fraction), (1, 12, 1.0));
    assert!(r.join_seconds.is_some() && r.calm_seconds.is_some() && r.failure.is_none());
    let graph = r.graph.unwrap();
    assert_eq!((graph.nodes, graph.edges.len()), (12, r.edges));
    let spread = r.propagation.unwrap();
    assert_eq!(spread.complete, spread.messages);
}

/// The planted violation: at a given time, the last delivery is recorded a second time.
#[test]
fn violation_is_reported_with_its_time_and_the_trace_of_its_nodes() {
    let mut scenario = small("");
    scenario.planted_violation = Some(Span(core::time::Duration::from_millis(8_730)));
    let r = run(&scenario, 1);
    assert!(!r.passed);
    assert!(!r.promises["G1"].held && r.promises["G3"].held);
    let f = r.failure.unwrap();
    assert_eq!(f.promise, "G1");
    assert!(f.what.contains("2 times"), "{}", f.what);
    // The checks of the run are five seconds apart; the replay is exact to a tenth of a second.
    assert!((8.7..=8.9).contains(&f.at_seconds), "{}", f.at_seconds);
    let [node] = f.nodes.as_slice() else { panic!("{:?}", f.nodes) };
    assert!(!f.trace.is_empty() && f.trace.iter().all(|line| line.contains(node)), "{f:?}");
}

#[test]
fn run_that_does_not_come_to_rest_fails() {
    let mut scenario = small("[[fault]]\nat = \"5s\"\ndo = \"crash-seeds\"\nseeds = 3");
    scenario.calm = Span::default();
    // The restarted seeds have not synced yet.
    let r = run(&scenario, 1);
    assert!(!r.passed && r.calm_seconds.is_none());
    assert!(!r.promises["G4"].held, "{:?}", r.problems);
}

#[test]
fn unmet_expectation_is_reported_as_a_problem() {
    let r = run(&small("[expect]\ncopies-max = 0.5\nalpha-min = 2\ndelivered-min = 1.1"), 1);
    assert!(r.promises.values().all(|p| p.held) && !r.passed);
    assert!(r.problems.iter().any(|p| p.contains("copies per peer")), "{:?}", r.problems);
    assert!(r.problems.iter().any(|p| p.contains("part delivered is 1.000")), "{:?}", r.problems);
    let unknown = r.problems.iter().find(|p| p.contains("alpha"));
    assert!(unknown.unwrap().contains("not known"), "twelve peers are too few for a fit");
}

#[test]
fn run_stops_when_the_progress_callback_stops_it() {
    let mut left = 10;
    let result = play(&small(""), 1, MeasureOptions::default(), &mut |_| {
        left -= 1;
        if left > 0 { ProgressReply::Continue } else { ProgressReply::Stop }
    });
    assert!(matches!(result, Err(PlayError::Stopped)));
}
