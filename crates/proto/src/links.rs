//! The links of a peer and its dials, and what each is for.

use core::net::IpAddr;

use crate::effects::Effects;
use crate::event::CloseReason;
use crate::identity::PeerId;
use crate::io::{DialId, DialTarget, LinkId, Role};
use crate::quota::Quota;
use crate::record::{Address, Compact};
use crate::small::VecMap;
use crate::time::Time;

/// What a link is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing yet: the remote dialled and has not said what for.
    Idle,
    /// A registration.
    Seed(usize),
    /// An edge of the overlay.
    Neighbour,
    /// A request for a neighbour, not answered yet.
    Request,
    /// A question to another neighbour of this suspect.
    Ask(Box<PeerId>),
    /// Leave is on it; when something came over it last.
    Parting(Time),
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) remote: PeerId,
    pub(crate) role: Role,
    pub(crate) dialed: bool,
    pub(crate) address: Compact,
    pub(crate) up: Time,
    pub(crate) used: Use,
    /// How much it has asked for.
    pub(crate) quota: Quota,
    /// Where the remote sees this peer.
    pub(crate) observed: Option<Box<Observed>>,
}

/// Where a remote sees this peer.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) ip: IpAddr,
    /// Whether this peer's own socket has that address, so that the remote's word is not needed.
    pub(crate) confirmed: bool,
}

/// What a dial is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialFor {
    Seed(usize),
    Request(PeerId),
    Probe(PeerId),
    Ask { helper: PeerId, subject: PeerId },
}

/// The links that are up, and the dials under way.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) open: VecMap<LinkId, Link>,
    pub(crate) dials: VecMap<DialId, DialFor>,
    /// When to look for links without a use.
    pub(crate) next_idle_check: Time,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Links { open: VecMap::new(), dials: VecMap::new(), next_idle_check: Time::MAX }
    }

    /// Dials a peer.
    pub(crate) fn dial_peer(
        &mut self,
        fx: &mut Effects,
        id: PeerId,
        addresses: Vec<Address>,
        purpose: DialFor,
    ) -> DialId {
        let addresses = self.reachable(fx, addresses);
        let dial = fx.dial(DialTarget::Peer { id, addresses });
        self.dials.insert(dial, purpose);
        dial
    }

    /// Those of a peer's addresses that this peer can reach: loopback addresses only if it has a link over
    /// the loopback interface, or no link at all.
    pub(crate) fn reachable(&self, fx: &mut Effects, addresses: Vec<Address>) -> Vec<Address> {
        if !addresses.iter().any(Address::is_loopback) {
            return addresses;
        }
        let here = |l: &Link| l.address.get().is_loopback();
        if self.open.is_empty() || self.open.values().any(here) {
            return addresses;
        }
        fx.count("loopback_addresses_ignored");
        addresses.into_iter().filter(|a| !a.is_loopback()).collect()
    }

    pub(crate) fn set_use(&mut self, id: LinkId, used: Use) {
        if let Some(l) = self.open.get_mut(&id) {
            l.used = used;
        }
    }

    /// Closes a link and forgets it; the driver's `LinkDown` finds nothing left to do.
    pub(crate) fn close(&mut self, fx: &mut Effects, id: LinkId, reason: CloseReason) {
        if self.open.remove(&id).is_some() {
            fx.close(id, reason);
        }
    }
}
