//! The ceiling: how fast the same payloads reach the same nodes without a protocol. A fixed tree,
//! no membership, no signatures, no order, no discovery and no repair: a network can be faster only
//! by spending less on sockets and TLS.

use std::net::SocketAddr;

use rumormill::link_tls;
use rumormill_launch::identity::fresh_identity;
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_terminal::exit::Outcome;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsStream;

use super::delays::{Delays, NodeDelays};
use super::out_queue::Stream;
use super::phase_run::{PhaseTotals, failure, new_phase, run_phase};
use super::plan::{CeilingKind, Pace, Plan};
use super::progress::Progress;
use super::relay::Relay;
use super::relay_publisher::RelayPublisher;
use super::source::Phase;
use super::stamp::Clock;

/// Children of a node in the tree.
const FAN_OUT: usize = 4;
/// Bytes that are read from a socket at once.
const READ_BUFFER: usize = 128 * 1024;

/// The result of the ceiling.
#[derive(Debug)]
pub(crate) struct CeilingResult {
    pub(crate) totals: PhaseTotals,
    /// Deliveries to other nodes than the publisher's.
    pub(crate) deliveries: u64,
    /// Delays of all deliveries and of the last ones, at a set rate only: otherwise frames are not
    /// parsed.
    pub(crate) delays: Option<(Delays, Delays)>,
}

/// The parent of a node in a tree that is numbered like a heap; the root has none.
fn parent(node: usize) -> Option<usize> {
    node.checked_sub(1).map(|n| n / FAN_OUT)
}

/// Measures the ceiling, after a warm-up.
pub(crate) async fn measure(
    plan: &Plan,
    progress: &mut Progress,
) -> Outcome<Option<CeilingResult>> {
    match plan.ceiling {
        CeilingKind::None => Ok(None),
        CeilingKind::Tcp => {
            let mut relays = relays(plan);
            for (child, parent) in edges(plan.nodes) {
                let (up, down) = tcp().await.map_err(|e| failure("the ceiling", e))?;
                join(&mut relays, (child, up), (parent, down));
            }
            run(relays, plan, progress).await.map(Some)
        }
        CeilingKind::Tls => {
            let mut relays = relays(plan);
            for (child, parent) in edges(plan.nodes) {
                let (up, down) = tls().await?;
                join(&mut relays, (child, up), (parent, down));
            }
            run(relays, plan, progress).await.map(Some)
        }
    }
}

fn relays<S: Stream>(plan: &Plan) -> Vec<Relay<S>> {
    (0..plan.nodes).map(|node| Relay::new(node, plan.payload)).collect()
}

fn edges(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).filter_map(|child| parent(child).map(|parent| (child, parent)))
}

fn join<S: Stream>(relays: &mut [Relay<S>], up: (usize, S), down: (usize, S)) {
    for (node, stream) in [up, down] {
        if let Some(relay) = relays.get_mut(node) {
            relay.link(stream);
        }
    }
}

type Buffered = BufReader<TcpStream>;

/// Both ends of a TCP connection over loopback.
async fn tcp() -> std::io::Result<(Buffered, Buffered)> {
    let listener = TcpListener::bind(ANY_LOOPBACK_PORT).await?;
    let address = listener.local_addr()?;
    let (up, down) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (up, (down, _)) = (up?, down?);
    up.set_nodelay(true)?;
    down.set_nodelay(true)?;
    Ok((BufReader::with_capacity(READ_BUFFER, up), BufReader::with_capacity(READ_BUFFER, down)))
}

/// Both ends of a connection in the TLS that links of the network use. The buffers are below it,
/// because rustls reads only 4 KiB at a time.
async fn tls() -> Outcome<(TlsStream<Buffered>, TlsStream<Buffered>)> {
    let failed = |e: std::io::Error| failure("the ceiling", e);
    let (up, down) = tcp().await.map_err(failed)?;
    let (_, connector) = link_tls(&fresh_identity()?)?;
    let (acceptor, _) = link_tls(&fresh_identity()?)?;
    // No name is sent and none is checked.
    let address: SocketAddr = ANY_LOOPBACK_PORT;
    let name = tokio_rustls::rustls::pki_types::ServerName::IpAddress(address.ip().into());
    let (up, down) = tokio::join!(connector.connect(name, up), acceptor.accept(down));
    Ok((up.map_err(failed)?.into(), down.map_err(failed)?.into()))
}

async fn run<S: Stream>(
    mut relays: Vec<Relay<S>>,
    plan: &Plan,
    progress: &mut Progress,
) -> Outcome<CeilingResult> {
    let clock = Clock::start();
    // Relays do not know the publisher of a frame, so all publishers share one lane.
    let lanes = (1, plan.publishers);
    if !plan.warmup.is_zero() {
        let phase = new_phase(0, plan.nodes, lanes, plan.one_in(), clock);
        run_relays(&mut relays, &plan.warming_up(), &phase, "ceiling, warm-up", progress).await?;
    }
    if let Pace::Rate(_) = plan.pace {
        for relay in &mut relays {
            relay.delays = Some(NodeDelays::new().map_err(|e| failure("the ceiling", e))?);
        }
    }
    let phase = new_phase(1, plan.nodes, lanes, plan.one_in(), clock);
    let totals = run_relays(&mut relays, plan, &phase, "ceiling", progress).await?;
    let mut all = relays.into_iter().filter_map(|relay| relay.delays);
    let delays = all.next().and_then(|mut sum| {
        all.for_each(|one| sum.add(&one));
        Delays::of(&sum.each).zip(Delays::of(&sum.last))
    });
    Ok(CeilingResult {
        deliveries: totals.received.saturating_sub(totals.published),
        totals,
        delays,
    })
}

/// Runs one phase on the relays.
async fn run_relays<S: Stream>(
    relays: &mut Vec<Relay<S>>,
    plan: &Plan,
    phase: &Phase,
    what: &str,
    progress: &mut Progress,
) -> Outcome<PhaseTotals> {
    let (open, mut closed) = mpsc::channel(1);
    let (over, is_over) = watch::channel(());
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    let nodes = relays.len();
    for (node, mut relay) in relays.drain(..).enumerate() {
        let publisher = (0..plan.publishers).find(|p| plan.node_of(*p) == node);
        let mut relay_publisher =
            publisher.map(|p| RelayPublisher::new(plan, p, start, open.clone()));
        let (phase, mut is_over) = (phase.clone(), is_over.clone());
        tasks.spawn(async move {
            tokio::select! {
                result = relay.run(&phase, &mut relay_publisher) => result.map(|()| relay),
                _ = is_over.changed() => Ok(relay),
            }
        });
    }
    drop(open);
    let publishing = async {
        while closed.recv().await.is_some() {}
        Ok(())
    };
    let totals = run_phase(what, &phase.scoreboard, publishing, progress).await?;
    drop(over);
    let mut back: Vec<Option<Relay<S>>> = (0..nodes).map(|_| None).collect();
    while let Some(relay) = tasks.join_next().await {
        let relay = relay.map_err(|e| failure(what, e))?.map_err(|e| failure(what, e))?;
        if let Some(place) = back.get_mut(relay.node()) {
            *place = Some(relay);
        }
    }
    relays.extend(back.into_iter().flatten());
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_tree_is_a_heap_with_four_children_per_node() {
        assert_eq!(parent(0), None);
        assert_eq!((1..=4).map(parent).collect::<Vec<_>>(), [Some(0); 4]);
        assert_eq!(
            (parent(5), parent(8), parent(9), parent(15)),
            (Some(1), Some(1), Some(2), Some(3))
        );
        let edges: Vec<_> = edges(16).collect();
        assert_eq!(edges.len(), 15);
        assert!(edges.iter().all(|(child, parent)| parent < child));
    }
}
