//! Who was struck down, who found out, and who was buried alive.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::plan::Fault;

/// What became of one victim. Times are milliseconds from the moment it was struck.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Death {
    /// Its name.
    pub(crate) peer: String,
    /// Its id.
    pub(crate) id: String,
    /// What it suffered.
    pub(crate) how: Fault,
    /// When, in seconds from the start of the run.
    pub(crate) at_s: f64,
    /// Until a neighbour told the seeds.
    pub(crate) detected_ms: Option<f64>,
    /// Until somebody had the certificate of a majority of the seeds.
    pub(crate) removed_ms: Option<f64>,
    /// The neighbours whose word the certificate rests on, by name.
    pub(crate) witnesses: Vec<String>,
}

#[derive(Debug)]
struct Casualty {
    id: String,
    how: Fault,
    at_s: f64,
    at_us: u64,
    reported_us: Option<u64>,
    removed_us: Option<u64>,
    witnesses: BTreeSet<String>,
    /// It was let go on: it need not be found dead any more.
    spared: bool,
}

impl Casualty {
    /// Whether somebody has to find it, or did.
    const fn counts(&self) -> bool {
        !self.spared || self.removed_us.is_some()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Casualties {
    struck: Vec<Casualty>,
    /// Removed, though nobody struck them.
    false_deaths: BTreeSet<String>,
    /// Reported, though nobody struck them: doubts that came to nothing.
    false_reports: BTreeSet<String>,
}

impl Casualties {
    pub(crate) fn struck(&mut self, id: String, how: Fault, at_s: f64, at_us: u64) {
        self.struck.retain(|c| c.counts() || c.id != id);
        self.struck.push(Casualty {
            id,
            how,
            at_s,
            at_us,
            reported_us: None,
            removed_us: None,
            witnesses: BTreeSet::new(),
            spared: false,
        });
    }

    /// One that was stopped goes on. Says whether that was before anybody removed it.
    pub(crate) fn spared(&mut self, id: &str) -> bool {
        let mut back = false;
        for c in self.struck.iter_mut().filter(|c| c.id == id && c.removed_us.is_none()) {
            (c.spared, back) = (true, true);
        }
        back
    }

    fn find(&mut self, id: &str) -> Option<&mut Casualty> {
        self.struck.iter_mut().find(|c| c.id == id)
    }

    /// A peer was reported dead. Gives the delay if it is news about a victim.
    pub(crate) fn reported(&mut self, id: &str, at_us: u64) -> Option<f64> {
        let Some(c) = self.find(id) else {
            self.false_reports.insert(id.to_owned());
            return None;
        };
        let first = c.reported_us.is_none();
        let at = c.reported_us.map_or(at_us, |old| old.min(at_us));
        c.reported_us = Some(at);
        first.then(|| ms(at, c.at_us))
    }

    /// A peer was removed by certificate. Gives the delay if it is news about a victim.
    pub(crate) fn removed(&mut self, id: &str, witnesses: &[String], at_us: u64) -> Option<f64> {
        let Some(c) = self.find(id) else {
            self.false_deaths.insert(id.to_owned());
            return None;
        };
        c.witnesses.extend(witnesses.iter().cloned());
        let first = c.removed_us.is_none();
        let at = c.removed_us.map_or(at_us, |old| old.min(at_us));
        c.removed_us = Some(at);
        first.then(|| ms(at, c.at_us))
    }

    /// Struck, and removed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let those = || self.struck.iter().filter(|c| c.counts());
        (those().count(), those().filter(|c| c.removed_us.is_some()).count())
    }

    /// Ids of those that were removed though they lived.
    pub(crate) const fn false_deaths(&self) -> &BTreeSet<String> {
        &self.false_deaths
    }

    /// How many were reported though they lived.
    pub(crate) fn false_reports(&self) -> usize {
        self.false_reports.len()
    }

    /// The deaths in order, with names for ids.
    pub(crate) fn deaths(&self, names: &BTreeMap<String, String>) -> Vec<Death> {
        let name = |id: &String| names.get(id).cloned().unwrap_or_else(|| id.clone());
        let death = |c: &Casualty| {
            let mut witnesses: Vec<String> = c.witnesses.iter().map(name).collect();
            witnesses.sort();
            Death {
                peer: name(&c.id),
                id: c.id.clone(),
                how: c.how,
                at_s: c.at_s,
                detected_ms: c.reported_us.map(|at| ms(at, c.at_us)),
                removed_ms: c.removed_us.map(|at| ms(at, c.at_us)),
                witnesses,
            }
        };
        self.struck.iter().filter(|c| c.counts()).map(death).collect()
    }
}

/// Milliseconds from `since` to `at`. The clocks are those of one machine.
#[allow(clippy::cast_precision_loss)] // Minutes, in microseconds.
fn ms(at: u64, since: u64) -> f64 {
    at.saturating_sub(since) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_told_from_one_buried_alive() {
        let mut c = Casualties::default();
        c.struck("v".into(), Fault::Kill, 20.0, 1_000_000);
        assert_eq!(c.reported("v", 1_900_000), Some(900.0));
        assert_eq!(c.reported("v", 1_950_000), None);
        assert_eq!(c.removed("v", &["w".into()], 2_100_000), Some(1100.0));
        assert_eq!(c.removed("v", &["x".into()], 2_000_000), None);
        assert_eq!(c.removed("other", &[], 1), None);
        assert_eq!(c.counts(), (1, 1));
        assert_eq!(c.false_deaths().len(), 1);
        let names = [("v".to_owned(), "peer-9".to_owned())].into();
        let deaths = c.deaths(&names);
        assert_eq!((deaths[0].peer.as_str(), deaths[0].removed_ms), ("peer-9", Some(1000.0)));
        assert_eq!(deaths[0].witnesses, ["w", "x"]);
    }

    #[test]
    fn who_goes_on_in_time_need_not_be_found() {
        let mut c = Casualties::default();
        c.struck("v".into(), Fault::Stop, 1.0, 1_000_000);
        assert!(c.spared("v") && !c.spared("other"));
        assert_eq!((c.counts(), c.deaths(&BTreeMap::new()).len()), ((0, 0), 0));
        // Its neighbours had told, and the seeds agreed at the same moment: a death all the same, and none
        // that is false.
        c.reported("v", 1_900_000);
        c.removed("v", &[], 2_000_000);
        assert_eq!((c.counts(), c.false_deaths().len(), c.false_reports()), ((1, 1), 0, 0));
        assert!(!c.spared("v"));
        c.struck("w".into(), Fault::Stop, 1.0, 1_000_000);
        assert!(c.spared("w"));
        c.struck("w".into(), Fault::Stop, 5.0, 5_000_000);
        assert_eq!((c.counts(), c.removed("w", &[], 6_000_000)), ((2, 1), Some(1000.0)));
    }
}
