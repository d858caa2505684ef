//! Membership at a peer: its own record, its registrations at the seeds, and the other peers.
//!
//! [`Membership`] is the whole of it at one peer: the links to the seeds (`seeds`), the
//! registrations at a majority of them (`registration`, `quorum`), whole lists (`lists`), the
//! signed record of this peer (`local`), the addresses in it (`address`), its departure
//! (`departure`), and the table of the other members (`members`).

mod address;
mod departure;
mod lists;
mod local;
mod members;
mod quorum;
mod registration;
mod seeds;

use crate::config::Config;
use crate::effects::Effects;
use crate::identity::Identity;
use crate::limits::FULL_LIST_LIMIT;
use crate::links::Links;
use crate::random::RngStream;
use crate::time::Time;
use crate::timers::{PeerTimer, Timers};

pub(crate) use departure::{Departure, DepartureStage};
pub(crate) use local::LocalRecord;
pub(crate) use members::{Member, Members, MergeOutcome};
pub(crate) use registration::{QuorumChange, Registrations, SeedSlot, majority};

/// The membership state of a peer.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) own: LocalRecord,
    pub(crate) members: Members,
    pub(crate) registrations: Registrations,
    /// When to request whole lists, because members and seeds disagree on the size of the network.
    lists_at: Option<Time>,
    /// For other concerns, since they were taken last.
    pub(crate) effects: Vec<MembershipEffect>,
}

/// What a call of the membership may use.
pub(crate) struct MembershipContext<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) identity: &'a Identity,
    pub(crate) fx: &'a mut Effects,
    pub(crate) links: &'a mut Links,
    pub(crate) rng: &'a mut RngStream,
    /// The nonces of pings.
    pub(crate) nonces: &'a mut RngStream,
    /// The degree of this peer, and its target: what its record says.
    pub(crate) degree: u16,
    pub(crate) target: u16,
}

/// What other concerns have to do after a call of the membership.
#[derive(Debug)]
pub(crate) enum MembershipEffect {
    /// A majority of the seeds has registered this peer for the first time.
    Joined,
    /// A majority of the seeds has registered this peer again.
    Restored,
    /// The record has changed: schedule an update of seeds and neighbours.
    RecordChanged,
}

impl Membership {
    pub(crate) const fn new(
        own: LocalRecord,
        members: Members,
        registrations: Registrations,
    ) -> Self {
        Membership { own, members, registrations, lists_at: None, effects: Vec::new() }
    }

    /// Sets the timers of the membership.
    pub(crate) fn set_timers(&self, timers: &mut Timers<PeerTimer>, config: &Config) {
        timers.set(PeerTimer::Seeds, self.seeds_deadline(config));
        timers.set(PeerTimer::WholeLists, self.lists_at);
        timers.set(PeerTimer::Lease, self.own.refresh_at);
        timers.set(PeerTimer::Record, self.own.update_at);
    }

    /// Performs the action of an expired timer.
    pub(crate) fn on_timer(&mut self, cx: &mut MembershipContext<'_>, timer: PeerTimer) {
        match timer {
            PeerTimer::Seeds => {
                self.dial_seeds(cx);
                self.watch_seeds(cx);
            }
            PeerTimer::WholeLists => self.request_due_lists(cx),
            PeerTimer::Lease => self.refresh_lease(cx),
            PeerTimer::Record => self.send_record_to_seeds(cx),
            _ => {}
        }
    }

    /// Whether the network is so large that no peer knows all members.
    pub(crate) fn is_large(&self) -> bool {
        self.registrations.network_size() as usize > FULL_LIST_LIMIT
    }
}
