//! Publishing greetings at an even rate: the traffic of the original descriptions.

use std::time::Duration;

use rumormill::Node;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::out;

/// The topic of generated messages.
pub(crate) const TOPIC: &str = "hello";

/// How many, how often, from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rhythm {
    pub(crate) messages: u64,
    pub(crate) every: Duration,
    pub(crate) after: Duration,
}

/// The content of a generated message, filled up to `bytes` if it is shorter.
pub(crate) fn content(name: &str, bytes: usize) -> String {
    let mut text = format!("Hello from {name}");
    if text.len() < bytes {
        text.push(' ');
        text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len())));
    }
    text
}

/// Publishes as the rhythm says, then ends.
pub(crate) async fn publish(node: Node, rhythm: Rhythm) {
    let text = content(node.name().as_str(), 0);
    // A period of zero would not be a period.
    let every = rhythm.every.max(Duration::from_millis(1));
    let mut due = interval_at(Instant::now() + rhythm.after, every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..rhythm.messages {
        due.tick().await;
        if let Err(e) = node.publish(TOPIC, &text).await {
            out::say(format!("rumor: no further messages are published: {e}"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_the_length_asked_for() {
        assert_eq!(content("a", 0), "Hello from a");
        for bytes in [13, 14, 100] {
            assert_eq!(content("a", bytes).len(), bytes);
        }
    }
}
