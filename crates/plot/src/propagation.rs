//! The picture of propagation: the share of peers that a message has reached over time.

use rumormill_analysis::{Propagation, ReachTime};

use crate::PlotError;
use crate::axis::{Axis, NO_BREAK, Unit, figures, grouped, micros, share};
use crate::mark::{DASHED, DOTTED, Mark, SOLID, Shape, Stroke};
use crate::options::PictureOptions;
use crate::panel::Panel;
use crate::picture::Picture;
use crate::sheet::{Anchor, LegendBlock, LegendKey, Sheet, draw};
use crate::units::Rect;

/// Marks of the shares, in their order.
const SHAPES: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond];

/// Draws how messages spread.
///
/// # Errors
///
/// If no message was delivered.
pub fn propagation(data: &Propagation, options: &PictureOptions) -> Result<Picture, PlotError> {
    check(data)?;
    let messages = data.messages as u64;
    let title = format!("Spread of {}", number(messages, "message"));
    draw(options, &title, |sheet| {
        let [mean, least, times, _] = sheet.palette.series;
        let (mean, least) = (Stroke::new(mean, SOLID), Stroke::new(least, DASHED));
        let marks: Vec<(Mark, &ReachTime)> = data
            .times
            .iter()
            .enumerate()
            .map(|(i, time)| (Mark { radius: 5.0, ..Mark::new(SHAPES[i % 4], times) }, time))
            .collect();
        // With a single message both lines are the same.
        let several = data.messages > 1;
        let mut blocks = if several {
            vec![
                LegendBlock::Heading(mean.into(), "mean over the messages".to_owned()),
                LegendBlock::Heading(
                    least.into(),
                    "the message with the smallest share".to_owned(),
                ),
            ]
        } else {
            vec![LegendBlock::Heading(mean.into(), "the message".to_owned())]
        };
        blocks.push(LegendBlock::Gap);
        blocks.extend(reached(&marks, data.messages));
        blocks.push(LegendBlock::Gap);
        blocks.extend(totals(data));
        let areas = sheet.arrange(&blocks, !data.hops.is_empty())?;
        let panel = Panel::new(
            sheet,
            areas.main,
            None,
            time_axis(data, "time since publishing"),
            Axis::linear("share of peers that have the message", Unit::Share, 0.0, 1.04),
        )?;
        let line = |of: fn(&rumormill_analysis::ReachPoint) -> f64| -> Vec<(f64, f64)> {
            data.curve.iter().map(|p| (p.micros as f64, of(p))).collect()
        };
        panel.line(&line(|p| p.mean), &mean)?;
        if several {
            panel.line(&line(|p| p.least), &least)?;
        }
        medians(&panel, sheet, &marks)?;
        match areas.small {
            Some(rect) => hops(sheet, rect.limit_height(), data),
            None => Ok(()),
        }
    })
}

pub(crate) fn check(data: &Propagation) -> Result<(), PlotError> {
    if data.deliveries == 0 || data.curve.is_empty() {
        return Err(PlotError::NoData(format!(
            "{}, none of which was delivered: there are no times to draw",
            number(data.messages as u64, "message")
        )));
    }
    Ok(())
}

pub(crate) fn number(n: u64, of: &str) -> String {
    format!("{} {of}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// The time axis: logarithmic if it spans more than a decade between half of the peers and the last
/// of them, and linear otherwise.
fn time_axis(data: &Propagation, label: &str) -> Axis {
    let last = data.curve.last().map_or(1, |p| p.micros).max(1) as f64;
    let half = data.curve.iter().find(|p| p.mean >= 0.5).map_or(last, |p| p.micros as f64);
    if half * 10.0 < last {
        let first = data.curve.iter().find(|p| p.mean > 0.0 && p.micros > 0);
        let first = first.map_or(last / 1e3, |p| p.micros as f64).min(half);
        return Axis::log(label, Unit::Micros, first * 0.8, last * 1.15);
    }
    Axis::linear(label, Unit::Micros, 0.0, last * 1.04)
}

/// Describes how long it took until shares of the peers were reached.
pub(crate) fn reached(marks: &[(Mark, &ReachTime)], messages: usize) -> Vec<LegendBlock> {
    let text = |t: &ReachTime| {
        let time = |t: Option<u64>| t.map_or_else(|| "never".to_owned(), |t| micros(t as f64));
        let (came, share) = (t.messages, share(t.share));
        if t.median.is_none() {
            return format!("{share} of peers: reached by only {came} of {messages} messages");
        }
        let mut text = format!("{share} of peers: median {}", time(t.median));
        if messages > 1 {
            let (p90, p99) = (time(t.p90), time(t.p99));
            text.push_str(&format!(", p90{NO_BREAK}{p90}, p99{NO_BREAK}{p99}"));
        }
        if came < messages {
            text.push_str(&format!(" (reached by {came} of {messages} messages)"));
        }
        text
    };
    marks.iter().map(|(mark, t)| LegendBlock::Entry(LegendKey::from(*mark), text(t))).collect()
}

fn totals(data: &Propagation) -> Vec<LegendBlock> {
    let lost = data.expected.saturating_sub(data.deliveries);
    let complete = format!(
        "{} of {} reached every peer",
        grouped(data.complete as u64),
        number(data.messages as u64, "message")
    );
    let delivered = format!(
        "{} of {} deliveries{}",
        grouped(data.deliveries),
        grouped(data.expected),
        if lost > 0 { format!(", {} missing", grouped(lost)) } else { String::new() }
    );
    let copies = format!("{} duplicates per delivery", figures(data.duplicates_per_delivery));
    let mut out = vec![complete, delivered, copies];
    out.extend(data.stretch.map(|s| format!("{s:.2} times the shortest path")));
    if data.bytes > 0 {
        out.push(format!("{} bytes per delivery", figures(data.bytes_per_delivery)));
    }
    out.into_iter().map(LegendBlock::Line).collect()
}

/// Marks the median times on the chart, each with a line down to the axis and its time.
fn medians(
    panel: &Panel<'_, '_>,
    sheet: &Sheet<'_>,
    marks: &[(Mark, &ReachTime)],
) -> Result<(), PlotError> {
    let guide = Stroke::thin(sheet.palette.faint, DOTTED);
    let mut taken: Vec<Rect> = Vec::new();
    let known = || marks.iter().filter_map(|(mark, t)| Some((mark, t.share, t.median? as f64)));
    for (_, reached, at) in known() {
        panel.line(&[(at, 0.0), (at, reached)], &guide)?;
    }
    for (mark, reached, at) in known() {
        panel.marks(&[(at, reached)], mark)?;
        // Beside the line, at the first height without another label.
        let (x, foot) = panel.at((at, 0.0));
        let label = format!("{}: {}", share(reached), micros(at));
        let step = 1.7 * panel.em();
        let heights = (0..8).map(|i| foot - step * (f64::from(i) + 0.8));
        let rect = |y: f64| panel.note_rect(&label, (x + 4.0, y), Anchor::Left);
        let free = |y: &f64| !taken.iter().any(|t| t.overlaps(&rect(*y)));
        let Some(y) = heights.into_iter().find(free) else { continue };
        taken.push(panel.note(&label, (x + 4.0, y), Anchor::Left, sheet.palette.ink)?);
    }
    Ok(())
}

fn hops(sheet: &Sheet<'_>, rect: Rect, data: &Propagation) -> Result<(), PlotError> {
    let n = data.hops.n().max(1) as f64;
    let bars: Vec<(f64, f64)> =
        data.hops.bins().iter().map(|&(hops, c)| (hops as f64, c as f64 / n)).collect();
    let first = data.hops.min().unwrap_or(0) as f64;
    let last = data.hops.max().unwrap_or(1) as f64;
    let highest = bars.iter().map(|b| b.1).fold(0.0, f64::max);
    let x = Axis::linear("links crossed", Unit::Count, first - 0.6, last + 0.6);
    let y = Axis::linear("share of deliveries", Unit::Share, 0.0, highest * 1.08);
    let mean = data.hops.mean().unwrap_or(0.0);
    let name = format!("Hops: mean {}, most {}", figures(mean), data.last_hop);
    let panel = Panel::new(sheet, rect, Some(&name), x, y)?;
    panel.bars(&bars, sheet.palette.series[3])
}
