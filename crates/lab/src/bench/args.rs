//! The command line of `rumor-lab bench`.

use std::time::Duration;

use clap::Args;
use rumormill::proto::limits::{MAX_PAYLOAD, MAX_SEEDS};
use rumormill_launch::args::NetworkArgs;
use rumormill_units::duration;

use super::plan::Ceiling;

/// Most nodes: both ends of all their links are in one process.
const MAX_NODES: u64 = 1000;

/// Measure how fast a network delivers, and compare it with the fastest that could be
///
/// Starts seeds and nodes in this process, with a real socket and TLS for each link, lets some of
/// them publish, and counts what a subscriber on each node gets: every message once and in the
/// order of its publisher, or the run has failed. A delivery is a message at a node other than its
/// publisher's. Then the same payloads go through the ceiling, a fixed relay tree (fan-out 4) over
/// the same TLS that does nothing else, and whose deliveries are counted in the same way.
///
/// Publishers go as fast as they can, each with a window of messages that not every node has yet,
/// or at a rate with --rate, if delays are what matters. A delay is measured from the call of
/// `publish` to the receipt by the subscriber.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor-lab bench
  rumor-lab bench --nodes 32 --payload 1024 --for 10s --json
  rumor-lab bench --nodes 64 --payload 1024 --rate 20 --for 30s    (delays)
  rumor-lab bench --payload 65536 --publishers 1 --messages 5000
  rumor-lab bench --nodes 32 --idle --for 30s                      (what silence costs)
  rumor-lab bench --ceiling tcp                                    (compare with plain TCP)

Bytes on the wire are those written to sockets, with what TLS adds if nodes count that; TCP and IP
headers are not among them. Memory is what the process grew by since before the first
node, divided by the nodes; seeds are part of it. Processor time is that of the whole process, with
the publishers and subscribers of the measurement. Messages at a rate are handed over when they are
due, to the millisecond: above 1000 a second, some go together.

A run that is disturbed by others on the machine measures them, too: keep it quiet.")]
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
    /// Publish so many messages, all publishers together
    #[arg(long, value_name = "M", conflicts_with = "length",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// Publish for so long
    #[arg(id = "length", long = "for", value_name = "TIME", default_value = "5s",
          value_parser = duration::parse)]
    pub(crate) length: Duration,
    /// Publish so many messages a second, all publishers in turn
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Messages of each publisher that not every node has yet, at most [default: 32768 messages or
    /// 8 MiB of payload, divided by the publishers]
    #[arg(long, value_name = "W", conflicts_with = "rate",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) window: Option<u64>,
    /// Publish for so long before, without counting it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub(crate) warmup: Duration,
    /// Leave the network so long in peace after all have joined
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse)]
    pub(crate) settle: Duration,
    /// Publish nothing, and measure what the nodes spend then
    #[arg(long, conflicts_with_all = ["rate", "window", "messages", "publishers"])]
    pub(crate) idle: bool,
    /// What to compare with
    #[arg(long, value_enum, default_value_t = Ceiling::Tls)]
    pub(crate) ceiling: Ceiling,
    /// Compare with nothing: the same as --ceiling none
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
    fn rates_are_numbers_in_bounds() {
        assert_eq!((rate("20"), rate("0.5")), (Ok(20.0), Ok(0.5)));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "20/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
