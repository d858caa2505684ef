//! The state of a seed for status commands, views and checkers.

use super::{Seed, count};
use crate::peer::view;
use crate::registry::EntryState;
use crate::snapshot::{MemberState, MemberView, OtherSeedView, SeedSnapshot};
use crate::time::Time;

impl Seed {
    /// The state of this seed.
    #[must_use]
    pub fn snapshot(&self, _now: Time) -> SeedSnapshot {
        let registry = &self.registry;
        SeedSnapshot {
            id: self.id(),
            address: registry.own_address.clone(),
            synced: registry.synced,
            seed_quorum: count(registry.quorum()),
            seeds: registry
                .others
                .iter()
                .map(|o| OtherSeedView {
                    address: o.address.host_port.clone(),
                    id: o.id,
                    connected: o.link().is_some(),
                    compared: o.compared,
                    problem: o.problem.clone(),
                })
                .collect(),
            alive: count(registry.table.alive_count()),
            connected_peers: count(registry.registrants.len()),
            entries: count(registry.table.len()),
            cases: count(self.cases.len()),
            links: count(self.links.open.len()),
            store_problem: None,
            counters: self.fx.counters.by_name(),
        }
    }

    /// The registry, by id, in all states.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        self.registry
            .table
            .iter()
            .map(|(e, expired)| {
                let state = match e.state() {
                    EntryState::Alive if expired => MemberState::Expired,
                    EntryState::Alive => MemberState::Alive,
                    EntryState::Left => MemberState::Left,
                    EntryState::Dead => MemberState::Dead,
                };
                let mut v = view(&e.record, state);
                if let (MemberState::Dead, Some(c)) = (state, &e.certificate) {
                    v.incarnation = c.incarnation();
                    v.witnesses = c.witnesses();
                    v.seeds = c.seeds();
                }
                v
            })
            .collect()
    }
}
