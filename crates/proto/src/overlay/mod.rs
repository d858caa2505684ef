//! The overlay: which peers are linked, so that the degrees follow the configured power law.
//!
//! Each peer has a target degree ([`target`]). It asks peers with free slots; where none are left,
//! it gets its edges by a transfer that changes no other degree. An edge passes through this module
//! in one direction: a round of `fill` (or a `swap`, a surplus in `trim`, a death in `heal`) →
//! `request` → `answer` at the other end → `reply` → `edges`.

mod answer;
mod edges;
mod fill;
mod heal;
mod reply;
mod request;
mod swap;
pub mod target;
mod trim;

use core::time::Duration;
use std::sync::Arc;

use crate::config::Config;
use crate::effects::Effects;
use crate::failure::Adjacency;
use crate::identity::{Identity, PeerId};
use crate::io::{DialId, LinkId};
use crate::limits::{MAX_PERMITS, MAX_REQUEST_NEIGHBOURS};
use crate::links::Links;
use crate::membership::{LocalRecord, Membership};
use crate::random::RngStream;
use crate::record::{Address, CompactAddress, SignedRecord};
use crate::signed::Signed;
use crate::small::VecMap;
use crate::time::Time;
use crate::timers::{PeerTimer, Timers};
use crate::wire::PeerRequestKind;

pub(crate) use request::AVOID_UNREACHABLE;

use fill::FillState;
use trim::SurplusSearch;

/// How long a permission to take over an edge is valid.
const PERMIT_LIFETIME: Duration = Duration::from_secs(10);

/// A neighbour.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) link: LinkId,
    pub(crate) dialed: bool,
    pub(crate) address: CompactAddress,
    pub(crate) record: SignedRecord,
    /// Its statement that it is this peer's neighbour, for a report if it should die.
    pub(crate) adjacency: Signed<Adjacency>,
    pub(crate) since: Time,
    pub(crate) degree: u16,
    pub(crate) target: u16,
    /// Its neighbours, as it last reported them.
    pub(crate) neighbourhood: Arc<[(PeerId, Address)]>,
    /// Until then the edge is promised to another peer, and not offered again.
    pub(crate) promised: Option<Time>,
}

impl Neighbour {
    /// Whether the edge is promised to another peer.
    pub(crate) fn is_promised(&self, now: Time) -> bool {
        self.promised.is_some_and(|until| until > now)
    }

    /// Promises the edge to another peer.
    fn promise(&mut self, now: Time) {
        self.promised = Some(now + PERMIT_LIFETIME);
    }

    /// Whether it has reported `id` as its neighbour.
    fn lists(&self, id: &PeerId) -> bool {
        self.neighbourhood.iter().any(|(listed, _)| listed == id)
    }
}

/// The state of the edge to a neighbour in other concerns.
pub(crate) trait EdgeLoad {
    /// Whether payload went over it lately. A peer that transfers it has to find another path.
    fn is_busy(&self, neighbour: &PeerId) -> bool;

    /// Its round trip time, smoothed, if it was measured.
    fn smoothed_delay(&self, neighbour: &PeerId) -> Option<Duration>;
}

/// A pending request to another peer.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) kind: PeerRequestKind,
    pub(crate) dial: Option<DialId>,
    pub(crate) link: Option<LinkId>,
    pub(crate) addresses: Vec<Address>,
    /// The neighbour to close after an accept.
    pub(crate) close_on_accept: Option<PeerId>,
    pub(crate) retried: bool,
    /// Set while other candidates are dialled for the same request: the one whose link is up first
    /// is asked.
    pub(crate) race: Option<u64>,
}

/// What a call of the overlay may use. The records of members and of this peer are changed in
/// passing: whom to avoid, and the degree.
pub(crate) struct OverlayContext<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) identity: &'a Identity,
    pub(crate) fx: &'a mut Effects,
    pub(crate) links: &'a mut Links,
    pub(crate) rng: &'a mut RngStream,
    pub(crate) membership: &'a mut Membership,
    pub(crate) edges: &'a dyn EdgeLoad,
}

/// What other concerns have to do after a call of the overlay.
#[derive(Debug)]
pub(crate) enum OverlayEffect {
    /// An edge began: watch it, and compare message lists over it.
    NeighbourUp {
        /// The neighbour.
        id: PeerId,
        /// Its link.
        link: LinkId,
    },
    /// An edge ended.
    NeighbourDown {
        /// The former neighbour.
        id: PeerId,
    },
    /// Request a list of peers with their degrees from a seed.
    ListWanted,
    /// A peer holds this one to be dead: ask the seeds with a new record.
    RecordDoubted,
}

/// The state of the overlay at one peer.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) neighbours: VecMap<PeerId, Neighbour>,
    pub(crate) requests: VecMap<PeerId, PendingRequest>,
    /// By (peer that may take over, neighbour to replace): until when.
    permits: VecMap<(PeerId, PeerId), Time>,
    /// Candidates that are dialled at once for one edge
    /// ([`Config::dial_candidates`](crate::Config::dial_candidates)).
    pub(crate) dial_candidates: usize,
    races: u64,
    pub(crate) target: u16,
    pub(crate) fill: FillState,
    pub(crate) next_swap: Time,
    /// Number of further edge swaps to do soon, because the network may have been partitioned.
    pub(crate) soon_swaps: u32,
    /// When to look for surplus neighbours.
    pub(crate) trim_at: Option<Time>,
    pub(crate) surplus_search: SurplusSearch,
    /// When to send the neighbours the list of neighbours.
    pub(crate) announce_at: Option<Time>,
    /// For other concerns, since they were taken last.
    pub(crate) effects: Vec<OverlayEffect>,
}

impl Overlay {
    pub(crate) fn new(now: Time, dial_candidates: u32) -> Self {
        Overlay {
            neighbours: VecMap::new(),
            requests: VecMap::new(),
            permits: VecMap::new(),
            dial_candidates: dial_candidates.max(1) as usize,
            races: 0,
            target: 0,
            fill: FillState::new(now),
            next_swap: Time::MAX,
            soon_swaps: 0,
            trim_at: None,
            surplus_search: SurplusSearch::new(),
            announce_at: None,
            effects: Vec::new(),
        }
    }

    pub(crate) fn degree(&self) -> u16 {
        u16::try_from(self.neighbours.len()).unwrap_or(u16::MAX)
    }

    /// Whether short links are preferred.
    pub(crate) fn prefers_short_links(&self) -> bool {
        self.dial_candidates > 1
    }

    /// Sets the timers of the overlay.
    pub(crate) fn set_timers(&self, timers: &mut Timers<PeerTimer>) {
        timers.set(PeerTimer::Fill, self.fill.next);
        timers.set(PeerTimer::Swap, self.next_swap);
        timers.set(PeerTimer::Trim, self.trim_at);
        timers.set(PeerTimer::Neighbourhood, self.announce_at);
    }

    /// Performs the action of an expired timer.
    pub(crate) fn on_timer(&mut self, cx: &mut OverlayContext<'_>, timer: PeerTimer) {
        match timer {
            PeerTimer::Swap => self.request_swap(cx),
            PeerTimer::Trim => self.trim(cx),
            PeerTimer::Neighbourhood => self.announce_neighbourhood(cx),
            _ => {}
        }
    }

    /// Whether this peer accepts no new neighbours: while draining it needs at most one, to hand
    /// over to.
    pub(crate) fn takes_no_neighbours(&self, own: &LocalRecord) -> bool {
        own.is_leaving() || (own.is_draining() && !self.neighbours.is_empty())
    }

    /// Number of missing neighbours.
    pub(crate) fn deficit(&self) -> u16 {
        self.target.saturating_sub(self.degree())
    }

    /// The neighbours to list in a request.
    pub(crate) fn named(&self) -> Vec<PeerId> {
        self.neighbours.keys().copied().take(MAX_REQUEST_NEIGHBOURS).collect()
    }

    /// Records that `taker` may take the place of `of` at this peer. Returns `false` if there are
    /// too many permissions.
    pub(crate) fn permit(&mut self, taker: PeerId, of: PeerId, now: Time) -> bool {
        self.permits.retain(|_, until| *until > now);
        let room = self.permits.len() < MAX_PERMITS;
        if room {
            self.permits.insert((taker, of), now + PERMIT_LIFETIME);
        }
        room
    }

    /// Uses up a permission. Returns whether it was valid.
    pub(crate) fn use_permit(&mut self, taker: PeerId, of: PeerId, now: Time) -> bool {
        self.permits.remove(&(taker, of)).is_some_and(|until| until > now)
    }
}

/// The neighbour that the requester of an exchange gives; `None` for the other kinds.
const fn given(kind: PeerRequestKind) -> Option<PeerId> {
    match kind {
        PeerRequestKind::EdgeSwap { give } | PeerRequestKind::SurplusPairing { give } => Some(give),
        _ => None,
    }
}

/// Whether a request, or its acceptance, carries the record of its sender, and the sender's
/// statement that it is a neighbour of `me`.
pub(crate) fn is_genuine(
    record: &SignedRecord,
    adjacency: &Signed<Adjacency>,
    remote: PeerId,
    me: PeerId,
) -> bool {
    record.id == remote
        && adjacency.subject == remote
        && adjacency.neighbour == me
        && adjacency.incarnation == record.incarnation
}
