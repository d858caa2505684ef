//! The kinds of pictures.

use clap::ValueEnum;

/// The content of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Degrees,
    Propagation,
    Latency,
    Graph,
    Robustness,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Degrees => "degrees",
            Kind::Propagation => "propagation",
            Kind::Latency => "latency",
            Kind::Graph => "graph",
            Kind::Robustness => "robustness",
        }
    }
}
