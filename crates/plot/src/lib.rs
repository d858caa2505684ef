//! Pictures of overlays and of the spread of messages: degrees, graph, propagation, latency and
//! robustness, as SVG and PNG.
//!
//! A picture is drawn once, as SVG; the PNG is a rendering of that SVG with an embedded font. Both
//! therefore show the same, and no font has to be installed. The same input gives the same bytes.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod axis;
mod degrees;
mod error;
mod graph;
mod latency;
mod mark;
mod options;
mod panel;
mod picture;
mod propagation;
mod report;
mod robustness;
mod sheet;
mod text;
mod units;

pub use degrees::{Degrees, degrees};
pub use error::PlotError;
pub use graph::{MAX_DRAWN_NODES, graph};
pub use latency::{Latency, latency};
pub use options::{PictureOptions, Size, Theme};
pub use picture::{Format, Picture};
pub use propagation::propagation;
pub use report::{GraphReport, Report, ReportError};
pub use robustness::{Curves, curves, robustness};

#[cfg(test)]
mod tests;
