//! Reports and summaries as text.

use rumormill_analysis::Fit;
use rumormill_sim::Report;
use rumormill_sim::campaign::{Change, Summary};
use rumormill_terminal::escape;
use rumormill_terminal::exit::Outcome;
use rumormill_terminal::out::{self, Paint};
use rumormill_terminal::table::Table;
use rumormill_units::count::counted;
use rumormill_units::{duration, size};
use serde::Serialize;

/// A value with a text form for people.
pub(super) trait Shown {
    fn text(&self, paint: Paint) -> String;
}

/// Prints a value as a line of JSON or as text.
pub(super) fn print<T: Shown + Serialize>(json: bool, value: &T) -> Outcome<()> {
    if json { out::json(value) } else { out::print(&value.text(Paint::stdout())) }
}

fn seconds(s: f64) -> String {
    duration::show(std::time::Duration::from_secs_f64(s.max(0.0)))
}

impl Shown for Report {
    fn text(&self, paint: Paint) -> String {
        let verdict = if self.passed { paint.green("passed") } else { paint.red("FAILED") };
        let mut rows: Vec<(&str, String)> = vec![("result", verdict)];
        rows.push(("run", format!("{}, seed {}", escape::text(&self.scenario), self.seed)));
        rows.push(("promises", promises(self, paint)));
        rows.push(("network", network(self)));
        rows.extend(degrees(self));
        rows.extend(messages(self));
        rows.extend(deaths(self));
        rows.push(("time", time(self)));
        rows.push(("trace", self.trace_hash.chars().take(16).collect()));
        rows.iter()
            .map(|(name, value)| format!("{}  {value}\n", paint.bold(&format!("{name:<9}"))))
            .collect()
    }
}

fn promises(r: &Report, paint: Paint) -> String {
    let all: Vec<String> = r
        .promises
        .iter()
        .map(|(name, p)| {
            if p.held {
                name.clone()
            } else {
                paint.red(&format!("{name} broken {} times", p.broken))
            }
        })
        .collect();
    let word = if r.promises.values().all(|p| p.held) { "held" } else { "checked" };
    format!("{} {word}, {} checks", all.join(" "), r.checks)
}

fn network(r: &Report) -> String {
    let mut text = format!(
        "{}, {}, {}",
        counted(r.live_peers, "live peer"),
        counted(r.edges, "link"),
        if r.components == 1 {
            "one component".to_owned()
        } else {
            format!("{} components", r.components)
        }
    );
    if let Some(d) = &r.distances {
        text += &format!(", paths of {:.2} hops, at most {}", d.mean_path, d.diameter.hops());
    }
    if r.came + r.went as usize > 0 {
        text += &format!(", {} joined later, {} departed", r.came, r.went);
    }
    text
}

fn degrees(r: &Report) -> Vec<(&'static str, String)> {
    let fit = match (&r.degrees_fit, &r.degrees_fit_error) {
        (Some(fit), _) => fit_text(fit),
        (None, Some(why)) => format!("no law fitted: {why}"),
        (None, None) => return Vec::new(),
    };
    vec![("degrees", fit)]
}

fn fit_text(f: &Fit) -> String {
    let p = |p: Option<f64>| p.map_or_else(String::new, |p| format!(", p {p:.2}"));
    format!(
        "alpha {:.2} ± {:.2} from {} on (KS {:.3}{}); bounded {:.2} from {} to {} (KS {:.3}{})",
        f.alpha,
        f.alpha_error,
        f.xmin,
        f.ks,
        p(f.p),
        f.bounded_alpha,
        f.bounded_xmin,
        f.bounded_xmax,
        f.bounded_ks,
        p(f.bounded_p)
    )
}

fn messages(r: &Report) -> Vec<(&'static str, String)> {
    let m = &r.messages;
    if m.published == 0 {
        return Vec::new();
    }
    let mut text = format!(
        "{} published, {:.4} % of {} expected deliveries made, {:.3} copies a peer, {} gaps reported",
        m.published,
        m.delivered_fraction * 100.0,
        m.owed,
        m.copies_per_peer,
        m.gaps
    );
    if m.busy > 0 {
        text += &format!(", {} times busy", m.busy);
    }
    let mut rows = vec![("messages", text)];
    if let Some(p) = &r.propagation {
        let times: Vec<String> = p
            .times
            .iter()
            .filter_map(|t| {
                let ms = t.median? as f64 / 1e3;
                Some(format!("{:.0} % in {}", t.share * 100.0, seconds(ms / 1e3)))
            })
            .collect();
        let worst = p.curve.last().map_or(0.0, |c| c.micros as f64 / 1e6);
        rows.push((
            "spread",
            format!(
                "{} (median), last {}, {} hops at most{}",
                times.join(", "),
                seconds(worst),
                p.last_hop,
                p.stretch
                    .map_or_else(String::new, |s| format!(", {s:.2} times the shortest paths")),
            ),
        ));
    }
    rows
}

fn deaths(r: &Report) -> Vec<(&'static str, String)> {
    let d = &r.deaths;
    if d.died == 0 && d.false_deaths == 0 {
        return Vec::new();
    }
    let time = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), seconds);
    let text = format!(
        "{} declared dead, after {} (median), {} at most; {} false",
        d.died,
        time(d.detection_median),
        time(d.detection_max),
        d.false_deaths
    );
    vec![("deaths", text)]
}

fn time(r: &Report) -> String {
    let rest = |s: Option<f64>| s.map_or_else(|| "never".to_owned(), seconds);
    let mut text = format!(
        "{} of virtual time, at rest {} after the joins, {} after the action; {} events",
        seconds(r.simulated_seconds),
        rest(r.join_seconds),
        rest(r.calm_seconds),
        r.events
    );
    if let (Some(wall), Some(rate)) = (r.cost.wall_seconds, r.cost.events_per_second) {
        text += &format!(" in {} ({rate:.0} a second)", seconds(wall));
    }
    if let Some(bytes) = r.cost.bytes_per_peer {
        text += &format!(", {} a peer", size::show(bytes));
    }
    text
}

impl Shown for Summary {
    fn text(&self, paint: Paint) -> String {
        let set: String = self.set.iter().map(|(p, v)| format!(" {p}={v}")).collect();
        let count = format!("{} of {} runs passed", self.passed, self.runs);
        let count = if self.passed == self.runs { paint.green(&count) } else { paint.red(&count) };
        let mut text = format!("{}{}: {count}\n", escape::text(&self.scenario), escape::text(&set));
        if !self.failed_seeds.is_empty() {
            let some: Vec<String> =
                self.failed_seeds.iter().take(20).map(ToString::to_string).collect();
            text += &format!("failed seeds: {}\n", some.join(" "));
        }
        let mut table = Table::new(vec!["FIGURE", "LEAST", "MEDIAN", "99 %", "MOST"]);
        for (name, q) in &self.figures {
            let cells = [q.least, q.median, q.p99, q.most].map(number);
            table.row([(*name).to_owned()].into_iter().chain(cells).collect());
        }
        text + &table.render(paint)
    }
}

/// A figure with three decimals, or as a whole number if it is one or is large.
fn number(v: f64) -> String {
    if v == v.trunc() || v.abs() >= 1000.0 { format!("{v:.0}") } else { format!("{v:.3}") }
}

/// The differences between two reports, as text.
pub(super) fn changes(before: &Report, after: &Report, all: &[Change], paint: Paint) -> String {
    let name = |r: &Report| format!("{} seed {}", escape::text(&r.scenario), r.seed);
    let mut text = format!("{} -> {}\n", name(before), name(after));
    if before.trace_hash == after.trace_hash {
        text += "the same run: the traces are equal\n";
    }
    if all.is_empty() {
        return text + "no figure differs\n";
    }
    let mut table = Table::new(vec!["FIGURE", "BEFORE", "AFTER", "CHANGE"]);
    for c in all {
        let value = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), number);
        let change = match (c.before, c.after) {
            (Some(b), Some(a)) if b != 0.0 => format!("{:+.1} %", (a - b) / b * 100.0),
            _ => String::new(),
        };
        let what = if c.broke { paint.red(&c.what) } else { c.what.clone() };
        table.row(vec![what, value(c.before), value(c.after), change]);
    }
    text + &table.render(paint)
}
