//! Positions for drawing a graph.
//!
//! Neighbours attract each other in proportion to their distance, and all nodes of a component
//! repel each other in proportion to the product of their degrees plus one over the distance: the
//! forces of ForceAtlas2 (Jacomy, Venturini, Heymann, Bastian, PLoS ONE 9 (2014)). Strong repulsion
//! between hubs separates clusters, and a hub ends in the middle of its neighbours. The length of a
//! step is limited by a bound that shrinks, as in Fruchterman and Reingold, Software: Practice and
//! Experience 21 (1991).
//!
//! Only additions, multiplications and roots are used, which give the same results on every
//! platform: the same seed and the same calls give the same positions on any machine.

use std::collections::BTreeMap;

use crate::components::Components;
use crate::graph::Graph;
use crate::random::{stream, unit};
use rand_chacha::ChaCha8Rng;

mod pack;
mod tree;

use pack::{Square, extent, pack};
use tree::{Body, Tree};

/// Longest step of the first round, as a share of the size of the component.
const FIRST_STEP: f64 = 0.1;
/// The factor by which the longest step shrinks after each round.
const COOLING: f64 = 0.98;
/// The lower limit of cooling: the layout keeps following the forces, and the remaining jitter is
/// invisible.
const MIN_HEAT: f64 = 0.002;
/// The heat of a known layout when nodes or edges are added or removed.
const REHEATED: f64 = 0.15;
/// The share of a component's square that is left free as a margin.
const MARGIN: f64 = 0.1;

/// Why a graph cannot be laid out with these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There must be one key per node.
    #[error("{keys} keys for {nodes} nodes")]
    KeyCount {
        /// Number of keys.
        keys: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// Two nodes have the same key.
    #[error("two nodes have the key {key}")]
    RepeatedKey {
        /// That key.
        key: u64,
    },
}

/// A layout in progress.
///
/// ```
/// use rumormill_analysis::{Graph, Layout};
///
/// let mut layout = Layout::new(7);
/// layout.set_graph(Graph::new(3, &[(0, 1)])?, &[10, 11, 12])?;
/// while !layout.is_settled() {
///     layout.step(5);
/// }
/// // Node 11 is removed; the others stay about where they are.
/// layout.set_graph(Graph::new(2, &[])?, &[10, 12])?;
/// assert_eq!(layout.positions().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    seed: u64,
    /// The number of graphs so far: each has a separate random stream.
    graphs: u64,
    graph: Graph,
    keys: Vec<u64>,
    /// Nodes of each component, largest first.
    components: Vec<Vec<u32>>,
    membership: Vec<u32>,
    /// Positions within the component, in the frame of the component.
    local: Vec<[f64; 2]>,
    heat: f64,
    settled: bool,
    tree: Tree,
    bodies: Vec<Body>,
}

impl Layout {
    /// An empty layout. The same seed and the same calls give the same positions.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            graphs: 0,
            graph: Graph::default(),
            keys: Vec::new(),
            components: Vec::new(),
            membership: Vec::new(),
            local: Vec::new(),
            heat: 1.0,
            settled: true,
            tree: Tree::default(),
            bodies: Vec::new(),
        }
    }

    /// Sets the graph to lay out from now on. `keys` identifies each node independently of its
    /// index: a known node keeps its position, a new one begins near its neighbours.
    ///
    /// # Errors
    ///
    /// If there is not one key per node, or if two keys are equal. The old graph then stays.
    pub fn set_graph(&mut self, graph: Graph, keys: &[u64]) -> Result<(), LayoutError> {
        if keys.len() != graph.len() {
            return Err(LayoutError::KeyCount { keys: keys.len(), nodes: graph.len() });
        }
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LayoutError::RepeatedKey { key: pair[0] });
        }
        if graph == self.graph && keys == self.keys {
            return Ok(());
        }
        let found = Components::new(&graph);
        let mut components = vec![Vec::new(); found.sizes().len()];
        for (node, &component) in (0..).zip(found.membership()) {
            components[component as usize].push(node);
        }
        let mut positions = self.known_positions(keys, &components);
        let known = positions.iter().flatten().count();
        self.graphs += 1;
        let mut rng = stream(self.seed, b"layout--", self.graphs);
        for nodes in &components {
            position_new_nodes(&graph, nodes, &mut positions, &mut rng);
        }
        self.local = positions.into_iter().map(Option::unwrap_or_default).collect();
        self.membership = found.membership().to_vec();
        (self.graph, self.components, self.keys) = (graph, components, keys.to_vec());
        // A layout of mostly new nodes starts hot.
        self.heat = if known * 2 < self.keys.len() { 1.0 } else { self.heat.max(REHEATED) };
        self.settled = self.components.first().is_none_or(|c| c.len() < 2);
        Ok(())
    }

    /// The positions of already known nodes, for each new component in one frame.
    fn known_positions(&self, keys: &[u64], components: &[Vec<u32>]) -> Vec<Option<[f64; 2]>> {
        let index: BTreeMap<u64, usize> = self.keys.iter().copied().zip(0..).collect();
        let frames = self.frames();
        let mut positions = vec![None; keys.len()];
        for nodes in components {
            let old = |&node: &u32| Some((node as usize, *index.get(&keys[node as usize])?));
            let known: Vec<(usize, usize)> = nodes.iter().filter_map(old).collect();
            // If several components became one, their nodes move into the frame of the component
            // with the most nodes, at the distance at which they were drawn.
            let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
            for &(_, old) in &known {
                *shares.entry(self.membership[old]).or_default() += 1;
            }
            let most = shares.iter().max_by_key(|&(&c, &count)| (count, core::cmp::Reverse(c)));
            let Some((&frame, _)) = most else { continue };
            let to = &frames[frame as usize];
            for (node, old) in known {
                let from = self.membership[old];
                let local = self.local[old];
                positions[node] = Some(if from == frame {
                    local
                } else {
                    to.local(frames[from as usize].drawn(local))
                });
            }
        }
        positions
    }

    /// Applies the forces for `rounds` rounds. One round takes about half a millisecond for a
    /// thousand nodes, and grows as n log n with their number.
    pub fn step(&mut self, rounds: u32) {
        for _ in 0..rounds {
            let mut furthest: f64 = 0.0;
            for component in 0..self.components.len() {
                if self.components[component].len() > 1 {
                    furthest = furthest.max(self.round(component));
                }
            }
            self.settled = furthest < 1e-3;
            self.heat = (self.heat * COOLING).max(MIN_HEAT);
        }
    }

    /// One round for one component. Returns the longest step relative to the component's size.
    fn round(&mut self, component: usize) -> f64 {
        let nodes = &self.components[component];
        let graph = &self.graph;
        let mass = |node: u32| graph.degree(node) as f64 + 1.0;
        self.bodies.clear();
        let local = &self.local;
        self.bodies.extend(nodes.iter().map(|&v| Body { at: local[v as usize], mass: mass(v) }));
        self.tree.build(&self.bodies);
        let size = nodes.iter().map(|&v| mass(v)).sum::<f64>().sqrt();
        let limit = size * FIRST_STEP * self.heat;
        let mut longest: f64 = 0.0;
        for (body, &node) in self.bodies.iter_mut().zip(nodes) {
            let at = body.at;
            // Forces are divided by the mass: a node that all neighbours attract moves to their
            // mean.
            let mut step = self.tree.repulsion(at, body.mass);
            for &other in graph.neighbours(node) {
                let position = self.local[other as usize];
                step[0] += (position[0] - at[0]) / body.mass;
                step[1] += (position[1] - at[1]) / body.mass;
            }
            let length = (step[0] * step[0] + step[1] * step[1]).sqrt() / 2.0;
            // Half of the way: with the whole, two neighbours would swap their positions forever.
            let scale = if length > limit { 0.5 * limit / length } else { 0.5 };
            longest = longest.max(length.min(limit));
            body.at = [at[0] + step[0] * scale, at[1] + step[1] * scale];
        }
        for (body, &node) in self.bodies.iter().zip(nodes) {
            self.local[node as usize] = body.at;
        }
        longest / size
    }

    /// Whether the last round moved no node by more than a thousandth of its component's size.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// A position for each node, in the order of the graph, within the unit square.
    ///
    /// Each component has a separate square, whose area is proportional to its number of nodes, and
    /// fills it in its longer direction; the squares are placed side by side. Both directions have
    /// the same scale.
    #[must_use]
    pub fn positions(&self) -> Vec<[f64; 2]> {
        let frames = self.frames();
        let position = |(&local, &component): (&[f64; 2], &u32)| {
            frames[component as usize].drawn(local).map(|c| c.clamp(0.0, 1.0))
        };
        self.local.iter().zip(&self.membership).map(position).collect()
    }

    /// The mapping of each component's frame to the unit square.
    fn frames(&self) -> Vec<Frame> {
        let sides: Vec<f64> = self.components.iter().map(|c| (c.len() as f64).sqrt()).collect();
        let squares = pack(&sides);
        let all = [extent(&squares, 0), extent(&squares, 1)];
        let unit = all[0].max(all[1]);
        let frame = |(square, nodes): (&Square, &Vec<u32>)| {
            let middle = |axis: usize| {
                let free = (unit - all[axis]) / 2.0;
                (square.corner[axis] + square.side / 2.0 + free) / unit
            };
            self.frame(nodes, [middle(0), middle(1)], square.side * (1.0 - MARGIN) / unit)
        };
        squares.iter().zip(&self.components).map(frame).collect()
    }

    fn frame(&self, nodes: &[u32], drawn_centre: [f64; 2], side: f64) -> Frame {
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for &node in nodes {
            for axis in 0..2 {
                low[axis] = low[axis].min(self.local[node as usize][axis]);
                high[axis] = high[axis].max(self.local[node as usize][axis]);
            }
        }
        let width = (high[0] - low[0]).max(high[1] - low[1]);
        let scale = if width > 1e-9 { side / width } else { side };
        let centre = [0, 1].map(|axis| (low[axis] + high[axis]) / 2.0);
        Frame { centre, drawn_centre, scale }
    }
}

/// The mapping of a component's frame to the unit square.
struct Frame {
    centre: [f64; 2],
    drawn_centre: [f64; 2],
    scale: f64,
}

impl Frame {
    fn drawn(&self, local: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|i| self.drawn_centre[i] + (local[i] - self.centre[i]) * self.scale)
    }

    fn local(&self, drawn: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|i| self.centre[i] + (drawn[i] - self.drawn_centre[i]) / self.scale)
    }
}

/// Gives the nodes of a component without a position one near a neighbour that has one: breadth
/// first, from the nodes with a position, or from the largest hub.
fn position_new_nodes(
    graph: &Graph,
    nodes: &[u32],
    positions: &mut [Option<[f64; 2]>],
    rng: &mut ChaCha8Rng,
) {
    let mut queue: Vec<u32> =
        nodes.iter().copied().filter(|&v| positions[v as usize].is_some()).collect();
    // A new layout starts spread out; a node that joins a known layout begins a link's length away.
    let mut spread = 1.5;
    if queue.is_empty() {
        let hub = nodes.iter().copied().max_by_key(|&v| (graph.degree(v), core::cmp::Reverse(v)));
        queue.extend(hub);
        for &hub in &queue {
            positions[hub as usize] = Some([0.0; 2]);
        }
        spread = (nodes.len() as f64).sqrt();
    }
    let mut next = 0;
    while let Some(&node) = queue.get(next) {
        next += 1;
        let around = positions[node as usize].unwrap_or_default();
        for &other in graph.neighbours(node) {
            let position = &mut positions[other as usize];
            if position.is_none() {
                *position = Some(around.map(|c| c + (unit(rng) - 0.5) * spread));
                queue.push(other);
            }
        }
    }
}

#[cfg(test)]
mod tests;
