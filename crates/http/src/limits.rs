//! Every bound of the control API in one place.

use core::time::Duration;

/// Longest request body, in bytes: one payload of the largest size as JSON text, in which a control
/// character takes six bytes (`\u0000`), and its envelope.
pub const MAX_BODY: usize = rumormill::proto::limits::MAX_PAYLOAD * 6 + 16 * 1024;
/// Longest answer that a client reads into memory, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// Longest single item of a stream that a client takes, in bytes.
pub const MAX_STREAM_ITEM: usize = 8 * 1024 * 1024;
/// Connections served at once; further ones wait.
pub const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may take to send the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How often a silent stream sends a keep-alive comment.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long open requests may take when the server stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// How long a client waits for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a client waits for an answer. A stopped process accepts and never answers.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Items of a page when a request does not say how many.
pub const DEFAULT_PAGE: usize = 50;
/// Most items of a page.
pub const MAX_PAGE: usize = 1_000;
/// Longest control file, in bytes.
pub const MAX_CONTROL_FILE: u64 = 64 * 1024;
/// How long a node may take to report its health.
pub const HEALTH_WAIT: Duration = Duration::from_secs(2);
/// The longest time that an exit may be given.
pub const MAX_EXIT_TIME: Duration = Duration::from_secs(86_400);
/// The longest a request waits for a receipt.
pub const MAX_RECEIPT_WAIT: Duration = Duration::from_secs(60);
