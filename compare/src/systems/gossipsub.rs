//! libp2p gossipsub over TCP, Noise and yamux.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::core::{Transport as _, upgrade};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, PublishError, TopicHash};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, ping, tcp, yamux};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Member, MemberChange, MemberSetup, Publisher, Setup, System, TOPIC};
use crate::links;
use crate::scoreboard::Sink;

/// Any port of the loopback interface.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";
/// Links stay open though nothing but ping uses them, as long as a run may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Commands that wait for a node.
const MAX_COMMANDS: usize = 64;
/// How long a node waits before it publishes again a message that no link had room for.
const FULL_QUEUES_PAUSE: Duration = Duration::from_millis(1);
/// Time until the first heartbeat, which completes the mesh (5 s by default), and one more.
const FIRST_HEARTBEATS: Duration = Duration::from_secs(6);
/// How long a node may take to begin to listen.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the mesh may take to be complete.
const MESH_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the mesh is checked.
const MESH_CHECK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossipsub: gossipsub::Behaviour,
    ping: ping::Behaviour,
}

enum Command {
    Dial(Multiaddr),
    Publish(Vec<u8>),
}

/// A node, whose swarm runs in a task of its own.
struct GossipNode {
    id: PeerId,
    /// The address it listens at, with its id.
    address: Multiaddr,
    commands: mpsc::Sender<Command>,
    counters: Arc<NodeCounters>,
}

#[derive(Default)]
struct NodeCounters {
    bytes_sent: AtomicU64,
    mesh_links: AtomicUsize,
    publish_errors: AtomicU64,
}

/// What a node's task reports.
struct Outputs {
    sink: Option<Sink>,
    changes: Option<mpsc::UnboundedSender<MemberChange>>,
}

/// Nodes in this process.
pub(crate) struct Gossipsub {
    nodes: Vec<GossipNode>,
    started: Instant,
}

/// A stream that counts the bytes that are written to it.
struct CountingStream<S> {
    stream: S,
    counters: Arc<NodeCounters>,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        if let Poll::Ready(Ok(n)) = written {
            self.counters.bytes_sent.fetch_add(n as u64, Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

fn swarm(counters: &Arc<NodeCounters>, payload: usize) -> Result<Swarm<Behaviour>> {
    let transport = |key: &libp2p::identity::Keypair| {
        let counters = counters.clone();
        let tcp = tcp::tokio::Transport::new(tcp::Config::default());
        let noise = noise::Config::new(key)?;
        Ok(tcp
            .map(move |stream, _| CountingStream { stream, counters })
            .upgrade(upgrade::Version::V1)
            .authenticate(noise)
            .multiplex(yamux::Config::default()))
    };
    let behaviour = |key: &libp2p::identity::Keypair| {
        let default = gossipsub::Config::default();
        // Room for the payload, the signature and the ids.
        let most = default.max_transmit_size().max(payload + 4096);
        let config = gossipsub::ConfigBuilder::default().max_transmit_size(most).build()?;
        let signed = MessageAuthenticity::Signed(key.clone());
        let mut gossipsub = gossipsub::Behaviour::new(signed, config)?;
        gossipsub.subscribe(&IdentTopic::new(TOPIC))?;
        Ok(Behaviour { gossipsub, ping: ping::Behaviour::default() })
    };
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(transport)
        .context("cannot make the transport of a gossipsub node")?
        .with_behaviour(behaviour)
        .map_err(|e| anyhow!("cannot make a gossipsub node: {e}"))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    Ok(swarm)
}

impl GossipNode {
    async fn start(payload: usize, outputs: Outputs) -> Result<Self> {
        let counters = Arc::new(NodeCounters::default());
        let mut swarm = swarm(&counters, payload)?;
        swarm.listen_on(LOOPBACK.parse()?).context("cannot listen on the loopback interface")?;
        let listening = async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    return address;
                }
            }
        };
        let address = timeout(LISTEN_TIMEOUT, listening);
        let address = address.await.context("a gossipsub node did not begin to listen")?;
        let id = *swarm.local_peer_id();
        let (commands, queue) = mpsc::channel(MAX_COMMANDS);
        tokio::spawn(run(swarm, queue, counters.clone(), outputs));
        Ok(GossipNode { id, address: address.with(Protocol::P2p(id)), commands, counters })
    }

    async fn dial(&self, address: Multiaddr) -> Result<()> {
        let sent = self.commands.send(Command::Dial(address)).await;
        sent.map_err(|_| anyhow!("a gossipsub node has stopped"))
    }
}

/// The task of a node. Ends when all handles of the node are dropped.
async fn run(
    mut swarm: Swarm<Behaviour>,
    mut commands: mpsc::Receiver<Command>,
    counters: Arc<NodeCounters>,
    outputs: Outputs,
) {
    let topic: TopicHash = IdentTopic::new(TOPIC).hash();
    // A message that no link had room for, and when it is published again.
    let mut waiting: Option<Vec<u8>> = None;
    let mut retry_at = Instant::now();
    loop {
        tokio::select! {
            command = commands.recv(), if waiting.is_none() => match command {
                None => return,
                Some(Command::Publish(payload)) => {
                    waiting = publish(&mut swarm, &topic, payload, &counters);
                    retry_at = Instant::now() + FULL_QUEUES_PAUSE;
                }
                Some(Command::Dial(address)) => {
                    // A link that cannot be made is missing in the mesh, which is checked.
                    let _ = swarm.dial(address);
                }
            },
            () = sleep_until(retry_at), if waiting.is_some() => {
                if let Some(payload) = waiting.take() {
                    waiting = publish(&mut swarm, &topic, payload, &counters);
                    retry_at = Instant::now() + FULL_QUEUES_PAUSE;
                }
            }
            event = swarm.select_next_some() => {
                handle(&mut swarm, event, &outputs);
                let links = swarm.behaviour().gossipsub.mesh_peers(&topic).count();
                counters.mesh_links.store(links, Relaxed);
            }
        }
    }
}

/// Publishes a message, and gives it back if the queues of all links are full.
fn publish(
    swarm: &mut Swarm<Behaviour>,
    topic: &TopicHash,
    payload: Vec<u8>,
    counters: &NodeCounters,
) -> Option<Vec<u8>> {
    match swarm.behaviour_mut().gossipsub.publish(topic.clone(), payload.as_slice()) {
        Ok(_) => None,
        Err(PublishError::AllQueuesFull(_)) => Some(payload),
        Err(_) => {
            counters.publish_errors.fetch_add(1, Relaxed);
            None
        }
    }
}

fn handle(swarm: &mut Swarm<Behaviour>, event: SwarmEvent<BehaviourEvent>, outputs: &Outputs) {
    let report = |id: PeerId, alive| {
        if let Some(changes) = &outputs.changes {
            // Without a reader the process is about to end.
            let _ = changes.send(MemberChange { id: id.to_string(), alive });
        }
    };
    match event {
        SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(gossipsub::Event::Message {
            message,
            ..
        })) => {
            if let Some(sink) = &outputs.sink {
                sink.deliver(&message.data);
            }
        }
        // The answer was late, or the stream for it could not be opened in time.
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
            peer,
            connection,
            result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
        })) => {
            swarm.close_connection(connection);
            report(peer, false);
        }
        SwarmEvent::ConnectionEstablished { peer_id, .. } => report(peer_id, true),
        SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => report(peer_id, false),
        _ => {}
    }
}

impl System for Gossipsub {
    type Publisher = GossipPublisher;

    async fn start(setup: &Setup, sinks: Vec<Sink>) -> Result<Self> {
        let mut nodes = Vec::new();
        for sink in sinks {
            let outputs = Outputs { sink: Some(sink), changes: None };
            nodes.push(GossipNode::start(setup.payload, outputs).await?);
        }
        for (node, others) in nodes.iter().zip(links::dials(nodes.len())) {
            for other in others.into_iter().filter_map(|o| nodes.get(o)) {
                node.dial(other.address.clone()).await?;
            }
        }
        Ok(Gossipsub { nodes, started: Instant::now() })
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let wanted = gossipsub::Config::default().mesh_n_low().min(self.nodes.len() - 1);
        let links = |n: &GossipNode| n.counters.mesh_links.load(Relaxed);
        let deadline = self.started + MESH_TIMEOUT;
        while self.nodes.iter().any(|n| links(n) < wanted) && Instant::now() < deadline {
            sleep(MESH_CHECK_INTERVAL).await;
        }
        anyhow::ensure!(
            self.nodes.iter().all(|n| links(n) > 0),
            "a gossipsub node has no link in the mesh after {} s",
            MESH_TIMEOUT.as_secs()
        );
        sleep_until(self.started + FIRST_HEARTBEATS).await;
        Ok(())
    }

    fn publisher(&self, node: usize) -> Option<GossipPublisher> {
        let node = self.nodes.get(node)?;
        Some(GossipPublisher { commands: node.commands.clone(), counters: node.counters.clone() })
    }

    async fn bytes_sent(&self) -> Result<Option<u64>> {
        Ok(Some(self.nodes.iter().map(|n| n.counters.bytes_sent.load(Relaxed)).sum()))
    }

    /// The nodes' tasks end when their handles are dropped.
    async fn stop(self) {}
}

/// Publishes at one node.
#[derive(Clone)]
pub(crate) struct GossipPublisher {
    commands: mpsc::Sender<Command>,
    counters: Arc<NodeCounters>,
}

impl Publisher for GossipPublisher {
    async fn publish(&self, payload: Vec<u8>) -> Result<()> {
        let sent = self.commands.send(Command::Publish(payload)).await;
        sent.map_err(|_| anyhow!("the gossipsub node has stopped"))?;
        match self.counters.publish_errors.load(Relaxed) {
            0 => Ok(()),
            n => Err(anyhow!("the gossipsub node refused {n} messages")),
        }
    }
}

/// One node in a process of its own.
pub(crate) struct GossipsubMember {
    index: usize,
    node: GossipNode,
    changes: mpsc::UnboundedReceiver<MemberChange>,
}

impl Member for GossipsubMember {
    async fn start(setup: MemberSetup) -> Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let outputs = Outputs { sink: None, changes: Some(sender) };
        let node = GossipNode::start(0, outputs).await?;
        Ok(GossipsubMember { index: setup.index, node, changes })
    }

    fn id(&self) -> String {
        self.node.id.to_string()
    }

    fn address(&self) -> String {
        self.node.address.to_string()
    }

    async fn join(&mut self, addresses: &[String]) -> Result<()> {
        let all = links::dials(addresses.len());
        for other in all.get(self.index).into_iter().flatten() {
            let Some(address) = addresses.get(*other) else { continue };
            let address = address.parse().with_context(|| format!("{address} is no address"))?;
            self.node.dial(address).await?;
        }
        Ok(())
    }

    async fn next_change(&mut self) -> Result<MemberChange> {
        self.changes.recv().await.ok_or_else(|| anyhow!("the gossipsub node has stopped"))
    }
}
