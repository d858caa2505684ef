//! The plan of a measurement, with its options checked.

use std::time::Duration;

use clap::ValueEnum;
use rumormill_terminal::exit::{Exit, Failure, Outcome};

use super::stamp::STAMP_BYTES;

/// Default number of messages in flight, all publishers together.
const DEFAULT_IN_FLIGHT: u64 = 32_768;
/// Default bytes of payload in flight, all publishers together.
const DEFAULT_BYTES_IN_FLIGHT: u64 = 8 * 1024 * 1024;

/// How fast publishers publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As fast as possible, with this many messages of each publisher in flight.
    Window(u64),
    /// This many messages a second, all publishers together, whether or not earlier ones have
    /// arrived.
    Rate(f64),
}

/// When publishing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// After this many messages, all publishers together.
    Messages(u64),
    /// After this time.
    Time(Duration),
}

/// The ceiling with which the network is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CeilingKind {
    /// A relay tree over the TLS of the links
    Tls,
    /// A relay tree over plain TCP
    Tcp,
    /// Nothing
    None,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) seeds: usize,
    pub(crate) publishers: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    pub(crate) pace: Pace,
    pub(crate) length: Length,
    pub(crate) warmup: Duration,
    pub(crate) settle: Duration,
    /// Nothing is published.
    pub(crate) idle: bool,
    pub(crate) ceiling: CeilingKind,
}

/// The options of a measurement, from which a [`Plan`] is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    pub(crate) nodes: usize,
    pub(crate) seeds: usize,
    pub(crate) publishers: Option<usize>,
    pub(crate) payload: usize,
    pub(crate) messages: Option<u64>,
    pub(crate) time: Duration,
    pub(crate) rate: Option<f64>,
    pub(crate) window: Option<u64>,
    pub(crate) warmup: Duration,
    pub(crate) settle: Duration,
    pub(crate) idle: bool,
    pub(crate) ceiling: CeilingKind,
}

impl Plan {
    /// Completes the options, or reports what is wrong with them.
    pub(crate) fn new(options: &Options) -> Outcome<Plan> {
        let wrong = |what: String| Err(Failure::new(Exit::Usage, what));
        let Options { nodes, payload, .. } = *options;
        let publishers = options.publishers.unwrap_or(4.min(nodes));
        if publishers > nodes {
            return wrong(format!("{publishers} publishers are more than the {nodes} nodes"));
        }
        if payload < STAMP_BYTES {
            return wrong(format!(
                "a payload of {payload} B is too short: it carries {STAMP_BYTES} B by which a delivery \
                 is checked and timed"
            ));
        }
        if options.time.is_zero() && options.messages.is_none() {
            return wrong("nothing can be measured in no time: give --for a time".to_owned());
        }
        if options.messages.is_some_and(|m| m < publishers as u64) {
            return wrong(format!(
                "each of the {publishers} publishers needs a message to publish"
            ));
        }
        let pace = match options.rate {
            Some(rate) => Pace::Rate(rate),
            None => {
                let window = options.window.unwrap_or_else(|| default_window(payload, publishers));
                Pace::Window(window)
            }
        };
        Ok(Plan {
            nodes,
            seeds: options.seeds,
            publishers,
            payload,
            pace,
            length: options.messages.map_or(Length::Time(options.time), Length::Messages),
            warmup: options.warmup,
            settle: options.settle,
            idle: options.idle,
            ceiling: if options.idle { CeilingKind::None } else { options.ceiling },
        })
    }

    /// The node of a publisher. Publishers are spread evenly over the nodes.
    pub(crate) fn node_of(&self, publisher: usize) -> usize {
        publisher * self.nodes / self.publishers
    }

    /// The deliveries of a number of messages: one at each node except the publisher's.
    pub(crate) const fn deliveries(&self, messages: u64) -> u64 {
        messages * (self.nodes as u64).saturating_sub(1)
    }

    /// The plan of the warm-up.
    pub(crate) fn warming_up(&self) -> Plan {
        Plan { length: Length::Time(self.warmup), ..self.clone() }
    }

    /// One of this many messages is tracked to its last delivery: all at a set rate, where delays
    /// are measured, and a sample otherwise, because tracking would slow the measured throughput.
    pub(crate) const fn one_in(&self) -> u64 {
        match self.pace {
            Pace::Rate(_) => 1,
            Pace::Window(_) => 16,
        }
    }

    /// The number of messages; `None` if time limits the run.
    pub(crate) const fn messages(&self) -> Option<u64> {
        match self.length {
            Length::Messages(messages) => Some(messages),
            Length::Time(_) => None,
        }
    }

    /// How long to publish; zero if a number of messages limits the run.
    pub(crate) const fn time(&self) -> Duration {
        match self.length {
            Length::Messages(_) => Duration::ZERO,
            Length::Time(time) => time,
        }
    }

    /// The number of messages of one publisher; `None` if time limits the run.
    pub(crate) fn share(&self, publisher: usize) -> Option<u64> {
        let all = self.messages()?;
        let publishers = self.publishers as u64;
        Some(all / publishers + u64::from((publisher as u64) < all % publishers))
    }
}

/// The default window of each publisher.
fn default_window(payload: usize, publishers: usize) -> u64 {
    let all = DEFAULT_IN_FLIGHT.min(DEFAULT_BYTES_IN_FLIGHT / payload.max(1) as u64);
    (all / publishers.max(1) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            nodes: 16,
            seeds: 1,
            publishers: None,
            payload: 256,
            messages: None,
            time: Duration::from_secs(5),
            rate: None,
            window: None,
            warmup: Duration::ZERO,
            settle: Duration::ZERO,
            idle: false,
            ceiling: CeilingKind::Tls,
        }
    }

    fn refused(options: Options) -> String {
        let failure = Plan::new(&options).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.error.unwrap().to_string()
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert!(refused(Options { publishers: Some(17), ..options() }).contains("17 publishers"));
        assert!(refused(Options { payload: 8, ..options() }).contains("24 B"));
        assert!(refused(Options { time: Duration::ZERO, ..options() }).contains("--for"));
        assert!(refused(Options { messages: Some(3), ..options() }).contains("each of the 4"));
    }

    #[test]
    fn windows_are_bounded_in_messages_and_in_bytes() {
        let window = |w: Options| Plan::new(&w).unwrap().pace;
        assert_eq!(window(options()), Pace::Window(8192));
        assert_eq!(window(Options { payload: 65_536, ..options() }), Pace::Window(32));
        assert_eq!(
            window(Options { payload: 1 << 20, nodes: 300, publishers: Some(300), ..options() }),
            Pace::Window(1)
        );
        assert_eq!(window(Options { window: Some(7), ..options() }), Pace::Window(7));
    }

    #[test]
    fn publishers_are_spread_and_share_the_messages() {
        let plan = Plan::new(&Options { messages: Some(10), ..options() }).unwrap();
        let homes: Vec<usize> = (0..4).map(|p| plan.node_of(p)).collect();
        assert_eq!(homes, [0, 4, 8, 12]);
        let shares: Vec<u64> = (0..4).filter_map(|p| plan.share(p)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
        let few = Plan::new(&Options { nodes: 3, ..options() }).unwrap();
        assert_eq!((few.publishers, few.share(0)), (3, None));
    }

    #[test]
    fn idle_network_has_no_ceiling() {
        assert_eq!(
            Plan::new(&Options { idle: true, ..options() }).unwrap().ceiling,
            CeilingKind::None
        );
    }
}
