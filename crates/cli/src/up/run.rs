//! The run itself: one loop that does what is due and looks at what happens.

mod closing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rumormill::proto::{PeerId, Preset};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::casualties::Casualties;
use super::fleet::Fleet;
use super::ledger::Ledger;
use super::plan::{Fault, LAST_WORDS, Length, Plan};
use super::progress::{Progress, Status};
use super::seen::{Facts, Seen, Sight, Wish};
use super::summary::Summary;
use crate::hello;
use rumormill_launch::overlay::Overlay;
use rumormill_terminal::exit::{Exit, OrExit as _, Outcome};
use rumormill_terminal::signals::StopSignals;
use rumormill_terminal::{escape, utc};
use rumormill_units::count::counted;
use rumormill_units::duration;

/// How often the overlay is looked at until it has formed.
const LOOK: Duration = Duration::from_millis(250);
/// Quiet time at the end of a run of no given length.
const CALM: Duration = Duration::from_secs(2);
/// Errors that are kept word for word.
const ERRORS_KEPT: usize = 100;
/// Sights taken in one go.
const BATCH: usize = 1024;

/// A run under way.
#[derive(Debug)]
pub(super) struct Run {
    plan: Plan,
    seeds: usize,
    processes: bool,
    preset: Preset,
    started: Instant,
    peers: Vec<Peer>,
    /// Those that were added since the start, by number. They owe and are owed no messages.
    added: BTreeMap<usize, Peer>,
    /// Names of all nodes by id.
    names: BTreeMap<String, String>,
    ledger: Ledger,
    casualties: Casualties,
    progress: Progress,
    errors: Vec<String>,
    error_count: usize,
    joined_at: Option<Instant>,
    /// When all had joined and the overlay was whole, or the time for it was over.
    formed_at: Option<Instant>,
    forming_failed: bool,
    next_look: Instant,
    /// The next message: its number, and whose turn it is.
    turn: (u64, usize),
    next_victim: usize,
    /// Seeds that somebody had killed or stopped.
    seeds_struck: BTreeSet<usize>,
    in_flight: usize,
    last_action: Instant,
    interrupted: bool,
}

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
struct Peer {
    name: String,
    content: Option<Arc<str>>,
    joined: bool,
    degree: u16,
    /// Struck, has left, or ended by itself.
    gone: bool,
}

impl Run {
    /// The clock of the run starts here, before the first node does.
    pub(super) fn begin(
        plan: Plan,
        seeds: usize,
        processes: bool,
        preset: Preset,
    ) -> Outcome<Self> {
        let started = Instant::now();
        let ledger = Ledger::new(plan.peers).or_exit(Exit::Failed)?;
        Ok(Run {
            peers: vec![Peer::default(); plan.peers],
            added: BTreeMap::new(),
            names: BTreeMap::new(),
            plan,
            seeds,
            processes,
            preset,
            started,
            ledger,
            casualties: Casualties::default(),
            progress: Progress::new(started),
            errors: Vec::new(),
            error_count: 0,
            joined_at: None,
            formed_at: None,
            forming_failed: false,
            next_look: started,
            turn: (0, 0),
            next_victim: 0,
            seeds_struck: BTreeSet::new(),
            in_flight: 0,
            last_action: started,
            interrupted: false,
        })
    }

    /// Watches to the end, and sums up.
    pub(super) async fn watch(
        mut self,
        fleet: Fleet,
        sender: mpsc::Sender<Sight>,
        mut sights: mpsc::Receiver<Sight>,
        mut stops: StopSignals,
    ) -> Outcome<Summary> {
        let members = fleet.members().all().clone();
        let numbers: BTreeMap<PeerId, usize> =
            members.iter().enumerate().map(|(n, m)| (m.id, n)).collect();
        for (peer, member) in self.peers.iter_mut().zip(&members) {
            peer.name.clone_from(&member.name);
            peer.content = Some(hello::content(&member.name, self.plan.payload).into());
        }
        self.names = members.into_iter().map(|m| (m.id.to_hex(), m.name)).collect();
        self.progress.say(&format!(
            "{} and {} started{}",
            counted(self.seeds, "seed"),
            counted(self.plan.peers, "peer"),
            if self.processes { ", each in a process of its own" } else { "" }
        ));
        if let Some(page) = fleet.page() {
            self.progress.say(&format!("watch it at {page}"));
        }
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let now = Instant::now();
            self.form(now, &fleet).await;
            self.strike(now, &fleet);
            self.publish(now, &fleet, &sender);
            if now >= self.progress.due() {
                self.progress.status(now, self.status());
            }
            if self.finished(now) {
                break;
            }
            tokio::select! {
                _ = sights.recv_many(&mut batch, BATCH) => {
                    for sight in batch.drain(..) {
                        self.look(sight, &fleet, &numbers, &sender);
                    }
                }
                () = sleep_until(self.wake(now)) => {}
                () = stops.next() => {
                    self.interrupted = !matches!(self.plan.length, Some(Length::Forever));
                    break;
                }
            }
        }
        self.progress.clear();
        Ok(self.sum_up(&fleet).await)
    }

    fn error(&mut self, text: String) {
        self.error_count += 1;
        if self.errors.len() < ERRORS_KEPT {
            self.errors.push(text);
        }
    }

    /// Whether all have joined and are one component; looked at now and then until it is so.
    async fn form(&mut self, now: Instant, fleet: &Fleet) {
        if self.formed_at.is_some() {
            return;
        }
        if self.joined_at.is_none() && self.peers.iter().all(|p| p.joined) {
            self.joined_at = Some(now);
            self.progress.say("all peers have joined");
        }
        if now >= self.started + self.plan.forming {
            self.formed_at = Some(now);
            self.forming_failed = true;
            let joined = self.peers.iter().filter(|p| p.joined).count();
            self.error(format!(
                "{} after the start {joined} of {} peers have joined, and the overlay is not whole",
                duration::show(self.plan.forming),
                self.plan.peers
            ));
            return;
        }
        if self.joined_at.is_none() || now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let (facts, _) = self.facts(fleet).await;
        let overlay = overlay(&facts, fleet);
        if overlay.components == 1 && facts.len() == self.everybody().count() {
            self.formed_at = Some(Instant::now());
            let (low, mean, high) = overlay.degree_range();
            self.progress.say(&format!(
                "the overlay is whole: {}, degrees {low} to {high}, mean {mean:.1}",
                counted(overlay.edges, "link")
            ));
            if self.plan.messages > 0 {
                let after = duration::show(self.plan.after);
                self.progress.say(&format!("the first message follows in {after}"));
            }
        }
    }

    /// Strikes the victims whose time has come; not before everybody is there.
    fn strike(&mut self, now: Instant, fleet: &Fleet) {
        if self.formed_at.is_none() {
            return;
        }
        while let Some(victim) = self.plan.victims.get(self.next_victim).copied() {
            if now < self.started + victim.at {
                break;
            }
            self.next_victim += 1;
            self.strike_peer(now, victim.peer, victim.fault, fleet);
        }
    }

    fn strike_peer(&mut self, now: Instant, number: usize, fault: Fault, fleet: &Fleet) {
        self.last_action = now;
        let Some(member) = fleet.members().get(number) else { return };
        let at_us = utc::now_us();
        if let Some(peer) = self.peer_mut(number) {
            peer.gone = true;
        }
        self.ledger.gone(number);
        let at_s = closing::rounded(now.duration_since(self.started).as_secs_f64());
        self.casualties.struck(member.id.to_hex(), fault, at_s, at_us);
        self.hit(number, fault, fleet);
    }

    fn hit(&mut self, node: usize, fault: Fault, fleet: &Fleet) {
        let name = self.name(node, fleet);
        if let Err(e) = fleet.strike(node, fault) {
            self.error(format!("{name}: {e}"));
        }
        let how = match fault {
            Fault::Kill => "killed",
            Fault::Stop => "stopped",
        };
        self.progress.say(&format!("{name} is {how}"));
    }

    /// Somebody at the page has this done.
    fn wished(&mut self, node: usize, fault: Fault, fleet: &Fleet) {
        match self.peer(node) {
            Some(peer) if !peer.gone => self.strike_peer(Instant::now(), node, fault, fleet),
            // One that was stopped may be killed as well.
            Some(_) => self.hit(node, fault, fleet),
            None => {
                self.seeds_struck.insert(node);
                self.hit(node, fault, fleet);
            }
        }
    }

    /// A stopped node goes on. A peer that nobody has removed yet is one of those that are there again; what
    /// was published from now on is still not owed to it, nor what was while it was stopped.
    fn thawed(&mut self, node: usize, fleet: &Fleet) {
        self.seeds_struck.remove(&node);
        let Some(member) = fleet.members().get(node) else { return };
        if self.casualties.spared(&member.id.to_hex())
            && let Some(peer) = self.peer_mut(node)
        {
            peer.gone = false;
        }
    }

    /// Lets those publish whose turn it is.
    fn publish(&mut self, now: Instant, fleet: &Fleet, sender: &mpsc::Sender<Sight>) {
        while let Some(due) = self.next_publish() {
            if now < due {
                break;
            }
            let (_, peer) = self.turn;
            self.next_turn();
            if self.is_silent(peer, now) {
                continue;
            }
            let Some(content) = self.peers.get(peer).and_then(|p| p.content.clone()) else {
                continue;
            };
            self.in_flight += 1;
            self.last_action = now;
            fleet.publish(peer, content, sender.clone());
        }
    }

    /// When the next message is due; `None` if there is none, or not known yet.
    fn next_publish(&self) -> Option<Instant> {
        let (number, peer) = self.turn;
        if number >= self.plan.messages {
            return None;
        }
        let due = self.formed_at? + self.plan.after + self.plan.due(peer, number);
        let last_call = self.plan.last_call().map(|d| self.started + d);
        last_call.is_none_or(|last| due <= last).then_some(due)
    }

    fn next_turn(&mut self) {
        let (number, peer) = self.turn;
        self.turn = if peer + 1 < self.plan.peers { (number, peer + 1) } else { (number + 1, 0) };
    }

    /// The dead publish nothing, nor those who are about to die.
    fn is_silent(&self, peer: usize, now: Instant) -> bool {
        let doomed = self
            .plan
            .victims
            .iter()
            .any(|v| v.peer == peer && now + LAST_WORDS >= self.started + v.at);
        doomed || self.peers.get(peer).is_none_or(|p| p.gone)
    }

    /// When there is something to do again.
    fn wake(&self, now: Instant) -> Instant {
        let mut wake = self.progress.due();
        if self.formed_at.is_none() {
            wake = wake.min(self.next_look.max(now + LOOK / 5));
        }
        if let Some(due) = self.next_publish() {
            wake = wake.min(due);
        }
        if let (Some(victim), Some(_)) = (self.plan.victims.get(self.next_victim), self.formed_at) {
            wake = wake.min(self.started + victim.at);
        }
        if let Some(Length::For(length)) = self.plan.length {
            let end = self.started + length;
            if end > now {
                wake = wake.min(end);
            }
        }
        // Nothing here is worth looking at more often.
        wake.max(now + Duration::from_millis(2))
    }

    fn finished(&self, now: Instant) -> bool {
        let (struck, removed) = self.casualties.counts();
        let settled = self.ledger.open() == 0 && self.in_flight == 0 && removed == struck;
        match self.plan.length {
            Some(Length::Forever) => false,
            Some(Length::For(length)) => {
                let end = self.started + length;
                now >= end && (settled || now >= end + self.plan.grace)
            }
            None => {
                let all_done = self.formed_at.is_some()
                    && self.next_publish().is_none()
                    && self.next_victim == self.plan.victims.len();
                let calm = now.duration_since(self.last_action);
                all_done && calm >= CALM && (settled || calm >= self.plan.grace)
            }
        }
    }

    fn status(&self) -> Status {
        let here = || self.everybody().filter(|p| !p.gone);
        let deliveries = self.ledger.deliveries();
        let (struck, removed) = self.casualties.counts();
        let count = here().count();
        let sum: u64 = here().map(|p| u64::from(p.degree)).sum();
        #[allow(clippy::cast_precision_loss)] // A few thousand peers.
        let mean = sum as f64 / count.max(1) as f64;
        Status {
            peers: count,
            joined: here().filter(|p| p.joined).count(),
            connected: here().filter(|p| p.degree > 0).count(),
            degrees: (
                here().map(|p| p.degree).min().unwrap_or(0),
                mean,
                here().map(|p| p.degree).max().unwrap_or(0),
            ),
            published: deliveries.published,
            expected: deliveries.expected,
            arrived: deliveries.arrived,
            struck,
            removed,
        }
    }

    fn look(
        &mut self,
        sight: Sight,
        fleet: &Fleet,
        numbers: &BTreeMap<PeerId, usize>,
        sender: &mpsc::Sender<Sight>,
    ) {
        match sight {
            Sight::Event { node, at_us, seen } => self.event(node, at_us, seen, fleet),
            Sight::Received { peer, id, published_us, received_us } => {
                if let Some(&publisher) = numbers.get(&id.publisher) {
                    self.ledger.received(id, publisher, peer, published_us, received_us);
                }
            }
            Sight::Published { peer, at_us, result } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                match result {
                    Ok(id) => self.ledger.published(id, peer, at_us),
                    Err(e) if self.peers.get(peer).is_some_and(|p| !p.gone) => {
                        let name = self.name(peer, fleet);
                        self.error(format!("{name} could not publish: {e}"));
                    }
                    Err(_) => {}
                }
            }
            Sight::Lagged { node, missing } => {
                let name = self.name(node, fleet);
                self.error(format!(
                    "{missing} sights of {name} were missed; figures are not whole"
                ));
            }
            Sight::Gap { node, missing } => {
                let name = self.name(node, fleet);
                self.error(format!("{name} has a gap of {missing} messages"));
            }
            Sight::Wish(Wish::Strike(node, fault)) => self.wished(node, fault, fleet),
            Sight::Wish(Wish::Thaw(node)) => {
                self.progress.say(&format!("{} goes on", self.name(node, fleet)));
                self.thawed(node, fleet);
                fleet.thaw(node);
            }
            Sight::Wish(Wish::Cut(cut)) => self.cut(cut, fleet),
            Sight::Wish(Wish::Add) => fleet.add(sender.clone()),
            Sight::Added(result) => self.was_added(result, fleet),
            Sight::Ended { node, how } => self.ended(node, &how, fleet),
        }
    }

    /// A peer of the start or one that was added; a seed is none.
    fn peer(&self, number: usize) -> Option<&Peer> {
        self.peers.get(number).or_else(|| self.added.get(&number))
    }

    fn peer_mut(&mut self, number: usize) -> Option<&mut Peer> {
        self.peers.get_mut(number).or_else(|| self.added.get_mut(&number))
    }

    /// All peers there ever were.
    fn everybody(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().chain(self.added.values())
    }

    /// Somebody at the page has had a peer started.
    fn was_added(&mut self, result: Result<usize, String>, fleet: &Fleet) {
        match result {
            Ok(number) => {
                let Some(member) = fleet.members().get(number) else { return };
                self.progress.say(&format!("{} is added", member.name));
                self.names.insert(member.id.to_hex(), member.name.clone());
                // Its first events may have been here before it.
                self.added.entry(number).or_default().name = member.name;
            }
            Err(e) => self.error(format!("no peer could be added: {e}")),
        }
    }

    fn cut(&mut self, cut: bool, fleet: &Fleet) {
        fleet.cut(cut);
        if cut {
            let half = self.peers.len() / 2;
            let last = self.name(half.saturating_sub(1), fleet);
            let text = format!("the network is cut behind {last}; the seeds are on both sides");
            self.progress.say(&text);
        } else {
            self.progress.say("the network is whole again");
        }
    }

    fn name(&self, node: usize, fleet: &Fleet) -> String {
        fleet.members().get(node).map_or_else(|| format!("node {node}"), |m| m.name)
    }

    fn name_of_id(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| escape::text(id))
    }

    fn event(&mut self, node: usize, at_us: u64, seen: Seen, fleet: &Fleet) {
        match seen {
            Seen::Joined => {
                if let Some(peer) = self.observed(node) {
                    peer.joined = true;
                }
            }
            Seen::NeighbourUp { degree } | Seen::NeighbourDown { degree } => {
                if let Some(peer) = self.observed(node) {
                    peer.degree = degree;
                }
            }
            Seen::Reported { id } => {
                if let Some(ms) = self.casualties.reported(&id, at_us) {
                    let (who, by) = (self.name_of_id(&id), self.name(node, fleet));
                    self.progress
                        .say(&format!("{who} is reported dead by {by}, {:.2} s after", ms / 1e3));
                }
            }
            Seen::MemberDead { id, witnesses } | Seen::PeerRemoved { id, witnesses } => {
                self.removed(&id, &witnesses, at_us);
            }
            Seen::Gap { publisher, from, to } => {
                let (who, of) = (self.name(node, fleet), self.name_of_id(&publisher));
                self.error(format!(
                    "{who} cannot get the messages {from} to {} of {of} any more",
                    to.saturating_sub(1)
                ));
            }
            Seen::Left => self.left(node, fleet),
            Seen::Other => {}
        }
    }

    /// Whose events are taken note of: peers', also of one that is only about to be added.
    fn observed(&mut self, number: usize) -> Option<&mut Peer> {
        if number < self.peers.len() {
            return self.peers.get_mut(number);
        }
        let is_seed = number < self.peers.len() + self.seeds;
        (!is_seed).then(|| self.added.entry(number).or_default())
    }

    /// Somebody had a peer leave (`rumor leave`): that is no fault, and no death.
    fn left(&mut self, node: usize, fleet: &Fleet) {
        if self.peer(node).is_some_and(|p| !p.gone) {
            self.progress.say(&format!("{} has left", self.name(node, fleet)));
            self.forget(node);
        }
    }

    fn forget(&mut self, node: usize) {
        if let Some(peer) = self.peer_mut(node) {
            peer.gone = true;
            self.ledger.gone(node);
        }
    }

    fn removed(&mut self, id: &str, witnesses: &[String], at_us: u64) {
        let false_before = self.casualties.false_deaths().len();
        let news = self.casualties.removed(id, witnesses, at_us);
        let who = self.name_of_id(id);
        if let Some(ms) = news {
            let mut words: Vec<String> = witnesses.iter().map(|w| self.name_of_id(w)).collect();
            words.sort();
            self.progress.say(&format!(
                "{who} is removed by the seeds, {:.2} s after, on the word of {}",
                ms / 1e3,
                words.join(", ")
            ));
        } else if self.casualties.false_deaths().len() > false_before {
            self.error(format!("{who} was removed as dead, but lives"));
        }
    }

    fn ended(&mut self, node: usize, how: &str, fleet: &Fleet) {
        fleet.ended(node);
        // Those who were struck, or have left, have ended as they should.
        if self.peer(node).is_some_and(|p| p.gone) || self.seeds_struck.contains(&node) {
            return;
        }
        let name = self.name(node, fleet);
        self.error(format!("{name} ended by itself: {}", escape::text(how)));
        self.forget(node);
    }

    /// Asks every living peer at once. Gives their numbers and facts, and what could not be had.
    async fn facts(&self, fleet: &Fleet) -> (Vec<(usize, Facts)>, Vec<String>) {
        let ask = |peer: usize| async move { (peer, fleet.peer_facts(peer).await) };
        let numbered = self.peers.iter().enumerate().chain(self.added.iter().map(|(n, p)| (*n, p)));
        let living = numbered.filter(|(_, p)| !p.gone).map(|(n, _)| n);
        let mut facts = Vec::new();
        let mut errors = Vec::new();
        for (peer, result) in join_all(living.map(ask)).await {
            match result {
                Ok(f) => facts.push((peer, f)),
                Err(e) => errors.push(format!("{} does not answer: {e}", self.name(peer, fleet))),
            }
        }
        (facts, errors)
    }
}

fn overlay(facts: &[(usize, Facts)], fleet: &Fleet) -> Overlay {
    let ids: Vec<String> = fleet.members().all().iter().map(|m| m.id.to_hex()).collect();
    let lists = facts
        .iter()
        .filter_map(|(peer, f)| Some((ids.get(*peer)?.as_str(), f.neighbours.as_slice())));
    Overlay::of(lists)
}
