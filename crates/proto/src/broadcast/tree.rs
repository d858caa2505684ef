//! The broadcast trees: their decisions as frames, and frames as their input.

use std::collections::BTreeSet;

use super::Broadcast;
use super::ack_view::AckView;
use super::missing::Lead;
use super::trees::{Act, Way};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::message::StreamId;
use crate::sync;
use crate::wire::{Graft, Prune, SummaryEntry, ack_token};

impl Broadcast {
    pub(crate) fn act(&mut self, cx: &mut Context<'_>, acts: impl IntoIterator<Item = Act>) {
        // Many neighbours are told the same.
        let mut last: Option<(Vec<PeerId>, Vec<SummaryEntry>)> = None;
        for act in acts {
            let (Act::Graft { to, .. } | Act::Prune { to, .. }) = &act;
            let Some(link) = cx.overlay.neighbours.get(to).map(|n| n.link) else { continue };
            match act {
                Act::Graft { publishers, recent, .. } => {
                    cx.fx.count("grafts");
                    let have = match last.take_if(|(of, _)| *of == recent) {
                        Some((_, have)) => have,
                        None => sync::entries_of(&self.store.list, &recent),
                    };
                    last = Some((recent, have.clone()));
                    cx.fx.send(link, Graft { publishers, have });
                }
                Act::Prune { publishers, .. } => {
                    cx.fx.count("prunes");
                    cx.fx.send(link, Prune { publishers });
                }
            }
        }
    }

    /// Something of a publisher came for the first time: that may change the way that it takes.
    pub(crate) fn follow_tree(
        &mut self,
        cx: &mut Context<'_>,
        publisher: PeerId,
        from: Option<PeerId>,
        way: Way,
    ) {
        if way.is_late() && self.is_gone(cx, &publisher) && !self.trees.knows(&publisher) {
            // Nothing more may come from it, and the way to it would be looked for for good.
            return;
        }
        let (before, now) = (self.trees.parent(&publisher), cx.now);
        let acts = self.trees.received(publisher, from, way, now);
        self.act(cx, acts);
        if before != self.trees.parent(&publisher) {
            self.acks.moved(publisher, now);
        }
    }

    /// Something of a stream came along its tree, which another neighbour may have announced long before.
    pub(crate) fn review_parent(&mut self, cx: &mut Context<'_>, stream: StreamId, from: PeerId) {
        let now = cx.now;
        let (who, by) = match self.missing.take_lead(&self.store.list, stream, now) {
            Lead::Of(who, by) => (who, by),
            Lead::Open => return,
            Lead::None => return self.trees.was_first(&stream.publisher, from),
        };
        let acts = self.trees.announced_earlier(&stream.publisher, who, by, now);
        if !acts.is_empty() {
            cx.fx.count("late_parents_left");
            self.act(cx, acts);
            self.acks.moved(stream.publisher, now);
        }
    }

    /// Something of a publisher came again: of two that send the same, one need not.
    pub(crate) fn tree_repeat(
        &mut self,
        cx: &mut Context<'_>,
        publisher: PeerId,
        from: PeerId,
        way: Way,
    ) {
        let now = cx.now;
        let was_child = self.trees.is_child(&from, &publisher);
        let act = self.trees.repeated(publisher, from, way, now);
        self.act(cx, act);
        if was_child && !self.trees.is_child(&from, &publisher) {
            // Nobody waits for what it would tell.
            self.acks.reroute([publisher], now, &AckView::new(&self.store.list, &self.trees, cx));
        }
    }

    /// Does what the trees say after a change of neighbours. Who is behind whom has to be told anew.
    fn act_on_change(&mut self, cx: &mut Context<'_>, acts: Vec<Act>) {
        self.act(cx, acts);
        self.acks.reroute_all(cx.now, &AckView::new(&self.store.list, &self.trees, cx));
    }

    pub(crate) fn tree_link_up(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let acts = self.trees.link_up(neighbour, cx.now);
        self.act_on_change(cx, acts);
    }

    pub(crate) fn tree_link_down(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let now = cx.now;
        self.acks.forget(neighbour);
        self.missing.forget_source(neighbour, now);
        let acts = self.trees.link_down(neighbour, now);
        self.act_on_change(cx, acts);
    }

    /// A neighbour gives no sign of life; what came through it comes through others.
    pub(crate) fn tree_suspect(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let acts = self.trees.suspect(neighbour, cx.now);
        self.act_on_change(cx, acts);
    }

    /// A neighbour wants to be a child. If this peer `serves` it, it gets at once what it lacks. Says how many
    /// bytes that took.
    pub(crate) fn on_graft(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Graft,
        serves: bool,
    ) -> usize {
        let (changed, acts) = self.trees.on_graft(remote, &f.publishers, cx.now);
        // Without a list of what is there, nothing is asked for: every first batch of a publisher brings one.
        let bytes = if serves { self.send_what_lacks(cx, link, &f.have) } else { 0 };
        if !changed.is_empty() {
            let named: BTreeSet<u64> = f.publishers.iter().copied().collect();
            self.announcer.grafted(remote, |p| named.contains(&ack_token(p)));
            self.act(cx, acts);
            self.acks.reroute(changed, cx.now, &AckView::new(&self.store.list, &self.trees, cx));
        }
        bytes
    }

    pub(crate) fn on_prune(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Prune) {
        let changed = self.trees.on_prune(remote, &f.publishers);
        let own = changed.contains(&cx.id());
        self.acks.reroute(changed, cx.now, &AckView::new(&self.store.list, &self.trees, cx));
        if own {
            // That neighbour is counted by another one; nobody else may be waited for.
            self.review_receipts(cx);
        }
    }

    /// Whether a publisher is known to be dead or to have left.
    fn is_gone(&self, cx: &View<'_>, publisher: &PeerId) -> bool {
        cx.membership.members.get(publisher).is_none() && cx.membership.members.has_ended(publisher)
    }

    /// A member is dead or has left: it has no tree any more.
    pub(crate) fn forget_tree(&mut self, peer: &PeerId) {
        self.trees.gone(peer);
    }

    /// The same, when nothing of it is left in the overlay.
    pub(crate) fn member_ended(&mut self, cx: &mut Context<'_>, peer: PeerId) {
        self.handover.forget_peer(&peer);
        self.trees.gone(&peer);
        self.review_receipts(cx);
    }
}
