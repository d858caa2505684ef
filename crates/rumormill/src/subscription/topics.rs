//! Topic patterns.

use std::fmt;
use std::str::FromStr;

use rumormill_proto::limits::MAX_TOPIC;

/// A topic, or all topics with a common prefix.
///
/// `orders` is that topic alone; `orders.*` is every topic that begins with `orders.`; `*` is
/// every topic.
///
/// ```
/// use rumormill::TopicPattern;
///
/// let pattern: TopicPattern = "orders.*".parse()?;
/// assert!(pattern.matches("orders.new") && pattern.matches("orders.new.large"));
/// assert!(!pattern.matches("orders") && !pattern.matches("ordersx"));
/// assert!("orders.*.large".parse::<TopicPattern>().is_err());
/// # Ok::<(), rumormill::TopicPatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(PatternKind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternKind {
    All,
    Exact(Box<str>),
    /// With the dot at its end.
    Prefix(Box<str>),
}

/// A text that is not a [`TopicPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicPatternError {
    /// A star at a position where none is allowed.
    #[error(
        "{0:?} is not a topic pattern: a star is allowed alone, or at the end after a dot \
         (\"*\", \"orders.*\")"
    )]
    Star(String),
    /// Longer than any topic.
    #[error("a topic pattern of {0} bytes is too long: a topic has at most {MAX_TOPIC}")]
    TooLong(usize),
}

impl TopicPattern {
    /// Whether a topic matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match &self.0 {
            PatternKind::All => true,
            PatternKind::Exact(exact) => **exact == *topic,
            PatternKind::Prefix(prefix) => topic.starts_with(&**prefix),
        }
    }

    /// Whether every topic matches.
    pub(super) fn is_all(&self) -> bool {
        self.0 == PatternKind::All
    }
}

impl FromStr for TopicPattern {
    type Err = TopicPatternError;

    fn from_str(s: &str) -> Result<Self, TopicPatternError> {
        if s == "*" {
            return Ok(TopicPattern(PatternKind::All));
        }
        let (text, prefix) = match s.strip_suffix('*') {
            Some(text) => (text, true),
            None => (s, false),
        };
        if text.len() > MAX_TOPIC {
            return Err(TopicPatternError::TooLong(text.len()));
        }
        if text.contains('*') || (prefix && !text.ends_with('.')) {
            return Err(TopicPatternError::Star(s.to_owned()));
        }
        Ok(TopicPattern(if prefix {
            PatternKind::Prefix(text.into())
        } else {
            PatternKind::Exact(text.into())
        }))
    }
}

impl TryFrom<&str> for TopicPattern {
    type Error = TopicPatternError;

    fn try_from(s: &str) -> Result<Self, TopicPatternError> {
        s.parse()
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PatternKind::All => f.write_str("*"),
            PatternKind::Exact(exact) => f.write_str(exact),
            PatternKind::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_accepted_only_alone_or_after_a_final_dot() {
        for good in ["*", "", "a", "a.b", "a.*", "a.b.*", ".*"] {
            assert_eq!(good.parse::<TopicPattern>().unwrap().to_string(), good);
        }
        for bad in ["a*", "*a", "a.*.b", "**", "a.**", "*.a"] {
            let e = bad.parse::<TopicPattern>().unwrap_err();
            assert!(matches!(&e, TopicPatternError::Star(s) if s == bad), "{e}");
        }
        let long = "x".repeat(MAX_TOPIC + 1);
        assert!(matches!(long.parse::<TopicPattern>(), Err(TopicPatternError::TooLong(_))));
    }
}
