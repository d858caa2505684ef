//! Who shows signs of life.
//!
//! A [`Watch`] per neighbour counts any traffic as life and asks when it has been silent. When the
//! answers stay away, or the connection breaks, a [`Burst`] begins: retries to the suspect and
//! questions to its other neighbours. What a burst ends in is the peer's business.
//!
//! What is told to others about a neighbour rests on an answer to a request that was sent after the
//! question came; frames may lie in a socket for as long as this node is stopped. [`Health`] says how
//! far this node trusts its own view.
//!
//! Indirect probes through others are SWIM's (Das, Gupta, Motivala 2002, section 3.1); doubting
//! oneself before others is Lifeguard's local health (Dadgar, Phillips, Currey 2018, section IV.A).

use core::time::Duration;

mod burst;
mod health;
mod watch;

pub(crate) use burst::Burst;
pub(crate) use health::Health;
pub(crate) use watch::{Due, Watch};

/// A deadline met this much too late means that this node was stopped or starved; what it waited
/// for from others gets as much more time.
pub(crate) const LATE: Duration = Duration::from_millis(50);
