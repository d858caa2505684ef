//! Death by agreement in two levels.
//!
//! An observer that gets no sign of life from a neighbour asks the neighbour's other neighbours;
//! only if none of them vouches for it does it sign a [`DeathReport`], and the report carries the
//! accused's own [`Adjacency`], which proves that the reporter was in a position to know. A seed
//! signs a [`Vote`] when enough distinct neighbours reported within the window *and* its own probe
//! failed; where too few neighbours are left, it appoints peers drawn at random as further witnesses
//! ([`Appointment`], [`Testimony`]). The votes of a majority of the seeds are a [`Certificate`]. The accused refutes by
//! answering a probe, or with a higher incarnation.
//!
//! The idea of suspicion before death, with incarnations to refute it, is SWIM's (Das, Gupta,
//! Motivala 2002, section 4.2); counting independent accusers is Lifeguard's (Dadgar, Phillips,
//! Currey 2018, section IV.B).

mod case;
mod statements;

pub(crate) use case::Case;
pub use case::reports_needed;
pub use statements::{Adjacency, Appointment, Certificate, DeathReport, Testimony, Vote};
