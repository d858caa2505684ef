//! Running the program as its users do.

#![allow(dead_code)] // Each test file uses a part of it.

#[cfg(target_os = "linux")]
pub(crate) mod hosts;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test; `RUMOR_TEST_PROGRAM` can name another one, to see a test fail on it.
pub(crate) fn program() -> String {
    std::env::var("RUMOR_TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rumor").to_owned())
}

/// How long anything may take before the test says that it never will.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A directory to work in, with a run directory of its own.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program, in this place.
    pub(crate) fn rumor(&self, args: &[&str]) -> Command {
        let mut c = Command::new(program());
        c.args(args).current_dir(self.path());
        c.env("RUMOR_RUN_DIR", self.run_dir()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        c.stdin(Stdio::null());
        c
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.rumor(args).output().unwrap())
    }

    /// Starts a supervised node and leads it through its start.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut node = Running::spawn(self.rumor(args));
        node.listening = node.line();
        node
    }

    /// A seed and a configuration with it; the seed runs.
    pub(crate) fn seed(&self) -> (Running, String) {
        let config = self.path().join("config.txt").to_str().unwrap().to_owned();
        let mut seed = self.start(&[
            "seed",
            "--config",
            &config,
            "--listen",
            "127.0.0.1:0",
            "--supervised",
            "--name",
            "seed-1",
        ]);
        let address = seed.listening["listening"].as_str().unwrap().to_owned();
        let id = seed.listening["id"].as_str().unwrap().to_owned();
        self.write("config.txt", &format!("# the only one\n{address}#{id}\n"));
        seed.go_on();
        (seed, config)
    }

    /// A peer that runs.
    pub(crate) fn peer(&self, config: &str, name: &str) -> Running {
        let args = ["peer", "--config", config, "--supervised", "--listen", "127.0.0.1:0"];
        let mut peer = self.start(&[&args[..], &["--name", name]].concat());
        peer.go_on();
        peer
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(args: &[&str], output: Output) -> Self {
        Ran {
            command: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A process that is ended when the test is.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(crate) listening: Value,
    pub(crate) ready: Value,
}

impl Running {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Running { child, stdin, lines, listening: Value::Null, ready: Value::Null }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it writes.
    pub(crate) fn text(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// All it writes from here to its end.
    pub(crate) fn rest(&mut self) -> String {
        self.lines.iter().map(|line| line + "\n").collect()
    }

    /// The next line it writes, which is JSON.
    pub(crate) fn line(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Tells it that its configuration is there.
    pub(crate) fn go_on(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.ready = self.line();
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(name).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> i32 {
        let child = &mut self.child;
        let mut status = None;
        until("the process ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, looking every now and then.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds(condition), "not in time: {what}");
}

/// Whether a condition comes to hold in time.
pub(crate) fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= DEADLINE {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    true
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
