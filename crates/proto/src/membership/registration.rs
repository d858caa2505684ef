//! A peer's registrations at the seeds.
//!
//! A peer registers at floor(n/2)+1 of the n seeds, chosen at random, so that any two peers have a
//! seed in common. It keeps a link to each, retries a failed one for ever with growing waits, and
//! chooses another one in the meantime.

use crate::config::Config;
use crate::failure::Certificate;
use crate::identity::PeerId;
use crate::io::{DialId, LinkId, SeedAddress};
use crate::random::RngStream;
use crate::small::{VecMap, VecSet};
use crate::time::Time;
use crate::wire::SeedName;
use core::ops::Deref;
use core::time::Duration;
use std::sync::Arc;

/// A majority of `n`; 0 for `n` = 0.
#[must_use]
pub(crate) const fn majority(n: usize) -> usize {
    if n == 0 { 0 } else { n / 2 + 1 }
}

/// One of the configured seeds. Many peers of one process share the list.
#[derive(Debug)]
pub(crate) struct ConfiguredSeed {
    all: Arc<[SeedAddress]>,
    at: usize,
}

impl Deref for ConfiguredSeed {
    type Target = SeedAddress;
    fn deref(&self) -> &SeedAddress {
        &self.all[self.at]
    }
}

/// The state of one seed at this peer.
#[derive(Debug)]
pub(crate) struct SeedSlot {
    pub(crate) address: ConfiguredSeed,
    pub(crate) id: Option<PeerId>,
    pub(crate) chosen: bool,
    pub(crate) dial: Option<DialId>,
    pub(crate) link: Option<LinkId>,
    /// The seed has closed the link, and the registration is valid without it.
    pub(crate) parked: bool,
    /// The version acknowledged on the present link, or while the registration is valid without
    /// one.
    pub(crate) acknowledged: Option<(u64, u64)>,
    pub(crate) acknowledged_at: Time,
    pub(crate) alive: u32,
    /// How many of them participate.
    pub(crate) participating: u32,
    pub(crate) synced: bool,
    /// The nonce of the target degrees that it has sent.
    pub(crate) nonce: Option<[u8; 16]>,
    pub(crate) retry_at: Time,
    pub(crate) failures: u32,
    pub(crate) last_heard: Time,
    pub(crate) pending_ping: Option<(u64, Time)>,
    /// When it was last pinged.
    pub(crate) last_ping: Time,
    pub(crate) reply_delay: Option<Duration>,
    /// When its list was last requested on the present link.
    pub(crate) list_requested: Option<Time>,
    /// The list that was last requested has arrived completely.
    pub(crate) list_complete: bool,
    /// A list that was requested after a quorum had acknowledged is applied.
    pub(crate) list_applied: bool,
    /// When Register was sent on the present link, if it has not been acknowledged since.
    pub(crate) register_sent: Option<Time>,
    /// It has not answered for so long that another seed was chosen as well.
    pub(crate) overdue: bool,
    /// Why it is not used, if it was reached and cannot be used.
    pub(crate) problem: Option<String>,
}

/// How long a seed may take to acknowledge a registration, or to send its list, before another one
/// is asked as well. A seed that only answers pings keeps no peer out.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer waits for a quorum before it requests a list without one: peers that cannot
/// register can still find neighbours.
const LIST_WITHOUT_QUORUM_DELAY: Duration = Duration::from_millis(500);
/// Time between two requests for the list on one link. A seed ignores requests that are 50 ms apart
/// or less.
const LIST_INTERVAL: Duration = Duration::from_millis(100);
/// How long a list may take before it is requested again.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

impl SeedSlot {
    /// Whether it counts for the quorum of a joined peer: the registration is acknowledged, and the
    /// list that was requested after the quorum is applied.
    const fn is_usable(&self) -> bool {
        self.acknowledged.is_some() && self.list_applied
    }

    /// When it becomes overdue, unless it is already, or has answered everything.
    fn overdue_at(&self, quorum_at: Option<Time>) -> Option<Time> {
        if self.link.is_none() || self.overdue || self.is_usable() {
            return None;
        }
        let since = if self.acknowledged.is_none() { self.register_sent } else { quorum_at };
        since.map(|at| at + ACKNOWLEDGE_TIMEOUT)
    }

    /// When to request its list.
    fn list_due(&self, quorum_at: Option<Time>) -> Option<Time> {
        self.link?;
        match (quorum_at, self.list_requested) {
            (Some(_), _) if self.list_applied || self.acknowledged.is_none() => None,
            (Some(_), Some(at)) if !self.list_complete => Some(at + LIST_TIMEOUT),
            (Some(quorum), Some(at)) => Some(quorum.max(at + LIST_INTERVAL)),
            (Some(quorum), None) => Some(quorum),
            (None, Some(_)) => None,
            (None, None) => self.register_sent.map(|at| at + LIST_WITHOUT_QUORUM_DELAY),
        }
    }

    /// Records that a list has arrived completely.
    pub(crate) fn on_list_complete(&mut self, quorum_at: Option<Time>) {
        self.list_complete = true;
        let asked_after = |quorum: Time| self.list_requested.is_some_and(|at| at >= quorum);
        self.list_applied |= self.acknowledged.is_some() && quorum_at.is_some_and(asked_after);
    }
}

/// The change of the quorum since the last review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuorumChange {
    /// As before.
    Unchanged,
    /// A quorum holds for the first time.
    Reached,
    /// It held before and does not now.
    Lost,
    /// It holds again.
    Regained,
}

/// The registrations at all seeds.
#[derive(Debug)]
pub(crate) struct Registrations {
    pub(crate) slots: Vec<SeedSlot>,
    /// Which seeds vouch for which key under which configured address, given as the first slot with
    /// that address. Vouchers are identities: one seed under two names is one voucher.
    vouched: VecMap<(usize, PeerId), VecSet<PeerId>>,
    /// Since when a quorum has acknowledged.
    quorum_at: Option<Time>,
    was_reached: bool,
    has_quorum: bool,
}

impl Registrations {
    pub(crate) fn new(seeds: &Arc<[SeedAddress]>, rng: &mut RngStream, now: Time) -> Self {
        let order = rng.sample((0..seeds.len()).collect(), majority(seeds.len()));
        let slots = seeds
            .iter()
            .enumerate()
            .map(|(at, address)| SeedSlot {
                id: address.pin,
                address: ConfiguredSeed { all: Arc::clone(seeds), at },
                chosen: order.contains(&at),
                dial: None,
                link: None,
                parked: false,
                acknowledged: None,
                acknowledged_at: now,
                alive: 0,
                participating: 0,
                synced: false,
                nonce: None,
                retry_at: now,
                failures: 0,
                last_heard: now,
                pending_ping: None,
                last_ping: now,
                reply_delay: None,
                list_requested: None,
                list_complete: false,
                list_applied: false,
                register_sent: None,
                overdue: false,
                problem: None,
            })
            .collect();
        Registrations {
            slots,
            vouched: VecMap::new(),
            quorum_at: None,
            was_reached: false,
            has_quorum: false,
        }
    }

    pub(crate) fn quorum(&self) -> usize {
        majority(self.slots.len())
    }

    /// Number of valid registrations.
    pub(crate) fn count(&self) -> usize {
        self.slots.iter().filter(|s| s.acknowledged.is_some()).count()
    }

    /// Number of valid registrations at seeds whose list is applied.
    fn usable(&self) -> usize {
        self.slots.iter().filter(|s| s.is_usable()).count()
    }

    /// Since when a quorum has acknowledged, if it has.
    pub(crate) const fn quorum_at(&self) -> Option<Time> {
        self.quorum_at
    }

    /// Compares the valid registrations with the quorum. A quorum is reached, or regained, when it
    /// has acknowledged and its lists are applied. It is lost when too few registrations are valid.
    pub(crate) fn review(&mut self, now: Time) -> QuorumChange {
        if self.count() < self.quorum() || self.quorum() == 0 {
            self.quorum_at = None;
        } else {
            self.quorum_at.get_or_insert(now);
        }
        let enough = if self.has_quorum { self.count() } else { self.usable() };
        let has_quorum = enough >= self.quorum();
        let before = core::mem::replace(&mut self.has_quorum, has_quorum);
        let was_reached = self.was_reached;
        self.was_reached |= has_quorum;
        match (before, has_quorum, was_reached) {
            (false, true, false) => QuorumChange::Reached,
            (false, true, true) => QuorumChange::Regained,
            (true, false, _) => QuorumChange::Lost,
            _ => QuorumChange::Unchanged,
        }
    }

    /// The seeds to dial now.
    pub(crate) fn seeds_to_dial(&self, now: Time) -> Vec<usize> {
        let idle = |s: &SeedSlot| s.chosen && s.link.is_none() && s.dial.is_none();
        let due = |(i, s): (usize, &SeedSlot)| (idle(s) && s.retry_at <= now).then_some(i);
        self.slots.iter().enumerate().filter_map(due).collect()
    }

    /// When the next seed is to be dialled; a leaving peer dials only seeds that hold its
    /// registration without a link.
    pub(crate) fn next_dial(&self, leaving: bool) -> Option<Time> {
        let idle = |s: &&SeedSlot| {
            s.chosen && s.link.is_none() && s.dial.is_none() && (s.parked || !leaving)
        };
        self.slots.iter().filter(idle).map(|s| s.retry_at).min()
    }

    /// Handles a failed dial or link: schedules a retry, and chooses another seed meanwhile.
    pub(crate) fn on_failed(
        &mut self,
        index: usize,
        now: Time,
        config: &Config,
        rng: &mut RngStream,
    ) -> Duration {
        let Some(s) = self.slots.get_mut(index) else { return Duration::ZERO };
        s.dial = None;
        s.link = None;
        s.parked = false;
        s.acknowledged = None;
        s.register_sent = None;
        s.overdue = false;
        s.pending_ping = None;
        s.list_requested = None;
        s.list_complete = false;
        s.list_applied = false;
        s.failures = s.failures.saturating_add(1);
        let wait = rng.backoff(s.failures, config);
        s.retry_at = now + wait;
        // One failure may be a restart of the seed; after two, another seed is chosen as well.
        if s.failures >= 2 || self.usable() + self.pending_count() < self.quorum() {
            self.choose_spare(now, rng);
        }
        wait
    }

    /// Chooses another seed if the chosen ones are too few for a quorum.
    fn choose_spare(&mut self, now: Time, rng: &mut RngStream) {
        let spare: Vec<usize> = (0..self.slots.len())
            .filter(|&i| self.slots.get(i).is_some_and(|s| !s.chosen))
            .collect();
        if self.usable() + self.pending_count() < self.quorum()
            && let Some(&i) = spare.get(rng.below(spare.len()))
            && let Some(s) = self.slots.get_mut(i)
        {
            s.chosen = true;
            s.retry_at = now;
        }
    }

    /// Chooses another seed for each one that neither acknowledges nor sends a list. Returns how
    /// many are overdue.
    pub(crate) fn choose_for_overdue(&mut self, now: Time, rng: &mut RngStream) -> u64 {
        let (mut overdue, quorum_at) = (0, self.quorum_at);
        for at in 0..self.slots.len() {
            let Some(s) = self.slots.get_mut(at) else { continue };
            if s.overdue_at(quorum_at).is_some_and(|by| by <= now) {
                s.overdue = true;
                overdue += 1;
                self.choose_spare(now, rng);
            }
        }
        overdue
    }

    /// Takes the links on which a list is to be requested now.
    pub(crate) fn take_due_lists(&mut self, now: Time) -> Vec<LinkId> {
        let quorum_at = self.quorum_at;
        let due = |s: &&mut SeedSlot| s.list_due(quorum_at).is_some_and(|at| at <= now);
        let ask = |s: &mut SeedSlot| {
            s.list_requested = Some(now);
            s.list_complete = false;
            s.link
        };
        self.slots.iter_mut().filter(due).filter_map(ask).collect()
    }

    /// When a list has to be requested, or a seed becomes overdue.
    pub(crate) fn answers_deadline(&self) -> Option<Time> {
        let at = |s: &SeedSlot| [s.overdue_at(self.quorum_at), s.list_due(self.quorum_at)];
        self.slots.iter().flat_map(at).flatten().min()
    }

    /// Parks a registration: the seed has too many links to keep this one. Returns whether there is
    /// a registration.
    pub(crate) fn park(&mut self, index: usize) -> bool {
        let Some(s) = self.slots.get_mut(index).filter(|s| s.acknowledged.is_some()) else {
            return false;
        };
        s.link = None;
        s.parked = true;
        // A seed closes a link in this way only after it has sent its list.
        s.list_applied = true;
        s.pending_ping = None;
        s.retry_at = Time::MAX;
        true
    }

    /// Handles a seed that has no capacity for another link: it is alive, so its acknowledgement
    /// stays valid until the lease ends, and it is dialled again. Returns whether there is such a
    /// registration.
    pub(crate) fn on_link_refused(
        &mut self,
        index: usize,
        now: Time,
        config: &Config,
        rng: &mut RngStream,
    ) -> bool {
        let stands =
            |s: &SeedSlot| s.acknowledged.is_some() && now < s.acknowledged_at + config.lease();
        let Some(s) = self.slots.get_mut(index).filter(|s| stands(s)) else { return false };
        s.dial = None;
        s.link = None;
        s.parked = true;
        s.pending_ping = None;
        s.register_sent = None;
        s.failures = s.failures.saturating_add(1);
        s.retry_at = now + rng.backoff(s.failures, config);
        true
    }

    /// Schedules a dial of the parked seeds, because there is a frame to send to them.
    pub(crate) fn redial_parked_by(&mut self, by: Time) {
        for s in self.slots.iter_mut().filter(|s| s.parked) {
            s.retry_at = s.retry_at.min(by);
        }
    }

    /// Number of chosen seeds that are not known to fail.
    fn pending_count(&self) -> usize {
        let hopeful = |s: &&SeedSlot| s.chosen && !s.is_usable() && s.failures < 2 && !s.overdue;
        self.slots.iter().filter(hopeful).count()
    }

    pub(crate) fn by_link(&mut self, link: LinkId) -> Option<&mut SeedSlot> {
        self.slots.iter_mut().find(|s| s.link == Some(link))
    }

    pub(crate) fn index_of_link(&self, link: LinkId) -> Option<usize> {
        self.slots.iter().position(|s| s.link == Some(link))
    }

    /// The other name under which a seed's identity is in use: linked, or with a registration.
    pub(crate) fn in_use_as(&self, index: usize, id: &PeerId) -> Option<String> {
        let in_use =
            |s: &SeedSlot| s.id == Some(*id) && (s.link.is_some() || s.acknowledged.is_some());
        let mut others = self.slots.iter().enumerate().filter(|(i, s)| *i != index && in_use(s));
        others.next().map(|(_, s)| s.address.host_port.clone())
    }

    /// Records why a seed cannot be used. Returns whether the reason is new.
    pub(crate) fn set_problem(&mut self, index: usize, why: String) -> bool {
        let Some(s) = self.slots.get_mut(index) else { return false };
        let is_news = s.problem.as_ref() != Some(&why);
        s.problem = Some(why);
        is_news
    }

    pub(crate) fn is_linked(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|s| s.link.is_some())
    }

    /// Records that a dial to a linked seed has ended without a link.
    pub(crate) fn end_dial(&mut self, index: usize) {
        if let Some(s) = self.slots.get_mut(index) {
            s.dial = None;
        }
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.slots.iter().filter_map(|s| s.link)
    }

    /// The number of peers in the network: the lower median of the seeds' numbers, so that a
    /// minority of the seeds cannot raise it.
    pub(crate) fn network_size(&self) -> u32 {
        self.lower_median(|s| s.alive)
    }

    /// How many of them participate: the lower median of the seeds' numbers.
    pub(crate) fn participating(&self) -> u32 {
        self.lower_median(|s| s.participating)
    }

    fn lower_median(&self, count: impl Fn(&SeedSlot) -> u32) -> u32 {
        let linked = || self.slots.iter().filter(|s| s.link.is_some() || s.parked);
        let middle = linked().count().saturating_sub(1) / 2;
        // There are few seeds, and sorting would allocate memory.
        let is_median = |n: u32| {
            let below = linked().filter(|s| count(s) < n).count();
            let above = linked().filter(|s| count(s) > n).count();
            below <= middle && above <= linked().count() - 1 - middle
        };
        linked().map(&count).find(|n| is_median(*n)).unwrap_or(0)
    }

    /// The nonce of the target degrees: the seeds agree on the smallest; a seed that is not synced
    /// does not know it yet.
    pub(crate) fn nonce(&self) -> Option<[u8; 16]> {
        let linked = || self.slots.iter().filter(|s| s.link.is_some() || s.parked);
        let settled = linked().filter(|s| s.synced).filter_map(|s| s.nonce).min();
        settled.or_else(|| linked().filter_map(|s| s.nonce).min())
    }

    /// Records which keys a seed has proved under which configured addresses.
    pub(crate) fn vouch(&mut self, voucher: usize, names: &[SeedName]) {
        let Some(voucher) = self.slots.get(voucher).and_then(|s| s.id) else { return };
        for name in names {
            if let Some(configured) = self.first_slot_at(&name.host_port) {
                let by = self.vouched.get_or_insert((configured, name.id), VecSet::new);
                by.insert(voucher);
            }
        }
        // A seed names at most one key per address and link; a seed that names many is limited.
        while self.vouched.len() > 4 * self.slots.len() {
            let weakest = self.vouched.iter().min_by_key(|(_, v)| v.len()).map(|(k, _)| *k);
            let Some(weakest) = weakest else { break };
            self.vouched.remove(&weakest);
        }
    }

    fn first_slot_at(&self, host_port: &str) -> Option<usize> {
        self.slots.iter().position(|s| s.address.host_port == host_port)
    }

    /// Whether a key is a seed's: pinned, proved on a dial to a configured address, or named by a
    /// majority of the seeds.
    pub(crate) fn is_seed(&self, id: &PeerId) -> bool {
        let direct = |s: &SeedSlot| match s.address.pin {
            Some(pin) => pin == *id,
            None => s.id == Some(*id),
        };
        self.slots.iter().any(direct)
            || self.slots.iter().filter(|s| s.address.pin.is_none()).any(|s| {
                let configured = self.first_slot_at(&s.address.host_port);
                let by = configured.and_then(|at| self.vouched.get(&(at, *id)));
                by.is_some_and(|by| by.len() >= self.quorum())
            })
    }

    /// Whether a majority of the seeds has signed a certificate.
    pub(crate) fn is_valid(&self, certificate: &Certificate) -> bool {
        !self.slots.is_empty() && certificate.votes_from(|id| self.is_seed(id)) >= self.quorum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn seeds(n: usize) -> Arc<[SeedAddress]> {
        (0..n).map(|i| SeedAddress { host_port: format!("s{i}:1"), pin: None }).collect()
    }

    #[test]
    fn majority_is_more_than_half() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(majority), [0, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn peer_chooses_a_random_majority_of_seeds() {
        let mut chosen = BTreeSet::new();
        for i in 0..50 {
            let mut rng = RngStream::new(&[i; 32], "t");
            let registrations = Registrations::new(&seeds(5), &mut rng, Time::ZERO);
            let set: Vec<bool> = registrations.slots.iter().map(|s| s.chosen).collect();
            assert_eq!(set.iter().filter(|&&c| c).count(), 3);
            chosen.insert(set);
        }
        assert!(chosen.len() > 5);
    }

    #[test]
    fn parked_registration_is_valid_without_a_link_until_an_update() {
        let mut rng = RngStream::new(&[1; 32], "t");
        let mut registrations = Registrations::new(&seeds(1), &mut rng, Time::ZERO);
        assert!(!registrations.park(0), "no registration was acknowledged");
        let slot = &mut registrations.slots[0];
        (slot.link, slot.acknowledged, slot.alive) = (Some(LinkId(1)), Some((1, 1)), 9);
        assert!(registrations.park(0));
        assert_eq!(
            (registrations.count(), registrations.network_size(), registrations.links().count()),
            (1, 9, 0)
        );
        let later = Time::ZERO + Duration::from_secs(9);
        assert!(registrations.seeds_to_dial(later).is_empty());
        registrations.redial_parked_by(later);
        registrations.redial_parked_by(later + Duration::from_secs(1));
        assert_eq!(
            (registrations.next_dial(false), registrations.seeds_to_dial(later)),
            (Some(later), vec![0])
        );
    }

    #[test]
    fn failing_seed_is_replaced_and_still_retried() {
        let config = Config::lan().build().unwrap();
        let mut rng = RngStream::new(&[1; 32], "t");
        let mut registrations = Registrations::new(&seeds(3), &mut rng, Time::ZERO);
        let first = registrations.seeds_to_dial(Time::ZERO)[0];
        for _ in 0..2 {
            registrations.on_failed(first, Time::ZERO, &config, &mut rng);
        }
        assert!(registrations.slots.iter().all(|s| s.chosen));
        for _ in 0..40 {
            let wait = registrations.on_failed(first, Time::ZERO, &config, &mut rng);
            assert!(wait <= config.backoff_max());
        }
        assert!(
            registrations.seeds_to_dial(Time::ZERO + config.backoff_max()).contains(&first),
            "for ever"
        );
    }
}
