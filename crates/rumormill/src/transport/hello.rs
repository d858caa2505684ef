//! Hello: the first frame in each direction, and what it proves.
//!
//! The dialer speaks first, in the same flight as the end of its TLS handshake, so that this costs
//! no round trip; the listener answers only a Hello that it accepts. So when the dialer has the
//! answer, the link works, and when it does not, it is told why by a Close in its place.

use std::io;
use std::net::SocketAddr;

use minicbor::bytes::ByteArray;
use rumormill_proto::limits::MAX_HELLO;
use rumormill_proto::wire::{self, Close, DecodeError, Frame, Hello, PROTOCOL_VERSION};
use rumormill_proto::{Address, CloseReason, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::network_key::{NetworkKey, Side};

/// Why there was no Hello.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("it sent {0} where Hello must come")]
    NotHello(&'static str),
    #[error("it closed the connection ({0})")]
    Closed(CloseReason),
    #[error("it speaks version {0}, this node speaks {PROTOCOL_VERSION}")]
    Version(u16),
    #[error("{0}")]
    Network(&'static str),
}

/// What this node brings into a Hello.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours<'a> {
    pub(crate) role: Role,
    pub(crate) network_key: Option<&'a NetworkKey>,
    /// The value that binds proofs to this TLS session.
    pub(crate) exporter: &'a [u8; 32],
    /// Where this node sees the remote.
    pub(crate) remote: SocketAddr,
    /// The random number of this process.
    pub(crate) process: u64,
}

/// What the remote's Hello says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theirs {
    pub(crate) role: Role,
    pub(crate) observed: Option<SocketAddr>,
    pub(crate) process: u64,
}

/// The dialer's part.
pub(crate) async fn as_dialer<S>(stream: &mut S, ours: Ours<'_>) -> Result<Theirs, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write_frame(stream, &hello(&ours, ours.network_key, Side::Dialer)).await?;
    let (theirs, _) = checked(stream, &ours, Side::Listener).await?;
    Ok(theirs)
}

/// The listener's part.
pub(crate) async fn as_listener<S>(stream: &mut S, ours: Ours<'_>) -> Result<Theirs, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (theirs, key) = checked(stream, &ours, Side::Dialer).await?;
    // The answer proves the key that the dialer proved: of a ring, it may know only that one.
    write_frame(stream, &hello(&ours, key.as_ref(), Side::Listener)).await?;
    Ok(theirs)
}

fn hello(ours: &Ours<'_>, key: Option<&NetworkKey>, side: Side) -> Frame {
    let hello = Hello {
        version: PROTOCOL_VERSION,
        role: ours.role,
        observed: Some(Address(ours.remote)),
        network_proof: key.map(|k| ByteArray::from(k.prove(ours.exporter, side))),
        process: ours.process,
    };
    hello.into()
}

/// Reads the remote's Hello and refuses what does not belong here, with a word to the remote.
async fn checked<S>(
    stream: &mut S,
    ours: &Ours<'_>,
    side: Side,
) -> Result<(Theirs, Option<NetworkKey>), HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = match read_frame(stream, MAX_HELLO).await? {
        Frame::Hello(hello) => *hello,
        Frame::Close(close) => return Err(HelloError::Closed(close.reason)),
        other => return Err(HelloError::NotHello(other.name())),
    };
    match judge(&hello, ours, side) {
        Ok(key) => {
            let observed = hello.observed.map(|a| a.0);
            Ok((Theirs { role: hello.role, observed, process: hello.process }, key))
        }
        Err(e) => {
            // It is refused either way; that it also hears why is a courtesy.
            let reason = match e {
                HelloError::Network(_) => CloseReason::OtherNetwork,
                _ => CloseReason::Incompatible,
            };
            let _ = write_frame(stream, &Close { reason }.into()).await;
            Err(e)
        }
    }
}

fn judge(hello: &Hello, ours: &Ours<'_>, side: Side) -> Result<Option<NetworkKey>, HelloError> {
    // The common version is the lower of the two, and this node speaks all from 1 on.
    if hello.version == 0 {
        return Err(HelloError::Version(hello.version));
    }
    match (ours.network_key, &hello.network_proof) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err(HelloError::Network("it belongs to a network with a key, this node to none"))
        }
        (Some(_), None) => {
            Err(HelloError::Network("it proves no network key, this network needs one"))
        }
        (Some(ring), Some(proof)) => match ring.check(proof, ours.exporter, side) {
            Some(key) => Ok(Some(key)),
            None => Err(HelloError::Network("it proves a network key that is not known here")),
        },
    }
}

/// Writes one frame at once.
pub(crate) async fn write_frame<S>(stream: &mut S, frame: &Frame) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(&wire::encode(frame).to_bytes()).await?;
    stream.flush().await
}

/// Reads one small frame.
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

    fn ours<'a>(key: Option<&'a NetworkKey>, exporter: &'a [u8; 32]) -> Ours<'a> {
        let remote = "127.0.0.1:5".parse().unwrap();
        Ours { role: Role::Peer, network_key: key, exporter, remote, process: 1 }
    }

    async fn meet(
        dialer: Option<&NetworkKey>,
        listener: Option<&NetworkKey>,
    ) -> (Result<Theirs, HelloError>, Result<Theirs, HelloError>) {
        let exporter = [3; 32];
        let (mut a, mut b) = tokio::io::duplex(4096);
        tokio::join!(
            as_dialer(&mut a, ours(dialer, &exporter)),
            as_listener(&mut b, ours(listener, &exporter))
        )
    }

    #[tokio::test]
    async fn open_networks_and_equal_keys_meet() {
        let key = NetworkKey::new([1; 32]);
        for pair in [(None, None), (Some(&key), Some(&key))] {
            let (d, l) = meet(pair.0, pair.1).await;
            assert_eq!(d.unwrap().role, Role::Peer);
            assert_eq!(l.unwrap().observed.unwrap().port(), 5);
        }
    }

    #[tokio::test]
    async fn different_networks_refuse_each_other_and_both_know_why() {
        let (one, two) = (NetworkKey::new([1; 32]), NetworkKey::new([2; 32]));
        for pair in [(None, Some(&one)), (Some(&one), None), (Some(&one), Some(&two))] {
            let (d, l) = meet(pair.0, pair.1).await;
            assert!(matches!(d, Err(HelloError::Closed(CloseReason::OtherNetwork))), "{d:?}");
            assert!(matches!(l, Err(HelloError::Network(_))), "{l:?}");
        }
    }

    #[tokio::test]
    async fn a_dialer_with_a_key_refuses_a_listener_that_proves_none() {
        let (key, exporter) = (NetworkKey::new([1; 32]), [3; 32]);
        let (mut a, mut b) = tokio::io::duplex(4096);
        let careless = async {
            read_frame(&mut b, MAX_HELLO).await.unwrap();
            let answer = hello(&ours(None, &exporter), None, Side::Listener);
            write_frame(&mut b, &answer).await.unwrap();
        };
        let (d, ()) = tokio::join!(as_dialer(&mut a, ours(Some(&key), &exporter)), careless);
        assert!(matches!(d, Err(HelloError::Network(_))), "{d:?}");
    }

    #[tokio::test]
    async fn version_zero_long_frames_and_other_frames_are_refused() {
        let exporter = [3; 32];
        let (version, role, observed, network_proof) = (0, Role::Peer, None, None);
        let old = Hello { version, role, observed, network_proof, process: 1 };
        let long = [vec![0, 0, 8, 0], vec![0; 2048]].concat();
        let cases: [(Vec<u8>, &str); 3] = [
            (wire::encode(&old.into()).to_bytes().to_vec(), "speaks version 0"),
            (wire::encode(&Frame::GetPeerList).to_bytes().to_vec(), "GetPeerList where Hello"),
            (long, "at most 1024"),
        ];
        for (bytes, expected) in cases {
            let (mut a, mut b) = tokio::io::duplex(4096);
            a.write_all(&bytes).await.unwrap();
            let e = as_listener(&mut b, ours(None, &exporter)).await.unwrap_err().to_string();
            assert!(e.contains(expected), "{e}");
        }
    }
}
