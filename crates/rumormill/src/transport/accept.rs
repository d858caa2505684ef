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

use super::addresses::Place;
use super::hello::{self, HelloError, Ours};
use super::socket::Socket;
use super::tls::{ALPN, peer_id};
use crate::link;
use crate::net::Net;
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
    NoRoom,
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
pub(crate) async fn accept_loop(net: Arc<Net>, listener: TcpListener) {
    let mut pause = ACCEPT_PAUSE;
    loop {
        // The permit comes first: while none is free, connections wait in the kernel's backlog,
        // where they cost this process nothing.
        let Ok(permit) = net.handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                pause = ACCEPT_PAUSE;
                net.tally.connections_accepted.one();
                // At `[::]`, a remote that connects over IPv4 has an IPv4-mapped IPv6 address.
                // Other nodes know its IPv4 address.
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                admit(&net, stream, from, permit);
            }
            Err(e) if is_the_connections_own_fault(&e) => net.tally.accept_errors.one(),
            Err(e) => {
                net.tally.accept_errors.one();
                tracing::warn!(
                    target: "rumormill::transport",
                    node = %net.label.name,
                    id = %net.label.id,
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
fn is_the_connections_own_fault(e: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        e.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

fn admit(net: &Arc<Net>, stream: TcpStream, from: SocketAddr, permit: OwnedSemaphorePermit) {
    let Some(place) = net.addresses.enter(from.ip()) else {
        net.tally.connections_refused_address.one();
        tracing::debug!(
            target: "rumormill::transport",
            node = %net.label.name,
            id = %net.label.id,
            "refused a connection from {from}: too many from that address"
        );
        return;
    };
    let task_net = net.clone();
    tokio::spawn(async move {
        let work = inbound(task_net.clone(), stream, from, permit, place);
        let _ = task_net.gate.govern(work).await;
    });
}

/// One inbound connection, from its first byte to its last.
async fn inbound(
    net: Arc<Net>,
    stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
    place: Place,
) {
    // Boxed, so that the long-lived link does not keep the memory of the handshake's state.
    let handshake = Box::pin(handshake(&net, stream, from));
    let result = timeout(net.tuning.handshake_deadline, handshake).await;
    drop(permit);
    let why = match result {
        Ok(Ok((stream, info, room))) => {
            if net.wall.is_open(info.remote, net.tuning.handshake_deadline).await {
                net.tally.handshakes_completed.one();
                link::run(&net, stream, info).await;
            } else {
                net.tally.handshakes_failed.one();
                net.tally.handshakes_timed_out.one();
            }
            drop((room, place));
            return;
        }
        Ok(Err(e)) => {
            if matches!(e, HandshakeError::NoRoom) {
                net.tally.connections_refused_limit.one();
            }
            e.to_string()
        }
        Err(_) => {
            net.tally.handshakes_timed_out.one();
            format!("no Hello within {:?}", net.tuning.handshake_deadline)
        }
    };
    net.tally.handshakes_failed.one();
    tracing::debug!(
        target: "rumormill::transport",
        node = %net.label.name,
        id = %net.label.id,
        "closed the connection from {from}: {}",
        why.escape_debug()
    );
}

async fn handshake(
    net: &Net,
    stream: TcpStream,
    from: SocketAddr,
) -> Result<(TlsStream<Socket>, LinkInfo, OwnedSemaphorePermit), HandshakeError> {
    // Small frames must not wait for others. If the option cannot be set, they are only later.
    let _ = stream.set_nodelay(true);
    let local_address = stream.local_addr().ok();
    let stream = Socket::new(stream, net.tally.clone());
    let stream = net.tls.acceptor().accept(stream).await.map_err(HandshakeError::Tls)?;
    let session = session(stream.get_ref().1)?;
    let mut stream = TlsStream::from(stream);
    let Ok(room) = net.links.clone().try_acquire_owned() else {
        let _ = hello::write_frame(&mut stream, &Close { reason: CloseReason::Limit }.into()).await;
        return Err(HandshakeError::NoRoom);
    };
    let ours = Ours {
        role: net.role,
        network_key: net.network_key.as_ref(),
        exporter: &session.exporter,
        remote: from,
        process: net.process,
    };
    let theirs = hello::as_listener(&mut stream, ours).await?;
    let info = LinkInfo {
        remote: session.remote,
        role: theirs.role,
        dial: None,
        remote_address: from,
        observed: theirs.observed,
        local_address,
        same_process: theirs.process == net.process,
    };
    Ok((stream, info, room))
}
