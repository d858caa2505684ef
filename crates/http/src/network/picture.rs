//! The positions at which peers are drawn.

use std::collections::BTreeMap;

use rumormill_analysis::{Components, Graph, Layout};

use super::view::NetworkView;

/// Rounds of the drawing in one step, by the number of nodes: about a tenth of a second of work.
const ROUNDS_TIMES_NODES: usize = 40_000;
/// How long dead peers stay at their position, in microseconds.
const DEAD_SHOWN_US: u64 = 60_000_000;

/// The drawing of the network. A peer keeps its position from one view to the next.
#[derive(Debug)]
pub(super) struct Picture {
    layout: Layout,
    keys: Vec<u64>,
    edges: Vec<(u32, u32)>,
    components: u32,
    /// The last position of each linked peer.
    last: BTreeMap<String, (f64, f64)>,
}

impl Picture {
    pub(super) fn new() -> Self {
        Picture {
            layout: Layout::new(1),
            keys: Vec::new(),
            edges: Vec::new(),
            components: 0,
            last: BTreeMap::new(),
        }
    }

    /// Sets the positions and the number of components of a view. Says whether the peers still
    /// move.
    pub(super) fn place(&mut self, view: &mut NetworkView) -> bool {
        // A peer without known links has no position.
        let mut linked: Vec<bool> = view.peers.iter().map(|p| p.here).collect();
        for &(a, b, _) in &view.links {
            for end in [a, b] {
                if let Some(l) = linked.get_mut(end as usize) {
                    *l = true;
                }
            }
        }
        let drawn: Vec<usize> = (0..view.peers.len()).filter(|&i| linked[i]).collect();
        let mut number = vec![u32::MAX; view.peers.len()];
        for (n, &i) in drawn.iter().enumerate() {
            number[i] = u32::try_from(n).unwrap_or(u32::MAX);
        }
        let edge = |&(a, b, _): &(u32, u32, u32)| (number[a as usize], number[b as usize]);
        let edges: Vec<(u32, u32)> = view.links.iter().map(edge).collect();
        let keys: Vec<u64> = drawn.iter().map(|&i| key(&view.peers[i].id)).collect();
        if edges != self.edges || keys != self.keys {
            let Ok(graph) = Graph::new(drawn.len(), &edges) else { return false };
            let parts = Components::new(&graph).sizes().len();
            self.components = u32::try_from(parts).unwrap_or(u32::MAX);
            if self.layout.set_graph(graph, &keys).is_err() {
                return false;
            }
            (self.edges, self.keys) = (edges, keys);
        }
        view.components = self.components;
        if !self.layout.is_settled() {
            let rounds = (ROUNDS_TIMES_NODES / drawn.len().max(1)).clamp(2, 60);
            self.layout.step(u32::try_from(rounds).unwrap_or(2));
        }
        for (&i, at) in drawn.iter().zip(self.layout.positions()) {
            // Exact to a thousandth of a pixel on the widest screen.
            let place = |c: f64| (c * 1e5).round() / 1e5;
            view.peers[i].at = Some((place(at[0]), place(at[1])));
        }
        self.keep_dead_peers(view);
        !self.layout.is_settled()
    }
}

impl Picture {
    /// Keeps peers that died a moment ago at their last position, so that the user sees them.
    fn keep_dead_peers(&mut self, view: &mut NetworkView) {
        let mut last = BTreeMap::new();
        for p in &mut view.peers {
            let fresh = p.found_us.is_some_and(|at| view.at_us.saturating_sub(at) < DEAD_SHOWN_US);
            if p.at.is_none() && p.state == "dead" && fresh {
                p.at = self.last.get(&p.id).copied();
            }
            if let Some(at) = p.at {
                last.insert(p.id.clone(), at);
            }
        }
        self.last = last;
    }
}

/// The key of a peer in the layout: the first digits of its id, which is a hash.
fn key(id: &str) -> u64 {
    id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
