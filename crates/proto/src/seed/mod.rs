//! A seed: registry, exchange with the other seeds, votes on deaths, composed.
//!
//! It serves membership only and refuses gossip. This file composes the concerns, and dispatches
//! frames and timers.

pub(crate) mod context;
mod links;
mod view;

use core::time::Duration;

use crate::config::Config;
use crate::effects::Effects;
use crate::event::CloseReason;
use crate::failure::{Cases, LATE_DEADLINE};
use crate::identity::{Identity, PeerId};
use crate::io::{Input, LinkId, Output, Role, SeedAddress};
use crate::random::RngStream;
use crate::record::SignedRecord;
use crate::registry::{Entry, EntryOutcome, Registry};
use crate::time::Time;
use crate::timers::{SeedTimer, TimerName, Timers};
use crate::wire::{Entries, Frame, Pong};

pub(crate) use context::{CaseContext, SeedContext};
pub(crate) use links::{SeedDialPurpose, SeedLink, SeedLinks};

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
    links: SeedLinks,
    timers: Timers<SeedTimer>,
    registry: Registry,
    cases: Cases,
}

/// A count as events and frames have it.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Seed {
    /// A new seed. It begins to work when its outputs are drained and its deadline is asked for.
    #[must_use]
    pub fn new(setup: SeedSetup, now: Time) -> Self {
        let SeedSetup { config, identity, seeds, own_index, entries, nonce, rng_seed } = setup;
        let mut fx = Effects::default();
        fx.begin_call(now);
        let mut rng = RngStream::new(&rng_seed, "seed");
        let (mut links, mut timers) = (SeedLinks::default(), Timers::new());
        let mut cx = SeedContext {
            fx: &mut fx,
            rng: &mut rng,
            links: &mut links,
            timers: &mut timers,
            now,
            config: &config,
            identity: &identity,
            registry: (),
        };
        let registry = Registry::new(&mut cx, seeds, own_index, entries, nonce);
        registry.set_timers(&mut cx);
        let cases = Cases::new(now);
        let mut seed = Seed { config, identity, fx, rng, links, timers, registry, cases };
        seed.with_cases(|_, _| ());
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
            Input::LinkUp { link, info } => self.on_link_up(link, &info),
            Input::LinkDown { link, why } => {
                self.with_registry(|r, cx| r.on_link_down(cx, link, why));
            }
            Input::DialFailed { dial, why } => self.on_dial_failed(dial, why),
            Input::Frame { link, frame } => self.on_frame(link, frame.into_inner()),
            Input::Stored { ticket } => self.with_registry(|r, cx| r.on_stored(cx, ticket)),
            Input::StoreFailed { ticket } => self.with_registry(|r, _| r.on_store_failed(ticket)),
            Input::SeedMoved { seed } => self.with_registry(|r, cx| r.on_seed_moved(cx, &seed)),
            // A seed carries no payload.
            Input::Congested { .. } | Input::Consumed { .. } => {}
            Input::WallClock(wall) => self.fx.set_wall_clock(wall),
            Input::Timeout => self.on_timeout(),
        }
        self.with_registry(Registry::schedule_push);
    }

    /// The next output, if any. To be drained after every call that changes something.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.fx.poll()
    }

    /// When to call [`Seed::handle`] with [`Input::Timeout`] at the latest; `None` if nothing is
    /// due. Valid until the next call that changes something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Prepares for an orderly end of the process: gathered changes are pushed at once.
    /// Acknowledged registrations are on disk, and votes are sent when they are made.
    pub fn stop(&mut self, now: Time) {
        self.fx.begin_call(now);
        self.with_registry(Registry::push);
    }

    /// Calls the registry with its context, and passes the ends of links on to the cases.
    fn with_registry<R>(
        &mut self,
        call: impl FnOnce(&mut Registry, &mut SeedContext<'_>) -> R,
    ) -> R {
        let Seed { config, identity, fx, rng, links, timers, registry, .. } = self;
        let now = fx.now();
        let cx = &mut SeedContext { fx, rng, links, timers, now, config, identity, registry: () };
        let result = call(registry, cx);
        registry.set_timers(cx);
        for loss in core::mem::take(&mut registry.losses) {
            self.on_link_loss(loss);
        }
        result
    }

    /// Calls the cases with their context.
    fn with_cases<R>(&mut self, call: impl FnOnce(&mut Cases, &mut CaseContext<'_>) -> R) -> R {
        let Seed { config, identity, fx, rng, links, timers, registry, cases } = self;
        let now = fx.now();
        let cx = &mut SeedContext {
            fx,
            rng,
            links,
            timers,
            now,
            config,
            identity,
            registry: &*registry,
        };
        let result = call(cases, cx);
        cases.set_timers(cx);
        result
    }

    /// Merges an entry, from its owner or from another seed, and passes the change on.
    fn merge_entry(&mut self, entry: Entry) -> EntryOutcome {
        let merged = match self.registry.merge(self.fx.now(), entry) {
            Ok(merged) => merged,
            Err(outcome) => return outcome,
        };
        let (entry, change) = (&merged.entry, merged.change);
        let accusers = self.with_cases(|cases, cx| cases.on_entry_changed(cx, entry, change));
        self.with_registry(|r, cx| r.record(cx, merged, accusers))
    }

    fn on_peer_lost(&mut self, id: PeerId) {
        let case = self.with_cases(|cases, cx| cases.on_peer_lost(cx, id));
        self.review_cases(case);
    }

    /// Reviews cases one after the other: the certificate of one changes the number of witnesses
    /// that another one needs.
    fn review_cases(&mut self, subjects: impl IntoIterator<Item = PeerId>) {
        for subject in subjects {
            let certificate = self.with_cases(|cases, cx| cases.review(cx, subject));
            if certificate.is_none() {
                continue;
            }
            if let Some(known) = self.registry.table.get(&subject) {
                self.merge_entry(Entry { certificate, ..known.clone() });
            }
            self.with_cases(|cases, _| cases.remove(&subject));
        }
    }
}

impl Seed {
    pub(super) fn on_frame(&mut self, id: LinkId, frame: Frame) {
        // A frame may arrive while its link is being closed.
        let now = self.fx.now();
        let Some(link) = self.links.open.get_mut(&id) else { return };
        link.last_heard = now;
        let (remote, role) = (link.remote, link.role);
        self.on_traffic(remote);
        if !self.admit(id, &frame) {
            return;
        }
        match frame {
            Frame::Ping(f) => self.fx.send(id, Pong { nonce: f.nonce }),
            Frame::Pong(f) => self.on_pong(id, remote, f.nonce),
            Frame::Register(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::Leave(f) if role == Role::Peer => self.on_register(id, remote, f.record),
            Frame::GetPeerList if role == Role::Peer => {
                self.with_registry(|r, cx| r.on_get_list(cx, id));
            }
            Frame::Report(f) if role == Role::Peer => {
                let subject = self.with_cases(|c, cx| c.on_report(cx, id, remote, f.report));
                self.review_cases(subject);
            }
            Frame::Testify(f) if role == Role::Peer => {
                let subject = self.with_cases(|c, cx| c.on_testify(cx, remote, f.testimony));
                self.review_cases(subject);
            }
            Frame::Votes(f) if role == Role::Seed => {
                let subjects = self.with_cases(|c, cx| c.on_votes(cx, remote, *f));
                self.review_cases(subjects);
            }
            Frame::Entries(f) if role == Role::Seed => self.on_entries(id, remote, *f),
            Frame::Digest(f) if role == Role::Seed => {
                self.with_registry(|r, cx| r.on_digest(cx, id, remote, &f));
            }
            Frame::Unknown(_) => self.fx.counters.frames_unknown += 1,
            Frame::Close(_) => {}
            other => {
                // A seed serves membership only: gossip is refused as well.
                let why = format!("a seed does not take {} from a {role}", other.name());
                self.refuse_frame(id, &why);
            }
        }
    }

    fn on_pong(&mut self, id: LinkId, remote: PeerId, nonce: u64) {
        self.with_registry(|r, _| r.on_seed_pong(id));
        let waiting = self.with_cases(|cases, cx| cases.on_reach_pong(cx, remote, nonce));
        self.review_cases(waiting);
        self.with_cases(|cases, cx| cases.on_probe_pong(cx, remote, nonce));
    }

    fn on_register(&mut self, link: LinkId, remote: PeerId, record: SignedRecord) {
        let answer = self.with_registry(|r, cx| r.accept_record(cx, link, remote, &record));
        if let Some(answer) = answer {
            let outcome = self.merge_entry(Entry::new(record));
            self.with_registry(|r, cx| r.answer(cx, answer, remote, outcome));
        }
    }

    fn on_entries(&mut self, link: LinkId, remote: PeerId, mut f: Entries) {
        let accepted = self.with_registry(|r, cx| r.accept_entries(cx, link, remote, &mut f));
        let Some(entries) = accepted else { return };
        for entry in entries {
            self.merge_entry(entry);
        }
        self.with_registry(|r, cx| r.answer_entries(cx, link, remote, &f));
    }
}

impl Seed {
    /// Detects that this seed was paused or starved, and so late for actions that were due. Frames
    /// that arrived meanwhile are handled before the timeout.
    pub(super) fn notice_lateness(&mut self, before: Time) {
        let now = self.fx.now();
        let late = self.timers.next().map_or(Duration::ZERO, |at| now.since(at.max(before)));
        if late > LATE_DEADLINE {
            self.with_cases(|cases, cx| cases.on_late(cx, late));
        }
    }

    pub(super) fn on_timeout(&mut self) {
        self.cases.on_timeout();
        for timer in SeedTimer::ALL {
            if self.timers.is_due(*timer, self.fx.now()) {
                self.on_timer(*timer);
            }
        }
    }

    fn on_timer(&mut self, timer: SeedTimer) {
        match timer {
            SeedTimer::Dial => self.with_registry(Registry::dial_seeds),
            SeedTimer::Ping => self.with_registry(Registry::watch_seeds),
            SeedTimer::Watch => {
                for link in self.with_cases(Cases::silent_registrants) {
                    self.close(link, CloseReason::NoSignOfLife);
                }
            }
            SeedTimer::Compare => self.with_registry(Registry::compare),
            SeedTimer::Reach => {
                let waiting = self.with_cases(Cases::repeat_reach_check);
                self.review_cases(waiting);
            }
            SeedTimer::Case => {
                let due = self.with_cases(Cases::fail_due_probes);
                self.review_cases(due);
            }
            SeedTimer::Push => self.with_registry(Registry::push),
            SeedTimer::IdleLinks => self.close_idle_links(),
            SeedTimer::Expiry => {
                // Their entries are hidden; a case decides whether the peers are dead.
                for id in self.with_registry(Registry::expire) {
                    self.on_peer_lost(id);
                }
            }
        }
    }
}
