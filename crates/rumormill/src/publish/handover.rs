//! Which of this node's messages another node is known to hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rumormill_proto::Peer;
use rumormill_units::count::counted;
use tokio::sync::watch;

use crate::error::StoppedError;
use crate::handle::Handle;

/// Messages that no other node is known to hold: messages of this node, and of other publishers
/// that handed them over to this node while it was leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnconfirmedMessages {
    /// The epoch of this node's stream.
    pub epoch: u64,
    /// The sequence number of the first of this node's messages.
    pub from: u64,
    /// The number after the last of them; equal to `from` if there are none.
    pub to: u64,
    /// Publishers that have left or died, and whose last messages this node confirmed to hold while
    /// it was leaving.
    pub others: u32,
    /// Streams of earlier processes of this node that its data directory retains, and of which no
    /// other node is known to hold everything. They are sent when the node starts again.
    pub earlier: u32,
}

impl UnconfirmedMessages {
    /// How many of the messages this node published itself.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.to - self.from
    }
}

impl core::fmt::Display for UnconfirmedMessages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let UnconfirmedMessages { epoch, from, to, others, earlier } = *self;
        let own = (from < to).then(|| {
            let (n, last) = (counted(to - from, "message"), to - 1);
            format!(
                "the last {n} that this node published (sequence numbers {from} to {last} of \
                 epoch {epoch})"
            )
        });
        let others = (others > 0).then(|| {
            let publishers = counted(others, "other publisher");
            format!(
                "the last messages that {publishers} handed over to this node while it was leaving"
            )
        });
        let earlier = (earlier > 0).then(|| {
            let streams = counted(earlier, "stream");
            format!(
                "{streams} that earlier processes of this node published, which its data \
                 directory retains"
            )
        });
        f.write_str(
            &own.into_iter().chain(others).chain(earlier).collect::<Vec<_>>().join(", and "),
        )
    }
}

/// Why leaving did not complete. The node has ended in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// The node had ended before.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
    /// The time was over before another node confirmed all messages of this node. Other nodes may
    /// still hold some of them; a node with a data directory retains them there.
    #[error("no other node that stays is known to hold {0}")]
    Unconfirmed(UnconfirmedMessages),
}

/// The progress of the handover, for the calls that wait for it.
#[derive(Debug)]
pub(crate) struct Handover {
    confirmed: Mutex<Option<watch::Sender<u64>>>,
    lost: Mutex<Option<UnconfirmedMessages>>,
}

impl Default for Handover {
    fn default() -> Self {
        Handover { confirmed: Mutex::new(Some(watch::Sender::new(0))), lost: Mutex::new(None) }
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics halfway through a change.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handover {
    /// Records that another node holds everything below a sequence number.
    pub(crate) fn record_confirmed(&self, to: u64) {
        if let Some(sender) = &*lock(&self.confirmed) {
            sender.send_replace(to);
        }
    }

    /// Records that the node leaves while these messages are not confirmed.
    pub(crate) fn record_unconfirmed(&self, what: UnconfirmedMessages) {
        *lock(&self.lost) = Some(what);
    }

    /// Wakes all waiting calls, because the node has ended.
    pub(crate) fn close(&self) {
        *lock(&self.confirmed) = None;
    }

    /// The result of leaving, once the node has ended.
    pub(crate) fn outcome(&self) -> Result<(), LeaveError> {
        match *lock(&self.lost) {
            Some(what) => Err(LeaveError::Unconfirmed(what)),
            None => Ok(()),
        }
    }

    fn watch(&self) -> Result<watch::Receiver<u64>, StoppedError> {
        lock(&self.confirmed).as_ref().map(watch::Sender::subscribe).ok_or(StoppedError)
    }
}

impl Handle<Peer> {
    /// Waits until another node holds everything that was published before.
    pub(crate) async fn flush(&self) -> Result<(), StoppedError> {
        // Subscribes before the call, so that no confirmation is missed.
        let mut confirmed = self.handover().watch()?;
        let ask = |peer: &mut Peer, now| (peer.flush(now), peer.confirmed_end());
        let (until, already) = self.call(ask).await?;
        if already >= until {
            return Ok(());
        }
        confirmed.wait_for(|to| *to >= until).await.map(drop).map_err(|_| StoppedError)
    }
}
