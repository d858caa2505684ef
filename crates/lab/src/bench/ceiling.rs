//! The ceiling: how fast the same payloads get to the same nodes if somebody else has settled
//! everything beforehand. A fixed tree, no membership, no signatures, no order to keep, nothing to
//! find out and nothing to repair: a network does better only by spending less on sockets and TLS.

use std::net::SocketAddr;

use rumormill::link_tls;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsStream;

use super::delays::{Delays, Seen};
use super::drive::{Driven, broken, drive, phase};
use super::out_queue::Stream;
use super::plan::{Ceiling, Pace, Plan};
use super::progress::Progress;
use super::relay::Relay;
use super::source::Phase;
use super::stamp::Clock;
use super::tap::Tap;
use rumormill_launch::identity::fresh_identity;
use rumormill_launch::listen::ANY_LOOPBACK_PORT;
use rumormill_terminal::exit::Outcome;

/// Children of a node in the tree.
const FAN_OUT: usize = 4;
/// What is read from a socket in one go.
const READ: usize = 128 * 1024;

/// What the ceiling came to.
#[derive(Debug)]
pub(crate) struct Height {
    pub(crate) driven: Driven,
    /// Deliveries to other nodes than the publisher's.
    pub(crate) deliveries: u64,
    /// At a set rate only: otherwise nobody looks into frames.
    pub(crate) delays: Option<(Delays, Delays)>,
}

/// The parent of a node in a tree as heaps have it; the root has none.
fn parent(node: usize) -> Option<usize> {
    node.checked_sub(1).map(|n| n / FAN_OUT)
}

/// Measures it, warm-up first.
pub(crate) async fn measure(plan: &Plan, progress: &mut Progress) -> Outcome<Option<Height>> {
    match plan.ceiling {
        Ceiling::None => Ok(None),
        Ceiling::Tcp => {
            let mut relays = relays(plan);
            for (child, parent) in edges(plan.nodes) {
                let (up, down) = tcp().await.map_err(|e| broken("the ceiling", e))?;
                join(&mut relays, (child, up), (parent, down));
            }
            run(relays, plan, progress).await.map(Some)
        }
        Ceiling::Tls => {
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

/// Both ends of a connection over the loopback.
async fn tcp() -> std::io::Result<(Buffered, Buffered)> {
    let listener = TcpListener::bind(ANY_LOOPBACK_PORT).await?;
    let address = listener.local_addr()?;
    let (up, down) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (up, (down, _)) = (up?, down?);
    up.set_nodelay(true)?;
    down.set_nodelay(true)?;
    Ok((BufReader::with_capacity(READ, up), BufReader::with_capacity(READ, down)))
}

/// The same, in the TLS that links of the network use. The buffers are below it, because rustls
/// reads 4 KiB at a time by itself.
async fn tls() -> Outcome<(TlsStream<Buffered>, TlsStream<Buffered>)> {
    let failed = |e: std::io::Error| broken("the ceiling", e);
    let (up, down) = tcp().await.map_err(failed)?;
    let (_, connector) = link_tls(&fresh_identity()?)?;
    let (acceptor, _) = link_tls(&fresh_identity()?)?;
    // No name is sent and none is checked.
    let nobody: SocketAddr = ANY_LOOPBACK_PORT;
    let name = tokio_rustls::rustls::pki_types::ServerName::IpAddress(nobody.ip().into());
    let (up, down) = tokio::join!(connector.connect(name, up), acceptor.accept(down));
    Ok((up.map_err(failed)?.into(), down.map_err(failed)?.into()))
}

async fn run<S: Stream>(
    mut relays: Vec<Relay<S>>,
    plan: &Plan,
    progress: &mut Progress,
) -> Outcome<Height> {
    let clock = Clock::start();
    // Nobody knows whose a frame is, so all publishers share one lane.
    let lanes = (1, plan.publishers);
    if !plan.warmup.is_zero() {
        let phase = phase(0, plan.nodes, lanes, plan.one_in(), clock);
        carry(&mut relays, &plan.warming_up(), &phase, "ceiling, warm-up", progress).await?;
    }
    if let Pace::Rate(_) = plan.pace {
        for relay in &mut relays {
            relay.seen = Some(Seen::new().map_err(|e| broken("the ceiling", e))?);
        }
    }
    let phase = phase(1, plan.nodes, lanes, plan.one_in(), clock);
    let driven = carry(&mut relays, plan, &phase, "ceiling", progress).await?;
    let mut seen = relays.into_iter().filter_map(|relay| relay.seen);
    let delays = seen.next().and_then(|mut all| {
        seen.for_each(|one| all.add(&one));
        Delays::of(&all.each).zip(Delays::of(&all.last))
    });
    Ok(Height { deliveries: driven.got.saturating_sub(driven.published), driven, delays })
}

/// One phase.
async fn carry<S: Stream>(
    relays: &mut Vec<Relay<S>>,
    plan: &Plan,
    phase: &Phase,
    what: &str,
    progress: &mut Progress,
) -> Outcome<Driven> {
    let (open, mut closed) = mpsc::channel(1);
    let (over, is_over) = watch::channel(());
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    let nodes = relays.len();
    for (node, mut relay) in relays.drain(..).enumerate() {
        let publisher = (0..plan.publishers).find(|p| plan.home(*p) == node);
        let mut tap = publisher.map(|p| Tap::new(plan, p, start, open.clone()));
        let (phase, mut is_over) = (phase.clone(), is_over.clone());
        tasks.spawn(async move {
            tokio::select! {
                result = relay.run(&phase, &mut tap) => result.map(|()| relay),
                _ = is_over.changed() => Ok(relay),
            }
        });
    }
    drop(open);
    let publishing = async {
        while closed.recv().await.is_some() {}
        Ok(())
    };
    let driven = drive(what, &phase.board, publishing, progress).await?;
    drop(over);
    let mut back: Vec<Option<Relay<S>>> = (0..nodes).map(|_| None).collect();
    while let Some(relay) = tasks.join_next().await {
        let relay = relay.map_err(|e| broken(what, e))?.map_err(|e| broken(what, e))?;
        if let Some(place) = back.get_mut(relay.node()) {
            *place = Some(relay);
        }
    }
    relays.extend(back.into_iter().flatten());
    Ok(driven)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_a_heap_of_four() {
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
