//! The options of a run.

use std::path::PathBuf;
use std::time::Duration;

use rumormill_launch::control::HttpArgs;
use rumormill_units::duration;

/// How long a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunLength {
    /// This time.
    For(Duration),
    /// Until the user interrupts it.
    Forever,
}

impl RunLength {
    /// Parses a time, or `forever`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(RunLength::Forever);
        }
        match duration::parse(text) {
            Ok(d) if d.is_zero() => {
                Err("a run of no length shows nothing: give a longer time".to_owned())
            }
            Ok(d) => Ok(RunLength::For(d)),
            Err(e) => Err(format!("{e}, or `forever`")),
        }
    }
}

/// A fault for a number of peers at a time: `N@TIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FaultSpec {
    pub(crate) peers: usize,
    /// From the start of the run.
    pub(crate) at: Duration,
}

impl FaultSpec {
    /// Parses `N@TIME`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected N@TIME, such as 3@20s";
        let (peers, at) = text.split_once('@').ok_or(expected)?;
        let peers: usize = peers.parse().map_err(|_| expected)?;
        if peers == 0 {
            return Err("no peer is named: N is 0".to_owned());
        }
        Ok(FaultSpec { peers, at: duration::parse(at)? })
    }
}

/// A fault of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// SIGKILL; in one process, all sockets of the node are dropped at once.
    Kill,
    /// SIGSTOP; in one process, no task of the node runs any more, and its sockets stay open.
    Stop,
}

/// The options of a run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seeds: Option<usize>,
    pub(crate) peers: usize,
    pub(crate) length: Option<RunLength>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) every: Duration,
    pub(crate) messages: u64,
    pub(crate) after: Option<Duration>,
    pub(crate) payload: usize,
    pub(crate) kill: Vec<FaultSpec>,
    pub(crate) stop: Vec<FaultSpec>,
    pub(crate) processes: bool,
    /// How many files this process may have open; `None` means that there is no limit.
    pub(crate) open_files: Option<u64>,
}

/// Where the page of a run and its control files are.
#[derive(Debug)]
pub(crate) struct ControlOptions {
    pub(crate) http: HttpArgs,
    pub(crate) run_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_fault_specs_and_lengths_are_refused() {
        for bad in ["3", "@3s", "x@3s", "3@", "3@5", "-1@5s"] {
            assert!(FaultSpec::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RunLength::parse("forever"), Ok(RunLength::Forever));
        assert!(RunLength::parse("0").is_err() && RunLength::parse("ever").is_err());
    }
}
