//! The keys by which paged lists are sorted.

use core::fmt::{self, Display};
use core::str::FromStr;

use rumormill::proto::snapshot::PublisherView;
use rumormill::proto::{MessageId, PeerId, StreamId};

/// The position of an item in its list.
pub(crate) trait Key: FromStr + Ord + Display {
    /// A regular expression of its text.
    const PATTERN: &'static str;
}

/// Nodes are sorted by number, in the order in which they were started.
impl Key for u64 {
    const PATTERN: &'static str = "^[0-9]{1,19}$";
}

/// The position of a node in a list by id: the whole id. ([`PeerId`] itself is displayed short.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdKey(pub(crate) PeerId);

impl Display for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for IdKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(IdKey).map_err(drop)
    }
}

impl Key for IdKey {
    const PATTERN: &'static str = "^[0-9a-f]{64}$";
}

/// The position of a [`PublisherLine`](crate::view::PublisherLine) in its list: `PUBLISHER/EPOCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublisherKey(StreamId);

impl PublisherKey {
    pub(crate) const fn of(v: &PublisherView) -> Self {
        PublisherKey(StreamId { publisher: v.publisher, epoch: v.epoch })
    }
}

impl Display for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.publisher.to_hex(), self.0.epoch)
    }
}

impl FromStr for PublisherKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (publisher, epoch) = text.split_once('/').ok_or(())?;
        let publisher = publisher.parse().map_err(drop)?;
        Ok(PublisherKey(StreamId { publisher, epoch: epoch.parse().map_err(drop)? }))
    }
}

impl Key for PublisherKey {
    const PATTERN: &'static str = "^[0-9a-f]{64}/[0-9]{1,19}$";
}

impl Key for MessageId {
    const PATTERN: &'static str = "^[0-9a-f]{64}/[0-9]{1,19}/[0-9]{1,19}$";
}
