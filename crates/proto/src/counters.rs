//! The counters of a state machine.

use crate::snapshot::Counters;

macro_rules! define_counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// The counters of one peer or seed since the start of its process. The name of a field is
        /// the name of the counter in snapshots.
        #[derive(Debug, Clone, Default)]
        pub(crate) struct CoreCounters {
            $( $(#[$doc])* pub(crate) $name: u64, )*
        }

        impl CoreCounters {
            /// The counters that are not zero, by name.
            pub(crate) fn by_name(&self) -> Counters {
                let mut counters = Counters::default();
                $( if self.$name > 0 { counters.add(stringify!($name), self.$name); } )*
                counters
            }
        }
    };
}

define_counters! {
    /// Times that this peer learned that it is accused.
    accusations,
    /// Accused peers that answered this seed.
    accusations_refuted,
    /// Names in acknowledgements refused because a list of names was full.
    ack_names_refused,
    /// Acknowledgements sent: of all streams that are due, in one frame.
    acknowledgements,
    /// Acknowledgements of streams that this peer does not know.
    acks_unknown,
    /// Times that this peer announced another IP address, because others see it there.
    address_changes,
    /// Appointments as a witness that were not accepted.
    appointments_refused,
    /// Batches sent to neighbours that grafted and lacked them.
    batches_caught_up,
    /// Batches sent on to neighbours.
    batches_forwarded,
    /// Batches published by this peer.
    batches_published,
    /// Batches sent in answer to pulls.
    batches_pulled,
    /// Batches received from others for the first time.
    batches_received,
    /// Accusations that came to nothing.
    cases_expired,
    /// Reports that opened no case, because too many were open.
    cases_refused,
    /// Cases that were examined again, because they had no verdict.
    cases_repeated,
    /// Requests of publishers for the peers that hold their messages.
    censuses,
    /// Certificates without the votes of a majority of the seeds.
    certificates_refused,
    /// Confirmations received that a neighbour holds a stream.
    confirmations,
    /// Confirmations asked for before an exit or for a flush.
    confirmations_asked,
    /// Confirmations that this peer did not ask for; they are ignored.
    confirmations_unasked,
    /// Times that a queue towards a neighbour was full.
    congestions,
    /// Requests for a message by its id beyond the rate of the link.
    data_refused,
    /// Answers to a fetch that was not sent.
    data_unasked,
    /// Connections begun.
    dials,
    /// Connections that could not be made.
    dials_failed,
    /// Processes found to run with the identity of another one: with this peer's, or at this
    /// seed.
    duplicate_identities,
    /// Neighbours given up because the degree was above the target.
    edges_given_up,
    /// The same together with a distant peer that had a surplus neighbour as well.
    edges_paired,
    /// Fetches of the application beyond the number that may run.
    fetches_refused,
    /// Frames of seeds whose key is not proved.
    frames_from_unproved_seeds,
    /// Frames for a purpose that their link no longer has.
    frames_late,
    /// Frames that a link must not carry; the link was closed.
    frames_refused,
    /// Frames of a kind that this version does not know.
    frames_unknown,
    /// Ranges of messages given up.
    gaps,
    /// Times that a neighbour was asked for the batches of a publisher.
    grafts,
    /// Exits at which streams that others had published were not confirmed by a neighbour.
    handovers_incomplete,
    /// Times that this peer took the registry back from a record of another process with its
    /// identity.
    identity_claims,
    /// Times that another neighbour was asked for a publisher's batches because the one that
    /// brought them was late.
    late_parents_left,
    /// Times that this process was stopped or delayed for over 50 ms.
    late_wakeups,
    /// Peers that this seed has not heard of for a lease.
    leases_expired,
    /// Exits that no majority of the seeds had acknowledged.
    leaves_unacknowledged,
    /// Leaves that the subject has not signed.
    leaves_unproved,
    /// Leave frames that neighbours had not read when the exit went on.
    leaves_unread,
    /// Links closed because they had no purpose for a while.
    links_idle_closed,
    /// Links of registrants closed because this seed has too many.
    links_parked,
    /// Links closed at once because there were too many.
    links_refused,
    /// Peer lists asked of seeds.
    lists_asked,
    /// Requests for a list that came too soon after the last.
    lists_refused,
    /// Times that this peer found itself or its link late, and gave others more time.
    local_health_lowered,
    /// Times that loopback addresses of a peer on another host were not dialled.
    loopback_addresses_ignored,
    /// Members evicted because the table was full.
    members_forgotten,
    /// Messages handed to subscribers.
    messages_delivered,
    /// Messages received again, and not delivered again.
    messages_duplicate,
    /// Messages that were reported to subscribers as missing.
    messages_missed,
    /// Messages published by this peer.
    messages_published,
    /// Messages received from others for the first time.
    messages_received,
    /// Messages of this peer that no other node was known to hold when it left.
    messages_unconfirmed,
    /// Missing ranges that were not recorded because there were too many.
    missing_refused,
    /// Permissions to take over an edge that were too many.
    permits_refused,
    /// Answers about a suspect from peers that were not asked.
    probe_replies_unasked,
    /// Accused peers that did not answer this seed.
    probes_failed,
    /// Times that a neighbour was asked to send announcements only.
    prunes,
    /// Active publishers that were too many to count.
    publishers_not_counted,
    /// Times that messages in flight were not acknowledged for too long.
    publishing_stalled,
    /// Requests for missing messages sent to neighbours.
    pulls,
    /// Answers to pulls that had been given up.
    pulls_answered_late,
    /// Pulls that a neighbour refused because they were too many.
    pulls_put_off,
    /// Updates too many to push to other seeds; the next comparison brings them.
    pushes_skipped,
    /// Indirect probes that were too many for one subject.
    questions_refused,
    /// Messages that all live peers that participate hold.
    receipts_complete,
    /// Requests of neighbours to link with another peer that were refused.
    redirects_refused,
    /// Refusals of a seed that do not prove what they claim.
    refusals_unproved,
    /// Times that this peer began a new incarnation to refute its death.
    refutations,
    /// Registered peers whose link ended without a Leave, and that this seed probed.
    registrants_lost,
    /// Links of registered peers closed for silence.
    registrants_silent,
    /// Registrations that this seed confirmed.
    registrations_acknowledged,
    /// Seeds that did not acknowledge in time, so that another one was asked as well.
    registrations_overdue,
    /// Registrations that a seed refused, or that this seed refused.
    registrations_refused,
    /// Members removed with the certificate of a quorum.
    removals,
    /// Deaths reported: by this peer, or to this seed by neighbours.
    reports,
    /// Reports of this peer that were given up, because too many were open without a verdict.
    reports_forgotten,
    /// Reports about a peer, or from one, that is not alive.
    reports_refused,
    /// Requests for an edge that this peer refused.
    requests_refused,
    /// Requests beyond the quota of a link.
    requests_throttled,
    /// Members not asked to be a neighbour, because they have no address that this node can
    /// reach.
    requests_without_address,
    /// Seeds whose name resolved to another address, and that were dialled there.
    seed_moves,
    /// Seeds whose name resolved to another address, where nothing answered: the old link stayed.
    seed_moves_failed,
    /// Links to seeds that were refused because the seed has too many.
    seeds_crowded,
    /// Links to seeds that the seed closed until they are needed.
    seeds_parked,
    /// Times that a configured seed proved the identity of another one, and was not used.
    seeds_sharing_identity,
    /// Links to seeds closed for silence.
    seeds_silent,
    /// Times that this node found so many of its peers silent that it may be cut off itself.
    self_doubts,
    /// Accepted requests that were not needed any more.
    slots_declined,
    /// Batches that another process published in this peer's stream.
    stream_conflicts,
    /// Times that a number in use was found at the start, and another one was chosen.
    streams_moved,
    /// Members that began to be suspected.
    suspicions,
    /// Suspects that gave a sign of life.
    suspicions_cleared,
    /// Testimonies of appointed witnesses.
    testimonies,
    /// Testimonies that no open case needs.
    testimonies_refused,
    /// Votes on deaths that this seed gave.
    votes,
    /// Votes about a peer without an open case.
    votes_refused,
    /// Votes that this seed took back: it heard from the accused, or of it no more.
    votes_withdrawn,
    /// Witnesses this seed appointed.
    witnesses_appointed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_of_their_fields() {
        let counters = CoreCounters { dials: 2, ..CoreCounters::default() }.by_name();
        assert_eq!(counters.iter().collect::<Vec<_>>(), [("dials", 2)]);
    }
}
