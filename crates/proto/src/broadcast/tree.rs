//! The frames of the broadcast trees: from decisions to frames, and from frames to decisions.

use std::collections::BTreeSet;

use super::Broadcast;
use super::digest;
use super::missing::EarlierAnnouncement;
use super::trees::{ArrivalKind, TreeAction};
use crate::context::{Context, View};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::message::StreamId;
use crate::wire::{Graft, Prune, SummaryEntry, ack_token};

impl Broadcast {
    /// Sends the frames of these actions.
    pub(crate) fn apply_tree_actions(
        &mut self,
        cx: &mut Context<'_>,
        actions: impl IntoIterator<Item = TreeAction>,
    ) {
        // Many neighbours get the same list.
        let mut last: Option<(Vec<PeerId>, Vec<SummaryEntry>)> = None;
        for action in actions {
            let (TreeAction::Graft { to, .. } | TreeAction::Prune { to, .. }) = &action;
            let Some(link) = cx.overlay.neighbours.get(to).map(|n| n.link) else { continue };
            match action {
                TreeAction::Graft { publishers, recent, .. } => {
                    cx.fx.counters.grafts += 1;
                    let have = match last.take_if(|(of, _)| *of == recent) {
                        Some((_, have)) => have,
                        None => digest::entries_of(&self.store.list, &recent),
                    };
                    last = Some((recent, have.clone()));
                    cx.fx.send(link, Graft { publishers, have });
                }
                TreeAction::Prune { publishers, .. } => {
                    cx.fx.counters.prunes += 1;
                    cx.fx.send(link, Prune { publishers });
                }
            }
        }
    }

    /// Updates the tree of a publisher after the first copy of a batch or census arrived.
    pub(crate) fn on_tree_arrival(
        &mut self,
        cx: &mut Context<'_>,
        publisher: PeerId,
        from: Option<PeerId>,
        kind: ArrivalKind,
    ) {
        if kind.was_pulled()
            && self.has_publisher_ended(cx, &publisher)
            && !self.trees.knows(&publisher)
        {
            // No further batch may come from it, and the graft for it would be repeated for good.
            return;
        }
        let (before, now) = (self.trees.parent(&publisher), cx.now);
        let actions = self.trees.on_first(publisher, from, kind, now);
        self.apply_tree_actions(cx, actions);
        if before != self.trees.parent(&publisher) {
            self.acks.on_parent_change(publisher, now);
        }
    }

    /// Reviews the parent after a batch came along the tree that another neighbour may have
    /// announced long before.
    pub(crate) fn review_parent(&mut self, cx: &mut Context<'_>, stream: StreamId, from: PeerId) {
        let now = cx.now;
        let (neighbour, by) =
            match self.missing.take_earlier_announcement(&self.store.list, stream, now) {
                EarlierAnnouncement::By(neighbour, by) => (neighbour, by),
                EarlierAnnouncement::Pending => return,
                EarlierAnnouncement::None => {
                    return self.trees.on_first_from(&stream.publisher, from);
                }
            };
        let actions = self.trees.on_announced_earlier(&stream.publisher, neighbour, by, now);
        if !actions.is_empty() {
            cx.fx.counters.late_parents_left += 1;
            self.apply_tree_actions(cx, actions);
            self.acks.on_parent_change(stream.publisher, now);
        }
    }

    /// Updates the tree of a publisher after a duplicate arrived: one of two senders can stop.
    pub(crate) fn on_tree_duplicate(
        &mut self,
        cx: &mut Context<'_>,
        publisher: PeerId,
        from: PeerId,
        kind: ArrivalKind,
    ) {
        let now = cx.now;
        let was_child = self.trees.is_child(&from, &publisher);
        let action = self.trees.on_duplicate(publisher, from, kind, now);
        self.apply_tree_actions(cx, action);
        if was_child && !self.trees.is_child(&from, &publisher) {
            // The publisher does not wait for the reports of a former child.
            let (acks, view) = self.acks_with_view(cx);
            acks.on_trees_changed([publisher], now, &view);
        }
    }

    /// Performs the actions after a change of neighbours. The subtree has changed, so
    /// acknowledgements are sent again.
    fn apply_after_link_change(&mut self, cx: &mut Context<'_>, actions: Vec<TreeAction>) {
        self.apply_tree_actions(cx, actions);
        let (acks, view) = self.acks_with_view(cx);
        acks.on_all_trees_changed(cx.now, &view);
    }

    pub(crate) fn tree_link_up(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let actions = self.trees.link_up(neighbour, cx.now);
        self.apply_after_link_change(cx, actions);
    }

    pub(crate) fn tree_link_down(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let now = cx.now;
        self.acks.forget_neighbour(neighbour);
        self.missing.forget_source(neighbour, now);
        let actions = self.trees.link_down(neighbour, now);
        self.apply_after_link_change(cx, actions);
    }

    /// Leaves a suspected parent: its batches are fetched through other neighbours.
    pub(crate) fn on_suspected_neighbour(&mut self, cx: &mut Context<'_>, neighbour: PeerId) {
        let actions = self.trees.on_suspect(neighbour, cx.now);
        self.apply_after_link_change(cx, actions);
    }

    /// Handles a neighbour that becomes a child. If this peer `serves` it, it gets at once what it
    /// lacks. Returns the number of bytes.
    pub(crate) fn on_graft(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        f: &Graft,
        serves: bool,
    ) -> usize {
        let (changed, actions) = self.trees.on_graft(remote, &f.publishers, cx.now);
        // A graft without a list asks for nothing: the first batch of each publisher causes such a
        // graft.
        let bytes = if serves { self.send_catch_up(cx, link, &f.have) } else { 0 };
        if !changed.is_empty() {
            let named: BTreeSet<u64> = f.publishers.iter().copied().collect();
            self.announcer.on_graft(remote, |p| named.contains(&ack_token(p)));
            self.apply_tree_actions(cx, actions);
            let (acks, view) = self.acks_with_view(cx);
            acks.on_trees_changed(changed, cx.now, &view);
        }
        bytes
    }

    pub(crate) fn on_prune(&mut self, cx: &mut Context<'_>, remote: PeerId, f: &Prune) {
        let changed = self.trees.on_prune(remote, &f.publishers);
        let is_own = changed.contains(&cx.id());
        let (acks, view) = self.acks_with_view(cx);
        acks.on_trees_changed(changed, cx.now, &view);
        if is_own {
            // Another neighbour counts that one now; the receipt may be complete without it.
            self.review_receipts(cx);
        }
    }

    /// Whether a publisher is known to be dead or to have left.
    fn has_publisher_ended(&self, cx: &View<'_>, publisher: &PeerId) -> bool {
        cx.membership.members.get(publisher).is_none() && cx.membership.members.has_ended(publisher)
    }

    /// Forgets the tree of a member that is dead or has left.
    pub(crate) fn forget_publisher_tree(&mut self, peer: &PeerId) {
        self.trees.remove_publisher(peer);
    }

    /// Forgets a member that is dead or has left, after it was removed from the overlay.
    pub(crate) fn on_member_ended(&mut self, cx: &mut Context<'_>, peer: PeerId) {
        self.confirmations.forget_peer(&peer);
        self.trees.remove_publisher(&peer);
        self.review_receipts(cx);
    }
}
