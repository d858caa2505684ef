//! The common part of the handles of peers and seeds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::{Counters, Message, MessageId, PeerId, Time};
use tokio::sync::{mpsc, oneshot, watch};

use crate::context::NodeContext;
use crate::counters::TransportCounters;
use crate::delays::DelayHistogram;
use crate::driver::{AppChannels, Command, DuplicateIdentity, SharedCore};
use crate::error::StoppedError;
use crate::gate::Gate;
use crate::partition::Partition;
use crate::publish::{Handover, LeaveError, PendingReceipts};
use crate::subscription::{Events, SubscribeOptions, Subscription};
use crate::tuning::LEAVE_WITHIN;

/// A handle to a node's driver. The driver ends when the last handle is dropped.
pub(crate) struct Handle<C>(Arc<HandleInner<C>>);

struct HandleInner<C> {
    id: PeerId,
    address: SocketAddr,
    commands: mpsc::Sender<Command<C>>,
    shared_core: Arc<SharedCore<C>>,
    channels: AppChannels,
    gate: Gate,
    partition: Partition,
    counters: Arc<TransportCounters>,
    /// Closed when all tasks of the node have ended.
    ended: watch::Receiver<()>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle(self.0.clone())
    }
}

impl<C> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.0.id).field("address", &self.0.address).finish()
    }
}

impl<C: 'static> Handle<C> {
    pub(crate) fn new(
        context: &Arc<NodeContext>,
        address: SocketAddr,
        commands: mpsc::Sender<Command<C>>,
        shared_core: Arc<SharedCore<C>>,
        channels: AppChannels,
        ended: watch::Receiver<()>,
    ) -> Self {
        // The handle does not hold the context itself: the node has ended when the context is
        // dropped.
        let (gate, partition, counters) =
            (context.gate.clone(), context.partition.clone(), context.counters.clone());
        let id = context.id();
        Handle(Arc::new(HandleInner {
            id,
            address,
            commands,
            shared_core,
            channels,
            gate,
            partition,
            counters,
            ended,
        }))
    }

    pub(crate) fn id(&self) -> PeerId {
        self.0.id
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Calls the core in the driver's task.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut C, Time) -> R + Send + 'static,
    ) -> Result<R, StoppedError> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(move |core: &mut C, now: Time| {
            // The caller may have given up.
            let _ = reply.send(call(core, now));
        });
        self.0.commands.send(Command::Call(call)).await.map_err(|_| StoppedError)?;
        answer.await.map_err(|_| StoppedError)
    }

    pub(crate) async fn fetch(
        &self,
        id: MessageId,
        ask: fn(&mut C, Time, MessageId),
    ) -> Result<Option<Message>, StoppedError> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(Command::Fetch { id, ask, reply }).await.map_err(|_| StoppedError)?;
        answer.await.map_err(|_| StoppedError)
    }

    /// Leaves within a time, and waits until the node has ended.
    pub(crate) async fn leave(&self, within: Duration) -> Result<(), LeaveError> {
        let sent = self.0.commands.send(Command::Leave(within)).await;
        self.stopped().await;
        // An earlier call may have recorded the outcome.
        self.0.channels.handover.outcome()?;
        Ok(sent.map_err(|_| StoppedError)?)
    }

    /// Stops a node that has nothing to hand over, and waits until it has ended.
    pub(crate) async fn stop(&self) -> Result<(), StoppedError> {
        self.leave(LEAVE_WITHIN).await.map_err(|_| StoppedError)
    }

    pub(crate) fn handover(&self) -> &Arc<Handover> {
        &self.0.channels.handover
    }

    pub(crate) fn kill(&self) {
        self.0.gate.kill();
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.gate.freeze(frozen);
    }

    pub(crate) fn partition_from(&self, peers: BTreeSet<PeerId>) {
        self.0.partition.set_unreachable(peers);
    }

    pub(crate) async fn stopped(&self) {
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    pub(crate) fn subscribe(&self, options: SubscribeOptions) -> Subscription {
        Subscription::open(&self.0.channels.log, options)
    }

    pub(crate) fn shared_core(&self) -> &Arc<SharedCore<C>> {
        &self.0.shared_core
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn receipts(&self) -> &Arc<PendingReceipts> {
        &self.0.channels.receipts
    }

    pub(crate) fn duplicate_identity(&self) -> Option<DuplicateIdentity> {
        self.0.channels.duplicate_identity()
    }

    pub(crate) fn events(&self) -> Events {
        Events(self.0.channels.events.subscribe())
    }

    pub(crate) fn delays(&self) -> DelayHistogram {
        self.0.counters.delays.snapshot()
    }

    pub(crate) fn add_counters(&self, counters: &mut Counters) {
        counters.merge(&self.0.counters.snapshot());
    }

    pub(crate) fn store_problem(&self) -> Option<String> {
        self.0.counters.store_problem.get()
    }
}
