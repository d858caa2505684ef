//! Remotes that break the protocol: each ends in a closed connection with a reason and a counter,
//! and no other link is affected.

use std::time::Duration;

use rumormill_proto::wire::{self, Close, Frame, Hello, Ping, Pull, Register};
use rumormill_proto::{CloseReason, Event, LinkEnd, LinkId, Name, Presence, Record, SignedRecord};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{EchoNode, PULL_COST, RecordedInput, identity, pair, raw_link, start, tuning};
use crate::tuning::Tuning;
use rumormill_proto::Class;

/// One ping from `a` to `b` and back.
async fn ping(a: &EchoNode, at_a: LinkId) {
    let pongs = || {
        a.recorded()
            .iter()
            .filter(|s| matches!(s, RecordedInput::Frame(l, "Pong") if *l == at_a))
            .count()
    };
    let before = pongs();
    a.send(at_a, Ping { nonce: 1 }.into(), Class::Control).await;
    super::harness::wait_until("a pong", || (pongs() > before).then_some(())).await;
}

/// Reads to the end of the stream, whatever arrives.
async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut all))
        .await
        .expect("the connection stays open");
    all
}

#[tokio::test]
async fn garbage_on_the_port_closes_only_its_own_connection() {
    let (a, at_a, b, _) = pair(&tuning()).await;
    let garbage: [&[u8]; 3] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff, 1]];
    for (n, bytes) in (1..).zip(garbage) {
        let mut tcp = TcpStream::connect(b.address()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        read_to_end(&mut tcp).await;
        b.wait_for_counter("handshakes_failed", n).await;
    }
    ping(&a, at_a).await;
}

#[tokio::test]
async fn idle_connections_are_closed_at_the_handshake_deadline() {
    let tuning = Tuning { handshake_deadline: Duration::from_millis(1500), ..tuning() };
    let (a, at_a, b, _) = pair(&tuning).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(b.address()).await.unwrap());
    }
    b.wait_for_counter("connections_accepted", 301).await;
    ping(&a, at_a).await;
    for tcp in &mut idle {
        read_to_end(tcp).await;
    }
    b.wait_for_counter("handshakes_timed_out", 300).await;
    b.wait_for_counter("handshakes_failed", 300).await;
    ping(&a, at_a).await;
}

#[tokio::test]
async fn connections_beyond_the_handshake_limit_wait_and_are_served_later() {
    let tuning =
        Tuning { handshake_deadline: Duration::from_millis(500), max_handshakes: 4, ..tuning() };
    let b = start(2, tuning.clone());
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(TcpStream::connect(b.address()).await.unwrap());
    }
    let a = start(1, tuning);
    a.dial(1, b.address(), None).await;
    a.link_with(b.handle.id()).await;
    for tcp in &mut idle {
        read_to_end(tcp).await;
    }
}

#[tokio::test]
async fn connections_from_one_address_are_limited() {
    let tuning = Tuning { max_per_address: 3, loopback_exempt: false, ..tuning() };
    let b = start(2, tuning);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(b.address()).await.unwrap());
    }
    b.wait_for_counter("connections_accepted", 3).await;
    let mut refused = TcpStream::connect(b.address()).await.unwrap();
    read_to_end(&mut refused).await;
    b.wait_for_counter("connections_refused_address", 1).await;
    drop(held);
    b.wait_for_counter("handshakes_failed", 3).await;
    raw_link(b.address(), &identity(5)).await;
}

#[tokio::test]
async fn full_node_closes_new_connection_with_reason_limit() {
    let b = start(2, Tuning { max_links: 1, ..tuning() });
    let _first = raw_link(b.address(), &identity(5)).await;
    b.link_with(identity(5).id()).await;
    let mut second = super::harness::tls_only(b.address(), &identity(6)).await;
    let all = read_to_end(&mut second).await;
    let close = wire::encode(&Close { reason: CloseReason::Limit }.into()).to_bytes();
    assert_eq!(all, close);
    b.wait_for_counter("connections_refused_limit", 1).await;
    b.dial(1, b.address(), None).await;
    b.wait_for_counter("dials_no_room", 1).await;
}

/// Writes bytes on a separate link, and checks how that link ends, and that no other link does.
async fn refused(bytes: &[u8], counter: &str, why: &str) {
    let (a, at_a, mut b, at_b) = pair(&tuning()).await;
    let mallory = identity(66);
    let mut stream = raw_link(b.address(), &mallory).await;
    let (link, _) = b.link_with(mallory.id()).await;
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(b.wait_for_end(link).await, LinkEnd::Local(CloseReason::ProtocolViolation));
    let reason = b
        .wait_for_event(|e| match e {
            Event::FrameRefused { peer, why } if *peer == mallory.id() => Some(why.clone()),
            _ => None,
        })
        .await;
    assert!(reason.contains(why), "{reason}");
    b.wait_for_event(|e| {
        matches!(e, Event::LinkClosed { peer, reason: CloseReason::ProtocolViolation }
            if *peer == mallory.id())
        .then_some(())
    })
    .await;
    let close = wire::encode(&Close { reason: CloseReason::ProtocolViolation }.into()).to_bytes();
    assert_eq!(read_to_end(&mut stream).await, close, "the remote gets the reason");
    b.wait_for_counter(counter, 1).await;
    ping(&a, at_a).await;
    let downs = b.recorded().iter().filter(|s| matches!(s, RecordedInput::Down(..))).count();
    assert_eq!(downs, 1, "the end of one link is reported once");
    assert!(!b.recorded().iter().any(|s| matches!(s, RecordedInput::Down(l, _) if *l == at_b)));
}

#[tokio::test]
async fn frame_with_length_of_four_gibibytes_closes_the_link() {
    refused(&[0xff, 0xff, 0xff, 0xff, 0, 0], "frames_too_long", "4294967295 bytes").await;
}

#[tokio::test]
async fn malformed_frame_closes_the_link() {
    refused(&[0, 0, 0, 3, 1, 2, 3], "frames_malformed", "malformed").await;
    refused(&[0, 0, 0, 0], "frames_malformed", "malformed").await;
}

#[tokio::test]
async fn second_hello_closes_the_link() {
    let hello = Hello {
        version: 1,
        role: rumormill_proto::Role::Peer,
        observed: None,
        network_proof: None,
        process: 1,
    };
    refused(&wire::encode(&hello.into()).to_bytes(), "frames_out_of_place", "second Hello").await;
}

fn record() -> SignedRecord {
    let me = identity(66);
    let record = Record {
        id: me.id(),
        name: Name::new("mallory").unwrap(),
        addresses: vec![],
        incarnation: 1,
        sequence: 0,
        presence: Presence::Alive,
        degree: 0,
        target: 3,
        process: 1,
        other_process: None,
        participates: false,
    };
    SignedRecord::sign(record, &me)
}

#[tokio::test]
async fn frame_with_bad_signature_closes_the_link() {
    let good = wire::encode(&Register { record: record() }.into()).to_bytes();
    let mut bad = good.to_vec();
    let at = bad.windows(7).position(|w| w == b"mallory").unwrap();
    bad[at] = b'M';
    refused(&bad, "frames_bad_signature", "signature").await;
    // The same frame with the right name is accepted.
    let b = start(2, tuning());
    let mut stream = raw_link(b.address(), &identity(66)).await;
    stream.write_all(&good).await.unwrap();
    let seen = |s: &RecordedInput| matches!(s, RecordedInput::Frame(_, "Register")).then_some(());
    b.wait_for("the good frame", seen).await;
}

/// One link sends requests that cost the driver a millisecond each, as fast as it can. Pings of
/// another link are answered as usual, and the requests are processed in the remaining time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_that_sends_expensive_requests_delays_no_other_link() {
    const PINGS: usize = 21;
    let (a, at_a, b, _) = pair(&tuning()).await;
    let mut greedy = raw_link(b.address(), &identity(66)).await;
    let (link, _) = b.link_with(identity(66).id()).await;
    let pull = wire::encode(&Pull { ranges: Vec::new(), nonce: 0 }.into()).to_bytes();
    let flood =
        tokio::spawn(async move { while greedy.write_all(&pull.repeat(200)).await.is_ok() {} });
    let pulls = || {
        b.recorded()
            .iter()
            .filter(|s| matches!(s, RecordedInput::Frame(l, "Pull") if *l == link))
            .count()
    };
    super::harness::wait_until("the driver is busy", || (pulls() > 200).then_some(())).await;
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let began = std::time::Instant::now();
        ping(&a, at_a).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    // With one queue of 1,024 slots for all links, a ping would take a second.
    let median = times[PINGS / 2];
    assert!(median < 50 * PULL_COST, "{times:?}");
    assert!(pulls() > 220, "the requests are processed in the remaining time");
    flood.abort();
}

#[tokio::test]
async fn unknown_frame_and_frame_sent_byte_by_byte_are_accepted() {
    let b = start(2, tuning());
    let mut stream = raw_link(b.address(), &identity(66)).await;
    let mut bytes = wire::encode(&Frame::Unknown(999)).to_bytes().to_vec();
    bytes.extend_from_slice(&wire::encode(&Ping { nonce: 1 }.into()).to_bytes());
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    b.wait_for("the ping", |s| matches!(s, RecordedInput::Frame(_, "Ping")).then_some(())).await;
    assert!(b.recorded().iter().any(|s| matches!(s, RecordedInput::Frame(_, "Unknown"))));
}

/// A frame of more than 32 KiB.
fn large_frame() -> Vec<u8> {
    let records = vec![record(); 512];
    let list = wire::PeerList { records, alive: 512, participating: 512, synced: true, last: true };
    let bytes = wire::encode(&list.into()).to_bytes();
    assert!(bytes.len() > 32 * 1024);
    bytes.to_vec()
}

/// The driver is blocked, so that all frames stay in its inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_of_some_links_do_not_block_the_reader_of_another_link() {
    const GREEDY: u8 = 40;
    let b = start(2, tuning());
    let mut links = Vec::new();
    for n in 0..=GREEDY {
        links.push(raw_link(b.address(), &identity(100 + n)).await);
        b.link_with(identity(100 + n).id()).await;
    }
    let mut honest = links.pop().unwrap();
    let (resume, wait) = std::sync::mpsc::channel::<()>();
    let handle = b.handle.clone();
    let blocked = tokio::spawn(async move {
        // It ends when the sender is dropped.
        let _ = handle.call(move |_, _| wait.recv()).await;
    });
    let large = large_frame();
    let floods: Vec<_> = links
        .into_iter()
        .map(|mut link| {
            let large = large.clone();
            tokio::spawn(async move { while link.write_all(&large).await.is_ok() {} })
        })
        .collect();
    let mut before = u64::MAX;
    let mut settled = b.counters().get("frames_in");
    while settled != before || settled == 0 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        (before, settled) = (settled, b.counters().get("frames_in"));
    }
    honest.write_all(&large).await.unwrap();
    honest.write_all(&wire::encode(&Frame::Unknown(999)).to_bytes()).await.unwrap();
    honest.flush().await.unwrap();
    b.wait_for_counter("frames_in", settled + 2).await;
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    drop(resume);
    blocked.await.unwrap();
}
