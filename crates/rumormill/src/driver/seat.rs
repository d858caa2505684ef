//! Where the state machine sits, so that its driver and publishers can both get at it.
//!
//! Everything goes through the driver's task but publishing: that answers at once with the
//! message's name, so a publisher in a loop needs no round trip to another task for each message,
//! and all it adds before the driver has its turn travels as one batch. The lock is held for the
//! time of one step of the core (some tens of microseconds at most), and never while waiting.

use std::sync::{Mutex, MutexGuard, TryLockError};

use rumormill_proto::Time;
use tokio::sync::{Notify, Semaphore};

use super::clock::Clock;

/// The seat of one node's core.
#[derive(Debug)]
pub(crate) struct Seat<C> {
    /// `None` when the node has ended.
    core: Mutex<Option<C>>,
    clock: Clock,
    /// Something was asked of the core outside of the driver's task.
    pub(crate) poke: Notify,
    /// There may be room to publish again.
    pub(crate) room: Notify,
    /// Publishers that find no room wait for this one place, first come, first served; who has it
    /// waits for `room`.
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
            // It panicked in the middle of a step: nobody may use it any more.
            let mut guard = e.into_inner();
            *guard = None;
            guard
        })
    }

    /// Calls the core; `None` if the node has ended.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut C, Time) -> R) -> Option<R> {
        let mut guard = self.lock();
        // The time is taken under the lock, so that the core's never runs backwards.
        guard.as_mut().map(|core| call(core, self.clock.now()))
    }

    /// As [`with`](Seat::with), unless somebody else is at it.
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

    /// Somebody waits for room to publish.
    pub(crate) fn is_awaited(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// The node has ended.
    pub(crate) fn vacate(&self) {
        drop(self.lock().take());
        self.room.notify_waiters();
        self.room.notify_one();
    }
}

/// Somebody else is at the core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupied;
