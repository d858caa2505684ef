//! Failure detection and death by agreement, for both roles.
//!
//! A death passes through this module in one direction: detect → report → case → vote → certificate
//! → removal.
//!
//! 1. *Detect* (`detector`). A `Watch` per neighbour counts any traffic as a sign of life and
//!    probes a neighbour that has been silent. If answers are missing, or the connection breaks, a
//!    `Probe` begins: retries to the suspect, and indirect probes through its other neighbours
//!    (SWIM: Das, Gupta, Motivala 2002, section 3.1). This node answers for a neighbour only after
//!    an answer to a request that it sent after the question arrived; frames may lie in a socket
//!    for as long as this node is paused. `Health` says how far this node trusts its own view
//!    (Lifeguard's local health: Dadgar, Phillips, Currey 2018, section IV.A).
//! 2. *Report* (`report`). Only if none of the asked neighbours vouches for the suspect does an
//!    observer sign a [`DeathReport`]. It carries the [`Adjacency`] that the accused signed, which
//!    proves that the reporter was its neighbour.
//! 3. *Case* and *vote* (`cases`). A seed signs a [`Vote`] when enough distinct neighbours have
//!    reported within the window *and* its own probe has failed; where too few neighbours are left,
//!    it appoints random peers as further witnesses ([`Appointment`], [`Testimony`]). Counting
//!    independent accusers is Lifeguard's (section IV.B).
//! 4. *Certificate*. The votes of a majority of the seeds are a [`Certificate`]: with it every node
//!    removes the accused. The accused refutes by answering a probe, or with a higher incarnation
//!    (SWIM, section 4.2).

use core::time::Duration;

mod case;
mod cases;
mod detector;
mod evidence;
mod health;
mod lost;
mod open_cases;
mod probe;
mod reach;
mod report;
mod review;
mod statements;
mod watch;

use case::Case;
pub use case::reports_needed;
pub(crate) use cases::Cases;
pub(crate) use detector::{ClearOutcome, FailureDetector, ProbeOutcome, ReporterRole, Suspect};
pub(crate) use health::Health;
pub(crate) use probe::Probe;
pub(crate) use report::ReportOutcome;
pub use statements::{Adjacency, Appointment, Certificate, DeathReport, Testimony, Vote};
pub(crate) use watch::Watch;

/// A deadline that is met this much too late means that this node was paused or starved; its
/// pending requests to others get as much more time.
pub(crate) const LATE_DEADLINE: Duration = Duration::from_millis(50);
