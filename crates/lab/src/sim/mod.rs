//! `rumor-lab sim`: from the command line to reports.

pub(crate) mod args;
mod campaign;
mod files;
mod overlays;
mod show;

use std::path::Path;

use rumormill_sim::campaign::{compare, merge, summarise};
use rumormill_sim::scenario::BUILTIN;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;
use rumormill_terminal::table::Table;

use self::args::{PlayArgs, SimArgs, SimCommand};
use self::files::{builtin, shown_path};
use self::show::print;

/// Plays scenarios, or works with the reports of earlier runs.
pub(crate) fn run(args: &SimArgs) -> Outcome {
    match &args.command {
        Some(SimCommand::Compare { before, after, json }) => compare_reports(before, after, *json),
        Some(SimCommand::Merge { files, json, out }) => merge_reports(files, *json, out.as_deref()),
        Some(SimCommand::Overlays(args)) => overlays::run(args),
        None => play(&args.play),
    }
}

fn play(args: &PlayArgs) -> Outcome {
    if args.list {
        return list();
    }
    if let Some(name) = &args.show {
        out::print(builtin(name)?.text)?;
        return Ok(Exit::Ok);
    }
    campaign::run(args)
}

/// Lists the built-in scenarios.
fn list() -> Outcome {
    let mut table = Table::new(vec!["NAME", "ABOUT"]);
    for b in BUILTIN {
        let about = b.scenario().map_err(|e| Failure::new(Exit::Config, e))?.about;
        table.row(vec![b.name.to_owned(), about]);
    }
    out::print(&table.render(out::Paint::stdout()))?;
    Ok(Exit::Ok)
}

/// Shows the differences between two reports.
fn compare_reports(before: &Path, after: &Path, json: bool) -> Outcome {
    let (b, a) = (files::report(before)?, files::report(after)?);
    let changes = compare(&b, &a);
    let broke = changes.iter().any(|c| c.broke);
    if json {
        out::json(&changes)?;
    } else {
        out::print(&show::changes(&b, &a, &changes, out::Paint::stdout()))?;
    }
    Ok(if broke { Exit::Failed } else { Exit::Ok })
}

/// Merges reports and summarises them.
fn merge_reports(paths: &[std::path::PathBuf], json: bool, to: Option<&Path>) -> Outcome {
    let mut all = Vec::new();
    for path in paths {
        let reports = files::reports(path)?;
        if reports.is_empty() {
            // A shard may have no run, or end before its first run has ended.
            out::say(format!("rumor-lab: there is no report in {}", shown_path(path)));
        }
        all.extend(reports);
    }
    if all.is_empty() {
        return Err(Failure::new(Exit::Config, "there are no reports to summarise"));
    }
    let all = merge(all).map_err(|e| Failure::new(Exit::Failed, e))?;
    if let Some(path) = to {
        files::write_lines(path, &all)?;
    }
    let summaries = summarise(&all);
    for s in &summaries {
        print(json, s)?;
    }
    let failed = summaries.iter().any(|s| s.passed < s.runs);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}
