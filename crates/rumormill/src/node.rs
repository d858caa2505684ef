//! A running peer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::limits::MAX_ADDRESSES;
use rumormill_proto::snapshot::{
    HeldMessage, MemberView, NeighbourView, PeerSnapshot, PeerState, PublisherView,
};
use rumormill_proto::wire::Verifier;
use rumormill_proto::{
    Address, Config, Event, Identity, Message, MessageId, Name, Peer, PeerId, PeerSetup, Role,
    SeedAddress, Time, start_number,
};

use crate::delays::DelayHistogram;
use crate::driver::{DuplicateIdentity, Stamped, wall};
use crate::error::{PublishError, StartError, Stopped};
use crate::handle::Handle;
use crate::launch::{Launch, Prepared, on_blocking_pool};
use crate::listener::Listener;
use crate::network_key::NetworkKey;
use crate::publish::{LeaveError, ReceiptError, Receipts, Request};
use crate::store::{Database, Kept};
use crate::subscription::{Consumer, Events, Observed, Start, SubscribeOptions, Subscription};
use crate::trace::Label;

/// A running peer. Clones are handles to the same one.
///
/// It runs in tasks of the tokio runtime that [`NodeBuilder::start`] was awaited on, until
/// [`leave`](Node::leave), [`kill`](Node::kill), the end of the runtime, or until the last handle
/// is dropped. Dropping the last handle is a [`leave`](Node::leave) in the background: no caller waits for it,
/// no caller hears of messages that it could not hand over, and if the runtime ends first (as it does when
/// `main` returns), it is cut short, and messages may be lost. A program that publishes calls `leave` and looks at
/// what it says. [`Subscription`] and [`Events`] are not handles.
///
/// ```
/// use rumormill::{Config, Node, Received};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A network of one: no seeds.
/// let node = Node::builder()
///     .name("alone".parse()?)
///     .config(Config::lan().build()?)
///     .listen("127.0.0.1:0".parse()?)
///     .start()
///     .await?;
/// let mut messages = node.subscribe();
/// let id = node.publish("greetings", "hello").await?;
/// match messages.recv().await {
///     Some(Received::Message(m)) => assert_eq!(m.message.payload(), b"hello"),
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

/// Collects what a peer starts with. Everything has a default.
#[derive(Debug)]
pub struct NodeBuilder {
    launch: Launch,
    name: Option<Name>,
    advertise: Vec<SocketAddr>,
}

impl Node {
    /// Begins to describe a peer.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder { launch: Launch::new(Role::Peer), name: None, advertise: Vec::new() }
    }

    /// Its id: the public key that it proves on every connection.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.handle.id()
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Publishes a message to the network. The answer says that this node has taken it, not that
    /// others have; for that, see [`publish_with_receipt`](Node::publish_with_receipt).
    ///
    /// Before the node has a neighbour, a message waits here, and goes out when there is one; it is kept
    /// for as long as the node's `retention_age` says.
    ///
    /// While more is on its way than the network can take, it waits (first come, first served);
    /// this is how a publisher is slowed down before anything is lost. What is published before
    /// the node has its turn travels as one batch, so a loop is fast, and nothing waits for more
    /// to come. Cancelled while it waits, it has published nothing.
    ///
    /// # Errors
    /// The topic or payload is too long, the node is leaving, or it has stopped. Nothing was sent
    /// then.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, PublishError> {
        let request = Request { topic, payload: payload.as_ref(), receipt: false };
        Ok(self.handle.publish(request).await?.0)
    }

    /// Publishes a message if there is room for it at this moment. It does not wait, and needs no
    /// runtime.
    ///
    /// # Errors
    /// As [`publish`](Node::publish); where that would wait, an error that
    /// [`is_busy`](PublishError::is_busy).
    pub fn try_publish(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, PublishError> {
        let request = Request { topic, payload: payload.as_ref(), receipt: false };
        Ok(self.handle.try_publish(request)?.0)
    }

    /// Publishes as [`publish`](Node::publish), and tells who holds the message as it spreads.
    ///
    /// # Errors
    /// As [`publish`](Node::publish); also if too many receipts are waited for. Nothing was sent
    /// then.
    pub async fn publish_with_receipt(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<(MessageId, Receipts), PublishError> {
        let request = Request { topic, payload: payload.as_ref(), receipt: true };
        match self.handle.publish(request).await? {
            (id, Some(receipts)) => Ok((id, receipts)),
            (id, None) => Ok((id, self.handle.receipt(id)?)),
        }
    }

    /// Tells who holds a message that this node has published in its present life. Asked for only
    /// after the message is on its way, the first answer takes a little longer.
    ///
    /// # Errors
    /// It is no such message, or too many receipts are waited for.
    pub fn receipt(&self, id: MessageId) -> Result<Receipts, ReceiptError> {
        self.handle.receipt(id)
    }

    /// Every message that is published from now on, of every topic: each once, in its publisher's order,
    /// and this node's own ones. See [`Start::Now`] for what that leaves out.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.handle.subscribe(SubscribeOptions::new())
    }

    /// The messages of some topics, or from an earlier point on.
    ///
    /// ```
    /// use rumormill::{Node, Received, Start, SubscribeOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::builder().listen("127.0.0.1:0".parse()?).start().await?;
    /// let mut now = node.subscribe();
    /// node.publish("orders.new", "1 kg of tea").await?;
    /// node.publish("news", "it rains").await?;
    /// now.recv().await;
    /// now.recv().await;
    ///
    /// // Later, and yet from the beginning.
    /// let options = SubscribeOptions::new().start(Start::Earliest).topic("orders.*")?;
    /// let mut orders = node.subscribe_with(options);
    /// let Some(Received::Message(m)) = orders.recv().await else { panic!("no message") };
    /// assert_eq!(m.message.payload(), b"1 kg of tea");
    /// // That was all there is, and what follows is new.
    /// assert!(matches!(orders.try_recv(), Some(Received::CaughtUp)));
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

    /// Resolves when the node is registered at a majority of its seeds and has taken in their lists of
    /// members; at once if it has. [`members`](Node::members) then contains every peer that had joined
    /// before this node was registered; of two that join at the same moment, at least one knows the
    /// other, and each hears of the other within a moment (the seeds gather news for 100 ms). In a
    /// network of more than 1024 peers a list is a sample. What is published before a node has joined
    /// reaches the others when it has neighbours, as far as it is still kept.
    ///
    /// A node without seeds never is: it is a network of its own. There is no deadline; put it into a
    /// `tokio::time::timeout` for one. Cancelling it changes nothing.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn joined(&self) -> Result<(), Stopped> {
        // Before it looks, so that nothing happens in between.
        let mut events = self.events();
        while self.handle.call(|peer, _| peer.state()).await? != PeerState::Joined {
            // What changes nothing of that is passed over without asking the node again.
            while let Observed::Event(Stamped { event, .. }) = events.recv().await.ok_or(Stopped)? {
                if matches!(event, Event::Joined { .. } | Event::Restored { .. }) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Everything about the node at this moment, with the counters of protocol, transport and
    /// store.
    ///
    /// # Errors
    /// The node has stopped. The answer of a [frozen](Node::freeze) node comes when it is let go.
    pub async fn snapshot(&self) -> Result<PeerSnapshot, Stopped> {
        let mut snapshot = self.handle.call(|peer, now| peer.snapshot(now)).await?;
        self.handle.add_counters(&mut snapshot.counters);
        snapshot.store_problem = self.handle.store_problem();
        Ok(snapshot)
    }

    /// The members of the network in this node's view, itself included.
    ///
    /// # Errors
    /// The node has stopped. The answer of a [frozen](Node::freeze) node comes when it is let go.
    pub async fn members(&self) -> Result<Vec<MemberView>, Stopped> {
        self.handle.call(|peer, now| peer.members(now)).await
    }

    /// Its neighbours in the overlay.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn neighbours(&self) -> Result<Vec<NeighbourView>, Stopped> {
        self.handle.call(|peer, now| peer.snapshot(now).neighbours).await
    }

    /// How long messages took to come here.
    #[must_use]
    pub fn delays(&self) -> DelayHistogram {
        self.handle.delays()
    }

    /// The newest `limit` messages it holds, oldest first.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn messages(&self, limit: usize) -> Result<Vec<HeldMessage>, Stopped> {
        self.handle.call(move |peer, _| peer.held_messages(limit, None)).await
    }

    /// The newest `limit` of the messages that it holds and that arrived before one of them, oldest
    /// first; none if that one is not held any more.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn messages_before(
        &self,
        before: MessageId,
        limit: usize,
    ) -> Result<Vec<HeldMessage>, Stopped> {
        let held = move |peer: &mut Peer, _| peer.held_messages(limit, Some(before));
        self.handle.call(held).await
    }

    /// The message list in figures, by publisher.
    ///
    /// # Errors
    /// As [`members`](Node::members).
    pub async fn publishers(&self) -> Result<Vec<PublisherView>, Stopped> {
        self.handle.call(|peer, _| peer.publishers()).await
    }

    /// Gets one message: from this node if it holds it, else from its neighbours. `None` if nobody
    /// asked has it.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn get(&self, id: MessageId) -> Result<Option<Message>, Stopped> {
        self.handle.fetch(id, Peer::fetch).await
    }

    /// Waits until at least one other node holds everything that was published before this call. It asks the
    /// neighbours; a node that has none waits for one, and so does a network of one: put it into a
    /// `tokio::time::timeout`. Cancelling it changes nothing.
    ///
    /// The messages then survive the loss of this node, unless that other node is lost as well before it has
    /// passed them on. For a count of all nodes that hold a message, see
    /// [`publish_with_receipt`](Node::publish_with_receipt).
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn flush(&self) -> Result<(), Stopped> {
        self.handle.flush().await
    }

    /// Leaves the network within ten seconds, or the time given to [`NodeBuilder::leave_within`]: see
    /// [`leave_within`](Node::leave_within).
    ///
    /// # Errors
    /// See there.
    pub async fn leave(&self) -> Result<(), LeaveError> {
        self.leave_within(self.leave_within).await
    }

    /// Leaves the network: refuses further messages to publish, hands over those that it has accepted, says
    /// goodbye to neighbours and seeds, and ends. Resolves when all of the node is gone.
    ///
    /// Until a neighbour has confirmed that it holds everything that this node published, the node stays a
    /// member, and looks for a neighbour if it has none. Where there is no other node, nothing is handed over, and that is
    /// no error. Most of the time it takes some milliseconds; `within` bounds it. When that time is over, what is queued is
    /// written for at most two more seconds. Called a second time, the shorter time holds.
    ///
    /// # Errors
    /// The node had stopped already; or no other node is known to hold the last messages that it published. It
    /// has ended all the same.
    pub async fn leave_within(&self, within: Duration) -> Result<(), LeaveError> {
        self.handle.leave(within).await
    }

    /// How many messages that this node published no other node is known to hold; none once it has ended.
    #[must_use]
    pub fn unconfirmed(&self) -> u64 {
        self.handle.seat().with(|peer, _| peer.unconfirmed()).unwrap_or(0)
    }

    /// Fault injection: ends at once without a word, as a crash would. Sockets are closed by being
    /// dropped; nothing more is written to disk.
    pub fn kill(&self) {
        self.handle.kill();
    }

    /// Fault injection: as `SIGSTOP` and `SIGCONT`. While frozen, sockets stay open and the kernel
    /// accepts connections, but nothing is read, written or computed; calls wait.
    pub fn freeze(&self, frozen: bool) {
        self.handle.freeze(frozen);
    }

    /// Fault injection: as a firewall that drops everything to and from these nodes, and nobody else,
    /// from now on. Links with them stand still, and new ones do not come up; they notice as they would
    /// in a network that is cut. Cut both sides. With nobody, all is as before.
    pub fn cut_off(&self, from: impl IntoIterator<Item = PeerId>) {
        self.handle.cut_off(from.into_iter().collect());
    }

    /// Whether the node has ended because another process with its identity had started earlier: its data
    /// directory, or its machine, is a copy. `None` while it runs, and after any other end.
    #[must_use]
    pub fn duplicate_identity(&self) -> Option<DuplicateIdentity> {
        self.handle.duplicate_identity()
    }

    /// Resolves when all of the node has ended, for whatever reason.
    pub async fn stopped(&self) {
        self.handle.stopped().await;
    }
}

impl NodeBuilder {
    /// Its name, for people; need not be unique. Default: `peer-` and the short id.
    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// Its settings. Default: the preset `lan`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.launch.config = Some(config);
        self
    }

    /// Its key pair. Default: that of the data directory, or a fresh one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.launch.identity = Some(identity);
        self
    }

    /// Where to listen. Default: `[::]:0`, all interfaces, IPv4 and IPv6, and a port that the
    /// system chooses.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.launch.listen = Some(address);
        self
    }

    /// A socket that listens already; it goes before [`listen`](NodeBuilder::listen).
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.launch.listener = Some(listener);
        self
    }

    /// Where others can reach it, best first, at most [`MAX_ADDRESSES`]. Default: where it
    /// listens; if that is all interfaces, the address at which seeds and neighbours see it, also when
    /// that changes.
    #[must_use]
    pub fn advertise(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.advertise = addresses;
        self
    }

    /// The seeds of the network. Default: none, a network of one.
    #[must_use]
    pub fn seeds(mut self, seeds: Vec<SeedAddress>) -> Self {
        self.launch.seeds = seeds;
        self
    }

    /// Where to keep identity, incarnation, anchors and messages. Default: nowhere; a restart is
    /// then a new peer.
    #[must_use]
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.launch.data_dir = Some(directory.into());
        self
    }

    /// Shares with other nodes of this process which signatures were checked, so that each is checked
    /// once for all of them: of n nodes in one process, n others send each of them the same records.
    /// Default: none is shared.
    #[must_use]
    pub fn verifier(mut self, verifier: Arc<Verifier>) -> Self {
        self.launch.verifier = verifier;
        self
    }

    /// How long [`Node::leave`], or dropping the last handle, may take to hand over what was published. Default:
    /// ten seconds.
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

    /// Every event of the node, from its very first one.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.launch.hubs.events.subscribe())
    }

    /// Every message of the node, from its very first one, for a program that says how far it has come.
    /// `None` if the node has a consumer already.
    #[must_use]
    pub fn consumer(&self) -> Option<Consumer> {
        let progress = &self.launch.hubs.progress;
        progress.attach().then(|| Consumer::new(self.subscribe(), progress.clone()))
    }

    /// Every message that the node will deliver, from its very first one: with a data directory, those that
    /// an earlier process did not deliver, else those that neighbours keep; then what comes. The
    /// same as [`Start::Undelivered`].
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_with(SubscribeOptions::new().start(Start::Undelivered))
    }

    /// As [`Node::subscribe_with`], from before the node is started.
    #[must_use]
    pub fn subscribe_with(&self, options: SubscribeOptions) -> Subscription {
        Subscription::open(&self.launch.hubs.log, options)
    }

    /// Starts the node.
    ///
    /// # Errors
    /// The data directory cannot be used, the address is taken, too many are advertised, or the system lacks
    /// something. No part of the node is left running, and what [`subscribe`](NodeBuilder::subscribe) and
    /// [`events`](NodeBuilder::events) gave is at its end.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O.
    pub async fn start(self) -> Result<Node, StartError> {
        let NodeBuilder { mut launch, name, advertise } = self;
        let leave_within = launch.tuning.leave_within;
        launch.check_seeds()?;
        let (directory, given) = (launch.data_dir.take(), launch.identity.take());
        let (verifier, tally) = (launch.verifier.clone(), launch.tally.clone());
        let prepared = on_blocking_pool(move || {
            Prepared::open(directory.as_deref(), Role::Peer, given, |database| {
                earlier_life(database, &verifier, &tally)
            })
        })
        .await?;
        let found = prepared.found;
        let (kept, incarnation) =
            found.unwrap_or_else(|| (Kept::default(), start_number(None, wall())));
        let identity = prepared.identity;
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
            anchors: kept.anchors,
            kept: kept.batches,
            delivered: kept.delivered,
            compacted: kept.compacted,
            rng_seed: crate::random_bytes()?,
        };
        let label = Label { name: name.as_str().to_owned(), id: identity.id() };
        let make = || Peer::new(setup, Time::ZERO);
        let handle = launch.run(make, label, identity, listener, prepared.database)?;
        Ok(Node { handle, name, leave_within })
    }
}

fn earlier_life(
    database: &mut Database,
    verifier: &Verifier,
    tally: &Arc<crate::counters::Tally>,
) -> Result<(Kept, u64), redb::Error> {
    let kept = database.kept(verifier, tally)?;
    // Durable before it is used: after a crash, nobody may see the same incarnation twice.
    let incarnation = database.begin_life(kept.incarnation, wall())?;
    Ok((kept, incarnation))
}
