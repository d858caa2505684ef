//! The message log of a peer: the messages that it received, in the form
//! `[2026-02-26 19->39.24]:127.0.0.1: Message 0 [Hello from peer-3]`:
//! time of publishing, address of the publisher, sequence number, content.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rumormill::proto::PeerId;
use rumormill::{Gap, Node, ReceivedMessage};
use rumormill_terminal::{escape, utc};
use tokio::time::{Duration, Instant};

use super::files::LogFile;

/// How often the member list is read at most, for the addresses of publishers.
const ADDRESS_REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// The message log of one peer.
#[derive(Debug)]
pub(crate) struct MessageLog {
    file: Option<LogFile>,
    addresses: BTreeMap<PeerId, IpAddr>,
    read: Option<Instant>,
}

impl MessageLog {
    pub(super) const fn new(file: Option<LogFile>) -> Self {
        MessageLog { file, addresses: BTreeMap::new(), read: None }
    }

    /// Adds a message that `node` received; messages that it published itself are left out.
    pub(crate) async fn record(&mut self, node: &Node, incoming: &ReceivedMessage) {
        let publisher = incoming.message.id().publisher;
        if self.file.is_none() || publisher == node.id() {
            return;
        }
        let address = self.address(node, publisher).await;
        let line = line(address, publisher, incoming);
        if let Some(file) = &self.file {
            file.line(&line);
        }
    }

    /// Notes that messages are missing here.
    pub(crate) fn record_gap(&self, gap: &Gap) {
        if let Some(file) = &self.file {
            let Gap { publisher, from, to, .. } = gap;
            let last = to.saturating_sub(1);
            file.line(&format!("(Messages {from} to {last} of {} are missing)", publisher.short()));
        }
    }

    /// Writes the log and waits until the disk has it; says whether it has. Without a log there is
    /// nothing to write, and the answer is yes.
    pub(crate) async fn sync(&self) -> bool {
        let Some(file) = self.file.clone() else { return true };
        tokio::task::spawn_blocking(move || file.sync()).await.unwrap_or(false)
    }

    async fn address(&mut self, node: &Node, id: PeerId) -> Option<IpAddr> {
        let stale = self.read.is_none_or(|at| at.elapsed() >= ADDRESS_REFRESH_INTERVAL);
        if !self.addresses.contains_key(&id) && stale {
            self.read = Some(Instant::now());
            let of = |a: &rumormill::proto::Address| a.0.ip();
            // A stopped node gives no further addresses; the known ones stay valid.
            if let Ok(members) = node.members().await {
                let known =
                    members.iter().filter_map(|m| Some((m.id, m.addresses.first().map(of)?)));
                self.addresses = known.collect();
            }
        }
        self.addresses.get(&id).copied()
    }
}

fn line(address: Option<IpAddr>, publisher: PeerId, incoming: &ReceivedMessage) -> String {
    let message = &incoming.message;
    let from = match address {
        Some(IpAddr::V4(a)) => a.to_string(),
        // In brackets, as in URLs, because the line has colons as well.
        Some(IpAddr::V6(a)) => format!("[{a}]"),
        // The id of a publisher whose record has not arrived yet, or was removed.
        None => publisher.short(),
    };
    format!(
        "[{}]:{from}: Message {} [{}]",
        utc::message_stamp(message.published_at().0),
        message.id().sequence,
        escape::payload(message.payload()),
    )
}
