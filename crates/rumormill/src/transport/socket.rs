//! A TCP connection that reads ahead under load.
//!
//! TLS requests 4 KiB at a time, because it does not know how much will arrive. A busy connection
//! reads large chunks and passes them on in parts of 4 KiB; an idle connection keeps no memory for
//! that.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::counters::TransportCounters;

/// Bytes per read on a busy connection.
const READ_AHEAD: usize = 64 * 1024;
/// A read that returns less than this has emptied the receive buffer.
const MIN_BUSY_READ: usize = 4 * 1024;

/// The most buffers that a thread keeps for the next busy connection.
const MAX_SPARE_PER_THREAD: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Vec<u8> {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_AHEAD])
}

fn put_back(buffer: &mut Vec<u8>) {
    let buffer = std::mem::take(buffer);
    if buffer.len() == READ_AHEAD {
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < MAX_SPARE_PER_THREAD {
                spares.push(buffer);
            }
        });
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Bytes read ahead; empty on an idle connection.
    ahead: Vec<u8>,
    /// The range of it that is not passed on yet.
    from: usize,
    to: usize,
    /// Whether the last read filled its buffer.
    busy: bool,
    counters: Arc<TransportCounters>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, counters: Arc<TransportCounters>) -> Self {
        Socket { stream, ahead: Vec::new(), from: 0, to: 0, busy: false, counters }
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let there = self.ahead.get(self.from..self.to).unwrap_or_default();
        let n = there.len().min(buf.remaining());
        buf.put_slice(there.get(..n).unwrap_or_default());
        self.from += n;
        if self.from == self.to && !self.busy {
            put_back(&mut self.ahead);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from == this.to {
            if !this.busy {
                // An idle connection reads into the buffer of the caller. A full buffer makes it
                // busy.
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.counters.socket_bytes_in.add((buf.filled().len() - before) as u64);
                this.busy = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            // A busy connection reads ahead, until a read returns little.
            if this.ahead.is_empty() {
                this.ahead = take_buffer();
            }
            let mut ahead = ReadBuf::new(&mut this.ahead);
            let read = Pin::new(&mut this.stream).poll_read(cx, &mut ahead);
            let n = ahead.filled().len();
            if !matches!(read, Poll::Ready(Ok(()))) {
                this.busy = false;
                put_back(&mut this.ahead);
                return read;
            }
            this.counters.socket_bytes_in.add(n as u64);
            this.busy = n >= MIN_BUSY_READ;
            (this.from, this.to) = (0, n);
        }
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.counters.socket_bytes_out.add(n as u64);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.counters.socket_bytes_out.add(n as u64);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
