//! The figures of a measurement. `--json` prints them as one flat object. A delivery is a message
//! at a node that has not published it.

use rumormill::{Counters, Preset};
use serde::Serialize;

use super::ceiling::CeilingResult;
use super::delays::Delays;
use super::measure::{IncompleteNode, NetworkResult};
use super::numbers::{float, fraction, per, rounded};
use super::plan::{CeilingKind, Pace, Plan};

/// All figures of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    pub(crate) setup: Setup,
    #[serde(flatten)]
    pub(crate) speed: Speed,
    #[serde(flatten)]
    pub(crate) ceiling: CeilingFigures,
    #[serde(flatten)]
    pub(crate) delivery_errors: DeliveryErrors,
    #[serde(flatten)]
    pub(crate) wire: Wire,
    #[serde(flatten)]
    pub(crate) costs: Costs,
    /// From the call of `publish` to the receipt by the subscriber. At a set rate of every
    /// delivery, otherwise of those of one message in sixteen.
    pub(crate) latency_ms: Option<Delays>,
    /// The delay to the last node, over messages that every node has.
    pub(crate) last_delivery_ms: Option<Delays>,
    /// Nodes that lack messages at the end, with their own counts.
    pub(crate) behind: Vec<IncompleteNode>,
    /// The counters of all nodes and seeds during the measurement, by the names of the metrics.
    pub(crate) counters: Counters,
}

/// The setup of the measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) seeds: usize,
    pub(crate) publishers: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    pub(crate) preset: String,
    /// Most messages of each publisher in flight; absent at a set rate.
    pub(crate) window: Option<u64>,
    /// Messages a second, all publishers together; absent with windows.
    pub(crate) rate: Option<f64>,
    /// Nothing was published.
    pub(crate) idle: bool,
    /// Links of the overlay, when all had joined.
    pub(crate) links: usize,
    /// Seconds until then.
    pub(crate) joined_seconds: f64,
}

/// The deliveries, and their rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Speed {
    /// From the first message to the last delivery, in seconds.
    pub(crate) seconds: f64,
    pub(crate) published: u64,
    pub(crate) deliveries_expected: u64,
    pub(crate) deliveries: u64,
    pub(crate) delivered_fraction: f64,
    pub(crate) deliveries_per_second: f64,
}

/// The ceiling; all absent if there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct CeilingFigures {
    /// `tls` or `tcp`.
    pub(crate) ceiling: Option<&'static str>,
    pub(crate) ceiling_deliveries_per_second: Option<f64>,
    /// The network's deliveries per second, as a share of the ceiling's.
    pub(crate) ceiling_ratio: Option<f64>,
    pub(crate) ceiling_delivered_fraction: Option<f64>,
    pub(crate) ceiling_cpu_us_per_delivery: Option<f64>,
    /// Delays, at a set rate only.
    pub(crate) ceiling_latency_ms: Option<Delays>,
    pub(crate) ceiling_last_delivery_ms: Option<Delays>,
}

/// Delivery errors, which must be zero, and the number of nodes that must be alive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DeliveryErrors {
    /// Messages that arrived after a later one of their publisher.
    pub(crate) order_violations: u64,
    /// Messages that a subscriber received again.
    pub(crate) duplicates_delivered: u64,
    /// Messages that subscriptions lost, because their reader was slow.
    pub(crate) lost_by_subscribers: u64,
    /// Deliveries that match no published message.
    pub(crate) foreign: u64,
    /// The fewest nodes that a node counted as alive at the end, itself included.
    pub(crate) alive_min: u32,
}

/// The traffic on the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Wire {
    /// Redundant copies received, per delivery.
    pub(crate) duplicates: Option<f64>,
    /// Bytes written to sockets by all nodes, per byte of payload delivered.
    pub(crate) wire_bytes_per_payload_byte: Option<f64>,
    /// Whether the bytes include those of TLS. If not, nodes do not count them, and the figure is
    /// that of the frames.
    pub(crate) wire_bytes_include_tls: bool,
    /// Bytes of frames alone, per byte of payload delivered.
    pub(crate) frame_bytes_per_payload_byte: Option<f64>,
    /// Bytes written, if nothing is published, per node and second; seeds are shared among nodes.
    pub(crate) idle_bytes_per_node_second: Option<f64>,
}

/// The processor time and the memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// Processor time of the whole process, publishers and subscribers included.
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_us_per_delivery: Option<f64>,
    /// If nothing is published, per node and second; seeds are shared among nodes.
    pub(crate) idle_cpu_ms_per_node_second: Option<f64>,
    /// Resident memory that the nodes added, per node, before the first message.
    pub(crate) rss_kib_per_node: Option<u64>,
    /// The same at the end, with the messages that nodes retain.
    pub(crate) rss_kib_per_node_end: Option<u64>,
}

impl Figures {
    pub(crate) fn new(
        plan: &Plan,
        preset: Preset,
        m: &NetworkResult,
        ceiling_result: Option<&CeilingResult>,
    ) -> Self {
        let speed = speed(plan, m);
        let subscribers = &m.subscribers;
        Figures {
            setup: setup(plan, preset, m),
            ceiling: ceiling_result.map(|h| ceiling(plan, &speed, h)).unwrap_or_default(),
            delivery_errors: DeliveryErrors {
                order_violations: subscribers.late,
                duplicates_delivered: subscribers.duplicates,
                lost_by_subscribers: subscribers.lost,
                foreign: subscribers.foreign,
                alive_min: m.alive_min,
            },
            wire: wire(plan, m),
            costs: costs(plan, m),
            speed,
            latency_ms: Delays::of(&subscribers.delays.each),
            last_delivery_ms: Delays::of(&subscribers.delays.last),
            behind: m.incomplete_nodes.clone(),
            counters: m.traffic.counters(),
        }
    }
}

fn setup(plan: &Plan, preset: Preset, m: &NetworkResult) -> Setup {
    let (window, rate) = match plan.pace {
        Pace::Window(window) => (Some(window), None),
        Pace::Rate(rate) => (None, Some(rate)),
    };
    Setup {
        nodes: plan.nodes,
        seeds: plan.seeds,
        publishers: plan.publishers,
        payload: plan.payload,
        preset: preset.to_string(),
        window,
        rate,
        idle: plan.idle,
        links: m.links,
        joined_seconds: rounded(m.joined_seconds),
    }
}

fn speed(plan: &Plan, m: &NetworkResult) -> Speed {
    let expected = plan.deliveries(m.totals.published);
    Speed {
        seconds: rounded(m.totals.seconds),
        published: m.totals.published,
        deliveries_expected: expected,
        deliveries: m.deliveries,
        delivered_fraction: fraction(m.deliveries, expected),
        deliveries_per_second: per(float(m.deliveries), m.totals.seconds).unwrap_or(0.0),
    }
}

fn ceiling(plan: &Plan, speed: &Speed, h: &CeilingResult) -> CeilingFigures {
    let rate = per(float(h.deliveries), h.totals.seconds);
    CeilingFigures {
        ceiling: match plan.ceiling {
            CeilingKind::Tls => Some("tls"),
            CeilingKind::Tcp => Some("tcp"),
            CeilingKind::None => None,
        },
        ceiling_deliveries_per_second: rate,
        ceiling_ratio: rate.and_then(|rate| per(speed.deliveries_per_second, rate)),
        ceiling_delivered_fraction: Some(fraction(
            h.deliveries,
            plan.deliveries(h.totals.published),
        )),
        ceiling_cpu_us_per_delivery: per(h.totals.cpu_seconds * 1e6, float(h.deliveries)),
        ceiling_latency_ms: h.delays.map(|(each, _)| each),
        ceiling_last_delivery_ms: h.delays.map(|(_, last)| last),
    }
}

fn wire(plan: &Plan, m: &NetworkResult) -> Wire {
    let payload_bytes = float(m.deliveries) * float(plan.payload as u64);
    let socket_bytes = m.traffic.socket_bytes();
    let bytes = float(socket_bytes.unwrap_or(m.traffic.frame_bytes()));
    let node_seconds = m.totals.seconds * float(plan.nodes as u64);
    Wire {
        duplicates: per(float(m.traffic.duplicates()), float(m.deliveries)),
        wire_bytes_per_payload_byte: per(bytes, payload_bytes),
        wire_bytes_include_tls: socket_bytes.is_some(),
        frame_bytes_per_payload_byte: per(float(m.traffic.frame_bytes()), payload_bytes),
        idle_bytes_per_node_second: per(bytes, node_seconds).filter(|_| plan.idle),
    }
}

fn costs(plan: &Plan, m: &NetworkResult) -> Costs {
    let (cpu, nodes) = (m.totals.cpu_seconds, plan.nodes as u64);
    let grown = |to: Option<u64>| {
        to.zip(m.memory.before).map(|(to, from)| to.saturating_sub(from) / nodes.max(1))
    };
    Costs {
        cpu_seconds: rounded(cpu),
        cpu_us_per_delivery: per(cpu * 1e6, float(m.deliveries)),
        idle_cpu_ms_per_node_second: per(cpu * 1e3, m.totals.seconds * float(nodes))
            .filter(|_| plan.idle),
        rss_kib_per_node: grown(m.memory.settled),
        rss_kib_per_node_end: grown(m.memory.end),
    }
}
