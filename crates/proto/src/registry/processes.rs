//! Processes that share an identity: copies of a peer, and copies of a seed.
//!
//! A seed does not judge copies of a peer: it shows each of the two processes the record of the
//! other one, which they signed themselves, and they decide which of them ends
//! (`peer/duplicate.rs`). The link of the replaced process stays up for that, for as long as any
//! link without a purpose does.

use core::net::SocketAddr;
use core::time::Duration;

use minicbor::bytes::ByteArray;

use super::Registry;
use crate::event::{CloseReason, Event, RefuseReason};
use crate::io::LinkId;
use crate::limits::IDLE_LINK_TIMEOUT;
use crate::record::SignedRecord;
use crate::seed::SeedContext;
use crate::timers::SeedTimer;
use crate::wire::RegisterReject;

/// A copy of this seed that has not dialled for so long counts as a new one when it dials.
const COPY_REMEMBERED: Duration = Duration::from_secs(60);

impl Registry {
    /// Shows the record of a registering process to others with the same identity, on links that
    /// are up.
    pub(super) fn show_record_to_other_processes(
        &self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        record: &SignedRecord,
    ) {
        let id = record.id;
        if let Some(l) = cx.links.open.get_mut(&link) {
            l.process = Some(record.process);
        }
        let others = [self.registrants.get(&id), self.displaced.get(&id).copied()];
        for other in others.into_iter().flatten().filter(|other| *other != link) {
            let Some(l) = cx.links.open.get_mut(&other) else { continue };
            let Some(process) = l.process.filter(|p| *p != record.process) else { continue };
            // Signed after the other process had started: both run.
            let both_run = record.other_process == Some(process);
            let first = both_run && !core::mem::replace(&mut l.has_reported_duplicate, true);
            let (reason, nonce) = (RefuseReason::DuplicateIdentity, ByteArray::from(self.nonce));
            let (record_shown, certificate) = (Some(record.clone()), None);
            let refused = RegisterReject { reason, record: record_shown, certificate, nonce };
            cx.fx.send(other, refused);
            if first {
                cx.fx.counters.duplicate_identities += 1;
                let (name, address) = (record.name.clone(), record.addresses.first().copied());
                cx.fx.event(Event::DuplicateIdentity { id, name, address, stops: false });
            }
        }
    }

    /// Records the registration link of a peer. An earlier link of the same process is closed; one
    /// of another process stays for a while, so that both hear of each other.
    pub(super) fn set_registrant_link(
        &mut self,
        cx: &mut SeedContext<'_>,
        link: LinkId,
        record: &SignedRecord,
    ) {
        let id = record.id;
        let Some(old) = self.registrants.insert(id, link).filter(|old| *old != link) else {
            return;
        };
        let other_process =
            cx.links.open.get(&old).and_then(|l| l.process).is_some_and(|p| p != record.process);
        if !other_process {
            return self.close(cx, old, CloseReason::Duplicate);
        }
        if let Some(l) = cx.links.open.get_mut(&old) {
            (l.has_purpose, l.up) = (false, cx.now);
            cx.timers.set_earlier(SeedTimer::IdleLinks, cx.now + IDLE_LINK_TIMEOUT);
        }
        let older = self.displaced.insert(id, old).filter(|older| *older != old && *older != link);
        if let Some(older) = older {
            self.close(cx, older, CloseReason::Duplicate);
        }
    }

    /// Handles a process with this seed's key that has dialled this seed. It is reported at the
    /// address where it listens, if that is configured; its port is not known here.
    pub(crate) fn on_copy_dialled(&mut self, cx: &mut SeedContext<'_>, from: SocketAddr) {
        let (id, now) = (self.id, cx.now);
        cx.fx.counters.seeds_sharing_identity += 1;
        let before = self.last_copy.replace((from.ip(), now));
        if before.is_some_and(|(ip, at)| ip == from.ip() && now.since(at) < COPY_REMEMBERED) {
            return;
        }
        let seed = format!("a process at {}", from.ip());
        let other = self.own_address.clone();
        cx.fx.event(Event::SeedsShareIdentity { seed, other, id });
    }
}
