//! Repulsion of many bodies in n log n steps (Barnes and Hut, Nature 324 (1986)).

/// A cell counts as one body if its width is at most this multiple of its distance.
const OPENING_ANGLE: f64 = 1.0;
/// Bodies closer than the finest cell share a cell.
const MAX_DEPTH: u32 = 24;
const NONE: u32 = u32::MAX;

/// A point with a mass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    pub(super) at: [f64; 2],
    pub(super) mass: f64,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The sum of mass times position; the centre of mass once the tree is complete.
    centre: [f64; 2],
    mass: f64,
    width: f64,
    /// First of four children, or none for a leaf.
    children: u32,
}

/// A quadtree with reused memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    cells: Vec<Cell>,
    stack: Vec<u32>,
}

impl Tree {
    /// Builds the tree over these bodies.
    pub(super) fn build(&mut self, bodies: &[Body]) {
        self.cells.clear();
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for body in bodies {
            for axis in 0..2 {
                low[axis] = low[axis].min(body.at[axis]);
                high[axis] = high[axis].max(body.at[axis]);
            }
        }
        let width = (high[0] - low[0]).max(high[1] - low[1]).max(1e-9);
        self.cells.push(Cell { centre: [0.0; 2], mass: 0.0, width, children: NONE });
        for body in bodies {
            self.insert(*body, low, width);
        }
        for cell in &mut self.cells {
            if cell.mass > 0.0 {
                cell.centre = cell.centre.map(|c| c / cell.mass);
            }
        }
    }

    fn insert(&mut self, body: Body, mut low: [f64; 2], mut width: f64) {
        let mut index = 0;
        for depth in 0..=MAX_DEPTH {
            let cell = self.cells[index];
            if cell.children == NONE && cell.mass > 0.0 && depth < MAX_DEPTH {
                // A leaf with a body: that body moves down a level.
                self.split(index, low, width / 2.0);
            }
            let cell = &mut self.cells[index];
            cell.mass += body.mass;
            for axis in 0..2 {
                cell.centre[axis] += body.mass * body.at[axis];
            }
            if cell.children == NONE {
                return;
            }
            width /= 2.0;
            index = (cell.children + quadrant(body.at, &mut low, width)) as usize;
        }
    }

    fn split(&mut self, index: usize, mut low: [f64; 2], width: f64) {
        let first = self.cells.len() as u32;
        let cell = self.cells[index];
        self.cells[index].children = first;
        let empty = Cell { centre: [0.0; 2], mass: 0.0, width, children: NONE };
        self.cells.extend([empty; 4]);
        let at = cell.centre.map(|c| c / cell.mass);
        let child = &mut self.cells[(first + quadrant(at, &mut low, width)) as usize];
        (child.centre, child.mass) = (cell.centre, cell.mass);
    }

    /// The repulsion of all bodies on the one at `at` with mass `own`, which is among them: the sum
    /// of their masses over their distances, directed away from them.
    pub(super) fn repulsion(&mut self, at: [f64; 2], own: f64) -> [f64; 2] {
        let mut sum = [0.0; 2];
        self.stack.clear();
        self.stack.push(0);
        while let Some(index) = self.stack.pop() {
            let cell = &self.cells[index as usize];
            let away = [at[0] - cell.centre[0], at[1] - cell.centre[1]];
            let square = away[0] * away[0] + away[1] * away[1];
            let leaf = cell.children == NONE;
            if leaf || cell.width * cell.width <= OPENING_ANGLE * OPENING_ANGLE * square {
                // The body itself, or others at the same position: there is no direction.
                if cell.mass > 0.0 && square > 1e-12 {
                    sum[0] += away[0] * cell.mass / square;
                    sum[1] += away[1] * cell.mass / square;
                }
            } else if cell.mass > own {
                self.stack.extend(cell.children..cell.children + 4);
            }
        }
        sum
    }
}

/// The quarter of a square that contains a point, with quarters of this width; `low` becomes the
/// corner of that quarter.
fn quadrant(at: [f64; 2], low: &mut [f64; 2], width: f64) -> u32 {
    let mut which = 0;
    for axis in 0..2 {
        if at[axis] >= low[axis] + width {
            low[axis] += width;
            which += 1 << axis;
        }
    }
    which
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{stream, unit};

    fn plain(bodies: &[Body], at: [f64; 2]) -> [f64; 2] {
        let mut sum = [0.0; 2];
        for body in bodies {
            let away = [at[0] - body.at[0], at[1] - body.at[1]];
            let square = away[0] * away[0] + away[1] * away[1];
            if square > 1e-12 {
                sum = [0, 1].map(|i| sum[i] + away[i] * body.mass / square);
            }
        }
        sum
    }

    #[test]
    fn repulsion_is_close_to_the_exact_sum_over_all_bodies() {
        let mut rng = stream(1, b"test----", 0);
        let mut body = || Body {
            at: [unit(&mut rng), unit(&mut rng)],
            mass: 1.0 + (unit(&mut rng) * 5.0).floor(),
        };
        let bodies: Vec<Body> = (0..500).map(|_| body()).collect();
        let mut tree = Tree::default();
        tree.build(&bodies);
        let (mut error, mut size) = (0.0, 0.0);
        for body in &bodies {
            let exact = plain(&bodies, body.at);
            let near = tree.repulsion(body.at, body.mass);
            error += (exact[0] - near[0]).hypot(exact[1] - near[1]);
            size += exact[0].hypot(exact[1]);
        }
        assert!(error < 0.05 * size, "{error} {size}");
    }

    #[test]
    fn bodies_at_the_same_position_are_all_counted() {
        let bodies = [Body { at: [0.5, 0.5], mass: 1.0 }; 9];
        let mut tree = Tree::default();
        tree.build(&bodies);
        assert_eq!(tree.repulsion([0.5, 0.5], 1.0), [0.0, 0.0]);
        assert!(tree.repulsion([2.5, 0.5], 1.0)[0] > 4.4);
    }
}
