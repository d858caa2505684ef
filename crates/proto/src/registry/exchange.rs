//! The exchange between seeds: updates as they happen, and a periodic comparison of bucket hashes
//! that finds missed updates (the checksum-and-peel-back of Demers et al. 1987, section 1.3, over
//! 256 buckets).

use minicbor::bytes::ByteArray;

use super::{Entry, Registry};
use crate::identity::PeerId;
use crate::io::{LinkId, StoreOp};
use crate::seed::SeedContext;
use crate::wire::{Digest, Entries, parts};

/// Bytes of entries in one answer, without the last bucket, so that a large registry does not
/// overrun the link.
const MAX_DIGEST_ANSWER_BYTES: usize = 1024 * 1024;

impl Registry {
    /// Sends the bucket hashes to every seed whose comparison is due.
    pub(crate) fn compare(&mut self, cx: &mut SeedContext<'_>) {
        let digest = Digest {
            buckets: self.table.hashes().to_vec(),
            nonce: ByteArray::from(self.nonce),
            synced: self.synced,
        };
        // Until the first comparison has succeeded, it is attempted more often.
        let every = cx.config.registry_exchange();
        for other in &mut self.others {
            let wait = if other.compared { every } else { every / 10 };
            if let Some(session) = other.session_mut().filter(|s| s.next_digest <= cx.now) {
                session.next_digest = cx.now + cx.rng.scaled(wait, 0.75, 1.25);
                cx.fx.send(session.link, digest.clone());
            }
        }
    }

    /// Whether a remote with the role of a seed has proved the key of a configured seed.
    fn is_proved(&self, cx: &mut SeedContext<'_>, link: LinkId, remote: PeerId) -> bool {
        let proved = self.others.iter().any(|o| o.id == Some(remote));
        if proved {
            cx.links.mark_purpose(link);
        } else {
            // It may be one that this seed has not dialled yet; it will try again.
            cx.fx.counters.frames_from_unproved_seeds += 1;
        }
        proved
    }

    pub(crate) fn on_digest(
        &mut self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Digest,
    ) {
        if !self.is_proved(cx, link, remote) {
            return;
        }
        self.agree_on_nonce(cx, *f.nonce, f.synced);
        let differs = |b: &u8| {
            let at = usize::from(*b);
            self.table.hashes().get(at) != f.buckets.get(at)
        };
        let different: Vec<u8> = (0..=u8::MAX).filter(differs).collect();
        let (entries, requested_buckets) = self.entries_of(different.iter().copied());
        let whole = requested_buckets.len() == different.len();
        self.send_entries(cx, link, &entries, requested_buckets, whole);
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

    /// The entries of a frame from another seed, to be merged; `None` if it has not proved its key.
    pub(crate) fn accept_entries(
        &mut self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        remote: PeerId,
        f: &mut Entries,
    ) -> Option<Vec<Entry>> {
        if !self.is_proved(cx, link, remote) {
            return None;
        }
        self.agree_on_nonce(cx, *f.nonce, f.synced);
        let (trusted, quorum) = (self.trusted(), self.quorum());
        let mut entries = core::mem::take(&mut f.entries);
        for entry in &mut entries {
            let is_refused = entry.certificate.as_ref().is_some_and(|c| {
                c.subject() != entry.record.id || c.votes_from(|id| trusted.contains(id)) < quorum
            });
            if is_refused {
                cx.fx.counters.certificates_refused += 1;
                entry.certificate = None;
            }
        }
        Some(entries)
    }

    /// Answers a frame from another seed whose entries were merged.
    pub(crate) fn answer_entries(
        &mut self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Entries,
    ) {
        if !f.requested_buckets.is_empty() {
            let (entries, _) = self.entries_of(f.requested_buckets.iter().copied());
            self.send_entries(cx, link, &entries, Vec::new(), false);
        }
        if f.compared
            && let Some(other) = self.others.iter_mut().find(|o| o.id == Some(remote))
        {
            other.compared = true;
            self.review_synced(cx, false);
        }
    }

    /// Sends entries in as many frames as they need; the requested buckets are in the last one.
    pub(super) fn send_entries(
        &self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        entries: &[Entry],
        requested_buckets: Vec<u8>,
        compared: bool,
    ) {
        let (nonce, synced) = (ByteArray::from(self.nonce), self.synced);
        // A node on another host cannot reach a live peer that has only loopback addresses.
        let here = cx.links.is_on_this_host(link);
        let is_told = |e: &&Entry| here || !(e.is_alive() && e.record.is_on_loopback());
        let entries: Vec<Entry> = entries.iter().filter(is_told).cloned().collect();
        let mut chunks = parts(&entries, Entry::wire_size);
        let last = chunks.pop().unwrap_or_default();
        for chunk in chunks {
            let (entries, requested_buckets) = (chunk.to_vec(), Vec::new());
            let f = Entries { entries, requested_buckets, nonce, compared: false, synced };
            cx.fx.send(link, f);
        }
        if !last.is_empty() || compared || !requested_buckets.is_empty() {
            let entries = last.to_vec();
            cx.fx.send(link, Entries { entries, requested_buckets, nonce, compared, synced });
        }
    }

    /// All seeds draw target degrees with the same nonce: the smallest that any of them began with.
    /// A seed that begins empty takes the nonce of the existing network; otherwise a lost disk
    /// would change the target of every peer.
    fn agree_on_nonce(&mut self, cx: &mut SeedContext<'_>, theirs: [u8; 16], theirs_synced: bool) {
        let newcomer = !self.synced && theirs_synced;
        let same_standing = self.synced == theirs_synced;
        if theirs != self.nonce && (newcomer || (same_standing && theirs < self.nonce)) {
            self.nonce = theirs;
            cx.fx.store(vec![StoreOp::PutNonce(theirs)]);
        }
    }
}
