//! Registered peers that a seed loses without Leave. If no neighbour is left to report a peer, this
//! opens its case.

use super::Seed;
use super::links::SeedLink;
use super::verdict::EMPTY_VOTES;
use crate::event::{CloseReason, LinkEnd};
use crate::failure::Case;
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_CASES;
use crate::wire::{LostPeer, Votes};

/// Silence of a registered peer, in ping intervals, after which its link is closed.
const MAX_SILENT_INTERVALS: u32 = 3;

impl Seed {
    /// Handles the end of a registration's link. If this seed did not end it on purpose, the peer
    /// may be dead; a peer that has left is not alive in the registry any more.
    pub(super) fn on_registrant_gone(&mut self, id: PeerId, why: LinkEnd) {
        self.reach.forget(&id);
        let on_purpose = match why {
            LinkEnd::Local(reason) => {
                !matches!(reason, CloseReason::NoSignOfLife | CloseReason::TooSlow)
            }
            LinkEnd::Closed(_) | LinkEnd::Lost => false,
        };
        if !on_purpose {
            self.on_peer_lost(id);
        }
    }

    /// Handles the loss of a peer: this seed probes it, and has the other seeds do the same.
    pub(super) fn on_peer_lost(&mut self, subject: PeerId) {
        let Some(incarnation) = self.table.get(&subject).map(|e| e.record.incarnation) else {
            return;
        };
        let lost = LostPeer { subject, incarnation };
        if !self.open_lost_case(lost) {
            return;
        }
        if let Some(case) = self.cases.get_mut(&subject) {
            case.lost = true;
        }
        self.fx.counters.registrants_lost += 1;
        self.send_votes(Votes { lost: Some(lost), ..EMPTY_VOTES });
        self.review_case(subject);
    }

    /// Opens the case of a peer that this seed or another one has lost. Returns whether there is
    /// one.
    pub(super) fn open_lost_case(&mut self, lost: LostPeer) -> bool {
        let LostPeer { subject, incarnation } = lost;
        let entry = self.table.get(&subject).filter(|e| e.is_alive());
        let Some(entry) = entry.filter(|e| e.record.incarnation == incarnation) else {
            return false;
        };
        if self.cases.get(&subject).is_some_and(|c| c.incarnation == incarnation) {
            return true;
        }
        if self.cases.len() >= MAX_CASES {
            self.fx.counters.cases_refused += 1;
            return false;
        }
        let has_neighbours = entry.record.degree > 0;
        let (nonce, now) = (self.rng.u64(), self.fx.now());
        let factor = self.health.timeout_factor();
        let config = &self.config;
        let case = Case::for_lost_subject(
            subject,
            incarnation,
            has_neighbours,
            nonce,
            factor,
            now,
            config,
        );
        self.cases.insert(subject, case);
        true
    }

    /// Closes the links of registered peers that have been silent for too long.
    pub(super) fn watch_registrants(&mut self) {
        let now = self.fx.now();
        if now < self.next_watch {
            return;
        }
        let interval = self.config.seed_ping_interval();
        self.next_watch = now + interval / 2;
        // With every interval without a late answer, timeouts return to their usual length.
        self.health.record_timely_answer();
        self.health.recover(now, interval * 2);
        let limit = interval * MAX_SILENT_INTERVALS;
        // Silence while this seed itself was paused does not count.
        if now < self.awake_since + limit {
            return;
        }
        let silent = |l: &SeedLink| now.since(l.last_heard) >= limit;
        let silent: Vec<LinkId> = self
            .registrants
            .iter()
            .filter(|(_, link)| self.links.get(link).is_some_and(silent))
            .map(|(_, link)| *link)
            .collect();
        for link in silent {
            self.fx.counters.registrants_silent += 1;
            self.close(link, CloseReason::NoSignOfLife);
        }
    }
}
