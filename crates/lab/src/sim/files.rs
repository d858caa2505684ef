//! Scenarios and reports as files.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use rumormill_sim::Report;
use rumormill_sim::scenario::Builtin;
use rumormill_terminal::escape;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use serde::Serialize;

fn failed(exit: Exit, what: &str, path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(exit, format!("cannot {what} {}: {why}", shown_path(path)))
}

/// A path, made safe for a terminal.
pub(super) fn shown_path(path: &Path) -> String {
    escape::text(&path.to_string_lossy())
}

/// The built-in scenario with this name.
pub(super) fn builtin(name: &str) -> Outcome<&'static Builtin> {
    Builtin::named(name).map_err(|e| Failure::new(Exit::Config, e))
}

/// The text of a scenario's file.
pub(super) fn scenario(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|e| failed(Exit::Config, "read", path, e))
}

/// The reports in a file, one per line.
pub(super) fn reports(path: &Path) -> Outcome<Vec<Report>> {
    let file = File::open(path).map_err(|e| failed(Exit::Config, "read", path, e))?;
    let mut all = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| failed(Exit::Config, "read", path, e))?;
        if line.trim().is_empty() {
            continue;
        }
        let report = serde_json::from_str(&line).map_err(|e| {
            failed(Exit::Config, "use", path, format!("line {} is not a report: {e}", number + 1))
        })?;
        all.push(report);
    }
    Ok(all)
}

/// The one report in a file.
pub(super) fn report(path: &Path) -> Outcome<Report> {
    let text = std::fs::read_to_string(path).map_err(|e| failed(Exit::Config, "read", path, e))?;
    serde_json::from_str(&text).map_err(|e| {
        failed(Exit::Config, "use", path, format!("it is not a report of one run: {e}"))
    })
}

/// Writes reports to a file, one per line.
pub(super) fn write_lines(path: &Path, reports: &[Report]) -> Outcome<()> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for r in reports {
            serde_json::to_writer(&mut file, r)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|e| failed(Exit::Failed, "write", path, e))
}

/// A text as a part of the name of a file.
pub(super) fn file_name_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Writes a report to a directory, under a name with the scenario, the settings and the seed.
pub(super) fn write_to(dir: &Path, report: &Report) -> Outcome<()> {
    let mut name = file_name_part(&report.scenario);
    for (path, value) in &report.set {
        name += &format!("_{}-{}", file_name_part(path), file_name_part(value));
    }
    write_json(dir, &format!("{name}_{}.json", report.seed), report)
}

/// Writes a value as JSON to a file in a directory, which is made if it is absent.
pub(super) fn write_json(dir: &Path, name: &str, what: &impl Serialize) -> Outcome<()> {
    std::fs::create_dir_all(dir).map_err(|e| failed(Exit::Failed, "make", dir, e))?;
    let path = dir.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&path)?);
        serde_json::to_writer_pretty(&mut file, what)?;
        file.write_all(b"\n")?;
        file.flush()
    };
    write().map_err(|e| failed(Exit::Failed, "write", &path, e))
}
