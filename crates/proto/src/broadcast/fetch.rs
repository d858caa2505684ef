//! Fetch: one message by its id, from the neighbours.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{Arrival, Broadcast};
use crate::batch::Batch;
use crate::context::Context;
use crate::event::Event;
use crate::identity::PeerId;
use crate::io::{Class, LinkId, Output};
use crate::limits::{DATA_RATE, MAX_FETCHES};
use crate::message::{Message, MessageId};
use crate::time::Time;
use crate::wire::{Data, GetData};

/// Neighbours asked at once for a message.
const FETCH_WIDTH: usize = 3;
/// How long these neighbours have before the next ones are asked.
const FETCH_INTERVAL: Duration = Duration::from_millis(300);

/// A fetch that is not answered yet.
#[derive(Debug)]
pub(crate) struct Fetch {
    asked: BTreeSet<PeerId>,
    next: Time,
    until: Time,
}

impl Broadcast {
    /// See [`Peer::fetch`](crate::Peer::fetch).
    pub(crate) fn fetch(&mut self, cx: &mut Context<'_>, id: MessageId) {
        let now = cx.now;
        let retained = self.store.retention.batch_with(&id);
        if let Some(message) = retained.and_then(|k| k.batch.message(id.sequence)) {
            return self.end_fetch(cx, id, Some(message));
        }
        if self.fetches.len() >= MAX_FETCHES {
            cx.fx.counters.fetches_refused += 1;
            cx.fx.output(Output::Fetched { id, message: None });
            return;
        }
        let until = now + cx.config.fetch_timeout();
        let fetch = Fetch { asked: BTreeSet::new(), next: now, until };
        self.fetches.get_or_insert(id, || fetch);
        self.run_fetches(cx);
    }

    fn end_fetch(&mut self, cx: &mut Context<'_>, id: MessageId, message: Option<Message>) {
        self.fetches.remove(&id);
        cx.fx.event(Event::Fetched { id, found: message.is_some() });
        cx.fx.output(Output::Fetched { id, message });
    }

    /// Asks the next neighbours; gives up when all were asked or the time is over.
    pub(crate) fn run_fetches(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due: Vec<MessageId> = self
            .fetches
            .iter()
            .filter(|(_, f)| f.next.min(f.until) <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(f) = self.fetches.get_mut(&id) else { continue };
            // The publisher comes first: it is the likeliest to hold the message.
            let others = cx.overlay.neighbours.iter().filter(|(n, _)| !f.asked.contains(n));
            let mut left: Vec<(PeerId, LinkId)> = others.map(|(n, edge)| (*n, edge.link)).collect();
            left.sort_by_key(|(n, _)| *n != id.publisher);
            if left.is_empty() || f.until <= now {
                if f.until <= now || f.asked.is_empty() {
                    self.end_fetch(cx, id, None);
                } else {
                    // All neighbours were asked: wait for their answers until the end.
                    f.next = f.until;
                }
                continue;
            }
            f.next = now + FETCH_INTERVAL;
            for (neighbour, link) in left.into_iter().take(FETCH_WIDTH) {
                f.asked.insert(neighbour);
                cx.fx.send(link, GetData { id });
            }
        }
    }

    pub(crate) fn fetches_deadline(&self) -> Option<Time> {
        self.fetches.values().map(|f| f.next.min(f.until)).min()
    }

    /// Answers a fetch of a neighbour. The rate of the answers is bounded (the generic cell rate
    /// algorithm, ITU-T I.371), because a short query can have a long answer.
    pub(crate) fn on_get_data(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        remote: PeerId,
        id: MessageId,
    ) {
        let now = cx.now;
        let neighbour = self.neighbours.get_mut(&remote);
        let neighbour = neighbour.filter(|n| n.served_until <= now + Duration::from_secs(1));
        let Some(n) = neighbour else {
            cx.fx.counters.data_refused += 1;
            return cx.fx.send_as(link, Data { id, batch: None, age_ms: None }, Class::Payload);
        };
        let retained = self.store.retention.batch_with(&id);
        let age_ms = retained.map(|k| k.age_ms(now, cx.fx.wall_clock()));
        let batch = retained.map(|k| k.batch.clone());
        let micros = batch.as_ref().map_or(0, Batch::size) * 1_000_000 / DATA_RATE;
        n.served_until = n.served_until.max(now) + Duration::from_micros(micros as u64);
        cx.fx.send_as(link, Data { id, batch, age_ms }, Class::Payload);
    }

    pub(crate) fn on_data(&mut self, cx: &mut Context<'_>, remote: PeerId, f: Data) {
        let asked = self.fetches.get(&f.id).is_some_and(|x| x.asked.contains(&remote));
        let holds_it = |b: &crate::Batch| b.stream() == f.id.stream();
        let Some(batch) = f.batch.filter(holds_it) else { return };
        let Some(message) = batch.message(f.id.sequence) else { return };
        if !asked {
            return cx.fx.counters.data_unasked += 1;
        }
        if !self.store.list.contains(&f.id) {
            let (from, age_ms) = (Some(remote), f.age_ms.unwrap_or_default());
            let (explores, receipt, pulled) = (false, false, true);
            let arrival = Arrival { hops: 0, from, explores, receipt, pulled, age_ms };
            self.receive(cx, &batch, arrival);
        }
        self.end_fetch(cx, f.id, Some(message));
    }
}
