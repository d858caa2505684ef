//! A chart: two axes with their grid, and the content between them.

use plotters::chart::{ChartBuilder, LabelAreaPosition};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::Rectangle;
use plotters::style::{Color as _, RGBColor, ShapeStyle};

use crate::PlotError;
use crate::axis::Axis;
use crate::mark::{Mark, Stroke};
use crate::options::translucent;
use crate::sheet::{Anchor, Sheet};
use crate::text;
use crate::units::{Rect, breadth, units};

/// An axis in the form that the drawing library needs.
struct Scale {
    axis: Axis,
    ticks: Vec<f64>,
    fine: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.axis.position(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        if hint.weight().allow_light_points() { self.fine.clone() } else { self.ticks.clone() }
    }

    fn range(&self) -> core::ops::Range<f64> {
        self.axis.low()..self.axis.high()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        self.axis.write(*value)
    }
}

/// Ticks of a horizontal axis of this length: as many as fit without overlapping labels.
fn separated_ticks(axis: &Axis, length: f64, em: f64) -> (Vec<f64>, Vec<f64>) {
    let fits = |ticks: &[f64]| {
        let ends = |v: f64| {
            let half = text::width(&axis.write(v), em, false) / 2.0;
            let middle = axis.position(v) * length;
            (middle - half, middle + half)
        };
        ticks.windows(2).all(|pair| ends(pair[0]).1 + em <= ends(pair[1]).0)
    };
    let most = ((length / (em * 2.5)) as usize).min(12);
    let few = axis.ticks(2);
    (3..=most).rev().map(|most| axis.ticks(most)).find(|(ticks, _)| fits(ticks)).unwrap_or(few)
}

/// A chart.
pub(crate) struct Panel<'s, 'a> {
    sheet: &'s Sheet<'a>,
    pub(crate) plot: Rect,
    x: Axis,
    y: Axis,
    em: f64,
}

impl<'s, 'a> Panel<'s, 'a> {
    /// Draws axes, grid and labels into a part of the sheet. The chart's name, if it has one, is
    /// written above.
    pub(crate) fn new(
        sheet: &'s Sheet<'a>,
        mut rect: Rect,
        name: Option<&str>,
        x: Axis,
        y: Axis,
    ) -> Result<Self, PlotError> {
        let mut em = sheet.em;
        if let Some(name) = name {
            em *= 0.9;
            let line = text::cut(name, em, true, rect.w);
            let ink = sheet.palette.ink;
            sheet.text(&line, (rect.x, rect.y + em * 0.6), em, true, Anchor::Left, ink)?;
            rect = Rect { y: rect.y + em * 1.8, h: rect.h - em * 1.8, ..rect };
        }
        let (ys, y_fine) = y.ticks(((rect.h / (em * 3.2)) as usize).min(12));
        let widest = ys.iter().map(|&v| text::width(&y.write(v), em, false)).fold(0.0, f64::max);
        let left = widest + em * 2.7;
        let (xs, x_fine) = separated_ticks(&x, rect.w - left, em);
        let bottom = em * 3.5;
        // Half of the last label extends beyond the axis.
        let last = xs.last().map_or(0.0, |&v| {
            let beyond = (1.0 - x.position(v)) * (rect.w - left);
            (text::width(&x.write(v), em, false) * 0.5 + 2.0 - beyond).max(1.0)
        });
        let top = em * 0.6;
        let plot = Rect {
            x: rect.x + left,
            y: rect.y + top,
            w: rect.w - left - last,
            h: rect.h - bottom - top,
        };
        let part = sheet.area.clone().shrink(
            (units(rect.x), units(plot.y)),
            (breadth(plot.right() - rect.x), breadth(rect.bottom() - plot.y)),
        );
        let x_scale = Scale { axis: x.clone(), ticks: xs.clone(), fine: x_fine };
        let y_scale = Scale { axis: y.clone(), ticks: ys.clone(), fine: y_fine };
        let mut chart = ChartBuilder::on(&part)
            .set_label_area_size(LabelAreaPosition::Left, units(left))
            .set_label_area_size(LabelAreaPosition::Bottom, units(bottom))
            .build_cartesian_2d(x_scale, y_scale)?;
        let palette = &sheet.palette;
        let fine = ShapeStyle::from(palette.fine_grid).stroke_width(breadth(0.7 * sheet.scale));
        let grid = ShapeStyle::from(palette.grid).stroke_width(breadth(0.9 * sheet.scale));
        let axis = ShapeStyle::from(palette.faint).stroke_width(breadth(1.1 * sheet.scale));
        chart
            .configure_mesh()
            .light_line_style(fine)
            .bold_line_style(grid)
            .axis_style(axis)
            .x_labels(xs.len())
            .y_labels(ys.len())
            .label_style(text::style(em, false, &palette.ink.to_rgba()))
            .set_all_tick_mark_size(units(0.35 * em))
            .draw()?;
        let panel = Self { sheet, plot, x, y, em };
        panel.names(rect)?;
        Ok(panel)
    }

    /// Writes the labels of the axes.
    fn names(&self, rect: Rect) -> Result<(), PlotError> {
        let Self { sheet, plot, em, .. } = self;
        let ink = sheet.palette.ink;
        let below = text::cut(&self.x.label, *em, false, rect.w);
        // In the middle of the axis, unless the text would leave the rectangle.
        let half = text::width(&below, *em, false) / 2.0;
        let middle = (plot.x + plot.w / 2.0).min(rect.right() - half).max(rect.x + half);
        sheet.text(&below, (middle, rect.bottom() - 0.7 * em), *em, false, Anchor::Middle, ink)?;
        let beside = text::cut(&self.y.label, *em, false, plot.h);
        let half = text::width(&beside, *em, false) / 2.0;
        let middle = (plot.y + plot.h / 2.0).max(plot.y + half);
        sheet.upwards(&beside, (rect.x + 0.75 * em, middle), *em, ink)
    }

    /// The position of a point in pixels; clamped to the ends of the axes.
    pub(crate) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let plot = &self.plot;
        (plot.x + plot.w * self.x.position(x), plot.bottom() - plot.h * self.y.position(y))
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        let within = |axis: &Axis, v: f64| v >= axis.low() && v <= axis.high();
        within(&self.x, x) && within(&self.y, y)
    }

    /// Draws a line through the points within the axes.
    pub(crate) fn line(&self, points: &[(f64, f64)], stroke: &Stroke) -> Result<(), PlotError> {
        for run in points.split(|p| !self.shows(*p)) {
            let run: Vec<(f64, f64)> = run.iter().map(|p| self.at(*p)).collect();
            stroke.draw(&self.sheet.area, &run, self.sheet.scale)?;
        }
        Ok(())
    }

    /// Draws a mark at each point within the axes.
    pub(crate) fn marks(&self, points: &[(f64, f64)], mark: &Mark) -> Result<(), PlotError> {
        let Sheet { area, scale, palette, .. } = self.sheet;
        for point in points.iter().filter(|p| self.shows(**p)) {
            mark.draw(area, self.at(*point), *scale, palette.ground)?;
        }
        Ok(())
    }

    /// Draws a bar from the axis up around each whole number.
    pub(crate) fn bars(&self, bars: &[(f64, f64)], colour: RGBColor) -> Result<(), PlotError> {
        let fill = ShapeStyle::from(translucent(colour, 0.85)).filled();
        for &(x, y) in bars {
            let (left, top) = self.at((x - 0.4, y));
            let (right, bottom) = self.at((x + 0.4, self.y.low()));
            let corners = [(units(left), units(top)), (units(right), units(bottom))];
            self.sheet.area.draw(&Rectangle::new(corners, fill))?;
        }
        Ok(())
    }

    /// Writes text over the chart, on its own background so that the grid does not cross it.
    pub(crate) fn note(
        &self,
        note: &str,
        (x, y): (f64, f64),
        anchor: Anchor,
        colour: RGBColor,
    ) -> Result<Rect, PlotError> {
        let rect = self.note_rect(note, (x, y), anchor);
        let em = self.em * 0.95;
        let fill = ShapeStyle::from(translucent(self.sheet.palette.ground, 0.82)).filled();
        let corners = [(units(rect.x), units(rect.y)), (units(rect.right()), units(rect.bottom()))];
        self.sheet.area.draw(&Rectangle::new(corners, fill))?;
        self.sheet.text(note, (rect.x + 2.0, y), em, false, Anchor::Left, colour)?;
        Ok(rect)
    }

    /// The rectangle that a note would cover.
    pub(crate) fn note_rect(&self, note: &str, (x, y): (f64, f64), anchor: Anchor) -> Rect {
        let em = self.em * 0.95;
        let w = text::width(note, em, false);
        let left = match anchor {
            Anchor::Left => x,
            Anchor::Middle => x - w / 2.0,
        };
        // Kept within the chart.
        let left = left.min(self.plot.right() - w - 2.0).max(self.plot.x + 2.0);
        Rect { x: left - 2.0, y: y - 0.7 * em, w: w + 4.0, h: 1.4 * em }
    }

    /// Size of the chart's text.
    pub(crate) fn em(&self) -> f64 {
        self.em
    }
}
