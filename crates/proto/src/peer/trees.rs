//! The broadcast trees: their decisions as frames, and frames as their input.

use super::Peer;
use super::messages::around;
use crate::broadcast::trees::{Act, Candidates};
use crate::config::BroadcastMode;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::WHOLE_LIST;
use crate::snapshot::PeerState;
use crate::sync;
use crate::wire::{Beacon, Graft, Grafted, Prune, TreeId};

impl Peer {
    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            let to = match &act {
                Act::Tell { to, .. } | Act::Graft { to, .. } | Act::Prune { to, .. } => *to,
            };
            let Some(n) = self.overlay.neighbours.get(&to) else { continue };
            let link = n.link;
            match act {
                Act::Tell { beacon, .. } => self.fx.send(link, beacon),
                Act::Graft { tree, catch_up, .. } => {
                    self.fx.count("grafts");
                    let all = || sync::entries(&self.broadcast.list, |_| true);
                    self.fx.send(link, Graft { tree, have: catch_up.then(all) });
                }
                Act::Prune { tree, .. } => {
                    self.fx.count("prunes");
                    self.fx.send(link, Prune { tree });
                }
            }
        }
        // Who is behind whom may have changed.
        self.acks.reroute(self.fx.now(), &around!(self));
    }

    fn rides_trees(&self) -> bool {
        self.config.broadcast() == BroadcastMode::Trees
    }

    pub(super) fn tree_link_up(&mut self, neighbour: PeerId) {
        if self.rides_trees() {
            let acts = self.trees.link_up(neighbour, self.fx.now());
            self.act(acts);
        }
    }

    pub(super) fn tree_link_down(&mut self, neighbour: PeerId) {
        let now = self.fx.now();
        self.acks.forget(neighbour);
        self.missing.forget_source(neighbour, now);
        if self.rides_trees() {
            let acts = self.trees.link_down(neighbour);
            self.act(acts);
        }
    }

    /// A neighbour gives no sign of life; what came through it comes through others.
    pub(super) fn tree_suspect(&mut self, neighbour: PeerId) {
        if self.rides_trees() {
            let acts = self.trees.suspect(neighbour);
            self.act(acts);
        }
    }

    /// It does after all.
    pub(super) fn tree_trust(&mut self, neighbour: PeerId) {
        if self.rides_trees() {
            let acts = self.trees.trust(neighbour);
            self.act(acts);
        }
    }

    pub(super) fn on_beacon(&mut self, remote: PeerId, f: &Beacon) {
        if !self.rides_trees() {
            return;
        }
        let (root, now) = (f.body.root, self.fx.now());
        if self.members.is_over(&root, f.body.incarnation) {
            return self.fx.count("beacons_of_departed");
        }
        // A key is made in no time; where everybody is known, a root is one of them.
        let whole = !self.registrations.slots.is_empty()
            && self.own.state == PeerState::Joined
            && self.registrations.network_size() as usize <= WHOLE_LIST
            // A network that has become so small lately is known only in part.
            && self.members.alive_count() + 1 >= self.registrations.network_size() as usize;
        if whole && self.members.record(&root).is_none() && root != self.id() {
            return self.fx.count("beacons_of_strangers");
        }
        let refused = self.trees.is_full_for(f.body.tree);
        let acts = self.trees.on_beacon(self.id(), remote, f, now);
        // Those that have ended meanwhile may have made room.
        if refused && self.trees.is_full_for(f.body.tree) {
            self.fx.count("own_trees_refused");
        }
        self.act(acts);
    }

    pub(super) fn on_graft(&mut self, link: LinkId, remote: PeerId, f: Graft) {
        let now = self.fx.now();
        let known = self.rides_trees().then(|| {
            let astray = f.have.is_some();
            self.trees.on_graft(remote, f.tree, astray, now)
        });
        let Some(acts) = known.flatten() else { return self.fx.count("grafts_unknown") };
        let all = || sync::entries(&self.broadcast.list, |_| true);
        // Up a publisher's own tree goes nothing that its root has not.
        let have = (f.have.is_some() && matches!(f.tree, TreeId::Shared(_))).then(all);
        self.fx.send(link, Grafted { tree: f.tree, have });
        if let Some(have) = f.have {
            self.send_what_lacks(link, &have);
        }
        self.act(acts);
    }

    pub(super) fn on_grafted(&mut self, link: LinkId, remote: PeerId, f: &Grafted) {
        if let Some(have) = &f.have {
            // What was on its way to the root when the parent was lost.
            self.send_what_lacks(link, have);
        }
        let acts = self.trees.on_grafted(remote, f.tree, self.fx.now());
        self.act(acts);
    }

    pub(super) fn on_prune(&mut self, remote: PeerId, f: &Prune) {
        self.trees.on_prune(remote, f);
        self.acks.reroute(self.fx.now(), &around!(self));
    }

    pub(super) fn run_trees(&mut self) {
        let now = self.fx.now();
        if !self.rides_trees() || self.trees.deadline().is_none_or(|at| at > now) {
            return;
        }
        let joined = matches!(self.own.state, PeerState::Joined | PeerState::Degraded);
        let alone = self.registrations.slots.is_empty();
        let members = &self.members;
        let others = || {
            members
                .alive()
                .filter(|(_, m)| !m.suspect)
                .map(|(id, m)| (*id, m.record.target))
                .collect()
        };
        let with = Candidates {
            identity: &self.identity,
            incarnation: self.own.record.incarnation,
            target: self.overlay.target,
            config: &self.config,
            others: &others,
            eligible: (joined || alone) && !self.overlay.neighbours.is_empty(),
        };
        let acts = self.trees.on_timeout(&with, now);
        self.act(acts);
    }

    /// The life of a peer is over.
    pub(super) fn tree_end_of(&mut self, peer: PeerId) {
        self.handover.forget_peer(&peer);
        self.trees.gone(peer, self.fx.now());
        self.review_receipts();
    }
}
