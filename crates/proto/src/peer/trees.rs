//! The broadcast trees: their decisions as frames, and frames as their input.

use std::collections::BTreeSet;

use super::Peer;
use super::messages::around;
use crate::broadcast::missing::Lead;
use crate::broadcast::trees::{Act, Way};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::message::StreamId;
use crate::sync;
use crate::wire::{Graft, Prune, SummaryEntry, ack_token};

impl Peer {
    pub(super) fn act(&mut self, acts: impl IntoIterator<Item = Act>) {
        // Many neighbours are told the same.
        let mut last: Option<(Vec<PeerId>, Vec<SummaryEntry>)> = None;
        for act in acts {
            let (Act::Graft { to, .. } | Act::Prune { to, .. }) = &act;
            let Some(link) = self.overlay.neighbours.get(to).map(|n| n.link) else { continue };
            match act {
                Act::Graft { publishers, recent, .. } => {
                    self.fx.count("grafts");
                    let have = match last.take_if(|(of, _)| *of == recent) {
                        Some((_, have)) => have,
                        None => sync::entries_of(&self.broadcast.list, &recent),
                    };
                    last = Some((recent, have.clone()));
                    self.fx.send(link, Graft { publishers, have });
                }
                Act::Prune { publishers, .. } => {
                    self.fx.count("prunes");
                    self.fx.send(link, Prune { publishers });
                }
            }
        }
    }

    /// Something of a publisher came for the first time: that may change the way that it takes.
    pub(super) fn follow_tree(&mut self, publisher: PeerId, from: Option<PeerId>, way: Way) {
        if way.is_late() && self.is_gone(&publisher) && !self.trees.knows(&publisher) {
            // Nothing more may come from it, and the way to it would be looked for for good.
            return;
        }
        let (before, now) = (self.trees.parent(&publisher), self.fx.now());
        let acts = self.trees.received(publisher, from, way, now);
        self.act(acts);
        if before != self.trees.parent(&publisher) {
            self.acks.moved(publisher, now);
        }
    }

    /// Something of a stream came along its tree, which another neighbour may have announced long before.
    pub(super) fn review_parent(&mut self, stream: StreamId, from: PeerId) {
        let now = self.fx.now();
        let (who, by) = match self.missing.take_lead(&self.broadcast.list, stream, now) {
            Lead::Of(who, by) => (who, by),
            Lead::Open => return,
            Lead::None => return self.trees.was_first(&stream.publisher, from),
        };
        let acts = self.trees.announced_earlier(&stream.publisher, who, by, now);
        if !acts.is_empty() {
            self.fx.count("late_parents_left");
            self.act(acts);
            self.acks.moved(stream.publisher, now);
        }
    }

    /// Something of a publisher came again: of two that send the same, one need not.
    pub(super) fn tree_repeat(&mut self, publisher: PeerId, from: PeerId, way: Way) {
        let now = self.fx.now();
        let was_child = self.trees.is_child(&from, &publisher);
        let act = self.trees.repeated(publisher, from, way, now);
        self.act(act);
        if was_child && !self.trees.is_child(&from, &publisher) {
            // Nobody waits for what it would tell.
            self.acks.reroute([publisher], now, &around!(self));
        }
    }

    /// Does what the trees say after a change of neighbours. Who is behind whom has to be told anew.
    fn act_on_change(&mut self, acts: Vec<Act>) {
        self.act(acts);
        self.acks.reroute_all(self.fx.now(), &around!(self));
    }

    pub(super) fn tree_link_up(&mut self, neighbour: PeerId) {
        let acts = self.trees.link_up(neighbour, self.fx.now());
        self.act_on_change(acts);
    }

    pub(super) fn tree_link_down(&mut self, neighbour: PeerId) {
        let now = self.fx.now();
        self.acks.forget(neighbour);
        self.missing.forget_source(neighbour, now);
        let acts = self.trees.link_down(neighbour, now);
        self.act_on_change(acts);
    }

    /// A neighbour gives no sign of life; what came through it comes through others.
    pub(super) fn tree_suspect(&mut self, neighbour: PeerId) {
        let acts = self.trees.suspect(neighbour, self.fx.now());
        self.act_on_change(acts);
    }

    pub(super) fn on_graft(&mut self, link: LinkId, remote: PeerId, f: &Graft) {
        let (changed, acts) = self.trees.on_graft(remote, &f.publishers, self.fx.now());
        // Without a list of what is there, nothing is asked for: every first batch of a publisher brings one. Beyond the
        // quota, what is missing is pulled.
        if !f.have.is_empty() && self.admit_request(link, remote, "Graft", true) {
            self.send_what_lacks(link, &f.have);
        }
        if !changed.is_empty() {
            let named: BTreeSet<u64> = f.publishers.iter().copied().collect();
            self.announcer.grafted(remote, |p| named.contains(&ack_token(p)));
            self.act(acts);
            self.acks.reroute(changed, self.fx.now(), &around!(self));
        }
    }

    pub(super) fn on_prune(&mut self, remote: PeerId, f: &Prune) {
        let changed = self.trees.on_prune(remote, &f.publishers);
        let own = changed.contains(&self.id());
        self.acks.reroute(changed, self.fx.now(), &around!(self));
        if own {
            // That neighbour is counted by another one; nobody else may be waited for.
            self.review_receipts();
        }
    }

    /// Whether a publisher is known to be dead or to have left.
    fn is_gone(&self, publisher: &PeerId) -> bool {
        self.members.get(publisher).is_none() && self.members.has_ended(publisher)
    }

    /// The life of a peer is over.
    pub(super) fn tree_end_of(&mut self, peer: PeerId) {
        self.handover.forget_peer(&peer);
        self.trees.gone(&peer);
        self.review_receipts();
    }
}
