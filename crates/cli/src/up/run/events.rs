//! How a run handles the events of its nodes and the requests of the user.

use std::collections::BTreeMap;
use std::sync::Arc;

use rumormill::proto::PeerId;
use rumormill_terminal::escape;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::state::{Peer, Run};
use crate::up::event::{ObserverEvent, OperatorRequest, RunEvent};
use crate::up::fleet::Fleet;
use crate::up::options::Fault;

impl Run {
    /// Handles one event. `numbers` has the nodes of the start by id.
    pub(super) fn handle(
        &mut self,
        event: RunEvent,
        fleet: &Arc<dyn Fleet>,
        numbers: &BTreeMap<PeerId, usize>,
        sender: &mpsc::Sender<RunEvent>,
    ) {
        match event {
            RunEvent::Observed { node, at_us, event } => {
                self.handle_observed(node, at_us, event, &**fleet);
            }
            RunEvent::Received { peer, id, published_us, received_us } => {
                if let Some(&publisher) = numbers.get(&id.publisher) {
                    let tracker = &mut self.deliveries;
                    tracker.record_received(id, publisher, peer, published_us, received_us);
                }
            }
            RunEvent::Published { peer, at_us, result } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                match result {
                    Ok(id) => self.deliveries.record_published(id, peer, at_us),
                    Err(e) if self.peers.get(peer).is_some_and(|p| !p.is_gone) => {
                        let name = self.name(peer, &**fleet);
                        self.error(format!("{name} could not publish: {e}"));
                    }
                    Err(_) => {}
                }
            }
            RunEvent::Lagged { node, missing } => {
                let name = self.name(node, &**fleet);
                self.error(format!(
                    "{missing} events of {name} were missed; the figures are incomplete"
                ));
            }
            RunEvent::Gap { node, missing } => {
                let name = self.name(node, &**fleet);
                self.error(format!("{name} has a gap of {missing} messages"));
            }
            RunEvent::Requested(request) => self.handle_request(request, fleet, sender),
            RunEvent::Added(result) => self.handle_added(result, &**fleet),
            RunEvent::Ended { node, how } => self.handle_ended(node, &how, &**fleet),
        }
    }

    fn handle_request(
        &mut self,
        request: OperatorRequest,
        fleet: &Arc<dyn Fleet>,
        sender: &mpsc::Sender<RunEvent>,
    ) {
        match request {
            OperatorRequest::InjectFault(node, fault) => {
                self.inject_requested_fault(node, fault, &**fleet);
            }
            OperatorRequest::Resume(node) => self.resume(node, &**fleet),
            OperatorRequest::Partition(on) => self.set_partition(on, &**fleet),
            OperatorRequest::AddPeer => {
                let (fleet, sender) = (Arc::clone(fleet), sender.clone());
                tokio::spawn(async move {
                    let result = fleet.add_peer().await;
                    let _ = sender.send(RunEvent::Added(result)).await;
                });
            }
        }
    }

    fn inject_requested_fault(&mut self, node: usize, fault: Fault, fleet: &dyn Fleet) {
        match self.peer(node) {
            Some(peer) if !peer.is_gone => {
                self.inject_peer_fault(Instant::now(), node, fault, fleet);
            }
            // A peer that was stopped may be killed as well.
            Some(_) => self.inject_fault(node, fault, fleet),
            None => {
                self.faulty_seeds.insert(node);
                self.inject_fault(node, fault, fleet);
            }
        }
    }

    /// Lets a stopped node run again. A peer that was not removed meanwhile counts as present from
    /// now on; no deliveries are expected at it, neither of earlier nor of later messages.
    fn resume(&mut self, node: usize, fleet: &dyn Fleet) {
        let name = self.name(node, fleet);
        self.progress.say(&format!("{name} runs again"));
        self.faulty_seeds.remove(&node);
        if let Some(member) = fleet.members().get(node)
            && self.faults.record_resumption(member.id)
            && let Some(peer) = self.peer_mut(node)
        {
            peer.is_gone = false;
        }
        if let Err(e) = fleet.resume(node) {
            self.error(format!("{name}: {e}"));
        }
    }

    fn set_partition(&mut self, on: bool, fleet: &dyn Fleet) {
        if let Err(e) = fleet.set_partition(on) {
            self.error(format!("the network cannot be partitioned: {e}"));
        } else if on {
            let half = self.peers.len() / 2;
            let last = self.name(half.saturating_sub(1), fleet);
            self.progress.say(&format!(
                "the network is partitioned after {last}; both halves reach the seeds"
            ));
        } else {
            self.progress.say("the partition is over");
        }
    }

    fn handle_added(&mut self, result: Result<usize, String>, fleet: &dyn Fleet) {
        match result {
            Ok(number) => {
                let Some(member) = fleet.members().get(number) else { return };
                self.progress.say(&format!("{} is added", member.name));
                self.names.insert(member.id, member.name.clone());
                // The entry exists if events of the peer arrived before this one.
                self.added.entry(number).or_default().name = member.name;
            }
            Err(e) => self.error(format!("no peer could be added: {e}")),
        }
    }

    fn handle_observed(
        &mut self,
        node: usize,
        at_us: u64,
        event: ObserverEvent,
        fleet: &dyn Fleet,
    ) {
        match event {
            ObserverEvent::Joined => {
                if let Some(peer) = self.observed_peer(node) {
                    peer.joined = true;
                }
            }
            ObserverEvent::NeighbourUp { degree } | ObserverEvent::NeighbourDown { degree } => {
                if let Some(peer) = self.observed_peer(node) {
                    peer.degree = degree;
                }
            }
            ObserverEvent::Reported { id } => {
                if let Some(ms) = self.faults.record_report(id, at_us) {
                    let (accused, by) = (self.name_of_id(id), self.name(node, fleet));
                    self.progress.say(&format!(
                        "{accused} is reported dead by {by}, {:.2} s after",
                        ms / 1e3
                    ));
                }
            }
            ObserverEvent::MemberDead { id, witnesses }
            | ObserverEvent::PeerRemoved { id, witnesses } => {
                self.handle_removal(id, &witnesses, at_us);
            }
            ObserverEvent::Gap { publisher, from, to } => {
                let (peer, publisher) = (self.name(node, fleet), self.name_of_id(publisher));
                self.error(format!(
                    "{peer} cannot get the messages {from} to {} of {publisher} any more",
                    to.saturating_sub(1)
                ));
            }
            ObserverEvent::Left => self.handle_left(node, fleet),
        }
    }

    /// The peer with this number, also one whose addition is not complete yet; `None` for a seed.
    fn observed_peer(&mut self, number: usize) -> Option<&mut Peer> {
        if number < self.peers.len() {
            return self.peers.get_mut(number);
        }
        let is_seed = number < self.peers.len() + self.seeds;
        (!is_seed).then(|| self.added.entry(number).or_default())
    }

    /// A peer has left because the user asked it to (`rumor leave`): that is no fault and no death.
    fn handle_left(&mut self, node: usize, fleet: &dyn Fleet) {
        if self.peer(node).is_some_and(|p| !p.is_gone) {
            self.progress.say(&format!("{} has left", self.name(node, fleet)));
            self.mark_gone(node);
        }
    }

    fn handle_removal(&mut self, id: PeerId, witnesses: &[PeerId], at_us: u64) {
        let false_deaths_before = self.faults.false_deaths().len();
        let delay = self.faults.record_removal(id, witnesses, at_us);
        let name = self.name_of_id(id);
        if let Some(ms) = delay {
            let mut witnesses: Vec<String> =
                witnesses.iter().map(|w| self.name_of_id(*w)).collect();
            witnesses.sort();
            self.progress.say(&format!(
                "{name} is removed by the seeds, {:.2} s after; witnesses: {}",
                ms / 1e3,
                witnesses.join(", ")
            ));
        } else if self.faults.false_deaths().len() > false_deaths_before {
            self.error(format!("{name} was removed as dead, but lives"));
        }
    }

    fn handle_ended(&mut self, node: usize, how: &str, fleet: &dyn Fleet) {
        fleet.release_ended(node);
        // A node that has got a fault or has left was expected to end.
        if self.peer(node).is_some_and(|p| p.is_gone) || self.faulty_seeds.contains(&node) {
            return;
        }
        let name = self.name(node, fleet);
        self.error(format!("{name} ended by itself: {}", escape::text(how)));
        self.mark_gone(node);
    }
}
