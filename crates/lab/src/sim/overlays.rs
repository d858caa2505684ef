//! `rumor-lab sim overlays`: rules for choosing neighbours, compared in a table.

use rumormill_analysis::Fit;
use rumormill_sim::comparison::{OverlayReport, Rule};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out::Paint;
use rumormill_terminal::progress;
use rumormill_terminal::table::Table;
use rumormill_terminal::{escape, out};

use super::args::OverlaysArgs;
use super::files::{self, shown_path};

/// Most reports of runs beside the rules.
const MAX_REPORTS: usize = 100;

/// Makes the overlays of the rules, and measures them and those of the reports.
pub(super) fn run(args: &OverlaysArgs) -> Outcome {
    if args.reports.len() > MAX_REPORTS {
        let what = format!(
            "{} reports are given; at most {MAX_REPORTS} can be compared",
            args.reports.len()
        );
        return Err(Failure::new(Exit::Usage, what));
    }
    // Unreadable reports are an error before the long work begins.
    let mut runs = Vec::new();
    for path in &args.reports {
        runs.push((shown_path(path), files::report(path)?));
    }
    let mut rules = if args.rules.is_empty() { Rule::ALL.to_vec() } else { args.rules.clone() };
    rules.sort_unstable();
    rules.dedup();
    // clap has checked that there are at most ten thousand.
    let peers = usize::try_from(args.peers).unwrap_or(usize::MAX);
    let bar = progress::bar((rules.len() + runs.len()) as u64);
    let mut all = Vec::new();
    for (path, run) in &runs {
        bar.set_message(escape::text(&run.scenario));
        let overlay = OverlayReport::of_run(run, args.replicates)
            .map_err(|e| Failure::new(Exit::Config, format!("cannot use {path}: {e}")))?;
        all.push(overlay);
        bar.inc(1);
    }
    for (i, &rule) in rules.iter().enumerate() {
        bar.set_message(rule.name());
        let overlay =
            OverlayReport::of_rule(rule, peers, args.turnover, args.seed, args.replicates);
        // The rules come first, in their order.
        all.insert(i, overlay);
        bar.inc(1);
    }
    bar.finish_and_clear();
    write_and_print(args, &all)
}

/// Writes and prints the overlays.
fn write_and_print(args: &OverlaysArgs, all: &[OverlayReport]) -> Outcome {
    if let Some(dir) = &args.out {
        for r in all {
            let name = format!(
                "{}_{}_{}_{}.json",
                files::file_name_part(&r.rule),
                r.peers,
                r.turnover,
                r.seed
            );
            files::write_json(dir, &name, r)?;
        }
    }
    if args.json {
        for r in all {
            out::json(r)?;
        }
    } else {
        out::print(&text(args, all, Paint::stdout()))?;
    }
    Ok(Exit::Ok)
}

fn text(args: &OverlaysArgs, all: &[OverlayReport], paint: Paint) -> String {
    let state = match args.turnover {
        0 => "grown, no peer departed".to_owned(),
        percent => format!("{percent} % of them replaced, one by one"),
    };
    let mut rules = Table::new(vec!["RULE", "PEERS", "TURNOVER", "ABOUT"]);
    let mut degrees = Table::new(vec![
        "DEGREES", "MEAN", "LARGEST", "ALPHA", "FROM", "KS", "P", "BOUNDED", "RANGE", "KS", "P",
    ]);
    let mut graph = Table::new(vec![
        "GRAPH",
        "LINKS",
        "COMPONENTS",
        "IN LARGEST",
        "PATH",
        "CLUSTERING",
        "-10 % ANY",
        "-10 % HUBS",
        "BUSIEST SENDS",
    ]);
    for r in all {
        let name = escape::text(&r.rule);
        let turnover = format!("{} %", r.turnover);
        rules.row(vec![name.clone(), r.peers.to_string(), turnover, r.about.clone()]);
        let mean = format!("{:.2}", r.mean_degree);
        let mut row = vec![name.clone(), mean, r.largest_degree.to_string()];
        row.extend(law(r.degrees_fit.as_ref()));
        degrees.row(row);
        graph.row(graph_row(name, r));
    }
    let mut text = format!("{} peers, {state}, seed {}\n\n", args.peers, args.seed);
    for table in [rules, degrees, graph] {
        text += &(table.render(paint) + "\n");
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Alpha, begin of the tail, distance and p of the unbounded law, then those of the bounded one.
fn law(fit: Option<&Fit>) -> Vec<String> {
    let Some(f) = fit else { return vec!["-".to_owned(); 8] };
    let alpha = |alpha: f64, error: f64, at_bound: bool| {
        // An alpha at the end of the searched range has no error.
        if at_bound { format!("{alpha:.0} (end)") } else { format!("{alpha:.2} ± {error:.2}") }
    };
    let p = |p: Option<f64>| p.map_or_else(|| "-".to_owned(), |p| format!("{p:.2}"));
    vec![
        alpha(f.alpha, f.alpha_error, f.alpha_at_bound),
        f.xmin.to_string(),
        format!("{:.3}", f.ks),
        p(f.p),
        alpha(f.bounded_alpha, f.bounded_alpha_error, f.bounded_alpha_at_bound),
        format!("{}-{}", f.bounded_xmin, f.bounded_xmax),
        format!("{:.3}", f.bounded_ks),
        p(f.bounded_p),
    ]
}

fn graph_row(name: String, r: &OverlayReport) -> Vec<String> {
    let figure = |v: Option<f64>, digits: usize| {
        v.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
    };
    let percent =
        |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{:.1} %", v * 100.0));
    vec![
        name,
        r.edges.to_string(),
        r.components.to_string(),
        percent(Some(r.largest_component)),
        figure(r.distances.map(|d| d.mean_path), 2),
        figure(r.clustering.map(|c| c.transitivity), 3),
        percent(r.left_after_failures),
        percent(r.left_after_attack),
        figure(r.load.map(|l| l.busiest), 1),
    ]
}
