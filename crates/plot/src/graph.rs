//! The picture of the overlay graph: peers and the links between them.

use plotters::element::{Circle, PathElement};
use plotters::style::{RGBColor, ShapeStyle};
use rumormill_analysis::{Components, Graph, Layout};

use crate::PlotError;
use crate::axis::{figures, grouped};
use crate::degrees::{self, peers};
use crate::options::{PictureOptions, translucent};
use crate::picture::Picture;
use crate::sheet::{Anchor, LegendBlock, Sheet, draw};
use crate::text;
use crate::units::{Rect, breadth, units};

/// Larger graphs are drawn in part: the circles of more nodes would touch.
pub const MAX_DRAWN_NODES: usize = 10_000;

/// The most hubs that are labelled with their degree.
const MAX_LABELLED_HUBS: usize = 12;

/// Draws a graph. Of a graph with more than [`MAX_DRAWN_NODES`] nodes, those nearest to the largest
/// hub are drawn, and the picture says so.
///
/// # Errors
///
/// If there are no nodes.
pub fn graph(graph: &Graph, options: &PictureOptions) -> Result<Picture, PlotError> {
    if graph.is_empty() {
        return Err(PlotError::NoData("no peers, so no graph to draw".to_owned()));
    }
    let drawn = DrawnGraph::new(graph)?;
    let edges = graph.edges().count() as u64;
    let links = if edges == 1 { "1 link".to_owned() } else { format!("{} links", grouped(edges)) };
    let title = format!("Overlay of {} with {links}", peers(graph.len() as u64));
    draw(options, &title, |sheet| {
        // The legend of sizes depends on the sizes, which depend on the space beside the legend;
        // the height of its text is the same for any sizes.
        let areas = sheet.arrange(&facts(graph, edges, &drawn), true)?;
        let circles = Circles::new(&drawn, areas.main, sheet);
        circles.edges(sheet)?;
        circles.nodes(sheet)?;
        let Some(rect) = areas.small else { return Ok(()) };
        let y = circles.legend(sheet, rect)? + 1.5 * sheet.em;
        let rest = Rect { y, h: rect.bottom() - y, ..rect };
        if rest.h < 13.0 * sheet.em || graph.degrees().max() == Some(0) {
            return Ok(());
        }
        degrees::small_chart(sheet, rest.limit_height(), &graph.degrees())
    })
}

/// The part of a graph that is drawn, with its layout.
struct DrawnGraph {
    graph: Graph,
    /// Degrees in the whole graph.
    degrees: Vec<usize>,
    positions: Vec<[f64; 2]>,
    /// The number of nodes of the whole graph, if only a part is drawn.
    of: Option<usize>,
}

impl DrawnGraph {
    fn new(whole: &Graph) -> Result<Self, PlotError> {
        let kept = nearest(whole, MAX_DRAWN_NODES);
        let broken = |e: &dyn core::fmt::Display| PlotError::Draw(e.to_string());
        let edges: Vec<(u32, u32)> = whole
            .edges()
            .filter_map(|(a, b)| {
                let index = |node| kept.binary_search(&node).ok().map(|i| i as u32);
                Some((index(a)?, index(b)?))
            })
            .collect();
        let graph = Graph::new(kept.len(), &edges).map_err(|e| broken(&e))?;
        let keys: Vec<u64> = kept.iter().map(|&v| u64::from(v)).collect();
        let mut layout = Layout::new(1);
        layout.set_graph(graph.clone(), &keys).map_err(|e| broken(&e))?;
        // The layout cools down within 300 rounds; later movement is hardly visible.
        for _ in 0..30 {
            if layout.is_settled() {
                break;
            }
            layout.step(10);
        }
        let degrees = kept.iter().map(|&v| whole.degree(v)).collect();
        let of = (kept.len() < whole.len()).then_some(whole.len());
        Ok(Self { graph, degrees, positions: layout.positions(), of })
    }

    fn largest(&self) -> usize {
        self.degrees.iter().copied().max().unwrap_or(0)
    }
}

/// The `most` nodes with the fewest hops to the largest hub, ascending; all nodes of a small graph.
fn nearest(graph: &Graph, most: usize) -> Vec<u32> {
    if graph.len() <= most {
        return graph.nodes().collect();
    }
    let hub = graph.nodes().max_by_key(|&v| (graph.degree(v), core::cmp::Reverse(v)));
    let mut seen = vec![false; graph.len()];
    let mut queue: Vec<u32> = hub.into_iter().collect();
    queue.iter().for_each(|&v| seen[v as usize] = true);
    let mut next = 0;
    while let Some(&node) = queue.get(next) {
        next += 1;
        for &other in graph.neighbours(node) {
            if !core::mem::replace(&mut seen[other as usize], true) {
                queue.push(other);
            }
        }
        if queue.len() >= most {
            break;
        }
    }
    queue.truncate(most);
    queue.sort_unstable();
    queue
}

fn facts(graph: &Graph, edges: u64, drawn: &DrawnGraph) -> Vec<LegendBlock> {
    let degrees = graph.degrees();
    let components = Components::new(graph);
    let largest = components.sizes().first().copied().unwrap_or(0);
    let mut out = vec![
        LegendBlock::Line(format!("{}, {} links", peers(graph.len() as u64), grouped(edges))),
        LegendBlock::Line(format!(
            "mean degree {}, smallest {}, largest {}",
            figures(degrees.mean().unwrap_or(0.0)),
            grouped(degrees.min().unwrap_or(0)),
            grouped(degrees.max().unwrap_or(0))
        )),
    ];
    out.push(LegendBlock::Line(match components.sizes().len() {
        1 => "connected: one component".to_owned(),
        n => format!(
            "in {} parts, the largest with {}",
            grouped(n as u64),
            peers(u64::try_from(largest).unwrap_or(0))
        ),
    }));
    if let Some(of) = drawn.of {
        out.push(LegendBlock::Gap);
        out.push(LegendBlock::Line(format!(
            "DrawnGraph: a sample, the {} nearest to the largest hub, of {}.",
            peers(drawn.graph.len() as u64),
            grouped(of as u64)
        )));
    }
    out
}

/// Positions and sizes of the nodes.
struct Circles<'d> {
    drawn: &'d DrawnGraph,
    at: Vec<(f64, f64)>,
    /// Radius of a node of the largest degree.
    largest: f64,
    smallest: f64,
    /// Nodes by degree, smallest first, so that hubs are drawn on top.
    order: Vec<u32>,
    hubs: usize,
}

impl<'d> Circles<'d> {
    fn new(drawn: &'d DrawnGraph, rect: Rect, sheet: &Sheet<'_>) -> Self {
        let n = drawn.graph.len().max(1) as f64;
        let side = rect.w.min(rect.h);
        // All circles together cover a small part of the background, whatever their number.
        let room = side / n.sqrt();
        let largest = (side * 0.03).min(room * 0.4 + 5.0 * sheet.scale);
        // A node without links is visible too.
        let smallest = (room * 0.05).clamp(0.8, 4.0) * sheet.scale;
        let mut order: Vec<u32> = drawn.graph.nodes().collect();
        order.sort_by_key(|&v| (drawn.degrees[v as usize], core::cmp::Reverse(v)));
        let at = fit_into(&drawn.positions, rect, largest + sheet.em);
        let hubs = MAX_LABELLED_HUBS.min((drawn.graph.len() / 4).max(1));
        Self { drawn, at, largest, smallest, order, hubs }
    }

    /// The radius for a degree: the area of a circle is proportional to the degree.
    fn radius(&self, degree: usize) -> f64 {
        let share = degree as f64 / self.drawn.largest().max(1) as f64;
        (self.largest * share.sqrt()).max(self.smallest)
    }

    fn edges(&self, sheet: &Sheet<'_>) -> Result<(), PlotError> {
        let edges = self.drawn.graph.edges().count().max(1) as f64;
        let alpha = (9.5 / edges.sqrt()).clamp(0.08, 0.42);
        let width = (30.0 / edges.sqrt()).clamp(0.5, 1.3) * sheet.scale;
        let style =
            ShapeStyle::from(translucent(sheet.palette.ink, alpha)).stroke_width(breadth(width));
        for (a, b) in self.drawn.graph.edges() {
            let ends = [a, b].map(|v| self.at[v as usize]).map(|(x, y)| (units(x), units(y)));
            sheet.area.draw(&PathElement::new(ends.to_vec(), style))?;
        }
        Ok(())
    }

    fn nodes(&self, sheet: &Sheet<'_>) -> Result<(), PlotError> {
        let hubs: Vec<u32> = self.order.iter().rev().take(self.hubs).copied().collect();
        let common = self.order.len() - hubs.len();
        for &node in &self.order[..common] {
            let degree = self.drawn.degrees[node as usize];
            self.circle(sheet, self.at[node as usize], degree, sheet.palette.series[0])?;
        }
        for &node in hubs.iter().rev() {
            let degree = self.drawn.degrees[node as usize];
            self.circle(sheet, self.at[node as usize], degree, sheet.palette.series[1])?;
        }
        self.labels(sheet, &hubs)
    }

    fn circle(
        &self,
        sheet: &Sheet<'_>,
        (x, y): (f64, f64),
        degree: usize,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        let r = self.radius(degree);
        let rim = (r * 0.12).min(1.2 * sheet.scale);
        for (r, colour) in [(r + rim, sheet.palette.ground), (r, colour)] {
            let fill = ShapeStyle::from(colour).filled();
            let r = units(r).max(1);
            sheet.area.draw(&Circle::new((units(x), units(y)), r, fill))?;
        }
        Ok(())
    }

    /// Writes hubs' degrees into their circles, or beside them where the circles are small, largest
    /// first. A label that would overlap another label or a hub at every position is left out.
    fn labels(&self, sheet: &Sheet<'_>, hubs: &[u32]) -> Result<(), PlotError> {
        let around = |&hub: &u32| {
            let ((x, y), r) =
                (self.at[hub as usize], self.radius(self.drawn.degrees[hub as usize]));
            Rect { x: x - r, y: y - r, w: 2.0 * r, h: 2.0 * r }
        };
        let circles: Vec<(u32, Rect)> = hubs.iter().map(|h| (*h, around(h))).collect();
        let mut taken: Vec<Rect> = Vec::new();
        for &hub in hubs {
            let degree = self.drawn.degrees[hub as usize];
            let (label, em) = (degree.to_string(), sheet.em * 0.85);
            let (x, y) = self.at[hub as usize];
            let (w, r) = (text::width(&label, em, true), self.radius(degree));
            let inside = w * 1.15 <= 2.0 * r && em <= 1.6 * r;
            let away = r + 0.75 * em;
            let middles = [
                (x, y),
                (x + r + 2.0 + w / 2.0, y),
                (x - r - 2.0 - w / 2.0, y),
                (x, y - away),
                (x, y + away),
            ];
            let candidates = if inside { &middles[..1] } else { &middles[1..] };
            let rect =
                |&(x, y): &(f64, f64)| Rect { x: x - w / 2.0, y: y - em * 0.6, w, h: em * 1.2 };
            let free = |rect: &Rect| {
                let over = |(other, circle): &(u32, Rect)| *other != hub && circle.overlaps(rect);
                !taken.iter().any(|t| t.overlaps(rect)) && (inside || !circles.iter().any(over))
            };
            let Some(rect) = candidates.iter().map(rect).find(free) else { continue };
            taken.push(rect);
            if inside {
                let ink = sheet.palette.ground;
                sheet.text(&label, (x, y), em, true, Anchor::Middle, ink)?;
                continue;
            }
            let ground = ShapeStyle::from(translucent(sheet.palette.ground, 0.75)).filled();
            let corners =
                [(units(rect.x), units(rect.y)), (units(rect.right()), units(rect.bottom()))];
            sheet.area.draw(&plotters::element::Rectangle::new(corners, ground))?;
            let position = (rect.x, rect.y + rect.h / 2.0);
            sheet.text(&label, position, em, true, Anchor::Left, sheet.palette.ink)?;
        }
        Ok(())
    }

    /// Draws circles of some degrees with the degree beside them. Returns the lower edge.
    fn legend(&self, sheet: &Sheet<'_>, rect: Rect) -> Result<f64, PlotError> {
        let em = sheet.em;
        let ink = sheet.palette.ink;
        let mut y = rect.y + em * 0.6;
        let name = "Area of a circle: degree";
        sheet.text(name, (rect.x, y), em * 0.95, true, Anchor::Left, ink)?;
        y += em * 1.4;
        let column = self.largest.max(em) + 2.0;
        let line = |y: &mut f64, degree: usize, colour, label: String| {
            let r = self.radius(degree);
            let step = (2.0 * r + 0.5 * em).max(1.5 * em);
            if *y + step > rect.bottom() {
                return Ok(());
            }
            let middle = *y + step / 2.0;
            self.circle(sheet, (rect.x + column, middle), degree, colour)?;
            let x = rect.x + 2.0 * column + 0.6 * em;
            *y += step;
            sheet.text(&label, (x, middle), em, false, Anchor::Left, ink)
        };
        let [peer, hub, ..] = sheet.palette.series;
        let least = self.drawn.degrees.iter().copied().min().unwrap_or(0);
        let top = self.drawn.largest();
        let hubs_from = self.order.iter().rev().nth(self.hubs.saturating_sub(1));
        let hubs_from = hubs_from.map_or(top, |&v| self.drawn.degrees[v as usize]);
        let middle = ((least.max(1) * hubs_from) as f64).sqrt().round() as usize;
        let mut sizes = vec![least, middle, hubs_from];
        sizes.dedup();
        for degree in sizes.into_iter().filter(|&d| d < top && (d < hubs_from || d == least)) {
            line(&mut y, degree, peer, grouped(degree as u64))?;
        }
        let label = format!("{}, the largest", grouped(top as u64));
        line(&mut y, top, hub, label)?;
        let label = format!("the {} largest hubs, with their degree", self.hubs);
        let label =
            if self.hubs == 1 { "the largest hub, with its degree".to_owned() } else { label };
        for part in text::wrap(&label, em * 0.95, rect.w) {
            y += em * 0.75;
            sheet.text(&part, (rect.x, y), em * 0.95, false, Anchor::Left, sheet.palette.faint)?;
            y += em * 0.6;
        }
        Ok(y)
    }
}

/// Maps positions in the unit square to a rectangle, with the same scale in both directions.
fn fit_into(positions: &[[f64; 2]], rect: Rect, margin: f64) -> Vec<(f64, f64)> {
    let ends = |axis: usize| {
        let all = positions.iter().map(|p| p[axis]);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let (xs, ys) = (ends(0), ends(1));
    let (w, h) = (rect.w - 2.0 * margin, rect.h - 2.0 * margin);
    let scale = (w / (xs.1 - xs.0).max(1e-9)).min(h / (ys.1 - ys.0).max(1e-9));
    // A single node has no extent.
    let scale = scale.min(w.max(h) * 4.0);
    let middle = ((xs.0 + xs.1) / 2.0, (ys.0 + ys.1) / 2.0);
    let centre = (rect.x + rect.w / 2.0, rect.y + rect.h / 2.0);
    positions
        .iter()
        .map(|p| (centre.0 + (p[0] - middle.0) * scale, centre.1 + (p[1] - middle.1) * scale))
        .collect()
}
