//! The command line of a node that the run starts.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rumormill_launch::args::NetworkArgs;
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use tokio::process::Command;

use crate::log::LogArgs;

/// The arguments that all children have in common.
pub(super) struct ChildCommands<'a> {
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) network: &'a NetworkArgs,
    pub(super) run_dir: Option<&'a Path>,
    pub(super) log: &'a LogArgs,
}

impl ChildCommands<'_> {
    /// The command of a seed, without its address.
    pub(super) fn seed(&self, name: &str) -> Command {
        self.command("seed", name)
    }

    /// The command of a peer.
    pub(super) fn peer(&self, name: &str) -> Command {
        let mut c = self.command("peer", name);
        c.arg("--broadcast").arg(self.network.broadcast.to_string());
        if let Some(bytes) = self.network.retention {
            c.arg("--retention").arg(bytes.to_string());
        }
        if let Some(age) = self.network.retention_age {
            c.arg("--retention-age").arg(format!("{}ms", age.as_millis()));
        }
        if let Some(n) = self.network.max_degree {
            c.arg("--max-degree").arg(n.to_string());
        }
        // The run tells the peer what to publish; with `classic` it would publish by itself as
        // well.
        c.arg("--messages").arg("0");
        // The whole network ends: soon there is no node left that the peer could hand over to.
        c.arg("--leave-within").arg("3s");
        c.arg("--listen").arg(ANY_LOOPBACK_PORT.to_string());
        c
    }

    /// The command of a child, in a process group of its own, so that a Ctrl-C on the terminal
    /// reaches this process only, which then ends the children in order.
    fn command(&self, role: &str, name: &str) -> Command {
        let mut c = Command::new(&self.program);
        // The arguments below already include what the environment says.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("RUMOR_")) {
                c.env_remove(&name);
            }
        }
        c.arg(role).arg("--supervised").arg("--name").arg(name);
        c.arg("--config").arg(&self.config);
        c.arg("--preset").arg(self.network.common.preset.to_string());
        if let Some(file) = &self.network.common.network_key_file {
            c.arg("--network-key-file").arg(file);
        }
        if let Some(dir) = self.run_dir {
            c.arg("--run-dir").arg(dir);
        }
        c.arg("--log-dir").arg(&self.log.log_dir).arg("--log-level").arg(&self.log.log_level);
        if self.log.no_log {
            c.arg("--no-log");
        }
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c.kill_on_drop(true).process_group(0);
        c
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rumormill::proto::{BroadcastMode, Preset};
    use rumormill_launch::args::CommonArgs;

    use super::*;

    /// `rumor peer --preset classic` publishes by itself. Under `up` it must not: each message
    /// would arrive twice.
    #[test]
    fn child_peer_publishes_nothing_by_itself() {
        let log = LogArgs { log_dir: "logs".into(), no_log: true, log_level: "info".to_owned() };
        let network = NetworkArgs {
            common: CommonArgs { preset: Preset::Classic, network_key_file: None },
            broadcast: BroadcastMode::Trees,
            retention: Some(1 << 24),
            retention_age: Some(Duration::from_millis(90_500)),
            max_degree: Some(7),
        };
        let (program, config) = ("rumor".into(), "config.txt".into());
        let commands =
            ChildCommands { program, config, network: &network, run_dir: None, log: &log };
        let text = |command: &Command| {
            let args = command.as_std().get_args().map(|a| a.to_string_lossy().into_owned());
            args.collect::<Vec<_>>().join(" ")
        };
        let (peer, seed) = (text(&commands.peer("n")), text(&commands.seed("n")));
        assert!(peer.contains("--messages 0"), "{peer}");
        assert!(!seed.contains("--messages"), "a seed has no such flag: {seed}");
        let retention = "--retention 16777216 --retention-age 90500ms --max-degree 7";
        assert!(peer.contains(retention), "{peer}");
        assert!(!seed.contains("--retention"), "a seed keeps no messages: {seed}");
    }
}
