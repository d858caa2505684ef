//! The schedule of a run: it waits for the overlay to form, injects the faults of its plan,
//! publishes messages, and ends.

use std::sync::Arc;
use std::time::Duration;

use rumormill_terminal::utc;
use rumormill_units::count::counted;
use rumormill_units::duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::state::{Run, overlay, rounded};
use crate::up::event::RunEvent;
use crate::up::fleet::Fleet;
use crate::up::options::{Fault, RunLength};
use crate::up::plan::VICTIM_SILENCE;
use crate::workload::TOPIC;

/// How often the overlay is checked until it has formed.
const OVERLAY_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a run without a given length must be quiet before it ends.
const QUIET_BEFORE_END: Duration = Duration::from_secs(2);
/// The shortest sleep of the loop.
const MIN_SLEEP: Duration = Duration::from_millis(2);

impl Run {
    /// Checks now and then whether all peers have joined and are one component, until they are.
    pub(super) async fn check_formation(&mut self, now: Instant, fleet: &dyn Fleet) {
        if self.formed_at.is_some() {
            return;
        }
        if self.joined_at.is_none() && self.peers.iter().all(|p| p.joined) {
            self.joined_at = Some(now);
            self.progress.say("all peers have joined");
        }
        if now >= self.started + self.plan.formation_timeout {
            self.formed_at = Some(now);
            self.formation_failed = true;
            let joined = self.peers.iter().filter(|p| p.joined).count();
            self.error(format!(
                "{} after the start {joined} of {} peers have joined, and the overlay is not connected",
                duration::show(self.plan.formation_timeout),
                self.plan.peers
            ));
            return;
        }
        if self.joined_at.is_none() || now < self.next_overlay_check {
            return;
        }
        self.next_overlay_check = now + OVERLAY_CHECK_INTERVAL;
        let (reports, _) = self.peer_reports(fleet).await;
        let overlay = overlay(&reports, fleet);
        if overlay.components == 1 && reports.len() == self.all_peers().count() {
            self.formed_at = Some(Instant::now());
            let (low, mean, high) = overlay.degree_range();
            self.progress.say(&format!(
                "the overlay is connected: {}, degrees {low} to {high}, mean {mean:.1}",
                counted(overlay.edges, "link")
            ));
            if self.plan.messages > 0 {
                let after = duration::show(self.plan.after);
                self.progress.say(&format!("the first message follows in {after}"));
            }
        }
    }

    /// Injects the faults whose time has come; none before the overlay has formed.
    pub(super) fn inject_due_faults(&mut self, now: Instant, fleet: &dyn Fleet) {
        if self.formed_at.is_none() {
            return;
        }
        while let Some(victim) = self.plan.victims.get(self.next_victim).copied() {
            if now < self.started + victim.at {
                break;
            }
            self.next_victim += 1;
            self.inject_peer_fault(now, victim.peer, victim.fault, fleet);
        }
    }

    /// Injects a fault into a peer, which the network must detect.
    pub(super) fn inject_peer_fault(
        &mut self,
        now: Instant,
        number: usize,
        fault: Fault,
        fleet: &dyn Fleet,
    ) {
        self.last_action = now;
        let Some(member) = fleet.members().get(number) else { return };
        let at_us = utc::now_us();
        if let Some(peer) = self.peer_mut(number) {
            peer.is_gone = true;
        }
        self.deliveries.exclude(number);
        let at_s = rounded(now.duration_since(self.started).as_secs_f64());
        self.faults.record_fault(member.id, fault, at_s, at_us);
        self.inject_fault(number, fault, fleet);
    }

    /// Injects a fault into a node.
    pub(super) fn inject_fault(&mut self, node: usize, fault: Fault, fleet: &dyn Fleet) {
        let name = self.name(node, fleet);
        if let Err(e) = fleet.inject_fault(node, fault) {
            self.error(format!("{name}: {e}"));
        }
        let how = match fault {
            Fault::Kill => "killed",
            Fault::Stop => "stopped",
        };
        self.progress.say(&format!("{name} is {how}"));
    }

    /// Publishes the messages that are due.
    pub(super) fn publish_due_messages(
        &mut self,
        now: Instant,
        fleet: &Arc<dyn Fleet>,
        sender: &mpsc::Sender<RunEvent>,
    ) {
        while let Some(due) = self.next_publish() {
            if now < due {
                break;
            }
            let (_, peer) = self.next_message;
            self.advance_next_message();
            if self.is_silent(peer, now) {
                continue;
            }
            let Some(content) = self.peers.get(peer).and_then(|p| p.content.clone()) else {
                continue;
            };
            self.in_flight += 1;
            self.last_action = now;
            publish(Arc::clone(fleet), peer, content, sender.clone());
        }
    }

    /// When the next message is due; `None` if there is none, or its time is not known yet.
    fn next_publish(&self) -> Option<Instant> {
        let (number, peer) = self.next_message;
        if number >= self.plan.messages {
            return None;
        }
        let due = self.formed_at? + self.plan.after + self.plan.due(peer, number);
        let deadline = self.plan.publish_deadline().map(|d| self.started + d);
        deadline.is_none_or(|last| due <= last).then_some(due)
    }

    fn advance_next_message(&mut self) {
        let (number, peer) = self.next_message;
        let has_next_peer = peer + 1 < self.plan.peers;
        self.next_message = if has_next_peer { (number, peer + 1) } else { (number + 1, 0) };
    }

    /// Whether a peer publishes nothing, because it is gone or about to get its fault.
    fn is_silent(&self, peer: usize, now: Instant) -> bool {
        let is_about_to_fail = self
            .plan
            .victims
            .iter()
            .any(|v| v.peer == peer && now + VICTIM_SILENCE >= self.started + v.at);
        is_about_to_fail || self.peers.get(peer).is_none_or(|p| p.is_gone)
    }

    /// When the loop must run again, unless an event wakes it earlier.
    pub(super) fn next_wakeup(&self, now: Instant) -> Instant {
        let mut wakeup = self.progress.due();
        if self.formed_at.is_none() {
            wakeup = wakeup.min(self.next_overlay_check.max(now + OVERLAY_CHECK_INTERVAL / 5));
        }
        if let Some(due) = self.next_publish() {
            wakeup = wakeup.min(due);
        }
        if let (Some(victim), Some(_)) = (self.plan.victims.get(self.next_victim), self.formed_at) {
            wakeup = wakeup.min(self.started + victim.at);
        }
        if let Some(RunLength::For(length)) = self.plan.length {
            let end = self.started + length;
            if end > now {
                wakeup = wakeup.min(end);
            }
        }
        wakeup.max(now + MIN_SLEEP)
    }

    /// Whether the run is over: its time is, or without a given length all that was planned is
    /// done. Missing deliveries and removals delay the end by the grace period at most.
    pub(super) fn is_finished(&self, now: Instant) -> bool {
        let (dead, removed) = self.faults.counts();
        let is_settled =
            self.deliveries.incomplete() == 0 && self.in_flight == 0 && removed == dead;
        match self.plan.length {
            Some(RunLength::Forever) => false,
            Some(RunLength::For(length)) => {
                let end = self.started + length;
                now >= end && (is_settled || now >= end + self.plan.grace)
            }
            None => {
                let all_done = self.formed_at.is_some()
                    && self.next_publish().is_none()
                    && self.next_victim == self.plan.victims.len();
                let quiet = now.duration_since(self.last_action);
                all_done && quiet >= QUIET_BEFORE_END && (is_settled || quiet >= self.plan.grace)
            }
        }
    }
}

/// Publishes a message in the background; the result is sent as an event.
fn publish(fleet: Arc<dyn Fleet>, peer: usize, content: Arc<str>, sender: mpsc::Sender<RunEvent>) {
    tokio::spawn(async move {
        let at_us = utc::now_us();
        let result = fleet.publish(peer, TOPIC, content).await;
        let _ = sender.send(RunEvent::Published { peer, at_us, result }).await;
    });
}
