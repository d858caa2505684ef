//! The picture of degrees: the share of peers with at least k neighbours, and the power laws fitted
//! to it.

use rumormill_analysis::alternative::FavouredLaw;
use rumormill_analysis::power_law::BOUNDED_ALPHA_MIN;
use rumormill_analysis::{Comparison, Fit, FitOptions, Histogram, LogBin, Verdict, ZetaLaw};

use crate::PlotError;
use crate::axis::{Axis, Unit, figures, grouped};
use crate::mark::{DASH_DOT, DASHED, Mark, Shape, Stroke};
use crate::options::PictureOptions;
use crate::panel::Panel;
use crate::picture::Picture;
use crate::sheet::{LegendBlock, LegendKey, Sheet, draw};
use crate::units::Rect;

/// Replicates of the bootstrap for a fit without p: the error of p is then about 0.025.
const REPLICATES: u32 = 400;
/// Above this many observations the bootstrap would take minutes, so fewer replicates are drawn.
const MANY_OBSERVATIONS: u64 = 200_000;

/// Degrees, and the fit to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Degrees {
    /// The distribution of degrees.
    pub histogram: Histogram,
    /// The fit, or why there is none.
    pub fit: Result<Fit, String>,
}

impl Degrees {
    /// Fits the power laws to a distribution.
    #[must_use]
    pub fn new(histogram: Histogram) -> Self {
        let replicates = if histogram.n() > MANY_OBSERVATIONS { 50 } else { REPLICATES };
        let options = FitOptions { replicates, ..FitOptions::default() };
        let fit = Fit::new(&histogram, &options).map_err(|e| e.to_string());
        Self { histogram, fit }
    }
}

/// One of the two fitted laws.
struct Law {
    law: ZetaLaw,
    name: String,
    figures: Vec<String>,
    stroke: Stroke,
    /// Share of all peers that are in the tail.
    share: f64,
}

/// Draws degrees.
///
/// # Errors
///
/// If there are no peers, or none has a neighbour.
pub fn degrees(data: &Degrees, options: &PictureOptions) -> Result<Picture, PlotError> {
    let histogram = &data.histogram;
    if histogram.is_empty() {
        return Err(PlotError::NoData("no peers, so no degrees to draw".to_owned()));
    }
    if histogram.max() == Some(0) {
        return Err(PlotError::NoData(format!(
            "{} without any neighbour: a degree of 0 has no position on a logarithmic axis",
            peers(histogram.n())
        )));
    }
    let title = format!("Degrees of {}", peers(histogram.n()));
    draw(options, &title, |sheet| {
        let laws = laws(data, sheet);
        let mark = Mark::new(Shape::Circle, sheet.palette.series[0]);
        let areas = sheet.arrange(&blocks(data, &laws, mark), true)?;
        let label = "share of peers with degree k or more, P(K ≥ k)";
        distribution(sheet, areas.main, (None, label), histogram, &laws, mark)?;
        match areas.small {
            Some(rect) => density(sheet, rect.limit_height(), histogram, &laws),
            None => Ok(()),
        }
    })
}

pub(crate) fn peers(n: u64) -> String {
    if n == 1 { "1 peer".to_owned() } else { format!("{} peers", grouped(n)) }
}

fn laws(data: &Degrees, sheet: &Sheet<'_>) -> Vec<Law> {
    let Ok(fit) = &data.fit else { return Vec::new() };
    let n = data.histogram.n().max(1) as f64;
    let of = |alpha, xmin, xmax, tail: u64, name, figures, stroke| {
        let law = ZetaLaw::new(alpha, xmin, xmax)?;
        Some(Law { law, name, figures, stroke, share: tail as f64 / n })
    };
    let [_, free, bounded, _] = sheet.palette.series;
    let free = of(
        fit.alpha,
        fit.xmin,
        None,
        fit.tail,
        format!("Power law from {}", grouped(fit.xmin)),
        vec![
            exponent(fit.alpha, fit.alpha_error, fit.alpha_at_bound),
            measure(fit.ks, fit.p, fit.tail, fit.n),
            verdict_text(fit.verdict, fit.p, &fit.exponential, &fit.lognormal),
        ],
        Stroke::new(free, DASHED),
    );
    let bounded = of(
        fit.bounded_alpha,
        fit.bounded_xmin,
        Some(fit.bounded_xmax),
        fit.bounded_tail,
        format!(
            "Bounded power law, {} to {}",
            grouped(fit.bounded_xmin),
            grouped(fit.bounded_xmax)
        ),
        vec![
            exponent(fit.bounded_alpha, fit.bounded_alpha_error, fit.bounded_alpha_at_bound),
            measure(fit.bounded_ks, fit.bounded_p, fit.bounded_tail, fit.n),
            verdict_text(
                fit.bounded_verdict,
                fit.bounded_p,
                &fit.bounded_exponential,
                &fit.bounded_lognormal,
            ),
        ],
        Stroke::new(bounded, DASH_DOT),
    );
    free.into_iter().chain(bounded).collect()
}

fn exponent(alpha: f64, error: f64, at_bound: bool) -> String {
    if at_bound && alpha == BOUNDED_ALPHA_MIN {
        return "α = 0, the end of the range searched: all degrees are equally likely".to_owned();
    }
    if at_bound {
        return format!("α = {alpha:.2}, the end of the range searched: not meaningful");
    }
    format!("α = {alpha:.3} ± {error:.3}")
}

fn measure(ks: f64, p: Option<f64>, tail: u64, n: u64) -> String {
    let p = p.map_or_else(|| "p not computed".to_owned(), |p| format!("p = {p:.2}"));
    format!("KS = {ks:.4}, {p}, {} of {}", grouped(tail), peers(n))
}

/// The verdict with its reason, for readers who do not know the tests.
fn verdict_text(
    verdict: Verdict,
    p: Option<f64>,
    exponential: &Comparison,
    lognormal: &Comparison,
) -> String {
    let better = |c: &Comparison| c.favours == FavouredLaw::Alternative;
    let why = match verdict {
        Verdict::RuledOut => "p < 0.1: the data deviate too much".to_owned(),
        Verdict::AlternativeBetter => {
            let nearer = match (better(exponential), better(lognormal)) {
                (true, true) => "an exponential and a lognormal",
                (true, false) => "an exponential",
                _ => "a lognormal",
            };
            format!("{nearer}, significantly")
        }
        Verdict::Possible if p.is_none() => "nothing contradicts it so far".to_owned(),
        Verdict::Possible => "nothing contradicts it, but an exponential fits as well".to_owned(),
        Verdict::Supported => "p ≥ 0.1, and an exponential is significantly worse".to_owned(),
    };
    format!("Verdict: {verdict} ({why})")
}

fn blocks(data: &Degrees, laws: &[Law], mark: Mark) -> Vec<LegendBlock> {
    let h = &data.histogram;
    let (mean, largest) = (h.mean().unwrap_or(0.0), h.max().unwrap_or(0));
    let mut out = vec![
        LegendBlock::Heading(mark.into(), "Peers".to_owned()),
        LegendBlock::Line(format!(
            "n = {}, mean degree {}, largest {}",
            grouped(h.n()),
            figures(mean),
            grouped(largest)
        )),
    ];
    if h.count(0) > 0 {
        let text = format!("{} of degree 0 are counted but not drawn", peers(h.count(0)));
        out.push(LegendBlock::Line(text));
    }
    for law in laws {
        out.push(LegendBlock::Gap);
        out.push(LegendBlock::Heading(LegendKey::from(law.stroke), law.name.clone()));
        out.extend(law.figures.iter().cloned().map(LegendBlock::Line));
    }
    if let Err(e) = &data.fit {
        out.push(LegendBlock::Gap);
        out.push(LegendBlock::Line(format!("No power law was fitted: {}.", crate::text::clean(e))));
    }
    out
}

/// Values of a law's support, up to `end`, evenly spaced on a logarithmic axis.
fn support(law: &ZetaLaw, end: u64) -> Vec<u64> {
    let (from, to) = (law.xmin(), law.xmax().unwrap_or(end).min(end));
    let ratio = (to as f64 / from as f64).max(1.0);
    let mut out: Vec<u64> = (0..=150)
        .map(|i| (from as f64 * ratio.powf(f64::from(i) / 150.0)).round() as u64)
        .collect();
    out.dedup();
    out.retain(|&x| x >= from && x <= to);
    out
}

fn degree_axis(h: &Histogram) -> (Axis, u64) {
    let low = h.bins().iter().map(|b| b.0).find(|&k| k > 0).unwrap_or(1) as f64;
    let high = h.max().unwrap_or(1) as f64;
    let axis = Axis::log("degree k", Unit::Count, low * 0.85, (high * 1.2).max(low * 3.0));
    (axis, (high * 1.2).max(low * 3.0) as u64)
}

/// The number of steps of a logarithmic axis, each of which holds at most one mark: fewer than the
/// pixels, and each far narrower than a mark.
const MARK_STEPS: f64 = 500.0;

/// The points without those that the previous mark hides. A dense overlay has thousands of
/// different degrees, and a mark for each makes a large file that shows nothing more.
fn without_hidden(points: &[(f64, f64)], width: f64, height: f64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        let hidden = kept.last().is_some_and(|&(a, b)| {
            (x / a).ln().abs() < width / MARK_STEPS && (y / b).ln().abs() < height / MARK_STEPS
        });
        // The last point is the peer with the highest degree.
        if !hidden || i + 1 == points.len() {
            kept.push((x, y));
        }
    }
    kept
}

/// The distribution as the main chart; as a small chart with a name and without laws.
fn distribution(
    sheet: &Sheet<'_>,
    rect: Rect,
    (name, label): (Option<&str>, &str),
    h: &Histogram,
    laws: &[Law],
    mark: Mark,
) -> Result<(), PlotError> {
    let (x, end) = degree_axis(h);
    let least = 1.0 / h.n().max(2) as f64;
    let y = Axis::log(label, Unit::Share, least * 0.7, 1.25);
    let panel = Panel::new(sheet, rect, name, x, y)?;
    let points: Vec<(f64, f64)> = h.ccdf().iter().map(|&(k, p)| (k as f64, p)).collect();
    let points = without_hidden(&points, (end as f64).ln(), -least.ln());
    panel.marks(&points, &mark)?;
    for law in laws {
        let values = support(&law.law, end);
        let line: Vec<(f64, f64)> =
            values.iter().map(|&k| (k as f64, law.share * law.law.ccdf(k))).collect();
        panel.line(&line, &law.stroke)?;
    }
    Ok(())
}

/// A small chart of degrees beside another chart.
pub(crate) fn small_chart(sheet: &Sheet<'_>, rect: Rect, h: &Histogram) -> Result<(), PlotError> {
    let mark = Mark { radius: 2.6, ..Mark::new(Shape::Circle, sheet.palette.series[0]) };
    let texts = (Some("Peers with degree k or more"), "share of peers");
    distribution(sheet, rect, texts, h, &[], mark)
}

fn density(sheet: &Sheet<'_>, rect: Rect, h: &Histogram, laws: &[Law]) -> Result<(), PlotError> {
    let (x, end) = degree_axis(h);
    // The last bin ends at the largest degree: no larger one was observed.
    let largest = h.max().unwrap_or(1);
    let bin = |b: &LogBin| {
        let to = b.to.min(largest);
        let width = (to - b.from) as f64 + 1.0;
        ((b.from as f64 * to as f64).sqrt(), b.count as f64 / h.n() as f64 / width)
    };
    let bins: Vec<(f64, f64)> = h.log_bins(8).iter().map(bin).collect();
    let ends = bins.iter().fold((f64::INFINITY, 0.0f64), |(l, u), b| (l.min(b.1), u.max(b.1)));
    let y = Axis::log(
        "share per degree, P(K = k)",
        Unit::Share,
        ends.0 * 0.5,
        (ends.1 * 2.0).min(1.25),
    );
    let panel = Panel::new(sheet, rect, Some("Density, in logarithmic bins"), x, y)?;
    let square = Mark { radius: 3.2, ..Mark::new(Shape::Square, sheet.palette.series[0]) };
    panel.marks(&bins, &square)?;
    for law in laws {
        let values = support(&law.law, end);
        let line: Vec<(f64, f64)> =
            values.iter().map(|&k| (k as f64, law.share * law.law.pmf(k))).collect();
        panel.line(&line, &Stroke { width: 1.5, ..law.stroke })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_marks_are_left_out_except_the_first_and_last() {
        let line: Vec<(f64, f64)> =
            (1..=5000).map(|k| (f64::from(k), 1.0 - f64::from(k - 1) / 5000.0)).collect();
        let kept = without_hidden(&line, 5000f64.ln(), 5000f64.ln());
        assert!(kept.len() < 800, "{}", kept.len());
        assert_eq!((kept.first(), kept.last()), (line.first(), line.last()));
        assert_eq!(kept[..20], line[..20]);
        assert!(without_hidden(&[], 1.0, 1.0).is_empty());
    }

    #[test]
    fn exponent_at_the_end_of_the_search_range_is_explained() {
        assert!(exponent(0.0, 0.1, true).contains("equally likely"));
        assert!(exponent(20.0, 0.1, true).contains("not meaningful"));
        assert_eq!(exponent(2.5, 0.1, false), "α = 2.500 ± 0.100");
    }
}
