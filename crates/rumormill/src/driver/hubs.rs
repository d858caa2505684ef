//! Where applications listen.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rumormill_proto::{Event, WallTime};

use crate::fanout::Hub;
use crate::log::Log;
use crate::publish::{Handover, ReceiptBook};
use crate::subscription::Progress;

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Stamped {
    /// When, by this node's wall clock: microseconds since 1970-01-01 00:00 UTC.
    pub at: WallTime,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Where applications listen.
#[derive(Debug, Clone)]
pub(crate) struct Hubs {
    pub(crate) log: Arc<Log>,
    pub(crate) events: Arc<Hub<Stamped>>,
    pub(crate) receipts: Arc<ReceiptBook>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) handover: Arc<Handover>,
    duplicate: Arc<OnceLock<DuplicateIdentity>>,
}

/// Why a node has ended: another process with its identity had started earlier, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateIdentity {
    /// Where that process says it is.
    pub address: Option<SocketAddr>,
}

/// The hubs of a node that does not run yet. If it never does, whoever listens already hears of its end.
#[derive(Debug)]
pub(crate) struct Audience {
    hubs: Hubs,
    runs: bool,
}

impl Audience {
    pub(crate) fn new() -> Self {
        Audience { hubs: Hubs::new(), runs: false }
    }

    /// From now on its driver says when it ends.
    pub(crate) fn hand_over(mut self) -> Hubs {
        self.runs = true;
        self.hubs.clone()
    }
}

impl core::ops::Deref for Audience {
    type Target = Hubs;
    fn deref(&self) -> &Hubs {
        &self.hubs
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        if !self.runs {
            self.hubs.close();
        }
    }
}

impl Hubs {
    pub(crate) fn new() -> Self {
        Hubs {
            log: Arc::new(Log::new()),
            events: Arc::new(Hub::new()),
            receipts: Arc::default(),
            progress: Arc::default(),
            duplicate: Arc::default(),
            handover: Arc::default(),
        }
    }

    /// The node ends because another process has its identity.
    pub(crate) fn end_as_duplicate(&self, address: Option<SocketAddr>) {
        self.duplicate.get_or_init(|| DuplicateIdentity { address });
    }

    pub(crate) fn duplicate_identity(&self) -> Option<DuplicateIdentity> {
        self.duplicate.get().copied()
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        self.log.close();
        self.events.close();
        self.receipts.close();
        self.handover.close();
    }
}
