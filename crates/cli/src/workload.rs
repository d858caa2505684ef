//! The messages that a peer publishes by itself: greetings at an even rate, as in the original
//! descriptions.

use std::time::Duration;

use rumormill::Node;
use rumormill_terminal::out;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// The topic of generated messages.
pub(crate) const TOPIC: &str = "hello";

/// The number of messages, the time between two of them, and the time from joining to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
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

/// Publishes as the schedule says, beginning when the node has joined (P5), then ends.
pub(crate) async fn publish(node: Node, schedule: Schedule) {
    if node.joined().await.is_err() {
        return;
    }
    let text = content(node.name().as_str(), 0);
    // The interval of tokio cannot be zero.
    let every = schedule.every.max(Duration::from_millis(1));
    let mut due = interval_at(Instant::now() + schedule.after, every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..schedule.messages {
        due.tick().await;
        if let Err(e) = node.publish(TOPIC, &text).await {
            out::say(format!("rumor: no further messages are published: {e}"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rumormill::proto::{Event, SeedAddress};
    use rumormill::{EventItem, Listener, SeedNode};

    use super::*;

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    fn loopback() -> Listener {
        Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn first_message_is_published_after_the_peer_has_joined() {
        let late = loopback();
        let seed = SeedAddress { host_port: late.local_addr().to_string(), pin: None };
        let peer = Node::builder().listener(loopback()).seeds(vec![seed.clone()]);
        let (mut events, mut messages) = (peer.events(), peer.subscribe());
        let peer = peer.start().await.unwrap();
        let schedule = Schedule { messages: 1, every: TEST_TIMEOUT, after: Duration::ZERO };
        let all = tokio::spawn(publish(peer.clone(), schedule));
        let seed = SeedNode::builder().listener(late).seeds(vec![seed]).own_index(Some(0));
        let seed = seed.start().await.unwrap();
        let first = tokio::time::timeout(TEST_TIMEOUT, messages.recv()).await;
        assert!(matches!(first, Ok(Some(_))), "{first:?}");
        let joined = |e: &EventItem| matches!(e, EventItem::Event(s) if matches!(s.event, Event::Joined { .. }));
        assert!(
            std::iter::from_fn(|| events.try_recv()).any(|e| joined(&e)),
            "the message came before the peer had joined"
        );
        all.await.unwrap();
        peer.kill();
        seed.kill();
    }

    #[test]
    fn content_is_filled_up_to_the_given_length() {
        assert_eq!(content("a", 0), "Hello from a");
        for bytes in [13, 14, 100] {
            assert_eq!(content("a", bytes).len(), bytes);
        }
    }
}
