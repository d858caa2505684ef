//! Messages on their way: gossip, get, and the comparison of message lists.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::Peer;
use crate::broadcast::{Broadcast, Taken};
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output, StoreOp};
use crate::limits::{MAX_PULL_MESSAGES, QUEUE_PAYLOAD};
use crate::message::{Delivery, Message, MessageId};
use crate::sync::summary;
use crate::time::Time;
use crate::wire::{Data, GetData, Gossip, Pull, Range, Summary};

/// Neighbours asked at once for a message.
const FETCH_WIDTH: usize = 3;
/// How long they have before the next are asked.
const FETCH_STEP: Duration = Duration::from_millis(300);

/// Shortest time between two whole summaries for one neighbour.
const TELL_ALL_EVERY: Duration = Duration::from_millis(250);

/// A message that is looked for.
#[derive(Debug)]
pub(super) struct Fetch {
    asked: BTreeSet<PeerId>,
    next: Time,
    until: Time,
}

impl Peer {
    /// Takes in a message: one's own, a neighbour's, or the answer to a question.
    pub(super) fn on_message(&mut self, message: Message, hops: u16, from: Option<PeerId>) {
        let (now, wall) = (self.fx.now(), self.fx.wall());
        match self.broadcast.receive(&message, hops, now, wall) {
            Taken::Repeat => self.fx.count("messages_duplicate"),
            Taken::First { dropped, forgotten } => {
                self.fx.count("messages_received");
                if let Some(f) = forgotten {
                    self.tell_gap(f.publisher, f.incarnation, f.from, f.to);
                }
                let mut ops: Vec<StoreOp> =
                    dropped.into_iter().map(StoreOp::RemoveMessage).collect();
                ops.push(StoreOp::PutMessage(message.clone()));
                self.fx.store(ops);
                self.forward(&message, hops, from);
                let received_at = wall;
                let delivery = Delivery { message, from, hops, received_at };
                self.fx.output(Output::Deliver(delivery));
            }
        }
    }

    fn forward(&mut self, message: &Message, hops: u16, from: Option<PeerId>) {
        let all = self.overlay.neighbours.keys();
        let to: Vec<LinkId> = Broadcast::forward_to(all, from, message.id.publisher)
            .filter_map(|id| self.overlay.neighbours.get(id).map(|n| n.link))
            .collect();
        let hops = hops.saturating_add(1);
        for link in to {
            self.fx.count("messages_forwarded");
            let gossip = Gossip { message: message.clone(), hops };
            self.fx.send_as(link, gossip, Class::Payload);
        }
    }

    // ---- get -------------------------------------------------------------------------------

    pub(super) fn begin_fetch(&mut self, id: MessageId) {
        if let Some(kept) = self.kept(&id) {
            let message = Some(kept.message.clone());
            return self.end_fetch(id, message);
        }
        let now = self.fx.now();
        let until = now + self.config.fetch_timeout();
        let fetch = Fetch { asked: BTreeSet::new(), next: now, until };
        self.fetches.entry(id).or_insert(fetch);
        self.run_fetches();
    }

    fn end_fetch(&mut self, id: MessageId, message: Option<Message>) {
        self.fetches.remove(&id);
        self.fx.event(Event::Fetched { id, found: message.is_some() });
        self.fx.output(Output::Fetched { id, message });
    }

    /// Asks the next neighbours; gives up when all were asked or the time is over.
    pub(super) fn run_fetches(&mut self) {
        let now = self.fx.now();
        let due: Vec<MessageId> = self
            .fetches
            .iter()
            .filter(|(_, f)| f.next.min(f.until) <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(f) = self.fetches.get_mut(&id) else { continue };
            // The publisher is the likeliest to hold it.
            let mut left: Vec<PeerId> =
                self.overlay.neighbours.keys().filter(|n| !f.asked.contains(n)).copied().collect();
            left.sort_by_key(|n| *n != id.publisher);
            if left.is_empty() || f.until <= now {
                if !left.is_empty() || now >= f.until || f.asked.is_empty() {
                    self.end_fetch(id, None);
                } else {
                    // All were asked: their answers have until the end.
                    f.next = f.until;
                }
                continue;
            }
            f.next = now + FETCH_STEP;
            for neighbour in left.into_iter().take(FETCH_WIDTH) {
                f.asked.insert(neighbour);
                if let Some(n) = self.overlay.neighbours.get(&neighbour) {
                    self.fx.send(n.link, GetData { id });
                }
            }
        }
    }

    pub(super) fn fetches_deadline(&self) -> Option<Time> {
        self.fetches.values().map(|f| f.next.min(f.until)).min()
    }

    pub(super) fn on_get_data(&mut self, link: LinkId, id: MessageId) {
        let message = self.kept(&id).map(|k| k.message.clone());
        self.fx.send_as(link, Data { id, message }, Class::Payload);
    }

    pub(super) fn on_data(&mut self, remote: PeerId, f: Data) {
        let asked = self.fetches.get(&f.id).is_some_and(|x| x.asked.contains(&remote));
        let Some(message) = f.message.filter(|m| m.id == f.id) else { return };
        if !asked {
            return self.fx.count("data_unasked");
        }
        self.on_message(message.clone(), 0, Some(remote));
        self.end_fetch(f.id, Some(message));
    }

    // ---- sync ------------------------------------------------------------------------------

    /// Asks a random neighbour whether it has seen the same.
    pub(super) fn run_sync(&mut self) {
        let now = self.fx.now();
        if now < self.next_sync {
            return;
        }
        self.next_sync = now + self.rng.sync.scaled(self.config.sync_interval(), 0.75, 1.25);
        let links: Vec<LinkId> = self.overlay.neighbours.values().map(|n| n.link).collect();
        if let Some(&link) = links.get(self.rng.sync.below(links.len())) {
            self.fx.send(link, summary(&self.broadcast.list, false));
        }
    }

    pub(super) fn on_summary(&mut self, link: LinkId, remote: PeerId, f: &Summary) {
        let now = self.fx.now();
        let ours = summary(&self.broadcast.list, true);
        if ours.hash == f.hash {
            return;
        }
        let degree = self.overlay.neighbours.len();
        let Some(neighbour) = self.overlay.neighbours.get_mut(&remote) else { return };
        let Some(theirs) = &f.entries else {
            // Only the hash came: tell all, and the other side pulls what it lacks.
            if now >= neighbour.tell_all_after {
                neighbour.tell_all_after = now + TELL_ALL_EVERY;
                self.fx.send(link, ours);
            }
            return;
        };
        let missing = self.sync.compare(&self.broadcast.list, theirs, remote, degree, now);
        if missing.other_lacks && now >= neighbour.ask_after {
            // The hash alone makes the other side ask for all, unless it has caught up by then.
            neighbour.ask_after = now + self.config.sync_interval();
            self.fx.send(link, summary(&self.broadcast.list, false));
        }
        for lost in missing.lost {
            let Range { publisher, incarnation, from, to } = lost;
            for f in self.broadcast.list.give_up(publisher, incarnation, from, to) {
                self.tell_gap(f.publisher, f.incarnation, f.from, f.to);
            }
        }
        if !missing.pull.is_empty() {
            self.fx.count("pulls");
            self.fx.send(link, Pull { ranges: missing.pull });
        }
    }

    pub(super) fn on_pull(&mut self, link: LinkId, f: &Pull) {
        let mut messages = BTreeMap::new();
        let mut bytes = 0;
        for r in &f.ranges {
            let from =
                MessageId { publisher: r.publisher, incarnation: r.incarnation, sequence: r.from };
            for k in self.broadcast.kept.range(from, r.to) {
                bytes += k.message.size();
                if messages.len() >= MAX_PULL_MESSAGES || bytes > QUEUE_PAYLOAD / 2 {
                    break;
                }
                messages.insert(k.message.id, (k.message.clone(), k.hops));
            }
        }
        for (message, hops) in messages.into_values() {
            self.fx.count("messages_pulled");
            let gossip = Gossip { message, hops: hops.saturating_add(1) };
            self.fx.send_as(link, gossip, Class::Payload);
        }
    }
}
