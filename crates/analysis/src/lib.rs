//! Statistics of overlays and of the spread of messages.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod alternative;
pub mod bootstrap;
pub mod fit;
pub mod graph;
pub mod histogram;
pub mod power_law;
pub mod zeta_law;

mod random;
mod special;

pub use alternative::{Comparison, Favours};
pub use fit::{Fit, FitOptions, Verdict};
pub use graph::{Graph, GraphError};
pub use histogram::{Histogram, LogBin};
pub use power_law::{Bound, Cutoff, FitError, PowerLaw};
pub use zeta_law::ZetaLaw;
