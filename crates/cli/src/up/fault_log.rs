//! The faults that were injected into peers, and how the network detected them.

use std::collections::{BTreeMap, BTreeSet};

use rumormill::proto::PeerId;
use serde::Serialize;

use super::options::Fault;

/// How the network detected one fault. Delays are milliseconds from the moment of the fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Death {
    /// The name of the peer.
    pub(crate) peer: String,
    /// The id of the peer.
    pub(crate) id: PeerId,
    /// The fault.
    pub(crate) how: Fault,
    /// The moment of the fault, in seconds from the start of the run.
    pub(crate) at_s: f64,
    /// Until a neighbour reported the peer to the seeds; absent if none did.
    pub(crate) detected_ms: Option<f64>,
    /// Until a node had the certificate of a majority of the seeds; absent if none had.
    pub(crate) removed_ms: Option<f64>,
    /// The names of the neighbours whose reports the certificate is based on.
    pub(crate) witnesses: Vec<String>,
}

/// One fault, and what was observed of it. Times are microseconds since 1970.
#[derive(Debug)]
struct InjectedFault {
    id: PeerId,
    kind: Fault,
    at_s: f64,
    at_us: u64,
    reported_us: Option<u64>,
    removed_us: Option<u64>,
    witnesses: BTreeSet<PeerId>,
    /// The peer was resumed before it was removed, so the network need not remove it.
    is_resumed: bool,
}

impl InjectedFault {
    /// Whether the network must remove the peer, or has removed it.
    const fn is_death(&self) -> bool {
        !self.is_resumed || self.removed_us.is_some()
    }
}

/// All faults of a run, and the reports and removals of peers without a fault.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    faults: Vec<InjectedFault>,
    /// Peers that were removed without a fault.
    false_deaths: BTreeSet<PeerId>,
    /// Peers that were reported without a fault.
    false_reports: BTreeSet<PeerId>,
}

impl FaultLog {
    /// Records a fault. An earlier fault of the peer that ended with its resumption is forgotten.
    pub(crate) fn record_fault(&mut self, id: PeerId, kind: Fault, at_s: f64, at_us: u64) {
        self.faults.retain(|f| f.is_death() || f.id != id);
        self.faults.push(InjectedFault {
            id,
            kind,
            at_s,
            at_us,
            reported_us: None,
            removed_us: None,
            witnesses: BTreeSet::new(),
            is_resumed: false,
        });
    }

    /// Records that a stopped peer was resumed. Says whether that was before its removal.
    pub(crate) fn record_resumption(&mut self, id: PeerId) -> bool {
        let mut in_time = false;
        for f in self.faults.iter_mut().filter(|f| f.id == id && f.removed_us.is_none()) {
            (f.is_resumed, in_time) = (true, true);
        }
        in_time
    }

    fn find(&mut self, id: PeerId) -> Option<&mut InjectedFault> {
        self.faults.iter_mut().find(|f| f.id == id)
    }

    /// Records a report that a peer is dead. Gives the delay if it is the first one after a fault.
    pub(crate) fn record_report(&mut self, id: PeerId, at_us: u64) -> Option<f64> {
        let Some(fault) = self.find(id) else {
            self.false_reports.insert(id);
            return None;
        };
        let first = fault.reported_us.is_none();
        let at = fault.reported_us.map_or(at_us, |old| old.min(at_us));
        fault.reported_us = Some(at);
        first.then(|| ms(at, fault.at_us))
    }

    /// Records the removal of a peer by certificate. Gives the delay if it is the first one after a
    /// fault.
    pub(crate) fn record_removal(
        &mut self,
        id: PeerId,
        witnesses: &[PeerId],
        at_us: u64,
    ) -> Option<f64> {
        let Some(fault) = self.find(id) else {
            self.false_deaths.insert(id);
            return None;
        };
        fault.witnesses.extend(witnesses);
        let first = fault.removed_us.is_none();
        let at = fault.removed_us.map_or(at_us, |old| old.min(at_us));
        fault.removed_us = Some(at);
        first.then(|| ms(at, fault.at_us))
    }

    /// The number of peers that must be removed, and of those that were.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let deaths = || self.faults.iter().filter(|f| f.is_death());
        (deaths().count(), deaths().filter(|f| f.removed_us.is_some()).count())
    }

    /// The ids of the peers that were removed without a fault.
    pub(crate) const fn false_deaths(&self) -> &BTreeSet<PeerId> {
        &self.false_deaths
    }

    /// The number of peers that were reported without a fault.
    pub(crate) fn false_reports(&self) -> usize {
        self.false_reports.len()
    }

    /// All faults that count as deaths, in the order in which they were injected. `names` has the
    /// names of peers by id.
    pub(crate) fn deaths(&self, names: &BTreeMap<PeerId, String>) -> Vec<Death> {
        let name = |id: &PeerId| names.get(id).cloned().unwrap_or_else(|| id.to_hex());
        let death = |f: &InjectedFault| {
            let mut witnesses: Vec<String> = f.witnesses.iter().map(name).collect();
            witnesses.sort();
            Death {
                peer: name(&f.id),
                id: f.id,
                how: f.kind,
                at_s: f.at_s,
                detected_ms: f.reported_us.map(|at| ms(at, f.at_us)),
                removed_ms: f.removed_us.map(|at| ms(at, f.at_us)),
                witnesses,
            }
        };
        self.faults.iter().filter(|f| f.is_death()).map(death).collect()
    }
}

/// Milliseconds from `since` to `at`. Both times are by the clock of this machine.
#[allow(clippy::cast_precision_loss)] // Minutes, in microseconds.
fn ms(at: u64, since: u64) -> f64 {
    at.saturating_sub(since) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn removal_without_a_fault_counts_as_false_death() {
        let mut log = FaultLog::default();
        log.record_fault(id(1), Fault::Kill, 20.0, 1_000_000);
        assert_eq!(log.record_report(id(1), 1_900_000), Some(900.0));
        assert_eq!(log.record_report(id(1), 1_950_000), None);
        assert_eq!(log.record_removal(id(1), &[id(2)], 2_100_000), Some(1100.0));
        assert_eq!(log.record_removal(id(1), &[id(3)], 2_000_000), None);
        assert_eq!(log.record_removal(id(4), &[], 1), None);
        assert_eq!(log.counts(), (1, 1));
        assert_eq!(log.false_deaths().len(), 1);
        let names =
            [(id(1), "peer-9".to_owned()), (id(2), "w".to_owned()), (id(3), "x".to_owned())].into();
        let deaths = log.deaths(&names);
        assert_eq!((deaths[0].peer.as_str(), deaths[0].removed_ms), ("peer-9", Some(1000.0)));
        assert_eq!(deaths[0].witnesses, ["w", "x"]);
    }

    #[test]
    fn peer_resumed_before_its_removal_need_not_be_removed() {
        let mut log = FaultLog::default();
        log.record_fault(id(1), Fault::Stop, 1.0, 1_000_000);
        assert!(log.record_resumption(id(1)) && !log.record_resumption(id(4)));
        assert_eq!((log.counts(), log.deaths(&BTreeMap::new()).len()), ((0, 0), 0));
        // The seeds may agree on the death at the moment of the resumption: that is a death, and
        // not a false one.
        log.record_report(id(1), 1_900_000);
        log.record_removal(id(1), &[], 2_000_000);
        assert_eq!((log.counts(), log.false_deaths().len(), log.false_reports()), ((1, 1), 0, 0));
        assert!(!log.record_resumption(id(1)));
        log.record_fault(id(2), Fault::Stop, 1.0, 1_000_000);
        assert!(log.record_resumption(id(2)));
        log.record_fault(id(2), Fault::Stop, 5.0, 5_000_000);
        assert_eq!(
            (log.counts(), log.record_removal(id(2), &[], 6_000_000)),
            ((2, 1), Some(1000.0))
        );
    }
}
