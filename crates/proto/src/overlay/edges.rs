//! The edges of this peer: how one begins and ends, and what both ends know of each other.

use core::time::Duration;
use std::sync::Arc;

use super::{Neighbour, Overlay, OverlayContext, OverlayEffect, heal};
use crate::event::{CloseReason, Event, LinkEnd};
use crate::failure::Adjacency;
use crate::identity::PeerId;
use crate::io::{LinkId, StoreOp};
use crate::limits::MAX_NEIGHBOURHOOD;
use crate::links::LinkPurpose;
use crate::record::{Address, SignedRecord};
use crate::signed::Signed;
use crate::wire::{Neighbourhood, PeerRequestKind};

/// How long changes of the degree are gathered before they are sent to seeds and neighbours.
const RECORD_UPDATE_DELAY: Duration = Duration::from_millis(250);
/// Number of neighbours that are stored, to be dialled first after a restart.
const MAX_ANCHORS: usize = 32;

impl Overlay {
    /// Adds a neighbour.
    pub(super) fn attach(
        &mut self,
        cx: &mut OverlayContext<'_>,
        link: LinkId,
        id: PeerId,
        record: SignedRecord,
        adjacency: Signed<Adjacency>,
    ) {
        let now = cx.now;
        let Some(l) = cx.links.open.get_mut(&link) else { return };
        l.purpose = LinkPurpose::Neighbour;
        let listening = record.addresses.first().copied();
        let neighbour = Neighbour {
            link,
            dialed: l.dialed,
            address: listening.map_or_else(|| l.address.clone(), |a| a.0.into()),
            degree: record.degree,
            target: record.target,
            adjacency,
            since: now,
            neighbourhood: Arc::default(),
            promised: None,
            record,
        };
        if let Some(m) = cx.membership.members.get_mut(&id) {
            m.failures = 0;
            m.suspect = false;
        }
        let name = neighbour.record.name.clone();
        self.neighbours.insert(id, neighbour);
        if cx.membership.own.participates_since.is_none() {
            cx.membership.own.begin_to_participate(now);
        }
        let (degree, target) = (self.degree(), self.target);
        cx.fx.event(Event::NeighbourUp { id, name, degree, target });
        self.degree_changed(cx);
        self.store_anchors(cx);
        self.effects.push(OverlayEffect::NeighbourUp { id, link });
    }

    /// Ends the edge to a neighbour that another peer has replaced.
    pub(super) fn drop_replaced(&mut self, cx: &mut OverlayContext<'_>, id: PeerId) {
        let Some(n) = self.neighbours.get(&id) else { return };
        let link = n.link;
        cx.links.close(cx.fx, link, CloseReason::EdgeTransferred);
        self.detach(cx, id, LinkEnd::Local(CloseReason::EdgeTransferred));
    }

    /// Removes a neighbour, whose link is closed already or by the caller.
    pub(crate) fn detach(
        &mut self,
        cx: &mut OverlayContext<'_>,
        id: PeerId,
        why: LinkEnd,
    ) -> Option<Neighbour> {
        let neighbour = self.neighbours.remove(&id)?;
        self.effects.push(OverlayEffect::NeighbourDown { id });
        let (name, degree) = (neighbour.record.name.clone(), self.degree());
        cx.fx.event(Event::NeighbourDown { id, name, why, degree });
        self.fill.look_soon(cx.now);
        self.degree_changed(cx);
        Some(neighbour)
    }

    /// Asks for an edge to replace that of a dead neighbour.
    pub(crate) fn heal(
        &mut self,
        cx: &mut OverlayContext<'_>,
        dead: PeerId,
        neighbourhood: &[(PeerId, Address)],
    ) {
        if cx.membership.own.is_leaving() || self.deficit() == 0 {
            return;
        }
        if let Some((partner, address)) = heal::partner(cx.identity.id(), dead, neighbourhood) {
            self.request(cx, partner, vec![address], PeerRequestKind::FreeSlot, None);
        }
    }

    /// Schedules an update of seeds and neighbours after a change of degree, target or record.
    pub(crate) fn degree_changed(&mut self, cx: &mut OverlayContext<'_>) {
        let own = &mut cx.membership.own;
        if own.is_leaving() {
            return; // Leave was the last record
        }
        let at = cx.now + RECORD_UPDATE_DELAY;
        own.update_at.get_or_insert(at);
        self.schedule_trim(at);
        self.announce_at.get_or_insert(at);
    }

    /// The record of this peer with the degree as it is now.
    pub(super) fn current_record(&self, cx: &mut OverlayContext<'_>) -> SignedRecord {
        cx.membership.own.current(cx.identity, self.degree(), self.target)
    }

    /// Stores the present neighbours, to dial them first after a restart.
    fn store_anchors(&self, cx: &mut OverlayContext<'_>) {
        let anchors = self.neighbours.values().map(|n| n.record.clone());
        cx.fx.store(vec![StoreOp::PutAnchors(anchors.take(MAX_ANCHORS).collect())]);
    }

    pub(crate) fn on_neighbourhood(&mut self, remote: PeerId, f: Neighbourhood) {
        if let Some(n) = self.neighbours.get_mut(&remote) {
            n.neighbourhood = f.neighbours;
            n.degree = f.degree;
            n.target = f.target;
        }
    }

    /// Sends the neighbours the list of neighbours.
    pub(crate) fn announce_neighbourhood(&mut self, cx: &mut OverlayContext<'_>) {
        self.announce_at = None;
        let all = self.neighbours.iter().map(|(id, n)| (*id, n.address.get()));
        let frame = Neighbourhood {
            neighbours: all.take(MAX_NEIGHBOURHOOD).collect(),
            degree: self.degree(),
            target: self.target,
        };
        for n in self.neighbours.values() {
            cx.fx.send(n.link, frame.clone());
        }
    }
}
