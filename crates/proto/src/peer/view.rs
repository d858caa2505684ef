//! The state of a peer for status commands, views and checkers.

use std::collections::BTreeMap;

use super::Peer;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::membership::Members;
use crate::message::MessageId;
use crate::record::Record;
use crate::snapshot::{
    MemberState, MemberView, NeighbourView, PeerSnapshot, PeerState, PublisherView,
    RetainedMessage, SeedView,
};
use crate::time::Time;

/// A count as views have it.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Peer {
    /// The state of this peer.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> PeerSnapshot {
        let (retained_messages, retained_bytes) = self.broadcast.held();
        PeerSnapshot {
            id: self.id(),
            name: self.membership.own.record.name.clone(),
            state: self.state(),
            incarnation: self.incarnation(),
            epoch: self.broadcast.own_stream().epoch,
            addresses: self.membership.own.record.addresses.clone(),
            target: self.overlay.target,
            neighbours: self.neighbour_views(now),
            seed_quorum: count(self.membership.registrations.quorum()),
            seeds: self.seed_views(),
            alive: count(self.membership.members.alive_count() + 1),
            network_size: self.membership.registrations.network_size(),
            published: self.broadcast.published(),
            retained_messages,
            retained_bytes,
            unacknowledged_bytes: self.broadcast.in_flight_bytes(),
            window_bytes: self.broadcast.window_bytes(),
            trees: self.broadcast.tree_views(),
            links: count(self.links.open.len()),
            store_problem: None,
            counters: self.fx.counters.by_name(),
        }
    }

    /// Its neighbours, and the link to each.
    pub fn neighbours(&self) -> impl Iterator<Item = (PeerId, LinkId)> {
        self.overlay.neighbours.iter().map(|(id, n)| (*id, n.link))
    }

    /// When its process had its first neighbour: receipts of other peers wait for it since then.
    /// `None` if it has had none.
    #[must_use]
    pub const fn participates_since(&self) -> Option<Time> {
        self.membership.own.participates_since
    }

    /// Its state in the network.
    #[must_use]
    pub const fn state(&self) -> PeerState {
        if self.membership.own.departure.is_some() {
            PeerState::Leaving
        } else {
            self.membership.own.state
        }
    }

    /// Its target degree.
    #[must_use]
    pub const fn target(&self) -> u16 {
        self.overlay.target
    }

    fn neighbour_views(&self, now: Time) -> Vec<NeighbourView> {
        let view = |(id, n): (&PeerId, &crate::overlay::Neighbour)| {
            let watch = self.failure.watches.get(id)?;
            Some(NeighbourView {
                id: *id,
                name: n.record.name.clone(),
                address: n.address.get(),
                link: n.link,
                dialed: n.dialed,
                since: now.since(n.since),
                heard: now.since(watch.last_heard),
                last_reply: watch.last_reply().map(|at| now.since(at)),
                reply_delay: watch.reply_delay(),
                smoothed_delay: watch.smoothed_delay(),
                misses: watch.misses,
                suspect: self.failure.is_suspect(id),
                degree: n.degree,
                target: n.target,
            })
        };
        self.overlay.neighbours.iter().filter_map(view).collect()
    }

    fn seed_views(&self) -> Vec<SeedView> {
        let slots = self.membership.registrations.slots.iter();
        slots
            .map(|s| SeedView {
                address: s.address.host_port.clone(),
                id: s.id,
                connected: s.link.is_some(),
                registered: s.acknowledged.is_some(),
                chosen: s.chosen,
                reply_delay: s.reply_delay,
                problem: s.problem.clone(),
            })
            .collect()
    }

    /// The members in this peer's view, itself included, by id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let mut all: BTreeMap<PeerId, MemberView> = BTreeMap::new();
        for r in self.membership.members.left() {
            all.insert(r.id, view(r, MemberState::Left));
        }
        for (certificate, record) in self.membership.members.dead() {
            let id = certificate.subject();
            let mut v = record.as_ref().map_or_else(
                || MemberView {
                    id,
                    name: None,
                    addresses: Vec::new(),
                    state: MemberState::Dead,
                    incarnation: certificate.incarnation(),
                    degree: 0,
                    target: 0,
                    participates: false,
                    witnesses: Vec::new(),
                    seeds: Vec::new(),
                },
                |r| view(r, MemberState::Dead),
            );
            v.witnesses = certificate.witnesses();
            v.seeds = certificate.seeds();
            all.insert(id, v);
        }
        for (id, m) in self.membership.members.alive() {
            let mut v = view(&m.record, Members::state(m));
            if self.failure.is_suspect(id) {
                v.state = MemberState::Suspect;
            }
            if let Some(n) = self.overlay.neighbours.get(id) {
                (v.degree, v.target, v.participates) = (n.degree, n.target, true);
            }
            all.insert(*id, v);
        }
        let mut own = view(&self.membership.own.record, MemberState::Alive);
        (own.degree, own.target) = (self.overlay.degree(), self.overlay.target);
        own.participates = self.membership.own.participates_since.is_some();
        all.insert(own.id, own);
        all.into_values().collect()
    }

    /// The newest `limit` retained messages, oldest first; with `before`, those that arrived before
    /// that one. None if that one is not retained any more, because few of the earlier ones are.
    #[must_use]
    pub fn retained_messages(
        &self,
        limit: usize,
        before: Option<MessageId>,
    ) -> Vec<RetainedMessage> {
        let mut held = Vec::new();
        for k in self.broadcast.newest(limit, before.as_ref()) {
            let publisher = k.batch.publisher();
            let name = if publisher == self.id() {
                Some(self.membership.own.record.name.clone())
            } else {
                self.membership.members.record(&publisher).map(|r| r.name.clone())
            };
            held.extend(k.batch.messages().map(|m| RetainedMessage {
                id: m.id(),
                name: name.clone(),
                topic: m.topic().to_owned(),
                bytes: m.payload().len(),
                published_at: m.published_at().0,
                received_at: k.received_at.0,
                hops: k.hops,
                duplicates: k.duplicates,
            }));
        }
        if let Some(before) = before {
            let at = held.iter().position(|m| m.id == before);
            held.truncate(at.unwrap_or(held.len()));
        }
        held.drain(..held.len().saturating_sub(limit));
        held
    }

    /// The message list by stream.
    #[must_use]
    pub fn publishers(&self) -> Vec<PublisherView> {
        self.broadcast.publishers()
    }

    /// Whether a message was received, retained or not.
    #[must_use]
    pub fn has_seen(&self, id: &MessageId) -> bool {
        self.broadcast.has_seen(id)
    }
}

/// The view of a member with this record.
pub(crate) fn view(r: &Record, state: MemberState) -> MemberView {
    MemberView {
        id: r.id,
        name: Some(r.name.clone()),
        addresses: r.addresses.clone(),
        state,
        incarnation: r.incarnation,
        degree: r.degree,
        target: r.target,
        participates: r.participates,
        witnesses: Vec::new(),
        seeds: Vec::new(),
    }
}
