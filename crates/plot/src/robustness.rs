//! The picture of robustness: the connectivity of the network as its peers fail or are attacked.

use rumormill_analysis::{Attack, Graph, Robustness, RobustnessPoint};

use crate::PlotError;
use crate::axis::{Axis, NO_BREAK, Unit, grouped, share};
use crate::mark::{DASH_DOT, DASHED, DOTTED, Mark, SOLID, Shape, Stroke};
use crate::options::PictureOptions;
use crate::panel::Panel;
use crate::picture::Picture;
use crate::sheet::{LegendBlock, LegendKey, Sheet, draw};
use crate::units::Rect;

/// Points of a curve.
const ROBUSTNESS_POINTS: usize = 201;
/// Random orders whose mean is drawn; large graphs use fewer, because their curves vary less.
const REPETITIONS: u32 = 20;

/// Curves, and the number of peers of the graph, if known.
pub type Curves = (Vec<Robustness>, Option<u64>);

/// Removes the peers of a graph at random and by degree, and returns the curves that [`robustness`]
/// draws. Empty for a graph without nodes.
#[must_use]
pub fn curves(graph: &Graph) -> Vec<Robustness> {
    let repetitions = if graph.len() > 20_000 { 3 } else { REPETITIONS };
    [Attack::Random, Attack::InitialDegree, Attack::CurrentDegree]
        .into_iter()
        .filter_map(|attack| Robustness::new(graph, attack, repetitions, ROBUSTNESS_POINTS, 1))
        .collect()
}

/// One curve with its style.
struct Series<'a> {
    curve: &'a Robustness,
    name: &'static str,
    stroke: Stroke,
    mark: Mark,
}

/// Draws the robustness curves of one graph. `peers` is the number of its nodes, if known.
///
/// # Errors
///
/// If there are no curves, or if one has no points.
pub fn robustness(
    curves: &[Robustness],
    peers: Option<u64>,
    options: &PictureOptions,
) -> Result<Picture, PlotError> {
    if curves.is_empty() || curves.iter().any(|c| c.points.is_empty()) {
        return Err(PlotError::NoData("no peers to remove, so no robustness to draw".to_owned()));
    }
    let of = peers.map_or_else(|| "the overlay".to_owned(), |n| format!("{} peers", grouped(n)));
    let title = format!("Robustness of {of}: what stays connected");
    draw(options, &title, |sheet| {
        let series: Vec<Series<'_>> = curves.iter().map(|c| series(c, sheet)).collect();
        let areas = sheet.arrange(&blocks(&series, intact(sheet)), true)?;
        let y = "largest component, share of all peers";
        largest(sheet, areas.main, None, y, &series, |p| p.largest)?;
        match areas.small {
            Some(rect) => {
                let name = "The same, of the remaining peers";
                largest(
                    sheet,
                    rect.limit_height(),
                    Some(name),
                    "share of remaining peers",
                    &series,
                    |p| p.largest_of_left,
                )
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
            ("Attack: hubs first, by initial degree", initial, DASHED, Shape::Square)
        }
        Attack::CurrentDegree => {
            ("Attack: hubs first, by remaining degree", current, DASH_DOT, Shape::Triangle)
        }
    };
    let mark = Mark { radius: 4.5, ..Mark::new(shape, colour) };
    Series { curve, name, stroke: Stroke::new(colour, dash), mark }
}

/// The line of the ideal case: each removal loses only the removed peer.
fn intact(sheet: &Sheet<'_>) -> Stroke {
    Stroke::thin(sheet.palette.faint, DOTTED)
}

fn blocks(series: &[Series<'_>], intact: Stroke) -> Vec<LegendBlock> {
    let mut out = Vec::new();
    for s in series {
        if !out.is_empty() {
            out.push(LegendBlock::Gap);
        }
        let key = LegendKey { stroke: Some(s.stroke), mark: Some(s.mark) };
        out.push(LegendBlock::Heading(key, s.name.to_owned()));
        let half = s.curve.below_half_of_left.map_or_else(
            || "never below half of the remaining peers".to_owned(),
            |r| format!("below half of the remaining at {} removed", share(r)),
        );
        out.push(LegendBlock::Line(half));
        let percent = share(s.curve.below_one_percent);
        out.push(LegendBlock::Line(format!("below 1{NO_BREAK}% of all at {percent} removed")));
    }
    out.push(LegendBlock::Gap);
    let spared = "if only the removed peers were lost";
    out.push(LegendBlock::Entry(intact.into(), spared.to_owned()));
    let least = series.iter().map(|s| s.curve.repetitions).min().unwrap_or(1);
    let means = if least > 1 { format!(" Means of {least} orders.") } else { String::new() };
    out.push(LegendBlock::Line(format!("Marked on the lines: these two critical shares.{means}")));
    out
}

fn largest(
    sheet: &Sheet<'_>,
    rect: Rect,
    name: Option<&str>,
    label: &str,
    series: &[Series<'_>],
    height: impl Fn(&RobustnessPoint) -> f64,
) -> Result<(), PlotError> {
    let x = Axis::linear("share of peers removed", Unit::Share, 0.0, 1.0);
    let y = Axis::linear(label, Unit::Share, 0.0, 1.0);
    let panel = Panel::new(sheet, rect, name, x, y)?;
    if name.is_none() {
        panel.line(&[(0.0, 1.0), (1.0, 0.0)], &intact(sheet))?;
    }
    // When no peer is left, the share of the remaining ones is undefined.
    let shown = |p: &&RobustnessPoint| name.is_none() || p.removed < 1.0;
    let points = |s: &Series<'_>| -> Vec<(f64, f64)> {
        s.curve.points.iter().filter(shown).map(|p| (p.removed, height(p))).collect()
    };
    for s in series {
        panel.line(&points(s), &s.stroke)?;
    }
    for s in series {
        let line = points(s);
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

/// The height of a line at x, interpolated between its points.
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
    fn height_of_line_is_interpolated_between_points() {
        let line = [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)];
        assert_eq!(at(&line, 0.25), 0.75);
        assert_eq!(at(&line, 0.5), 0.5);
        assert_eq!(at(&line, 0.0), 1.0);
        assert_eq!(at(&line, 2.0), 0.0);
        assert_eq!(at(&[], 2.0), 0.0);
    }
}
