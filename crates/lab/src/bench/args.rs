//! The command line of `rumor-lab bench`.

use std::time::Duration;

use clap::Args;
use rumormill::proto::limits::{MAX_PAYLOAD, MAX_SEEDS};
use rumormill_launch::args::NetworkArgs;
use rumormill_units::duration;

use super::plan::CeilingKind;

/// Most nodes, because both ends of all their links are in one process.
const MAX_NODES: u64 = 1000;

/// Measure how fast a network delivers, and compare it with a ceiling
///
/// Starts seeds and nodes in this process, with a real socket and TLS for each link, lets some of
/// them publish, and counts the deliveries to a subscriber on each node. The run fails unless each
/// subscriber gets every message once and in the order of its publisher. A delivery is a message at
/// a node other than its publisher's. Then the same payloads go through the ceiling, a fixed relay
/// tree (fan-out 4) over the same TLS, whose deliveries are counted in the same way.
///
/// Publishers go as fast as they can, each with a window of messages in flight, or at a rate with
/// --rate, which is better for measuring delays. A delay is measured from the call of `publish` to
/// the delivery to the subscriber.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab bench
  rumor-lab bench --nodes 32 --payload 1024 --for 10s --json
  rumor-lab bench --nodes 64 --payload 1024 --rate 20 --for 30s    (delays)
  rumor-lab bench --payload 65536 --publishers 1 --messages 5000
  rumor-lab bench --nodes 32 --idle --for 30s                      (the cost of an idle network)
  rumor-lab bench --ceiling tcp                                    (compare with plain TCP)

Bytes on the wire are those written to sockets, with those of TLS if nodes count them, without TCP
and IP headers. Memory is the growth of the process since before the first node, divided by the
nodes; it includes the seeds. Processor time is that of the whole process, with the publishers and
subscribers of the measurement. Messages at a rate are published when they are due, to the
millisecond: above 1000 a second, several are published together.

Other programs on the machine disturb the measurement: keep the machine quiet.")]
pub(crate) struct BenchArgs {
    /// Nodes that publish and receive
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u64).range(2..=MAX_NODES))]
    pub(crate) nodes: u64,
    /// Seeds
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS as u64))]
    pub(crate) seeds: u64,
    /// Bytes of each payload, at least 24
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PAYLOAD as u64))]
    pub(crate) payload: u64,
    /// Nodes that publish [default: 4, or all of fewer]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..=MAX_NODES))]
    pub(crate) publishers: Option<u64>,
    /// Number of messages to publish, all publishers together
    #[arg(long, value_name = "M", conflicts_with = "length",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// How long to publish
    #[arg(id = "length", long = "for", value_name = "TIME", default_value = "5s",
          value_parser = duration::parse)]
    pub(crate) length: Duration,
    /// Messages to publish per second, all publishers in turn
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Most messages of each publisher in flight [default: 32768 messages or 8 MiB of payload,
    /// divided by the publishers]
    #[arg(long, value_name = "W", conflicts_with = "rate",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) window: Option<u64>,
    /// How long to publish before the measurement
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub(crate) warmup: Duration,
    /// How long to wait after all nodes have joined
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse)]
    pub(crate) settle: Duration,
    /// Publish nothing, and measure the cost of the idle nodes
    #[arg(long, conflicts_with_all = ["rate", "window", "messages", "publishers"])]
    pub(crate) idle: bool,
    /// The ceiling to compare with
    #[arg(long, value_enum, default_value_t = CeilingKind::Tls)]
    pub(crate) ceiling: CeilingKind,
    /// Measure no ceiling: the same as --ceiling none
    #[arg(long, conflicts_with = "ceiling")]
    pub(crate) no_ceiling: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Reads messages per second.
fn rate(text: &str) -> Result<f64, String> {
    let expected = || "expected messages per second, from 0.1 to 10000000".to_owned();
    let rate: f64 = text.parse().map_err(|_| expected())?;
    if (0.1..=1e7).contains(&rate) { Ok(rate) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_accepts_numbers_within_bounds() {
        assert_eq!((rate("20"), rate("0.5")), (Ok(20.0), Ok(0.5)));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "20/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
