//! Statistics of overlays and of the spread of messages.
//!
//! Pure computation: data and seeds go in, reports come out. No clock, no thread, no file, no
//! system randomness; the same input gives the same result on every machine. Sized for a million
//! nodes.
//!
//! | question | answer |
//! |---|---|
//! | do the data follow a power law? | [`Fit`] of a [`Histogram`]; see [`power_law`], [`bootstrap`] |
//! | does another law fit better? | [`alternative`] |
//! | how is the graph connected? | [`Graph`], [`Components`], [`Distances`] |
//! | are neighbours linked with each other? | [`Clustering`], [`assortativity`] |
//! | how much of it stays connected when nodes fail? | [`Robustness`] |
//! | how do messages spread? | [`Propagation`] |
//! | when did a value settle? | [`settled_since`], [`settled_near`] |
//! | where are the nodes drawn? | [`Layout`] |
//!
//! ```
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use rumormill_analysis::{Fit, FitOptions, Verdict, ZetaLaw};
//!
//! let law = ZetaLaw::new(2.4, 3, Some(60)).ok_or("no such law")?;
//! let degrees = law.sample(20_000, &mut ChaCha8Rng::seed_from_u64(1));
//! let fit = Fit::new(&degrees, &FitOptions { replicates: 100, ..FitOptions::default() })?;
//! assert!((fit.bounded_alpha - 2.4).abs() < 4.0 * fit.bounded_alpha_error);
//! assert_eq!(fit.bounded_verdict, Verdict::Supported);
//! println!("{fit}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

pub use alternative::{Comparison, FavouredLaw};
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
