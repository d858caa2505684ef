//! A running peer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::limits::MAX_ADDRESSES;
use rumormill_proto::snapshot::{
    MemberView, NeighbourView, PeerSnapshot, PeerState, PublisherView, RetainedMessage,
};
use rumormill_proto::wire::Verifier;
use rumormill_proto::{
    Address, Config, Event, Identity, Message, MessageId, Name, Peer, PeerId, PeerSetup, Role,
    SeedAddress, Time, start_number,
};

use crate::delays::DelayHistogram;
use crate::driver::{DuplicateIdentity, TimestampedEvent, wall_clock};
use crate::error::{PublishError, StartError, StoppedError};
use crate::handle::Handle;
use crate::launch::{LaunchOptions, OpenedStore, on_blocking_pool};
use crate::listener::Listener;
use crate::network_key::NetworkKey;
use crate::publish::{LeaveError, PublishRequest, ReceiptError, Receipts};
use crate::store::{Database, StoredPeerState};
use crate::subscription::{Consumer, EventItem, Events, Start, SubscribeOptions, Subscription};
use crate::trace::NodeLabel;

/// A running peer. Clones are handles to the same peer.
///
/// It runs in tasks of the tokio runtime in which [`NodeBuilder::start`] was awaited, until
/// [`leave`](Node::leave), [`kill`](Node::kill), the end of the runtime, or until the last handle
/// is dropped. Dropping the last handle is a [`leave`](Node::leave) in the background: no caller
/// waits for it, and no caller learns of messages that the node could not hand over. If the runtime
/// ends first (as it does when `main` returns), the leave is cut short, and messages may be lost. A
/// program that publishes calls `leave` and checks its result. [`Subscription`] and [`Events`] are
/// not handles.
///
/// ```
/// use rumormill::{Config, Node, SubscriptionItem};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A network of one peer: no seeds.
/// let node = Node::builder()
///     .name("alone".parse()?)
///     .config(Config::lan().build()?)
///     .listen("127.0.0.1:0".parse()?)
///     .start()
///     .await?;
/// let mut messages = node.subscribe();
/// let id = node.publish("greetings", "hello").await?;
/// match messages.recv().await {
///     Some(SubscriptionItem::Message(m)) => assert_eq!(m.message.payload(), b"hello"),
///     other => panic!("{other:?}"),
/// }
/// assert!(node.get(id).await?.is_some());
/// node.leave().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Node {
    handle: Handle<Peer>,
    name: Name,
    leave_within: Duration,
}

/// Collects the options of a peer. Every option has a default.
#[derive(Debug)]
pub struct NodeBuilder {
    launch: LaunchOptions,
    name: Option<Name>,
    advertise: Vec<SocketAddr>,
}

impl Node {
    /// Creates a builder with default options.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder { launch: LaunchOptions::new(Role::Peer), name: None, advertise: Vec::new() }
    }

    /// The id of the peer: the public key that it proves on every connection.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.handle.id()
    }

    /// The name of the peer.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Publishes a message to the network. The result says that this node has accepted the message,
    /// not that other nodes hold it; for that, see
    /// [`publish_with_receipt`](Node::publish_with_receipt).
    ///
    /// Before the node has a neighbour, messages wait at this node, and are sent when it has one;
    /// the node's `retention_age` bounds how long they are kept.
    ///
    /// While the send window is full, this call waits (first come, first served); this slows a
    /// publisher down before the network loses a message. All messages published before the driver
    /// runs travel as one batch, so a loop is fast, and no message waits for later ones. If the
    /// call is cancelled while it waits, nothing was published.
    ///
    /// # Errors
    /// The topic or payload is too long, the node is leaving, or it has stopped. Nothing was sent.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, PublishError> {
        let request = PublishRequest { topic, payload: payload.as_ref(), receipt: false };
        Ok(self.handle.publish(request).await?.0)
    }

    /// Publishes a message if the send window admits it now. This call does not wait and needs no
    /// runtime.
    ///
    /// # Errors
    /// As [`publish`](Node::publish); where that call would wait, an error for which
    /// [`is_busy`](PublishError::is_busy) is true.
    pub fn try_publish(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, PublishError> {
        let request = PublishRequest { topic, payload: payload.as_ref(), receipt: false };
        Ok(self.handle.try_publish(request)?.0)
    }

    /// Publishes as [`publish`](Node::publish), and reports which peers hold the message as it
    /// spreads.
    ///
    /// # Errors
    /// As [`publish`](Node::publish); also if too many receipts are pending. Nothing was sent.
    pub async fn publish_with_receipt(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<(MessageId, Receipts), PublishError> {
        let request = PublishRequest { topic, payload: payload.as_ref(), receipt: true };
        match self.handle.publish(request).await? {
            (id, Some(receipts)) => Ok((id, receipts)),
            (id, None) => Ok((id, self.handle.receipt(id)?)),
        }
    }

    /// Reports which peers hold a message of this node's current stream. If the receipt is
    /// requested only after the message was sent, its first update takes a little longer.
    ///
    /// # Errors
    /// The message is not in the node's current stream, or too many receipts are pending.
    pub fn receipt(&self, id: MessageId) -> Result<Receipts, ReceiptError> {
        self.handle.receipt(id)
    }

    /// Every message that is published from now on, of every topic, including those of this node:
    /// each once, in its publisher's order. See [`Start::Now`] for the messages that this leaves
    /// out.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.handle.subscribe(SubscribeOptions::new())
    }

    /// The messages of some topics, or from an earlier point on.
    ///
    /// ```
    /// use rumormill::{Node, SubscriptionItem, Start, SubscribeOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::builder().listen("127.0.0.1:0".parse()?).start().await?;
    /// let mut now = node.subscribe();
    /// node.publish("orders.new", "1 kg of tea").await?;
    /// node.publish("news", "it rains").await?;
    /// now.recv().await;
    /// now.recv().await;
    ///
    /// // A later subscription that starts at the beginning.
    /// let options = SubscribeOptions::new().start(Start::Earliest).topic("orders.*")?;
    /// let mut orders = node.subscribe_with(options);
    /// let Some(SubscriptionItem::Message(m)) = orders.recv().await else { panic!("no message") };
    /// assert_eq!(m.message.payload(), b"1 kg of tea");
    /// // The retained messages are read; all that follow are new.
    /// assert!(matches!(orders.try_recv(), Some(SubscriptionItem::CaughtUp)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn subscribe_with(&self, options: SubscribeOptions) -> Subscription {
        self.handle.subscribe(options)
    }

    /// Every event from now on. For events from the very first one, see [`NodeBuilder::events`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.handle.events()
    }

    /// Resolves when the node is registered at a majority of its seeds and has received their lists
    /// of members; at once if it has. [`members`](Node::members) then contains every peer that had
    /// joined before this node was registered. If two peers join at the same moment, at least one
    /// of them knows the other, and each learns of the other shortly after (the seeds gather
    /// changes for 100 ms). In a network of more than 1024 peers a list is a sample. Messages
    /// published before the node has joined reach the other peers when it has neighbours, as far as
    /// they are still retained.
    ///
    /// A node without seeds never resolves this: it is a network of its own. There is no deadline;
    /// use `tokio::time::timeout` for one. Cancelling changes nothing.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn joined(&self) -> Result<(), StoppedError> {
        // Subscribes first, so that no event between the check and the wait is missed.
        let mut events = self.events();
        while self.handle.call(|peer, _| peer.state()).await? != PeerState::Joined {
            // Events that cannot change the state are skipped without asking the node again.
            while let EventItem::Event(TimestampedEvent { event, .. }) =
                events.recv().await.ok_or(StoppedError)?
            {
                if matches!(event, Event::Joined { .. } | Event::Restored { .. }) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The whole state of the node at this moment, with the counters of protocol, transport and
    /// store.
    ///
    /// # Errors
    /// The node has stopped. A [frozen](Node::freeze) node answers after it is resumed.
    pub async fn snapshot(&self) -> Result<PeerSnapshot, StoppedError> {
        let mut snapshot = self.handle.call(|peer, now| peer.snapshot(now)).await?;
        self.handle.add_counters(&mut snapshot.counters);
        snapshot.store_problem = self.handle.store_problem();
        Ok(snapshot)
    }

    /// The members of the network in this node's view, including itself.
    ///
    /// # Errors
    /// The node has stopped. A [frozen](Node::freeze) node answers after it is resumed.
    pub async fn members(&self) -> Result<Vec<MemberView>, StoppedError> {
        self.handle.call(|peer, _| peer.members()).await
    }

    /// The neighbours of the node in the overlay.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn neighbours(&self) -> Result<Vec<NeighbourView>, StoppedError> {
        self.handle.call(|peer, now| peer.snapshot(now).neighbours).await
    }

    /// The delays of messages from their publishers to this node.
    #[must_use]
    pub fn delays(&self) -> DelayHistogram {
        self.handle.delays()
    }

    /// The newest `limit` messages that the node retains, oldest first.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn messages(&self, limit: usize) -> Result<Vec<RetainedMessage>, StoppedError> {
        self.handle.call(move |peer, _| peer.retained_messages(limit, None)).await
    }

    /// The newest `limit` of the retained messages that arrived before the message `before`, oldest
    /// first; none if `before` is not retained any more.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn messages_before(
        &self,
        before: MessageId,
        limit: usize,
    ) -> Result<Vec<RetainedMessage>, StoppedError> {
        let held = move |peer: &mut Peer, _| peer.retained_messages(limit, Some(before));
        self.handle.call(held).await
    }

    /// The message list in figures, by publisher.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn publishers(&self) -> Result<Vec<PublisherView>, StoppedError> {
        self.handle.call(|peer, _| peer.publishers()).await
    }

    /// Gets one message: from this node if it retains it, otherwise from its neighbours. `None` if
    /// none of them has it.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn get(&self, id: MessageId) -> Result<Option<Message>, StoppedError> {
        self.handle.fetch(id, Peer::fetch).await
    }

    /// Waits until at least one other node holds everything that was published before this call.
    /// The node asks its neighbours; a node without neighbours waits for one, also in a network of
    /// one peer: use `tokio::time::timeout` to limit it. Cancelling changes nothing.
    ///
    /// The messages then survive the loss of this node, unless the other node is lost as well
    /// before it has forwarded them. For the number of nodes that hold a message, see
    /// [`publish_with_receipt`](Node::publish_with_receipt).
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn flush(&self) -> Result<(), StoppedError> {
        self.handle.flush().await
    }

    /// Leaves the network within ten seconds, or within the time given to
    /// [`NodeBuilder::leave_within`]: see [`leave_within`](Node::leave_within).
    ///
    /// # Errors
    /// As [`leave_within`](Node::leave_within).
    pub async fn leave(&self) -> Result<(), LeaveError> {
        self.leave_within(self.leave_within).await
    }

    /// Leaves the network: refuses further messages to publish, hands over the messages that it has
    /// accepted, notifies neighbours and seeds, and ends. Resolves when all tasks of the node have
    /// ended.
    ///
    /// Until a neighbour has confirmed that it holds everything that this node published, the node
    /// stays a member, and looks for a neighbour if it has none. In a network without other nodes
    /// nothing is handed over, which is no error. Leaving usually takes some milliseconds; `within`
    /// bounds it. After that time, queued frames are written for at most two more seconds. If this
    /// is called again, the shorter time holds.
    ///
    /// # Errors
    /// The node had stopped already; or no other node is known to hold the last messages that it
    /// published. The node has ended in both cases.
    pub async fn leave_within(&self, within: Duration) -> Result<(), LeaveError> {
        self.handle.leave(within).await
    }

    /// How many messages of this node no other node is known to hold; 0 after the node has ended.
    #[must_use]
    pub fn unconfirmed_messages(&self) -> u64 {
        self.handle.shared_core().with(|peer, _| peer.unconfirmed_messages()).unwrap_or(0)
    }

    /// Fault injection: ends at once without notice, as a crash would. Sockets are closed by being
    /// dropped; nothing more is written to disk.
    pub fn kill(&self) {
        self.handle.kill();
    }

    /// Fault injection: the effect of `SIGSTOP` and `SIGCONT`. While the node is frozen, sockets
    /// stay open and the kernel accepts connections, but the node reads, writes and computes
    /// nothing; calls wait.
    pub fn freeze(&self, frozen: bool) {
        self.handle.freeze(frozen);
    }

    /// Fault injection: from now on, the effect of a firewall that drops all packets to and from
    /// these nodes, and no others. Links with them stall, and new links with them do not open; the
    /// node notices as in a partitioned network. Call it on both sides of the partition. An empty
    /// set ends the partition.
    pub fn partition_from(&self, peers: impl IntoIterator<Item = PeerId>) {
        self.handle.partition_from(peers.into_iter().collect());
    }

    /// Whether the node has ended because another process with its identity had started earlier:
    /// its data directory, or its machine, is a copy. `None` while the node runs, and after any
    /// other end.
    #[must_use]
    pub fn duplicate_identity(&self) -> Option<DuplicateIdentity> {
        self.handle.duplicate_identity()
    }

    /// Resolves when all tasks of the node have ended, for any reason.
    pub async fn stopped(&self) {
        self.handle.stopped().await;
    }
}

impl NodeBuilder {
    /// The name, shown to people; it need not be unique. Default: `peer-` and the short id.
    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// The configuration. Default: the preset `lan`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.launch.config = Some(config);
        self
    }

    /// The key pair. Default: the one in the data directory, or a new one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.launch.identity = Some(identity);
        self
    }

    /// The address to listen at. Default: `[::]:0`, all interfaces, IPv4 and IPv6, and a port that
    /// the system chooses.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.launch.listen = Some(address);
        self
    }

    /// A socket that already listens; it takes precedence over [`listen`](NodeBuilder::listen).
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.launch.listener = Some(listener);
        self
    }

    /// The addresses at which others can reach this peer, best first, at most [`MAX_ADDRESSES`].
    /// Default: the address it listens at; if that is all interfaces, the address at which seeds
    /// and neighbours see this peer, also after it changes.
    #[must_use]
    pub fn advertise(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.advertise = addresses;
        self
    }

    /// The seeds of the network. Default: none, a network of one peer.
    #[must_use]
    pub fn seeds(mut self, seeds: Vec<SeedAddress>) -> Self {
        self.launch.seeds = seeds;
        self
    }

    /// The directory for identity, incarnation, anchors and messages. Default: none; after a
    /// restart the node is then a new peer.
    #[must_use]
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.launch.data_dir = Some(directory.into());
        self
    }

    /// Shares the results of signature checks with other nodes of this process, so that each
    /// signature is checked once for all of them: of n nodes in one process, n others send each of
    /// them the same records. Default: not shared.
    #[must_use]
    pub fn verifier(mut self, verifier: Arc<Verifier>) -> Self {
        self.launch.verifier = verifier;
        self
    }

    /// How long [`Node::leave`], or dropping the last handle, may take to hand over published
    /// messages. Default: ten seconds.
    #[must_use]
    pub const fn leave_within(mut self, within: Duration) -> Self {
        self.launch.tuning.leave_within = within;
        self
    }

    /// The key of a private network. Default: none, an open network.
    #[must_use]
    pub fn network_key(mut self, key: NetworkKey) -> Self {
        self.launch.network_key = Some(key);
        self
    }

    /// Every event of the node, from the first one.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.launch.channels.events.subscribe())
    }

    /// Every message of the node, from the first one, for a program that acknowledges its progress.
    /// `None` if the node has a consumer already.
    #[must_use]
    pub fn consumer(&self) -> Option<Consumer> {
        let progress = &self.launch.channels.progress;
        progress.attach().then(|| Consumer::new(self.subscribe(), progress.clone()))
    }

    /// Every message that the node will deliver, from the first one: with a data directory, the
    /// messages that an earlier process did not deliver, otherwise those that neighbours retain;
    /// then new ones. The same as [`Start::Undelivered`].
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_with(SubscribeOptions::new().start(Start::Undelivered))
    }

    /// As [`Node::subscribe_with`], but before the node is started.
    #[must_use]
    pub fn subscribe_with(&self, options: SubscribeOptions) -> Subscription {
        Subscription::open(&self.launch.channels.log, options)
    }

    /// Starts the node.
    ///
    /// # Errors
    /// The data directory cannot be used, the address is in use, too many addresses are advertised,
    /// or the system lacks a resource. No part of the node is left running, and the streams that
    /// [`subscribe`](NodeBuilder::subscribe) and [`events`](NodeBuilder::events) returned have
    /// ended.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O.
    pub async fn start(self) -> Result<Node, StartError> {
        let NodeBuilder { mut launch, name, advertise } = self;
        let leave_within = launch.tuning.leave_within;
        launch.check_seeds()?;
        let (directory, given) = (launch.data_dir.take(), launch.identity.take());
        let (verifier, counters) = (launch.verifier.clone(), launch.counters.clone());
        let opened = on_blocking_pool(move || {
            OpenedStore::open(directory.as_deref(), Role::Peer, given, |database| {
                load_peer_state(database, &verifier, &counters)
            })
        })
        .await?;
        let found = opened.found;
        let (stored, incarnation) =
            found.unwrap_or_else(|| (StoredPeerState::default(), start_number(None, wall_clock())));
        let identity = opened.identity;
        let listener = launch.take_listener()?;
        let name = match name {
            Some(name) => name,
            None => Name::new(format!("peer-{}", identity.id()))?,
        };
        let mut addresses: Vec<Address> = advertise.into_iter().map(Address).collect();
        if addresses.len() > MAX_ADDRESSES {
            return Err(StartError::TooManyAddresses(addresses.len()));
        }
        if addresses.is_empty() {
            addresses.push(Address(listener.local_addr()));
        }
        let setup = PeerSetup {
            config: launch.config()?.into(),
            identity: identity.clone(),
            name: name.clone(),
            addresses,
            seeds: launch.seeds.clone().into(),
            incarnation,
            anchors: stored.anchors,
            retained: stored.batches,
            delivered_marks: stored.delivered,
            closed_up_to: stored.closed_up_to,
            rng_seed: crate::random_bytes()?,
        };
        let label = NodeLabel { name: name.as_str().to_owned(), id: identity.id() };
        let make = || Peer::new(setup, Time::ZERO);
        let handle = launch.run(make, label, identity, listener, opened.database)?;
        Ok(Node { handle, name, leave_within })
    }
}

fn load_peer_state(
    database: &mut Database,
    verifier: &Verifier,
    counters: &Arc<crate::counters::TransportCounters>,
) -> Result<(StoredPeerState, u64), redb::Error> {
    let stored = database.peer_state(verifier, counters)?;
    // The incarnation is durable before its first use: after a crash, no node may see it twice.
    let incarnation = database.begin_incarnation(stored.incarnation, wall_clock())?;
    Ok((stored, incarnation))
}
