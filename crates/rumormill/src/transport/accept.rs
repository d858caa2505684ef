//! Inbound connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill_proto::wire::Close;
use rumormill_proto::{CloseReason, LinkInfo};
use rustls::ConnectionCommon;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use super::addresses::AddressSlot;
use super::hello::{self, HelloError, LocalHello};
use super::socket::Socket;
use super::tls::{ALPN, peer_id};
use crate::context::NodeContext;
use crate::link;
use crate::network_key::EXPORTER_LABEL;

/// The first pause after a failed `accept`; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why an inbound connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("TLS: {0}")]
    Tls(#[source] std::io::Error),
    #[error("TLS: {0}")]
    Session(&'static str),
    #[error("Hello: {0}")]
    Hello(#[from] HelloError),
    #[error("all link slots of this node are in use")]
    NoLinkSlot,
}

/// A TLS session with proved keys, and its exporter value.
pub(crate) struct Session {
    pub(crate) remote: rumormill_proto::PeerId,
    pub(crate) exporter: [u8; 32],
}

/// The checks of a TLS session that both directions make before they send Hello.
pub(crate) fn session<D>(connection: &ConnectionCommon<D>) -> Result<Session, HandshakeError> {
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::Session("it does not offer the protocol rumor/1"));
    }
    let remote = peer_id(connection.peer_certificates())
        .ok_or(HandshakeError::Session("it proved no Ed25519 key"))?;
    let exporter = connection
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(|_| HandshakeError::Session("no exporter value"))?;
    Ok(Session { remote, exporter })
}

/// Accepts connections until the node ends.
pub(crate) async fn accept_loop(context: Arc<NodeContext>, listener: TcpListener) {
    let mut pause = ACCEPT_PAUSE;
    loop {
        // The permit comes first: while none is free, connections wait in the kernel's backlog,
        // where they cost this process nothing.
        let Ok(permit) = context.handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                pause = ACCEPT_PAUSE;
                context.counters.connections_accepted.increment();
                // At `[::]`, a remote that connects over IPv4 has an IPv4-mapped IPv6 address.
                // Other nodes know its IPv4 address.
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                admit(&context, stream, from, permit);
            }
            Err(e) if is_aborted_connection(&e) => context.counters.accept_errors.increment(),
            Err(e) => {
                context.counters.accept_errors.increment();
                tracing::warn!(
                    target: "rumormill::transport",
                    node = %context.label.name,
                    id = %context.label.id,
                    "cannot accept connections: {e}; trying again in {} ms (if it is out of file \
                     descriptors, raise the limit with `ulimit -n`)",
                    pause.as_millis()
                );
                drop(permit);
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Whether the remote gave up while it waited in the backlog; the next `accept` may succeed at
/// once.
fn is_aborted_connection(e: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        e.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

fn admit(
    context: &Arc<NodeContext>,
    stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let Some(slot) = context.addresses.acquire(from.ip()) else {
        context.counters.connections_refused_address.increment();
        tracing::debug!(
            target: "rumormill::transport",
            node = %context.label.name,
            id = %context.label.id,
            "refused a connection from {from}: too many from that address"
        );
        return;
    };
    let task_context = context.clone();
    tokio::spawn(async move {
        let work = run_inbound(task_context.clone(), stream, from, permit, slot);
        let _ = task_context.gate.run(work).await;
    });
}

/// One inbound connection, from its first byte to its last.
async fn run_inbound(
    context: Arc<NodeContext>,
    stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
    slot: AddressSlot,
) {
    // Boxed, so that the long-lived link does not keep the memory of the handshake's state.
    let handshake = Box::pin(handshake(&context, stream, from));
    let result = timeout(context.tuning.handshake_deadline, handshake).await;
    drop(permit);
    let why = match result {
        Ok(Ok((stream, info, link_permit))) => {
            if context
                .partition
                .wait_until_reachable(info.remote, context.tuning.handshake_deadline)
                .await
            {
                context.counters.handshakes_completed.increment();
                link::run(&context, stream, info).await;
            } else {
                context.counters.handshakes_failed.increment();
                context.counters.handshakes_timed_out.increment();
            }
            drop((link_permit, slot));
            return;
        }
        Ok(Err(e)) => {
            if matches!(e, HandshakeError::NoLinkSlot) {
                context.counters.connections_refused_limit.increment();
            }
            e.to_string()
        }
        Err(_) => {
            context.counters.handshakes_timed_out.increment();
            format!("no Hello within {:?}", context.tuning.handshake_deadline)
        }
    };
    context.counters.handshakes_failed.increment();
    tracing::debug!(
        target: "rumormill::transport",
        node = %context.label.name,
        id = %context.label.id,
        "closed the connection from {from}: {}",
        why.escape_debug()
    );
}

async fn handshake(
    context: &NodeContext,
    stream: TcpStream,
    from: SocketAddr,
) -> Result<(TlsStream<Socket>, LinkInfo, OwnedSemaphorePermit), HandshakeError> {
    // Small frames must not wait for others. If the option cannot be set, they are only later.
    let _ = stream.set_nodelay(true);
    let local_address = stream.local_addr().ok();
    let stream = Socket::new(stream, context.counters.clone());
    let stream = context.tls.acceptor().accept(stream).await.map_err(HandshakeError::Tls)?;
    let session = session(stream.get_ref().1)?;
    let mut stream = TlsStream::from(stream);
    let Ok(link_permit) = context.links.clone().try_acquire_owned() else {
        let _ = hello::write_frame(&mut stream, &Close { reason: CloseReason::Limit }.into()).await;
        return Err(HandshakeError::NoLinkSlot);
    };
    let local_hello = LocalHello {
        role: context.role,
        network_key: context.network_key.as_ref(),
        exporter: &session.exporter,
        remote_address: from,
        process: context.process,
    };
    let remote_hello = hello::as_listener(&mut stream, local_hello).await?;
    let info = LinkInfo {
        remote: session.remote,
        role: remote_hello.role,
        dial: None,
        remote_address: from,
        observed: remote_hello.observed,
        local_address,
        same_process: remote_hello.process == context.process,
    };
    Ok((stream, info, link_permit))
}
