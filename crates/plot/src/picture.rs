//! A finished picture.

use std::path::Path;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::PlotError;
use crate::options::Size;

/// The file format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines and text, in any scale.
    Svg,
    /// Pixels.
    Png,
}

impl Format {
    /// The format for the extension of a file name.
    ///
    /// # Errors
    ///
    /// If the name ends in neither `.svg` nor `.png`.
    pub fn of(path: &Path) -> Result<Self, PlotError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "svg" => Ok(Format::Svg),
            "png" => Ok(Format::Png),
            _ => Err(PlotError::Extension(path.display().to_string())),
        }
    }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub(crate) svg: String,
    pub(crate) size: Size,
}

impl Picture {
    /// The picture as an SVG document.
    #[must_use]
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    ///
    /// If there is not enough memory for the pixels.
    pub fn png(&self) -> Result<Vec<u8>, PlotError> {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.load_font_data(dejavu::sans::bold().to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
        let bad = |e: &dyn core::fmt::Display| PlotError::Png(e.to_string());
        let tree = Tree::from_str(&self.svg, &options).map_err(|e| bad(&e))?;
        let Size { width, height } = self.size;
        let mut pixels =
            Pixmap::new(width, height).ok_or_else(|| bad(&format!("{} pixels", self.size)))?;
        resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
        pixels.encode_png().map_err(|e| bad(&e))
    }

    /// The bytes of a file in this format.
    ///
    /// # Errors
    ///
    /// If the picture cannot be rendered, see [`Picture::png`].
    pub fn bytes(&self, format: Format) -> Result<Vec<u8>, PlotError> {
        match format {
            Format::Svg => Ok(self.svg.clone().into_bytes()),
            Format::Png => self.png(),
        }
    }
}
