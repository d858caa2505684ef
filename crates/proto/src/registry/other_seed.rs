//! The links to the other seeds.
//!
//! Each seed dials every other one and sends its queries on its own link; so a key is proved at the
//! address that the configuration names, and no node becomes a seed by claiming to be one.

use core::time::Duration;

use super::Registry;
use crate::config::Config;
use crate::event::{CloseReason, Event};
use crate::identity::PeerId;
use crate::io::{DialError, DialTarget, LinkId, LinkInfo, Role, SeedAddress};
use crate::limits::MAX_SILENT_INTERVALS;
use crate::seed::{SeedContext, SeedDialPurpose};
use crate::time::Time;
use crate::wire::Ping;

/// Another seed.
#[derive(Debug)]
pub(crate) struct OtherSeed {
    pub(crate) address: SeedAddress,
    /// Its key, if pinned or proved.
    pub(crate) id: Option<PeerId>,
    pub(super) state: SeedState,
    /// Whether this seed has compared its registry with it.
    pub(crate) compared: bool,
    failures: u32,
    /// Why it is not used, if it was reached and cannot be used.
    pub(crate) problem: Option<String>,
}

/// The state of the link to another seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SeedState {
    Waiting {
        until: Time,
    },
    Dialing,
    Linked(SeedSession),
    /// The address is this seed's own.
    Itself,
}

/// A link to another seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeedSession {
    pub(super) link: LinkId,
    last_heard: Time,
    /// The last ping without an answer.
    pinged: Option<Time>,
    pub(super) next_digest: Time,
    /// Whether the seed is being dialled at another address.
    is_moving: bool,
}

impl SeedSession {
    fn ping_at(&self, config: &Config) -> Time {
        self.pinged.unwrap_or(self.last_heard) + config.seed_ping_interval()
    }

    fn silent_at(&self, config: &Config) -> Time {
        self.last_heard + config.seed_ping_interval() * MAX_SILENT_INTERVALS
    }
}

impl OtherSeed {
    pub(super) const fn new(address: SeedAddress, now: Time) -> Self {
        OtherSeed {
            id: address.pin,
            address,
            state: SeedState::Waiting { until: now },
            compared: false,
            failures: 0,
            problem: None,
        }
    }

    pub(super) const fn session(&self) -> Option<&SeedSession> {
        match &self.state {
            SeedState::Linked(session) => Some(session),
            _ => None,
        }
    }

    pub(super) const fn session_mut(&mut self) -> Option<&mut SeedSession> {
        match &mut self.state {
            SeedState::Linked(session) => Some(session),
            _ => None,
        }
    }

    /// The link to it, if one is up.
    pub(crate) fn link(&self) -> Option<LinkId> {
        self.session().map(|s| s.link)
    }

    /// When to dial it.
    pub(super) const fn dial_at(&self) -> Option<Time> {
        match self.state {
            SeedState::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// When to ping it, or to close its link.
    pub(super) fn ping_at(&self, config: &Config) -> Option<Time> {
        self.session().map(|s| s.ping_at(config).min(s.silent_at(config)))
    }

    /// When to send it the bucket hashes.
    pub(super) fn compare_at(&self) -> Option<Time> {
        self.session().map(|s| s.next_digest)
    }

    /// Ends a dial that led to no link. A link that is up stays.
    const fn end_dial(&mut self, next: SeedState) {
        match &mut self.state {
            SeedState::Linked(session) => session.is_moving = false,
            state => *state = next,
        }
    }

    /// Dials it again after a while, which grows with each failure. Returns how long.
    fn dial_again(&mut self, cx: &mut SeedContext<'_>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = cx.rng.backoff(self.failures, cx.config);
        self.end_dial(SeedState::Waiting { until: cx.now + wait });
        wait
    }

    /// The event that it is not linked.
    fn lost(&self, why: String, wait: Duration) -> Event {
        let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Event::SeedLost { seed: self.address.host_port.clone(), why, retry_ms }
    }
}

impl Registry {
    pub(crate) fn dial_seeds(&mut self, cx: &mut SeedContext<'_>) {
        for (index, other) in self.others.iter_mut().enumerate() {
            if other.dial_at().is_some_and(|at| at <= cx.now) {
                other.state = SeedState::Dialing;
                dial(cx, index, other);
            }
        }
    }

    /// Dials a seed whose name resolves to another address; the new link replaces the old one.
    pub(crate) fn on_seed_moved(&mut self, cx: &mut SeedContext<'_>, seed: &str) {
        for (index, other) in self.others.iter_mut().enumerate() {
            if other.address.host_port != seed {
                continue;
            }
            if let Some(session) = other.session_mut().filter(|s| !s.is_moving) {
                session.is_moving = true;
                dial(cx, index, other);
                cx.fx.counters.seed_moves += 1;
                cx.fx.event(Event::SeedMoved { seed: seed.to_owned() });
            }
        }
    }

    /// Handles a process at the configured address of another seed that has this seed's key: this
    /// process, or a copy.
    pub(crate) fn on_own_key(&mut self, cx: &mut SeedContext<'_>, index: usize, is_itself: bool) {
        let Some(other) = self.others.get_mut(index) else { return };
        let seed = other.address.host_port.clone();
        if !is_itself {
            let (own, id) = (self.own_address.clone(), self.id);
            return self.refuse_shared_identity(cx, index, own, id);
        }
        other.end_dial(SeedState::Itself);
        other.compared = true;
        self.own_address.get_or_insert(seed);
        self.review_synced(cx, false);
    }

    pub(crate) fn on_seed_dial_failed(
        &mut self,
        cx: &mut SeedContext<'_>,
        index: usize,
        why: DialError,
    ) {
        let Some(other) = self.others.get_mut(index) else { return };
        if let Some(session) = other.session_mut() {
            // Its name resolves to another address without an answer: the link stays.
            session.is_moving = false;
            return cx.fx.counters.seed_moves_failed += 1;
        }
        let wait = other.dial_again(cx);
        let reason = why.to_string();
        if why == DialError::WrongIdentity {
            other.problem = Some(reason.clone());
            let seed = other.address.host_port.clone();
            cx.fx.event(Event::SeedRefused { seed, why: reason });
        } else {
            // An earlier problem is outdated: no seed answers there now.
            other.problem = None;
            cx.fx.event(other.lost(reason, wait));
        }
    }

    /// Handles a link that this seed has dialled. Returns whether it is used.
    pub(crate) fn on_seed_up(
        &mut self,
        cx: &mut SeedContext<'_>,
        index: usize,
        link: LinkId,
        info: &LinkInfo,
    ) -> bool {
        cx.links.mark_purpose(link);
        if info.role != Role::Seed {
            self.close(cx, link, CloseReason::Incompatible);
            self.on_seed_dial_failed(cx, index, DialError::Incompatible);
            return false;
        }
        let shares = |(i, o): &(usize, &OtherSeed)| {
            *i != index && o.link().is_some() && o.id == Some(info.remote)
        };
        if let Some((_, owner)) = self.others.iter().enumerate().find(shares) {
            let owner = owner.address.host_port.clone();
            self.close(cx, link, CloseReason::Duplicate);
            self.refuse_shared_identity(cx, index, Some(owner), info.remote);
            return false;
        }
        let Some(other) = self.others.get_mut(index) else { return false };
        let session = SeedSession {
            link,
            last_heard: cx.now,
            pinged: None,
            next_digest: cx.now,
            is_moving: false,
        };
        let before = core::mem::replace(&mut other.state, SeedState::Linked(session));
        other.failures = 0;
        other.problem = None;
        other.id = Some(info.remote);
        let (seed, id) = (other.address.host_port.clone(), info.remote);
        // The name of the seed resolves to another address: the new link replaces the old one.
        if let SeedState::Linked(old) = before {
            self.close(cx, old.link, CloseReason::Done);
        }
        cx.fx.event(Event::SeedLinked { seed, id });
        true
    }

    /// Handles the end of a link. Returns whether it was the link to another seed.
    pub(super) fn on_seed_link_down(&mut self, cx: &mut SeedContext<'_>, id: LinkId) -> bool {
        let Some(other) = self.others.iter_mut().find(|o| o.link() == Some(id)) else {
            return false;
        };
        let wait = cx.config.backoff_min();
        other.state = match &other.state {
            SeedState::Linked(session) if session.is_moving => SeedState::Dialing,
            _ => SeedState::Waiting { until: cx.now + wait },
        };
        cx.fx.event(other.lost("the link ended".to_owned(), wait));
        true
    }

    pub(crate) fn on_traffic(&mut self, now: Time, remote: PeerId) {
        let other = self.others.iter_mut().find(|o| o.id == Some(remote));
        if let Some(session) = other.and_then(OtherSeed::session_mut) {
            session.last_heard = now;
        }
    }

    pub(crate) fn on_seed_pong(&mut self, id: LinkId) {
        let mut sessions = self.others.iter_mut().filter_map(OtherSeed::session_mut);
        if let Some(session) = sessions.find(|s| s.link == id) {
            session.pinged = None;
        }
    }

    /// Pings the other seeds, and closes links to silent ones.
    pub(crate) fn watch_seeds(&mut self, cx: &mut SeedContext<'_>) {
        let mut silent = Vec::new();
        for session in self.others.iter_mut().filter_map(OtherSeed::session_mut) {
            if cx.now >= session.silent_at(cx.config) {
                silent.push(session.link);
            } else if cx.now >= session.ping_at(cx.config) {
                session.pinged = Some(cx.now);
                let nonce = cx.rng.u64();
                cx.fx.send(session.link, Ping { nonce });
            }
        }
        for link in silent {
            self.close(cx, link, CloseReason::NoSignOfLife);
        }
    }

    /// Refuses another seed that has the identity of a third one, or of this one.
    fn refuse_shared_identity(
        &mut self,
        cx: &mut SeedContext<'_>,
        index: usize,
        owner: Option<String>,
        id: PeerId,
    ) {
        let Some(other) = self.others.get_mut(index) else { return };
        let why =
            format!("it has the same identity as {}", owner.as_deref().unwrap_or("this seed"));
        let is_news = other.problem.as_ref() != Some(&why);
        other.problem = Some(why);
        other.dial_again(cx);
        cx.fx.counters.seeds_sharing_identity += 1;
        if is_news {
            let seed = other.address.host_port.clone();
            cx.fx.event(Event::SeedsShareIdentity { seed, other: owner, id });
        }
    }
}

fn dial(cx: &mut SeedContext<'_>, index: usize, other: &OtherSeed) {
    let dial = cx.fx.dial(DialTarget::Seed(other.address.clone()));
    cx.links.dials.insert(dial, SeedDialPurpose::Seed(index));
}
