//! Errors of drawing.

/// Why a picture could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlotError {
    /// There are no data to draw.
    #[error("{0}")]
    NoData(String),
    /// The size is not WIDTHxHEIGHT, or out of bounds.
    #[error("{0:?} is not a size: write WIDTHxHEIGHT in pixels, from {least} to {most}",
        least = crate::options::Size::MIN, most = crate::options::Size::MAX)]
    Size(String),
    /// The file name ends neither in .svg nor in .png.
    #[error("{0}: the name of a picture must end in .svg or .png")]
    Extension(String),
    /// The drawing library failed.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// The picture cannot be rendered as a PNG.
    #[error("cannot render as PNG: {0}")]
    Png(String),
}

impl<E: std::error::Error + Send + Sync> From<plotters::drawing::DrawingAreaErrorKind<E>>
    for PlotError
{
    fn from(e: plotters::drawing::DrawingAreaErrorKind<E>) -> Self {
        PlotError::Draw(e.to_string())
    }
}
