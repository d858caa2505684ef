//! The address that worked last for each remote with several addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rumormill_proto::{DialTarget, PeerId};

/// The most remotes remembered. Beyond that, peers are forgotten before seeds: their addresses are
/// then tried in the given order.
const MAX_REMEMBERED: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum RemoteKey {
    // Peers come first in the order, so that they are forgotten before the few seeds.
    Peer(PeerId),
    Seed(String),
}

impl From<&DialTarget> for RemoteKey {
    fn from(target: &DialTarget) -> Self {
        match target {
            DialTarget::Seed(seed) => RemoteKey::Seed(seed.host_port.clone()),
            DialTarget::Peer { id, .. } => RemoteKey::Peer(*id),
        }
    }
}

/// The address at which each remote with several addresses answered last.
#[derive(Debug, Default)]
pub(crate) struct WorkingAddresses(Mutex<BTreeMap<RemoteKey, SocketAddr>>);

impl WorkingAddresses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RemoteKey, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_working(&self, target: &DialTarget) -> Option<SocketAddr> {
        self.lock().get(&target.into()).copied()
    }

    pub(super) fn remember(&self, target: &DialTarget, address: SocketAddr) {
        let mut all = self.lock();
        all.insert(target.into(), address);
        if all.len() > MAX_REMEMBERED {
            all.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_remembered_by_remote_up_to_a_bound() {
        let working = WorkingAddresses::default();
        let peer = |n: u32| {
            let mut bytes = [0; 32];
            bytes[28..].copy_from_slice(&n.to_be_bytes());
            DialTarget::Peer { id: PeerId::from_bytes(bytes), addresses: Vec::new() }
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        for n in 0..2000 {
            working.remember(&peer(n), address);
        }
        assert_eq!(working.lock().len(), MAX_REMEMBERED);
        assert_eq!(
            (working.last_working(&peer(1999)), working.last_working(&peer(5000))),
            (Some(address), None)
        );
    }
}
