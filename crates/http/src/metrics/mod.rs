//! What Prometheus scrapes: the state and the counters of every node served, in the OpenMetrics text
//! format. Looked up when somebody asks, and at no other time.

mod families;
mod gauges;
mod looked;

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
use crate::nodes::Served;
use families::FAMILIES;
use gauges::GAUGES;
use looked::{Looked, State};

/// The media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before the name of every metric.
const PREFIX: &str = "rumormill";

#[derive(Debug)]
struct Nodes(Vec<Looked>);

impl Collector for Nodes {
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

impl Nodes {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for gauge in GAUGES {
            let mut metric = encoder.encode_descriptor(
                gauge.name,
                gauge.help,
                gauge.unit.as_ref(),
                MetricType::Gauge,
            )?;
            for looked in &self.0 {
                if let Some(value) = (gauge.of)(looked) {
                    let labels = looked.labels();
                    let metric = metric.encode_family(&labels)?;
                    ConstGauge::new(value).encode(metric)?;
                }
            }
        }
        Ok(())
    }

    /// What a node has with each of the seeds.
    fn seeds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, label, help) = gauges::SEED;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for looked in &self.0 {
            let seeds: Vec<(&str, bool)> = match &looked.state {
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
                let labels = looked.labels_and(Some((label, address)));
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
        for looked in &self.0 {
            let State::Peer(_, delays) = &looked.state else { continue };
            let labels = looked.labels();
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
            for looked in &self.0 {
                for (value, counter) in family.of.counters() {
                    let labels = looked.labels_and(family.of.label().zip(value));
                    let metric = metric.encode_family(&labels)?;
                    ConstCounter::new(looked.counters().get(counter)).encode(metric)?;
                }
            }
        }
        Ok(())
    }
}

/// Everything of these nodes, in text; of those that answer in time. A frozen one does not, and holds up
/// nobody.
///
/// # Errors
/// A label cannot be written; none of ours is like that.
pub(crate) async fn text(nodes: Vec<Arc<Served>>) -> Result<String, fmt::Error> {
    let asked = nodes.into_iter().map(|served| timeout(HEALTH_WAIT, Looked::at(served)));
    let looked: Vec<Looked> = join_all(asked).await.into_iter().flatten().flatten().collect();
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Nodes(looked)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
