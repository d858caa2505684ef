//! Trees of many peers, in a network with random delays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::random::RngStream;

#[derive(Debug, Clone)]
enum TreeFrame {
    Batch { number: u64, explores: bool },
    Graft(Vec<u64>),
    Prune(Vec<u64>),
}

/// Peers, each with its trees, and links with random delays. Grafts and prunes overtake batches.
struct Network {
    all: BTreeMap<PeerId, Trees>,
    links: BTreeSet<(PeerId, PeerId)>,
    /// Frames by sender, receiver, and whether they are batches.
    in_flight: BTreeMap<(PeerId, PeerId, bool), VecDeque<TreeFrame>>,
    /// The batches that each peer has received.
    received: BTreeSet<(PeerId, u64)>,
    /// Number of batches that have arrived anywhere, duplicates included.
    arrived: usize,
    rng: RngStream,
    now: Time,
    next: u64,
}

impl Network {
    /// A ring with as many chords as peers.
    fn new(peers: u8, seed: u8) -> Self {
        let ids: Vec<PeerId> = (1..=peers).map(peer).collect();
        let mut net = Network {
            all: ids.iter().map(|id| (*id, Trees::new(*id, false))).collect(),
            links: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            received: BTreeSet::new(),
            arrived: 0,
            rng: RngStream::new(&[seed; 32], "trees"),
            now: start(),
            next: 0,
        };
        for n in 0..ids.len() {
            net.link(ids[n], ids[(n + 1) % ids.len()]);
            let other = net.rng.below(ids.len());
            net.link(ids[n], ids[other]);
        }
        net
    }

    fn link(&mut self, a: PeerId, b: PeerId) {
        if a != b && self.links.insert((a.min(b), a.max(b))) {
            for (end, other) in [(a, b), (b, a)] {
                let now = self.now;
                let actions = self.all.get_mut(&end).unwrap().link_up(other, now);
                self.apply(end, actions);
            }
        }
    }

    fn unlink(&mut self, a: PeerId, b: PeerId) {
        self.links.remove(&(a.min(b), a.max(b)));
        for (end, other) in [(a, b), (b, a)] {
            for batches in [false, true] {
                self.in_flight.remove(&(end, other, batches));
            }
            let now = self.now;
            let actions = self.all.get_mut(&end).unwrap().link_down(other, now);
            self.apply(end, actions);
        }
    }

    fn send(&mut self, from: PeerId, to: PeerId, frame: TreeFrame) {
        if self.links.contains(&(from.min(to), from.max(to))) {
            let batches = matches!(frame, TreeFrame::Batch { .. });
            self.in_flight.entry((from, to, batches)).or_default().push_back(frame);
        }
    }

    fn apply(&mut self, from: PeerId, actions: impl IntoIterator<Item = TreeAction>) {
        for action in actions {
            match action {
                TreeAction::Graft { to, publishers, .. } => {
                    self.send(from, to, TreeFrame::Graft(publishers));
                }
                TreeAction::Prune { to, publishers } => {
                    self.send(from, to, TreeFrame::Prune(publishers));
                }
            }
        }
    }

    fn receive(&mut self, at: PeerId, from: Option<PeerId>, number: u64, explores: bool) {
        let now = self.now;
        let trees = self.all.get_mut(&at).unwrap();
        let explores = explores && trees.may_explore(&ME, now);
        let kind = if explores { ArrivalKind::Exploring } else { ArrivalKind::Pushed };
        if !self.received.insert((at, number)) {
            let action = from.and_then(|from| trees.on_duplicate(ME, from, kind, now));
            return self.apply(at, action);
        }
        let actions = trees.on_first(ME, from, kind, now);
        let neighbours: Vec<PeerId> = if explores {
            trees.neighbours.all().filter_map(|n| trees.neighbours.id(n)).collect()
        } else {
            trees.children(&ME)
        };
        self.apply(at, actions);
        for to in neighbours {
            if Some(to) != from && to != ME {
                self.send(at, to, TreeFrame::Batch { number, explores });
            }
        }
    }

    /// Delivers one frame on a random link. False if no frame is in flight.
    fn step(&mut self) -> bool {
        let busy: Vec<_> = self.in_flight.iter().filter(|(_, q)| !q.is_empty()).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to, _) = *busy[self.rng.below(busy.len())].0;
        let now = self.now;
        // Grafts and prunes arrive first.
        let first = [false, true].map(|batches| (from, to, batches));
        let first = first.iter().find(|q| self.in_flight.get(q).is_some_and(|q| !q.is_empty()));
        match self.in_flight.get_mut(first.unwrap()).unwrap().pop_front().unwrap() {
            TreeFrame::Batch { number, explores } => {
                self.arrived += 1;
                self.receive(to, Some(from), number, explores);
            }
            TreeFrame::Graft(publishers) => {
                let actions = grafted(self.all.get_mut(&to).unwrap(), from, &publishers, now);
                self.apply(to, actions);
            }
            TreeFrame::Prune(publishers) => {
                self.all.get_mut(&to).unwrap().on_prune(from, &publishers);
            }
        }
        true
    }

    /// Delivers frames until none is in flight.
    fn settle(&mut self) {
        for n in 0.. {
            assert!(n < 100_000, "the frames never end");
            if !self.step() {
                return;
            }
        }
    }

    /// The first peer publishes. Returns the number of batches that arrived until no frame was in
    /// flight.
    fn publish(&mut self, explores: bool) -> usize {
        self.now += Duration::from_secs(1);
        let (number, before) = (self.next, self.arrived);
        self.next += 1;
        self.receive(ME, None, number, explores);
        self.settle();
        for id in self.all.keys() {
            assert!(self.received.contains(&(*id, number)), "{id:?} lacks {number}");
        }
        self.arrived - before
    }
}

#[test]
fn each_batch_reaches_every_peer_and_later_ones_once() {
    for seed in 0..50 {
        let mut net = Network::new(30, seed);
        let links = net.links.len();
        // Twice over all links except those of the tree, and not to the publisher.
        assert!((links..=2 * links - 29).contains(&net.publish(seed % 2 == 0)));
        for _ in 0..3 {
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
        // Along other paths, and then once again.
        net.now += MIN_EXPLORE_INTERVAL;
        assert!((links..=2 * links - 29).contains(&net.publish(true)));
        for _ in 0..3 {
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
    }
}

#[test]
fn changed_links_lose_no_batch_and_duplicates_end() {
    for seed in 0..50 {
        let mut net = Network::new(30, seed);
        net.publish(true);
        for _ in 0..5 {
            // The ring stays, so that all peers can be reached.
            let ring: Vec<u8> = (1..=30).collect();
            let is_ring = |(a, b): &(PeerId, PeerId)| {
                let next = |n: &u8| (peer(*n), peer(*n % 30 + 1));
                ring.iter().map(next).any(|(x, y)| (x, y) == (*a, *b) || (y, x) == (*a, *b))
            };
            let chords: Vec<_> = net.links.iter().filter(|l| !is_ring(l)).copied().collect();
            for (a, b) in net.rng.sample(chords, 4) {
                net.unlink(a, b);
            }
            net.settle();
            net.publish(false);
            for _ in 0..4 {
                let [a, b] = [0, 1].map(|_| peer(net.rng.below(30) as u8 + 1));
                net.link(a, b);
            }
            net.settle();
            for _ in 0..3 {
                net.publish(false);
            }
            assert_eq!(net.publish(false), 29, "seed {seed}");
        }
    }
}
