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
pub(crate) struct Seat<C> {
    /// `None` after the node has ended.
    core: Mutex<Option<C>>,
    clock: Clock,
    /// Signalled when another task than the driver's has called the core.
    pub(crate) poke: Notify,
    /// Signalled when the send window may admit messages again.
    pub(crate) room: Notify,
    /// Publishers that find the send window full queue for this permit, first come, first served;
    /// its holder waits for `room`.
    pub(crate) turn: Semaphore,
}

impl<C> Seat<C> {
    pub(crate) fn new(core: C, clock: Clock) -> Self {
        Seat {
            core: Mutex::new(Some(core)),
            clock,
            poke: Notify::new(),
            room: Notify::new(),
            turn: Semaphore::new(1),
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

    /// As [`with`](Seat::with), but fails instead of waiting for the lock.
    pub(crate) fn try_with<R>(
        &self,
        call: impl FnOnce(&mut C, Time) -> R,
    ) -> Result<Option<R>, Occupied> {
        let mut guard = match self.core.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return Err(Occupied),
            Err(TryLockError::Poisoned(_)) => return Ok(None),
        };
        Ok(guard.as_mut().map(|core| call(core, self.clock.now())))
    }

    /// Whether a publisher waits for the send window.
    pub(crate) fn is_awaited(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// Drops the core, because the node has ended, and wakes the publishers that wait.
    pub(crate) fn vacate(&self) {
        drop(self.lock().take());
        self.room.notify_waiters();
        self.room.notify_one();
    }
}

/// Another task holds the lock of the core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupied;
