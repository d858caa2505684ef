//! Getting what was missed: announcements, summaries, pulls.

use core::time::Duration;

use super::Peer;
use crate::broadcast::StreamId;
use crate::config::BroadcastMode;
use crate::identity::PeerId;
use crate::io::{Class, LinkId};
use crate::limits::MAX_PULL_BYTES;
use crate::sync;
use crate::time::Time;
use crate::wire::{Announce, Gossip, Pull, Pulled, Summary, SummaryEntry};

/// Shortest time between two whole summaries for one neighbour.
const TELL_ALL_EVERY: Duration = Duration::from_millis(250);
/// A neighbour that is so new has not been on a tree: what it has is pulled at once.
const NEW_NEIGHBOUR: Duration = Duration::from_secs(2);
/// How long somebody has to say where a stream begins whose first messages did not come.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);

impl Peer {
    // ---- announcements ---------------------------------------------------------------------

    /// Tells the links that are on no tree what came.
    pub(super) fn run_announcer(&mut self) {
        if self.announcer.due.is_none_or(|at| at > self.fx.now()) {
            return;
        }
        let neighbours = self.overlay.neighbours.keys().copied();
        let (trees, flood) = (&self.trees, self.config.broadcast() == BroadcastMode::Flood);
        let now = self.fx.now();
        let rides = |n, route| flood || trees.rides(n, route, now);
        for (to, ranges) in self.announcer.round(neighbours, rides) {
            if let Some(n) = self.overlay.neighbours.get(&to) {
                self.fx.send_as(n.link, Announce { ranges }, Class::Announce);
            }
        }
    }

    pub(super) fn on_announce(&mut self, remote: PeerId, f: &Announce) {
        let now = self.fx.now();
        for range in &f.ranges {
            self.announcer.heard(remote, range);
            self.missing.announced(&self.broadcast.list, remote, range, now);
        }
    }

    // ---- summaries -------------------------------------------------------------------------

    /// Tells a new neighbour everything that was seen, and of the trees. Both ends know by now that
    /// they are neighbours.
    pub(super) fn start_sync(&mut self, link: LinkId, neighbour: PeerId) {
        self.fx.send(link, sync::whole(&self.broadcast.list));
        self.tree_link_up(neighbour);
    }

    /// Asks a random neighbour whether it has seen the same.
    pub(super) fn run_sync(&mut self) {
        let now = self.fx.now();
        if now >= self.next_sync {
            self.next_sync = now + self.rng.sync.scaled(self.config.sync_interval(), 0.75, 1.25);
            self.ask_somebody();
        }
    }

    fn ask_somebody(&mut self) {
        let links: Vec<LinkId> = self.overlay.neighbours.values().map(|n| n.link).collect();
        if let Some(&link) = links.get(self.rng.sync.below(links.len())) {
            self.fx.send(link, sync::question(&self.broadcast.list));
        }
    }

    pub(super) fn on_summary(&mut self, link: LinkId, remote: PeerId, f: &Summary) {
        let now = self.fx.now();
        if sync::hash(&self.broadcast.list) == f.hash {
            return;
        }
        let Some(neighbour) = self.overlay.neighbours.get_mut(&remote) else { return };
        let Some(theirs) = &f.entries else {
            // Only the hash came: tell all, and the other side pulls what it lacks.
            if now >= neighbour.tell_all_after {
                neighbour.tell_all_after = now + TELL_ALL_EVERY;
                self.fx.send(link, sync::whole(&self.broadcast.list));
            }
            return;
        };
        let at_once = now.since(neighbour.since) < NEW_NEIGHBOUR;
        if sync::other_lacks(&self.broadcast.list, theirs) && now >= neighbour.ask_after {
            // The hash alone makes the other side ask for all, unless it has caught up by then.
            neighbour.ask_after = now + self.config.sync_interval();
            self.fx.send(link, sync::question(&self.broadcast.list));
        }
        for e in theirs {
            let stream = (e.publisher, e.incarnation);
            let begun = self.has_begun(stream);
            if !begun || self.unbegun.contains_key(&stream) {
                // So far back can it be had.
                self.broadcast.list.begin(stream, e.floor);
                self.unbegun.remove(&stream);
            }
            self.missing.told(&self.broadcast.list, remote, e, at_once, now);
            if !begun {
                self.deliver(e.publisher);
            }
        }
        self.run_pulls();
    }

    /// Streams whose beginning nobody told begin with what came.
    pub(super) fn begin_streams(&mut self) {
        let now = self.fx.now();
        let due = |at: &Time| *at + BEGIN_WITHIN <= now;
        let all: Vec<StreamId> =
            self.unbegun.iter().filter(|(_, at)| due(at)).map(|(s, _)| *s).collect();
        for stream in all {
            self.unbegun.remove(&stream);
            self.broadcast.list.begin_with_what_came(stream);
            self.deliver(stream.0);
        }
    }

    pub(super) fn begin_deadline(&self) -> Option<Time> {
        self.unbegun.values().min().map(|at| *at + BEGIN_WITHIN)
    }

    // ---- pulls -----------------------------------------------------------------------------

    /// Asks for what is missing and gives up what nobody has.
    pub(super) fn run_pulls(&mut self) {
        let now = self.fx.now();
        if self.missing.deadline().is_none_or(|at| at > now) {
            return;
        }
        let degree = self.overlay.neighbours.len();
        let due = self.missing.due(&self.broadcast.list, degree, now);
        for (who, ranges) in due.pulls {
            if let Some(n) = self.overlay.neighbours.get_mut(&who) {
                self.fx.count("pulls");
                n.pulled = ranges.iter().map(|r| (r.publisher, r.incarnation)).collect();
                n.pulled.dedup();
                self.fx.send(n.link, Pull { ranges });
            }
        }
        if due.ask_others {
            self.ask_somebody();
        }
        for (stream, from, to) in due.lost {
            self.broadcast.list.give_up(stream, from, to);
            self.deliver(stream.0);
        }
    }

    pub(super) fn on_pull(&mut self, link: LinkId, f: &Pull) {
        let (mut bytes, mut batches) = (0, 0u32);
        'all: for r in &f.ranges {
            let mut last = None;
            for k in self.broadcast.kept.range((r.publisher, r.incarnation), r.from, r.to) {
                if bytes >= MAX_PULL_BYTES {
                    break 'all;
                }
                if last == Some(k.batch.first()) {
                    continue;
                }
                last = Some(k.batch.first());
                bytes += k.batch.size();
                batches += 1;
                let hops = k.hops.saturating_add(1);
                let (own_tree, receipt, pulled) = (false, false, true);
                let gossip = Gossip { hops, own_tree, receipt, pulled, batch: k.batch.clone() };
                self.fx.send_as(link, gossip, Class::History);
            }
        }
        self.fx.add("batches_pulled", u64::from(batches));
        // In the same queue: it comes when the batches have come.
        self.fx.send_as(link, Pulled { batches }, Class::History);
    }

    pub(super) fn on_pulled(&mut self, remote: PeerId, f: &Pulled) {
        let Some(n) = self.overlay.neighbours.get_mut(&remote) else { return };
        let streams = core::mem::take(&mut n.pulled);
        self.missing.answered(remote, &streams, f.batches == 0, self.fx.now());
        self.run_pulls();
    }

    /// Sends the other end of a new edge of a tree at once what it has missed, as if it came along
    /// the tree: those behind it have missed it as well.
    pub(super) fn send_what_lacks(&mut self, link: LinkId, have: &[SummaryEntry]) {
        let mut bytes = 0;
        let streams: Vec<StreamId> = self.broadcast.list.iter().map(|(s, _)| *s).collect();
        for stream in streams {
            let has = have.iter().find(|e| (e.publisher, e.incarnation) == stream);
            // What it does not know at all, it learns of by comparing.
            let Some(has) = has else { continue };
            let gaps = has.gaps.iter().copied().chain([(has.next, u64::MAX)]);
            for (from, to) in gaps {
                for k in self.broadcast.kept.range(stream, from, to) {
                    if bytes >= MAX_PULL_BYTES {
                        return;
                    }
                    bytes += k.batch.size();
                    let hops = k.hops.saturating_add(1);
                    let (own_tree, receipt, pulled) = (false, false, false);
                    let gossip = Gossip { hops, own_tree, receipt, pulled, batch: k.batch.clone() };
                    self.fx.count("batches_caught_up");
                    self.fx.send_as(link, gossip, Class::Payload);
                }
            }
        }
    }
}
