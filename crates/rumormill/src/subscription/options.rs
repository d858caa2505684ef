//! Where a subscription begins, and which messages it selects.

use std::time::{SystemTime, UNIX_EPOCH};

use rumormill_proto::{MessageId, WallTime};

use super::topics::{TopicPattern, TopicPatternError};

/// The most patterns of one subscription.
const MAX_PATTERNS: usize = 64;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// With messages that are published from now on. Messages published before the subscription
    /// began are left out, even if they reach the node only later: those that neighbours retained
    /// for a node that has just started, or that was partitioned or paused for a while. A program
    /// that must not miss those begins with [`Earliest`](Start::Earliest) or is the node's
    /// [`Consumer`](crate::Consumer).
    ///
    /// The age of a message is judged by how long this node, and the neighbours that forwarded it,
    /// have known it. Wall clocks are not compared, except where a neighbour was itself restarted
    /// with its data directory and the message is from before that restart. Time in queues is not
    /// counted: a message published shortly before the subscription, by no more than its time in
    /// queues, may be included. Gaps are reported whatever their age.
    #[default]
    Now,
    /// With everything that the node still retains, also from before its restart.
    Earliest,
    /// With everything that this process of the node has delivered and still retains: deliveries of
    /// an earlier process are left out, messages published between the two processes are not.
    /// Without a data directory, the same as [`Earliest`](Start::Earliest).
    Undelivered,
    /// With the retained messages that were published at this time or later, by their publisher's
    /// clock. Messages delivered from now on are included, whatever their publisher's clock says.
    Time(WallTime),
    /// With everything that the node delivered after this message: continues where an earlier
    /// subscription stopped. Of the message's publisher, exactly the numbers after it follow, or a
    /// gap that names them. If the node does not retain the message, everything that it retains of
    /// other publishers is included.
    After(MessageId),
}

/// Collects the options of a subscription. The default is every topic, from now on.
///
/// ```
/// use rumormill::{Start, SubscribeOptions};
/// let options = SubscribeOptions::new().start(Start::Earliest).topic("orders.*")?.topic("news")?;
/// # Ok::<(), rumormill::SubscribeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SubscribeOptions {
    pub(super) start: Start,
    pub(super) topics: Vec<TopicPattern>,
}

/// Why a subscription is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The text is not a topic or pattern.
    #[error(transparent)]
    Topic(#[from] TopicPatternError),
    /// Too many topics or patterns.
    #[error("a subscription takes at most {MAX_PATTERNS} topics or patterns")]
    TooManyTopics,
}

impl SubscribeOptions {
    /// Every topic; messages published from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where the subscription begins.
    #[must_use]
    pub const fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Begins with messages published at this time or later; see [`Start::Time`].
    #[must_use]
    pub fn since(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.start(Start::Time(WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))))
    }

    /// Adds a topic (`orders`) or a pattern (`orders.*`); a message has to match any of them. With
    /// none, or with `*`, every topic matches.
    ///
    /// # Errors
    /// The text is not a topic or pattern, or there are 64 already.
    pub fn topic(mut self, pattern: &str) -> Result<Self, SubscribeError> {
        if self.topics.len() >= MAX_PATTERNS {
            return Err(SubscribeError::TooManyTopics);
        }
        self.topics.push(pattern.parse()?);
        Ok(self)
    }

    /// Adds several; see [`topic`](SubscribeOptions::topic).
    ///
    /// # Errors
    /// As [`topic`](SubscribeOptions::topic), for the first invalid one.
    pub fn topics<'a>(
        self,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, SubscribeError> {
        patterns.into_iter().try_fold(self, SubscribeOptions::topic)
    }

    /// The patterns to filter by; empty if every topic matches.
    pub(super) fn into_filter(self) -> Box<[TopicPattern]> {
        if self.topics.iter().any(TopicPattern::is_all) {
            return Box::default();
        }
        self.topics.into_boxed_slice()
    }
}
