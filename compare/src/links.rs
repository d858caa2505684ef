//! The links of systems that leave it to the application which nodes connect.

use std::collections::BTreeSet;

/// Links of each node on average, both directions together. It is the most that gossipsub keeps in
/// its mesh, so that the choice of mesh links is its own.
const MEAN_DEGREE: usize = 12;

/// For each node, the nodes that it dials: every pair once, all nodes connected, the same in every
/// run. With at most 13 nodes all are linked with each other.
pub(crate) fn dials(nodes: usize) -> Vec<Vec<usize>> {
    let most = nodes * nodes.saturating_sub(1) / 2;
    let wanted = most.min(nodes * MEAN_DEGREE / 2);
    let mut pairs = BTreeSet::new();
    let pair = |a: usize, b: usize| (a.min(b), a.max(b));
    // A ring connects all nodes.
    for node in 0..nodes.saturating_sub(1) {
        pairs.insert(pair(node, node + 1));
    }
    let mut random = 0;
    let mut node = 0;
    while pairs.len() < wanted {
        random = next_random(random);
        let other = usize::try_from(random % nodes as u64).unwrap_or(0);
        // The pair, or the next one that is not linked yet.
        let free = (0..nodes).map(|n| (other + n) % nodes);
        let free = free.filter(|other| *other != node && !pairs.contains(&pair(node, *other)));
        if let Some(other) = free.take(1).next() {
            pairs.insert(pair(node, other));
        }
        node = (node + 1) % nodes;
    }
    let mut dials = vec![Vec::new(); nodes];
    for (a, b) in pairs {
        if let Some(list) = dials.get_mut(a) {
            list.push(b);
        }
    }
    dials
}

/// `SplitMix64`.
const fn next_random(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(nodes: usize) -> usize {
        dials(nodes).iter().map(Vec::len).sum()
    }

    #[test]
    fn few_nodes_are_all_linked_with_each_other() {
        assert_eq!([count(1), count(2), count(13)], [0, 1, 78]);
    }

    #[test]
    fn many_nodes_have_twelve_links_on_average_and_are_connected() {
        let dials = dials(64);
        assert_eq!(count(64), 64 * 6);
        for (node, others) in dials.iter().enumerate() {
            assert!(node == 63 || others.contains(&(node + 1)));
            assert!(others.iter().all(|other| *other > node), "each pair is dialled once");
        }
    }
}
