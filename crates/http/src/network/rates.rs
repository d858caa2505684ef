//! The rates between two rounds, from the counters of the nodes.

use std::collections::BTreeMap;

use rumormill::proto::{Counters, PeerId};
use rumormill_analysis::percentile;

use super::view::Rates;

/// The counters of drops and refusals.
const DROPS: [&str; 18] = [
    "accept_errors",
    "connections_refused_address",
    "connections_refused_limit",
    "dropped_link_gone",
    "frames_out_of_place",
    "dropped_liveness",
    "dropped_announce",
    "dropped_payload",
    "dropped_history",
    "dropped_control",
    "frames_malformed",
    "frames_bad_signature",
    "frames_too_long",
    "links_too_slow",
    "links_lost",
    "handshakes_failed",
    "requests_refused",
    "messages_missed",
];

/// Keeps the counters of the last round.
#[derive(Debug, Default)]
pub(super) struct Meter {
    before: BTreeMap<PeerId, Counters>,
    at_us: u64,
}

impl Meter {
    /// The growth since the last round; `None` in the first round.
    pub(super) fn round(
        &mut self,
        counters: BTreeMap<PeerId, Counters>,
        delays_us: Vec<u64>,
        headroom: Option<f64>,
        now_us: u64,
    ) -> Option<Rates> {
        let first = self.at_us == 0;
        let over_us = now_us.saturating_sub(self.at_us);
        let grown = |name: &str| -> u64 {
            let of = |(id, c): (&PeerId, &Counters)| {
                // The growth of a node that is new in this round is zero.
                let before = self.before.get(id).map_or(c.get(name), |b| b.get(name));
                c.get(name).saturating_sub(before)
            };
            counters.iter().map(of).sum()
        };
        let classes = ["liveness", "control", "announce", "payload", "history"];
        let rates = Rates {
            at_us: now_us,
            #[allow(clippy::cast_precision_loss)] // A few seconds.
            over_s: over_us as f64 / 1e6,
            delivered: grown("messages_delivered"),
            duplicates: grown("messages_duplicate"),
            bytes_out: classes
                .iter()
                .map(|c| ((*c).to_owned(), grown(&format!("bytes_out_{c}"))))
                .collect(),
            drops: DROPS
                .iter()
                .map(|name| ((*name).to_owned(), grown(name)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            latency_ms: percentiles(delays_us),
            headroom,
        };
        self.before = counters;
        self.at_us = now_us;
        (!first).then_some(rates)
    }
}

#[allow(clippy::cast_precision_loss)] // Delays are far below 2^53 us.
fn percentiles(delays_us: Vec<u64>) -> Option<(f64, f64, f64)> {
    let mut ms: Vec<f64> = delays_us.into_iter().map(|us| us as f64 / 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let at = |p| percentile(&ms, p);
    Some((at(50.0)?, at(90.0)?, at(99.0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_the_growth_of_counters_and_ignore_a_new_node() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let of = |n: u64| {
            let mut c = Counters::default();
            c.add("messages_delivered", n);
            c.add("dropped_payload", n / 10);
            c
        };
        let mut meter = Meter::default();
        assert_eq!(meter.round(BTreeMap::from([(a, of(100))]), vec![], None, 1_000_000), None);
        let both = BTreeMap::from([(a, of(130)), (b, of(1000))]);
        let r = meter.round(both, vec![2000, 1000, 3000], Some(0.5), 3_000_000).unwrap();
        assert_eq!((r.delivered, r.over_s, r.headroom), (30, 2.0, Some(0.5)));
        assert_eq!(r.drops, BTreeMap::from([("dropped_payload".to_owned(), 3)]));
        assert_eq!(r.latency_ms.unwrap().0, 2.0);
        // A node that is gone subtracts nothing.
        let r = meter.round(BTreeMap::from([(b, of(1005))]), vec![], None, 4_000_000).unwrap();
        assert_eq!((r.delivered, r.latency_ms), (5, None));
    }
}
