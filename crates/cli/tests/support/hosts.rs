//! Hosts on one switch: network namespaces, each with one network card, `eth0`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The hosts, and a directory that all of them see.
pub(crate) struct Hosts {
    dir: TempDir,
    tag: String,
    network: &'static str,
    count: usize,
}

impl Hosts {
    /// Makes hosts with the addresses `network`.1 and so on. The test needs
    /// [`Tool::NetworkNamespaces`](super::Tool).
    pub(crate) fn new(network: &'static str, count: usize) -> Self {
        // One test process can have several sets of hosts.
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().file_name().unwrap().to_string_lossy();
        let tag = format!("rm{}", name.chars().skip(4).collect::<String>());
        let hosts = Hosts { dir, tag, network, count };
        let switch = hosts.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for host in 0..count {
            let (namespace, port) = (hosts.namespace(host), format!("p{host}"));
            ip(&["netns", "add", &namespace]);
            let pair = ["type", "veth", "peer", "name", &port, "netns", &switch];
            ip(&[&["-n", &namespace, "link", "add", "eth0"][..], &pair].concat());
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            let address = format!("{}/24", hosts.address(host));
            ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        }
        hosts
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn address(&self, host: usize) -> String {
        format!("{}.{}", self.network, host + 1)
    }

    pub(crate) fn namespace(&self, host: usize) -> String {
        format!("{}h{host}", self.tag)
    }

    fn switch(&self) -> String {
        format!("{}s", self.tag)
    }

    /// Sets the switch's port of a host: `["down"]`, `["nomaster"]` for no cable.
    pub(crate) fn port(&self, host: usize, words: &[&str]) {
        let port = format!("p{host}");
        ip(&[&["-n", &self.switch(), "link", "set", &port][..], words].concat());
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool on a host; it has to succeed.
    pub(crate) fn tool(&self, host: usize, words: &[&str]) {
        ip(&[&["netns", "exec", &self.namespace(host)][..], words].concat());
    }

    /// The program under test, on a host, with a run directory of its own for each `run`.
    pub(crate) fn rumor<S: AsRef<OsStr>>(&self, host: usize, run: &str, args: &[S]) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.namespace(host), &super::program()]).args(args);
        c.current_dir(self.dir.path()).stdin(Stdio::null());
        c.env("RUMOR_RUN_DIR", self.path(format!("run-{run}")));
        c
    }

    /// Where [`Hosts::rumor`]'s output goes that has no other place.
    pub(crate) fn log(&self, name: &str) -> Stdio {
        let path = self.path(format!("{name}.out"));
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).open(path).unwrap().into()
    }

    /// What stands there.
    pub(crate) fn logged(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(format!("{name}.out"))).unwrap_or_default()
    }

    /// Prints the end of it, of each of some nodes.
    pub(crate) fn print_logs<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) {
        for name in names {
            let text = self.logged(name.as_ref());
            let lines: Vec<&str> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(25)..];
            eprintln!("---- {}\n{}", name.as_ref(), end.join("\n"));
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in 0..self.count {
            delete(&self.namespace(host));
        }
        delete(&self.switch());
    }
}

/// Deletes a network namespace if it exists.
fn delete(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "del", namespace]).output();
}

/// Runs `ip`, which has to succeed.
pub(crate) fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().unwrap();
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}
