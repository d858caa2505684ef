//! The address at which others reach this peer, and the addresses at which it reaches others.
//!
//! If no address is configured (the IP address is unspecified), the address at which others see
//! this peer is announced. Each link brings one observation in its Hello, which counts for as long
//! as the link is up: a change of the host's address ends its links, and the links that replace
//! them bring the new one. One observer cannot move a peer: see [`Peer::observed_address`].
//!
//! A loopback address is valid on one host only. It is announced only while everything that this
//! peer knows is on this host, and loopback addresses of others are dialled only by peers with a
//! link over the loopback interface.

use core::net::IpAddr;

use super::Peer;
use crate::event::Event;
use crate::links::LinkPurpose;
use crate::membership::SeedSlot;
use crate::record::Address;

/// The address that one observer reports, and whether this peer's own socket has it.
#[derive(Debug, Clone, Copy)]
struct Observation {
    ip: IpAddr,
    by_seed: bool,
    confirmed: bool,
}

impl Peer {
    /// The addresses to announce: the configured ones, with the observed IP address in place of an
    /// unspecified one, or without it while there is none.
    fn announced_addresses(&self) -> Vec<Address> {
        let mut addresses = Vec::new();
        for configured in &self.membership.own.configured {
            let mut address = *configured;
            if address.is_unspecified() {
                let Some(ip) = self.membership.own.observed else { continue };
                address.0.set_ip(ip);
            }
            addresses.push(address);
        }
        addresses
    }

    /// Whether an observed address is announced.
    pub(super) fn observes_address(&self) -> bool {
        self.membership.own.configured.iter().any(Address::is_unspecified)
    }

    /// Announces the observed address, if it has changed and none is configured.
    pub(super) fn review_address(&mut self) {
        if self.is_leaving() || !self.observes_address() {
            return;
        }
        let before = self.membership.own.observed;
        self.membership.own.observed = self.observed_address();
        if self.membership.own.observed == before {
            return;
        }
        let addresses = self.announced_addresses();
        self.renew_record(|r| r.addresses = addresses);
        self.schedule_record_update();
        if let (Some(from), Some(to)) = (before, self.membership.own.observed) {
            self.fx.counters.address_changes += 1;
            self.fx.event(Event::AddressChanged { from, to });
        }
    }

    /// The IP address to announce.
    ///
    /// The seeds decide if a majority of the configured ones, and at least two, agree. Otherwise
    /// the announced address stays as long as one observer sees it; after that, more than half of
    /// all observers have to agree, and at least two of them, or one that this peer's own socket
    /// confirms. While no address is announced, any observation is better than none.
    fn observed_address(&self) -> Option<IpAddr> {
        let announced = self.membership.own.observed;
        let (loopback, elsewhere): (Vec<Observation>, Vec<Observation>) =
            self.observations().partition(|o| o.ip.is_loopback());
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
        let seeds_decide = agree(true) >= self.membership.registrations.quorum().max(2);
        let observers_decide =
            !is_seen && agree(false) * 2 > elsewhere.len() && (agree(false) >= 2 || confirmed);
        Some(if seeds_decide || observers_decide { best } else { announced })
    }

    fn observations(&self) -> impl Iterator<Item = Observation> {
        self.links.open.values().filter_map(|l| {
            let by_seed = matches!(l.purpose, LinkPurpose::Seed(_));
            let counts = by_seed || l.purpose == LinkPurpose::Neighbour;
            let observed = l.observed.as_ref().filter(|_| counts)?;
            Some(Observation { ip: observed.ip, by_seed, confirmed: observed.confirmed })
        })
    }

    /// Whether no other host is known: no seed that was not reached yet, no member with an address
    /// elsewhere.
    fn is_alone_on_host(&self) -> bool {
        let awaited = |s: &SeedSlot| s.chosen && s.link.is_none() && !s.parked && s.failures == 0;
        let is_here = |a: &Address| a.is_loopback() || a.is_unspecified();
        !self.membership.registrations.slots.iter().any(awaited)
            && self.membership.members.alive().all(|(_, m)| m.record.addresses.iter().all(is_here))
    }

    /// Reviews the address after a member on another host became known: a loopback address is not
    /// announced any more.
    pub(super) fn withdraw_loopback(&mut self, known: &[Address]) {
        let is_here = |a: &Address| a.is_loopback() || a.is_unspecified();
        if self.membership.own.observed.is_some_and(|ip| ip.is_loopback())
            && !known.iter().all(is_here)
        {
            self.review_address();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::identity::Identity;
    use crate::io::{DialTarget, Input, LinkId, LinkInfo, Output, Role, SeedAddress};
    use crate::name::Name;
    use crate::peer::PeerSetup;
    use crate::time::Time;

    const OLD: &str = "192.0.2.1";
    const NEW: &str = "192.0.2.2";
    const LIE: &str = "203.0.113.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A peer that observes its address, and its links.
    struct Host {
        peer: Peer,
        next: u64,
    }

    impl Host {
        fn reachable(&mut self, addresses: &[Address]) -> Vec<Address> {
            let Peer { links, fx, .. } = &mut self.peer;
            links.reachable(fx, addresses.to_vec())
        }

        fn new(seeds: usize) -> Self {
            let seeds = (0..seeds).map(|n| SeedAddress { host_port: format!("s{n}:1"), pin: None });
            let setup = PeerSetup {
                config: Config::lan().build().unwrap().into(),
                identity: Identity::from_secret(&[99; 32]),
                name: Name::new("p").unwrap(),
                addresses: vec![Address("0.0.0.0:7000".parse().unwrap())],
                seeds: seeds.collect(),
                incarnation: 1,
                anchors: vec![],
                retained: vec![],
                delivered_marks: vec![],
                closed_up_to: vec![],
                rng_seed: [1; 32],
            };
            Host { peer: Peer::new(setup, Time::ZERO), next: 0 }
        }

        /// The dialled seeds answer, and see the peer at these addresses. Returns the links.
        fn seeds(&mut self, see: &[&str]) -> Vec<LinkId> {
            self.peer.handle(Time::ZERO, Input::Timeout);
            let mut see = see.iter();
            let mut links = Vec::new();
            while let Some(output) = self.peer.poll_output() {
                let Output::Dial { dial, to: DialTarget::Seed(_) } = output else { continue };
                let Some(at) = see.next() else { continue };
                links.push(self.link(Some(dial), Role::Seed, at, None));
            }
            assert!(see.next().is_none(), "it dialled fewer seeds");
            links
        }

        fn link(
            &mut self,
            dial: Option<crate::io::DialId>,
            role: Role,
            observed: &str,
            local: Option<&str>,
        ) -> LinkId {
            self.next += 1;
            let link = LinkId(self.next);
            let n = u8::try_from(self.next).unwrap();
            let socket = |text: &str| core::net::SocketAddr::new(ip(text), 40_000);
            let info = LinkInfo {
                remote: Identity::from_secret(&[n; 32]).id(),
                role,
                dial,
                remote_address: socket(if ip(observed).is_loopback() {
                    observed
                } else {
                    "192.0.2.200"
                }),
                observed: Some(socket(observed)),
                local_address: local.map(socket),
                same_process: false,
            };
            self.peer.handle(Time::ZERO, Input::LinkUp { link, info });
            link
        }

        /// A neighbour that sees the peer at this address.
        fn neighbour(&mut self, observed: &str, local: Option<&str>) -> LinkId {
            let link = self.link(None, Role::Peer, observed, local);
            self.peer.set_purpose(link, LinkPurpose::Neighbour);
            self.peer.review_address();
            link
        }

        fn ends(&mut self, links: &[LinkId]) {
            for link in links {
                self.peer.links.open.remove(link);
            }
            self.peer.review_address();
        }

        fn announced(&self) -> Vec<String> {
            self.peer.membership.own.record.addresses.iter().map(|a| a.0.to_string()).collect()
        }
    }

    #[test]
    fn first_observation_is_announced_and_no_address_before_it() {
        let mut host = Host::new(3);
        assert_eq!(host.announced(), [""; 0], "0.0.0.0 is useless to others");
        host.seeds(&[OLD]);
        assert_eq!(host.announced(), ["192.0.2.1:7000"]);
    }

    #[test]
    fn address_follows_a_majority_of_the_seeds_and_not_one_of_them() {
        let mut host = Host::new(3);
        let links = host.seeds(&[OLD, OLD]);
        host.ends(&links[..1]);
        host.link(None, Role::Seed, LIE, None);
        let lies = LinkId(host.next);
        host.peer.set_purpose(lies, LinkPurpose::Seed(0));
        host.peer.review_address();
        assert_eq!(host.announced(), ["192.0.2.1:7000"], "one seed of two lies");
        host.ends(&[links[1], lies]);
        for index in 0..2 {
            let link = host.link(None, Role::Seed, NEW, None);
            host.peer.set_purpose(link, LinkPurpose::Seed(index));
        }
        host.peer.review_address();
        assert_eq!(host.announced(), ["192.0.2.2:7000"]);
    }

    #[test]
    fn hostile_neighbours_cannot_move_a_peer_while_one_link_shows_its_address() {
        let mut host = Host::new(3);
        let seeds = host.seeds(&[OLD, OLD]);
        for _ in 0..5 {
            host.neighbour(LIE, None);
        }
        assert_eq!(host.announced(), ["192.0.2.1:7000"]);
        host.ends(&seeds[..1]);
        assert_eq!(host.announced(), ["192.0.2.1:7000"]);
    }

    #[test]
    fn one_neighbour_moves_a_peer_only_if_its_own_socket_confirms() {
        let mut host = Host::new(1);
        let seed = host.seeds(&[OLD]);
        host.ends(&seed);
        let liar = host.neighbour(LIE, None);
        assert_eq!(host.announced(), ["192.0.2.1:7000"]);
        host.ends(&[liar]);
        host.neighbour(NEW, Some(NEW));
        assert_eq!(host.announced(), ["192.0.2.2:7000"]);
    }

    #[test]
    fn loopback_is_announced_only_while_no_other_host_is_known() {
        // Of a majority of two seeds, the first one is on this host.
        let mut host = Host::new(3);
        host.seeds(&["127.0.0.1"]);
        assert_eq!(host.announced(), [""; 0], "another seed was not reached yet");
        let mut host = Host::new(1);
        host.seeds(&["127.0.0.1"]);
        assert_eq!(host.announced(), ["127.0.0.1:7000"]);
        // A member on another host could not use the address.
        host.peer.withdraw_loopback(&[Address("127.0.0.1:9".parse().unwrap())]);
        assert_eq!(host.announced(), ["127.0.0.1:7000"]);
        host.neighbour(NEW, None);
        assert_eq!(host.announced(), ["192.0.2.2:7000"]);
    }

    #[test]
    fn loopback_addresses_of_others_are_dialled_only_over_a_link_on_this_host() {
        let addresses: Vec<Address> =
            ["127.0.0.1:1", "192.0.2.7:1"].map(|a| Address(a.parse().unwrap())).into();
        let mut host = Host::new(1);
        let seed = host.seeds(&[OLD]);
        assert_eq!(host.reachable(&addresses), addresses[1..]);
        host.ends(&seed);
        host.neighbour("127.0.0.1", None);
        assert_eq!(host.reachable(&addresses), addresses);
    }
}
