//! The state of a run, and the questions that its parts ask about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use rumormill::proto::{PeerId, Preset};
use rumormill_launch::overlay::Overlay;
use rumormill_terminal::exit::{Exit, OrExit as _, Outcome};
use tokio::time::Instant;

use crate::up::deliveries::DeliveryTracker;
use crate::up::fault_log::FaultLog;
use crate::up::fleet::Fleet;
use crate::up::node_report::NodeReport;
use crate::up::plan::Plan;
use crate::up::progress::{Progress, Status};

/// Most errors that are kept as text; further ones are only counted.
const MAX_ERRORS_KEPT: usize = 100;

/// A run under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) plan: Plan,
    pub(super) seeds: usize,
    pub(super) processes: bool,
    pub(super) preset: Preset,
    pub(super) started: Instant,
    /// The peers of the start, by number.
    pub(super) peers: Vec<Peer>,
    /// Peers that were added after the start, by number. No deliveries are expected of them or at
    /// them.
    pub(super) added: BTreeMap<usize, Peer>,
    /// The names of all nodes by id.
    pub(super) names: BTreeMap<PeerId, String>,
    pub(super) deliveries: DeliveryTracker,
    pub(super) faults: FaultLog,
    pub(super) progress: Progress,
    pub(super) errors: Vec<String>,
    pub(super) error_count: usize,
    pub(super) joined_at: Option<Instant>,
    /// When all peers had joined and the overlay was connected, or the time for that was over.
    pub(super) formed_at: Option<Instant>,
    pub(super) formation_failed: bool,
    pub(super) next_overlay_check: Instant,
    /// The next message: its number, and the peer that publishes it.
    pub(super) next_message: (u64, usize),
    /// The number of victims that have got their fault.
    pub(super) next_victim: usize,
    /// Seeds that the user has killed or stopped.
    pub(super) faulty_seeds: BTreeSet<usize>,
    /// Calls of `publish` that have not returned yet.
    pub(super) in_flight: usize,
    pub(super) last_action: Instant,
    pub(super) interrupted: bool,
}

/// The state of one peer, as the run knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) content: Option<Arc<str>>,
    pub(super) joined: bool,
    pub(super) degree: u16,
    /// It has got a fault, has left, or ended by itself.
    pub(super) is_gone: bool,
}

impl Run {
    /// Starts the clock of the run, before the first node starts.
    pub(crate) fn begin(
        plan: Plan,
        seeds: usize,
        processes: bool,
        preset: Preset,
    ) -> Outcome<Self> {
        let started = Instant::now();
        let deliveries = DeliveryTracker::new(plan.peers).or_exit(Exit::Failed)?;
        Ok(Run {
            peers: vec![Peer::default(); plan.peers],
            added: BTreeMap::new(),
            names: BTreeMap::new(),
            plan,
            seeds,
            processes,
            preset,
            started,
            deliveries,
            faults: FaultLog::default(),
            progress: Progress::new(started),
            errors: Vec::new(),
            error_count: 0,
            joined_at: None,
            formed_at: None,
            formation_failed: false,
            next_overlay_check: started,
            next_message: (0, 0),
            next_victim: 0,
            faulty_seeds: BTreeSet::new(),
            in_flight: 0,
            last_action: started,
            interrupted: false,
        })
    }

    pub(super) fn error(&mut self, text: String) {
        self.error_count += 1;
        if self.errors.len() < MAX_ERRORS_KEPT {
            self.errors.push(text);
        }
    }

    /// The peer with this number; `None` for a seed.
    pub(super) fn peer(&self, number: usize) -> Option<&Peer> {
        self.peers.get(number).or_else(|| self.added.get(&number))
    }

    pub(super) fn peer_mut(&mut self, number: usize) -> Option<&mut Peer> {
        self.peers.get_mut(number).or_else(|| self.added.get_mut(&number))
    }

    /// All peers that there ever were.
    pub(super) fn all_peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().chain(self.added.values())
    }

    /// Expects nothing more of a peer.
    pub(super) fn mark_gone(&mut self, node: usize) {
        if let Some(peer) = self.peer_mut(node) {
            peer.is_gone = true;
            self.deliveries.exclude(node);
        }
    }

    pub(super) fn name(&self, node: usize, fleet: &dyn Fleet) -> String {
        fleet.members().get(node).map_or_else(|| format!("node {node}"), |m| m.name)
    }

    pub(super) fn name_of_id(&self, id: PeerId) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_hex())
    }

    /// The figures of the status line.
    pub(super) fn status(&self) -> Status {
        let present = || self.all_peers().filter(|p| !p.is_gone);
        let deliveries = self.deliveries.deliveries();
        let (dead, removed) = self.faults.counts();
        let count = present().count();
        let sum: u64 = present().map(|p| u64::from(p.degree)).sum();
        #[allow(clippy::cast_precision_loss)] // A few thousand peers.
        let mean = sum as f64 / count.max(1) as f64;
        Status {
            peers: count,
            joined: present().filter(|p| p.joined).count(),
            connected: present().filter(|p| p.degree > 0).count(),
            degrees: (
                present().map(|p| p.degree).min().unwrap_or(0),
                mean,
                present().map(|p| p.degree).max().unwrap_or(0),
            ),
            published: deliveries.published,
            expected: deliveries.expected,
            arrived: deliveries.arrived,
            dead,
            removed,
        }
    }

    /// Asks all living peers at once. Gives the reports by number, and the errors of the others.
    pub(super) async fn peer_reports(
        &self,
        fleet: &dyn Fleet,
    ) -> (Vec<(usize, NodeReport)>, Vec<String>) {
        let ask = |peer: usize| async move { (peer, fleet.peer_report(peer).await) };
        let numbered = self.peers.iter().enumerate().chain(self.added.iter().map(|(n, p)| (*n, p)));
        let living = numbered.filter(|(_, p)| !p.is_gone).map(|(n, _)| n);
        let mut reports = Vec::new();
        let mut errors = Vec::new();
        for (peer, result) in join_all(living.map(ask)).await {
            match result {
                Ok(report) => reports.push((peer, report)),
                Err(e) => errors.push(format!("{} does not answer: {e}", self.name(peer, fleet))),
            }
        }
        (reports, errors)
    }
}

/// The overlay that the reports of peers describe.
pub(super) fn overlay(reports: &[(usize, NodeReport)], fleet: &dyn Fleet) -> Overlay {
    let members = fleet.members();
    let list = |(peer, report): &(usize, NodeReport)| {
        Some((members.get(*peer)?.id, report.neighbours.clone()))
    };
    Overlay::of(reports.iter().filter_map(list))
}

/// A figure with three decimals, which is as exact as the figures of a run are.
pub(super) fn rounded(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}
