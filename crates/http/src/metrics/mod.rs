//! The metrics that Prometheus scrapes: the state and the counters of every served node, in the
//! OpenMetrics text format. They are read only when a scrape asks for them.

mod families;
mod gauges;
mod sample;

use core::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::timeout;

use crate::limits::HEALTH_WAIT;
use crate::nodes::ServedNode;
use families::FAMILIES;
use gauges::GAUGES;
use sample::{NodeSample, State};

/// The media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before the name of every metric.
const PREFIX: &str = "rumormill";

#[derive(Debug)]
struct SampleCollector(Vec<NodeSample>);

impl Collector for SampleCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, label, help) = gauges::BUILD;
        let build = Info::new(vec![(label, env!("CARGO_PKG_VERSION"))]);
        build.encode(encoder.encode_descriptor(name, help, None, MetricType::Info)?)?;
        self.gauges(&mut encoder)?;
        self.seeds(&mut encoder)?;
        self.delays(&mut encoder)?;
        self.counters(&mut encoder)
    }
}

impl SampleCollector {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for gauge in GAUGES {
            let mut metric = encoder.encode_descriptor(
                gauge.name,
                gauge.help,
                gauge.unit.as_ref(),
                MetricType::Gauge,
            )?;
            for sample in &self.0 {
                if let Some(value) = (gauge.value)(sample) {
                    let labels = sample.labels();
                    let metric = metric.encode_family(&labels)?;
                    ConstGauge::new(value).encode(metric)?;
                }
            }
        }
        Ok(())
    }

    /// The link of each node with each seed.
    fn seeds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, label, help) = gauges::SEED;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for sample in &self.0 {
            let seeds: Vec<(&str, bool)> = match &sample.state {
                State::Peer(p, _) => p
                    .seeds
                    .iter()
                    .map(|s| (s.address.as_str(), s.connected && s.registered))
                    .collect(),
                State::Seed(s) => {
                    s.seeds.iter().map(|s| (s.address.as_str(), s.connected)).collect()
                }
            };
            for (address, connected) in seeds {
                let labels = sample.labels_and(Some((label, address)));
                let metric = metric.encode_family(&labels)?;
                ConstGauge::new(i64::from(connected)).encode(metric)?;
            }
        }
        Ok(())
    }

    fn delays(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            gauges::DELAY.0,
            gauges::DELAY.1,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for sample in &self.0 {
            let State::Peer(_, delays) = &sample.state else { continue };
            let labels = sample.labels();
            let mut metric = metric.encode_family(&labels)?;
            let bound =
                |b: &Option<core::time::Duration>| b.map_or(f64::INFINITY, |d| d.as_secs_f64());
            let buckets: Vec<(f64, u64)> =
                delays.buckets.iter().map(|(b, n)| (bound(b), *n)).collect();
            let count = buckets.iter().map(|b| b.1).sum();
            metric.encode_histogram::<NoLabelSet>(
                delays.sum.as_secs_f64(),
                count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
            for sample in &self.0 {
                for (value, counter) in family.source.counters() {
                    let labels = sample.labels_and(family.source.label().zip(value));
                    let metric = metric.encode_family(&labels)?;
                    ConstCounter::new(sample.counters().get(counter)).encode(metric)?;
                }
            }
        }
        Ok(())
    }
}

/// The metrics of these nodes as text. A node that does not answer in time, such as a frozen one,
/// is left out.
///
/// # Errors
/// A label cannot be written, which no label of these metrics causes.
pub(crate) async fn text(nodes: Vec<Arc<ServedNode>>) -> Result<String, fmt::Error> {
    let asked = nodes.into_iter().map(|served| timeout(HEALTH_WAIT, NodeSample::at(served)));
    let sample: Vec<NodeSample> = join_all(asked).await.into_iter().flatten().flatten().collect();
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(SampleCollector(sample)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
