//! Memory for large frames, used again.
//!
//! What a node keeps of the messages that pass through it turns over all the time: for each batch
//! that comes, one of about the same size is let go. If each took fresh memory of the system, a
//! tenth of a loaded node's time would go into clearing pages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rumormill_proto::limits::MAX_BATCH;

/// Bytes of a buffer: a full batch and what a frame adds to it.
const CAPACITY: usize = MAX_BATCH + 1024;
/// A smaller frame would waste too much of one.
const LEAST: usize = CAPACITY / 8 * 7;
/// Buffers that wait for the next frames, in all of the process: 4 MiB. Frames are let go by
/// another thread than the one that reads the next, and many at a time, so a few for each thread
/// would not do.
const SPARE: usize = 64;

static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn spares() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // Nothing in here panics halfway through a change.
    SPARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A frame in the making.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// Sets aside memory for `trusted` bytes in all of a frame that is to have `size`. What is there
    /// stays.
    pub(super) fn provide(&mut self, size: usize, trusted: usize) {
        if trusted < size || !(LEAST..=CAPACITY).contains(&size) {
            return self.0.reserve_exact(trusted.saturating_sub(self.0.len()));
        }
        let spare = spares().pop();
        let spare = spare.unwrap_or_else(|| Vec::with_capacity(CAPACITY));
        let small = std::mem::replace(&mut self.0, spare);
        self.0.extend_from_slice(&small);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The memory that is set aside.
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        self.0.extend_from_slice(more);
    }

    /// The frame. Its memory comes back when nobody holds any part of it.
    pub(super) fn finish(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.0);
        if bytes.capacity() == CAPACITY { Bytes::from_owner(Reused(bytes)) } else { bytes.into() }
    }
}

/// Memory that goes back to the spares.
struct Reused(Vec<u8>);

impl AsRef<[u8]> for Reused {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        bytes.clear();
        let mut spares = spares();
        if spares.len() < SPARE {
            spares.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Bytes {
        let mut b = Buffer::default();
        b.extend(&[7; 3]);
        b.provide(size, 10);
        b.extend(&[7; 7]);
        b.provide(size, size);
        b.extend(&vec![7; size - 10]);
        assert_eq!(b.bytes().len(), size);
        b.finish()
    }

    #[test]
    fn memory_of_large_frames_is_used_again_when_nobody_holds_a_part_of_it() {
        // Other tests of this process read frames as well, so nothing is said of how many there are.
        let first = frame(MAX_BATCH);
        let at = first.as_ptr();
        let is_spare = || spares().iter().any(|s| s.as_ptr() == at);
        let part = first.slice(10..20);
        drop(first);
        assert!(!is_spare());
        assert_eq!(part[..], [7; 10]);
        drop(part);
        assert!(is_spare() || spares().len() == SPARE);
        let many: Vec<Bytes> = (0..2 * SPARE).map(|_| frame(MAX_BATCH)).collect();
        drop(many);
        assert!(spares().len() <= SPARE);
        assert!(spares().iter().all(|s| s.is_empty() && s.capacity() == CAPACITY));
    }

    #[test]
    fn a_small_frame_has_memory_of_its_own_size() {
        let mut b = Buffer::default();
        b.provide(100, 100);
        assert!(b.capacity() < 200);
        b.extend(&[1; 100]);
        assert_eq!(b.finish(), [1; 100][..]);
    }
}
