//! Strokes and marks, which distinguish the series with and without colour.

use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::style::{RGBColor, ShapeStyle};

use crate::PlotError;
use crate::options::translucent;
use crate::sheet::Area;
use crate::units::{breadth, units};

/// Solid.
pub(crate) const SOLID: &[f64] = &[];
/// Long dashes.
pub(crate) const DASHED: &[f64] = &[9.0, 5.0];
/// A dash and a dot.
pub(crate) const DASH_DOT: &[f64] = &[9.0, 4.0, 2.0, 4.0];
/// Dots.
pub(crate) const DOTTED: &[f64] = &[2.0, 3.5];

/// The style of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stroke {
    pub(crate) colour: RGBColor,
    pub(crate) width: f64,
    pub(crate) dash: &'static [f64],
    pub(crate) alpha: f64,
}

impl Stroke {
    pub(crate) const fn new(colour: RGBColor, dash: &'static [f64]) -> Self {
        Self { colour, width: 2.0, dash, alpha: 1.0 }
    }

    pub(crate) const fn thin(colour: RGBColor, dash: &'static [f64]) -> Self {
        Self { colour, width: 1.0, dash, alpha: 1.0 }
    }

    /// Draws a line along these points, in pixels; `scale` is that of the picture.
    pub(crate) fn draw(
        &self,
        area: &Area<'_>,
        points: &[(f64, f64)],
        scale: f64,
    ) -> Result<(), PlotError> {
        let style = ShapeStyle::from(translucent(self.colour, self.alpha))
            .stroke_width(breadth(self.width * scale));
        let dash: Vec<f64> = self.dash.iter().map(|d| d * scale).collect();
        for piece in pieces(points, &dash) {
            let piece: Vec<(i32, i32)> =
                piece.into_iter().map(|(x, y)| (units(x), units(y))).collect();
            area.draw(&PathElement::new(piece, style))?;
        }
        Ok(())
    }
}

/// Splits a line into its dashes.
fn pieces(points: &[(f64, f64)], dash: &[f64]) -> Vec<Vec<(f64, f64)>> {
    if points.len() < 2 {
        return Vec::new();
    }
    if dash.is_empty() {
        return vec![points.to_vec()];
    }
    let mut out = Vec::new();
    let mut piece = vec![points[0]];
    // The current part of the pattern, and its remaining length; every second part is a gap.
    let (mut part, mut left) = (0, dash[0]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            if length <= left || !length.is_finite() {
                left -= length;
                piece.push(to);
                break;
            }
            from = (from.0 + dx * left / length, from.1 + dy * left / length);
            piece.push(from);
            if part % 2 == 0 {
                out.push(core::mem::take(&mut piece));
            }
            piece = vec![from];
            part = (part + 1) % dash.len();
            left = dash[part];
        }
    }
    if part % 2 == 0 && piece.len() > 1 {
        out.push(piece);
    }
    out
}

/// The form of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// The style of a point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) shape: Shape,
    pub(crate) colour: RGBColor,
    pub(crate) radius: f64,
}

impl Mark {
    pub(crate) const fn new(shape: Shape, colour: RGBColor) -> Self {
        Self { shape, colour, radius: 4.0 }
    }

    /// Draws the mark at a position in pixels, with a rim in the background colour, so that
    /// overlapping marks can be distinguished.
    pub(crate) fn draw(
        &self,
        area: &Area<'_>,
        (x, y): (f64, f64),
        scale: f64,
        ground: RGBColor,
    ) -> Result<(), PlotError> {
        let rim = 0.8 * scale;
        for (colour, r) in [(ground, self.radius * scale + rim), (self.colour, self.radius * scale)]
        {
            let fill = ShapeStyle::from(colour).filled();
            let point = |dx: f64, dy: f64| (units(x + dx * r), units(y + dy * r));
            match self.shape {
                Shape::Circle => area.draw(&Circle::new(point(0.0, 0.0), units(r), fill))?,
                Shape::Square => {
                    area.draw(&Rectangle::new([point(-0.88, -0.88), point(0.88, 0.88)], fill))?;
                }
                Shape::Triangle => {
                    let corners = vec![point(0.0, -1.15), point(1.05, 0.75), point(-1.05, 0.75)];
                    area.draw(&Polygon::new(corners, fill))?;
                }
                Shape::Diamond => {
                    let corners = vec![
                        point(0.0, -1.25),
                        point(1.1, 0.0),
                        point(0.0, 1.25),
                        point(-1.1, 0.0),
                    ];
                    area.draw(&Polygon::new(corners, fill))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_of_the_line() {
        let line = [(0.0, 0.0), (30.0, 0.0), (30.0, 70.0)];
        let length = |pieces: &[Vec<(f64, f64)>]| -> f64 {
            let pairs = pieces.iter().flat_map(|p| p.windows(2));
            pairs.map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1)).sum()
        };
        assert_eq!(length(&pieces(&line, SOLID)), 100.0);
        let dashes = pieces(&line, &[6.0, 4.0]);
        assert_eq!(dashes.len(), 10);
        assert!((length(&dashes) - 60.0).abs() < 1e-9);
        // A dash continues around a corner, and ends with the line.
        let dashes = pieces(&line, &[40.0, 50.0]);
        assert_eq!(dashes[0], [(0.0, 0.0), (30.0, 0.0), (30.0, 10.0)]);
        assert_eq!(dashes[1].last(), Some(&(30.0, 70.0)));
        assert!(pieces(&line[..1], DASHED).is_empty());
    }
}
