//! Statistics of overlays and of the spread of messages.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod alternative;
pub mod bootstrap;
pub mod clustering;
pub mod components;
pub mod convergence;
pub mod distances;
pub mod fit;
pub mod graph;
pub mod histogram;
pub mod layout;
pub mod percentile;
pub mod power_law;
pub mod propagation;
pub mod robustness;
pub mod zeta_law;

mod random;
mod special;

pub use alternative::{Comparison, Favours};
pub use clustering::{Clustering, assortativity};
pub use components::Components;
pub use convergence::{settled_near, settled_since};
pub use distances::{Diameter, Distances, hops_from};
pub use fit::{Fit, FitOptions, Verdict};
pub use graph::{Graph, GraphError};
pub use histogram::{Histogram, LogBin};
pub use layout::{Layout, LayoutError};
pub use percentile::percentile;
pub use power_law::{Bound, Cutoff, FitError, PowerLaw};
pub use propagation::{Arrival, Message, Propagation, PropagationError, ReachPoint, ReachTime};
pub use robustness::{Attack, Robustness, RobustnessPoint};
pub use zeta_law::ZetaLaw;
