use super::*;
use proptest::prelude::*;

fn keys(n: usize) -> Vec<u64> {
    (0..n as u64).map(|k| k * 7).collect()
}

fn drawn(graph: &Graph, seed: u64, rounds: u32) -> Vec<[f64; 2]> {
    let mut layout = Layout::new(seed);
    layout.set_graph(graph.clone(), &keys(graph.len())).unwrap();
    layout.step(rounds);
    layout.positions()
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Two stars of `leaves` leaves, whose hubs 0 and 1 are linked.
fn two_stars(leaves: u32) -> Graph {
    let leaf = |i| (i % 2, 2 + i);
    let edges: Vec<_> = (0..2 * leaves).map(leaf).chain([(0, 1)]).collect();
    Graph::new(2 + 2 * leaves as usize, &edges).unwrap()
}

#[test]
fn set_graph_requires_one_distinct_key_per_node() {
    let mut layout = Layout::new(1);
    let graph = Graph::new(2, &[(0, 1)]).unwrap();
    let count = layout.set_graph(graph.clone(), &[1]);
    assert_eq!(count, Err(LayoutError::KeyCount { keys: 1, nodes: 2 }));
    assert_eq!(layout.set_graph(graph, &[4, 4]), Err(LayoutError::RepeatedKey { key: 4 }));
    assert!(layout.positions().is_empty() && layout.is_settled());
    layout.step(3);
}

#[test]
fn same_seed_gives_same_positions() {
    let graph = two_stars(20);
    assert_eq!(drawn(&graph, 3, 50), drawn(&graph, 3, 50));
    assert_ne!(drawn(&graph, 3, 50), drawn(&graph, 4, 50));
}

#[test]
fn hubs_are_placed_in_the_middle_of_their_clusters() {
    let graph = two_stars(30);
    let at = drawn(&graph, 5, 300);
    for hub in 0..2usize {
        let leaves: Vec<_> = (2..at.len()).filter(|i| i % 2 == hub).map(|i| at[i]).collect();
        let mean = [0, 1].map(|i| leaves.iter().map(|p| p[i]).sum::<f64>() / leaves.len() as f64);
        let radius = leaves.iter().map(|&p| distance(p, mean)).fold(0.0, f64::max);
        assert!(distance(at[hub], mean) < 0.5 * radius, "hub {hub}");
        assert!(distance(at[1 - hub], mean) > radius, "clusters are separate");
    }
}

#[test]
fn ring_is_drawn_as_a_circle() {
    let edges: Vec<_> = (0..30).map(|i| (i, (i + 1) % 30)).collect();
    let at = drawn(&Graph::new(30, &edges).unwrap(), 2, 800);
    let radii: Vec<f64> = at.iter().map(|&p| distance(p, [0.5, 0.5])).collect();
    let largest = radii.iter().copied().fold(0.0, f64::max);
    let smallest = radii.iter().copied().fold(1.0, f64::min);
    assert!(smallest > 0.6 * largest, "{smallest} {largest}");
}

#[test]
fn layout_settles() {
    let mut layout = Layout::new(1);
    layout.set_graph(two_stars(40), &keys(82)).unwrap();
    let mut rounds = 0;
    while !layout.is_settled() && rounds < 2000 {
        layout.step(10);
        rounds += 10;
    }
    assert!(rounds < 2000);
    // The same graph again changes nothing.
    layout.set_graph(two_stars(40), &keys(82)).unwrap();
    assert!(layout.is_settled());
}

#[test]
fn known_nodes_stay_about_where_they_were() {
    let mut layout = Layout::new(1);
    let graph = two_stars(40);
    layout.set_graph(graph.clone(), &keys(82)).unwrap();
    layout.step(400);
    let before = layout.positions();
    // The last leaf is removed, two new ones are added, and the order of the indices is reversed.
    let mut names = keys(82);
    names.pop();
    names.extend([1000, 1001]);
    let n = names.len() as u32;
    names.reverse();
    let kept = graph.edges().filter(|e| e.1 != 81).chain([(0, 81), (1, 82)]);
    let edges: Vec<_> = kept.map(|(a, b)| (n - 1 - a, n - 1 - b)).collect();
    layout.set_graph(Graph::new(n as usize, &edges).unwrap(), &names).unwrap();
    layout.step(100);
    let mut after = layout.positions();
    after.reverse();
    let moved = (0..81).map(|i| distance(before[i], after[i])).sum::<f64>() / 81.0;
    assert!(moved < 0.08, "{moved}");
    assert!(distance(after[81], after[0]) < distance(after[81], after[1]));
}

#[test]
fn merged_components_keep_their_sides() {
    let mut layout = Layout::new(1);
    let path = |from: u32| (from..from + 9).map(|i| (i, i + 1));
    let apart: Vec<_> = path(0).chain(path(10)).collect();
    layout.set_graph(Graph::new(20, &apart).unwrap(), &keys(20)).unwrap();
    layout.step(300);
    let left = layout.positions()[0];
    let joined: Vec<_> = apart.iter().copied().chain([(9, 10)]).collect();
    layout.set_graph(Graph::new(20, &joined).unwrap(), &keys(20)).unwrap();
    let at = layout.positions();
    let mean = |range: core::ops::Range<usize>| {
        let n = range.len() as f64;
        range.map(|i| at[i]).fold([0.0; 2], |m, p| [m[0] + p[0] / n, m[1] + p[1] / n])
    };
    assert!(distance(mean(0..10), mean(10..20)) > 0.3, "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn positions_are_in_the_unit_square_and_components_do_not_overlap(
        edges in prop::collection::vec((0u32..30, 30u32..60), 0..50), seed: u64,
    ) {
        let graph = Graph::new(60, &edges).unwrap();
        let at = drawn(&graph, seed, 30);
        prop_assert!(at.iter().flatten().all(|c| (0.0..=1.0).contains(c)));
        let components = Components::new(&graph);
        let boxes: Vec<_> = (0..components.sizes().len())
            .map(|c| {
                let mut ends = [(1.0f64, 0.0f64); 2];
                for v in components.nodes(c) {
                    for (axis, end) in ends.iter_mut().enumerate() {
                        let c = at[v as usize][axis];
                        *end = (end.0.min(c), end.1.max(c));
                    }
                }
                ends
            })
            .collect();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[..i] {
                prop_assert!((0..2).any(|x| a[x].1 < b[x].0 || b[x].1 < a[x].0));
            }
        }
    }
}
