//! The two halves of a connection.
//!
//! Both halves run in the task of the link, so the lock is never contended; it exists only because
//! the borrow checker cannot know that. `tokio::io::split` does the same, but the reader would have
//! to copy the decrypted bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio_rustls::TlsStream;

use super::writer::MAX_BURST;
use crate::transport::Socket;

/// A connection that both halves of a link share.
#[derive(Debug)]
pub(super) struct Duplex(Mutex<TlsStream<Socket>>);

impl Duplex {
    pub(super) fn new(mut stream: TlsStream<Socket>) -> Self {
        // A whole burst is encrypted and written at once.
        let limit = Some(2 * MAX_BURST);
        match &mut stream {
            TlsStream::Client(s) => s.get_mut().1.set_buffer_limit(limit),
            TlsStream::Server(s) => s.get_mut().1.set_buffer_limit(limit),
        }
        Duplex(Mutex::new(stream))
    }

    fn lock(&self) -> MutexGuard<'_, TlsStream<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the next bytes, at most one TLS record, to `take`, and consumes all of them. `None`
    /// at the end of the stream.
    pub(super) fn poll_chunk<R>(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<Option<R>>> {
        let mut stream = self.lock();
        let mut stream = Pin::new(&mut *stream);
        let chunk = ready!(stream.as_mut().poll_fill_buf(cx))?;
        if chunk.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let n = chunk.len();
        let taken = take(chunk);
        stream.consume(n);
        Poll::Ready(Ok(Some(taken)))
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bufs)
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
