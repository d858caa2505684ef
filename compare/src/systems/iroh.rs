//! iroh-gossip over QUIC, on loopback only: no relays, no address lookup but a list in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::{DEFAULT_MAX_MESSAGE_SIZE, TopicId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Member, MemberChange, MemberSetup, Publisher, Setup, System};
use crate::scoreboard::Sink;

/// Any port of the loopback interface.
const LOOPBACK: &str = "127.0.0.1:0";
const TOPIC_ID: TopicId = TopicId::from_bytes([7; 32]);
/// How long all nodes together may take to find neighbours.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the nodes are asked for neighbours.
const JOIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of a gossip message besides its payload, at most.
const MESSAGE_OVERHEAD: usize = 1024;

/// An endpoint that speaks the gossip protocol.
struct IrohNode {
    router: Router,
    gossip: Gossip,
    lookup: MemoryLookup,
}

/// What a node has told its application.
#[derive(Default)]
struct NodeState {
    neighbours: AtomicUsize,
    /// Times that the subscription was closed because it lagged.
    lags: AtomicU64,
}

/// A node that has joined the topic.
struct JoinedNode {
    node: IrohNode,
    sender: GossipSender,
    state: Arc<NodeState>,
}

/// Nodes in this process.
pub(crate) struct IrohGossip {
    nodes: Vec<JoinedNode>,
}

impl IrohNode {
    async fn start(payload: usize) -> Result<Self> {
        let lookup = MemoryLookup::new();
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr(LOOPBACK)
            .context("cannot bind an iroh endpoint")?
            .address_lookup(lookup.clone())
            .bind()
            .await
            .context("cannot start an iroh endpoint")?;
        let most = (payload + MESSAGE_OVERHEAD).max(DEFAULT_MAX_MESSAGE_SIZE);
        let gossip = Gossip::builder().max_message_size(most).spawn(endpoint.clone());
        let router = Router::builder(endpoint).accept(GOSSIP_ALPN, gossip.clone()).spawn();
        Ok(IrohNode { router, gossip, lookup })
    }

    fn endpoint(&self) -> &Endpoint {
        self.router.endpoint()
    }

    fn address(&self) -> EndpointAddr {
        let sockets = self.endpoint().bound_sockets();
        sockets
            .into_iter()
            .fold(EndpointAddr::new(self.endpoint().id()), EndpointAddr::with_ip_addr)
    }

    /// Joins the topic through other nodes, whose addresses must be known.
    async fn join(&self, through: Vec<EndpointId>) -> Result<(GossipSender, GossipReceiver)> {
        let topic = self.gossip.subscribe(TOPIC_ID, through).await;
        Ok(topic.context("an iroh node cannot join the topic")?.split())
    }
}

/// The nodes through which a node joins: the first one, the one before, and one between them.
fn join_through(index: usize) -> Vec<usize> {
    let mut through: Vec<usize> = match index {
        0 => return Vec::new(),
        index => vec![0, index / 2, index - 1],
    };
    through.dedup();
    through
}

async fn receive(mut receiver: GossipReceiver, sink: Sink, state: Arc<NodeState>) {
    while let Some(Ok(event)) = receiver.next().await {
        match event {
            Event::Received(message) => sink.deliver(&message.content),
            Event::NeighborUp(_) => {
                state.neighbours.fetch_add(1, Relaxed);
            }
            Event::NeighborDown(_) => {
                state.neighbours.fetch_sub(1, Relaxed);
            }
            Event::Lagged => {
                state.lags.fetch_add(1, Relaxed);
            }
        }
    }
}

impl System for IrohGossip {
    type Publisher = IrohPublisher;

    async fn start(setup: &Setup, sinks: Vec<Sink>) -> Result<Self> {
        let mut started = Vec::new();
        for _ in &sinks {
            started.push(IrohNode::start(setup.payload).await?);
        }
        let addresses: Vec<EndpointAddr> = started.iter().map(IrohNode::address).collect();
        let mut nodes = Vec::new();
        for (index, (node, sink)) in started.into_iter().zip(sinks).enumerate() {
            addresses.iter().for_each(|a| node.lookup.add_endpoint_info(a.clone()));
            let through = join_through(index).into_iter().filter_map(|i| addresses.get(i));
            let (sender, receiver) = node.join(through.map(|a| a.id).collect()).await?;
            let state = Arc::new(NodeState::default());
            tokio::spawn(receive(receiver, sink, state.clone()));
            nodes.push(JoinedNode { node, sender, state });
        }
        Ok(IrohGossip { nodes })
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while self.nodes.iter().any(|n| n.state.neighbours.load(Relaxed) == 0) {
            if Instant::now() >= deadline {
                bail!("an iroh node has no neighbour after {} s", JOIN_TIMEOUT.as_secs());
            }
            sleep(JOIN_CHECK_INTERVAL).await;
        }
        Ok(())
    }

    fn publisher(&self, node: usize) -> Option<IrohPublisher> {
        let node = self.nodes.get(node)?;
        Some(IrohPublisher(node.sender.clone()))
    }

    async fn bytes_sent(&self) -> Result<Option<u64>> {
        let sent = |n: &JoinedNode| {
            let socket = &n.node.endpoint().metrics().socket;
            socket.send_ipv4.get() + socket.send_ipv6.get()
        };
        Ok(Some(self.nodes.iter().map(sent).sum()))
    }

    async fn stop(self) {
        let lags: u64 = self.nodes.iter().map(|n| n.state.lags.load(Relaxed)).sum();
        if lags > 0 {
            eprintln!("iroh-gossip: {lags} subscriptions lagged and were closed");
        }
        // The process ends after this, and with it the endpoints.
    }
}

/// Publishes at one node.
#[derive(Clone)]
pub(crate) struct IrohPublisher(GossipSender);

impl Publisher for IrohPublisher {
    async fn publish(&self, payload: Vec<u8>) -> Result<()> {
        let sent = self.0.broadcast(Bytes::from(payload)).await;
        sent.context("the iroh node refused a message")
    }
}

/// One node in a process of its own.
pub(crate) struct IrohMember {
    index: usize,
    node: IrohNode,
    address: String,
    /// Keeps the topic joined.
    sender: Option<GossipSender>,
    changes: mpsc::UnboundedReceiver<MemberChange>,
    report: mpsc::UnboundedSender<MemberChange>,
}

impl Member for IrohMember {
    async fn start(setup: MemberSetup) -> Result<Self> {
        let node = IrohNode::start(0).await?;
        let address = serde_json::to_string(&node.address())?;
        let (report, changes) = mpsc::unbounded_channel();
        Ok(IrohMember { index: setup.index, node, address, sender: None, changes, report })
    }

    fn id(&self) -> String {
        self.node.endpoint().id().to_string()
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    async fn join(&mut self, addresses: &[String]) -> Result<()> {
        let parse = |a: &String| {
            serde_json::from_str::<EndpointAddr>(a).with_context(|| format!("{a} is no address"))
        };
        let addresses = addresses.iter().map(parse).collect::<Result<Vec<_>>>()?;
        addresses.iter().for_each(|a| self.node.lookup.add_endpoint_info(a.clone()));
        let through = join_through(self.index).into_iter().filter_map(|i| addresses.get(i));
        let (sender, mut receiver) = self.node.join(through.map(|a| a.id).collect()).await?;
        self.sender = Some(sender);
        let report = self.report.clone();
        tokio::spawn(async move {
            while let Some(Ok(event)) = receiver.next().await {
                let (id, alive) = match event {
                    Event::NeighborUp(id) => (id, true),
                    Event::NeighborDown(id) => (id, false),
                    Event::Received(_) | Event::Lagged => continue,
                };
                // Without a reader the process is about to end.
                let _ = report.send(MemberChange { id: id.to_string(), alive });
            }
        });
        Ok(())
    }

    async fn next_change(&mut self) -> Result<MemberChange> {
        self.changes.recv().await.ok_or_else(|| anyhow!("the iroh node has stopped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_joins_through_nodes_that_were_started_earlier() {
        assert_eq!(join_through(0), [0usize; 0]);
        assert_eq!(join_through(1), [0]);
        assert_eq!(join_through(9), [0, 4, 8]);
    }
}
