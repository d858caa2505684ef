//! The state machine of a node, shared by its driver and its publishers.
//!
//! All calls go through the driver's task except publishing. A publisher calls the core directly
//! and gets the message's id at once, so a publisher in a loop needs no round trip to another task
//! for each message, and all messages that it adds before the driver runs travel as one batch. The
//! lock is held for one step of the core (some tens of microseconds at most), and never across an
//! await.

use std::sync::{Mutex, MutexGuard, TryLockError};

use rumormill_proto::Time;
use tokio::sync::{Notify, Semaphore};

use super::clock::Clock;

/// The core of one node behind a lock.
#[derive(Debug)]
pub(crate) struct SharedCore<C> {
    /// `None` after the node has ended.
    core: Mutex<Option<C>>,
    clock: Clock,
    /// Signalled when another task than the driver's has called the core.
    pub(crate) wake: Notify,
    /// Signalled when the send window may admit messages again.
    pub(crate) window_opened: Notify,
    /// Publishers that find the send window full queue for this permit, first come, first served;
    /// its holder waits for `window_opened`.
    pub(crate) publish_turn: Semaphore,
}

impl<C> SharedCore<C> {
    pub(crate) fn new(core: C, clock: Clock) -> Self {
        SharedCore {
            core: Mutex::new(Some(core)),
            clock,
            wake: Notify::new(),
            window_opened: Notify::new(),
            publish_turn: Semaphore::new(1),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn lock(&self) -> MutexGuard<'_, Option<C>> {
        self.core.lock().unwrap_or_else(|e| {
            // A step of the core panicked halfway: its state must not be used again.
            let mut guard = e.into_inner();
            *guard = None;
            guard
        })
    }

    /// Calls the core; `None` if the node has ended.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut C, Time) -> R) -> Option<R> {
        let mut guard = self.lock();
        // The time is read under the lock, so that the core's time never runs backwards.
        guard.as_mut().map(|core| call(core, self.clock.now()))
    }

    /// As [`with`](SharedCore::with), but fails instead of waiting for the lock.
    pub(crate) fn try_with<R>(
        &self,
        call: impl FnOnce(&mut C, Time) -> R,
    ) -> Result<Option<R>, CoreBusy> {
        let mut guard = match self.core.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return Err(CoreBusy),
            Err(TryLockError::Poisoned(_)) => return Ok(None),
        };
        Ok(guard.as_mut().map(|core| call(core, self.clock.now())))
    }

    /// Whether a publisher waits for the send window.
    pub(crate) fn has_blocked_publisher(&self) -> bool {
        self.publish_turn.available_permits() == 0
    }

    /// Drops the core, because the node has ended, and wakes the publishers that wait.
    pub(crate) fn close(&self) {
        drop(self.lock().take());
        self.window_opened.notify_waiters();
        self.window_opened.notify_one();
    }
}

/// Another task holds the lock of the core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoreBusy;
