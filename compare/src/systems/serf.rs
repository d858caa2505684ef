//! serf: an agent in a process of its own for each node, whose log names the members.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::{MemberChange, SystemKind};
use crate::process::{find_program, other_program};

/// Tries to find a port that is free for TCP and UDP.
const PORT_TRIES: usize = 100;

/// The command that runs an agent, which joins through another one if it is given. The log goes to
/// standard output.
pub(crate) fn agent(index: usize, port: u16, join: Option<u16>) -> Result<Command> {
    let Some((program, package)) = SystemKind::Serf.program() else { bail!("serf has no program") };
    let Some(program) = find_program(program) else {
        bail!("{program} is not installed: apt-get install {package}");
    };
    let mut command = other_program(program)?;
    command
        .arg("agent")
        .arg(format!("-node={}", name(index)))
        .arg(format!("-bind=127.0.0.1:{port}"))
        .arg(format!("-rpc-addr=127.0.0.1:{}", free_port()?));
    if let Some(join) = join {
        command.arg(format!("-retry-join=127.0.0.1:{join}")).arg("-retry-interval=1s");
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

/// The name of an agent, which is its id.
pub(crate) fn name(index: usize) -> String {
    format!("node-{index}")
}

/// A port that was free for TCP and UDP on loopback a moment ago: serf cannot choose one itself.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let port = tcp.local_addr().context("no port is free")?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no port that is free for TCP and UDP on 127.0.0.1 in {PORT_TRIES} tries")
}

/// The change that a line of the log reports, if it reports one.
pub(crate) fn parse_log_line(line: &str) -> Option<MemberChange> {
    let (_, event) = line.split_once("serf: EventMember")?;
    let (kind, rest) = event.split_once(": ")?;
    let alive = match kind {
        "Join" => true,
        "Failed" | "Leave" | "Reap" => false,
        _ => return None,
    };
    Some(MemberChange { id: rest.split_whitespace().next()?.to_owned(), alive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_about_members_are_recognised() {
        let change = |id: &str, alive| Some(MemberChange { id: id.to_owned(), alive });
        let line = |event: &str| format!("    2026/01/01 00:00:00 [INFO] serf: {event}");
        let parse = |event: &str| parse_log_line(&line(event));
        assert_eq!(parse("EventMemberJoin: node-1 127.0.0.1"), change("node-1", true));
        assert_eq!(parse("EventMemberFailed: node-1 127.0.0.1"), change("node-1", false));
        assert_eq!(parse("EventMemberUpdate: node-1"), None);
        assert_eq!(parse("attempting reconnect to node-1"), None);
        assert_eq!(parse_log_line("==> Serf agent running!"), None);
    }
}
