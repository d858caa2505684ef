//! Running a program: to its end, or as a node that the test leads through its start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for a condition before it fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory in which a test runs a program, with its own run directory.
#[derive(Debug)]
pub struct Place {
    program: String,
    dir: TempDir,
}

impl Place {
    /// A new directory for runs of this program.
    pub fn new(program: &str) -> Self {
        Place { program: program.to_owned(), dir: tempfile::tempdir().unwrap() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The run directory of the nodes that the test starts.
    pub fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// Writes a file, and gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program with these arguments, in this directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(&self.program);
        c.args(args).current_dir(self.path());
        c.env("RUMOR_RUN_DIR", self.run_dir()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        c.stdin(Stdio::null());
        c
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().unwrap())
    }

    /// Starts a supervised node, which says where it listens and waits for its configuration.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut node = Running::spawn(self.command(args));
        node.listening = node.line();
        node
    }

    /// Runs a seed, and writes a configuration that names it; gives both.
    pub fn seed(&self) -> (Running, String) {
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

    /// Runs a peer.
    pub fn peer(&self, config: &str, name: &str) -> Running {
        let args = ["peer", "--config", config, "--supervised", "--listen", "127.0.0.1:0"];
        let mut peer = self.start(&[&args[..], &["--name", name]].concat());
        peer.go_on();
        peer
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    /// The arguments, separated by spaces.
    pub command: String,
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The run with these arguments and this output.
    pub fn of(args: &[&str], output: Output) -> Self {
        Ran {
            command: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Requires the exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A process that runs; dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The first line of a supervised node: its address.
    pub listening: Value,
    /// The second line of a supervised node: its control file.
    pub ready: Value,
}

impl Running {
    /// Starts a process whose standard output is read line by line.
    pub fn spawn(mut command: Command) -> Self {
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

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    pub fn text(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// Standard output from here to its end.
    pub fn rest(&mut self) -> String {
        self.lines.iter().map(|line| line + "\n").collect()
    }

    /// The next line of standard output, as JSON.
    pub fn line(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Tells a supervised node that its configuration is there, and waits until it runs.
    pub fn go_on(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.ready = self.line();
    }

    /// Closes standard input, on which a supervised node ends.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal, such as `-STOP`.
    pub fn signal(&self, name: &str) {
        // The program `kill` is missing on small machines; every shell has it built in.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill \"$0\" \"$1\"", name, &self.pid().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    /// Waits for the end of the process, and gives its exit code; -1 after a signal.
    pub fn wait(&mut self) -> i32 {
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

/// Waits until a condition holds, or fails the test after [`DEADLINE`].
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds(condition), "not in time: {what}");
}

/// Waits until a condition holds; `false` if it does not within [`DEADLINE`].
pub fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= DEADLINE {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    true
}

/// A port of the loopback interface that was free when it was asked for.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
