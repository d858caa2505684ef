//! Hello: the first frame in each direction, and the proofs in it.
//!
//! The dialer sends first, in the same flight as the end of its TLS handshake, so that Hello costs
//! no round trip; the listener answers only a Hello that it accepts. A dialer that has the answer
//! therefore knows that the link works, and a dialer that is refused gets the reason in a Close
//! instead.

use std::io;
use std::net::SocketAddr;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::MAX_HELLO;
use rumormill_proto::wire::{self, Close, DecodeError, Frame, Hello, PROTOCOL_VERSION};
use rumormill_proto::{Address, CloseReason, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::network_key::{NetworkKey, Side};

/// Why there is no valid Hello.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("it sent {0} instead of Hello")]
    NotHello(&'static str),
    #[error("it closed the connection ({0})")]
    Closed(CloseReason),
    #[error("it uses version {0}, this node uses {PROTOCOL_VERSION}")]
    Version(u16),
    #[error("{0}")]
    Network(&'static str),
}

/// The local values that go into a Hello.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalHello<'a> {
    pub(crate) role: Role,
    pub(crate) network_key: Option<&'a NetworkKey>,
    /// The value that binds proofs to this TLS session.
    pub(crate) exporter: &'a [u8; 32],
    /// The address of the remote as this node sees it.
    pub(crate) remote_address: SocketAddr,
    /// The random number of this process.
    pub(crate) process: u64,
}

/// The values in the remote's Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteHello {
    pub(crate) role: Role,
    pub(crate) observed: Option<SocketAddr>,
    pub(crate) process: u64,
}

/// The exchange at the dialer.
pub(crate) async fn as_dialer<S>(
    stream: &mut S,
    local_hello: LocalHello<'_>,
) -> Result<RemoteHello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write_frame(stream, &hello(&local_hello, local_hello.network_key, Side::Dialer)).await?;
    let (remote_hello, _) = receive_hello(stream, &local_hello, Side::Listener).await?;
    Ok(remote_hello)
}

/// The exchange at the listener.
pub(crate) async fn as_listener<S>(
    stream: &mut S,
    local_hello: LocalHello<'_>,
) -> Result<RemoteHello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (remote_hello, key) = receive_hello(stream, &local_hello, Side::Dialer).await?;
    // The answer proves the same key as the dialer did: of a ring, the dialer may have only that
    // one.
    write_frame(stream, &hello(&local_hello, key.as_ref(), Side::Listener)).await?;
    Ok(remote_hello)
}

fn hello(local_hello: &LocalHello<'_>, key: Option<&NetworkKey>, side: Side) -> Frame {
    let hello = Hello {
        version: PROTOCOL_VERSION,
        role: local_hello.role,
        observed: Some(Address(local_hello.remote_address)),
        network_proof: key.map(|k| ByteArray::from(k.prove(local_hello.exporter, side))),
        process: local_hello.process,
    };
    hello.into()
}

/// Reads the remote's Hello, and refuses an invalid one with a reason for the remote.
async fn receive_hello<S>(
    stream: &mut S,
    local_hello: &LocalHello<'_>,
    side: Side,
) -> Result<(RemoteHello, Option<NetworkKey>), HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = match read_frame(stream, MAX_HELLO).await? {
        Frame::Hello(hello) => *hello,
        Frame::Close(close) => return Err(HelloError::Closed(close.reason)),
        other => return Err(HelloError::NotHello(other.name())),
    };
    match check_hello(&hello, local_hello, side) {
        Ok(key) => {
            let observed = hello.observed.map(|a| a.0);
            Ok((RemoteHello { role: hello.role, observed, process: hello.process }, key))
        }
        Err(e) => {
            // The remote is refused in any case; sending the reason is only a help for it.
            let reason = match e {
                HelloError::Network(_) => CloseReason::OtherNetwork,
                _ => CloseReason::Incompatible,
            };
            let _ = write_frame(stream, &Close { reason }.into()).await;
            Err(e)
        }
    }
}

fn check_hello(
    hello: &Hello,
    local_hello: &LocalHello<'_>,
    side: Side,
) -> Result<Option<NetworkKey>, HelloError> {
    // The common version is the lower of the two, and this node supports all versions from 1 on.
    if hello.version == 0 {
        return Err(HelloError::Version(hello.version));
    }
    match (local_hello.network_key, &hello.network_proof) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err(HelloError::Network("it belongs to a private network, this node to an open one"))
        }
        (Some(_), None) => {
            Err(HelloError::Network("it proves no network key, this network requires one"))
        }
        (Some(ring), Some(proof)) => match ring.check(proof, local_hello.exporter, side) {
            Some(key) => Ok(Some(key)),
            None => Err(HelloError::Network("it proves an unknown network key")),
        },
    }
}

/// Writes one frame and flushes it.
pub(crate) async fn write_frame<S>(stream: &mut S, frame: &Frame) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(&wire::encode(frame).to_bytes()).await?;
    stream.flush().await
}

/// Reads one frame of at most `limit` bytes.
pub(crate) async fn read_frame<S>(stream: &mut S, limit: usize) -> Result<Frame, HelloError>
where
    S: AsyncRead + Unpin,
{
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let header = wire::header(prefix, limit)?;
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body).await?;
    Ok(wire::decode(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local_hello<'a>(key: Option<&'a NetworkKey>, exporter: &'a [u8; 32]) -> LocalHello<'a> {
        let remote_address = "127.0.0.1:5".parse().unwrap();
        LocalHello { role: Role::Peer, network_key: key, exporter, remote_address, process: 1 }
    }

    async fn exchange_hello(
        dialer: Option<&NetworkKey>,
        listener: Option<&NetworkKey>,
    ) -> (Result<RemoteHello, HelloError>, Result<RemoteHello, HelloError>) {
        let exporter = [3; 32];
        let (mut a, mut b) = tokio::io::duplex(4096);
        tokio::join!(
            as_dialer(&mut a, local_hello(dialer, &exporter)),
            as_listener(&mut b, local_hello(listener, &exporter))
        )
    }

    #[tokio::test]
    async fn nodes_of_open_network_and_nodes_with_equal_keys_connect() {
        let key = NetworkKey::new([1; 32]);
        for pair in [(None, None), (Some(&key), Some(&key))] {
            let (d, l) = exchange_hello(pair.0, pair.1).await;
            assert_eq!(d.unwrap().role, Role::Peer);
            assert_eq!(l.unwrap().observed.unwrap().port(), 5);
        }
    }

    #[tokio::test]
    async fn nodes_of_different_networks_refuse_each_other_with_the_reason() {
        let (one, two) = (NetworkKey::new([1; 32]), NetworkKey::new([2; 32]));
        for pair in [(None, Some(&one)), (Some(&one), None), (Some(&one), Some(&two))] {
            let (d, l) = exchange_hello(pair.0, pair.1).await;
            assert!(matches!(d, Err(HelloError::Closed(CloseReason::OtherNetwork))), "{d:?}");
            assert!(matches!(l, Err(HelloError::Network(_))), "{l:?}");
        }
    }

    #[tokio::test]
    async fn dialer_with_a_key_refuses_listener_that_proves_none() {
        let (key, exporter) = (NetworkKey::new([1; 32]), [3; 32]);
        let (mut a, mut b) = tokio::io::duplex(4096);
        let keyless_listener = async {
            read_frame(&mut b, MAX_HELLO).await.unwrap();
            let answer = hello(&local_hello(None, &exporter), None, Side::Listener);
            write_frame(&mut b, &answer).await.unwrap();
        };
        let (d, ()) =
            tokio::join!(as_dialer(&mut a, local_hello(Some(&key), &exporter)), keyless_listener);
        assert!(matches!(d, Err(HelloError::Network(_))), "{d:?}");
    }

    #[tokio::test]
    async fn version_zero_oversized_frame_and_other_frame_are_refused() {
        let exporter = [3; 32];
        let (version, role, observed, network_proof) = (0, Role::Peer, None, None);
        let old = Hello { version, role, observed, network_proof, process: 1 };
        let long = [vec![0, 0, 8, 0], vec![0; 2048]].concat();
        let cases: [(Vec<u8>, &str); 3] = [
            (wire::encode(&old.into()).to_bytes().to_vec(), "uses version 0"),
            (wire::encode(&Frame::GetPeerList).to_bytes().to_vec(), "GetPeerList instead of Hello"),
            (long, "at most 1024"),
        ];
        for (bytes, expected) in cases {
            let (mut a, mut b) = tokio::io::duplex(4096);
            a.write_all(&bytes).await.unwrap();
            let e =
                as_listener(&mut b, local_hello(None, &exporter)).await.unwrap_err().to_string();
            assert!(e.contains(expected), "{e}");
        }
    }
}
