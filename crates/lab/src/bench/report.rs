//! The figures of a measurement as text, and its faults.

use std::fmt::Write as _;

use rumormill_terminal::out::Paint;
use rumormill_units::count::counted;

use super::delays::Delays;
use super::figures::Figures;
use super::numbers::{float, grouped};

impl Figures {
    /// The faults of the measurement. There are none if every message was delivered once and in
    /// order, and all nodes are alive.
    pub(crate) fn faults(&self) -> Vec<String> {
        let (delivery_errors, nodes) = (&self.delivery_errors, self.setup.nodes as u64);
        let missing = self.speed.deliveries_expected.saturating_sub(self.speed.deliveries);
        let dead = nodes.saturating_sub(u64::from(delivery_errors.alive_min));
        let mut faults: Vec<String> = [
            (missing, "deliveries are missing"),
            (
                delivery_errors.order_violations,
                "deliveries came after a later message of the publisher",
            ),
            (delivery_errors.duplicates_delivered, "deliveries were repeated"),
            (
                delivery_errors.lost_by_subscribers,
                "deliveries were lost to subscribers that were slow",
            ),
            (delivery_errors.foreign, "deliveries match no published message"),
            (dead, "nodes are not alive in the view of a node"),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", grouped(float(n))))
        .collect();
        if self.ceiling.ceiling_delivered_fraction.is_some_and(|f| f < 1.0) {
            faults.push(
                "the ceiling has not delivered every message, so it cannot be compared".to_owned(),
            );
        }
        faults
    }

    /// The figures as text.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut t = String::new();
        let idle = self.setup.idle;
        let _ = writeln!(t, "{}", paint.bold(&self.title()));
        if idle {
            self.idle_line(&mut t);
        } else {
            self.speed_lines(&mut t);
            self.delay_lines(&mut t);
            self.wire_line(&mut t);
            self.cost_line(&mut t);
        }
        self.memory_line(&mut t);
        let faults = self.faults();
        for fault in &faults {
            let _ = writeln!(t, "  {} {fault}", paint.red("error"));
        }
        let verdict = match (faults.is_empty(), idle) {
            (true, false) => paint.green("everything arrived everywhere, once and in order"),
            (true, true) => paint.green("nothing was published, and all nodes are alive"),
            (false, _) => paint.red("the measurement has faults"),
        };
        let _ = writeln!(t, "{verdict}");
        t
    }

    fn title(&self) -> String {
        let s = &self.setup;
        let load = match (s.idle, s.window, s.rate) {
            (true, ..) => ", idle".to_owned(),
            (_, Some(window), _) => format!(", {} in flight", counted(window, "message")),
            (_, _, rate) => format!(", {} messages/s", rate.unwrap_or(0.0)),
        };
        let publishers = match (s.idle, s.window) {
            (true, _) => String::new(),
            (_, window) => {
                let each = if window.is_some() && s.publishers > 1 { " each with" } else { "" };
                let publishers = counted(s.publishers, "publisher");
                format!(", {publishers} of {} B{each}", s.payload)
            }
        };
        let load = if publishers.ends_with("with") { load.replacen(',', "", 1) } else { load };
        format!(
            "{}{publishers}{load}, {:.1} s, preset {}",
            counted(s.nodes, "node"),
            self.speed.seconds,
            s.preset
        )
    }

    fn speed_lines(&self, t: &mut String) {
        let s = &self.speed;
        let _ = writeln!(
            t,
            "  network     {} deliveries/s; {} messages, {} of {} deliveries",
            grouped(s.deliveries_per_second),
            grouped(float(s.published)),
            grouped(float(s.deliveries)),
            grouped(float(s.deliveries_expected)),
        );
        // At a set rate, the network and the ceiling deliver at that rate.
        if self.setup.rate.is_some() {
            return;
        }
        let c = &self.ceiling;
        if let (Some(kind), Some(rate), Some(ratio)) =
            (c.ceiling, c.ceiling_deliveries_per_second, c.ceiling_ratio)
        {
            let _ = writeln!(
                t,
                "  ceiling     {} deliveries/s in a fixed tree over {}; the network reaches {:.1} \
                 % of it",
                grouped(rate),
                kind.to_uppercase(),
                ratio * 100.0
            );
        }
    }

    fn delay_lines(&self, t: &mut String) {
        let mut line = |head: &str, what: &str, delays: Option<Delays>| {
            if let Some(d) = delays {
                let _ = writeln!(
                    t,
                    "  {head:11} {what:17} median {:.2} ms, 90 % {:.2} ms, 99 % {:.2} ms, longest \
                     {:.1} ms",
                    d.p50, d.p90, d.p99, d.max
                );
            }
        };
        line("delay", "to a node:", self.latency_ms);
        line("", "to the last node:", self.last_delivery_ms);
        line("ceiling", "to a node:", self.ceiling.ceiling_latency_ms);
        line("", "to the last node:", self.ceiling.ceiling_last_delivery_ms);
    }

    fn wire_line(&self, t: &mut String) {
        let w = &self.wire;
        if let (Some(wire), Some(duplicates)) = (w.wire_bytes_per_payload_byte, w.duplicates) {
            let tls = if w.wire_bytes_include_tls { "with TLS" } else { "without TLS" };
            let _ = writeln!(
                t,
                "  wire        {wire:.3} bytes a byte of payload delivered ({tls}), \
                 {duplicates:.3} redundant copies a delivery"
            );
        }
    }

    fn cost_line(&self, t: &mut String) {
        let Some(each) = self.costs.cpu_us_per_delivery else { return };
        let ceiling = self
            .ceiling
            .ceiling_cpu_us_per_delivery
            .map_or_else(String::new, |us| format!(" (ceiling: {us:.2} µs)"));
        let _ = writeln!(
            t,
            "  cost        {:.1} s of processor time, {each:.2} µs a delivery{ceiling}",
            self.costs.cpu_seconds
        );
    }

    fn idle_line(&self, t: &mut String) {
        if let (Some(cpu), Some(bytes)) =
            (self.costs.idle_cpu_ms_per_node_second, self.wire.idle_bytes_per_node_second)
        {
            let tls = if self.wire.wire_bytes_include_tls { "with TLS" } else { "without TLS" };
            let _ = writeln!(
                t,
                "  cost        {cpu:.3} ms of processor time and {bytes:.0} bytes ({tls}) a \
                 second, per node"
            );
        }
    }

    fn memory_line(&self, t: &mut String) {
        if let (Some(settled), Some(end)) =
            (self.costs.rss_kib_per_node, self.costs.rss_kib_per_node_end)
        {
            let _ = writeln!(
                t,
                "  memory      {} KiB a node before the first message, {} KiB at the end",
                grouped(float(settled)),
                grouped(float(end))
            );
        }
    }
}
