//! Leaving the network: a drain, then Leave.
//!
//! 1. *Draining*: nothing is published any more, queued messages are signed and sent, and the peer
//!    stays a member: it forwards, acknowledges, answers pulls, and looks for a neighbour if it has
//!    none. The drain ends when staying neighbours have confirmed everything that this peer has
//!    published and vouches for. If all neighbours leave as well, one with a larger id confirms it:
//!    it vouches for that, and leaves later.
//! 2. *Leaving*: Leave is queued behind everything else on each link. A neighbour that has read it
//!    closes the link.
//! 3. *Telling the seeds*: not earlier, because a neighbour that hears of the end from a seed
//!    closes the link before it has read the frames in flight.
//!
//! One deadline bounds all three.

use core::time::Duration;

use super::Peer;
use crate::broadcast::Broadcast;
use crate::event::{CloseReason, Event, LinkEnd};
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::links::LinkPurpose;
use crate::membership::{Departure, DepartureStage, Membership};
use crate::record::{Presence, SignedRecord};
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Leave, Ping, RegisterAck};

/// How often a leaving peer reviews its progress.
const LEAVE_REVIEW_INTERVAL: Duration = Duration::from_millis(100);
/// A link that is silent for this long after Leave is not waited for.
const MAX_LINK_SILENCE: Duration = Duration::from_secs(3);
/// How often the other end of such a link is pinged.
const LINK_PING_INTERVAL: Duration = Duration::from_millis(500);

impl Peer {
    /// Leaves the network in an orderly way: hands over published messages, sends Leave to
    /// neighbours and seeds. [`Event::Left`] follows within `within`; after that there are no more
    /// outputs. If no other node is known to hold everything that was published,
    /// [`Event::LeftUnconfirmed`] comes before it. If called again, the earlier deadline applies.
    pub fn leave(&mut self, now: Time, within: Duration) {
        self.begin(now);
        if self.membership.own.has_left() {
            return;
        }
        match &mut self.membership.own.departure {
            Some(departure) => departure.bound(now, within),
            None => {
                self.membership.own.departure = Some(Box::new(Departure::new(now, within)));
                self.with_broadcast(Broadcast::start_draining);
                self.overlay.fill.look_soon(now);
            }
        }
        self.review_leave();
        self.end_call();
    }

    /// Continues with the next stage when the present one is finished, or its time is over.
    pub(super) fn review_leave(&mut self) {
        let now = self.fx.now();
        let Some(departure) = &mut self.membership.own.departure else { return };
        departure.review_at = now + LEAVE_REVIEW_INTERVAL;
        let (stage, late) = (departure.stage, now >= departure.leave_links_by);
        let ends = now >= departure.by;
        match stage {
            DepartureStage::Draining if self.is_drained() => self.send_leave(),
            // Every other member is dead or has left: no node is left to wait for.
            DepartureStage::Draining if late || self.is_alone() => {
                self.with_broadcast(|b, cx| b.report_unconfirmed(cx));
                self.send_leave();
            }
            DepartureStage::Draining => self.with_broadcast(Broadcast::run_confirmations),
            DepartureStage::Leaving => self.review_leaving_links(late),
            DepartureStage::TellingSeeds if ends => self.finish_leave(false),
            DepartureStage::TellingSeeds => {}
        }
    }

    /// Whether other nodes hold everything that they have to, or there is no other node.
    fn is_drained(&mut self) -> bool {
        // A network of one without seeds never has another node.
        let has_no_others = self.membership.registrations.slots.is_empty() && self.is_alone();
        has_no_others || self.with_broadcast(|b, cx| b.is_drained(cx))
    }

    /// Whether there is no other member, as far as this peer can know: a peer that has never
    /// reached a majority of its seeds cannot.
    fn is_alone(&self) -> bool {
        let knows = self.membership.registrations.slots.is_empty()
            || self.membership.own.state != PeerState::Joining;
        knows
            && self.overlay.neighbours.is_empty()
            && self.membership.members.alive_count() == 0
            && self.membership.registrations.network_size() <= 1
    }

    // ---- links -----------------------------------------------------------------------------

    /// Sends Leave to the neighbours, behind everything that is queued for them.
    fn send_leave(&mut self) {
        if let Some(departure) = &mut self.membership.own.departure {
            departure.stage = DepartureStage::Leaving;
        }
        self.membership.own.state = PeerState::Leaving;
        let now = self.fx.now();
        self.renew_record(|r| {
            r.presence = Presence::Left;
            r.degree = 0;
        });
        self.with_failure(|f, _| f.stop());
        let record = self.membership.own.record.clone();
        while let Some((id, n)) = self.overlay.neighbours.pop_first() {
            self.fx.send_as(n.link, Leave { record: record.clone() }, Class::Last);
            self.set_purpose(n.link, LinkPurpose::Leaving(now));
            self.with_broadcast(|b, _| b.on_leave_sent(id));
            let (name, why) = (n.record.name.clone(), LinkEnd::Local(CloseReason::Leaving));
            self.fx.event(Event::NeighbourDown { id, name, why, degree: self.overlay.degree() });
        }
        let unused = |u: &LinkPurpose| {
            matches!(u, LinkPurpose::Unused | LinkPurpose::Request | LinkPurpose::IndirectProbe(_))
        };
        let unused: Vec<LinkId> =
            self.links.open.iter().filter(|(_, l)| unused(&l.purpose)).map(|(id, _)| *id).collect();
        for link in unused {
            self.close(link, CloseReason::Leaving);
        }
        self.review_leave();
    }

    /// Waits for the neighbours to close their links, which they do after they have read Leave.
    fn review_leaving_links(&mut self, late: bool) {
        let now = self.fx.now();
        let Some(departure) = &mut self.membership.own.departure else { return };
        let ping = now >= departure.ping_at;
        if ping {
            departure.ping_at = now + LINK_PING_INTERVAL;
        }
        let parting = |l: &LinkPurpose| match l {
            LinkPurpose::Leaving(heard) => Some(*heard),
            _ => None,
        };
        let links: Vec<(LinkId, Time)> = self
            .links
            .open
            .iter()
            .filter_map(|(id, l)| Some((*id, parting(&l.purpose)?)))
            .collect();
        let mut waits = false;
        for (link, heard) in links {
            if late || now.since(heard) >= MAX_LINK_SILENCE {
                self.fx.counters.leaves_unread += 1;
                self.close(link, CloseReason::Leaving);
                continue;
            }
            waits = true;
            if ping {
                let nonce = self.failure.rng.u64();
                self.fx.send(link, Ping { nonce });
            }
        }
        if !waits {
            self.send_leave_to_seeds();
        }
    }

    // ---- the seeds -------------------------------------------------------------------------

    fn send_leave_to_seeds(&mut self) {
        if let Some(acknowledged) = self.with_membership(Membership::send_leave) {
            self.finish_leave(acknowledged);
        }
    }

    /// Ends the departure when a quorum has acknowledged Leave.
    pub(super) fn leave_if_acknowledged(&mut self, f: &RegisterAck) {
        if let Some(acknowledged) = self.membership.leave_acknowledged(f) {
            self.finish_leave(acknowledged);
        }
    }

    fn finish_leave(&mut self, acknowledged: bool) {
        if self.membership.own.has_left() {
            return;
        }
        self.end_participation(CloseReason::Leaving);
        let acknowledged = acknowledged || self.membership.own.is_unknown_to_seeds();
        if !acknowledged {
            self.fx.counters.leaves_unacknowledged += 1;
        }
        self.fx.event(Event::Left { acknowledged });
    }

    /// Closes all links. From now on this peer takes no part in the network.
    pub(super) fn end_participation(&mut self, reason: CloseReason) {
        self.membership.own.state = PeerState::Left;
        self.membership.own.departure = None;
        self.overlay.neighbours.clear();
        let links: Vec<LinkId> = self.links.open.keys().copied().collect();
        for link in links {
            self.close(link, reason);
        }
        for slot in &mut self.membership.registrations.slots {
            slot.link = None;
        }
    }

    // ---- other peers that leave ------------------------------------------------------------

    /// Handles Leave from a neighbour, or from a peer with another link to this one.
    pub(super) fn on_leave(&mut self, link: LinkId, remote: PeerId, record: &SignedRecord) {
        if record.id != remote || record.presence != Presence::Left {
            return;
        }
        self.with_broadcast(|b, cx| b.vouch_for_last_stream_of(cx, remote));
        self.merge_departure(record);
        if self.overlay.neighbours.get(&remote).is_some_and(|n| n.link == link) {
            self.drop_neighbour(remote, LinkEnd::Local(CloseReason::Done));
        }
        self.close(link, CloseReason::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::io::{Output, SeedAddress};
    use crate::membership::LocalRecord;
    use crate::peer::{PeerSetup, example_setup};

    /// Whether a peer that has registered nowhere, and reaches no seed, reports an acknowledged
    /// Leave.
    fn leave_is_acknowledged(anchors: Vec<SignedRecord>) -> bool {
        let seed = SeedAddress { host_port: "192.0.2.1:7000".to_owned(), pin: None };
        let setup = PeerSetup { seeds: [seed].into(), anchors, ..example_setup() };
        let mut peer = Peer::new(setup, Time::ZERO);
        peer.leave(Time::ZERO, Duration::ZERO);
        while let Some(output) = peer.poll_output() {
            if let Output::Event(Event::Left { acknowledged }) = output {
                return acknowledged;
            }
        }
        unreachable!("it leaves at once")
    }

    #[test]
    fn unregistered_process_leaves_acknowledged_only_without_a_predecessor() {
        assert!(leave_is_acknowledged(vec![]), "no seed has ever registered this node");
        let neighbour =
            LocalRecord::new(&Identity::from_secret(&[7; 32]), example_setup().name, vec![], 1, 1);
        assert!(!leave_is_acknowledged(vec![neighbour.record]), "its last process was registered");
    }
}
