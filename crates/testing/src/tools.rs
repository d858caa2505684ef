//! Tools that some tests need beside Rust: programs, and rights on the machine.
//!
//! A test that lacks one of its tools is skipped, so that `cargo test --workspace` passes on every
//! machine. A skip is always visible: libtest has no skipped state for a running test, and hides
//! the output of a test that passes, so a line goes to standard error past the capture of libtest.

use std::io::Write as _;
use std::panic::Location;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Turns each skip into a failure if set to `1`; `tools/test` sets it.
const REQUIRE_TOOLS: &str = "RUMORMILL_REQUIRE_TOOLS";
/// Names a file that gets one line for each skip, for a count over all test programs.
const SKIPPED_TESTS: &str = "RUMORMILL_SKIPPED_TESTS";

/// The number of tests that this test program has skipped.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);
/// Makes the names of network namespaces unique within this process.
static NAMESPACES: AtomicUsize = AtomicUsize::new(0);

/// Something that a test needs and a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// A terminal of a fixed size: `tmux`.
    Tmux,
    /// A headless browser: `chromium`, led by `chromedriver`.
    Browser,
    /// Hosts with a network each: `ip netns`, for which the test has to run as root.
    NetworkNamespaces,
    /// A firewall within a network namespace: `nft`, and the module of the kernel.
    PacketFilter,
    /// A limit on the rate of a line: `tc` with the discipline `tbf` of the kernel.
    RateLimit,
}

impl Tool {
    /// How to get the tool.
    const fn hint(self) -> &'static str {
        match self {
            Tool::Tmux => "tmux (Debian package tmux)",
            Tool::Browser => "chromedriver and chromium (Debian packages chromium-driver chromium)",
            Tool::NetworkNamespaces => "network namespaces (root, and Debian package iproute2)",
            Tool::PacketFilter => "nft in a network namespace (root, and Debian package nftables)",
            Tool::RateLimit => "tc with tbf (root, Debian package iproute2, module sch_tbf)",
        }
    }

    fn is_available(self) -> bool {
        match self {
            Tool::Tmux => is_in_path("tmux"),
            Tool::Browser => {
                is_in_path("chromedriver")
                    && ["chromium", "chromium-browser", "google-chrome"].into_iter().any(is_in_path)
            }
            Tool::NetworkNamespaces => works_in_namespace(&["true"]),
            // Listing the tables needs the program, the module of the kernel and the rights.
            Tool::PacketFilter => works_in_namespace(&["nft", "list", "tables"]),
            Tool::RateLimit => works_in_namespace(&[
                "tc", "qdisc", "replace", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst",
                "32k", "latency", "200ms",
            ]),
        }
    }
}

/// Whether this machine has all of these tools. If it lacks one, the test has to return at once.
///
/// Each missing tool is named on standard error with the test and the number of tests that this
/// test program has skipped.
///
/// # Panics
///
/// If a tool is missing and the environment has `RUMORMILL_REQUIRE_TOOLS=1`.
#[must_use]
#[track_caller]
pub fn has_tools(tools: &[Tool]) -> bool {
    let missing: Vec<&str> = tools.iter().filter(|t| !t.is_available()).map(|t| t.hint()).collect();
    if missing.is_empty() {
        return true;
    }
    let test = test_name(Location::caller());
    let skip = format!("skipped: {test} lacks {}", missing.join(", "));
    assert!(std::env::var_os(REQUIRE_TOOLS).is_none_or(|v| v != "1"), "not to be {skip}");
    let count = SKIPPED.fetch_add(1, Relaxed) + 1;
    // libtest captures the output of the print macros, not this. One write keeps lines whole.
    let line = format!("{skip} [{count} skipped in this test program]\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIPPED_TESTS) {
        append(Path::new(&path), &skip);
    }
    false
}

/// The name of the running test, which libtest gives to its thread, or else the place in its code.
fn test_name(caller: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("the test at {}:{}", caller.file(), caller.line()),
    }
}

fn append(path: &Path, line: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Whether a command succeeds in a new network namespace.
fn works_in_namespace(command: &[&str]) -> bool {
    let number = NAMESPACES.fetch_add(1, Relaxed);
    let name = format!("rm-tool-{}-{number}", std::process::id());
    if !succeeds("ip", &["netns", "add", &name]) {
        return false;
    }
    let works = succeeds("ip", &[&["netns", "exec", &name], command].concat());
    succeeds("ip", &["netns", "del", &name]);
    works
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut c = Command::new(program);
    c.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    c.status().is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test of this file again, in a process with no program in its path.
    fn run_without_tools(test: &str, environment: &[(&str, &Path)]) -> std::process::Output {
        let mut c = Command::new(std::env::current_exe().unwrap());
        c.args(["--ignored", "--exact", test]).env("PATH", "").env_remove(REQUIRE_TOOLS);
        c.envs(environment.iter().copied()).output().unwrap()
    }

    /// Not a test by itself: the tests below run it where the tool is missing.
    #[test]
    #[ignore = "a part of the tests of skipping"]
    fn test_that_needs_tmux() {
        assert!(!has_tools(&[Tool::Tmux]));
    }

    #[test]
    fn test_without_its_tool_passes_and_is_named_on_standard_error_and_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped");
        let ran =
            run_without_tools("tools::tests::test_that_needs_tmux", &[(SKIPPED_TESTS, &file)]);
        let skip = "skipped: tools::tests::test_that_needs_tmux lacks tmux (Debian package tmux)";
        assert!(ran.status.success(), "{ran:#?}");
        let shown = String::from_utf8(ran.stderr).unwrap();
        assert!(shown.contains(&format!("{skip} [1 skipped in this test program]\n")), "{shown}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{skip}\n"));
    }

    #[test]
    fn test_without_its_tool_fails_where_tools_are_required() {
        let ran = run_without_tools(
            "tools::tests::test_that_needs_tmux",
            &[(REQUIRE_TOOLS, Path::new("1"))],
        );
        assert!(!ran.status.success(), "{ran:#?}");
        let shown = String::from_utf8_lossy(&ran.stdout);
        assert!(shown.contains("lacks tmux (Debian package tmux)"), "{shown}");
    }
}
