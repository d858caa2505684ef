//! What the transport and the stores count. The core counts its own; a snapshot shows both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rumormill_proto::Counters;

use crate::delays::DelayTally;

/// One counter that many tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        // Nobody orders anything by a counter.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is wrong at the moment, if something is.
#[derive(Debug, Default)]
pub(crate) struct Problem(Mutex<Option<String>>);

impl Problem {
    pub(crate) fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

macro_rules! tallies {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// The counters of one node's transport and store.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $( $(#[$doc])* pub(crate) $name: Count, )*
            /// How long delivered messages took.
            pub(crate) delays: DelayTally,
            /// Why nothing can be made durable at the moment.
            pub(crate) store_problem: Problem,
        }

        impl Tally {
            /// All of them by name, also those that are zero: a metric that appears only with the
            /// first failure is one that nobody has on a dashboard.
            pub(crate) fn snapshot(&self) -> Counters {
                let mut c = Counters::default();
                $( c.add(stringify!($name), self.$name.get()); )*
                c
            }
        }
    };
}

tallies! {
    /// Connections taken from the kernel.
    connections_accepted,
    /// Closed at once: too many from one address.
    connections_refused_address,
    /// Closed at once: too many links in all.
    connections_refused_limit,
    /// `accept` failed (out of file descriptors, for example).
    accept_errors,
    /// Inbound connections that came through TLS and Hello.
    handshakes_completed,
    /// Inbound connections that did not, for any reason.
    handshakes_failed,
    /// Of those: not done in time.
    handshakes_timed_out,
    /// Dials: refused, no route.
    dials_refused,
    /// Dials: its name has no address.
    dials_no_address,
    /// Dials: no answer in time.
    dials_timed_out,
    /// Dials: somebody else answered.
    dials_wrong_identity,
    /// Dials: another protocol or version.
    dials_incompatible,
    /// Dials: another network key.
    dials_other_network,
    /// Dials: no room on this node.
    dials_no_room,
    /// Links that came up, of both directions.
    links_opened,
    /// Links that the remote closed with a reason.
    links_closed_remote,
    /// Links that this node closed.
    links_closed_local,
    /// Links lost without a word.
    links_lost,
    /// Links closed because the remote did not read fast enough.
    links_too_slow,
    /// Frames received.
    frames_in,
    /// Frames written.
    frames_out,
    /// Bytes of probes and their answers received, with their length prefix.
    bytes_in_liveness,
    /// Bytes of control frames received, with their length prefix.
    bytes_in_control,
    /// Bytes of announcements received.
    bytes_in_announce,
    /// Bytes of frames with messages received.
    bytes_in_payload,
    /// Bytes of frames with messages received because this node asked for them.
    bytes_in_history,
    /// Bytes of probes and their answers written.
    bytes_out_liveness,
    /// Bytes of control frames written.
    bytes_out_control,
    /// Bytes of announcements written.
    bytes_out_announce,
    /// Bytes of frames with messages written.
    bytes_out_payload,
    /// Bytes of frames with messages written because somebody asked for them.
    bytes_out_history,
    /// Bytes read from sockets, with what TLS adds and handshakes.
    socket_bytes_in,
    /// Bytes written to sockets, with what TLS adds and handshakes.
    socket_bytes_out,
    /// Frames whose length prefix is over the limit; the link was closed.
    frames_too_long,
    /// Frames that could not be decoded; the link was closed.
    frames_malformed,
    /// Frames with a signature that does not hold; the link was closed.
    frames_bad_signature,
    /// Frames that may not come any more (a second Hello); the link was closed.
    frames_out_of_place,
    /// Probes and answers dropped, oldest first, because a link's queue was full.
    dropped_liveness,
    /// Announcements dropped, oldest first, because a link's queue was full.
    dropped_announce,
    /// Messages skipped because a link's queue was full; they are pulled later.
    dropped_payload,
    /// Answers to pulls skipped because a link's queue was full; they are pulled again.
    dropped_history,
    /// Control frames that did not fit; the link was closed.
    dropped_control,
    /// Frames for a link that had just ended.
    dropped_link_gone,
    /// Groups of changes made durable.
    store_commits,
    /// Changes in them.
    store_operations,
    /// Attempts to make changes durable that failed, and are tried again.
    store_failures,
    /// Times that the store began to fail.
    store_outages,
    /// Times that it took changes again.
    store_recoveries,
    /// Changes given up because too many were waiting for a disk that fails.
    store_dropped,
    /// Stored values that could not be read back, and were skipped.
    store_corrupt,
    /// Events that a slow subscriber missed.
    subscriber_missed_events,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_every_counter() {
        let t = Tally::default();
        t.frames_in.add(3);
        let s = t.snapshot();
        assert_eq!(s.get("frames_in"), 3);
        assert!(s.iter().any(|(name, n)| name == "accept_errors" && n == 0));
    }
}
