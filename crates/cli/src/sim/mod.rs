//! Simulated runs: from the command line to reports.

mod campaign;
mod files;
mod overlays;
mod show;

use std::path::Path;

use rumormill_sim::scenario::{BUILTIN, Builtin};
use serde::Serialize;

pub(crate) use self::overlays::overlays;
use self::show::Shown;
use crate::commands::sim::PlayArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::table::Table;
use crate::{escape, out};

/// Plays what the command line says.
pub(crate) fn play(args: &PlayArgs) -> Outcome {
    if args.list {
        return list();
    }
    if let Some(name) = &args.show {
        out::print(builtin(name)?.text)?;
        return Ok(Exit::Ok);
    }
    self::campaign::run(args)
}

fn builtin(name: &str) -> Outcome<&'static Builtin> {
    Builtin::named(name).map_err(|e| Failure::new(Exit::Config, e))
}

/// The scenarios that are built in.
fn list() -> Outcome {
    let mut table = Table::new(vec!["NAME", "WHAT IT SHOWS"]);
    for b in BUILTIN {
        let about = b.scenario().map_err(|e| Failure::new(Exit::Config, e))?.about;
        table.row(vec![b.name.to_owned(), about]);
    }
    out::print(&table.render(out::Paint::stdout()))?;
    Ok(Exit::Ok)
}

/// Shows what changed between two reports.
pub(crate) fn compare(before: &Path, after: &Path, json: bool) -> Outcome {
    let (b, a) = (files::report(before)?, files::report(after)?);
    let changes = campaign::compare(&b, &a);
    let broke = changes.iter().any(|c| c.broke);
    if json {
        out::json(&changes)?;
    } else {
        out::print(&show::changes(&b, &a, &changes, out::Paint::stdout()))?;
    }
    Ok(if broke { Exit::Failed } else { Exit::Ok })
}

/// Joins reports and sums them up.
pub(crate) fn merge(paths: &[std::path::PathBuf], json: bool, to: Option<&Path>) -> Outcome {
    let mut all = Vec::new();
    for path in paths {
        let reports = files::reports(path)?;
        if reports.is_empty() {
            // A shard may have nothing to play; or it ended before it had played anything.
            out::say(format!("rumor: there is no report in {}", shown(path)));
        }
        all.extend(reports);
    }
    if all.is_empty() {
        return Err(Failure::new(Exit::Config, "there is nothing to sum up"));
    }
    let all = campaign::merge(all).map_err(|e| Failure::new(Exit::Failed, e))?;
    if let Some(path) = to {
        files::write_lines(path, &all)?;
    }
    let summaries = campaign::summarise(&all);
    for s in &summaries {
        print(json, s)?;
    }
    let failed = summaries.iter().any(|s| s.passed < s.runs);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// Prints something as a line of JSON or as text.
fn print<T: Shown + Serialize>(json: bool, what: &T) -> Outcome<()> {
    if json { out::json(what) } else { out::print(&what.text(out::Paint::stdout())) }
}

/// A path as it may be shown.
fn shown(path: &Path) -> String {
    escape::text(&path.to_string_lossy())
}
