//! The frames that wait to be written on a link of the relay tree.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncWrite};

/// Bytes that may wait on a link before the links that feed it are no longer read. The links of a
/// tree cannot wait for each other in a circle.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Frames of this size or larger are shared by the links instead of copied to each.
pub(crate) const SHARED_FRAME_BYTES: usize = 8 * 1024;
/// Bytes of the length before each payload.
pub(crate) const LENGTH_PREFIX: usize = 4;

/// The traits that TLS streams and plain TCP streams have in common.
pub(crate) trait Stream: AsyncBufRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncBufRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The frames that wait to be written on a link.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    /// Written before the tail.
    queue: VecDeque<Arc<Vec<u8>>>,
    /// Bytes of the first queue entry that are written.
    written: usize,
    /// Small frames, which are collected here.
    tail: Vec<u8>,
    bytes: usize,
    /// Whether bytes were written since the last flush.
    needs_flush: bool,
}

impl OutQueue {
    pub(crate) fn copy(&mut self, frames: &[u8]) {
        self.bytes += frames.len();
        self.tail.extend_from_slice(frames);
    }

    pub(crate) fn share(&mut self, frames: &Arc<Vec<u8>>) {
        self.bytes += frames.len();
        self.seal();
        self.queue.push_back(frames.clone());
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push_back(Arc::new(std::mem::take(&mut self.tail)));
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.bytes >= MAX_QUEUED_BYTES
    }

    /// Writes as much as the stream accepts. Says whether it accepted any.
    pub(crate) fn poll_write<S: Stream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let mut moved = false;
        loop {
            if self.queue.is_empty() {
                self.seal();
            }
            let Some(first) = self.queue.front() else { break };
            let rest = first.get(self.written..).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(n) => self.wrote(n?),
            }
            moved = true;
            self.needs_flush = true;
        }
        if self.needs_flush && Pin::new(stream).poll_flush(cx)?.is_ready() {
            self.needs_flush = false;
        }
        Ok(moved)
    }

    fn wrote(&mut self, n: usize) {
        self.bytes -= n;
        self.written += n;
        if self.queue.front().is_some_and(|first| first.len() == self.written) {
            self.written = 0;
            // The buffer is reused for the next small frames, if no other link shares it.
            if let Some(Ok(mut used)) = self.queue.pop_front().map(Arc::try_unwrap)
                && self.tail.capacity() == 0
            {
                used.clear();
                self.tail = used;
            }
        }
    }
}

/// Adds frames to the queues of links.
pub(crate) fn enqueue<'a>(
    run: Cow<'_, [u8]>,
    frame: usize,
    outs: impl Iterator<Item = &'a mut OutQueue>,
) {
    if frame >= SHARED_FRAME_BYTES {
        let shared = Arc::new(run.into_owned());
        outs.for_each(|out| out.share(&shared));
    } else {
        outs.for_each(|out| out.copy(&run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_counts_the_waiting_bytes() {
        let mut out = OutQueue::default();
        out.copy(&[1; 10]);
        out.share(&Arc::new(vec![2; MAX_QUEUED_BYTES]));
        assert!(out.is_full());
        assert_eq!((out.queue.len(), out.tail.len()), (2, 0));
        out.wrote(10);
        assert_eq!((out.queue.len(), out.tail.capacity()), (1, 10));
        out.wrote(MAX_QUEUED_BYTES);
        assert_eq!((out.bytes, out.is_full()), (0, false));
    }
}
