//! G4: the registries of the seeds agree, and every quorum of seeds lists every registered peer.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_proto::PeerId;
use rumormill_proto::snapshot::{MemberState, PeerState};

use super::Violation;
use crate::observation::{NodeObservation, Observation};

/// The state on which all registries must agree for one peer: state and incarnation.
type MemberFact = (&'static str, u64);

fn facts(seed: &NodeObservation) -> BTreeMap<PeerId, MemberFact> {
    let state = |s| match s {
        MemberState::Alive | MemberState::Suspect => "alive",
        MemberState::Dead => "dead",
        MemberState::Left => "left",
        MemberState::Expired => "expired",
    };
    seed.registry.iter().map(|m| (m.id, (state(m.state), m.incarnation))).collect()
}

/// Finds peers on which the registries of the live seeds differ.
#[must_use]
pub fn agreement(observation: &Observation) -> Vec<Violation> {
    let mut seeds = observation.live_seeds();
    let Some(first) = seeds.next() else { return Vec::new() };
    let first_facts = facts(first);
    let mut found = Vec::new();
    for other in seeds {
        let other_facts = facts(other);
        let ids: BTreeSet<&PeerId> = first_facts.keys().chain(other_facts.keys()).collect();
        for id in ids {
            let (a, b) = (first_facts.get(id), other_facts.get(id));
            if a != b {
                let name =
                    observation.node_of(id).map_or_else(|| id.to_string(), |n| n.node.to_string());
                let what = format!("{} has {a:?} for {name}, {} has {b:?}", first.node, other.node);
                let about = observation.node_of(id).map(|n| n.node);
                found.push(Violation::new("G4", what).about([first.node, other.node]).about(about));
            }
        }
    }
    found
}

/// Finds live peers that fewer than a quorum of the seeds list as alive, or that do not report
/// themselves as joined.
#[must_use]
pub fn visibility(observation: &Observation) -> Vec<Violation> {
    let seeds: Vec<BTreeMap<PeerId, MemberFact>> = observation.live_seeds().map(facts).collect();
    if seeds.len() < observation.seed_quorum() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for peer in observation.live_peers() {
        let alive =
            |f: &BTreeMap<PeerId, MemberFact>| f.get(&peer.id).is_some_and(|f| f.0 == "alive");
        let at = seeds.iter().filter(|f| alive(f)).count();
        if at < observation.seed_quorum() {
            let what = format!("{} is alive in {at} of {} registries", peer.node, seeds.len());
            found.push(Violation::new("G4", what).about([peer.node]));
        }
        let Some(view) = &peer.peer else { continue };
        let registered = view.seeds.iter().filter(|s| s.registered).count();
        if view.state != PeerState::Joined || registered < observation.seed_quorum() {
            let what = format!(
                "{} is {:?} with {registered} registrations, {} are needed",
                peer.node,
                view.state,
                observation.seed_quorum()
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
    fn different_registries_are_found() {
        let mut observation = planted::valid();
        assert_eq!(agreement(&observation), []);
        observation.nodes[1].registry[0].incarnation += 1;
        assert_eq!(agreement(&observation).len(), 1);
        let mut observation = planted::valid();
        observation.nodes[2].registry.pop();
        assert_eq!(agreement(&observation).len(), 1);
    }

    #[test]
    fn peer_that_a_quorum_does_not_list_is_found() {
        let mut observation = planted::valid();
        assert_eq!(visibility(&observation), []);
        observation.nodes[0].registry.remove(0);
        assert_eq!(visibility(&observation), [], "two of three seeds still list it");
        observation.nodes[1].registry[0].state = MemberState::Expired;
        assert_eq!(visibility(&observation).len(), 1);
    }

    #[test]
    fn peer_with_too_few_registrations_is_found() {
        let mut observation = planted::valid();
        let view = observation.nodes[3].peer.as_mut().unwrap();
        view.seeds[0].registered = false;
        view.seeds[1].registered = false;
        assert_eq!(visibility(&observation).len(), 1);
    }
}
