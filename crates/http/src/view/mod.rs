//! What the control API says, as JSON. Reader and writer share these types.
//!
//! Ids are hexadecimal text, delays are milliseconds (`_ms`), ages are seconds (`_s`), points in
//! time are Unix microseconds (`_us`). Fields may be added; readers ignore what they do not know.

mod from;
mod lines;
mod publish;

pub(crate) use from::{NodeContext, word};
pub use lines::{
    Content, DepartedLine, EventLine, FullMessage, GapLine, Lagged, MemberLine, MessageLine,
    MissingLine, NeighbourLine, NodeLine, PeerStatus, Published, PublisherLine, ReceiptLine,
    SeedLine, SeedStatus, Status,
};
pub use publish::Publish;
