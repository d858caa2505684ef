//! Admission of links: keys, pins and network keys.

use std::sync::Arc;

use rumormill_proto::{DialError, DialId, LinkEnd, Role};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::harness::{
    EchoNode, RecordedInput, identity, pair, start, start_with, tls_only, tuning,
};
use crate::network_key::NetworkKey;

async fn dial_error(node: &EchoNode) -> DialError {
    node.wait_for("dial failed", |s| match s {
        RecordedInput::DialFailed(DialId(1), why) => Some(*why),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn both_ends_learn_each_others_keys_and_addresses() {
    let (a, _, b, _) = pair(&tuning()).await;
    let (_, at_a) = a.link_with(b.handle.id()).await;
    let (_, at_b) = b.link_with(a.handle.id()).await;
    assert_eq!((at_a.role, at_a.dial), (Role::Peer, Some(DialId(1))));
    assert_eq!((at_b.role, at_b.dial), (Role::Peer, None));
    assert_eq!(at_a.remote_address, b.address());
    assert_eq!(at_b.observed, Some(b.address()));
    assert_eq!(at_a.observed, Some(at_b.remote_address));
}

#[tokio::test]
async fn dial_with_wrong_pin_fails_and_other_side_opens_no_link() {
    let (a, b) = (start(1, tuning()), start(2, tuning()));
    a.dial(1, b.address(), Some(identity(3).id())).await;
    assert_eq!(dial_error(&a).await, DialError::WrongIdentity);
    b.wait_for_counter("handshakes_failed", 1).await;
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Up(..))));
    assert_eq!(a.counters().get("dials_wrong_identity"), 1);
}

#[tokio::test]
async fn dial_distinguishes_refused_connection_from_silent_remote() {
    let a = start(
        1,
        crate::tuning::Tuning { dial_deadline: std::time::Duration::from_millis(200), ..tuning() },
    );
    let gone = crate::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr();
    a.dial(1, gone, None).await;
    assert_eq!(dial_error(&a).await, DialError::Refused);
    // A socket for which the kernel completes connections, but no process reads from them.
    let silent = crate::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    a.dial(2, silent.local_addr(), None).await;
    let why = a
        .wait_for("second dial failed", |s| match s {
            RecordedInput::DialFailed(DialId(2), why) => Some(*why),
            _ => None,
        })
        .await;
    assert_eq!(why, DialError::TimedOut);
    a.dial(3, "127.0.0.1:1".parse().unwrap(), None).await;
    a.wait_for_counter("dials_refused", 2).await;
}

#[tokio::test]
async fn nodes_link_only_within_the_same_network() {
    let key = NetworkKey::new([7; 32]);
    let private = start_with(1, tuning(), Some(key.clone()), None);
    let open = start(2, tuning());
    let friend = start_with(3, tuning(), Some(key), None);
    open.dial(1, private.address(), None).await;
    assert_eq!(dial_error(&open).await, DialError::OtherNetwork);
    private.dial(1, open.address(), None).await;
    assert_eq!(dial_error(&private).await, DialError::OtherNetwork);
    friend.dial(1, private.address(), None).await;
    friend.link_with(private.handle.id()).await;
}

#[tokio::test]
async fn connection_that_ends_before_hello_opens_no_link() {
    let (a, b) = (start(1, tuning()), start(2, tuning()));
    // A dialer that proves its key and closes the connection without Hello.
    drop(tls_only(b.address(), &identity(9)).await);
    b.wait_for_counter("handshakes_failed", 1).await;
    a.dial(1, b.address(), None).await;
    let (link, _) = b.link_with(a.handle.id()).await;
    a.handle.kill();
    assert_eq!(b.wait_for_end(link).await, LinkEnd::Lost);
}

/// Accepts any server, so that the test can be the side that is refused.
#[derive(Debug)]
struct AcceptAnyServer;

impl ServerCertVerifier for AcceptAnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn tls_client_without_key_is_refused() {
    let node = start(1, tuning());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for alpn in [&b"rumor/1"[..], b"h2", b""] {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyServer))
            .with_no_client_auth();
        if !alpn.is_empty() {
            config.alpn_protocols = vec![alpn.to_vec()];
        }
        let tcp = TcpStream::connect(node.address()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        // In TLS 1.3 the client's handshake may succeed; its first read then fails.
        let ended = match connector.connect(node.address().ip().into(), tcp).await {
            Ok(mut stream) => stream.read_u8().await.is_err(),
            Err(_) => true,
        };
        assert!(ended);
    }
    node.wait_for_counter("handshakes_failed", 3).await;
    assert!(!node.recorded().iter().any(|s| matches!(s, RecordedInput::Up(..))));
}
