//! Rates per second, from counters that only grow.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

/// Seconds of history that are kept.
const HISTORY_SECONDS: usize = 120;

/// The lines of the view, and the counters that each of them adds up.
const SUMS: [(&str, &[&str]); 4] = [
    ("delivered", &["messages_delivered"]),
    ("duplicates", &["messages_duplicate"]),
    (
        "bytes out",
        &[
            "bytes_out_liveness",
            "bytes_out_control",
            "bytes_out_announce",
            "bytes_out_payload",
            "bytes_out_history",
        ],
    ),
    (
        "bytes in",
        &[
            "bytes_in_liveness",
            "bytes_in_control",
            "bytes_in_announce",
            "bytes_in_payload",
            "bytes_in_history",
        ],
    ),
];

/// The history of one rate, oldest second first.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    before: Option<u64>,
    pub(super) seconds: VecDeque<u64>,
}

/// The rates of a node.
#[derive(Debug)]
pub(super) struct Rates {
    at: Option<Instant>,
    pub(super) all: Vec<Rate>,
}

impl Rates {
    pub(super) fn new() -> Self {
        let fresh = |(name, _)| Rate { name, before: None, seconds: VecDeque::new() };
        Rates { at: None, all: SUMS.map(fresh).into() }
    }

    /// Takes in the counters at a moment.
    pub(super) fn update(&mut self, counters: &BTreeMap<String, u64>, at: Instant) {
        let passed = self.at.map(|before| at.duration_since(before).as_secs_f64());
        self.at = Some(at);
        for (rate, (_, names)) in self.all.iter_mut().zip(SUMS) {
            let now = names.iter().filter_map(|n| counters.get(*n)).sum();
            let before = rate.before.replace(now);
            if let (Some(before), Some(passed)) = (before, passed.filter(|p| *p > 0.0)) {
                // A node that was restarted counts from zero.
                #[allow(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss
                )] // A rate to look at.
                let rate_now = (now.saturating_sub(before) as f64 / passed).round() as u64;
                rate.seconds.push_back(rate_now);
                if rate.seconds.len() > HISTORY_SECONDS {
                    rate.seconds.pop_front();
                }
            }
        }
    }
}
