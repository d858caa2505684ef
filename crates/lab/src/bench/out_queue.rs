//! The frames that wait to be written on a link of the relay tree.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncWrite};

/// Bytes that may wait on a link before whatever feeds it is no longer read. Links of a tree wait
/// for each other in no circle.
const FULL: usize = 256 * 1024;
/// Frames from this size on are shared by the links instead of copied to each.
pub(crate) const SHARED: usize = 8 * 1024;
/// Before each payload stands its length.
pub(crate) const PREFIX: usize = 4;

/// What both TLS and plain TCP streams are.
pub(crate) trait Stream: AsyncBufRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncBufRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// What waits to be written on a link.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Goes first.
    queue: VecDeque<Arc<Vec<u8>>>,
    /// Written of the first.
    written: usize,
    /// Small frames are gathered here.
    tail: Vec<u8>,
    bytes: usize,
    /// Something was written since the last flush.
    dirty: bool,
}

impl Out {
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
        self.bytes >= FULL
    }

    /// Writes what goes. Says whether anything did.
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
            self.dirty = true;
        }
        if self.dirty && Pin::new(stream).poll_flush(cx)?.is_ready() {
            self.dirty = false;
        }
        Ok(moved)
    }

    fn wrote(&mut self, n: usize) {
        self.bytes -= n;
        self.written += n;
        if self.queue.front().is_some_and(|first| first.len() == self.written) {
            self.written = 0;
            // The next small frames go where these were, if nobody else needs it any more.
            if let Some(Ok(mut used)) = self.queue.pop_front().map(Arc::try_unwrap)
                && self.tail.capacity() == 0
            {
                used.clear();
                self.tail = used;
            }
        }
    }
}

/// Puts frames on links.
pub(crate) fn pass_on<'a>(
    run: Cow<'_, [u8]>,
    frame: usize,
    outs: impl Iterator<Item = &'a mut Out>,
) {
    if frame >= SHARED {
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
    fn what_waits_is_counted() {
        let mut out = Out::default();
        out.copy(&[1; 10]);
        out.share(&Arc::new(vec![2; FULL]));
        assert!(out.is_full());
        assert_eq!((out.queue.len(), out.tail.len()), (2, 0));
        out.wrote(10);
        assert_eq!((out.queue.len(), out.tail.capacity()), (1, 10));
        out.wrote(FULL);
        assert_eq!((out.bytes, out.is_full()), (0, false));
    }
}
