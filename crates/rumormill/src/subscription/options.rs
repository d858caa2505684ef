//! What a subscription begins with and which messages it is for.

use std::time::{SystemTime, UNIX_EPOCH};

use rumormill_proto::{MessageId, WallTime};

use super::topics::{TopicPattern, TopicPatternError};

/// Patterns of one subscription, at most.
const MAX_PATTERNS: usize = 64;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on. What was published before the subscription began is left
    /// out, also where it comes to the node only later: what neighbours kept for a node that has just
    /// started, or that was cut off or stopped for a while. A program that must not miss that begins
    /// with [`Earliest`](Start::Earliest) or is the node's [`Consumer`](crate::Consumer).
    ///
    /// When a message was published is judged by for how long this node, and the neighbours that passed
    /// it on, have known it; wall clocks are not compared, but where a neighbour was itself restarted
    /// with its data directory and the message is from before that. Time in queues is not counted: a
    /// message that was published so long before the subscription as it waited on its way may come.
    /// Gaps are told whatever they are of.
    #[default]
    Now,
    /// With everything that the node still holds, also from before it was restarted.
    Earliest,
    /// With everything that this process of the node has delivered, and still holds: what an earlier process
    /// delivered is left out, what was published meanwhile is not. Without a data directory, the
    /// same as [`Earliest`](Start::Earliest).
    Undelivered,
    /// With what the node holds and was published at this time or later, by its publisher's clock.
    /// Whatever is delivered from now on comes too, whatever its publisher's clock says.
    Time(WallTime),
    /// With what the node delivered after this message: to go on where one stopped. Of the
    /// message's own publisher exactly the numbers behind it come, or a gap that names them. If the
    /// node does not hold the message (any more), everything that it holds of other publishers
    /// comes too.
    After(MessageId),
}

/// Collects what a subscription is to be. The default is every topic, from now on.
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

/// A subscription that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Not a topic or pattern.
    #[error(transparent)]
    Topic(#[from] TopicPatternError),
    /// Too many of them.
    #[error("a subscription takes at most {MAX_PATTERNS} topics or patterns")]
    TooManyTopics,
}

impl SubscribeOptions {
    /// Every topic; what is published from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin.
    #[must_use]
    pub const fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Begins with what was published at this time or later; see [`Start::Time`].
    #[must_use]
    pub fn since(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.start(Start::Time(WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))))
    }

    /// Adds a topic (`orders`) or a pattern (`orders.*`); with several, any of them will do. None
    /// at all, or `*`, means every topic.
    ///
    /// # Errors
    /// It is not a topic or pattern, or there are 64 already.
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
    /// As [`topic`](SubscribeOptions::topic), for the first that will not do.
    pub fn topics<'a>(
        self,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, SubscribeError> {
        patterns.into_iter().try_fold(self, SubscribeOptions::topic)
    }

    /// The patterns that leave something out; none if every topic is meant.
    pub(super) fn into_filter(self) -> Box<[TopicPattern]> {
        if self.topics.iter().any(TopicPattern::is_all) {
            return Box::default();
        }
        self.topics.into_boxed_slice()
    }
}
