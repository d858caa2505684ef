//! The open cases of a seed, by accused peer and by deadline: if a part of the network dies at once
//! there are thousands of them, and an input may concern one only.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use crate::identity::PeerId;
use crate::limits::MAX_CASES;
use crate::time::Time;

/// The open cases.
#[derive(Debug, Default)]
pub(super) struct OpenCases {
    cases: BTreeMap<PeerId, Case>,
    /// [`Case::deadline`] of each.
    deadlines: BTreeSet<(Time, PeerId)>,
}

impl OpenCases {
    pub(super) fn get(&self, id: &PeerId) -> Option<&Case> {
        self.cases.get(id)
    }

    pub(super) fn contains(&self, id: &PeerId) -> bool {
        self.cases.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Whether no case can be opened.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= MAX_CASES
    }

    /// All of them, by accused peer.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Case> {
        self.cases.values()
    }

    /// Adds a case, or replaces the one of the same peer.
    pub(super) fn insert(&mut self, case: Case) {
        self.remove(&case.subject);
        self.deadlines.insert((case.deadline(), case.subject));
        self.cases.insert(case.subject, case);
    }

    pub(super) fn remove(&mut self, id: &PeerId) -> Option<Case> {
        let case = self.cases.remove(id)?;
        self.deadlines.remove(&(case.deadline(), *id));
        Some(case)
    }

    /// Changes a case, if there is one.
    pub(super) fn update<R>(
        &mut self,
        id: &PeerId,
        change: impl FnOnce(&mut Case) -> R,
    ) -> Option<R> {
        let case = self.cases.get_mut(id)?;
        Some(reindexed(&mut self.deadlines, case, change))
    }

    /// Changes all cases.
    pub(super) fn update_all(&mut self, mut change: impl FnMut(&mut Case)) {
        for case in self.cases.values_mut() {
            reindexed(&mut self.deadlines, case, &mut change);
        }
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The accused peers whose cases are due.
    pub(super) fn due(&self, now: Time) -> BTreeSet<PeerId> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }
}

/// Changes a case, and moves its deadline.
fn reindexed<R>(
    deadlines: &mut BTreeSet<(Time, PeerId)>,
    case: &mut Case,
    change: impl FnOnce(&mut Case) -> R,
) -> R {
    let before = case.deadline();
    let result = change(case);
    let after = case.deadline();
    if before != after {
        deadlines.remove(&(before, case.subject));
        deadlines.insert((after, case.subject));
    }
    result
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::Config;

    #[test]
    fn deadline_follows_each_change_of_a_case() {
        let config = Config::lan().build().unwrap();
        let id = |n| PeerId::from_bytes([n; 32]);
        let mut open = OpenCases::default();
        for n in 1..=3 {
            let now = Time::from_micros(u64::from(n));
            open.insert(Case::new(id(n), 1, 0, 1, now, &config));
        }
        assert_eq!(open.due(Time::from_micros(2)), [id(1), id(2)].into());
        for n in 1..=3 {
            open.update(&id(n), |c| c.probe.take_due_try(Time::from_micros(3)));
        }
        open.update_all(|c| c.probe.postpone(Duration::from_secs(9)));
        open.insert(Case::new(id(2), 2, 0, 1, Time::from_micros(5), &config));
        assert_eq!(open.deadline(), Some(Time::from_micros(5)));
        let earliest = open.iter().map(Case::deadline).min();
        assert_eq!((open.deadline(), open.deadlines.len()), (earliest, open.len()));
        assert_eq!(open.remove(&id(2)).map(|c| c.incarnation), Some(2));
        assert!(open.due(Time::from_micros(5)).is_empty());
        assert_eq!(open.deadlines.len(), 2);
    }
}
