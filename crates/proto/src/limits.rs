//! Bounds on the state and work that other nodes can cause: those of the wire, and those that
//! several concerns share. Other bounds stand beside the state that they bound.
//!
//! All state that is keyed by a value from a remote has a limit. Reaching one is never silent: it
//! is counted and, where a user can act on it, reported as an event.

use core::time::Duration;

/// Longest frame body on an established link, in bytes. A length prefix above it closes the link
/// before anything is allocated.
pub const MAX_FRAME: usize = 1024 * 1024 + 64 * 1024;
/// Longest frame body before the remote has said [`Hello`](crate::wire::Hello), in bytes.
pub const MAX_HELLO: usize = 1024;
/// Longest payload of one message, in bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// Bytes of messages in one batch, unless it holds one long message.
pub const MAX_BATCH: usize = 64 * 1024;
/// Bytes of a batch above which it holds one long message, and is not sent over all links to find
/// the shortest paths.
pub const LARGE_BATCH: usize = MAX_BATCH + 4 * 1024;
/// Messages in one batch.
pub const MAX_BATCH_MESSAGES: usize = 4096;
/// Most batches under one signature: as many as the largest window of a publisher holds. A power of
/// two.
pub const MAX_GROUP: usize = 64;
/// How long published messages wait at most while earlier batches of the same peer wait to be
/// written.
pub const MAX_BATCH_DELAY: Duration = Duration::from_millis(20);
/// Longest topic, in bytes of UTF-8.
pub const MAX_TOPIC: usize = 128;
/// Longest name, in bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// Longest `HOST:PORT` of a seed, in bytes (a DNS name is at most 253).
pub const MAX_HOST_PORT: usize = 264;
/// Most addresses in one record.
pub const MAX_ADDRESSES: usize = 4;
/// Most seeds in one network.
pub const MAX_SEEDS: usize = 64;
/// Highest target degree that a peer may announce.
pub const MAX_TARGET: u16 = 1024;
/// Most neighbours that a node accepts whatever its target (the target, one above it, edge
/// transfers in progress).
pub const MAX_NEIGHBOURS: usize = MAX_TARGET as usize + 64;
/// Most links a peer keeps, of all kinds.
pub const MAX_PEER_LINKS: usize = MAX_NEIGHBOURS + 512;
/// Most links a seed keeps.
pub const MAX_SEED_LINKS: usize = 131_072;
/// Links of a seed above which it closes the link of a registered peer: the peer dials again when
/// it has something to report. So a network can have more peers than a seed has links.
pub const PARKING_THRESHOLD: usize = 65_536;
/// Most inbound links from one IP address (a loopback address is not limited: many nodes of one
/// test live there).
pub const MAX_LINKS_PER_ADDRESS: usize = 256;
/// How long an inbound connection may take for TLS and Hello together.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections that may be between accept and Hello at once.
pub const MAX_HANDSHAKES: usize = 512;
/// Silence of a link to or between seeds, in ping intervals, after which it is closed.
pub const MAX_SILENT_INTERVALS: u32 = 3;
/// Number of buckets in which two registries are compared, each with its hash in a digest: by the
/// first byte of the id.
pub const REGISTRY_BUCKETS: usize = 256;
/// How long a link may stay without a purpose (no registration, no neighbour request).
pub const IDLE_LINK_TIMEOUT: Duration = Duration::from_secs(20);

/// Most members that a peer remembers.
pub const MAX_MEMBERS: usize = 16_384;
/// Members that a peer remembers in a network larger than [`FULL_LIST_LIMIT`] while it looks for
/// few neighbours. While it looks for many, at most [`MAX_SEARCH_MEMBERS`]. A list from a seed has
/// more, half of them with free slots.
pub const MIN_SEARCH_MEMBERS: usize = 64;
/// See [`MIN_SEARCH_MEMBERS`].
pub const MAX_SEARCH_MEMBERS: usize = 8 * LIST_SAMPLE;
/// Members that it remembers there while it has enough neighbours: for edge swaps, and for the time
/// after a neighbour is gone. Seeds send other members on request.
pub const IDLE_MEMBERS: usize = 16;
/// Networks with up to this many peers get the whole list from a seed; larger ones a sample.
pub const FULL_LIST_LIMIT: usize = 1024;
/// Records in the sample that a seed sends in a larger network.
pub const LIST_SAMPLE: usize = 64;
/// Most records, certificates or entries in one frame.
pub const MAX_RECORDS_PER_FRAME: usize = 512;
/// Registrants that are sent one join in a network larger than [`FULL_LIST_LIMIT`].
pub const JOIN_SAMPLE: usize = 64;
/// In networks up to this size every leave and death is sent to all registrants; in larger ones to
/// as many as a join, and to the reporters.
pub const FULL_PUSH_LIMIT: usize = 16_384;
/// Most peers in one registry.
pub const MAX_REGISTRY: usize = 2_000_000;
/// Death certificates that a peer remembers, to answer a late accusation.
pub const MAX_CERTIFICATES: usize = 4_096;

/// Ids in one [`Neighbourhood`](crate::wire::Neighbourhood).
pub const MAX_NEIGHBOURHOOD: usize = 256;
/// Neighbour ids named in one request for a neighbour.
pub const MAX_REQUEST_NEIGHBOURS: usize = 128;
/// Outstanding permissions to take over an edge.
pub const MAX_PERMITS: usize = 128;
/// Helpers asked by one observer about one suspect, and questions recorded for one subject.
pub const MAX_INDIRECT_PROBES: usize = 32;

/// Streams that the message list follows, of all publishers together.
pub const MAX_STREAMS: usize = 65_536;
/// The newest streams of a publisher that the message list remembers after all of them were
/// delivered and none is retained any more. Older ones are remembered as one mark: "closed up to
/// this epoch".
pub const REMEMBERED_EPOCHS: usize = 16;
/// Gaps remembered per publisher; one more gives up the oldest, with an event.
pub const MAX_GAPS: usize = 256;
/// Publishers in one [`Summary`](crate::wire::Summary).
pub const MAX_SUMMARY_STREAMS: usize = 8_192;
/// Ranges asked for in one pull.
pub const MAX_PULL_RANGES: usize = 1_024;
/// Bytes of batches sent for one pull; the neighbour pulls again for more.
pub const MAX_PULL_BYTES: usize = 1024 * 1024;
/// Batches sent for one pull, or to a new child on a tree: the cost of small batches is their
/// number.
pub const MAX_PULL_BATCHES: u32 = 512;
/// Bytes per second of messages that one neighbour is served by id, and the most at once; fetching
/// is for single messages.
pub const DATA_RATE: usize = 16 * 1024 * 1024;
/// Requests per second that one link may make, all kinds together.
pub const REQUEST_RATE: u32 = 1_000;
/// Requests that it may make at once.
pub const REQUEST_BURST: u32 = 2_000;
/// Bytes per second with which the pulls of one link are answered.
pub const ANSWER_RATE: u64 = 64 * 1024 * 1024;
/// Bytes that the answers may have at once: this many, or twice the retention.
pub const ANSWER_BURST: u64 = 64 * 1024 * 1024;
/// Streams in one [`Confirm`](crate::wire::Confirm), and streams that a peer vouches for.
pub const MAX_CONFIRM_STREAMS: usize = 256;
/// Streams with missing ranges that are pulled at a time; others wait for the next comparison.
pub const MAX_MISSING_STREAMS: usize = 4_096;
/// Sources remembered for one stream.
pub const MAX_SOURCES: usize = 8;
/// Publishers whose trees a peer knows its position in; the least recently used are evicted, and
/// flooded again.
pub const MAX_TREES: usize = 4_096;
/// Publishers named in one [`Graft`](crate::wire::Graft) or [`Prune`](crate::wire::Prune).
pub const MAX_GRAFT_PUBLISHERS: usize = 256;
/// Streams whose progress is acknowledged; beyond it the least recently used is evicted.
pub const MAX_ACK_STREAMS: usize = 1_024;
/// Publishers whose census asks for the names of holders, at one relay; beyond it the oldest is
/// evicted.
pub const MAX_NAME_ROUNDS: usize = 32;
/// Receipts that a publisher waits for at a time.
pub const MAX_RECEIPTS: usize = 4_096;
/// Requests for a message (`get`) at a time.
pub const MAX_FETCHES: usize = 256;

/// Death cases that a seed works on at a time.
pub const MAX_CASES: usize = 4_096;
/// Reports kept for one case.
pub const MAX_REPORTS: usize = 32;
/// Updates that wait for the next push; beyond it the bucket comparison transfers them.
pub const MAX_PENDING_UPDATES: usize = 16_384;

/// Bytes in a link's queue of probes and their answers ([`link_queue`](crate::link_queue) has the
/// rule of these queues): hundreds of probes, far more than a link sends before the remote is
/// suspected. More drops the oldest.
pub const QUEUE_LIVENESS: usize = 64 * 1024;
/// Bytes in a link's control queue: the largest list of a seed, with space for the changes that
/// follow it. More closes the link.
pub const QUEUE_CONTROL: usize = 4 * 1024 * 1024;
/// Bytes in a link's announcement queue: thousands of short hints, and newer ones supersede older
/// ones. More drops the oldest.
pub const QUEUE_ANNOUNCE: usize = 256 * 1024;
/// Bytes in a link's payload queue: half of the default retention, so that a neighbour that fell
/// behind this far can still pull what did not fit. A frame that does not fit is skipped and pulled
/// later.
pub const QUEUE_PAYLOAD: usize = 8 * 1024 * 1024;
/// Bytes in a link's history queue: one answer, and the next one, which is requested when the first
/// ends, each with its overhead. A frame that does not fit is skipped and requested again.
pub const QUEUE_HISTORY: usize = 4 * MAX_PULL_BYTES;
/// Signatures remembered as already checked, per node.
pub const VERIFIED_CACHE: usize = 8_192;
/// Public keys kept prepared for checks, per node.
pub const VERIFIED_KEYS: usize = 1_024;
/// Public keys with a table that makes checks faster, per node: 215 KiB each, 3.4 MiB in all. The
/// keys of further signers are checked without one.
pub const KEY_TABLES: usize = 16;
