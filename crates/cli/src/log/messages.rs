//! The message log of a peer: what it received, in the form
//! `[2026-02-26 19->39.24]:127.0.0.1: Message 0 [Hello from peer-3]`:
//! time of publishing, address of the publisher, its number, its content.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rumormill::Node;
use rumormill::proto::{Delivery, PeerId};
use tokio::time::{Duration, Instant};

use super::files::LogFile;
use crate::{escape, utc};

/// How often the member list is read anew at most, to learn addresses.
const ADDRESSES_EVERY: Duration = Duration::from_secs(2);

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

    /// Adds a message that `node` received; its own are not received.
    pub(crate) async fn record(&mut self, node: &Node, delivery: &Delivery) {
        if self.file.is_none() || delivery.from.is_none() {
            return;
        }
        let publisher = delivery.message.id.publisher;
        let address = self.address(node, publisher).await;
        let line = line(address, publisher, delivery);
        if let Some(file) = &self.file {
            file.line(&line);
        }
    }

    /// Says that messages are missing here, though the peer received them.
    pub(crate) fn missed(&self, n: u64) {
        if let Some(file) = &self.file {
            file.line(&format!("({n} messages before this line were received, but not logged)"));
        }
    }

    async fn address(&mut self, node: &Node, id: PeerId) -> Option<IpAddr> {
        let stale = self.read.is_none_or(|at| at.elapsed() >= ADDRESSES_EVERY);
        if !self.addresses.contains_key(&id) && stale {
            self.read = Some(Instant::now());
            let members = node.members().await;
            let of = |a: &rumormill::proto::Address| a.0.ip();
            self.addresses =
                members.iter().filter_map(|m| Some((m.id, m.addresses.first().map(of)?))).collect();
        }
        self.addresses.get(&id).copied()
    }
}

fn line(address: Option<IpAddr>, publisher: PeerId, delivery: &Delivery) -> String {
    let body = delivery.message.body();
    format!(
        "[{}]:{}: Message {} [{}]",
        utc::message_stamp(body.published_at),
        // A publisher whose record has not come yet, or is gone, still has its id.
        address.map_or_else(|| publisher.short(), |a| a.to_string()),
        body.id.sequence,
        escape::payload(body.payload()),
    )
}
