//! The options of a picture: size, colours, title.

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
    /// The smallest readable picture.
    pub const MIN: Size = Size { width: 480, height: 360 };
    /// The largest picture: rendering a larger PNG takes hundreds of megabytes.
    pub const MAX: Size = Size { width: 6000, height: 6000 };
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
        let fits = (Self::MIN.width..=Self::MAX.width).contains(&size.width)
            && (Self::MIN.height..=Self::MAX.height).contains(&size.height);
        if fits { Ok(size) } else { Err(bad()) }
    }
}

/// The colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// Dark on white, for paper.
    #[default]
    Light,
    /// Light on dark, for screens.
    Dark,
}

/// The options of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureOptions {
    /// The size.
    pub size: Size,
    /// The colours.
    pub theme: Theme,
    /// The title; `None`: a description of the data.
    pub title: Option<String>,
    /// The origin of the data, in a line below the title.
    pub source: String,
}

/// The colours of a theme. The colours of the series are those of Okabe and Ito, which people with
/// any kind of colour vision can distinguish; the dark theme uses lighter variants.
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

/// A partly transparent colour.
pub(crate) fn translucent(RGBColor(r, g, b): RGBColor, alpha: f64) -> RGBAColor {
    RGBAColor(r, g, b, alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_parsed_and_checked_against_its_bounds() {
        assert_eq!("1200x800".parse(), Ok(Size::default()));
        assert_eq!("640 × 480".parse(), Ok(Size { width: 640, height: 480 }));
        for bad in ["", "1200", "x", "0x0", "1200x-1", "100x100", "99999x800", "1e3x800"] {
            let e = bad.parse::<Size>().unwrap_err().to_string();
            assert!(e.contains("480x360") && e.contains("6000x6000"), "{e}");
        }
    }
}
