//! Registered peers that a seed loses without Leave. If no neighbour is left to report a peer, this
//! opens its case.

use super::cases::send_votes;
use super::{Case, Cases};
use crate::identity::PeerId;
use crate::io::LinkId;
use crate::limits::MAX_SILENT_INTERVALS;
use crate::seed::CaseContext;
use crate::wire::{LostPeer, Votes};

impl Cases {
    /// Handles the loss of a peer: this seed probes it, and has the other seeds do the same.
    /// Returns the case to review.
    pub(crate) fn on_peer_lost(
        &mut self,
        cx: &mut CaseContext<'_>,
        subject: PeerId,
    ) -> Option<PeerId> {
        let incarnation = cx.registry.table.get(&subject)?.record.incarnation;
        let lost = LostPeer { subject, incarnation };
        if !self.open_lost_case(cx, lost) {
            return None;
        }
        self.open.update(&subject, |case| case.lost = true);
        cx.fx.counters.registrants_lost += 1;
        send_votes(cx, &Votes { lost: Some(lost), ..Votes::default() });
        Some(subject)
    }

    /// Opens the case of a peer that this seed or another one has lost. Returns whether there is
    /// one.
    pub(super) fn open_lost_case(&mut self, cx: &mut CaseContext<'_>, lost: LostPeer) -> bool {
        let LostPeer { subject, incarnation } = lost;
        let record = cx.registry.table.alive_record(&subject);
        let Some(record) = record.filter(|r| r.incarnation == incarnation) else { return false };
        if self.open.get(&subject).is_some_and(|c| c.incarnation == incarnation) {
            return true;
        }
        if self.open.is_full() {
            cx.fx.counters.cases_refused += 1;
            return false;
        }
        let (nonce, factor) = (cx.rng.u64(), self.health.timeout_factor());
        let case = Case::new(subject, incarnation, nonce, factor, cx.now, cx.config);
        self.open.insert(case.of_lost_subject(record.degree > 0, cx.now, cx.config));
        true
    }

    /// The links of registered peers that have been silent for too long.
    pub(crate) fn silent_registrants(&mut self, cx: &mut CaseContext<'_>) -> Vec<LinkId> {
        let (now, interval) = (cx.now, cx.config.seed_ping_interval());
        self.next_watch = now + interval / 2;
        // With every interval without a late answer, timeouts return to their usual length.
        self.health.record_timely_answer();
        self.health.recover(now, interval * 2);
        let limit = interval * MAX_SILENT_INTERVALS;
        // Silence while this seed itself was paused does not count.
        if now < self.awake_since + limit {
            return Vec::new();
        }
        let open = &cx.links.open;
        let is_silent =
            |link: &LinkId| open.get(link).is_some_and(|l| now.since(l.last_heard) >= limit);
        let links = cx.registry.registrants.iter().map(|(_, link)| *link);
        let silent: Vec<LinkId> = links.filter(is_silent).collect();
        cx.fx.counters.registrants_silent += silent.len() as u64;
        silent
    }
}
