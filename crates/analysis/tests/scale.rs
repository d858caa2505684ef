//! Measurements with a million nodes. Run with `cargo test --release -p rumormill-analysis --test
//! scale -- --ignored --nocapture`; each part prints its duration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "measures the analysis, and is no part of it")]

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rumormill_analysis::{
    Attack, Clustering, Components, Distances, Fit, FitOptions, Graph, Histogram, Layout,
    Robustness, Verdict, ZetaLaw, assortativity,
};

fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = f();
    println!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    out
}

/// A random graph with degrees from the zeta law on [3, xmax]: ends are paired at random,
/// self-loops are left out.
fn overlay(n: u64, alpha: f64, xmax: u64) -> Graph {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let degrees = ZetaLaw::new(alpha, 3, Some(xmax)).unwrap().sample(n, &mut rng);
    let each = degrees.bins().iter().flat_map(|&(d, c)| (0..c).map(move |_| d));
    let mut ends: Vec<u32> = (0u32..).zip(each).flat_map(|(v, d)| (0..d).map(move |_| v)).collect();
    for i in (1..ends.len()).rev() {
        ends.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    let pairs = ends.chunks_exact(2).map(|e| (e[0], e[1])).filter(|(a, b)| a != b);
    Graph::new(n as usize, &pairs.collect::<Vec<_>>()).unwrap()
}

#[test]
#[ignore = "takes half a minute, in release"]
fn fit_of_a_million_degrees_rules_out_only_the_wrong_law() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let options = FitOptions::default();
    for xmax in [None, Some(1000)] {
        let law = ZetaLaw::new(2.3, 3, xmax).unwrap();
        let data: Histogram = timed("drawing 1,000,000", || law.sample(1_000_000, &mut rng));
        println!("{} different values up to {:?}", data.bins().len(), data.max());
        timed("both fits with scans and comparisons", || Fit::new(&data, &options).unwrap());
        let options = FitOptions { replicates: 1000, ..options };
        let fit =
            timed("the same with 1,000 replicates each", || Fit::new(&data, &options).unwrap());
        println!("{fit}\n{fit:?}");
        // The law without an upper end is ruled out where the data have one, and only there.
        assert_eq!(fit.verdict == Verdict::RuledOut, xmax.is_some());
    }
}

#[test]
#[ignore = "takes half a minute, in release"]
fn analysis_of_a_graph_of_a_million_nodes_is_timed() {
    let graph = timed("graph", || overlay(1_000_000, 2.4, 1000));
    println!("{} edges, {} merged", graph.edge_count(), graph.merged());
    let parts = timed("components", || Components::new(&graph));
    println!("largest {} of {}", parts.largest(), parts.sizes().len());
    println!("{:?}", timed("16 searches", || Distances::new(&graph, 16, 1)));
    println!("{:?}", timed("clustering", || Clustering::new(&graph)));
    println!("{:?}", timed("assortativity", || assortativity(&graph)));
    for attack in [Attack::Random, Attack::InitialDegree, Attack::CurrentDegree] {
        let r = timed("robustness", || Robustness::new(&graph, attack, 1, 101, 1).unwrap());
        println!("{attack:?}: {:?} {}", r.below_half_of_left, r.below_one_percent);
    }
}

#[test]
#[ignore = "takes half a minute, in release"]
fn layout_of_thousands_of_nodes_is_timed() {
    for (nodes, alpha) in [(1000, 1.95), (10_000, 1.95)] {
        let graph = overlay(nodes, alpha, 200);
        println!("{nodes} nodes, {} edges", graph.edge_count());
        let keys: Vec<u64> = (0..nodes).collect();
        let mut layout = Layout::new(1);
        timed("layout, set", || layout.set_graph(graph, &keys).unwrap());
        timed("layout, 100 rounds", || layout.step(100));
        timed("layout, 200 rounds more", || layout.step(200));
        println!("settled: {}", layout.is_settled());
    }
}
