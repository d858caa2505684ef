//! What a picture looks like: its size, its colours, its title.

use core::fmt;
use core::str::FromStr;

use plotters::style::{RGBAColor, RGBColor};

use crate::PlotError;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    /// What a picture takes to be readable.
    pub const LEAST: Size = Size { width: 480, height: 360 };
    /// Beyond, a PNG takes hundreds of megabytes while it is made.
    pub const MOST: Size = Size { width: 6000, height: 6000 };
}

impl Default for Size {
    fn default() -> Self {
        Size { width: 1200, height: 800 }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = PlotError;

    fn from_str(text: &str) -> Result<Self, PlotError> {
        let bad = || PlotError::Size(text.to_owned());
        let (width, height) = text.split_once(['x', 'X', '×']).ok_or_else(bad)?;
        let number = |s: &str| s.trim().parse::<u32>().map_err(|_| bad());
        let size = Size { width: number(width)?, height: number(height)? };
        let fits = (Self::LEAST.width..=Self::MOST.width).contains(&size.width)
            && (Self::LEAST.height..=Self::MOST.height).contains(&size.height);
        if fits { Ok(size) } else { Err(bad()) }
    }
}

/// Which colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// Dark on white, for paper.
    #[default]
    Light,
    /// Light on dark, for screens.
    Dark,
}

/// How to draw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// How large.
    pub size: Size,
    /// In which colours.
    pub theme: Theme,
    /// What to write above; none: what the picture shows.
    pub title: Option<String>,
    /// Where the data come from, in a line below the title.
    pub source: String,
}

/// The colours of a theme. Those of the series are Okabe's and Ito's, which people with any kind of
/// colour vision tell apart; on dark ground the lighter ones of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) ground: RGBColor,
    pub(crate) ink: RGBColor,
    pub(crate) faint: RGBColor,
    pub(crate) grid: RGBColor,
    pub(crate) fine_grid: RGBColor,
    pub(crate) series: [RGBColor; 4],
}

impl Theme {
    pub(crate) const fn palette(self) -> Palette {
        match self {
            Theme::Light => Palette {
                ground: RGBColor(255, 255, 255),
                ink: RGBColor(28, 28, 30),
                faint: RGBColor(92, 92, 98),
                grid: RGBColor(214, 214, 218),
                fine_grid: RGBColor(238, 238, 241),
                series: [
                    RGBColor(0, 114, 178),
                    RGBColor(213, 94, 0),
                    RGBColor(0, 134, 97),
                    RGBColor(166, 84, 136),
                ],
            },
            Theme::Dark => Palette {
                ground: RGBColor(22, 24, 29),
                ink: RGBColor(236, 236, 240),
                faint: RGBColor(166, 169, 178),
                grid: RGBColor(62, 66, 76),
                fine_grid: RGBColor(38, 41, 49),
                series: [
                    RGBColor(86, 180, 233),
                    RGBColor(240, 146, 60),
                    RGBColor(64, 196, 152),
                    RGBColor(222, 150, 190),
                ],
            },
        }
    }
}

/// A colour that lets through what is behind it.
pub(crate) fn translucent(RGBColor(r, g, b): RGBColor, alpha: f64) -> RGBAColor {
    RGBAColor(r, g, b, alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_held_to_bounds() {
        assert_eq!("1200x800".parse(), Ok(Size::default()));
        assert_eq!("640 × 480".parse(), Ok(Size { width: 640, height: 480 }));
        for bad in ["", "1200", "x", "0x0", "1200x-1", "100x100", "99999x800", "1e3x800"] {
            let e = bad.parse::<Size>().unwrap_err().to_string();
            assert!(e.contains("480x360") && e.contains("6000x6000"), "{e}");
        }
    }
}
