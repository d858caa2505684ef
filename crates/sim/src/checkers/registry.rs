//! G4: the seeds agree, and whoever asks a quorum of them sees every registered peer.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::PeerId;
use rumormill_proto::snapshot::{MemberState, PeerState};

use super::Violation;
use crate::observation::{NodeObservation, Observation};

/// What two registries must agree on for one peer.
type Fact = (&'static str, u64);

fn facts(seed: &NodeObservation) -> BTreeMap<PeerId, Fact> {
    let state = |s| match s {
        MemberState::Alive | MemberState::Suspect => "alive",
        MemberState::Dead => "dead",
        MemberState::Left => "left",
        MemberState::Expired => "expired",
    };
    seed.registry.iter().map(|m| (m.id, (state(m.state), m.incarnation))).collect()
}

/// The registries of the live seeds say the same of every peer.
#[must_use]
pub fn agreement(seen: &Observation) -> Vec<Violation> {
    let mut seeds = seen.live_seeds();
    let Some(first) = seeds.next() else { return Vec::new() };
    let ours = facts(first);
    let mut found = Vec::new();
    for other in seeds {
        let theirs = facts(other);
        let ids: BTreeSet<&PeerId> = ours.keys().chain(theirs.keys()).collect();
        for id in ids {
            let (a, b) = (ours.get(id), theirs.get(id));
            if a != b {
                let name = seen.node_of(id).map_or_else(|| id.to_string(), |n| n.node.to_string());
                let what =
                    format!("{} says {a:?} of {name}, {} says {b:?}", first.node, other.node);
                let about = seen.node_of(id).map(|n| n.node);
                found.push(Violation::new("G4", what).about([first.node, other.node]).about(about));
            }
        }
    }
    found
}

/// Every live peer is alive in the registry of so many seeds that any quorum has one of them, and
/// says itself that it has joined.
#[must_use]
pub fn visibility(seen: &Observation) -> Vec<Violation> {
    let seeds: Vec<BTreeMap<PeerId, Fact>> = seen.live_seeds().map(facts).collect();
    if seeds.len() < seen.seed_quorum() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for peer in seen.live_peers() {
        let alive = |f: &BTreeMap<PeerId, Fact>| f.get(&peer.id).is_some_and(|f| f.0 == "alive");
        let at = seeds.iter().filter(|f| alive(f)).count();
        if at < seen.seed_quorum() {
            let what = format!("{} is alive in {at} of {} registries", peer.node, seeds.len());
            found.push(Violation::new("G4", what).about([peer.node]));
        }
        let Some(view) = &peer.peer else { continue };
        let registered = view.seeds.iter().filter(|s| s.registered).count();
        if view.state != PeerState::Joined || registered < seen.seed_quorum() {
            let what = format!(
                "{} is {:?} with {registered} registrations, {} are needed",
                peer.node,
                view.state,
                seen.seed_quorum()
            );
            found.push(Violation::new("G4", what).about([peer.node]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted;

    #[test]
    fn registries_that_differ_are_found() {
        let mut seen = planted::sound();
        assert_eq!(agreement(&seen), []);
        seen.nodes[1].registry[0].incarnation += 1;
        assert_eq!(agreement(&seen).len(), 1);
        let mut seen = planted::sound();
        seen.nodes[2].registry.pop();
        assert_eq!(agreement(&seen).len(), 1);
    }

    #[test]
    fn a_peer_that_a_quorum_does_not_show_is_found() {
        let mut seen = planted::sound();
        assert_eq!(visibility(&seen), []);
        seen.nodes[0].registry.remove(0);
        assert_eq!(visibility(&seen), [], "two of three still show it");
        seen.nodes[1].registry[0].state = MemberState::Expired;
        assert_eq!(visibility(&seen).len(), 1);
    }

    #[test]
    fn a_peer_without_its_registrations_is_found() {
        let mut seen = planted::sound();
        let view = seen.nodes[3].peer.as_mut().unwrap();
        view.seeds[0].registered = false;
        view.seeds[1].registered = false;
        assert_eq!(visibility(&seen).len(), 1);
    }
}
