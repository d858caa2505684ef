//! The counters of each metric: the table behind `/metrics` and its documentation.

/// A metric, and the counters that it shows.
#[derive(Debug)]
pub(super) struct Family {
    /// Without the prefix, and without `_total`.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) source: Source,
}

/// One counter, or several that are distinguished by a label.
#[derive(Debug)]
pub(super) enum Source {
    One(&'static str),
    Each(&'static str, &'static [(&'static str, &'static str)]),
}

use Source::{Each, One};

impl Source {
    /// The values of the label (nothing if there is none) and the counters.
    pub(super) fn counters(&self) -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
        let (one, each) = match self {
            One(counter) => (Some((None, *counter)), &[][..]),
            Each(_, each) => (None, *each),
        };
        one.into_iter().chain(each.iter().map(|(value, counter)| (Some(*value), *counter)))
    }

    pub(super) const fn label(&self) -> Option<&'static str> {
        match self {
            One(_) => None,
            Each(label, _) => Some(label),
        }
    }
}

const fn family(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, help, source }
}

/// All counters.
pub(super) const FAMILIES: &[Family] = &[
    // Broadcast.
    family("messages_published", "Messages published by this peer", One("messages_published")),
    family("messages_delivered", "Messages handed to subscribers", One("messages_delivered")),
    family(
        "messages_received",
        "Messages received from others for the first time",
        One("messages_received"),
    ),
    family(
        "messages_duplicate",
        "Messages received again, and not delivered again",
        One("messages_duplicate"),
    ),
    family(
        "messages_missed",
        "Messages that were reported to subscribers as missing",
        One("messages_missed"),
    ),
    family("gaps", "Ranges of messages given up", One("gaps")),
    family(
        "batches",
        "Batches of messages, by what was done with them",
        Each(
            "what",
            &[
                ("published", "batches_published"),
                ("received", "batches_received"),
                ("forwarded", "batches_forwarded"),
                ("pulled", "batches_pulled"),
                ("caught_up", "batches_caught_up"),
            ],
        ),
    ),
    family("pulls", "Requests for missing messages sent to neighbours", One("pulls")),
    family(
        "tree_changes",
        "Times that a neighbour was asked for batches (graft), or to send announcements only (prune)",
        Each("what", &[("graft", "grafts"), ("prune", "prunes")]),
    ),
    family(
        "late_parents_left",
        "Times that another neighbour was asked for a publisher's batches because the one that brought them was late",
        One("late_parents_left"),
    ),
    family(
        "receipts_complete",
        "Messages that all live peers that participate hold",
        One("receipts_complete"),
    ),
    family(
        "acknowledgements",
        "Acknowledgements sent: of all streams that are due, in one frame",
        One("acknowledgements"),
    ),
    family(
        "confirmations",
        "Confirmations that a neighbour holds a stream: asked for before an exit or for a flush, and received; \
         unasked ones are ignored",
        Each(
            "what",
            &[
                ("asked", "confirmations_asked"),
                ("received", "confirmations"),
                ("unasked", "confirmations_unasked"),
            ],
        ),
    ),
    family(
        "messages_unconfirmed",
        "Messages of this peer that no other node was known to hold when it left",
        One("messages_unconfirmed"),
    ),
    family(
        "exits_incomplete",
        "Parts of an exit that were given up: handovers of the streams of others, Leave frames \
         that neighbours had not read, exits that no majority of the seeds had acknowledged",
        Each(
            "what",
            &[
                ("handover", "handovers_incomplete"),
                ("leave_unread", "leaves_unread"),
                ("leave_unacknowledged", "leaves_unacknowledged"),
            ],
        ),
    ),
    family(
        "censuses",
        "Requests of publishers for the peers that hold their messages",
        One("censuses"),
    ),
    family(
        "publishing_stalled",
        "Times that no acknowledgement of messages in flight came: for 1.25 s if half of the window was in flight, for 10 s otherwise",
        One("publishing_stalled"),
    ),
    family("congestions", "Times that a queue towards a neighbour was full", One("congestions")),
    family(
        "subscriber_missed_events",
        "Events that subscribers of this process missed, because they were too slow",
        One("subscriber_missed_events"),
    ),
    // Membership and liveness.
    family("suspicions", "Members that began to be suspected", One("suspicions")),
    family("suspicions_cleared", "Suspects that gave a sign of life", One("suspicions_cleared")),
    family(
        "death_reports",
        "Deaths reported: by this peer, or to this seed by neighbours",
        One("reports"),
    ),
    family(
        "death_reports_forgotten",
        "Reports of this peer that were given up, because too many were open without a verdict",
        One("reports_forgotten"),
    ),
    family("death_testimonies", "Testimonies of appointed witnesses", One("testimonies")),
    family("witnesses_appointed", "Witnesses this seed appointed", One("witnesses_appointed")),
    family("votes", "Votes on deaths that this seed gave", One("votes")),
    family(
        "votes_withdrawn",
        "Votes that this seed took back: it heard from the accused, or of it no more",
        One("votes_withdrawn"),
    ),
    family("removals", "Members removed with the certificate of a quorum", One("removals")),
    family("accusations", "Times that this peer learned that it is accused", One("accusations")),
    family(
        "refutations",
        "Times that this peer began a new incarnation to refute its death",
        One("refutations"),
    ),
    family(
        "streams_moved",
        "Times that a number in use was found at the start, and another one was chosen",
        One("streams_moved"),
    ),
    family(
        "stream_conflicts",
        "Batches that another process published in this peer's stream",
        One("stream_conflicts"),
    ),
    family(
        "accusations_refuted",
        "Accused peers that answered this seed",
        One("accusations_refuted"),
    ),
    family("probes_failed", "Accused peers that did not answer this seed", One("probes_failed")),
    family("cases_expired", "Accusations that came to nothing", One("cases_expired")),
    family(
        "cases_repeated",
        "Cases that were examined again, because they had no verdict",
        One("cases_repeated"),
    ),
    family(
        "registrants_lost",
        "Registered peers whose link ended without a Leave, and that this seed probed",
        One("registrants_lost"),
    ),
    family(
        "registrants_silent",
        "Links of registered peers closed for silence",
        One("registrants_silent"),
    ),
    family(
        "local_health_lowered",
        "Times that this peer found itself or its link late, and gave others more time",
        One("local_health_lowered"),
    ),
    family(
        "self_doubts",
        "Times that this node found so many of its peers silent that it may be cut off itself",
        One("self_doubts"),
    ),
    family(
        "late_wakeups",
        "Times that this process was stopped or delayed for over 50 ms",
        One("late_wakeups"),
    ),
    family(
        "identity_claims",
        "Times that this peer took the registry back from a record of another process with its identity",
        One("identity_claims"),
    ),
    family(
        "duplicate_identities",
        "Processes found to run with the identity of another one: with this peer's, or at this seed",
        One("duplicate_identities"),
    ),
    family(
        "seeds_sharing_identity",
        "Times that a configured seed proved the identity of another one, and was not used",
        One("seeds_sharing_identity"),
    ),
    family(
        "address_changes",
        "Times that this peer announced another IP address, because others see it there",
        One("address_changes"),
    ),
    family(
        "loopback_addresses_ignored",
        "Times that loopback addresses of a peer on another host were not dialled",
        One("loopback_addresses_ignored"),
    ),
    family(
        "seed_moves",
        "Seeds whose name resolved to another address, and that were dialled there",
        One("seed_moves"),
    ),
    family(
        "seed_moves_failed",
        "Seeds whose name resolved to another address, where nothing answered: the old link stayed",
        One("seed_moves_failed"),
    ),
    family("seeds_silent", "Links to seeds closed for silence", One("seeds_silent")),
    family("lists_asked", "Peer lists asked of seeds", One("lists_asked")),
    family(
        "registrations_overdue",
        "Seeds that did not acknowledge in time, so that another one was asked as well",
        One("registrations_overdue"),
    ),
    family(
        "members_forgotten",
        "Members evicted because the table was full",
        One("members_forgotten"),
    ),
    family(
        "registrations_acknowledged",
        "Registrations that this seed confirmed",
        One("registrations_acknowledged"),
    ),
    family(
        "leases_expired",
        "Peers that this seed has not heard of for a lease",
        One("leases_expired"),
    ),
    family(
        "registry_pushes_skipped",
        "Updates too many to push to other seeds; the next comparison brings them",
        One("pushes_skipped"),
    ),
    // Overlay.
    family(
        "neighbours_given_up",
        "Neighbours given up because the degree was above the target",
        Each("how", &[("agreed", "edges_given_up"), ("paired", "edges_paired")]),
    ),
    family(
        "requests_without_address",
        "Members not asked to be a neighbour, because they have no address that this node can reach",
        One("requests_without_address"),
    ),
    // Links.
    family("dials", "Connections begun", One("dials")),
    family("dials_failed", "Connections that could not be made", One("dials_failed")),
    family(
        "dial_errors",
        "Connections that could not be made, by reason",
        Each(
            "reason",
            &[
                ("refused", "dials_refused"),
                ("no_address", "dials_no_address"),
                ("timed_out", "dials_timed_out"),
                ("wrong_identity", "dials_wrong_identity"),
                ("incompatible", "dials_incompatible"),
                ("other_network", "dials_other_network"),
                ("no_room", "dials_no_room"),
            ],
        ),
    ),
    family("connections_accepted", "Connections accepted", One("connections_accepted")),
    family(
        "connections_refused",
        "Connections closed at once",
        Each(
            "reason",
            &[
                ("too_many_from_address", "connections_refused_address"),
                ("too_many", "connections_refused_limit"),
                ("accept_error", "accept_errors"),
            ],
        ),
    ),
    family(
        "handshakes",
        "Handshakes of accepted connections",
        Each("outcome", &[("completed", "handshakes_completed"), ("failed", "handshakes_failed")]),
    ),
    family(
        "handshakes_timed_out",
        "Handshakes that failed because they took too long",
        One("handshakes_timed_out"),
    ),
    family("links_opened", "Links that came up, in both directions", One("links_opened")),
    family(
        "links_closed",
        "Links that ended",
        Each(
            "by",
            &[
                ("remote", "links_closed_remote"),
                ("local", "links_closed_local"),
                ("lost", "links_lost"),
            ],
        ),
    ),
    family(
        "links_closed_local_reasons",
        "Why this node closed links",
        Each(
            "reason",
            &[
                ("too_slow", "links_too_slow"),
                ("idle", "links_idle_closed"),
                ("no_room", "links_refused"),
                ("parked", "links_parked"),
            ],
        ),
    ),
    family(
        "seed_links_parked",
        "Links to seeds that were closed until needed",
        Each("why", &[("crowded", "seeds_crowded"), ("done", "seeds_parked")]),
    ),
    // Traffic.
    family("frames_received", "Frames received", One("frames_in")),
    family("frames_sent", "Frames written", One("frames_out")),
    family(
        "received_bytes",
        "Bytes of frames received, by class",
        Each(
            "class",
            &[
                ("liveness", "bytes_in_liveness"),
                ("control", "bytes_in_control"),
                ("announce", "bytes_in_announce"),
                ("payload", "bytes_in_payload"),
                ("history", "bytes_in_history"),
            ],
        ),
    ),
    family(
        "sent_bytes",
        "Bytes of frames written, by class",
        Each(
            "class",
            &[
                ("liveness", "bytes_out_liveness"),
                ("control", "bytes_out_control"),
                ("announce", "bytes_out_announce"),
                ("payload", "bytes_out_payload"),
                ("history", "bytes_out_history"),
            ],
        ),
    ),
    family(
        "socket_bytes",
        "Bytes on sockets, with what TLS adds",
        Each("direction", &[("in", "socket_bytes_in"), ("out", "socket_bytes_out")]),
    ),
    // Drops and refusals.
    family(
        "dropped",
        "Frames and changes that were not sent or stored; messages among them arrive later",
        Each(
            "what",
            &[
                ("payload", "dropped_payload"),
                ("history", "dropped_history"),
                ("liveness", "dropped_liveness"),
                ("announce", "dropped_announce"),
                ("control", "dropped_control"),
                ("link_gone", "dropped_link_gone"),
                ("store", "store_dropped"),
            ],
        ),
    ),
    family(
        "frames_rejected",
        "Frames that were rejected; for the first five reasons the link was closed",
        Each(
            "reason",
            &[
                ("malformed", "frames_malformed"),
                ("bad_signature", "frames_bad_signature"),
                ("too_long", "frames_too_long"),
                ("out_of_place", "frames_out_of_place"),
                ("refused", "frames_refused"),
                ("late", "frames_late"),
                ("unknown", "frames_unknown"),
                ("unproved_seed", "frames_from_unproved_seeds"),
            ],
        ),
    ),
    family(
        "refused",
        "Requests and statements of others that this node did not act on",
        Each(
            "what",
            &[
                ("acknowledgement", "acks_unknown"),
                ("acknowledgement_name", "ack_names_refused"),
                ("appointment", "appointments_refused"),
                ("case", "cases_refused"),
                ("certificate", "certificates_refused"),
                ("data", "data_unasked"),
                ("data_request", "data_refused"),
                ("fetch", "fetches_refused"),
                ("leave", "leaves_unproved"),
                ("late_answer", "pulls_answered_late"),
                ("list", "lists_refused"),
                ("missing", "missing_refused"),
                ("neighbour", "requests_refused"),
                ("past", "refusals_unproved"),
                ("permit", "permits_refused"),
                ("slot", "slots_declined"),
                ("probe_reply", "probe_replies_unasked"),
                ("publisher", "publishers_not_counted"),
                ("question", "questions_refused"),
                ("registration", "registrations_refused"),
                ("report", "reports_refused"),
                ("redirect", "redirects_refused"),
                ("testimony", "testimonies_refused"),
                ("throttled", "requests_throttled"),
                ("throttled_by_remote", "pulls_put_off"),
                ("vote", "votes_refused"),
            ],
        ),
    ),
    // The store.
    family("store_commits", "Groups of changes made durable", One("store_commits")),
    family("store_operations", "Changes made durable", One("store_operations")),
    family("store_failures", "Attempts to make changes durable that failed", One("store_failures")),
    family(
        "store_outages",
        "Times that the store began to fail, and that it worked again",
        Each("what", &[("begun", "store_outages"), ("ended", "store_recoveries")]),
    ),
    family("store_corrupt", "Stored values that could not be read", One("store_corrupt")),
];
