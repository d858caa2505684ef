//! The transport's limits in one value, so that tests can make them small.

use std::time::Duration;

use rumormill_proto::{Role, limits};

/// How long a node may take to leave, if nothing else is said.
pub(crate) const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Limits of the transport. Production uses [`Tuning::of`] and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// An inbound connection must be through TLS and Hello by then.
    pub(crate) handshake_deadline: Duration,
    /// Inbound connections that may be before their Hello at once.
    pub(crate) max_handshakes: usize,
    /// Inbound connections from one address (IPv4) or network (IPv6, /64).
    pub(crate) max_per_address: usize,
    /// Whether loopback addresses are exempt from that.
    pub(crate) loopback_exempt: bool,
    /// Links in all.
    pub(crate) max_links: usize,
    /// Dials at once; more wait.
    pub(crate) max_dials: usize,
    /// A dial must have ended by then, counted from when it is its turn.
    pub(crate) dial_deadline: Duration,
    /// A write without progress for so long ends the link.
    pub(crate) write_stall: Duration,
    /// A remote that is given something and reads nothing for so long ends the link.
    pub(crate) read_stall: Duration,
    /// What is queued on a link that is closed is written for so long.
    pub(crate) close_flush: Duration,
    /// News of no link on their way to the driver.
    pub(crate) inputs: usize,
    /// Frames of one link on their way to the driver.
    pub(crate) inputs_per_link: usize,
    /// Bytes of them; a single frame may be larger.
    pub(crate) input_bytes_per_link: usize,
    /// Probes of one link and answers to them on their way to the driver.
    pub(crate) probes_per_link: usize,
    /// Bytes in a link's queue of probes and their answers.
    pub(crate) queue_liveness: usize,
    /// Bytes in a link's control queue.
    pub(crate) queue_control: usize,
    /// Bytes in a link's announcement queue.
    pub(crate) queue_announce: usize,
    /// Bytes in a link's payload queue.
    pub(crate) queue_payload: usize,
    /// Bytes in a link's queue of answers to pulls.
    pub(crate) queue_history: usize,
    /// How long the node may take to leave, if nothing else is said.
    pub(crate) leave_within: Duration,
    /// First wait after a commit that failed; it doubles up to 32 times this.
    pub(crate) store_retry: Duration,
    /// Bytes that may wait to be made durable.
    pub(crate) store_pending_bytes: usize,
}

impl Tuning {
    pub(crate) const fn of(role: Role) -> Self {
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
            queue_liveness: limits::QUEUE_LIVENESS,
            queue_control: limits::QUEUE_CONTROL,
            queue_announce: limits::QUEUE_ANNOUNCE,
            queue_payload: limits::QUEUE_PAYLOAD,
            queue_history: limits::QUEUE_HISTORY,
            leave_within: LEAVE_WITHIN,
            store_retry: Duration::from_secs(1),
            store_pending_bytes: 64 * 1024 * 1024,
        }
    }
}
