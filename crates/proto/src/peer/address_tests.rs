//! Tests of the announced address, with the links of a whole peer.

use core::net::IpAddr;

use super::Peer;
use crate::config::Config;
use crate::identity::Identity;
use crate::io::{DialTarget, Input, LinkId, LinkInfo, Output, Role, SeedAddress};
use crate::links::LinkPurpose;
use crate::membership::Membership;
use crate::name::Name;
use crate::peer::PeerSetup;
use crate::record::Address;
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
        self.peer.with_membership(Membership::review_address);
        link
    }

    fn ends(&mut self, links: &[LinkId]) {
        for link in links {
            self.peer.links.open.remove(link);
        }
        self.peer.with_membership(Membership::review_address);
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
    host.peer.with_membership(Membership::review_address);
    assert_eq!(host.announced(), ["192.0.2.1:7000"], "one seed of two lies");
    host.ends(&[links[1], lies]);
    for index in 0..2 {
        let link = host.link(None, Role::Seed, NEW, None);
        host.peer.set_purpose(link, LinkPurpose::Seed(index));
    }
    host.peer.with_membership(Membership::review_address);
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
    let local = [Address("127.0.0.1:9".parse().unwrap())];
    host.peer.with_membership(|m, cx| m.withdraw_loopback(cx, &local));
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
