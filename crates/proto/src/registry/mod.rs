//! The registry of a seed, in a form that merges: any order of the same updates gives the same
//! registry.
//!
//! `Registry` has the table, the registrations that fill it, the pushes to peers, and the exchange
//! with the other seeds. An entry is merged in two steps (`Registry::merge`, `Registry::record`),
//! because a change may decide the case of an accused peer, which is the concern of
//! `failure::Cases`.

mod entry;
mod exchange;
mod list;
mod merge;
mod other_seed;
mod pool;
mod processes;
mod push;
mod register;
mod registrants;
mod table;
#[cfg(test)]
mod tests;
mod writes;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::io::{LinkId, Role, SeedAddress, StoreOp};
use crate::membership::majority;
use crate::seed::{SeedContext, SeedLinks, count};
use crate::time::Time;
use crate::timers::SeedTimer;

use other_seed::OtherSeed;
use push::PendingUpdates;
use registrants::Registrants;
use writes::Writes;

pub use entry::{Entry, EntryState};
pub(crate) use merge::EntryOutcome;
pub(crate) use table::{EntryChange, Table};

/// The registry of one seed.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The id of this seed.
    id: PeerId,
    pub(crate) own_address: Option<String>,
    seed_count: usize,
    pub(crate) others: Vec<OtherSeed>,
    /// The address from which a process with this seed's key dialled last, and when.
    last_copy: Option<(IpAddr, Time)>,
    /// Peers whose registration arrived on a link that is up.
    pub(crate) registrants: Registrants,
    /// Links of registrants that another process with the same identity has replaced, until they
    /// are idle for long or register again.
    displaced: BTreeMap<PeerId, LinkId>,
    pub(crate) table: Table,
    nonce: [u8; 16],
    writes: Writes,
    pending_updates: PendingUpdates,
    /// The links that ended in the present call; the seed passes them on when it returns.
    pub(crate) losses: Vec<LinkLoss>,
    /// Whether the registry can answer for the network.
    pub(crate) synced: bool,
    next_expiry: Time,
}

/// The end of a link that matters to the cases.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkLoss {
    /// A registered peer has no link any more. It may be dead, unless this seed closed the link on
    /// purpose.
    Registrant { id: PeerId, on_purpose: bool },
    /// A seed, whose votes came over the link, may not stand by them any more.
    Voter(PeerId),
}

impl Registry {
    /// A registry with the stored entries and nonce.
    pub(crate) fn new(
        cx: &mut SeedContext<'_>,
        seeds: Vec<SeedAddress>,
        own_index: Option<usize>,
        entries: Vec<Entry>,
        nonce: Option<[u8; 16]>,
    ) -> Self {
        let (now, id) = (cx.now, cx.identity.id());
        let fresh = cx.rng.bytes16();
        if nonce.is_none() {
            cx.fx.store(vec![StoreOp::PutNonce(fresh)]);
        }
        let own_address = own_index.and_then(|i| seeds.get(i)).map(|s| s.host_port.clone());
        let is_own = |i: usize, s: &SeedAddress| Some(i) == own_index || s.pin == Some(id);
        let mut registry = Registry {
            id,
            own_address,
            seed_count: seeds.len().max(1),
            others: seeds
                .into_iter()
                .enumerate()
                .filter(|(i, s)| !is_own(*i, s))
                .map(|(_, address)| OtherSeed::new(address, now))
                .collect(),
            last_copy: None,
            registrants: Registrants::default(),
            displaced: BTreeMap::new(),
            table: Table::new(cx.config.lease(), cx.config.tombstone()),
            nonce: nonce.unwrap_or(fresh),
            writes: Writes::default(),
            pending_updates: PendingUpdates::default(),
            losses: Vec::new(),
            synced: false,
            next_expiry: now + cx.config.lease() / 24,
        };
        let had_entries = !entries.is_empty();
        for entry in entries {
            registry.table.merge(entry, now);
        }
        registry.review_synced(cx, had_entries);
        registry
    }

    /// The links to the other seeds.
    pub(crate) fn seed_links(&self) -> impl Iterator<Item = LinkId> {
        self.others.iter().filter_map(OtherSeed::link)
    }

    /// Votes needed for a certificate: floor(n/2)+1 of n seeds.
    pub(crate) fn quorum(&self) -> usize {
        majority(self.seed_count)
    }

    /// The keys of seeds: its own, and those pinned or proved at a configured address.
    pub(crate) fn trusted(&self) -> BTreeSet<PeerId> {
        self.others.iter().filter_map(|o| o.id).chain([self.id]).collect()
    }

    /// The numbers of live and of participating peers that a seed may send on a link.
    pub(crate) fn counts_for(&self, links: &SeedLinks, link: LinkId) -> (u32, u32) {
        let (alive, participating) = (self.table.alive_count(), self.table.participating_count());
        let (hidden_alive, hidden) =
            if links.is_on_this_host(link) { (0, 0) } else { self.table.on_loopback() };
        (count(alive - hidden_alive), count(participating - hidden))
    }

    /// Sets the timers of the registry; called at the end of every call.
    pub(crate) fn set_timers(&self, cx: &mut SeedContext<'_>) {
        let others = || self.others.iter();
        cx.timers.set(SeedTimer::Dial, others().filter_map(OtherSeed::dial_at).min());
        cx.timers.set(SeedTimer::Ping, others().filter_map(|o| o.ping_at(cx.config)).min());
        cx.timers.set(SeedTimer::Compare, others().filter_map(OtherSeed::compare_at).min());
        cx.timers.set(SeedTimer::Push, self.pending_updates.at);
        cx.timers.set(SeedTimer::Expiry, self.next_expiry);
    }

    /// Closes a link.
    pub(crate) fn close(&mut self, cx: &mut SeedContext<'_>, id: LinkId, reason: CloseReason) {
        if cx.links.open.contains_key(&id) {
            cx.fx.close(id, reason);
        }
        self.on_link_down(cx, id, LinkEnd::Local(reason));
    }

    pub(crate) fn on_link_down(&mut self, cx: &mut SeedContext<'_>, id: LinkId, why: LinkEnd) {
        let Some(link) = cx.links.open.remove(&id) else { return };
        let remote = link.remote;
        if self.displaced.get(&remote) == Some(&id) {
            self.displaced.remove(&remote);
        }
        if self.registrants.get(&remote) == Some(id) {
            self.registrants.remove(&remote);
            let is_trouble = |r| matches!(r, CloseReason::NoSignOfLife | CloseReason::TooSlow);
            let on_purpose = matches!(why, LinkEnd::Local(reason) if !is_trouble(reason));
            self.losses.push(LinkLoss::Registrant { id: remote, on_purpose });
        } else if !self.on_seed_link_down(cx, id) && link.role == Role::Seed {
            // It sends its votes on the links that it has dialled. If it stands by them, it sends
            // them again on its next link.
            self.losses.push(LinkLoss::Voter(remote));
        }
    }

    /// Whether the registry can answer for the network: it has seen everything that any quorum
    /// acknowledged.
    ///
    /// A seed whose disk kept its registry has everything that it acknowledged. One that begins
    /// empty may have lost its disk; it has to compare with so many others that every quorum with
    /// it contains one of them.
    fn review_synced(&mut self, cx: &mut SeedContext<'_>, kept_disk: bool) {
        let compared = self.others.iter().filter(|o| o.compared).count();
        let needed = (self.seed_count + 1 - self.quorum()).min(self.others.len());
        if !self.synced && (kept_disk || compared >= needed) {
            self.synced = true;
            let peers = count(self.table.alive_count());
            cx.fx.event(Event::Synced { peers });
        }
    }
}
