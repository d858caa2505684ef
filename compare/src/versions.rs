//! The versions of the systems.

use std::process::Command;

use crate::process::find_program;
use crate::systems::SystemKind;

/// The versions of the libraries that this program is built with.
const LOCK_FILE: &str = include_str!("../Cargo.lock");

/// The version of a system, in words; `None` if its program is not installed.
pub(crate) fn of(system: SystemKind) -> Option<String> {
    let library = |name: &str| format!("{name} {}", locked(LOCK_FILE, name).unwrap_or("unknown"));
    let libraries =
        |names: &[&str]| names.iter().map(|n| library(n)).collect::<Vec<_>>().join(", ");
    match system {
        SystemKind::Rumormill => Some(library("rumormill")),
        SystemKind::Gossipsub => Some(libraries(&["libp2p", "libp2p-gossipsub"])),
        SystemKind::IrohGossip => Some(libraries(&["iroh-gossip", "iroh"])),
        SystemKind::Nats => {
            let server = program_version("nats-server", "--version")?;
            Some(format!("{server}, client {}", library("async-nats")))
        }
        SystemKind::Serf => Some(format!("serf {}", program_version("serf", "version")?)),
    }
}

/// The first line that a program prints about its version.
fn program_version(name: &str, argument: &str) -> Option<String> {
    let output = Command::new(find_program(name)?).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next().unwrap_or("of unknown version").trim().to_owned())
}

/// The version of a package in a lock file of cargo.
fn locked<'a>(lock_file: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lock_file.lines();
    lines.find(|line| line.strip_prefix("name = ").is_some_and(|n| n.trim_matches('"') == name))?;
    Some(lines.next()?.strip_prefix("version = ")?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_libraries_are_read_from_the_lock_file() {
        let text = "[[package]]\nname = \"a-b\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        assert_eq!((locked(text, "a"), locked(text, "a-b")), (Some("2.0.0"), Some("1.0.0")));
        assert_eq!(locked(text, "c"), None);
        for name in ["rumormill", "libp2p", "libp2p-gossipsub", "iroh", "iroh-gossip", "async-nats"]
        {
            assert!(locked(LOCK_FILE, name).is_some(), "{name}");
        }
    }
}
