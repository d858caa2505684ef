//! The links and dials of a peer, and their purposes.

use core::net::IpAddr;

use crate::effects::Effects;
use crate::event::CloseReason;
use crate::identity::PeerId;
use crate::io::{DialId, DialTarget, LinkId, Role};
use crate::quota::Quota;
use crate::record::{Address, CompactAddress};
use crate::small::VecMap;
use crate::time::Time;

/// The purpose of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkPurpose {
    /// None yet: the remote dialled and has not sent a request.
    Unused,
    /// A registration.
    Seed(usize),
    /// An edge of the overlay.
    Neighbour,
    /// A request for a neighbour, not answered yet.
    Request,
    /// An indirect probe of this suspect, through another neighbour of it.
    IndirectProbe(Box<PeerId>),
    /// Leave was sent on it; with the time of the last frame from the remote.
    Leaving(Time),
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) remote: PeerId,
    pub(crate) role: Role,
    pub(crate) dialed: bool,
    pub(crate) address: CompactAddress,
    pub(crate) up_since: Time,
    pub(crate) purpose: LinkPurpose,
    /// The remaining requests and bytes that it may ask for.
    pub(crate) quota: Quota,
    /// The address at which the remote sees this peer.
    pub(crate) observed: Option<Box<ObservedAddress>>,
}

/// The address at which a remote sees this peer.
#[derive(Debug)]
pub(crate) struct ObservedAddress {
    pub(crate) ip: IpAddr,
    /// Whether this peer's own socket has that address, so that the observation is not needed.
    pub(crate) confirmed: bool,
}

/// The purpose of a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialPurpose {
    Seed(usize),
    Request(PeerId),
    Probe(PeerId),
    IndirectProbe { helper: PeerId, subject: PeerId },
}

/// The links that are up, and the running dials.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) open: VecMap<LinkId, Link>,
    pub(crate) dials: VecMap<DialId, DialPurpose>,
    /// When to look for links without a purpose.
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
        purpose: DialPurpose,
    ) -> DialId {
        let addresses = self.reachable(fx, addresses);
        let dial = fx.dial(DialTarget::Peer { id, addresses });
        self.dials.insert(dial, purpose);
        dial
    }

    /// The addresses of a peer that this peer can reach: loopback addresses only if it has a link
    /// over the loopback interface, or no link at all.
    pub(crate) fn reachable(&self, fx: &mut Effects, addresses: Vec<Address>) -> Vec<Address> {
        if !addresses.iter().any(Address::is_loopback) {
            return addresses;
        }
        let here = |l: &Link| l.address.get().is_loopback();
        if self.open.is_empty() || self.open.values().any(here) {
            return addresses;
        }
        fx.counters.loopback_addresses_ignored += 1;
        addresses.into_iter().filter(|a| !a.is_loopback()).collect()
    }

    pub(crate) fn set_purpose(&mut self, id: LinkId, purpose: LinkPurpose) {
        if let Some(l) = self.open.get_mut(&id) {
            l.purpose = purpose;
        }
    }

    /// Closes a link and forgets it; the driver's `LinkDown` finds nothing left to do.
    pub(crate) fn close(&mut self, fx: &mut Effects, id: LinkId, reason: CloseReason) {
        if self.open.remove(&id).is_some() {
            fx.close(id, reason);
        }
    }
}
