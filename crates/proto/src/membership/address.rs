//! The address at which others reach this peer, and the addresses at which it reaches others.
//!
//! If no address is configured (the IP address is unspecified), the address at which others see
//! this peer is announced. Each link brings one observation in its Hello, which counts for as long
//! as the link is up: a change of the host's address ends its links, and the links that replace
//! them bring the new one. One observer cannot move a peer: see [`Membership::observed_address`].
//!
//! A loopback address is valid on one host only. It is announced only while everything that this
//! peer knows is on this host, and loopback addresses of others are dialled only by peers with a
//! link over the loopback interface.

use core::net::IpAddr;

use super::{Membership, MembershipContext, MembershipEffect, SeedSlot};
use crate::event::Event;
use crate::links::{LinkPurpose, Links};
use crate::record::Address;

/// The address that one observer reports, and whether this peer's own socket has it.
#[derive(Debug, Clone, Copy)]
struct Observation {
    ip: IpAddr,
    by_seed: bool,
    confirmed: bool,
}

impl Membership {
    /// The addresses to announce: the configured ones, with the observed IP address in place of an
    /// unspecified one, or without it while there is none.
    fn announced_addresses(&self) -> Vec<Address> {
        let announced = |mut address: Address| {
            if address.is_unspecified() {
                address.0.set_ip(self.own.observed?);
            }
            Some(address)
        };
        self.own.configured.iter().copied().filter_map(announced).collect()
    }

    /// Whether an observed address is announced.
    pub(crate) fn observes_address(&self) -> bool {
        self.own.configured.iter().any(Address::is_unspecified)
    }

    /// Announces the observed address, if it has changed and none is configured.
    pub(crate) fn review_address(&mut self, cx: &mut MembershipContext<'_>) {
        if self.own.is_leaving() || !self.observes_address() {
            return;
        }
        let before = self.own.observed;
        self.own.observed = self.observed_address(cx.links);
        if self.own.observed == before {
            return;
        }
        let addresses = self.announced_addresses();
        self.own.renew(cx.identity, cx.degree, cx.target, |r| r.addresses = addresses);
        self.effects.push(MembershipEffect::RecordChanged);
        if let (Some(from), Some(to)) = (before, self.own.observed) {
            cx.fx.counters.address_changes += 1;
            cx.fx.event(Event::AddressChanged { from, to });
        }
    }

    /// The IP address to announce.
    ///
    /// The seeds decide if a majority of the configured ones, and at least two, agree. Otherwise
    /// the announced address stays as long as one observer sees it; after that, more than half of
    /// all observers have to agree, and at least two of them, or one that this peer's own socket
    /// confirms. While no address is announced, any observation is better than none.
    fn observed_address(&self, links: &Links) -> Option<IpAddr> {
        let announced = self.own.observed;
        let (loopback, elsewhere): (Vec<Observation>, Vec<Observation>) =
            observations(links).partition(|o| o.ip.is_loopback());
        let Some(best) = most_seen(&elsewhere) else {
            let stays = announced.filter(|ip| !ip.is_loopback());
            return stays
                .or_else(|| loopback.first().filter(|_| self.is_alone_on_host()).map(|o| o.ip));
        };
        let agree = |by_seed: bool| {
            elsewhere.iter().filter(|o| o.ip == best && (o.by_seed || !by_seed)).count()
        };
        let Some(announced) = announced.filter(|ip| !ip.is_loopback()) else { return Some(best) };
        let is_seen = elsewhere.iter().any(|o| o.ip == announced);
        let confirmed = elsewhere.iter().any(|o| o.ip == best && o.confirmed);
        let seeds_decide = agree(true) >= self.registrations.quorum().max(2);
        let observers_decide =
            !is_seen && agree(false) * 2 > elsewhere.len() && (agree(false) >= 2 || confirmed);
        Some(if seeds_decide || observers_decide { best } else { announced })
    }

    /// Whether no other host is known: no seed that was not reached yet, no member with an address
    /// elsewhere.
    fn is_alone_on_host(&self) -> bool {
        let awaited = |s: &SeedSlot| s.chosen && s.link.is_none() && !s.parked && s.failures == 0;
        !self.registrations.slots.iter().any(awaited)
            && self.members.alive().all(|(_, m)| m.record.addresses.iter().all(is_here))
    }

    /// Reviews the address after a member on another host became known: a loopback address is not
    /// announced any more.
    pub(crate) fn withdraw_loopback(&mut self, cx: &mut MembershipContext<'_>, known: &[Address]) {
        if self.own.observed.is_some_and(|ip| ip.is_loopback()) && !known.iter().all(is_here) {
            self.review_address(cx);
        }
    }
}

/// The observations of the seeds and the neighbours.
fn observations(links: &Links) -> impl Iterator<Item = Observation> {
    links.open.values().filter_map(|l| {
        let by_seed = matches!(l.purpose, LinkPurpose::Seed(_));
        let counts = by_seed || l.purpose == LinkPurpose::Neighbour;
        let observed = l.observed.as_ref().filter(|_| counts)?;
        Some(Observation { ip: observed.ip, by_seed, confirmed: observed.confirmed })
    })
}

/// Whether an address is on this host, as far as it shows.
fn is_here(a: &Address) -> bool {
    a.is_loopback() || a.is_unspecified()
}

/// The IP address that most observers see; of several, the one of more seeds, then the smallest.
fn most_seen(observations: &[Observation]) -> Option<IpAddr> {
    let count = |ip: IpAddr| {
        let those = observations.iter().filter(|o| o.ip == ip);
        (those.clone().count(), those.filter(|o| o.by_seed).count())
    };
    let ips = observations.iter().map(|o| o.ip);
    ips.max_by_key(|ip| (count(*ip), core::cmp::Reverse(*ip)))
}
