//! The picture of robustness: what is left of the network as its peers fail or are attacked.

use rumormill_analysis::{Attack, Graph, Robustness};

use crate::PlotError;
use crate::axis::{Axis, Unit, grouped, share};
use crate::look::Look;
use crate::mark::{DASH_DOT, DASHED, DOTTED, Mark, SOLID, Shape, Stroke};
use crate::panel::Panel;
use crate::picture::Picture;
use crate::sheet::{Block, Key, Sheet, draw};
use crate::units::Rect;

/// Points of a curve.
const POINTS: usize = 201;
/// Random orders whose mean is drawn; fewer in a large graph, which differs less.
const REPETITIONS: u32 = 20;

/// Removes the peers of a graph at random and by their degree: the curves that [`robustness`] draws.
/// None for a graph without nodes.
#[must_use]
pub fn curves(graph: &Graph) -> Vec<Robustness> {
    let repetitions = if graph.len() > 20_000 { 3 } else { REPETITIONS };
    [Attack::Random, Attack::InitialDegree, Attack::CurrentDegree]
        .into_iter()
        .filter_map(|attack| Robustness::new(graph, attack, repetitions, POINTS, 1))
        .collect()
}

/// One curve with how it is drawn.
struct Series<'a> {
    curve: &'a Robustness,
    name: &'static str,
    stroke: Stroke,
    mark: Mark,
}

/// Draws robustness: curves that were computed for the same graph. `peers` is the number of its
/// nodes, if known.
///
/// # Errors
///
/// If there are no curves, or one has no points.
pub fn robustness(
    curves: &[Robustness],
    peers: Option<u64>,
    look: &Look,
) -> Result<Picture, PlotError> {
    if curves.is_empty() || curves.iter().any(|c| c.points.is_empty()) {
        return Err(PlotError::NoData("no peers to remove, so no robustness to draw".to_owned()));
    }
    let of = peers.map_or_else(|| "the overlay".to_owned(), |n| format!("{} peers", grouped(n)));
    let title = format!("Robustness of {of}: what stays connected");
    draw(look, &title, |sheet| {
        let series: Vec<Series<'_>> = curves.iter().map(|c| series(c, sheet)).collect();
        let places = sheet.arrange(&blocks(&series), true)?;
        let y = "largest component, share of all peers";
        largest(sheet, places.main, None, y, &series, |p| p.largest)?;
        match places.small {
            Some(rect) => {
                let name = "The same, of the peers left";
                largest(sheet, rect, Some(name), "share of those left", &series, |p| {
                    p.largest_of_left
                })
            }
            None => Ok(()),
        }
    })
}

fn series<'a>(curve: &'a Robustness, sheet: &Sheet<'_>) -> Series<'a> {
    let [random, initial, current, _] = sheet.palette.series;
    let (name, colour, dash, shape) = match curve.attack {
        Attack::Random => ("Failures: peers at random", random, SOLID, Shape::Circle),
        Attack::InitialDegree => {
            ("Attack: by degree at the start, hubs first", initial, DASHED, Shape::Square)
        }
        Attack::CurrentDegree => {
            ("Attack: by degree at each step, hubs first", current, DASH_DOT, Shape::Triangle)
        }
    };
    let mark = Mark { radius: 4.5, ..Mark::new(shape, colour) };
    Series { curve, name, stroke: Stroke::new(colour, dash), mark }
}

fn blocks(series: &[Series<'_>]) -> Vec<Block> {
    let mut out = Vec::new();
    for s in series {
        if !out.is_empty() {
            out.push(Block::Gap);
        }
        let key = Key { stroke: Some(s.stroke), mark: Some(s.mark) };
        out.push(Block::Heading(key, s.name.to_owned()));
        let half = s.curve.below_half_of_left.map_or_else(
            || "those left never fall apart to less than half".to_owned(),
            |r| format!("less than half of those left from {} removed", share(r)),
        );
        out.push(Block::Line(format!(
            "{half}; less than 1 % of all from {} removed",
            share(s.curve.below_one_percent)
        )));
        let times = s.curve.repetitions;
        if times > 1 {
            out.push(Block::Line(format!("mean of {times} orders of removal")));
        }
    }
    out.push(Block::Gap);
    out.push(Block::Line(
        "The marks are the critical shares: where the largest component first holds less than half \
         of the peers left, and, on the axis, less than 1 % of all."
            .to_owned(),
    ));
    out
}

fn largest(
    sheet: &Sheet<'_>,
    rect: Rect,
    name: Option<&str>,
    label: &str,
    series: &[Series<'_>],
    height: impl Fn(&rumormill_analysis::RobustnessPoint) -> f64,
) -> Result<(), PlotError> {
    let x = Axis::linear("share of peers removed", Unit::Share, 0.0, 1.0);
    let y = Axis::linear(label, Unit::Share, 0.0, 1.0);
    let panel = Panel::new(sheet, rect, name, x, y)?;
    let intact = Stroke::thin(sheet.palette.faint, DOTTED);
    if name.is_none() {
        // What would be left if removing a peer cost nothing but the peer itself.
        panel.line(&[(0.0, 1.0), (1.0, 0.0)], &intact)?;
    }
    for s in series {
        let line: Vec<(f64, f64)> = s.curve.points.iter().map(|p| (p.removed, height(p))).collect();
        panel.line(&line, &s.stroke)?;
    }
    for s in series {
        let line: Vec<(f64, f64)> = s.curve.points.iter().map(|p| (p.removed, height(p))).collect();
        let mark = if name.is_some() { Mark { radius: 3.5, ..s.mark } } else { s.mark };
        if let Some(removed) = s.curve.below_half_of_left {
            panel.marks(&[(removed, at(&line, removed))], &mark)?;
        }
        if name.is_none() {
            let removed = s.curve.below_one_percent;
            panel.marks(&[(removed, at(&line, removed))], &mark)?;
        }
    }
    Ok(())
}

/// Height of a line at x, between its points.
pub(crate) fn at(line: &[(f64, f64)], x: f64) -> f64 {
    let right = line.partition_point(|p| p.0 < x);
    let (Some(b), Some(a)) = (line.get(right), line.get(right.saturating_sub(1))) else {
        return line.last().map_or(0.0, |p| p.1);
    };
    if b.0 <= a.0 { b.1 } else { a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_read_between_points() {
        let line = [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)];
        assert_eq!(at(&line, 0.25), 0.75);
        assert_eq!(at(&line, 0.5), 0.5);
        assert_eq!(at(&line, 0.0), 1.0);
        assert_eq!(at(&line, 2.0), 0.0);
        assert_eq!(at(&[], 2.0), 0.0);
    }
}
