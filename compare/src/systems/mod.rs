//! The systems that are compared, and what each of them must offer.

pub(crate) mod gossipsub;
pub(crate) mod iroh;
pub(crate) mod nats;
pub(crate) mod rumormill;
pub(crate) mod serf;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::plan::Work;
use crate::scoreboard::Sink;

/// The topic, or subject, of all messages.
pub(crate) const TOPIC: &str = "compare";

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SystemKind {
    /// This project
    Rumormill,
    /// libp2p gossipsub
    Gossipsub,
    /// iroh-gossip
    IrohGossip,
    /// NATS, a broker: one server for all nodes
    Nats,
    /// serf, for failure detection only
    Serf,
}

impl SystemKind {
    /// Every system, in the order of the table.
    pub(crate) const ALL: [SystemKind; 5] = [
        SystemKind::Rumormill,
        SystemKind::Gossipsub,
        SystemKind::IrohGossip,
        SystemKind::Nats,
        SystemKind::Serf,
    ];

    /// Its name in the table and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            SystemKind::Rumormill => "rumormill",
            SystemKind::Gossipsub => "gossipsub",
            SystemKind::IrohGossip => "iroh-gossip",
            SystemKind::Nats => "nats",
            SystemKind::Serf => "serf",
        }
    }

    /// Whether it can do a kind of work.
    pub(crate) const fn can(self, work: Work) -> bool {
        match (self, work) {
            (SystemKind::Serf, work) => matches!(work, Work::Detection),
            (SystemKind::Nats, Work::Detection) => false,
            _ => true,
        }
    }

    /// The program that it needs, and the package that has it.
    pub(crate) const fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            SystemKind::Nats => Some(("nats-server", "nats-server")),
            SystemKind::Serf => Some(("serf", "serf")),
            _ => None,
        }
    }

    /// What it does less or more than the others.
    pub(crate) const fn note(self) -> &'static str {
        match self {
            SystemKind::Rumormill => {
                "signs every batch of messages, delivers each publisher's messages in order and once, \
                 repairs losses, slows publishers down instead of dropping, TLS 1.3 over TCP; every \
                 node knows all members; one seed keeps the list of members, and its costs count. \
                 Preset lan, trees. Removal takes the agreement of witnesses and a majority of the \
                 seeds."
            }
            SystemKind::Gossipsub => {
                "signs and verifies every message, does not order them, repairs losses with gossip \
                 about the last few seconds only, drops messages that wait for a link for more than a \
                 second or find its queue full; Noise and yamux over TCP; default mesh (6 of about 12 \
                 links per node). It has no member list and no failure detector: removed means that \
                 the nodes with a link to the node have closed it, because TCP failed, or libp2p's \
                 ping failed twice (after about a minute with its defaults)."
            }
            SystemKind::IrohGossip => {
                "neither signs nor orders messages, closes a subscription that lags; TLS 1.3 in QUIC \
                 over UDP, relays and address lookup disabled. A node knows only its neighbours (5 in \
                 the active view): removed means that these have reported the neighbour as down, which \
                 takes the idle timeout of QUIC (30 s) or a little more."
            }
            SystemKind::Nats => {
                "a broker, not a peer-to-peer network: one server relays every message, and nothing \
                 works without it; TLS to the server, no signatures, order per publisher, no \
                 acknowledgements (core NATS, without JetStream), drops slow subscribers. The \
                 server's processor time and memory count. Bytes are those of its protocol, without \
                 TLS. Clients do not learn about each other, so there is no detection."
            }
            SystemKind::Serf => {
                "membership and failure detection only (SWIM); unencrypted UDP here, as by default; \
                 profile lan; a process of its own per node."
            }
        }
    }
}

/// How the nodes of a system are to be started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// A directory for temporary files.
    pub(crate) scratch: PathBuf,
}

/// A system whose nodes run in this process and carry messages.
pub(crate) trait System: Sized {
    /// Publishes at one node.
    type Publisher: Publisher;

    /// Starts a node for each sink. A node calls its sink in the task that is the application's.
    async fn start(setup: &Setup, sinks: Vec<Sink>) -> Result<Self>;

    /// Waits until the network is as it will stay: every node has joined.
    async fn wait_until_ready(&self) -> Result<()>;

    /// The publisher of a node; `None` if there is no such node.
    fn publisher(&self, node: usize) -> Option<Self::Publisher>;

    /// Bytes that all nodes have written to their sockets so far; `None` if the system does not
    /// count them.
    async fn bytes_sent(&self) -> Result<Option<u64>>;

    /// The process of a server, whose costs count as well.
    fn server_pid(&self) -> Option<u32> {
        None
    }

    /// Ends all nodes.
    async fn stop(self);
}

/// Publishes at one node.
pub(crate) trait Publisher: Clone + Send + Sync + 'static {
    /// Publishes a message. Resolves when the node has accepted it.
    fn publish(&self, payload: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

/// How a node that is a process of its own is to be started.
#[derive(Debug, Clone)]
pub(crate) struct MemberSetup {
    /// Its number.
    pub(crate) index: usize,
    /// The addresses of seeds, where the system has them.
    pub(crate) seeds: Vec<String>,
}

/// A node that is a process of its own and reports which other nodes it knows.
pub(crate) trait Member: Sized {
    /// Starts the node.
    async fn start(setup: MemberSetup) -> Result<Self>;

    /// Its id, by which other nodes name it.
    fn id(&self) -> String;

    /// The address at which other nodes reach it.
    fn address(&self) -> String;

    /// Joins the other nodes, given the addresses of all nodes by number.
    async fn join(&mut self, addresses: &[String]) -> Result<()>;

    /// The next node that it learns of, or removes.
    async fn next_change(&mut self) -> Result<MemberChange>;
}

/// A node learns of another node, or removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberChange {
    /// The id of the other node.
    pub(crate) id: String,
    /// Whether it counts as alive now.
    pub(crate) alive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_names_are_those_of_the_command_line() {
        for system in SystemKind::ALL {
            let value = system.to_possible_value().unwrap();
            assert_eq!(value.get_name(), system.name());
        }
    }
}
