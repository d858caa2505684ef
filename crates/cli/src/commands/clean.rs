//! `rumor clean`

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rumormill_launch::log_dir::{self, PEERS, SEEDS};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;
use rumormill_units::size;

/// Remove log files
///
/// Only files that `rumor` itself writes are removed: NAME.log, NAME.messages.log and
/// NAME.degrees.log, and their older parts NAME.log.1 and so on, in `seeds` and `peers` of the log
/// directory. Everything else stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  rumor clean
  rumor clean --yes --log-dir /var/log/rumor")]
pub(crate) struct CleanArgs {
    /// Directory of the logs
    #[arg(long, value_name = "DIR", default_value = log_dir::DEFAULT)]
    log_dir: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &CleanArgs) -> Outcome {
    let failed = |e: io::Error| {
        Failure::new(Exit::Failed, format!("cannot read {}: {e}", args.log_dir.display()))
    };
    let logs = find(&args.log_dir).map_err(failed)?;
    if logs.is_empty() {
        out::print(&format!("no logs in {}\n", args.log_dir.display()))?;
        return Ok(Exit::Ok);
    }
    let bytes: u64 = logs.iter().map(|l| l.bytes).sum();
    let what =
        format!("{} log files ({}) in {}", logs.len(), size::show(bytes), args.log_dir.display());
    if !args.yes && !confirm(&what)? {
        out::print("nothing removed\n")?;
        return Ok(Exit::Ok);
    }
    remove(&args.log_dir, &logs)?;
    out::print(&format!("removed {what}\n"))?;
    Ok(Exit::Ok)
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    bytes: u64,
}

/// The logs in a directory, sorted by path.
fn find(dir: &Path) -> io::Result<Vec<Log>> {
    let mut logs = Vec::new();
    for kind in [SEEDS, PEERS] {
        let entries = match fs::read_dir(dir.join(kind)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            // Of the entry itself: the file that a link points to is no log of `rumor`.
            let meta = entry.metadata()?;
            if meta.is_file() && entry.file_name().to_str().is_some_and(is_log) {
                logs.push(Log { path: entry.path(), bytes: meta.len() });
            }
        }
    }
    logs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(logs)
}

/// Whether a file name is `NAME.log`, or that of an older part of it, `NAME.log.1`.
fn is_log(name: &str) -> bool {
    let (stem, last) = name.rsplit_once('.').unwrap_or((name, ""));
    let numbered = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    let name = if numbered { stem } else { name };
    name.strip_suffix(".log").is_some_and(|stem| !stem.is_empty())
}

/// Asks the user whether to remove the logs.
fn confirm(what: &str) -> Outcome<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("there are {what}; without a terminal to ask on, say --yes to remove them"),
        ));
    }
    out::print(&format!("remove {what}? [y/N] "))?;
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    let _ = io::stdout().flush();
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn remove(dir: &Path, logs: &[Log]) -> Outcome<()> {
    for log in logs {
        fs::remove_file(&log.path).map_err(|e| {
            let message = format!(
                "cannot remove {}: {e}; the files listed above are removed, the others are not",
                log.path.display()
            );
            Failure::new(Exit::Failed, message)
        })?;
        out::print(&format!("{}\n", log.path.display()))?;
    }
    // A directory that is not empty stays; removing it is an error that does not matter here.
    for empty in [dir.join(SEEDS), dir.join(PEERS), dir.to_owned()] {
        let _ = fs::remove_dir(empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_names_are_told_from_other_names() {
        for log in ["a.log", "a.messages.log", "seed-1.degrees.log", "a.log.1", "a.log.12"] {
            assert!(is_log(log), "{log}");
        }
        for other in ["a.txt", ".log", "log", "a.log.gz", "a.log.1.gz", "a.log.", "a.1"] {
            assert!(!is_log(other), "{other}");
        }
    }

    #[test]
    fn links_and_other_files_are_not_found() {
        let tmp = tempfile::tempdir().unwrap();
        let peers = tmp.path().join(PEERS);
        fs::create_dir(&peers).unwrap();
        fs::write(peers.join("a.log"), "12345").unwrap();
        fs::write(peers.join("notes.txt"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", peers.join("b.log")).unwrap();
        let found = find(tmp.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.clone(), found[0].bytes), (peers.join("a.log"), 5));
    }
}
