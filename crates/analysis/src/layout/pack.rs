//! Packing of the squares of components.

/// A square: its lower left corner and its side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Square {
    pub(super) corner: [f64; 2],
    pub(super) side: f64,
}

/// Packs squares with these sides, in descending order, into about a square, without overlap.
///
/// The result depends on the sides only, so a component does not jump while it is laid out.
pub(super) fn pack(sides: &[f64]) -> Vec<Square> {
    let area: f64 = sides.iter().map(|s| s * s).sum();
    let largest = sides.first().copied().unwrap_or(0.0);
    // Which width wastes least area depends on how the sizes fit together; several are tried.
    let widths = (0..12).map(|i| largest.max(area.sqrt() * (1.0 + f64::from(i) * 0.05)));
    let packed = widths.map(|width| pack_within(sides, width));
    let size = |squares: &Vec<Square>| extent(squares, 0).max(extent(squares, 1));
    packed.min_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or_default()
}

/// The extent of the squares along an axis.
pub(super) fn extent(squares: &[Square], axis: usize) -> f64 {
    squares.iter().map(|s| s.corner[axis] + s.side).fold(0.0, f64::max)
}

/// Fills rows of this width with columns: a column is as wide as its first square and takes further
/// squares above it as long as they fit into the height of the row.
fn pack_within(sides: &[f64], widest: f64) -> Vec<Square> {
    let mut out = Vec::with_capacity(sides.len());
    // The row's lower edge and height, the column's left edge and width, and its filled height.
    let (mut row, mut height, mut column, mut width, mut filled) = (0.0, 0.0, 0.0, 0.0, 0.0);
    // Rounding must not prevent sides from filling a row exactly.
    let slack = widest * 1e-9;
    for &side in sides {
        if filled + side > height + slack {
            // The next column, or the next row.
            column += width;
            (width, filled) = (side, 0.0);
            if column + side > widest + slack || height == 0.0 {
                row += height;
                (height, column) = (side, 0.0);
            }
        }
        out.push(Square { corner: [column, row + filled], side });
        filled += side;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_square_is_packed_at_the_origin() {
        assert_eq!(pack(&[3.0]), [Square { corner: [0.0, 0.0], side: 3.0 }]);
        assert!(pack(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn squares_do_not_overlap_and_fill_about_a_square(
            mut sides in prop::collection::vec(1u32..40, 1..80),
        ) {
            sides.sort_unstable_by(|a, b| b.cmp(a));
            let sides: Vec<f64> = sides.into_iter().map(|s| f64::from(s).sqrt()).collect();
            let packed = pack(&sides);
            for (i, a) in packed.iter().enumerate() {
                for b in &packed[..i] {
                    let apart = (0..2).any(|axis| {
                        a.corner[axis] + a.side <= b.corner[axis] + 1e-6
                            || b.corner[axis] + b.side <= a.corner[axis] + 1e-6
                    });
                    prop_assert!(apart, "{:?} {:?}", a, b);
                }
            }
            let (width, height) = (extent(&packed, 0), extent(&packed, 1));
            let area: f64 = sides.iter().map(|s| s * s).sum();
            prop_assert!(width.max(height) <= 1.6 * area.sqrt() + 1e-6);
        }
    }
}
