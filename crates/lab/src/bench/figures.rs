//! What a measurement came to, in figures. With `--json` they are printed as one flat object. A
//! delivery is a message at a node that has not published it.

use rumormill::{Counters, Preset};
use serde::Serialize;

use super::ceiling::Height;
use super::delays::Delays;
use super::measure::{Behind, Measured};
use super::numbers::{float, fraction, per, rounded};
use super::plan::{Ceiling, Pace, Plan};

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
    pub(crate) wrongs: Wrongs,
    #[serde(flatten)]
    pub(crate) wire: Wire,
    #[serde(flatten)]
    pub(crate) costs: Costs,
    /// From the call of `publish` to the receipt by the subscriber. At a set rate of every
    /// delivery, otherwise of those of one message in sixteen.
    pub(crate) latency_ms: Option<Delays>,
    /// The same, to the last node, over messages that everybody has.
    pub(crate) last_delivery_ms: Option<Delays>,
    /// Nodes that lack messages at the end, and what they say of it themselves.
    pub(crate) behind: Vec<Behind>,
    /// What all nodes and seeds counted meanwhile, by the names of the metrics.
    pub(crate) counters: Counters,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) seeds: usize,
    pub(crate) publishers: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    pub(crate) preset: String,
    /// Messages that each publisher had outstanding at most; absent at a set rate.
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

/// How much arrived, and how fast.
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

/// What the network is compared with; all absent if with nothing.
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

/// What must be zero, and who must be there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Wrongs {
    /// Messages that came after a later one of their publisher.
    pub(crate) order_violations: u64,
    /// Messages that one application got again.
    pub(crate) duplicates_delivered: u64,
    /// Messages that subscriptions lost, because their reader was slow.
    pub(crate) lost_by_subscribers: u64,
    /// Deliveries that nobody published, or not like that.
    pub(crate) foreign: u64,
    /// The fewest nodes that a node took to be alive at the end, itself included.
    pub(crate) alive_min: u32,
}

/// What went over the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Wire {
    /// Copies that nodes received in vain, per delivery.
    pub(crate) duplicates: Option<f64>,
    /// Bytes written to sockets by all nodes, per byte of payload delivered.
    pub(crate) wire_bytes_per_payload_byte: Option<f64>,
    /// Whether they are with what TLS adds. If not, nodes do not count that, and they are the same
    /// as those of the frames.
    pub(crate) wire_bytes_include_tls: bool,
    /// Bytes of frames alone, per byte of payload delivered.
    pub(crate) frame_bytes_per_payload_byte: Option<f64>,
    /// Bytes written, if nothing is published, per node and second; seeds are shared among nodes.
    pub(crate) idle_bytes_per_node_second: Option<f64>,
}

/// What it cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// Processor time of the whole process, publishers and subscribers included.
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_us_per_delivery: Option<f64>,
    /// If nothing is published, per node and second; seeds are shared among nodes.
    pub(crate) idle_cpu_ms_per_node_second: Option<f64>,
    /// Resident memory that came with the nodes, per node, before the first message.
    pub(crate) rss_kib_per_node: Option<u64>,
    /// And at the end, with the messages that nodes keep.
    pub(crate) rss_kib_per_node_end: Option<u64>,
}

impl Figures {
    pub(crate) fn new(plan: &Plan, preset: Preset, m: &Measured, height: Option<&Height>) -> Self {
        let speed = speed(plan, m);
        let found = &m.found;
        Figures {
            setup: setup(plan, preset, m),
            ceiling: height.map(|h| ceiling(plan, &speed, h)).unwrap_or_default(),
            wrongs: Wrongs {
                order_violations: found.late,
                duplicates_delivered: found.again,
                lost_by_subscribers: found.lost,
                foreign: found.foreign,
                alive_min: m.alive_min,
            },
            wire: wire(plan, m),
            costs: costs(plan, m),
            speed,
            latency_ms: Delays::of(&found.seen.each),
            last_delivery_ms: Delays::of(&found.seen.last),
            behind: m.behind.clone(),
            counters: m.traffic.counters(),
        }
    }
}

fn setup(plan: &Plan, preset: Preset, m: &Measured) -> Setup {
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

fn speed(plan: &Plan, m: &Measured) -> Speed {
    let expected = plan.deliveries(m.driven.published);
    Speed {
        seconds: rounded(m.driven.seconds),
        published: m.driven.published,
        deliveries_expected: expected,
        deliveries: m.deliveries,
        delivered_fraction: fraction(m.deliveries, expected),
        deliveries_per_second: per(float(m.deliveries), m.driven.seconds).unwrap_or(0.0),
    }
}

fn ceiling(plan: &Plan, speed: &Speed, h: &Height) -> CeilingFigures {
    let height = per(float(h.deliveries), h.driven.seconds);
    CeilingFigures {
        ceiling: match plan.ceiling {
            Ceiling::Tls => Some("tls"),
            Ceiling::Tcp => Some("tcp"),
            Ceiling::None => None,
        },
        ceiling_deliveries_per_second: height,
        ceiling_ratio: height.and_then(|height| per(speed.deliveries_per_second, height)),
        ceiling_delivered_fraction: Some(fraction(
            h.deliveries,
            plan.deliveries(h.driven.published),
        )),
        ceiling_cpu_us_per_delivery: per(h.driven.cpu_seconds * 1e6, float(h.deliveries)),
        ceiling_latency_ms: h.delays.map(|(each, _)| each),
        ceiling_last_delivery_ms: h.delays.map(|(_, last)| last),
    }
}

fn wire(plan: &Plan, m: &Measured) -> Wire {
    let payload_bytes = float(m.deliveries) * float(plan.payload as u64);
    let socket_bytes = m.traffic.socket_bytes();
    let bytes = float(socket_bytes.unwrap_or(m.traffic.frame_bytes()));
    let node_seconds = m.driven.seconds * float(plan.nodes as u64);
    Wire {
        duplicates: per(float(m.traffic.duplicates()), float(m.deliveries)),
        wire_bytes_per_payload_byte: per(bytes, payload_bytes),
        wire_bytes_include_tls: socket_bytes.is_some(),
        frame_bytes_per_payload_byte: per(float(m.traffic.frame_bytes()), payload_bytes),
        idle_bytes_per_node_second: per(bytes, node_seconds).filter(|_| plan.idle),
    }
}

fn costs(plan: &Plan, m: &Measured) -> Costs {
    let (cpu, nodes) = (m.driven.cpu_seconds, plan.nodes as u64);
    let grown = |to: Option<u64>| {
        to.zip(m.memory.before).map(|(to, from)| to.saturating_sub(from) / nodes.max(1))
    };
    Costs {
        cpu_seconds: rounded(cpu),
        cpu_us_per_delivery: per(cpu * 1e6, float(m.deliveries)),
        idle_cpu_ms_per_node_second: per(cpu * 1e3, m.driven.seconds * float(nodes))
            .filter(|_| plan.idle),
        rss_kib_per_node: grown(m.memory.settled),
        rss_kib_per_node_end: grown(m.memory.end),
    }
}
