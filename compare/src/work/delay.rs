//! Few messages, each timed to its last delivery.

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::load::{Network, number};
use crate::metric::{Metric, Reading, Sample};
use crate::plan::Plan;
use crate::systems::System;

/// Longest delay that the histogram distinguishes: two minutes, in nanoseconds.
const MAX_DELAY_NS: u64 = 120_000_000_000;
/// Nanoseconds per millisecond.
const MS: f64 = 1e6;

/// Measures the time until the last node has a message, and the costs.
pub(crate) async fn measure<S: System>(network: Network<S>, plan: &Plan) -> Result<Sample> {
    network.warm_up(plan).await?;
    let mut sample = network.publish_at_rate(plan).await?;
    // The rate is that of the plan, and says nothing about the system.
    sample.remove(&Metric::DeliveriesPerSecond);
    sample.extend(quantiles(network.last_delays())?);
    network.stop().await;
    Ok(sample)
}

/// The quantiles of delays in nanoseconds; none without delays.
fn quantiles(delays: impl Iterator<Item = u64>) -> Result<Sample> {
    let mut histogram: Histogram<u64> =
        Histogram::new_with_bounds(1000, MAX_DELAY_NS, 3).context("cannot make a histogram")?;
    delays.for_each(|delay| histogram.saturating_record(delay));
    if histogram.is_empty() {
        return Ok(Sample::new());
    }
    let at = |quantile| Reading::Value(number(histogram.value_at_quantile(quantile)) / MS);
    Ok(Sample::from([(Metric::LastNodeP50Ms, at(0.5)), (Metric::LastNodeP99Ms, at(0.99))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let sample = quantiles((1..=100).map(|ms| ms * 1_000_000)).unwrap();
        let of = |metric| match sample[&metric] {
            Reading::Value(value) => value,
            Reading::Never { .. } => f64::NAN,
        };
        assert!((of(Metric::LastNodeP50Ms) - 50.0).abs() < 0.1, "{sample:?}");
        assert!((of(Metric::LastNodeP99Ms) - 99.0).abs() < 0.1, "{sample:?}");
    }

    #[test]
    fn no_delays_have_no_quantiles() {
        assert!(quantiles(std::iter::empty()).unwrap().is_empty());
    }
}
