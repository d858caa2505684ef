//! A peer: membership, overlay, failure detection, broadcast and sync, composed.
//!
//! Each concern keeps its own state and decides for itself; the files here turn decisions into
//! frames, and frames into calls of the concerns. This one composes them, and dispatches frames and
//! timers.

#[cfg(test)]
mod address_tests;
mod application;
mod duplicate;
mod failure;
mod leave;
mod links;
mod members;
mod neighbours;
mod own;
mod quotas;
mod seeds;
mod view;

use core::time::Duration;
use std::sync::Arc;

use crate::batch::Batch;
use crate::broadcast::{Broadcast, RestoredState};
use crate::config::Config;
use crate::context::{Context, View};
use crate::effects::Effects;
use crate::event::CloseReason;
use crate::failure::{FailureDetector, LATE_DEADLINE};
use crate::identity::{Identity, PeerId};
use crate::io::{DeliveredMark, Input, LinkId, Output, Role, SeedAddress};
use crate::links::{LinkPurpose, Links};
use crate::membership::{LocalRecord, Members, Membership, Registrations};
use crate::message::StreamId;
use crate::name::Name;
use crate::overlay::Overlay;
use crate::random::RngStream;
use crate::record::{Address, SignedRecord};
use crate::time::Time;
use crate::timers::{PeerTimer, TimerName, Timers};
use crate::wire::{Frame, Graft, Pong, Summary};

pub(crate) use view::{count, view};

pub use crate::broadcast::{PublishError, start_number};

/// The initial state of a peer.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Its settings; many peers of one process may share them.
    pub config: Arc<Config>,
    /// Its key pair.
    pub identity: Identity,
    /// Its name.
    pub name: Name,
    /// The addresses to announce. Where the IP address is unspecified (`0.0.0.0`, `::`), the one at
    /// which seeds and neighbours see the peer is announced, and updated when it changes.
    pub addresses: Vec<Address>,
    /// The seeds of the network. May be empty: a network of one. Many peers of one process may
    /// share the list.
    pub seeds: Arc<[SeedAddress]>,
    /// The number of this process, as [`start_number`](crate::start_number) gives it: its first
    /// incarnation and the epoch of its stream. Durable before it is used here.
    pub incarnation: u64,
    /// Neighbours of an earlier process, to dial while no seed answers.
    pub anchors: Vec<SignedRecord>,
    /// Batches that an earlier process retained, in order of arrival.
    pub retained: Vec<Batch>,
    /// How far an earlier process delivered each publisher's messages. Retained messages that are
    /// not below their mark are delivered by this process.
    pub delivered_marks: Vec<DeliveredMark>,
    /// The streams up to which all streams of their publisher were closed in an earlier process.
    pub closed_up_to: Vec<StreamId>,
    /// Seed of all randomness of the peer. Fresh OS randomness in production.
    pub rng_seed: [u8; 32],
}

/// The streams of randomness, one for each purpose.
#[derive(Debug)]
struct RngStreams {
    seeds: RngStream,
    overlay: RngStream,
}

/// A peer as a state machine. The crate documentation shows how to drive it.
#[derive(Debug)]
pub struct Peer {
    config: Arc<Config>,
    identity: Identity,
    fx: Effects,
    rng: RngStreams,
    links: Links,
    membership: Membership,
    overlay: Overlay,
    failure: FailureDetector,
    broadcast: Broadcast,
    timers: Timers<PeerTimer>,
}

impl Peer {
    /// A new peer. It begins to dial when its outputs are drained and its deadline is asked for.
    #[must_use]
    pub fn new(setup: PeerSetup, now: Time) -> Self {
        let PeerSetup { config, identity, name, addresses, seeds, .. } = setup;
        let random = |purpose: &'static str| RngStream::new(&setup.rng_seed, purpose);
        let mut rng = RngStreams { seeds: random("seeds"), overlay: random("overlay") };
        let mut fx = Effects::default();
        fx.begin_call(now);
        let mut members = Members::default();
        for anchor in setup.anchors.iter().filter(|a| a.id != identity.id()) {
            members.merge_record(anchor, now);
        }
        let registrations = Registrations::new(&seeds, &mut rng.seeds, now);
        let start = RestoredState {
            incarnation: setup.incarnation,
            retained: &setup.retained,
            delivered_marks: &setup.delivered_marks,
            closed_up_to: &setup.closed_up_to,
        };
        let (broadcast, dropped) = Broadcast::new(&config, &identity, &start, random, now);
        fx.watch_stream(broadcast.own_stream());
        let process = random("process").u64();
        let mut own = LocalRecord::new(&identity, name, addresses, setup.incarnation, process);
        own.has_predecessor = !setup.anchors.is_empty();
        let dial_candidates = config.dial_candidates();
        let mut peer = Peer {
            config,
            identity,
            fx,
            rng,
            links: Links::new(),
            membership: Membership::new(own, members, registrations),
            overlay: Overlay::new(now, dial_candidates),
            failure: FailureDetector::new(random("liveness"), now),
            broadcast,
            timers: Timers::new(),
        };
        peer.review_target();
        peer.review_registrations();
        peer.with_broadcast(|broadcast, cx| {
            broadcast.resume(cx, &dropped);
            broadcast.vouch_for_earlier_streams(cx);
        });
        peer.set_timers();
        peer
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
        // Overdue actions were found to be due already when the last input was handled.
        let late = |at: Time| now.since(at.max(before)) > LATE_DEADLINE;
        // Frames that are read now may have arrived long ago.
        self.failure.is_behind |= self.timers.next().is_some_and(late);
        match input {
            Input::LinkUp { link, info } => self.on_link_up(link, info),
            Input::LinkDown { link, why } => self.on_link_down(link, why),
            Input::DialFailed { dial, why } => self.on_dial_failed(dial, why),
            Input::Frame { link, frame } => self.on_frame(link, frame.into_inner()),
            Input::Stored { .. } | Input::StoreFailed { .. } => {}
            Input::Consumed { marks } => self.with_broadcast(|b, cx| b.on_consumed(cx, &marks)),
            Input::Congested { link } => {
                self.record_trouble();
                if self.links.open.contains_key(&link) {
                    self.with_broadcast(Broadcast::on_congested);
                }
            }
            Input::SeedMoved { seed } => self.with_membership(|m, cx| m.on_seed_moved(cx, &seed)),
            Input::WallClock(wall) => self.fx.set_wall_clock(wall),
            Input::Timeout => self.on_timeout(before),
        }
        self.end_call();
    }

    /// Ends a call: sets the timers of the concerns that are not called with a context.
    fn end_call(&mut self) {
        if self.broadcast.is_starting(&self.view()) {
            self.with_broadcast(Broadcast::review_catch_up);
        }
        self.set_timers();
    }

    /// Calls the broadcast with its context.
    pub(crate) fn with_broadcast<R>(
        &mut self,
        call: impl FnOnce(&mut Broadcast, &mut Context<'_>) -> R,
    ) -> R {
        let Peer {
            fx,
            links,
            timers,
            config,
            identity,
            membership,
            overlay,
            failure,
            broadcast,
            ..
        } = self;
        let view = View::new(fx, config, identity, membership, overlay, Some(failure));
        let cx = &mut Context { fx, links, timers, view };
        let result = call(broadcast, cx);
        broadcast.set_timers(cx);
        result
    }

    /// Calls the failure detector with its context.
    fn with_failure<R>(
        &mut self,
        call: impl FnOnce(&mut FailureDetector, &mut Context<'_>) -> R,
    ) -> R {
        let Peer { fx, links, timers, config, identity, membership, overlay, failure, .. } = self;
        let view = View::new(fx, config, identity, membership, overlay, None);
        let cx = &mut Context { fx, links, timers, view };
        let result = call(failure, cx);
        failure.set_timers(cx);
        result
    }

    /// The read-only view of the peer for a concern.
    fn view(&self) -> View<'_> {
        let Peer { fx, config, identity, membership, overlay, failure, .. } = self;
        View::new(fx, config, identity, membership, overlay, Some(failure))
    }

    /// Begins a call of the application.
    fn begin(&mut self, now: Time) {
        self.fx.begin_call(now);
    }

    /// The next output, if any. To be drained after every call that changes something.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.fx.poll() {
                return Some(output);
            }
            if !self.with_broadcast(|b, cx| b.send_next_batch(cx) || b.store_changed_marks(cx)) {
                return None;
            }
        }
    }

    /// When to call [`Peer::handle`] with [`Input::Timeout`] at the latest; `None` if nothing is
    /// due. Valid until the next call that changes something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next().filter(|_| !self.membership.own.has_left())
    }
}

impl Peer {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may arrive while its link is being closed.
        let Some(link) = self.links.open.get(&id) else { return };
        let (remote, role, purpose) = (link.remote, link.role, link.purpose.clone());
        self.on_traffic(remote);
        let from_seed = matches!(purpose, LinkPurpose::Seed(_));
        if let LinkPurpose::Seed(index) = purpose {
            self.with_membership(|m, cx| m.heard_seed(cx, index));
        }
        if let LinkPurpose::Leaving(_) = purpose {
            self.set_purpose(id, LinkPurpose::Leaving(self.fx.now()));
            match frame {
                Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
                Frame::Pong(_) => {}
                // Both leave: neither is a neighbour that would close the link.
                Frame::Leave(_) => {
                    self.close(id, CloseReason::Leaving);
                    self.review_leave();
                }
                _ => self.fx.counters.frames_late += 1,
            }
            return;
        }
        if !self.admit(id, remote, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => self.on_pong(remote, &purpose, f.nonce),
            Frame::RegisterAck(f) if from_seed => self.on_register_ack(id, &f),
            Frame::RegisterReject(f) if from_seed => self.on_register_reject(id, &f),
            Frame::PeerList(f) if from_seed => self.on_peer_list(id, &f),
            Frame::MembershipUpdate(f) if from_seed => self.on_membership_update(id, &f),
            Frame::Accusation(f) if from_seed => self.on_accusation(&f),
            Frame::Appoint(f) if from_seed => self.on_appoint(&f),
            Frame::PeerRequest(f) if role == Role::Peer => self.on_peer_request(id, remote, *f),
            Frame::PeerReply(f) if purpose == LinkPurpose::Request => {
                self.on_peer_reply(id, remote, *f);
            }
            Frame::Leave(f) if role == Role::Peer => self.on_leave(id, remote, &f.record),
            Frame::Permit(f) if purpose == LinkPurpose::Neighbour => {
                let now = self.fx.now();
                if !self.overlay.permit(f.peer, remote, now) {
                    self.fx.counters.permits_refused += 1;
                }
            }
            Frame::Redirect(f) if purpose == LinkPurpose::Neighbour => {
                self.with_overlay(|o, cx| o.on_redirect(cx, remote, &f));
            }
            Frame::Neighbourhood(f) if purpose == LinkPurpose::Neighbour => {
                self.overlay.on_neighbourhood(remote, *f);
            }
            Frame::GetData(_) | Frame::Data(_) if role == Role::Peer => {
                self.with_broadcast(|b, cx| b.on_frame(cx, id, remote, frame));
            }
            Frame::Gossip(_)
            | Frame::Announce(_)
            | Frame::PullEnd(_)
            | Frame::Ack(_)
            | Frame::Census(_)
            | Frame::Prune(_)
            | Frame::Confirm(_)
                if purpose == LinkPurpose::Neighbour =>
            {
                self.with_broadcast(|b, cx| b.on_frame(cx, id, remote, frame));
            }
            Frame::ConfirmReply(f) if purpose == LinkPurpose::Neighbour => {
                if self.with_broadcast(|b, cx| b.on_confirmed(cx, remote, *f)) {
                    self.review_leave();
                }
            }
            Frame::Summary(f) if purpose == LinkPurpose::Neighbour => {
                self.on_summary(id, remote, &f);
            }
            Frame::Graft(f) if purpose == LinkPurpose::Neighbour => self.on_graft(id, remote, &f),
            Frame::Pull(f) if purpose == LinkPurpose::Neighbour => {
                let bytes = self.with_broadcast(|b, cx| b.on_pull(cx, id, &f));
                self.record_answer(id, bytes);
            }
            Frame::ProbeRequest(f) if role == Role::Peer => {
                self.with_failure(|d, cx| d.on_probe_request(cx, id, f.subject));
            }
            Frame::ProbeReply(f) if role == Role::Peer => {
                self.on_probe_reply(id, remote, &purpose, &f);
            }
            // The purpose of a link can change while frames are in flight: a frame that an honest
            // neighbour sent just before is late, not hostile.
            Frame::Permit(_)
            | Frame::Redirect(_)
            | Frame::Neighbourhood(_)
            | Frame::Gossip(_)
            | Frame::Summary(_)
            | Frame::Announce(_)
            | Frame::Ack(_)
            | Frame::Census(_)
            | Frame::Graft(_)
            | Frame::Prune(_)
            | Frame::Pull(_)
            | Frame::PullEnd(_)
            | Frame::Confirm(_)
            | Frame::ConfirmReply(_)
            | Frame::PeerReply(_)
                if role == Role::Peer =>
            {
                self.fx.counters.frames_late += 1;
            }
            Frame::Unknown(_) => self.fx.counters.frames_unknown += 1,
            Frame::Close(_) => {}
            other => {
                let why = format!("{} does not belong on this link", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }

    pub(super) fn on_summary(&mut self, link: LinkId, remote: PeerId, f: &Summary) {
        if let Some(used) = self.broadcast.compare_own_stream(f) {
            self.on_number_used(used);
        }
        self.with_broadcast(|b, cx| b.on_summary(cx, link, remote, f));
    }

    fn on_graft(&mut self, link: LinkId, remote: PeerId, f: &Graft) {
        // Above the quota, missing ranges are pulled instead.
        let serves = !f.have.is_empty() && self.admit_request(link, remote, "Graft", true);
        let bytes = self.with_broadcast(|b, cx| b.on_graft(cx, link, remote, f, serves));
        if serves {
            self.record_answer(link, bytes);
        }
    }
}

impl Peer {
    /// Sets the timers of membership, overlay, links and departure. Broadcast and failure detector
    /// set theirs at the end of each of their calls.
    pub(super) fn set_timers(&mut self) {
        let timers = &mut self.timers;
        self.membership.set_timers(timers, &self.config);
        timers.set(PeerTimer::Leave, self.membership.own.departure.as_ref().map(|d| d.deadline()));
        self.overlay.set_timers(timers);
        timers.set(PeerTimer::IdleLinks, self.links.next_idle_check);
    }

    /// Performs the actions that are due, in the order of the timers. `before` is the time of the
    /// last call: what was due earlier was not late until then.
    pub(super) fn on_timeout(&mut self, before: Time) {
        let now = self.fx.now();
        let late = self.timers.next().map_or(Duration::ZERO, |at| now.since(at.max(before)));
        if late > LATE_DEADLINE {
            self.fx.counters.late_wakeups += 1;
            self.with_failure(|f, _| f.postpone(late));
            self.record_trouble();
        }
        self.failure.is_behind = false;
        for timer in PeerTimer::ALL {
            // Whenever this peer is awake it looks at its neighbours: a request that traffic has
            // answered ends without a wake-up of its own.
            if self.timers.is_due(*timer, now) || *timer == PeerTimer::Watch {
                self.on_timer(*timer);
                self.set_timers();
            }
        }
    }

    fn on_timer(&mut self, timer: PeerTimer) {
        match timer {
            PeerTimer::Seeds | PeerTimer::WholeLists | PeerTimer::Lease | PeerTimer::Record => {
                self.with_membership(|m, cx| m.on_timer(cx, timer));
            }
            PeerTimer::Watch => self.watch_neighbours(),
            PeerTimer::Probe => self.run_probes(),
            PeerTimer::Report => self.expire_reports(),
            PeerTimer::Fill => self.fill(),
            PeerTimer::Swap | PeerTimer::Trim | PeerTimer::Neighbourhood => {
                self.with_overlay(|o, cx| o.on_timer(cx, timer));
            }
            PeerTimer::IdleLinks => self.check_idle_links(),
            PeerTimer::Leave => self.review_leave(),
            broadcast => self.with_broadcast(|b, cx| b.on_timer(cx, broadcast)),
        }
    }
}

/// A peer without seeds or history, for unit tests.
#[cfg(test)]
pub(crate) fn example_setup() -> PeerSetup {
    PeerSetup {
        config: Config::lan().build().unwrap().into(),
        identity: Identity::from_secret(&[99; 32]),
        name: Name::new("p").unwrap(),
        addresses: vec![],
        seeds: [].into(),
        incarnation: 2,
        anchors: vec![],
        retained: vec![],
        delivered_marks: vec![],
        closed_up_to: vec![],
        rng_seed: [1; 32],
    }
}
