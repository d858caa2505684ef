//! The summary of a run: one struct, printed as JSON or as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rumormill_analysis::Fit;
use rumormill_terminal::out::Paint;
use rumormill_units::count::counted;
use rumormill_units::duration;
use serde::Serialize;

use super::deliveries::Delays;
use super::fault_log::Death;
use super::options::Fault;

/// The summary of a run. With `--json` it is printed as one object with these fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Seeds started.
    pub(crate) seeds: usize,
    /// Peers started.
    pub(crate) peers: usize,
    /// Whether each node was a process of its own.
    pub(crate) processes: bool,
    /// The preset.
    pub(crate) preset: String,
    /// How long the run took, in seconds.
    pub(crate) seconds: f64,
    /// Milliseconds until every peer was registered at a quorum of the seeds.
    pub(crate) joined_ms: Option<f64>,
    /// Milliseconds until the overlay was one component as well.
    pub(crate) formed_ms: Option<f64>,
    /// Registrations a peer needs.
    pub(crate) seed_quorum: u32,
    /// The fewest registrations that a living peer has at the end.
    pub(crate) registrations_per_peer_min: usize,
    /// Links of the overlay at the end, among the living.
    pub(crate) edges: usize,
    /// Connected components of the overlay at the end, among the living.
    pub(crate) components: usize,
    /// Degrees of the living at the end, ascending.
    pub(crate) degrees: Vec<usize>,
    /// The power laws fitted to them; absent for fewer than 50 peers, which are too few for a fit.
    pub(crate) degrees_fit: Option<Fit>,
    /// Messages published.
    pub(crate) published: u64,
    /// Pairs of a message and a peer at which it is expected: each that lived from the publishing
    /// to the end, except the publisher.
    pub(crate) deliveries_expected: u64,
    /// Those of them that were made.
    pub(crate) deliveries: u64,
    /// Their share; 1 if none was expected.
    pub(crate) delivered_fraction: f64,
    /// Messages handed to an application more than once.
    pub(crate) delivered_twice: u64,
    /// Copies of messages that peers had already, all peers together.
    pub(crate) duplicates_received: u64,
    /// Delay from publishing to delivery, over all deliveries.
    pub(crate) latency_ms: Delays,
    /// Delay from publishing to the last delivery, over all messages that every living peer has.
    pub(crate) last_delivery_ms: Delays,
    /// The victims, and how the network detected their faults.
    pub(crate) deaths: Vec<Death>,
    /// Peers that were removed without a fault.
    pub(crate) false_deaths: usize,
    /// Peers that were reported without a fault, and lived on.
    pub(crate) false_reports: usize,
    /// Requests, registrations, frames and reports that nodes refused, all nodes together. A full
    /// peer refusing a further neighbour is the overlay at work.
    pub(crate) refused: u64,
    /// Frames that did not fit into a queue, all nodes together.
    pub(crate) dropped: u64,
    /// Number of errors.
    pub(crate) errors: usize,
    /// The first hundred errors.
    pub(crate) error_list: Vec<String>,
    /// Resident memory of all processes at the end, in KiB, if the system reports it.
    pub(crate) rss_kib: Option<u64>,
    /// That memory per node.
    pub(crate) rss_kib_per_node: Option<u64>,
    /// Processor time of all processes, in seconds, if the system reports it.
    pub(crate) cpu_seconds: Option<f64>,
    /// Share of one core that a node used on average, in percent.
    pub(crate) cpu_percent_per_node: Option<f64>,
    /// Sums of the counters of all living nodes, by name.
    pub(crate) counters: BTreeMap<String, u64>,
    /// Whether the user ended the run early.
    pub(crate) interrupted: bool,
}

impl Summary {
    /// Whether there is no error, no false death and no missing delivery.
    pub(crate) fn is_good(&self) -> bool {
        self.errors == 0 && self.false_deaths == 0 && self.deliveries == self.deliveries_expected
    }

    /// The summary as text.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut t = String::new();
        let place = if self.processes { "a process each" } else { "one process" };
        let _ = writeln!(
            t,
            "{}",
            paint.bold(&format!(
                "{} and {} in {place}, {:.1} s, preset {}",
                counted(self.peers, "peer"),
                counted(self.seeds, "seed"),
                self.seconds,
                self.preset
            ))
        );
        let joined = self.joined_ms.map_or_else(
            || paint.red("not all peers joined"),
            |ms| format!("all joined within {}", duration::show(Duration::from_secs_f64(ms / 1e3))),
        );
        let _ = writeln!(
            t,
            "  members     {joined}; registered at {} or more of {} ({} needed)",
            self.registrations_per_peer_min,
            counted(self.seeds, "seed"),
            self.seed_quorum
        );
        self.write_overlay_and_messages(&mut t);
        for death in &self.deaths {
            let _ = writeln!(t, "  {}", death_line(death, paint));
        }
        if let (Some(rss), Some(cpu), Some(each), Some(percent)) =
            (self.rss_kib, self.cpu_seconds, self.rss_kib_per_node, self.cpu_percent_per_node)
        {
            let _ = writeln!(
                t,
                "  cost        {} MiB ({each} KiB a node), {cpu:.1} s of processor time ({percent:.2} % \
                 of a core a node)",
                rss / 1024
            );
        }
        self.write_verdict(&mut t, paint);
        t
    }

    fn write_overlay_and_messages(&self, t: &mut String) {
        let low = self.degrees.first().copied().unwrap_or(0);
        let high = self.degrees.last().copied().unwrap_or(0);
        let components = match self.components {
            1 => "one component".to_owned(),
            n => format!("{n} components"),
        };
        let law = self.degrees_fit.as_ref().map(|fit| {
            let (alpha, error) = (fit.bounded_alpha, fit.bounded_alpha_error);
            format!("; power law with alpha {alpha:.2} ± {error:.2} up to there")
        });
        let _ = writeln!(
            t,
            "  overlay     {}, {components}, degrees {low} to {high}{}",
            counted(self.edges, "link"),
            law.unwrap_or_default()
        );
        if self.published == 0 {
            return;
        }
        let _ = writeln!(
            t,
            "  messages    {} published, {} of {} deliveries, {} duplicates received",
            self.published, self.deliveries, self.deliveries_expected, self.duplicates_received
        );
        let (one, all) = (self.latency_ms, self.last_delivery_ms);
        let _ = writeln!(
            t,
            "  delay       to a peer: median {:.1} ms, 99 % {:.1} ms, longest {:.1} ms",
            one.p50, one.p99, one.max
        );
        let _ = writeln!(
            t,
            "              to the last peer: median {:.1} ms, 99 % {:.1} ms, longest {:.1} ms",
            all.p50, all.p99, all.max
        );
    }

    fn write_verdict(&self, t: &mut String, paint: Paint) {
        for error in &self.error_list {
            let _ = writeln!(t, "  {} {error}", paint.red("error"));
        }
        if self.errors > self.error_list.len() {
            let more = self.errors - self.error_list.len();
            let _ = writeln!(t, "  {} and {more} more", paint.red("error"));
        }
        let verdict = if self.interrupted {
            paint.yellow("interrupted")
        } else if self.is_good() {
            paint.green("all messages arrived, and no living peer was declared dead")
        } else {
            paint.red("the run has errors; the logs of the nodes concerned have the details")
        };
        let _ = writeln!(t, "{verdict}");
    }
}

fn death_line(d: &Death, paint: Paint) -> String {
    let how = match d.how {
        Fault::Kill => "killed",
        Fault::Stop => "stopped",
    };
    let after = |ms: Option<f64>, what: &str| match ms {
        Some(ms) => format!("{what} after {:.2} s", ms / 1e3),
        None => paint.red(&format!("not {what}")),
    };
    let witnesses = if d.witnesses.is_empty() {
        String::new()
    } else {
        format!("; witnesses: {}", d.witnesses.join(", "))
    };
    format!(
        "death       {} {how} at {:.1} s, {}, {}{witnesses}",
        d.peer,
        d.at_s,
        after(d.detected_ms, "reported"),
        after(d.removed_ms, "removed"),
    )
}
