//! Leaving the network: a drain, then Leave.
//!
//! 1. *Draining*: nothing is published any more, what waits is signed and sent, and the peer stays a member: it
//!    forwards, acknowledges, serves pulls, and looks for a neighbour if it has none. It ends when neighbours
//!    that stay have confirmed what this peer published, and what it vouches for. Where all of them leave as well,
//!    one with a larger id does: it vouches for that, and goes later.
//! 2. *Parting*: Leave travels behind everything else that is queued on each link. A neighbour that has
//!    read it closes the link.
//! 3. *Telling the seeds*: not earlier, because a neighbour that hears of the end from a seed closes the link
//!    before it has read what is on its way.
//!
//! One deadline bounds all three.

use core::time::Duration;
use std::collections::BTreeSet;

use super::Peer;
use super::links::Use;
use crate::event::{CloseReason, Event, LinkDown};
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::message::StreamId;
use crate::record::{Presence, SignedRecord};
use crate::snapshot::PeerState;
use crate::time::Time;
use crate::wire::{Leave, Ping, Registered};

/// The part of the deadline that is kept for telling the seeds: a quarter of it, at most this.
const TELL_SEEDS_WITHIN: Duration = Duration::from_secs(1);
/// How often a peer that leaves looks how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A link that nothing comes over for so long is not waited for, once Leave is on it.
const PARTING_SILENCE: Duration = Duration::from_secs(3);
/// How often the other end of such a link is asked for a sign of life.
const PARTING_PING: Duration = Duration::from_millis(500);

/// How far a peer has come with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Draining,
    Parting,
    TellingSeeds,
}

/// A peer that leaves.
#[derive(Debug)]
pub(super) struct Departure {
    stage: Stage,
    /// All of it ends by then, the drain and the parting a little earlier.
    by: Time,
    part_by: Time,
    look_at: Time,
    ping_at: Time,
}

impl Departure {
    fn new(now: Time, within: Duration) -> Self {
        let mut departure = Departure {
            stage: Stage::Draining,
            by: Time::MAX,
            part_by: Time::MAX,
            look_at: now,
            ping_at: now,
        };
        departure.bound(now, within);
        departure
    }

    /// An earlier deadline replaces a later one.
    fn bound(&mut self, now: Time, within: Duration) {
        self.by = self.by.min(now + within);
        self.part_by = self.part_by.min(now + (within - (within / 4).min(TELL_SEEDS_WITHIN)));
    }

    fn deadline(&self) -> Time {
        match self.stage {
            Stage::Draining => self.look_at.min(self.part_by),
            Stage::Parting => self.look_at.min(self.ping_at).min(self.part_by),
            Stage::TellingSeeds => self.by,
        }
    }
}

impl Peer {
    /// Leaves the network in an orderly way: hands over what was published, sends Leave to neighbours and
    /// seeds. [`Event::Left`] follows within `within`; then nothing comes any more. If no other node is known to
    /// hold everything that was published, [`Event::LeftUnconfirmed`] comes before it. Called again, the earlier
    /// deadline holds.
    pub fn leave(&mut self, now: Time, within: Duration) {
        self.begin(now);
        if self.own.has_left() {
            return;
        }
        match &mut self.own.departure {
            Some(departure) => departure.bound(now, within),
            None => {
                self.own.departure = Some(Box::new(Departure::new(now, within)));
                self.send_all_batches();
                self.handover.ask_by(now);
                self.overlay.fill.soon(now);
            }
        }
        self.review_leave();
    }

    /// Whether it is about to leave, or has left: nothing is published any more.
    pub(super) const fn is_departing(&self) -> bool {
        self.own.departure.is_some() || self.own.has_left()
    }

    /// Whether it is about to leave and still a member.
    pub(super) fn is_draining(&self) -> bool {
        self.own.departure.as_ref().is_some_and(|d| d.stage == Stage::Draining)
    }

    /// Whether it takes no new neighbours: it needs one only to hand over to.
    pub(super) fn takes_no_neighbours(&self) -> bool {
        self.is_leaving() || (self.is_draining() && !self.overlay.neighbours.is_empty())
    }

    pub(super) fn leave_deadline(&self) -> Option<Time> {
        self.own.departure.as_ref().map(|d| d.deadline())
    }

    pub(super) fn check_leave(&mut self) {
        if self.leave_deadline().is_some_and(|at| at <= self.fx.now()) {
            self.review_leave();
        }
    }

    /// Goes on to the next stage when the present one is done, or has had its time.
    pub(super) fn review_leave(&mut self) {
        let now = self.fx.now();
        let Some(departure) = &mut self.own.departure else { return };
        departure.look_at = now + LOOK_EVERY;
        let (stage, late) = (departure.stage, now >= departure.part_by);
        let ends = now >= departure.by;
        match stage {
            Stage::Draining if self.is_drained() => self.part(),
            // Every other member is dead or gone: there is no node left to wait for.
            Stage::Draining if late || self.is_alone() => {
                self.tell_unconfirmed();
                self.part();
            }
            Stage::Draining => self.run_handover(),
            Stage::Parting => self.review_parting(late),
            Stage::TellingSeeds if ends => self.finish_leave(false),
            Stage::TellingSeeds => {}
        }
    }

    /// Whether other nodes hold what they have to, or there is no other node.
    fn is_drained(&self) -> bool {
        let owed = self.owed();
        // A network of one without seeds never has another node.
        let has_no_others = self.registrations.slots.is_empty() && self.is_alone();
        if owed.is_empty() || has_no_others || self.handover.is_covered(&owed, |_| false) {
            return true;
        }
        // Of several that leave together, none may rely on one that relies on it.
        let me = self.id();
        let mut neighbours = self.overlay.neighbours.keys();
        neighbours.all(|id| self.handover.is_leaving(id))
            && self.handover.is_covered(&owed, |id| *id > me)
    }

    /// Whether there is no other member, as far as this peer can know: a peer that has never reached a majority
    /// of its seeds cannot.
    fn is_alone(&self) -> bool {
        let knows = self.registrations.slots.is_empty() || self.own.state != PeerState::Joining;
        knows
            && self.overlay.neighbours.is_empty()
            && self.members.alive_count() == 0
            && self.registrations.network_size() <= 1
    }

    fn tell_unconfirmed(&mut self) {
        let (own, owed) = (self.own_stream(), self.owed());
        let to = self.outbox.published();
        let from = self.handover.confirmed().min(to);
        // A publisher that lives holds its messages itself.
        let is_gone = |s: &StreamId| self.members.get(&s.publisher).is_none();
        let (of_own, of_others): (Vec<StreamId>, Vec<StreamId>) =
            self.handover.lost_with_this_peer(&owed).partition(|s| s.publisher == own.publisher);
        let gone: BTreeSet<PeerId> =
            of_others.iter().filter(|s| is_gone(s)).map(|s| s.publisher).collect();
        let (others, earlier) = (super::count(gone.len()), super::count(of_own.len()));
        if from < to || others > 0 || earlier > 0 {
            self.fx.add("messages_unconfirmed", to - from);
            let epoch = own.epoch;
            self.fx.event(Event::LeftUnconfirmed { epoch, from, to, others, earlier });
        } else {
            self.fx.count("handovers_incomplete");
        }
    }

    // ---- parting ---------------------------------------------------------------------------

    /// Sends Leave to the neighbours, behind everything that is queued for them.
    fn part(&mut self) {
        if let Some(departure) = &mut self.own.departure {
            departure.stage = Stage::Parting;
        }
        self.own.state = PeerState::Leaving;
        let now = self.fx.now();
        self.renew_record(|r| {
            r.presence = Presence::Left;
            r.degree = 0;
        });
        self.suspects.clear();
        self.reports.clear();
        let record = self.own.record.clone();
        for (id, n) in core::mem::take(&mut self.overlay.neighbours) {
            self.fx.send_as(n.link, Leave { record: record.clone() }, Class::Last);
            self.set_use(n.link, Use::Parting(now));
            self.acks.forget(id);
            let (name, why) = (n.record.name.clone(), LinkDown::Local(CloseReason::Leaving));
            self.fx.event(Event::NeighbourDown { id, name, why, degree: 0 });
        }
        let unused = |u: &Use| matches!(u, Use::Idle | Use::Request | Use::Ask(_));
        let unused: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| unused(&l.used)).map(|(id, _)| *id).collect();
        for link in unused {
            self.close(link, CloseReason::Leaving);
        }
        self.review_leave();
    }

    /// Waits for the neighbours to close their links: they do so when they have read Leave.
    fn review_parting(&mut self, late: bool) {
        let now = self.fx.now();
        let Some(departure) = &mut self.own.departure else { return };
        let ping = now >= departure.ping_at;
        if ping {
            departure.ping_at = now + PARTING_PING;
        }
        let parting = |l: &Use| match l {
            Use::Parting(heard) => Some(*heard),
            _ => None,
        };
        let links: Vec<(LinkId, Time)> =
            self.links.iter().filter_map(|(id, l)| Some((*id, parting(&l.used)?))).collect();
        let mut waits = false;
        for (link, heard) in links {
            if late || now.since(heard) >= PARTING_SILENCE {
                self.fx.count("goodbyes_unread");
                self.close(link, CloseReason::Leaving);
                continue;
            }
            waits = true;
            if ping {
                let nonce = self.rng.liveness.u64();
                self.fx.send(link, Ping { nonce });
            }
        }
        if !waits {
            self.tell_seeds_goodbye();
        }
    }

    // ---- the seeds -------------------------------------------------------------------------

    fn tell_seeds_goodbye(&mut self) {
        let now = self.fx.now();
        let Some(departure) = &mut self.own.departure else { return };
        departure.stage = Stage::TellingSeeds;
        // The time that was not needed for anything else is not needed here either.
        departure.by = departure.by.min(now + TELL_SEEDS_WITHIN);
        let ends = now >= departure.by;
        let record = self.own.record.clone();
        let seeds: Vec<LinkId> = self.registrations.links().collect();
        for link in &seeds {
            self.fx.send(*link, Leave { record: record.clone() });
        }
        for slot in &mut self.registrations.slots {
            slot.acknowledged = None;
        }
        self.registrations.unpark(now);
        let unheard = seeds.is_empty() && !self.registrations.slots.iter().any(|s| s.parked);
        if unheard || ends {
            self.finish_leave(self.registrations.slots.is_empty());
        }
    }

    /// A seed acknowledged something; if it was Leave and a quorum has, this peer is gone.
    pub(super) fn leave_if_acknowledged(&mut self, f: &Registered) {
        let telling = self.own.departure.as_ref().is_some_and(|d| d.stage == Stage::TellingSeeds);
        let goodbye = f.sequence == self.own.record.sequence && f.incarnation == self.incarnation();
        // A seed that holds the registration without a link is told on a new one.
        let slots = self.registrations.slots.iter();
        let linked = slots.filter(|s| s.link.is_some() || s.parked).count();
        let needed = self.registrations.quorum().min(linked);
        if telling && goodbye && self.registrations.count() >= needed {
            let quorum = self.registrations.quorum();
            self.finish_leave(self.registrations.count() >= quorum);
        }
    }

    fn finish_leave(&mut self, acknowledged: bool) {
        if self.own.has_left() {
            return;
        }
        self.own.state = PeerState::Left;
        self.own.departure = None;
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(link, CloseReason::Leaving);
        }
        for slot in &mut self.registrations.slots {
            slot.link = None;
        }
        // A seed that has registered this process has told its nonce; one before it may still be registered.
        let is_unknown = self.own.nonce.is_none() && !self.own.has_predecessor;
        let acknowledged = acknowledged || is_unknown;
        if !acknowledged {
            self.fx.count("leaves_unacknowledged");
        }
        self.fx.event(Event::Left { acknowledged });
    }

    // ---- others that leave -----------------------------------------------------------------

    /// A neighbour, or a peer whose link passes through here, sends Leave. It waits for the end of the link.
    pub(super) fn on_leave(&mut self, link: LinkId, remote: PeerId, record: &SignedRecord) {
        if record.id != remote || record.presence != Presence::Left {
            return;
        }
        self.vouch_for_stream_of(remote);
        self.learn_left(record);
        if self.overlay.neighbours.get(&remote).is_some_and(|n| n.link == link) {
            self.drop_neighbour(remote, LinkDown::Local(CloseReason::Done));
        }
        self.close(link, CloseReason::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::io::{Output, SeedAddress};
    use crate::peer::own::Own;
    use crate::peer::{PeerSetup, example_setup};

    /// What a peer says of its goodbye that reaches no seed before it has registered anywhere.
    fn goodbye_is_acknowledged(anchors: Vec<SignedRecord>) -> bool {
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
        assert!(goodbye_is_acknowledged(vec![]), "no seed has ever registered this node");
        let neighbour =
            Own::new(&Identity::from_secret(&[7; 32]), example_setup().name, vec![], 1, 1);
        assert!(
            !goodbye_is_acknowledged(vec![neighbour.record]),
            "its last process was registered"
        );
    }
}
