//! The sheet of a picture: background, title, and a column of text beside the charts.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::element::Text;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, RGBColor};

use crate::PlotError;
use crate::mark::{Mark, Stroke};
use crate::options::{Palette, PictureOptions};
use crate::picture::Picture;
use crate::text;
use crate::units::{Rect, breadth, units};

/// The drawing area.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Size of text in a picture of 1200x800.
const EM: f64 = 13.0;
/// The distance between lines of text, in ems.
const LEADING: f64 = 1.45;
/// The width of the symbol before a legend entry, in ems.
const KEY: f64 = 2.9;

/// The sheet.
pub(crate) struct Sheet<'a> {
    pub(crate) area: Area<'a>,
    pub(crate) palette: Palette,
    /// Size relative to a picture of 1200x800.
    pub(crate) scale: f64,
    /// Size of text.
    pub(crate) em: f64,
    /// The free area below the title.
    body: Rect,
}

/// An element of the column of text.
#[derive(Debug, Clone)]
pub(crate) enum LegendBlock {
    /// A symbol and its meaning.
    Entry(LegendKey, String),
    /// The same in bold: the heading of the following lines.
    Heading(LegendKey, String),
    /// Text without a symbol.
    Line(String),
    /// Vertical space.
    Gap,
}

/// The symbol of a series.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LegendKey {
    pub(crate) stroke: Option<Stroke>,
    pub(crate) mark: Option<Mark>,
}

impl From<Stroke> for LegendKey {
    fn from(stroke: Stroke) -> Self {
        Self { stroke: Some(stroke), mark: None }
    }
}

impl From<Mark> for LegendKey {
    fn from(mark: Mark) -> Self {
        Self { stroke: None, mark: Some(mark) }
    }
}

/// The areas of the charts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChartAreas {
    pub(crate) main: Rect,
    /// `None` if there is not enough space for a second chart.
    pub(crate) small: Option<Rect>,
}

/// The anchor of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
}

/// Draws a picture: the sheet with its title, and the content that `content` draws on it.
pub(crate) fn draw(
    options: &PictureOptions,
    title: &str,
    content: impl FnOnce(&Sheet<'_>) -> Result<(), PlotError>,
) -> Result<Picture, PlotError> {
    text::register_fonts()?;
    let (w, h) = (f64::from(options.size.width), f64::from(options.size.height));
    let title = text::clean(options.title.as_deref().unwrap_or(title));
    let source = text::clean(&options.source);
    let mut drawn = String::new();
    let area = SVGBackend::with_string(&mut drawn, (breadth(w), breadth(h))).into_drawing_area();
    let scale = (w / 1200.0).min(h / 800.0).max(0.72);
    let margin = 18.0 * scale;
    let body = Rect { x: margin, y: margin, w: w - 2.0 * margin, h: h - 2.0 * margin };
    let palette = options.theme.palette();
    area.fill(&palette.ground)?;
    let mut sheet = Sheet { area, palette, scale, em: EM * scale, body };
    sheet.head(&title, &source)?;
    content(&sheet)?;
    sheet.area.present()?;
    drop(sheet);
    Ok(Picture { svg: with_head(&drawn, options, &title, &source), size: options.size })
}

/// Replaces the size that the drawing library has set by the size in pixels, and adds the title.
fn with_head(drawn: &str, options: &PictureOptions, title: &str, source: &str) -> String {
    let body = drawn.split_once("<svg").and_then(|(_, rest)| rest.split_once('>'));
    let body = body.map_or("</svg>", |(_, body)| body);
    let (width, height) = (options.size.width, options.size.height);
    let (wide, high) = (breadth(f64::from(width)), breadth(f64::from(height)));
    let (title, source) = (escaped(title), escaped(source));
    // Programs disagree on the height of an x, so the shift by a part of it is removed; positions
    // are computed without it. Inside text, the quotes would be escaped.
    let body = body.replace("dy=\"-0.5ex\" ", "");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {wide} {high}\">\n<title>{title}</title>\n\
         <desc>{source}</desc>{body}"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Sheet<'_> {
    fn head(&mut self, title: &str, source: &str) -> Result<(), PlotError> {
        let Rect { x, w, .. } = self.body;
        let em = self.em * 1.5;
        let mut y = self.body.y + em * 0.6;
        let line = text::cut(title, em, true, w);
        self.text(&line, (x, y), em, true, Anchor::Left, self.palette.ink)?;
        y += em * 0.75;
        if !source.is_empty() {
            let em = self.em * 0.95;
            for line in text::wrap(source, em, w).iter().take(2) {
                y += em * 0.7;
                self.text(line, (x, y), em, false, Anchor::Left, self.palette.faint)?;
                y += em * 0.65;
            }
        }
        y += self.em * 0.8;
        self.body.h = self.body.bottom() - y;
        self.body.y = y;
        Ok(())
    }

    /// Draws one line of text, vertically centred at `y`.
    pub(crate) fn text(
        &self,
        line: &str,
        (x, y): (f64, f64),
        em: f64,
        bold: bool,
        anchor: Anchor,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        let horizontal = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
        };
        // Anchored at the base line: programs disagree on the vertical middle of text. Capitals and
        // figures of the font are 0.73 em high.
        let style =
            text::style(em, bold, &colour.to_rgba()).pos(Pos::new(horizontal, VPos::Bottom));
        let base = y + em * 0.365;
        self.area.draw(&Text::new(line.to_owned(), (units(x), units(base)), style))?;
        Ok(())
    }

    /// Draws one line of text that runs upwards, around its middle.
    pub(crate) fn upwards(
        &self,
        line: &str,
        (x, y): (f64, f64),
        em: f64,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        let style = text::style(em, false, &colour.to_rgba())
            .pos(Pos::new(HPos::Center, VPos::Bottom))
            .transform(FontTransform::Rotate270);
        let base = x + em * 0.365;
        self.area.draw(&Text::new(line.to_owned(), (units(base), units(y)), style))?;
        Ok(())
    }

    /// Divides the sheet into a main chart, a column of text (which is drawn), and, if requested
    /// and if there is space, a second chart. The column is beside the main chart, or below it on a
    /// narrow sheet.
    pub(crate) fn arrange(
        &self,
        blocks: &[LegendBlock],
        small: bool,
    ) -> Result<ChartAreas, PlotError> {
        let body = self.body;
        let gap = 1.6 * self.em;
        let (column, em, main, below);
        if body.w >= 1.15 * body.h {
            let w = (24.0 * self.em).min(0.38 * body.w);
            em = self.fitting(blocks, w, body.h);
            let h = height(blocks, em, w);
            column = Rect { x: body.right() - w, y: body.y, w, h };
            main = Rect { w: body.w - w - gap, ..body };
            let y = column.bottom() + gap;
            below = Rect { y, h: body.bottom() - y, ..column };
        } else {
            let w = if small { (body.w - gap) * 0.56 } else { body.w };
            em = self.fitting(blocks, w, 0.5 * body.h);
            let h = height(blocks, em, w).max(if small { 19.0 * self.em } else { 0.0 });
            let y = body.bottom() - h;
            column = Rect { x: body.x, y, w, h };
            main = Rect { h: body.h - h - gap, ..body };
            below = Rect { x: column.right() + gap, w: body.w - w - gap, y, h };
        }
        self.column(blocks, column, em)?;
        let room = below.h >= 11.0 * self.em && below.w >= 13.0 * self.em;
        Ok(ChartAreas { main, small: (small && room).then_some(below) })
    }

    /// The largest size of text, up to the default, at which the blocks fit.
    fn fitting(&self, blocks: &[LegendBlock], w: f64, most: f64) -> f64 {
        let sizes = (0..12).map(|i| self.em * (1.0 - 0.04 * f64::from(i)));
        let fits = |em: &f64| height(blocks, *em, w) <= most;
        sizes.into_iter().find(fits).unwrap_or(self.em * 0.55)
    }

    fn column(&self, blocks: &[LegendBlock], rect: Rect, em: f64) -> Result<(), PlotError> {
        let mut y = rect.y + em * LEADING * 0.5;
        for block in blocks {
            let (indent, bold, colour) = match block {
                LegendBlock::Entry(key, _) | LegendBlock::Heading(key, _) => {
                    self.key(key, (rect.x, y), em)?;
                    (KEY * em, matches!(block, LegendBlock::Heading(..)), self.palette.ink)
                }
                LegendBlock::Line(_) => (0.0, false, self.palette.ink),
                LegendBlock::Gap => (0.0, false, self.palette.ink),
            };
            for line in lines(block, em, rect.w) {
                self.text(&line, (rect.x + indent, y), em, bold, Anchor::Left, colour)?;
                y += em * LEADING;
            }
            if matches!(block, LegendBlock::Gap) {
                y += em * GAP;
            }
        }
        Ok(())
    }

    fn key(&self, key: &LegendKey, (x, y): (f64, f64), em: f64) -> Result<(), PlotError> {
        let end = x + (KEY - 0.6) * em;
        if let Some(stroke) = key.stroke {
            stroke.draw(&self.area, &[(x, y), (end, y)], self.scale)?;
        }
        if let Some(mark) = key.mark {
            mark.draw(&self.area, ((x + end) / 2.0, y), self.scale, self.palette.ground)?;
        }
        Ok(())
    }
}

/// The space between groups of lines, in ems.
const GAP: f64 = 0.75;

fn lines(block: &LegendBlock, em: f64, w: f64) -> Vec<String> {
    match block {
        // Bold letters are about a tenth wider.
        LegendBlock::Heading(_, line) => text::wrap(line, em * 1.1, w - KEY * em),
        LegendBlock::Entry(_, line) => text::wrap(line, em, w - KEY * em),
        LegendBlock::Line(line) => text::wrap(line, em, w),
        LegendBlock::Gap => Vec::new(),
    }
}

fn height(blocks: &[LegendBlock], em: f64, w: f64) -> f64 {
    let of = |block: &LegendBlock| match block {
        LegendBlock::Gap => GAP * em,
        _ => lines(block, em, w).len() as f64 * LEADING * em,
    };
    blocks.iter().map(of).sum()
}
