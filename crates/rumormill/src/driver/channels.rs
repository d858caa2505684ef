//! The channels from a node's driver to the application.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rumormill_proto::{Event, WallTime};

use crate::fanout::FanoutSender;
use crate::log::Log;
use crate::publish::{Handover, PendingReceipts};
use crate::subscription::ConsumerProgress;

/// An event with its time.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TimestampedEvent {
    /// The time by this node's wall clock: microseconds since 1970-01-01 00:00 UTC.
    pub at: WallTime,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// The channels from a node's driver to the application.
#[derive(Debug, Clone)]
pub(crate) struct AppChannels {
    pub(crate) log: Arc<Log>,
    pub(crate) events: Arc<FanoutSender<TimestampedEvent>>,
    pub(crate) receipts: Arc<PendingReceipts>,
    pub(crate) progress: Arc<ConsumerProgress>,
    pub(crate) handover: Arc<Handover>,
    duplicate: Arc<OnceLock<DuplicateIdentity>>,
}

/// Why a node has ended: another process with the same identity started earlier and continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateIdentity {
    /// The address that the other process advertises.
    pub address: Option<SocketAddr>,
}

/// The channels of a node that does not run yet. If it never runs, dropping this closes them, so
/// that no subscriber waits forever.
#[derive(Debug)]
pub(crate) struct ChannelsGuard {
    channels: AppChannels,
    is_running: bool,
}

impl ChannelsGuard {
    pub(crate) fn new() -> Self {
        ChannelsGuard { channels: AppChannels::new(), is_running: false }
    }

    /// Hands the channels to the driver, which closes them when it ends.
    pub(crate) fn into_driver(mut self) -> AppChannels {
        self.is_running = true;
        self.channels.clone()
    }
}

impl core::ops::Deref for ChannelsGuard {
    type Target = AppChannels;
    fn deref(&self) -> &AppChannels {
        &self.channels
    }
}

impl Drop for ChannelsGuard {
    fn drop(&mut self) {
        if !self.is_running {
            self.channels.close();
        }
    }
}

impl AppChannels {
    pub(crate) fn new() -> Self {
        AppChannels {
            log: Arc::new(Log::new()),
            events: Arc::new(FanoutSender::new()),
            receipts: Arc::default(),
            progress: Arc::default(),
            duplicate: Arc::default(),
            handover: Arc::default(),
        }
    }

    /// Records that the node ends because another process has its identity.
    pub(crate) fn end_as_duplicate(&self, address: Option<SocketAddr>) {
        self.duplicate.get_or_init(|| DuplicateIdentity { address });
    }

    pub(crate) fn duplicate_identity(&self) -> Option<DuplicateIdentity> {
        self.duplicate.get().copied()
    }

    /// Closes all channels: no further item follows.
    pub(crate) fn close(&self) {
        self.log.close();
        self.events.close();
        self.receipts.close();
        self.handover.close();
    }
}
