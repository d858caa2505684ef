//! One node of the ceiling: it writes what it reads on to its other links, and that is all.
//!
//! Everything a good program would do for speed is done, as this is what others are measured by:
//! one task per node, large reads, frames passed on without a look into them, all that one pass
//! brought written in one go, a large frame shared by all links it goes out on, and no copy at all
//! where nothing is passed on.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::delays::Seen;
use super::out_queue::{Out, PREFIX, Stream, pass_on};
use super::source::Phase;
use super::stamp::Stamp;
use super::tap::Tap;

/// Pieces read from one link before the others get their turn.
const PIECES: usize = 16;
/// Passes over all links before other nodes get their turn.
const PASSES: usize = 8;

/// Cuts what comes from a link into frames, which all have one length.
#[derive(Debug)]
pub(crate) struct Cutter {
    frame: usize,
    /// The beginning of a frame whose end is still to come.
    partial: Vec<u8>,
    /// Its length, also where its bytes are not kept.
    have: usize,
}

impl Cutter {
    pub(crate) fn new(frame: usize) -> Self {
        Cutter { frame, partial: Vec::new(), have: 0 }
    }

    /// Only counts the frames that end in this piece.
    pub(crate) fn count(&mut self, piece: &[u8]) -> u64 {
        let bytes = self.have + piece.len();
        self.have = bytes % self.frame;
        (bytes / self.frame) as u64
    }

    /// Hands out the frames that end in this piece, in runs of whole frames, and counts them.
    pub(crate) fn cut<'a>(
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
    cutter: Cutter,
    out: Out,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Relay<S> {
    node: usize,
    frame: usize,
    links: Vec<Link<S>>,
    /// Delays, if they are measured.
    pub(crate) seen: Option<Seen>,
}

impl<S: Stream> Relay<S> {
    pub(crate) fn new(node: usize, payload: usize) -> Self {
        Relay { node, frame: PREFIX + payload, links: Vec::new(), seen: None }
    }

    pub(crate) const fn node(&self) -> usize {
        self.node
    }

    pub(crate) fn link(&mut self, stream: S) {
        let cutter = Cutter::new(self.frame);
        self.links.push(Link { stream, cutter, out: Out::default() });
    }

    /// Relays, and publishes if it has something to publish. Ends only with an error; it may be
    /// dropped at any time.
    pub(crate) async fn run(&mut self, phase: &Phase, tap: &mut Option<Tap>) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            for _ in 0..PASSES {
                if !self.pass(phase, tap, cx)? {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Does everything that can be done once. Says whether anything could.
    fn pass(
        &mut self,
        phase: &Phase,
        tap: &mut Option<Tap>,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let mut moved = false;
        if let Some(tap) = tap
            && !self.links.iter().any(|l| l.out.is_full())
        {
            moved |= tap.pour(self.node, phase, self.links.iter_mut().map(|l| &mut l.out), cx);
        }
        for link in 0..self.links.len() {
            moved |= self.read(link, phase, cx)?;
        }
        for link in &mut self.links {
            moved |= link.out.poll_write(&mut link.stream, cx)?;
        }
        Ok(moved)
    }

    /// Reads from one link, and passes on to the others.
    fn read(&mut self, from: usize, phase: &Phase, cx: &mut Context<'_>) -> io::Result<bool> {
        let (before, rest) = self.links.split_at_mut(from);
        let Some((link, after)) = rest.split_first_mut() else { return Ok(false) };
        let passes_on = !(before.is_empty() && after.is_empty());
        let mut frames = 0;
        let mut moved = false;
        for _ in 0..PIECES {
            if before.iter().chain(&*after).any(|l| l.out.is_full()) {
                break;
            }
            let Poll::Ready(piece) = Pin::new(&mut link.stream).poll_fill_buf(cx)? else { break };
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            moved = true;
            let read = piece.len();
            frames += if passes_on || self.seen.is_some() {
                link.cutter.cut(piece, |run| {
                    if let Some(seen) = &mut self.seen {
                        time(&run, self.frame, phase, seen);
                    }
                    let others = before.iter_mut().chain(after.iter_mut());
                    pass_on(run, self.frame, others.map(|l| &mut l.out));
                })
            } else {
                link.cutter.count(piece)
            };
            Pin::new(&mut link.stream).consume(read);
        }
        if frames > 0 {
            phase.board.got(self.node, 0, frames);
        }
        Ok(moved)
    }
}

fn time(run: &[u8], frame: usize, phase: &Phase, seen: &mut Seen) {
    let now = phase.clock.now();
    for payload in run.chunks_exact(frame).filter_map(|f| f.get(PREFIX..)) {
        if let Some(stamp) = Stamp::read(payload) {
            phase.ways.arrived(&stamp, now, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_pieces_end() {
        let bytes: Vec<u8> = (0..100).collect();
        for size in 1..30 {
            let (mut cutter, mut counter) = (Cutter::new(10), Cutter::new(10));
            let (mut frames, mut counted, mut got) = (0, 0, Vec::new());
            for piece in bytes.chunks(size) {
                frames += cutter.cut(piece, |run| {
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
