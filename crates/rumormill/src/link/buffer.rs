//! A pool of memory for large frames.
//!
//! The retained messages of a node are replaced continuously: for each batch that arrives, a batch
//! of about the same size is evicted. If each batch took fresh memory from the system, a tenth of a
//! loaded node's time would go into clearing pages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rumormill_proto::limits::MAX_BATCH;

/// Bytes of a buffer: a full batch and the overhead of its frame.
const BUFFER_CAPACITY: usize = MAX_BATCH + 1024;
/// A smaller frame would waste too much of a buffer.
const MIN_POOLED_FRAME: usize = BUFFER_CAPACITY / 8 * 7;
/// The most unused buffers that the whole process keeps: 4 MiB. Frames are freed on other threads
/// than the one that reads the next frame, and many at a time, so a few buffers for each thread
/// would not be enough.
const MAX_SPARE_BUFFERS: usize = 64;

/// The unused buffers.
#[derive(Debug)]
struct BufferPool(Mutex<Vec<Vec<u8>>>);

/// The pool of this process.
static POOL: BufferPool = BufferPool(Mutex::new(Vec::new()));

impl BufferPool {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Nothing in here panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_CAPACITY))
    }

    fn put_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut spares = self.lock();
        if spares.len() < MAX_SPARE_BUFFERS {
            spares.push(bytes);
        }
    }
}

/// The memory of a frame that is being received.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pool: &'static BufferPool,
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer { bytes: Vec::new(), pool: &POOL }
    }
}

impl Buffer {
    /// Reserves memory for the first `trusted` bytes of a frame that has `size` bytes in all. Keeps
    /// the bytes received so far.
    pub(super) fn reserve(&mut self, size: usize, trusted: usize) {
        if trusted < size || !(MIN_POOLED_FRAME..=BUFFER_CAPACITY).contains(&size) {
            return self.bytes.reserve_exact(trusted.saturating_sub(self.bytes.len()));
        }
        let small = std::mem::replace(&mut self.bytes, self.pool.take());
        self.bytes.extend_from_slice(&small);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The reserved memory in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// Returns the frame. Its memory returns to the pool when its last part is dropped.
    pub(super) fn finish(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() != BUFFER_CAPACITY {
            return bytes.into();
        }
        Bytes::from_owner(PooledMemory { bytes, pool: self.pool })
    }
}

/// Memory that returns to the pool when it is dropped.
struct PooledMemory {
    bytes: Vec<u8>,
    pool: &'static BufferPool,
}

impl AsRef<[u8]> for PooledMemory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledMemory {
    fn drop(&mut self) {
        self.pool.put_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A separate pool, because other tests use the pool of the process at the same time.
    static TEST_POOL: BufferPool = BufferPool(Mutex::new(Vec::new()));

    fn frame(size: usize) -> Bytes {
        let mut b = Buffer { bytes: Vec::new(), pool: &TEST_POOL };
        b.extend(&[7; 3]);
        b.reserve(size, 10);
        b.extend(&[7; 7]);
        b.reserve(size, size);
        b.extend(&vec![7; size - 10]);
        assert!(b.bytes().iter().all(|byte| *byte == 7) && b.bytes().len() == size);
        b.finish()
    }

    #[test]
    fn memory_of_large_frame_returns_to_pool_after_its_last_part_is_dropped() {
        let spares = || TEST_POOL.lock().len();
        let first = frame(MAX_BATCH);
        let at = first.as_ptr();
        let part = first.slice(10..20);
        drop(first);
        assert_eq!((spares(), &part[..]), (0, &[7; 10][..]));
        drop(part);
        assert_eq!(spares(), 1);
        assert_eq!(frame(MAX_BATCH).as_ptr(), at);
        drop(frame(MIN_POOLED_FRAME - 1));
        assert_eq!(spares(), 1, "a smaller frame has its own memory");
        let many: Vec<Bytes> = (0..2 * MAX_SPARE_BUFFERS).map(|_| frame(MAX_BATCH)).collect();
        drop(many);
        assert_eq!(spares(), MAX_SPARE_BUFFERS);
    }

    #[test]
    fn small_frame_has_memory_of_its_own_size() {
        let mut b = Buffer::default();
        b.reserve(100, 100);
        assert!(b.capacity() < 200);
        b.extend(&[1; 100]);
        assert_eq!(b.finish(), [1; 100][..]);
    }
}
