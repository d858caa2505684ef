//! Rumormill, through its public library.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rumormill::{
    Event, EventItem, Events, Listener, MemberState, Node, PeerId, SeedAddress, SeedNode,
    Subscription, SubscriptionItem, TimestampedEvent,
};
use tokio::time::{Instant, sleep};

use super::{Member, MemberChange, MemberSetup, Publisher, Setup, System, TOPIC};
use crate::scoreboard::Sink;

/// How long all nodes together may take to join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the nodes are asked whether they have joined.
const JOIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Any port of the loopback interface.
const LOOPBACK: &str = "127.0.0.1:0";

/// Nodes and one seed in this process.
pub(crate) struct Rumormill {
    nodes: Vec<Node>,
    seed: SeedNode,
}

/// Starts a seed, and gives its address.
pub(crate) async fn start_seed() -> Result<(SeedNode, SeedAddress)> {
    let listener = Listener::bind(LOOPBACK.parse()?).context("cannot start the seed")?;
    let address = SeedAddress { host_port: listener.local_addr().to_string(), pin: None };
    let builder = SeedNode::builder().listener(listener).seeds(vec![address.clone()]);
    let seed = builder.own_index(Some(0)).start().await.context("cannot start the seed")?;
    Ok((seed, address))
}

async fn deliver_all(mut subscription: Subscription, sink: Sink) {
    while let Some(item) = subscription.recv().await {
        if let SubscriptionItem::Message(message) = item {
            sink.deliver(message.message.payload());
        }
    }
}

impl System for Rumormill {
    type Publisher = Node;

    async fn start(_: &Setup, sinks: Vec<Sink>) -> Result<Self> {
        let (seed, address) = start_seed().await?;
        let mut nodes = Vec::new();
        for (index, sink) in sinks.into_iter().enumerate() {
            let builder = Node::builder()
                .name(format!("node-{index}").parse()?)
                .listen(LOOPBACK.parse()?)
                .seeds(vec![address.clone()]);
            tokio::spawn(deliver_all(builder.subscribe(), sink));
            let node =
                builder.start().await.with_context(|| format!("cannot start node {index}"))?;
            nodes.push(node);
        }
        Ok(Rumormill { nodes, seed })
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        for (index, node) in self.nodes.iter().enumerate() {
            loop {
                let snapshot = node.snapshot().await?;
                let knows_all = usize::try_from(snapshot.alive) == Ok(self.nodes.len());
                if knows_all && !snapshot.neighbours.is_empty() {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!(
                        "node {index} has {} neighbours and knows {} of {} nodes after {} s",
                        snapshot.neighbours.len(),
                        snapshot.alive,
                        self.nodes.len(),
                        JOIN_TIMEOUT.as_secs()
                    );
                }
                sleep(JOIN_CHECK_INTERVAL).await;
            }
        }
        Ok(())
    }

    fn publisher(&self, node: usize) -> Option<Node> {
        self.nodes.get(node).cloned()
    }

    async fn bytes_sent(&self) -> Result<Option<u64>> {
        const COUNTER: &str = "socket_bytes_out";
        let mut bytes = self.seed.snapshot().await?.counters.get(COUNTER);
        for node in &self.nodes {
            bytes += node.snapshot().await?.counters.get(COUNTER);
        }
        Ok(Some(bytes).filter(|bytes| *bytes > 0))
    }

    async fn stop(self) {
        self.nodes.iter().for_each(Node::kill);
        self.seed.kill();
        for node in &self.nodes {
            node.stopped().await;
        }
        self.seed.stopped().await;
    }
}

impl Publisher for Node {
    async fn publish(&self, payload: Vec<u8>) -> Result<()> {
        Node::publish(self, TOPIC, payload).await?;
        Ok(())
    }
}

/// One node in a process of its own.
pub(crate) struct RumormillMember {
    node: Node,
    events: Events,
    /// The living members that were reported.
    known: BTreeSet<PeerId>,
}

impl Member for RumormillMember {
    async fn start(setup: MemberSetup) -> Result<Self> {
        let seed = |host_port: String| SeedAddress { host_port, pin: None };
        let builder = Node::builder()
            .name(format!("node-{}", setup.index).parse()?)
            .listen(LOOPBACK.parse()?)
            .seeds(setup.seeds.into_iter().map(seed).collect());
        let events = builder.events();
        let node = builder.start().await.context("cannot start the node")?;
        Ok(RumormillMember { node, events, known: BTreeSet::new() })
    }

    fn id(&self) -> String {
        self.node.id().to_hex()
    }

    fn address(&self) -> String {
        self.node.local_addr().to_string()
    }

    /// The seed introduces the nodes to each other.
    async fn join(&mut self, _: &[String]) -> Result<()> {
        Ok(())
    }

    async fn next_change(&mut self) -> Result<MemberChange> {
        loop {
            let members = self.node.members().await?;
            let lives = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
            let alive: BTreeSet<PeerId> = members
                .iter()
                .filter(|m| m.id != self.node.id() && lives(m.state))
                .map(|m| m.id)
                .collect();
            if let Some(&id) = alive.symmetric_difference(&self.known).next() {
                let is_new = self.known.insert(id);
                if !is_new {
                    self.known.remove(&id);
                }
                return Ok(MemberChange { id: id.to_hex(), alive: is_new });
            }
            self.wait_for_member_event().await?;
        }
    }
}

impl RumormillMember {
    async fn wait_for_member_event(&mut self) -> Result<()> {
        loop {
            let item = self.events.recv().await.ok_or_else(|| anyhow!("the node has stopped"))?;
            let EventItem::Event(TimestampedEvent { event, .. }) = item else {
                return Ok(()); // Events were left out, and one of them may be about a member.
            };
            let is_about_member = matches!(
                event,
                Event::MemberJoined { .. }
                    | Event::MemberExpired { .. }
                    | Event::MemberLeft { .. }
                    | Event::MemberDead { .. }
            );
            if is_about_member {
                return Ok(());
            }
        }
    }
}
