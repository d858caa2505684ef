//! Batches signed by a publisher of the test.

use rumormill_proto::{
    Batch, Config, Delivery, Identity, Input, Name, Output, Peer, PeerSetup, Time, WallTime,
};

/// A peer without links.
pub(super) struct Publisher(Peer);

impl Publisher {
    pub(super) fn new(identity: &Identity) -> Self {
        let setup = PeerSetup {
            config: Config::lan().build().unwrap().into(),
            identity: identity.clone(),
            name: Name::new("publisher").unwrap(),
            addresses: vec![],
            seeds: [].into(),
            incarnation: 1,
            anchors: vec![],
            retained: vec![],
            delivered_marks: vec![],
            closed_up_to: vec![],
            rng_seed: [7; 32],
        };
        Publisher(Peer::new(setup, Time::ZERO))
    }

    /// Sets the publisher's wall_clock clock.
    pub(super) fn at(&mut self, wall_clock: WallTime) {
        self.0.handle(Time::ZERO, Input::WallClock(wall_clock));
    }

    /// The next messages, in one batch.
    pub(super) fn batch(&mut self, topic: &str, payloads: &[&[u8]]) -> Batch {
        for payload in payloads {
            self.0.publish(Time::ZERO, topic, payload).unwrap();
        }
        self.delivered().remove(0).batch
    }

    /// One message for each topic, as the delivery of one batch.
    pub(super) fn topics(&mut self, topics: &[&str]) -> Delivery {
        for topic in topics {
            self.0.publish(Time::ZERO, topic, topic.as_bytes()).unwrap();
        }
        self.delivered().remove(0)
    }

    fn delivered(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.0.poll_output())
            .filter_map(|output| match output {
                Output::Deliver(delivery) => Some(delivery),
                _ => None,
            })
            .collect()
    }
}
