//! The limits of the transport in one value, so that tests can lower them.

use std::time::Duration;

use rumormill_proto::link_queue::QueueLimits;
use rumormill_proto::{Role, limits};

/// How long a node may take to leave, by default.
pub(crate) const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Limits of the transport. Outside of tests, they are always those of [`Tuning::for_role`].
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// The time limit of an inbound connection for TLS and Hello.
    pub(crate) handshake_deadline: Duration,
    /// Inbound connections that may be before their Hello at the same time.
    pub(crate) max_handshakes: usize,
    /// Inbound connections from one address (IPv4) or network (IPv6, /64).
    pub(crate) max_per_address: usize,
    /// Whether loopback addresses are exempt from `max_per_address`.
    pub(crate) loopback_exempt: bool,
    /// The most links.
    pub(crate) max_links: usize,
    /// The most dials at the same time; further dials wait.
    pub(crate) max_dials: usize,
    /// The time limit of a dial, counted from its turn.
    pub(crate) dial_deadline: Duration,
    /// A write without progress for this long ends the link.
    pub(crate) write_stall: Duration,
    /// A remote that reads none of the bytes sent to it for this long loses the link.
    pub(crate) read_stall: Duration,
    /// How long the queued frames of a closed link may still be written.
    pub(crate) close_flush: Duration,
    /// Inputs that belong to no link and wait for the driver.
    pub(crate) inputs: usize,
    /// Frames of one link that wait for the driver.
    pub(crate) inputs_per_link: usize,
    /// Bytes of these frames; a single frame may be larger.
    pub(crate) input_bytes_per_link: usize,
    /// Probes and probe answers of one link that wait for the driver.
    pub(crate) probes_per_link: usize,
    /// Bytes in the queues of a link.
    pub(crate) queue: QueueLimits,
    /// How long this node may take to leave, unless a call says otherwise.
    pub(crate) leave_within: Duration,
    /// The first pause after a failed commit; it doubles up to 32 times this.
    pub(crate) store_retry: Duration,
    /// Bytes that may wait to be made durable.
    pub(crate) store_pending_bytes: usize,
}

impl Tuning {
    pub(crate) const fn for_role(role: Role) -> Self {
        Tuning {
            handshake_deadline: limits::HANDSHAKE_DEADLINE,
            max_handshakes: limits::MAX_HANDSHAKES,
            max_per_address: limits::MAX_LINKS_PER_ADDRESS,
            loopback_exempt: true,
            max_links: match role {
                Role::Peer => limits::MAX_PEER_LINKS,
                Role::Seed => limits::MAX_SEED_LINKS,
            },
            max_dials: 64,
            dial_deadline: Duration::from_secs(3),
            write_stall: Duration::from_secs(8),
            read_stall: Duration::from_secs(30),
            close_flush: Duration::from_secs(1),
            inputs: 1024,
            inputs_per_link: 128,
            input_bytes_per_link: 1024 * 1024,
            probes_per_link: 4,
            queue: QueueLimits::STANDARD,
            leave_within: LEAVE_WITHIN,
            store_retry: Duration::from_secs(1),
            store_pending_bytes: 64 * 1024 * 1024,
        }
    }
}
