//! One node of the ceiling: it writes the frames that it reads to its other links, and does nothing
//! else.
//!
//! It does everything that a good program would do for speed, because the network is compared with
//! it: one task per node, large reads, frames forwarded without parsing, all frames of one pass
//! written at once, a large frame shared by all its links, and no copy at a leaf.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::delays::NodeDelays;
use super::out_queue::{LENGTH_PREFIX, OutQueue, Stream, enqueue};
use super::relay_publisher::RelayPublisher;
use super::source::Phase;
use super::stamp::Stamp;

/// Reads from one link before the next link is read.
const MAX_READS: usize = 16;
/// Passes over all links before other nodes run.
const MAX_PASSES: usize = 8;

/// Splits the bytes of a link into frames, which all have the same length.
#[derive(Debug)]
pub(crate) struct FrameSplitter {
    frame: usize,
    /// The beginning of a frame whose end has not arrived yet.
    partial: Vec<u8>,
    /// The length of that beginning, also if its bytes are not kept.
    have: usize,
}

impl FrameSplitter {
    pub(crate) fn new(frame: usize) -> Self {
        FrameSplitter { frame, partial: Vec::new(), have: 0 }
    }

    /// Counts the frames that end in this piece.
    pub(crate) fn count(&mut self, piece: &[u8]) -> u64 {
        let bytes = self.have + piece.len();
        self.have = bytes % self.frame;
        (bytes / self.frame) as u64
    }

    /// Passes on the frames that end in this piece, in runs of whole frames, and counts them.
    pub(crate) fn split<'a>(
        &mut self,
        mut piece: &'a [u8],
        mut to: impl FnMut(Cow<'a, [u8]>),
    ) -> u64 {
        let mut frames = 0;
        if !self.partial.is_empty() {
            let missing = self.frame - self.partial.len();
            let (end, rest) = piece.split_at(missing.min(piece.len()));
            self.partial.extend_from_slice(end);
            piece = rest;
            if self.partial.len() == self.frame {
                to(Cow::Owned(std::mem::take(&mut self.partial)));
                frames += 1;
            }
        }
        let (whole, rest) = piece.split_at(piece.len() - piece.len() % self.frame);
        if !whole.is_empty() {
            to(Cow::Borrowed(whole));
            frames += (whole.len() / self.frame) as u64;
        }
        if !rest.is_empty() {
            self.partial.reserve(self.frame);
            self.partial.extend_from_slice(rest);
        }
        frames
    }
}

/// One end of a link.
#[derive(Debug)]
struct Link<S> {
    stream: S,
    splitter: FrameSplitter,
    out: OutQueue,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Relay<S> {
    node: usize,
    frame: usize,
    links: Vec<Link<S>>,
    /// Delays, if they are measured.
    pub(crate) delays: Option<NodeDelays>,
}

impl<S: Stream> Relay<S> {
    pub(crate) fn new(node: usize, payload: usize) -> Self {
        Relay { node, frame: LENGTH_PREFIX + payload, links: Vec::new(), delays: None }
    }

    pub(crate) const fn node(&self) -> usize {
        self.node
    }

    pub(crate) fn link(&mut self, stream: S) {
        let splitter = FrameSplitter::new(self.frame);
        self.links.push(Link { stream, splitter, out: OutQueue::default() });
    }

    /// Relays frames, and publishes if there is a publisher. Ends only with an error. Cancel safe.
    pub(crate) async fn run(
        &mut self,
        phase: &Phase,
        relay_publisher: &mut Option<RelayPublisher>,
    ) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            for _ in 0..MAX_PASSES {
                if !self.pass(phase, relay_publisher, cx)? {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Publishes, reads and writes once. Says whether there was any progress.
    fn pass(
        &mut self,
        phase: &Phase,
        relay_publisher: &mut Option<RelayPublisher>,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let mut moved = false;
        if let Some(relay_publisher) = relay_publisher
            && !self.links.iter().any(|l| l.out.is_full())
        {
            moved |= relay_publisher.publish(
                self.node,
                phase,
                self.links.iter_mut().map(|l| &mut l.out),
                cx,
            );
        }
        for link in 0..self.links.len() {
            moved |= self.read(link, phase, cx)?;
        }
        for link in &mut self.links {
            moved |= link.out.poll_write(&mut link.stream, cx)?;
        }
        Ok(moved)
    }

    /// Reads from one link, and queues the frames on the others.
    fn read(&mut self, from: usize, phase: &Phase, cx: &mut Context<'_>) -> io::Result<bool> {
        let (before, rest) = self.links.split_at_mut(from);
        let Some((link, after)) = rest.split_first_mut() else { return Ok(false) };
        let passes_on = !(before.is_empty() && after.is_empty());
        let mut frames = 0;
        let mut moved = false;
        for _ in 0..MAX_READS {
            if before.iter().chain(&*after).any(|l| l.out.is_full()) {
                break;
            }
            let Poll::Ready(piece) = Pin::new(&mut link.stream).poll_fill_buf(cx)? else { break };
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            moved = true;
            let read = piece.len();
            frames += if passes_on || self.delays.is_some() {
                link.splitter.split(piece, |run| {
                    if let Some(delays) = &mut self.delays {
                        time(&run, self.frame, phase, delays);
                    }
                    let others = before.iter_mut().chain(after.iter_mut());
                    enqueue(run, self.frame, others.map(|l| &mut l.out));
                })
            } else {
                link.splitter.count(piece)
            };
            Pin::new(&mut link.stream).consume(read);
        }
        if frames > 0 {
            phase.scoreboard.record_received(self.node, 0, frames);
        }
        Ok(moved)
    }
}

fn time(run: &[u8], frame: usize, phase: &Phase, delays: &mut NodeDelays) {
    let now = phase.clock.now();
    for payload in run.chunks_exact(frame).filter_map(|f| f.get(LENGTH_PREFIX..)) {
        if let Some(stamp) = Stamp::read(payload) {
            phase.tracker.record_arrival(&stamp, now, delays);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitter_finds_all_frames_however_the_bytes_are_split() {
        let bytes: Vec<u8> = (0..100).collect();
        for size in 1..30 {
            let (mut splitter, mut counter) = (FrameSplitter::new(10), FrameSplitter::new(10));
            let (mut frames, mut counted, mut got) = (0, 0, Vec::new());
            for piece in bytes.chunks(size) {
                frames += splitter.split(piece, |run| {
                    assert!(run.len().is_multiple_of(10));
                    got.extend_from_slice(&run);
                });
                counted += counter.count(piece);
            }
            assert_eq!((frames, counted), (10, 10), "{size}");
            assert_eq!(got, bytes);
        }
    }
}
