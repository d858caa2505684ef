//! The deadlines of a state machine: one table, with a name for each.
//!
//! A concern sets and clears its own timers. A timer that stands for many deadlines of one kind
//! (probes, pulls, leases) is the earliest of them, and the concern sets it again at the end of
//! every call. The table has one deadline for the driver, and expired timers run in the order of
//! their names.

use core::fmt;

use crate::time::Time;

/// The names of the timers of one kind of node.
pub(crate) trait TimerName: Copy + fmt::Debug + 'static {
    /// One time for each name.
    type Table: AsRef<[Time]> + AsMut<[Time]> + fmt::Debug;
    /// A table in which no timer is set.
    const UNSET: Self::Table;
    /// All names, in the order in which expired timers run.
    const ALL: &'static [Self];

    /// The position of this name in [`TimerName::ALL`].
    fn index(self) -> usize;
}

/// The timers of one node.
#[derive(Debug)]
pub(crate) struct Timers<T: TimerName> {
    /// [`Time::MAX`] if not set.
    at: T::Table,
}

impl<T: TimerName> Timers<T> {
    pub(crate) const fn new() -> Self {
        Timers { at: T::UNSET }
    }

    /// Sets a timer, or clears it with `None` or [`Time::MAX`].
    pub(crate) fn set(&mut self, timer: T, at: impl Into<Option<Time>>) {
        if let Some(slot) = self.at.as_mut().get_mut(timer.index()) {
            *slot = at.into().unwrap_or(Time::MAX);
        }
    }

    /// Sets a timer, unless it is set to an earlier time.
    pub(crate) fn set_earlier(&mut self, timer: T, at: Time) {
        self.set(timer, self.time(timer).min(at));
    }

    /// The time of a timer, if it is set.
    #[cfg(test)]
    pub(crate) fn get(&self, timer: T) -> Option<Time> {
        Some(self.time(timer)).filter(|at| *at < Time::MAX)
    }

    /// Whether a timer has expired.
    pub(crate) fn is_due(&self, timer: T, now: Time) -> bool {
        self.time(timer) <= now
    }

    /// The earliest time of all timers that are set.
    pub(crate) fn next(&self) -> Option<Time> {
        self.at.as_ref().iter().min().copied().filter(|at| *at < Time::MAX)
    }

    fn time(&self, timer: T) -> Time {
        self.at.as_ref().get(timer.index()).copied().unwrap_or(Time::MAX)
    }
}

// Defines the timers of one kind of node, in the order in which expired timers run.
macro_rules! define_timers {
    ($(#[$doc:meta])* $name:ident { $( $(#[$about:meta])* $timer:ident, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $( $(#[$about])* $timer, )* }

        impl TimerName for $name {
            type Table = [Time; Self::ALL.len()];
            const UNSET: Self::Table = [Time::MAX; Self::ALL.len()];
            const ALL: &'static [Self] = &[ $( $name::$timer, )* ];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

define_timers! {
    /// The timers of a peer.
    PeerTimer {
        /// Membership: a seed has to be dialled, pinged, given up, or asked for its list.
        Seeds,
        /// Failure: a neighbour has been silent for long enough to be asked, or suspected.
        Watch,
        /// Failure: a probe retries or ends.
        Probe,
        /// Failure: a report has had no verdict in time.
        Report,
        /// Overlay: neighbours are missing.
        Fill,
        /// Overlay: the next edge swap.
        Swap,
        /// Overlay: there may be surplus neighbours.
        Trim,
        /// Broadcast: the next comparison of message lists.
        Sync,
        /// Broadcast: gathered announcements are sent.
        Announce,
        /// Broadcast: the start of a stream is settled with what neighbours have reported.
        StreamStart,
        /// Broadcast: missing ranges are pulled or given up.
        Pull,
        /// Broadcast: gathered acknowledgements are sent.
        Acknowledge,
        /// Broadcast: the progress of unacknowledged messages is reviewed.
        Pace,
        /// Broadcast: pending receipts are reviewed.
        Receipts,
        /// Broadcast: a fetch asks the next neighbours or ends.
        Fetch,
        /// Links without a purpose are closed.
        IdleLinks,
        /// Membership: whole lists are requested.
        WholeLists,
        /// Broadcast: neighbours are asked to confirm messages.
        Confirm,
        /// The departure goes on.
        Leave,
        /// Membership: the lease at the seeds is refreshed.
        Lease,
        /// Membership: the record is sent to the seeds.
        Record,
        /// Overlay: the neighbours are sent the list of neighbours.
        Neighbourhood,
        /// Broadcast: retained batches expire.
        Expiry,
        /// Broadcast: messages that waited for more of them are sent when the outputs are drained.
        Outbox,
        /// Broadcast: neighbours have had their time to list an earlier process's messages.
        Comparison,
        /// Broadcast: this peer may count as caught up.
        CatchUp,
    }
}

define_timers! {
    /// The timers of a seed.
    SeedTimer {
        /// Registry: another seed is dialled.
        Dial,
        /// Registry: another seed is pinged, or has been silent for too long.
        Ping,
        /// Cases: silent registered peers are looked for.
        Watch,
        /// Registry: the bucket hashes are sent to another seed.
        Compare,
        /// Cases: the check whether this seed reaches its peers ends.
        Reach,
        /// Cases: a case is reviewed.
        Case,
        /// Registry: gathered changes are pushed.
        Push,
        /// Links without a purpose are closed.
        IdleLinks,
        /// Registry: leases and tombstones expire.
        Expiry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    define_timers! {
        /// Timers of a test.
        Name { First, Second, }
    }

    #[test]
    fn next_deadline_is_the_earliest_timer_that_is_set() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut timers = Timers::<Name>::new();
        assert_eq!(timers.next(), None);
        timers.set(Name::First, at(2));
        timers.set(Name::Second, at(3));
        timers.set_earlier(Name::Second, at(4));
        assert_eq!((timers.next(), timers.get(Name::Second)), (Some(at(2)), Some(at(3))));
        assert!(timers.is_due(Name::First, at(2)) && !timers.is_due(Name::Second, at(2)));
        timers.set(Name::First, None);
        assert_eq!(timers.next(), Some(at(3)));
        timers.set(Name::Second, Time::MAX);
        assert_eq!(timers.next(), None, "`Time::MAX` is never");
    }
}
