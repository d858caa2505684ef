//! The spread of messages: the share of nodes reached over time, the number of hops, and the cost.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::percentile::{percentile, rank};

/// The shares of the nodes for which times are reported by default.
pub const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

/// The first copy of a message at one node, and the later copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Time since publication, in microseconds.
    pub micros: u64,
    /// Links that the copy crossed; 1 if it came directly from the publisher.
    pub hops: u32,
    /// The length of the shortest path from the publisher to this node; `None` if unknown.
    #[serde(default)]
    pub fewest: Option<u32>,
    /// Later copies of the message at the same node.
    pub duplicates: u32,
    /// Bytes of all copies that this node received.
    pub bytes: u64,
}

/// One message and its arrivals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The number of nodes that should receive it. The publisher is one of them only if it has an
    /// arrival too.
    pub expected: usize,
    /// One arrival for each node that received it, in any order.
    pub arrivals: Vec<Arrival>,
}

/// Why arrivals cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropagationError {
    /// There are no messages.
    #[error("no messages")]
    NoMessages,
    /// No node should have received this message.
    #[error("message {message} has no expected recipient")]
    NoRecipient {
        /// The index of the message, from 0.
        message: usize,
    },
    /// More nodes received a message than expected.
    #[error("message {message} arrived at {arrivals} nodes, {expected} were expected")]
    TooManyArrivals {
        /// The index of the message, from 0.
        message: usize,
        /// How many nodes received it.
        arrivals: usize,
        /// How many nodes were expected to.
        expected: usize,
    },
}

/// How long it took until a share of the nodes had a message: percentiles over the messages, by
/// nearest rank, in microseconds.
///
/// A message that never reached the share counts as infinitely late, so a percentile is `None`
/// where it falls on such a message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReachTime {
    /// The share of the nodes, of which ⌈share · expected⌉ must have it.
    pub share: f64,
    /// How many messages reached the share.
    pub messages: usize,
    /// Half of the messages were not slower.
    pub median: Option<u64>,
    /// Nine of ten were not slower.
    pub p90: Option<u64>,
    /// 99 of a hundred were not slower.
    pub p99: Option<u64>,
}

/// A point of the curve of shares over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReachPoint {
    /// Time since publishing, in microseconds.
    pub micros: u64,
    /// Share of the nodes that have a message by then: mean over the messages.
    pub mean: f64,
    /// The same for the message with the smallest share.
    pub least: f64,
}

/// How a set of messages spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Propagation {
    /// Number of messages.
    pub messages: usize,
    /// The number of expected deliveries.
    pub expected: u64,
    /// The number of actual deliveries.
    pub deliveries: u64,
    /// How many messages reached every expected node.
    pub complete: usize,
    /// Times until shares were reached, in the order of the request.
    pub times: Vec<ReachTime>,
    /// Shares over time, evenly spaced from 0 to the last arrival.
    pub curve: Vec<ReachPoint>,
    /// How many deliveries took how many hops.
    pub hops: Histogram,
    /// The largest number of hops of a delivery; 0 without deliveries.
    pub last_hop: u32,
    /// Links crossed by deliveries, relative to the shortest paths; `None` if no shortest path is
    /// known.
    #[serde(default)]
    pub stretch: Option<f64>,
    /// Duplicate copies.
    pub duplicates: u64,
    /// Duplicate copies per delivery; 0 without deliveries.
    pub duplicates_per_delivery: f64,
    /// Bytes received.
    pub bytes: u64,
    /// Bytes received per delivery; 0 without deliveries.
    pub bytes_per_delivery: f64,
}

impl Propagation {
    /// Summarises `messages`, with times for `shares` (see [`SHARES`]; each is clamped to the range
    /// 0 to 1) and `points` points of the curve (at least 2).
    ///
    /// # Errors
    ///
    /// If there are no messages, or one has no expected recipient or arrived at more nodes than
    /// expected.
    pub fn new(
        messages: &[Message],
        shares: &[f64],
        points: usize,
    ) -> Result<Self, PropagationError> {
        check(messages)?;
        let sorted: Vec<(usize, Vec<u64>)> = messages
            .iter()
            .map(|m| {
                let mut times: Vec<u64> = m.arrivals.iter().map(|a| a.micros).collect();
                times.sort_unstable();
                (m.expected, times)
            })
            .collect();
        let all = || messages.iter().flat_map(|m| &m.arrivals);
        let deliveries = all().count() as u64;
        let duplicates = all().map(|a| u64::from(a.duplicates)).sum();
        let bytes = all().fold(0u64, |sum, a| sum.saturating_add(a.bytes));
        let each = |sum: u64| if deliveries > 0 { sum as f64 / deliveries as f64 } else { 0.0 };
        Ok(Self {
            messages: messages.len(),
            expected: messages.iter().map(|m| m.expected as u64).sum(),
            deliveries,
            complete: messages.iter().filter(|m| m.arrivals.len() == m.expected).count(),
            times: shares.iter().map(|&share| reach_time(&sorted, share)).collect(),
            curve: curve(&sorted, points.max(2)),
            hops: all().map(|a| u64::from(a.hops)).collect(),
            last_hop: all().map(|a| a.hops).max().unwrap_or(0),
            stretch: stretch(all()),
            duplicates,
            duplicates_per_delivery: each(duplicates),
            bytes,
            bytes_per_delivery: each(bytes),
        })
    }
}

fn stretch<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> Option<f64> {
    let known = arrivals.filter_map(|a| Some((a.hops, a.fewest.filter(|f| *f > 0)?)));
    let (taken, fewest) = known.fold((0u64, 0u64), |(taken, fewest), (hops, least)| {
        (taken + u64::from(hops), fewest + u64::from(least))
    });
    (fewest > 0).then(|| taken as f64 / fewest as f64)
}

fn check(messages: &[Message]) -> Result<(), PropagationError> {
    if messages.is_empty() {
        return Err(PropagationError::NoMessages);
    }
    for (message, m) in messages.iter().enumerate() {
        let (arrivals, expected) = (m.arrivals.len(), m.expected);
        if expected == 0 {
            return Err(PropagationError::NoRecipient { message });
        }
        if arrivals > expected {
            return Err(PropagationError::TooManyArrivals { message, arrivals, expected });
        }
    }
    Ok(())
}

fn reach_time(sorted: &[(usize, Vec<u64>)], share: f64) -> ReachTime {
    let share = share.clamp(0.0, 1.0);
    let time = |(expected, times): &(usize, Vec<u64>)| match rank(share, *expected) {
        0 => Some(0),
        needed => times.get(needed - 1).copied(),
    };
    let reached: Vec<Option<u64>> = sorted.iter().map(time).collect();
    let messages = reached.iter().flatten().count();
    // "Never" is later than every time.
    let mut order = reached;
    order.sort_by_key(|time| time.unwrap_or(u64::MAX));
    let at = |p| percentile(&order, p).flatten();
    ReachTime { share, messages, median: at(50.0), p90: at(90.0), p99: at(99.0) }
}

fn curve(sorted: &[(usize, Vec<u64>)], points: usize) -> Vec<ReachPoint> {
    let last = sorted.iter().filter_map(|(_, times)| times.last()).max().copied().unwrap_or(0);
    let steps = points as u128 - 1;
    let point = |i: u128| {
        let micros = (u128::from(last) * i / steps) as u64;
        let shares = sorted
            .iter()
            .map(|(n, times)| times.partition_point(|&t| t <= micros) as f64 / *n as f64);
        let mean = shares.clone().sum::<f64>() / sorted.len() as f64;
        ReachPoint { micros, mean, least: shares.fold(1.0, f64::min) }
    };
    (0..=steps).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(expected: usize, times: &[u64]) -> Message {
        let arrival =
            |&micros| Arrival { micros, hops: 2, fewest: None, duplicates: 1, bytes: 100 };
        Message { expected, arrivals: times.iter().map(arrival).collect() }
    }

    #[test]
    fn times_shares_and_costs_are_summed_over_messages() {
        let messages = [message(4, &[40, 10, 20, 30]), message(4, &[50, 10, 5])];
        let p = Propagation::new(&messages, &SHARES, 6).unwrap();
        assert_eq!((p.messages, p.expected, p.deliveries, p.complete), (2, 8, 7, 1));
        assert_eq!((p.times[0].median, p.times[0].p99), (Some(10), Some(20)));
        // The second message never reached all nodes.
        let all = p.times[3];
        assert_eq!((all.messages, all.median, all.p90), (1, Some(40), None));
        assert_eq!((p.duplicates, p.bytes, p.last_hop, p.hops.count(2)), (7, 700, 2, 7));
        assert_eq!((p.duplicates_per_delivery, p.bytes_per_delivery), (1.0, 100.0));
        let at: Vec<_> = p.curve.iter().map(|c| (c.micros, c.mean, c.least)).collect();
        assert_eq!(at[0], (0, 0.0, 0.0));
        assert_eq!(at[1], (10, 0.375, 0.25));
        assert_eq!(at[5], (50, 0.875, 0.75));
    }

    #[test]
    fn contradictory_arrivals_are_refused() {
        let new = |m: &[Message]| Propagation::new(m, &SHARES, 2).map(|_| ());
        assert_eq!(new(&[]), Err(PropagationError::NoMessages));
        let no_recipient = PropagationError::NoRecipient { message: 1 };
        assert_eq!(new(&[message(1, &[]), message(0, &[])]), Err(no_recipient));
        assert!(matches!(
            new(&[message(1, &[1, 2])]),
            Err(PropagationError::TooManyArrivals { .. })
        ));
        let lost = Propagation::new(&[message(3, &[])], &SHARES, 0).unwrap();
        assert_eq!((lost.deliveries, lost.times[0].median, lost.curve.len()), (0, None, 2));
    }

    #[test]
    fn stretch_counts_only_arrivals_with_known_shortest_path() {
        let arrival = |hops, fewest| Arrival { micros: 1, hops, fewest, ..Arrival::default() };
        let of = |arrivals: Vec<Arrival>| {
            let message = Message { expected: arrivals.len(), arrivals };
            Propagation::new(&[message], &SHARES, 2).unwrap().stretch
        };
        assert_eq!(of(vec![arrival(3, Some(2)), arrival(3, Some(2)), arrival(9, None)]), Some(1.5));
        assert_eq!(of(vec![arrival(3, None), arrival(1, Some(0))]), None);
    }

    proptest! {
        #[test]
        fn curves_rise_and_larger_shares_are_reached_later(
            times in prop::collection::vec(prop::collection::vec(0u64..1000, 0..20), 1..10),
        ) {
            let messages: Vec<_> = times.iter().map(|t| message(20, t)).collect();
            let p = Propagation::new(&messages, &[0.1, 0.3, 0.5, 0.9], 30).unwrap();
            for pair in p.curve.windows(2) {
                prop_assert!(pair[0].mean <= pair[1].mean && pair[0].least <= pair[1].least);
                prop_assert!(pair[1].least <= pair[1].mean + 1e-12);
            }
            for pair in p.times.windows(2) {
                prop_assert!(pair[0].messages >= pair[1].messages);
                if let (Some(a), Some(b)) = (pair[0].median, pair[1].median) {
                    prop_assert!(a <= b);
                }
            }
            let reached = p.deliveries as f64 / p.expected as f64;
            prop_assert!((p.curve[29].mean - reached).abs() < 1e-9);
        }
    }
}
