//! Counters of the transport and the store. The core keeps its own counters; a snapshot shows both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rumormill_proto::{Class, Counters};

use crate::delays::DelayRecorder;

/// One counter that many tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        // Relaxed is enough: no other memory access depends on the order of counter updates.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The current fault of a component as text; `None` while the component works.
#[derive(Debug, Default)]
pub(crate) struct CurrentFault(Mutex<Option<String>>);

impl CurrentFault {
    pub(crate) fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

macro_rules! define_counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// The counters of one node's transport and store.
        #[derive(Debug, Default)]
        pub(crate) struct TransportCounters {
            $( $(#[$doc])* pub(crate) $name: Counter, )*
            /// Delays of the messages that this node delivered.
            pub(crate) delays: DelayRecorder,
            /// Why the store cannot make changes durable now.
            pub(crate) store_problem: CurrentFault,
        }

        impl TransportCounters {
            /// All counters by name, including those that are zero: a metric that exists only after
            /// its first failure is missing on dashboards.
            pub(crate) fn snapshot(&self) -> Counters {
                let mut c = Counters::default();
                $( c.add(stringify!($name), self.$name.get()); )*
                c
            }
        }
    };
}

define_counters! {
    /// Connections accepted from the kernel.
    connections_accepted,
    /// Connections closed at once: too many from one address.
    connections_refused_address,
    /// Connections closed at once: too many links in all.
    connections_refused_limit,
    /// `accept` failed (out of file descriptors, for example).
    accept_errors,
    /// Inbound connections that completed TLS and Hello.
    handshakes_completed,
    /// Inbound connections that failed before the end of Hello, for any reason.
    handshakes_failed,
    /// Failed inbound handshakes that exceeded their time limit.
    handshakes_timed_out,
    /// Dials that failed: connection refused, or no route.
    dials_refused,
    /// Dials that failed: the name has no address.
    dials_no_address,
    /// Dials that failed: no answer in time.
    dials_timed_out,
    /// Dials that failed: a node with another identity answered.
    dials_wrong_identity,
    /// Dials that failed: another protocol or version.
    dials_incompatible,
    /// Dials that failed: another network key.
    dials_other_network,
    /// Dials that failed: this node has no free link slot.
    dials_no_room,
    /// Links opened, in both directions.
    links_opened,
    /// Links that the remote closed with a reason.
    links_closed_remote,
    /// Links that this node closed.
    links_closed_local,
    /// Links that ended without a close reason.
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
    /// Bytes of frames with messages received in answer to requests of this node.
    bytes_in_history,
    /// Bytes of probes and their answers written.
    bytes_out_liveness,
    /// Bytes of control frames written.
    bytes_out_control,
    /// Bytes of announcements written.
    bytes_out_announce,
    /// Bytes of frames with messages written.
    bytes_out_payload,
    /// Bytes of frames with messages written in answer to requests of neighbours.
    bytes_out_history,
    /// Bytes read from sockets, including TLS overhead and handshakes.
    socket_bytes_in,
    /// Bytes written to sockets, including TLS overhead and handshakes.
    socket_bytes_out,
    /// Frames whose length prefix exceeds the limit; the link was closed.
    frames_too_long,
    /// Frames that could not be decoded; the link was closed.
    frames_malformed,
    /// Frames with an invalid signature; the link was closed.
    frames_bad_signature,
    /// Frames that the state of the link does not allow (a second Hello); the link was closed.
    frames_out_of_place,
    /// Probes and probe answers dropped, oldest first, because a link's queue was full.
    dropped_liveness,
    /// Announcements dropped, oldest first, because a link's queue was full.
    dropped_announce,
    /// Messages skipped because a link's queue was full; the neighbour pulls them later.
    dropped_payload,
    /// Answers to pulls skipped because a link's queue was full; the neighbour pulls again.
    dropped_history,
    /// Control frames that did not fit into the queue; the link was closed.
    dropped_control,
    /// Frames for a link that had just ended.
    dropped_link_gone,
    /// Groups of changes made durable.
    store_commits,
    /// Changes in those groups.
    store_operations,
    /// Failed attempts to make changes durable; each is retried.
    store_failures,
    /// Times that the store stopped taking changes.
    store_outages,
    /// Times that the store took changes again after an outage.
    store_recoveries,
    /// Changes dropped because too many bytes were waiting for a failing disk.
    store_dropped,
    /// Stored values that could not be read back and were skipped.
    store_corrupt,
    /// Events that a slow subscriber missed.
    subscriber_missed_events,
}

impl TransportCounters {
    /// The counter of frames of a class that a link's queue has dropped.
    pub(crate) const fn dropped(&self, class: Class) -> &Counter {
        match class {
            Class::Liveness => &self.dropped_liveness,
            Class::Announce => &self.dropped_announce,
            Class::Payload => &self.dropped_payload,
            Class::History => &self.dropped_history,
            Class::Control | Class::Last => &self.dropped_control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_names_every_counter_including_zeros() {
        let t = TransportCounters::default();
        t.frames_in.add(3);
        let s = t.snapshot();
        assert_eq!(s.get("frames_in"), 3);
        assert!(s.iter().any(|(name, n)| name == "accept_errors" && n == 0));
    }
}
