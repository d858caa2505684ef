//! Why there is no picture.

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("{0}")]
    NoData(String),
    /// The size is not WIDTHxHEIGHT, or out of bounds.
    #[error("{0:?} is no size: write WIDTHxHEIGHT in pixels, from {least} to {most}",
        least = crate::look::Size::LEAST, most = crate::look::Size::MOST)]
    Size(String),
    /// A file name says neither SVG nor PNG.
    #[error("{0}: the name of a picture must end in .svg or .png")]
    Extension(String),
    /// The drawing library gave up.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// The picture cannot be made a PNG.
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
