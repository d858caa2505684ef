//! The picture of latency: the delay from publishing a message to its delivery.

use rumormill_analysis::{Propagation, percentile};

use crate::PlotError;
use crate::axis::{Axis, NO_BREAK, Unit, figures, grouped, share};
use crate::mark::{DOTTED, Mark, SOLID, Shape, Stroke};
use crate::options::PictureOptions;
use crate::panel::Panel;
use crate::picture::Picture;
use crate::propagation::{check, number, reached};
use crate::robustness::at;
use crate::sheet::{Anchor, LegendBlock, Sheet, draw};
use crate::units::Rect;

/// Points of the curve for single delays.
const CURVE_POINTS: usize = 400;

/// Delays, single or summarised.
#[derive(Debug, Clone, Copy)]
pub enum Latency<'a> {
    /// The delay of each delivery, in microseconds, in any order.
    Delays(&'a [u64]),
    /// The spread of messages: the mean of its curve is the share of deliveries until each time.
    Spread(&'a Propagation),
}

/// The share of deliveries over time, and the quantiles that are marked.
struct Distribution<'a> {
    deliveries: u64,
    /// Microseconds and shares.
    curve: Vec<(f64, f64)>,
    /// A name and its time.
    quantiles: Vec<(&'static str, f64, f64)>,
    spread: Option<&'a Propagation>,
}

const QUANTILES: [(&str, f64, Shape); 4] = [
    ("p50", 0.5, Shape::Circle),
    ("p90", 0.9, Shape::Square),
    ("p99", 0.99, Shape::Triangle),
    ("max", 1.0, Shape::Diamond),
];

impl<'a> Distribution<'a> {
    fn of_delays(delays: &[u64]) -> Result<Self, PlotError> {
        let mut sorted: Vec<u64> = delays.iter().map(|&d| d.max(1)).collect();
        sorted.sort_unstable();
        let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else {
            return Err(PlotError::NoData("no deliveries, so no delays to draw".to_owned()));
        };
        let n = sorted.len();
        let step = (n / CURVE_POINTS).max(1);
        let mut curve = vec![(first as f64, 0.0)];
        let of = |i: usize| (sorted[i] as f64, (i + 1) as f64 / n as f64);
        curve.extend((0..n).step_by(step).map(of));
        curve.push((last as f64, 1.0));
        let quantile = |&(name, p, _): &(&'static str, f64, Shape)| {
            Some((name, p, percentile(&sorted, p * 100.0)? as f64))
        };
        let quantiles = QUANTILES.iter().filter_map(quantile).collect();
        Ok(Self { deliveries: n as u64, curve, quantiles, spread: None })
    }

    fn of_spread(spread: &'a Propagation) -> Result<Self, PlotError> {
        check(spread)?;
        // Relative to the deliveries made: a message that never arrived has no delay.
        let came = spread.curve.last().map_or(1.0, |p| p.mean).max(f64::MIN_POSITIVE);
        let curve: Vec<(f64, f64)> =
            spread.curve.iter().map(|p| (p.micros as f64, p.mean / came)).collect();
        // Interpolates along the line as it is drawn on the logarithmic axis.
        let turned: Vec<(f64, f64)> =
            curve.iter().map(|&(t, share)| (share, t.max(1.0).ln())).collect();
        let last = curve.last().map_or(1.0, |p| p.0);
        let quantile = |&(name, p, _): &(&'static str, f64, Shape)| {
            let time = if p < 1.0 { at(&turned, p).exp() } else { last };
            (name, p, time.max(1.0))
        };
        let quantiles = QUANTILES.iter().map(quantile).collect();
        Ok(Self { deliveries: spread.deliveries, curve, quantiles, spread: Some(spread) })
    }

    fn axis(&self) -> Axis {
        let shown = self.curve.iter().filter(|p| p.0 > 0.0 && p.1 > 0.0);
        let low = shown.map(|p| p.0).fold(f64::INFINITY, f64::min);
        let quickest = self.quantiles.first().map_or(low, |q| q.2);
        let high = self.curve.last().map_or(1.0, |p| p.0).max(1.0);
        let low = low.min(quickest).max(high / 1e6);
        Axis::log("delay from publishing to delivery", Unit::Micros, low * 0.8, high * 1.4)
    }
}

/// Draws the distribution of delays.
///
/// # Errors
///
/// If nothing was delivered.
pub fn latency(data: Latency<'_>, options: &PictureOptions) -> Result<Picture, PlotError> {
    let data = match data {
        Latency::Delays(delays) => Distribution::of_delays(delays)?,
        Latency::Spread(spread) => Distribution::of_spread(spread)?,
    };
    let what = if data.deliveries == 1 { "delivery" } else { "deliveries" };
    let title = format!("Delay of {} {what}", grouped(data.deliveries));
    draw(options, &title, |sheet| {
        let stroke = Stroke { width: 2.4, ..Stroke::new(sheet.palette.series[0], SOLID) };
        let areas = sheet.arrange(&blocks(&data, stroke, sheet), true)?;
        let y = Axis::linear("share of deliveries made until then", Unit::Share, 0.0, 1.04);
        let panel = Panel::new(sheet, areas.main, None, data.axis(), y)?;
        panel.line(&data.curve, &stroke)?;
        quantiles(&panel, sheet, &data)?;
        match areas.small {
            Some(rect) => slowest(sheet, rect.limit_height(), &data, stroke),
            None => Ok(()),
        }
    })
}

fn mark(shape: Shape, sheet: &Sheet<'_>) -> Mark {
    Mark { radius: 5.0, ..Mark::new(shape, sheet.palette.series[1]) }
}

fn blocks(data: &Distribution<'_>, stroke: Stroke, sheet: &Sheet<'_>) -> Vec<LegendBlock> {
    let mut out = vec![LegendBlock::Heading(stroke.into(), "share of deliveries".to_owned())];
    for (&(name, p, time), (_, _, shape)) in data.quantiles.iter().zip(QUANTILES) {
        let what =
            if p < 1.0 { format!("{} delivered until then", share(p)) } else { "the last".into() };
        let about = if data.spread.is_some() && p < 1.0 { "about " } else { "" };
        let text = format!("{name}: {about}{} ({what})", milliseconds(time));
        out.push(LegendBlock::Entry(mark(shape, sheet).into(), text));
    }
    if let Some(spread) = data.spread {
        if let [first, second, ..] = spread.curve[..] {
            let apart = milliseconds(second.micros.saturating_sub(first.micros) as f64);
            out.push(LegendBlock::Line(format!("read from a curve with a point every {apart}")));
        }
        out.push(LegendBlock::Gap);
        let messages = number(spread.messages as u64, "message");
        out.push(LegendBlock::Line(format!("Time until a share of the peers had it, {messages}:")));
        let none = Mark { radius: 0.0, ..mark(Shape::Circle, sheet) };
        let times: Vec<_> = spread.times.iter().map(|t| (none, t)).collect();
        let lines = reached(&times, spread.messages).into_iter();
        out.extend(lines.map(|block| match block {
            LegendBlock::Entry(_, text) => LegendBlock::Line(text),
            other => other,
        }));
        let lost = spread.expected.saturating_sub(spread.deliveries);
        if lost > 0 {
            out.push(LegendBlock::Line(format!(
                "{} never arrived and are not drawn",
                grouped(lost)
            )));
        }
    }
    out
}

fn milliseconds(time: f64) -> String {
    if time >= 1e6 {
        return format!("{}{NO_BREAK}ms", grouped((time / 1e3).round() as u64));
    }
    format!("{}{NO_BREAK}ms", figures(time / 1e3))
}

fn quantiles(
    panel: &Panel<'_, '_>,
    sheet: &Sheet<'_>,
    data: &Distribution<'_>,
) -> Result<(), PlotError> {
    let guide = Stroke::thin(sheet.palette.faint, DOTTED);
    for &(_, p, time) in &data.quantiles {
        panel.line(&[(time, 0.0), (time, p)], &guide)?;
    }
    let mut taken: Vec<Rect> = Vec::new();
    for (&(name, p, time), (_, _, shape)) in data.quantiles.iter().zip(QUANTILES) {
        panel.marks(&[(time, p)], &mark(shape, sheet))?;
        let (x, foot) = panel.at((time, 0.0));
        let label = format!("{name}: {}", milliseconds(time));
        let step = 1.7 * panel.em();
        let rect = |y: f64| panel.note_rect(&label, (x + 4.0, y), Anchor::Left);
        let free = |y: &f64| !taken.iter().any(|t| t.overlaps(&rect(*y)));
        let mut heights = (0..8).map(|i| foot - step * (f64::from(i) + 0.8));
        let Some(y) = heights.find(free) else { continue };
        taken.push(panel.note(&label, (x + 4.0, y), Anchor::Left, sheet.palette.ink)?);
    }
    Ok(())
}

/// The slowest deliveries: the share that is still missing, on a logarithmic axis.
fn slowest(
    sheet: &Sheet<'_>,
    rect: Rect,
    data: &Distribution<'_>,
    stroke: Stroke,
) -> Result<(), PlotError> {
    let least = (0.5 / data.deliveries.max(2) as f64).max(1e-6);
    let y = Axis::log("share still missing", Unit::Share, least, 1.25);
    let mut x = data.axis();
    x.label = "delay".to_owned();
    let panel = Panel::new(sheet, rect, Some("Slowest deliveries"), x, y)?;
    let line: Vec<(f64, f64)> = data.curve.iter().map(|&(t, p)| (t, 1.0 - p)).collect();
    panel.line(&line, &stroke)?;
    let marks = data.quantiles.iter().zip(QUANTILES).filter(|(q, _)| q.1 < 1.0);
    for (&(_, p, time), (_, _, shape)) in marks {
        panel.marks(&[(time, 1.0 - p)], &Mark { radius: 3.8, ..mark(shape, sheet) })?;
    }
    Ok(())
}
