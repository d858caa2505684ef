//! The exchange between seeds: updates as they happen, and a periodic comparison of bucket hashes
//! that finds missed updates (the checksum-and-peel-back of Demers et al. 1987, section 1.3, over
//! 256 buckets).
//!
//! Each seed dials every other one and sends its queries on its own link; so a key is proved at the
//! address that the configuration names, and no node becomes a seed by claiming to be one.

use minicbor::bytes::ByteArray;

use super::Seed;
use super::links::SeedDialPurpose;
use crate::event::{CloseReason, Event};
use crate::identity::PeerId;
use crate::io::{DialError, DialTarget, LinkId, LinkInfo, Role, SeedAddress, StoreOp};
use crate::registry::Entry;
use crate::time::Time;
use crate::wire::{Digest, Entries, Ping, parts};

/// Silence, in ping intervals, after which the link to another seed is closed.
const MAX_SILENT_INTERVALS: u32 = 3;

/// Bytes of entries in one answer, without the last bucket, so that a large registry does not
/// overrun the link.
const MAX_DIGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// Another seed.
#[derive(Debug)]
pub(super) struct OtherSeed {
    pub(super) address: SeedAddress,
    pub(super) id: Option<PeerId>,
    pub(super) link: Option<LinkId>,
    pub(super) compared: bool,
    dialing: bool,
    retry_at: Time,
    failures: u32,
    next_digest: Time,
    last_heard: Time,
    pinged: Option<Time>,
    itself: bool,
    /// Why it is not used, if it was reached and cannot be used.
    pub(super) problem: Option<String>,
}

impl OtherSeed {
    pub(super) const fn new(address: SeedAddress, now: Time) -> Self {
        OtherSeed {
            id: address.pin,
            address,
            link: None,
            compared: false,
            dialing: false,
            retry_at: now,
            failures: 0,
            next_digest: now,
            last_heard: now,
            pinged: None,
            itself: false,
            problem: None,
        }
    }

    /// Records that the seed was reached and cannot be used. Returns whether the reason is new.
    pub(super) fn refuse(&mut self, why: String) -> bool {
        self.dialing = false;
        self.failures = self.failures.saturating_add(1);
        let is_news = self.problem.as_ref() != Some(&why);
        self.problem = Some(why);
        is_news
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) const fn retry_at(&mut self, at: Time) {
        self.retry_at = at;
    }

    /// Its key, if pinned or proved.
    pub(super) const fn proved(&self) -> Option<PeerId> {
        self.id
    }
}

impl Seed {
    pub(super) fn dial_seeds(&mut self) {
        let now = self.fx.now();
        for (index, other) in self.others.iter_mut().enumerate() {
            let idle = other.link.is_none() && !other.dialing && !other.itself;
            if idle && other.retry_at <= now {
                other.dialing = true;
                let dial = self.fx.dial(DialTarget::Seed(other.address.clone()));
                self.dials.insert(dial, SeedDialPurpose::Seed(index));
            }
        }
    }

    /// Handles a configured address that is this seed's own.
    pub(super) fn on_own_address(&mut self, index: usize) {
        if let Some(other) = self.others.get_mut(index) {
            other.dialing = false;
            other.itself = true;
            other.compared = true;
            self.own_address.get_or_insert(other.address.host_port.clone());
        }
        self.review_synced(false);
    }

    pub(super) fn on_seed_dial_failed(&mut self, index: usize, why: DialError) {
        let now = self.fx.now();
        let Some(other) = self.others.get_mut(index) else { return };
        other.dialing = false;
        if other.link.is_some() {
            // Its name resolves to another address without an answer: the link stays.
            return self.fx.counters.seed_moves_failed += 1;
        }
        other.failures = other.failures.saturating_add(1);
        let wait = self.rng.backoff(other.failures, &self.config);
        other.retry_at = now + wait;
        let seed = other.address.host_port.clone();
        if why == DialError::WrongIdentity {
            other.problem = Some(why.to_string());
            self.fx.event(Event::SeedRefused { seed, why: why.to_string() });
        } else {
            // An earlier problem is outdated: no seed answers there now.
            other.problem = None;
            let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.fx.event(Event::SeedLost { seed, why: why.to_string(), retry_ms });
        }
    }

    pub(super) fn on_seed_up(&mut self, index: usize, link: LinkId, info: &LinkInfo) {
        let now = self.fx.now();
        self.mark_purpose(link);
        if info.role != Role::Seed {
            self.close(link, CloseReason::Incompatible);
            return self.on_seed_dial_failed(index, DialError::Incompatible);
        }
        let shares = |(i, o): (usize, &OtherSeed)| {
            (i != index && o.link.is_some() && o.id == Some(info.remote))
                .then(|| o.address.host_port.clone())
        };
        if let Some(owner) = self.others.iter().enumerate().find_map(shares) {
            let seed = self.others.get(index).map(|o| o.address.host_port.clone());
            self.close(link, CloseReason::Duplicate);
            let seed = seed.unwrap_or_default();
            return self.refuse_shared_identity(index, seed, Some(owner), info.remote);
        }
        // The name of the seed resolves to another address: the new link replaces the old one.
        let before = self.others.get_mut(index).and_then(|o| o.link.take());
        if let Some(old) = before {
            self.close(old, CloseReason::Done);
        }
        let Some(other) = self.others.get_mut(index) else { return };
        other.dialing = false;
        other.failures = 0;
        other.problem = None;
        other.id = Some(info.remote);
        other.link = Some(link);
        other.last_heard = now;
        other.pinged = None;
        other.next_digest = now;
        let (seed, id) = (other.address.host_port.clone(), info.remote);
        self.fx.event(Event::SeedLinked { seed, id });
        self.send_open_cases(link);
        self.compare();
    }

    /// Dials a seed whose name resolves to another address; the new link replaces the old one.
    pub(super) fn on_seed_moved(&mut self, seed: &str) {
        for index in 0..self.others.len() {
            let Some(other) = self.others.get_mut(index) else { continue };
            if other.address.host_port != seed || other.link.is_none() || other.dialing {
                continue;
            }
            other.dialing = true;
            let dial = self.fx.dial(DialTarget::Seed(other.address.clone()));
            self.dials.insert(dial, SeedDialPurpose::Seed(index));
            self.fx.counters.seed_moves += 1;
            self.fx.event(Event::SeedMoved { seed: seed.to_owned() });
        }
    }

    pub(super) fn on_seed_link_down(&mut self, id: LinkId) {
        let now = self.fx.now();
        let Some(other) = self.others.iter_mut().find(|o| o.link == Some(id)) else { return };
        other.link = None;
        other.retry_at = now + self.config.backoff_min();
        let seed = other.address.host_port.clone();
        let retry_ms = u64::try_from(self.config.backoff_min().as_millis()).unwrap_or(u64::MAX);
        let why = "the link ended".to_owned();
        self.fx.event(Event::SeedLost { seed, why, retry_ms });
    }

    pub(super) fn on_seed_pong(&mut self, id: LinkId) {
        if let Some(other) = self.others.iter_mut().find(|o| o.link == Some(id)) {
            other.pinged = None;
        }
    }

    /// Pings the other seeds, and closes links to silent ones.
    pub(super) fn watch_seeds(&mut self) {
        let now = self.fx.now();
        let interval = self.config.seed_ping_interval();
        let mut silent = Vec::new();
        for other in &mut self.others {
            let Some(link) = other.link else { continue };
            if now >= other.last_heard + interval * MAX_SILENT_INTERVALS {
                silent.push(link);
            } else if now >= other.pinged.unwrap_or(other.last_heard) + interval {
                other.pinged = Some(now);
                let nonce = self.rng.u64();
                self.fx.send(link, Ping { nonce });
            }
        }
        for link in silent {
            self.close(link, CloseReason::NoSignOfLife);
        }
    }

    pub(super) fn heard_other_seed(&mut self, remote: PeerId) {
        let now = self.fx.now();
        if let Some(other) = self.others.iter_mut().find(|o| o.id == Some(remote)) {
            other.last_heard = now;
        }
    }

    pub(super) fn others_deadline(&self) -> Time {
        let interval = self.config.seed_ping_interval();
        let each = self.others.iter().filter(|o| !o.itself).filter_map(|o| match o.link {
            Some(_) => {
                let ping = o.pinged.unwrap_or(o.last_heard) + interval;
                Some(ping.min(o.last_heard + interval * MAX_SILENT_INTERVALS).min(o.next_digest))
            }
            None => (!o.dialing).then_some(o.retry_at),
        });
        each.min().unwrap_or(Time::MAX)
    }

    /// Sends the bucket hashes to every seed whose comparison is due.
    pub(super) fn compare(&mut self) {
        let now = self.fx.now();
        let digest = Digest {
            buckets: self.table.hashes().to_vec(),
            nonce: ByteArray::from(self.nonce),
            synced: self.synced,
        };
        for other in &mut self.others {
            let Some(link) = other.link else { continue };
            if other.next_digest <= now {
                // Until the first comparison has succeeded, it is attempted more often.
                let every = self.config.registry_exchange();
                let wait = if other.compared { every } else { every / 10 };
                other.next_digest = now + self.rng.scaled(wait, 0.75, 1.25);
                self.fx.send(link, digest.clone());
            }
        }
    }

    /// Whether a remote with the role of a seed has proved the key of a configured seed.
    fn is_proved(&mut self, link: LinkId, remote: PeerId) -> bool {
        let proved = self.others.iter().any(|o| o.proved() == Some(remote));
        if proved {
            self.mark_purpose(link);
        }
        if !proved {
            // It may be one that this seed has not dialled yet; it will try again.
            self.fx.counters.frames_from_unproved_seeds += 1;
        }
        proved
    }

    pub(super) fn on_digest(&mut self, link: LinkId, remote: PeerId, f: &Digest) {
        if !self.is_proved(link, remote) {
            return;
        }
        self.agree_on_nonce(*f.nonce, f.synced);
        let different = (0..=u8::MAX).filter(|&b| {
            let at = usize::from(b);
            self.table.hashes().get(at) != f.buckets.get(at)
        });
        let different: Vec<u8> = different.collect();
        let (entries, requested_buckets) = self.entries_of(different.iter().copied());
        let whole = requested_buckets.len() == different.len();
        self.send_entries(link, &entries, requested_buckets, whole);
    }

    /// The entries of some buckets, and these buckets. Limited in size, so that they fit into the
    /// link's queue: the other buckets differ in the next comparison as well.
    fn entries_of(&self, buckets: impl Iterator<Item = u8>) -> (Vec<Entry>, Vec<u8>) {
        let (mut entries, mut which, mut bytes) = (Vec::new(), Vec::new(), 0);
        for bucket in buckets {
            if bytes > MAX_DIGEST_ANSWER_BYTES {
                break;
            }
            let before = entries.len();
            entries.extend(self.table.bucket(bucket).cloned());
            let new = entries.get(before..).unwrap_or_default();
            bytes += new.iter().map(Entry::wire_size).sum::<usize>();
            which.push(bucket);
        }
        (entries, which)
    }

    pub(super) fn on_entries(&mut self, link: LinkId, remote: PeerId, f: Entries) {
        if !self.is_proved(link, remote) {
            return;
        }
        self.agree_on_nonce(*f.nonce, f.synced);
        for mut entry in f.entries {
            if let Some(c) = &entry.certificate {
                let trusted = self.trusted();
                let about_it = c.subject() == entry.record.id;
                if !about_it || c.votes_from(|id| trusted.contains(id)) < self.quorum() {
                    self.fx.counters.certificates_refused += 1;
                    entry.certificate = None;
                }
            }
            self.merge_entry(entry);
        }
        if !f.requested_buckets.is_empty() {
            let (entries, _) = self.entries_of(f.requested_buckets.iter().copied());
            self.send_entries(link, &entries, Vec::new(), false);
        }
        if f.compared
            && let Some(other) = self.others.iter_mut().find(|o| o.id == Some(remote))
        {
            other.compared = true;
            self.review_synced(false);
        }
    }

    /// Sends entries in as many frames as they need; the requested buckets are in the last one.
    pub(super) fn send_entries(
        &mut self,
        link: LinkId,
        entries: &[Entry],
        requested_buckets: Vec<u8>,
        compared: bool,
    ) {
        let (nonce, synced) = (ByteArray::from(self.nonce), self.synced);
        // A node on another host cannot reach a live peer that has only loopback addresses.
        let here = self.is_on_this_host(link);
        let is_told = |e: &&Entry| here || !(e.is_alive() && e.record.is_on_loopback());
        let entries: Vec<Entry> = entries.iter().filter(is_told).cloned().collect();
        if entries.is_empty() && (compared || !requested_buckets.is_empty()) {
            let f = Entries { entries: Vec::new(), requested_buckets, nonce, compared, synced };
            return self.fx.send(link, f);
        }
        let mut requested_buckets = Some(requested_buckets);
        let mut chunks = parts(&entries, Entry::wire_size).into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            let requested_buckets =
                if last { requested_buckets.take().unwrap_or_default() } else { Vec::new() };
            let entries = chunk.to_vec();
            let compared = compared && last;
            self.fx.send(link, Entries { entries, requested_buckets, nonce, compared, synced });
        }
    }

    /// All seeds draw target degrees with the same nonce: the smallest that any of them began with.
    /// A seed that begins empty takes the nonce of the existing network; otherwise a lost disk
    /// would change the target of every peer.
    fn agree_on_nonce(&mut self, theirs: [u8; 16], theirs_synced: bool) {
        let newcomer = !self.synced && theirs_synced;
        let same_standing = self.synced == theirs_synced;
        if theirs != self.nonce && (newcomer || (same_standing && theirs < self.nonce)) {
            self.nonce = theirs;
            self.fx.store(vec![StoreOp::PutNonce(theirs)]);
        }
    }
}
