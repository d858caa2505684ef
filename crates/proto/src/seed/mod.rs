//! A seed: registry, exchange with the other seeds, votes on deaths, composed.
//!
//! It serves membership only and refuses gossip.

mod exchange;
mod frames;
mod links;
mod lost;
mod processes;
mod push;
mod reach;
mod register;
mod registrants;
mod timers;
mod verdict;
mod view;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::effects::Effects;
use crate::event::Event;
use crate::failure::Case;
use crate::failure::Health;
use crate::identity::{Identity, PeerId};
use crate::io::{DialId, Input, LinkId, Output, SeedAddress, StoreOp, StoreTicket};
use crate::random::RngStream;
use crate::registry::{Entry, Table};
use crate::time::Time;

use exchange::OtherSeed;
use links::{SeedDialPurpose, SeedLink};
use push::PendingUpdates;
use reach::ReachCheck;
use register::PendingWrite;
use registrants::Registrants;

/// The initial state of a seed.
#[derive(Debug, Clone)]
pub struct SeedSetup {
    /// Its settings.
    pub config: Config,
    /// Its key pair.
    pub identity: Identity,
    /// All seeds of the network as the configuration names them, this one included.
    pub seeds: Vec<SeedAddress>,
    /// The index of this seed among them, if it is configured.
    pub own_index: Option<usize>,
    /// The stored registry.
    pub entries: Vec<Entry>,
    /// The stored nonce for target degrees, if there is one.
    pub nonce: Option<[u8; 16]>,
    /// Seed of all randomness of the seed. Fresh OS randomness in production.
    pub rng_seed: [u8; 32],
}

/// A seed as a state machine. The crate documentation shows how to drive it.
#[derive(Debug)]
pub struct Seed {
    config: Config,
    identity: Identity,
    fx: Effects,
    rng: RngStream,
    own_address: Option<String>,
    seed_count: usize,
    others: Vec<OtherSeed>,
    /// The address from which a process with this seed's key dialled last, and when.
    last_copy: Option<(IpAddr, Time)>,
    links: BTreeMap<LinkId, SeedLink>,
    dials: BTreeMap<DialId, SeedDialPurpose>,
    /// Peers whose registration arrived on a link that is up.
    registrants: Registrants,
    /// Links of registrants that another process with the same identity has replaced, until they
    /// are idle for long or register again.
    displaced: BTreeMap<PeerId, LinkId>,
    table: Table,
    nonce: [u8; 16],
    /// Writes of entries that are not durable yet.
    pending_writes: BTreeMap<StoreTicket, PendingWrite>,
    /// The last write of each entry that is not durable yet.
    last_writes: BTreeMap<PeerId, StoreTicket>,
    /// Entries whose last write was given up: no registration that builds on it is acknowledged.
    failed_writes: BTreeSet<PeerId>,
    pending_updates: PendingUpdates,
    cases: BTreeMap<PeerId, Case>,
    synced: bool,
    next_expiry: Time,
    next_idle_check: Time,
    /// When to look for silent registrants.
    next_watch: Time,
    /// Since when this seed was not late.
    awake_since: Time,
    /// It was paused or starved, and has not read everything that arrived meanwhile.
    is_behind: bool,
    /// How far this seed trusts its own view.
    health: Health,
    /// Whether it reaches the peers that it serves.
    reach: ReachCheck,
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Seed {
    /// A new seed. It begins to work when its outputs are drained and its deadline is asked for.
    #[must_use]
    pub fn new(setup: SeedSetup, now: Time) -> Self {
        let SeedSetup { config, identity, seeds, own_index, entries, nonce, rng_seed } = setup;
        let mut rng = RngStream::new(&rng_seed, "seed");
        let mut fx = Effects::default();
        fx.begin_call(now);
        let fresh = rng.bytes16();
        if nonce.is_none() {
            fx.store(vec![StoreOp::PutNonce(fresh)]);
        }
        let mut table = Table::new(config.lease(), config.tombstone());
        let had_entries = !entries.is_empty();
        for entry in entries {
            table.merge(entry, now);
        }
        let own_address = own_index.and_then(|i| seeds.get(i)).map(|s| s.host_port.clone());
        let seed_count = seeds.len().max(1);
        let is_own =
            |i: usize, s: &SeedAddress| Some(i) == own_index || s.pin == Some(identity.id());
        let others = seeds
            .into_iter()
            .enumerate()
            .filter(|(i, s)| !is_own(*i, s))
            .map(|(_, address)| OtherSeed::new(address, now))
            .collect();
        let mut seed = Seed {
            next_expiry: now + config.lease() / 24,
            config,
            identity,
            fx,
            rng,
            own_address,
            seed_count,
            others,
            last_copy: None,
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            registrants: Registrants::default(),
            displaced: BTreeMap::new(),
            table,
            nonce: nonce.unwrap_or(fresh),
            pending_writes: BTreeMap::new(),
            last_writes: BTreeMap::new(),
            failed_writes: BTreeSet::new(),
            pending_updates: PendingUpdates::default(),
            cases: BTreeMap::new(),
            synced: false,
            next_idle_check: Time::MAX,
            next_watch: now,
            awake_since: now,
            is_behind: false,
            health: Health::new(now),
            reach: ReachCheck::default(),
        };
        seed.review_synced(had_entries);
        seed
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// Handles an input. `now` must not be earlier than in any earlier call.
    pub fn handle(&mut self, now: Time, input: Input) {
        let before = self.fx.now();
        self.fx.begin_call(now);
        self.notice_lateness(before);
        match input {
            Input::LinkUp { link, info } => self.on_link_up(link, info),
            Input::LinkDown { link, why } => self.on_link_down(link, why),
            Input::DialFailed { dial, why } => self.on_dial_failed(dial, why),
            Input::Frame { link, frame } => self.on_frame(link, frame.into_inner()),
            Input::Stored { ticket } => self.on_stored(ticket),
            Input::StoreFailed { ticket } => self.on_store_failed(ticket),
            Input::SeedMoved { seed } => self.on_seed_moved(&seed),
            // A seed carries no payload.
            Input::Congested { .. } | Input::Consumed { .. } => {}
            Input::WallClock(wall) => self.fx.set_wall_clock(wall),
            Input::Timeout => self.on_timeout(),
        }
        self.schedule_push();
    }

    /// The next output, if any. To be drained after every call that changes something.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.fx.poll()
    }

    /// When to call [`Seed::handle`] with [`Input::Timeout`] at the latest; `None` if nothing is
    /// due. Valid until the next call that changes something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadline()
    }

    /// Votes needed for a certificate: floor(n/2)+1 of n seeds.
    pub(crate) fn quorum(&self) -> usize {
        crate::membership::majority(self.seed_count)
    }

    /// The keys of seeds: its own, and those pinned or proved at a configured address.
    fn trusted(&self) -> BTreeSet<PeerId> {
        self.others.iter().filter_map(OtherSeed::proved).chain([self.id()]).collect()
    }

    /// Whether the registry can answer for the network: it has seen everything that any quorum
    /// acknowledged.
    ///
    /// A seed whose disk kept its registry has everything that it acknowledged. One that begins
    /// empty may have lost its disk; it has to compare with so many others that every quorum with
    /// it contains one of them.
    fn review_synced(&mut self, kept_disk: bool) {
        let compared = self.others.iter().filter(|o| o.compared).count();
        let needed = (self.seed_count + 1 - self.quorum()).min(self.others.len());
        if !self.synced && (kept_disk || compared >= needed) {
            self.synced = true;
            let peers = u32::try_from(self.table.alive_count()).unwrap_or(u32::MAX);
            self.fx.event(Event::Synced { peers });
        }
    }
}
