//! One `tracing` line per event.

use std::fmt;

use rumormill_proto::{Event, PeerId};

use crate::describe::describe;

/// The node that logs: the fields `node` and `id` of every line that the library traces.
#[derive(Debug, Clone)]
pub(crate) struct NodeLabel {
    pub(crate) name: String,
    pub(crate) id: PeerId,
}

impl fmt::Display for NodeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// The log level of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogLevel {
    /// An error, on this node or elsewhere.
    Warn,
    /// A change of the membership or of the node's own state.
    Info,
    /// Details of how a change came about.
    Debug,
}

const fn log_level(event: &Event) -> LogLevel {
    match event {
        Event::SeedLost { .. }
        | Event::SeedRefused { .. }
        | Event::SeedsShareIdentity { .. }
        | Event::LoopbackAdvertised { .. }
        | Event::AddressChanged { .. }
        | Event::SeedMoved { .. }
        | Event::DuplicateIdentity { .. }
        | Event::Degraded { .. }
        | Event::MemberDead { .. }
        | Event::SelfDoubt { .. }
        | Event::Refuted { .. }
        | Event::Gap { .. }
        | Event::RegistrationRefused { .. }
        | Event::PeerExpired { .. }
        | Event::PeerRemoved { .. }
        | Event::FrameRefused { .. }
        | Event::Throttled { .. }
        | Event::LeftUnconfirmed { .. }
        | Event::Left { acknowledged: false }
        | Event::LinkClosed { .. } => LogLevel::Warn,
        Event::RequestRefused { .. } | Event::PeerDegree { .. } | Event::Fetched { .. } => {
            LogLevel::Debug
        }
        _ => LogLevel::Info,
    }
}

/// Traces an event under the target `rumormill::event`.
pub(crate) fn trace(label: &NodeLabel, event: &Event) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "rumormill::event",
                node = %label.name,
                id = %label.id,
                "{}",
                describe(event)
            )
        };
    }
    match log_level(event) {
        LogLevel::Warn => line!(warn),
        LogLevel::Info => line!(info),
        LogLevel::Debug => line!(debug),
    }
}
