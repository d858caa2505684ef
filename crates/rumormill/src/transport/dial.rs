//! Outbound connections.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::{
    CloseReason, DialError, DialId, DialTarget, LinkInfo, PeerId, Role, SeedAddress,
};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsStream;

use super::accept::session;
use super::hello::{self, HelloError, LocalHello};
use super::race::{Candidate, DialFailure, interleave, race};
use super::socket::Socket;
use super::tls::{Tls, is_wrong_identity};
use super::working::WorkingAddresses;
use crate::context::{DriverInput, NodeContext};
use crate::counters::TransportCounters;
use crate::link;
use crate::network_key::NetworkKey;
use crate::tuning::Tuning;

/// The most addresses taken from the resolution of one name.
const MAX_RESOLVED: usize = 64;
/// How often the name of a linked seed is resolved, to notice that it has other addresses.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(20);
/// Consecutive answers without the address of the link after which the seed is dialled anew. A
/// single one may come from a name server that returns a part of the addresses at a time.
const MAX_NAME_MISSES: u32 = 2;

/// Connects, and runs the link until it ends.
pub(crate) fn dial(context: &Arc<NodeContext>, dial: DialId, to: DialTarget) {
    let task_context = context.clone();
    tokio::spawn(async move {
        let work = run_outbound(task_context.clone(), dial, to);
        let _ = task_context.gate.run(work).await;
    });
}

async fn run_outbound(context: Arc<NodeContext>, dial: DialId, to: DialTarget) {
    // Boxed, so that the long-lived link does not keep the memory of the handshake's state.
    match Box::pin(connect(&context, dial, &to)).await {
        Ok((stream, info, link_permit)) => {
            if context
                .partition
                .wait_until_reachable(info.remote, context.tuning.dial_deadline)
                .await
            {
                let at = info.remote_address;
                tokio::select! {
                    () = link::run(&context, stream, info) => {}
                    () = watch_name(&context, &to, at) => {}
                }
            } else {
                context.counters.dials_timed_out.increment();
                context
                    .send_input(DriverInput::DialFailed { dial, why: DialError::TimedOut })
                    .await;
            }
            drop(link_permit);
        }
        Err(failure) => {
            match failure.why {
                DialError::Refused | DialError::NoRoute => &context.counters.dials_refused,
                DialError::NoAddress => &context.counters.dials_no_address,
                DialError::TimedOut => &context.counters.dials_timed_out,
                DialError::WrongIdentity => &context.counters.dials_wrong_identity,
                DialError::Incompatible => &context.counters.dials_incompatible,
                DialError::OtherNetwork => &context.counters.dials_other_network,
                DialError::Limit => &context.counters.dials_no_room,
            }
            .increment();
            tracing::debug!(
                target: "rumormill::transport",
                node = %context.label.name,
                id = %context.label.id,
                "cannot connect to {}: {}",
                target_text(&to).escape_debug(),
                failure.detail.escape_debug()
            );
            context.send_input(DriverInput::DialFailed { dial, why: failure.why }).await;
        }
    }
}

/// Tells the driver when the name of a seed has resolved to other addresses than `at` for a while.
/// Never returns.
async fn watch_name(context: &Arc<NodeContext>, to: &DialTarget, at: SocketAddr) {
    let DialTarget::Seed(SeedAddress { host_port, .. }) = to else { return pending().await };
    if host_port.parse::<SocketAddr>().is_ok() {
        return pending().await;
    }
    let mut misses = 0;
    loop {
        sleep(RESOLVE_INTERVAL).await;
        let found =
            timeout_at(Instant::now() + context.tuning.dial_deadline, lookup_host(host_port));
        // A failure of the resolver says nothing about the seed.
        let Ok(Ok(found)) = found.await else { continue };
        let found: Vec<SocketAddr> = found.take(MAX_RESOLVED).collect();
        let has_moved = !found.is_empty() && !found.contains(&at);
        misses = if has_moved { misses + 1 } else { 0 };
        if misses >= MAX_NAME_MISSES {
            misses = 0;
            context.send_input(DriverInput::SeedMoved { seed: host_port.clone() }).await;
        }
    }
}

fn target_text(to: &DialTarget) -> String {
    match to {
        DialTarget::Seed(seed) => format!("seed {seed}"),
        DialTarget::Peer { id, addresses } => match addresses.first() {
            Some(a) => format!("peer {id} at {}", a.0),
            None => format!("peer {id}"),
        },
    }
}

/// A connection on which both sides have sent Hello.
type OpenConnection = (TlsStream<Socket>, LinkInfo);

async fn connect(
    context: &NodeContext,
    dial: DialId,
    to: &DialTarget,
) -> Result<(TlsStream<Socket>, LinkInfo, OwnedSemaphorePermit), DialFailure> {
    let no_link_slot = || DialFailure::new(DialError::Limit, DialError::Limit);
    let Ok(_dial_permit) = context.dials.acquire().await else { return Err(no_link_slot()) };
    let link_permit = context.links.clone().try_acquire_owned().map_err(|_| no_link_slot())?;
    let (stream, info) = dial_target(context.dialer(), &context.tuning, to).await?;
    Ok((stream, LinkInfo { dial: Some(dial), ..info }, link_permit))
}

/// Races the addresses of a target, including the exchange of Hello.
pub(super) async fn dial_target(
    dialer: Dialer<'_>,
    tuning: &Tuning,
    to: &DialTarget,
) -> Result<OpenConnection, DialFailure> {
    let deadline = Instant::now() + tuning.dial_deadline;
    let (expected, found) = timeout_at(deadline, addresses(to)).await.unwrap_or_else(|_| {
        Err(DialFailure::new(DialError::TimedOut, "no answer of the resolver"))
    })?;
    let has_choice = found.len() > 1;
    let ordered = interleave(found, dialer.working.last_working(to));
    let connected = race(ordered, deadline, |address| async move {
        let connected = dial_address(dialer, address, expected).await?;
        Ok(if is_dialled_remote(dialer, to, &connected.1) {
            Candidate::Confirmed(connected)
        } else {
            Candidate::Doubtful(connected)
        })
    })
    .await?;
    if has_choice {
        dialer.working.remember(to, connected.1.remote_address);
    }
    Ok(connected)
}

/// Whether the remote is the dialled one. At the name of a seed a peer may answer, or this node
/// itself; the core has to learn of that if no address has a better remote.
fn is_dialled_remote(dialer: Dialer<'_>, to: &DialTarget, info: &LinkInfo) -> bool {
    match to {
        DialTarget::Seed(_) => info.role == Role::Seed && info.remote != dialer.id,
        DialTarget::Peer { .. } => true,
    }
}

async fn addresses(to: &DialTarget) -> Result<(Option<PeerId>, Vec<SocketAddr>), DialFailure> {
    match to {
        DialTarget::Seed(seed) => {
            let found = lookup_host(&seed.host_port)
                .await
                .map_err(|e| DialFailure::new(DialError::NoAddress, format!("no address: {e}")))?;
            Ok((seed.pin, found.take(MAX_RESOLVED).collect()))
        }
        DialTarget::Peer { id, addresses } => {
            // Peers advertise these addresses themselves: an address that no host can have is not
            // worth a packet.
            let usable = |a: &SocketAddr| {
                a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast()
            };
            Ok((Some(*id), addresses.iter().map(|a| a.0).filter(usable).collect()))
        }
    }
}

/// The identity and settings of the dialling node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialer<'a> {
    pub(crate) id: PeerId,
    pub(crate) role: Role,
    /// The random number of its process.
    pub(crate) process: u64,
    pub(crate) tls: &'a Tls,
    pub(crate) network_key: Option<&'a NetworkKey>,
    pub(crate) counters: &'a Arc<TransportCounters>,
    pub(crate) working: &'a WorkingAddresses,
}

async fn dial_address(
    dialer: Dialer<'_>,
    address: SocketAddr,
    expected: Option<PeerId>,
) -> Result<OpenConnection, DialFailure> {
    let at = |why, e: &dyn std::fmt::Display| DialFailure::new(why, format!("{address}: {e}"));
    let stream = TcpStream::connect(address).await.map_err(|e| at(connect_error(&e), &e))?;
    // If no process listens on a port that the system may also choose for outgoing connections, TCP
    // can connect a socket with itself. That would even keep the port from a process that wants to
    // listen there.
    let local_address = stream.local_addr().ok();
    if local_address == Some(address) {
        return Err(at(DialError::Refused, &"no process listens there"));
    }
    // Small frames must not wait for others. If the option cannot be set, they are only later.
    let _ = stream.set_nodelay(true);
    let connector = dialer.tls.connector(expected).map_err(|e| at(DialError::Incompatible, &e))?;
    // No name is sent and none is checked: the key is the identity.
    let name = ServerName::IpAddress(address.ip().into());
    let stream = Socket::new(stream, dialer.counters.clone());
    let stream = connector.connect(name, stream).await.map_err(|e| {
        let wrong = is_wrong_identity(&e);
        at(if wrong { DialError::WrongIdentity } else { DialError::Incompatible }, &e)
    })?;
    let session = session(stream.get_ref().1).map_err(|e| at(DialError::Incompatible, &e))?;
    let mut stream = TlsStream::from(stream);
    let local_hello = LocalHello {
        role: dialer.role,
        network_key: dialer.network_key,
        exporter: &session.exporter,
        remote_address: address,
        process: dialer.process,
    };
    let remote_hello =
        hello::as_dialer(&mut stream, local_hello).await.map_err(|e| at(hello_error(&e), &e))?;
    let info = LinkInfo {
        remote: session.remote,
        role: remote_hello.role,
        dial: None,
        remote_address: address,
        observed: remote_hello.observed,
        local_address,
        same_process: remote_hello.process == dialer.process,
    };
    Ok((stream, info))
}

/// Only the host of the remote refuses a connection; any router may report that there is no route.
fn connect_error(e: &std::io::Error) -> DialError {
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => {
            DialError::Refused
        }
        std::io::ErrorKind::TimedOut => DialError::TimedOut,
        _ => DialError::NoRoute,
    }
}

const fn hello_error(e: &HelloError) -> DialError {
    match e {
        // In TLS 1.3 a listener that refuses the key of this node ends the connection only after
        // the handshake. But such a listener would refuse every key, so "incompatible" is right for
        // it. A full listener sends its reason, and a crashing one just ends.
        HelloError::Closed(CloseReason::Incompatible)
        | HelloError::Decode(_)
        | HelloError::NotHello(_)
        | HelloError::Version(_) => DialError::Incompatible,
        HelloError::Closed(CloseReason::OtherNetwork) | HelloError::Network(_) => {
            DialError::OtherNetwork
        }
        HelloError::Io(_) | HelloError::Closed(_) => DialError::Refused,
    }
}
