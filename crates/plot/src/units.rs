//! Pixels and positions.

/// The drawing library uses whole units. With ten units to a pixel, lines can be half a pixel wide
/// and ten thousand nodes do not snap to a grid.
pub(crate) const UNIT: f64 = 10.0;

/// Pixels in units.
pub(crate) fn units(px: f64) -> i32 {
    // Saturates, and NaN becomes 0.
    (px * UNIT).round() as i32
}

/// A width or size in units, at least one.
pub(crate) fn breadth(px: f64) -> u32 {
    units(px).max(1).unsigned_abs()
}

/// A rectangle of the picture, in pixels, from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
}

impl Rect {
    pub(crate) fn right(&self) -> f64 {
        self.x + self.w
    }

    pub(crate) fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// Limits the height to about the width: a higher chart would have thin bars and steep curves.
    pub(crate) fn limit_height(self) -> Rect {
        Rect { h: self.h.min(self.w * 1.05), ..self }
    }

    /// Whether two rectangles overlap.
    pub(crate) fn overlaps(&self, other: &Rect) -> bool {
        self.x < other.right()
            && other.x < self.right()
            && self.y < other.bottom()
            && other.y < self.bottom()
    }
}
