//! Attacks on message lists, announcements, pulls and streams.

use core::time::Duration;

use rumormill_proto::limits::{
    ANSWER_BURST, ANSWER_RATE, DATA_RATE, MAX_FRAME, MAX_PAYLOAD, MAX_PULL_BATCHES, QUEUE_PAYLOAD,
    REQUEST_BURST,
};
use rumormill_proto::wire::{
    Announce, Data, Frame, GetData, Graft, Pong, ProbeRequest, Pull, PullEnd, Range, Summary,
    SummaryEntry, encode,
};
use rumormill_proto::{Identity, MessageId, Role};

use super::{
    count_sent, counter, entry, gossip, lan, link_of, tokens_of, unknown_identity, with_neighbours,
};
use crate::support::rig::Rig;
use crate::support::statements::{batch, first_of, identity, message};

fn range(publisher: &Identity, from: u64, to: u64) -> Range {
    Range { publisher: publisher.id(), epoch: 1, from, to }
}

/// The nonce of the last Pull, which its answer has to repeat.
fn last_pull(rig: &Rig) -> u64 {
    let nonce = |f: &Frame| if let Frame::Pull(p) = f { Some(p.nonce) } else { None };
    rig.sent.iter().rev().find_map(|(_, f)| nonce(f)).unwrap()
}

/// One neighbour claims again and again that a publisher has published every possible sequence
/// number. The messages that the publisher does publish must still be delivered.
#[test]
fn false_summaries_do_not_hide_later_messages_of_a_publisher() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    for hash in 0..40 {
        let entry = SummaryEntry {
            publisher: publisher.id(),
            epoch: 1,
            next: u64::MAX,
            gaps: Vec::new(),
            oldest_retained: 0,
        };
        rig.receive(link, Summary { hash, entries: Some(vec![entry]) });
        // The peer may wait between its attempts to pull.
        rig.pass(Duration::from_secs(20));
    }
    let next = message(&publisher, 1, 1, b"b");
    rig.receive(link, gossip(next.clone()));
    assert!(
        rig.deliveries.contains_key(&first_of(&next)),
        "the next message counts as a duplicate"
    );
}

/// A neighbour must not be able to split gaps into more parts than a Summary may name.
#[test]
fn gaps_from_summaries_stay_within_their_bound() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for i in 0..256 {
        rig.receive(link, gossip(message(&publisher, 1, 10 * i, b"a")));
    }
    // The neighbour lacks the end of each gap and the start of the next one, and claims the
    // numbers between them.
    let gaps: Vec<(u64, u64)> = (0..255).map(|i| (10 * i + 5, 10 * i + 13)).collect();
    let publisher = publisher.id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 2560, gaps, oldest_retained: 0 };
    for hash in 0..40 {
        assert!(rig.receive(link, Summary { hash, entries: Some(vec![entry.clone()]) }));
        rig.pass(Duration::from_secs(20));
    }
    // A Summary without entries is answered with all entries; the rig checks that they are valid.
    rig.receive(link, Summary { hash: 77, entries: None });
}

/// A publisher with very many streams, and gaps in each of them, must not make the Summary longer
/// than a frame.
#[test]
fn summary_of_many_streams_fits_a_frame() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    for epoch in 0..700u64 {
        for i in 0..40 {
            let m = message(&publisher, epoch << 32, (1 << 40) + 2 * i, b"");
            rig.receive(link, gossip(m));
        }
        rig.sent.clear();
    }
    rig.receive(link, Summary { hash: 77, entries: None });
    let longest = rig.sent.iter().map(|(_, f)| encode(f).len()).max().unwrap();
    assert!(longest <= MAX_FRAME);
}

/// Two peers that lack messages which the other one has evicted must not ask each other for ever.
/// The other side of the comparison learns what it lacks.
#[test]
fn comparison_of_message_lists_ends() {
    let (mut rig, link) = with_neighbours(1);
    for n in [2, 3] {
        rig.receive(link, gossip(message(&identity(n), 1, 0, b"a")));
    }
    rig.pass(Duration::from_secs(1));
    rig.sent.clear();
    // The neighbour has evicted the messages of peer 5 and lacks the others. It answers as an
    // honest neighbour does: with its entries, to each Summary without entries.
    let publisher = identity(5).id();
    let entry = SummaryEntry { publisher, epoch: 1, next: 3, gaps: Vec::new(), oldest_retained: 0 };
    let all = Summary { hash: 1, entries: Some(vec![entry]) };
    rig.receive(link, all.clone());
    let (mut rounds, mut announced) = (0, Vec::new());
    while let Some((_, frame)) = rig.sent.pop_front() {
        match frame {
            Frame::Announce(f) => {
                announced.extend(f.ranges.iter().map(|r| (r.publisher, r.from, r.to)));
                // The neighbour ignores the announcement and answers once more.
                rig.receive(link, all.clone());
            }
            Frame::Summary(f) if f.entries.is_none() => {
                rounds += 1;
                assert!(rounds < 20, "the peer asks again after every answer");
                rig.receive(link, all.clone());
            }
            _ => {}
        }
    }
    let mut lacking = [2, 3].map(|n| (identity(n).id(), 0, 1));
    lacking.sort_unstable();
    assert_eq!(announced, lacking, "announced once");
    assert!(rig.events.get("gap").copied().unwrap_or(0) <= 1, "the same gap is reported twice");
}

/// A short Pull must not be answered with half a gigabyte.
#[test]
fn answer_to_a_pull_is_bounded_in_bytes() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    let m = message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD]);
    rig.receive(link, gossip(m));
    let range = Range { publisher: publisher.id(), epoch: 1, from: 0, to: 1 };
    rig.sent.clear();
    rig.receive(link, Pull { ranges: vec![range; 1024], nonce: 1 });
    // The rig keeps the last 64 frames.
    let sent = count_sent(&rig, "Gossip") * MAX_PAYLOAD;
    assert!(sent <= QUEUE_PAYLOAD, "{} MiB for one Pull", sent >> 20);
}

/// A neighbour announces ranges of 30 000 invented publishers. A real range that another neighbour
/// announces must still be pulled.
#[test]
fn invented_announcements_do_not_hide_real_ones() {
    let (mut rig, link) = with_neighbours(2);
    let honest = link_of(&rig, 2);
    for round in 0..30 {
        let ranges =
            (0..1024).map(|n| range(&unknown_identity(round * 1024 + n), 0, u64::MAX)).collect();
        assert!(rig.receive(link, Announce { ranges }));
        rig.pass(Duration::from_millis(100));
        rig.timeout();
    }
    let publisher = identity(5);
    rig.receive(honest, Announce { ranges: vec![range(&publisher, 0, 1)] });
    rig.sent.clear();
    let mut asked = false;
    let from = rig.now;
    while rig.now.since(from) < Duration::from_secs(10) {
        rig.next_deadline();
        let mut sent = core::mem::take(&mut rig.sent).into_iter();
        asked |= sent.any(|(to, f)| {
            let named = |p: &Pull| p.ranges.iter().any(|r| r.publisher == publisher.id());
            to == honest && matches!(&f, Frame::Pull(p) if named(p))
        });
    }
    assert!(asked, "the real range is never pulled");
    assert_eq!(counter(&rig, "gaps"), 0, "an invented range is no gap");
    rig.check();
}

/// A neighbour claims every possible sequence number again and again, and has nothing.
#[test]
fn claimed_range_that_never_arrives_is_pulled_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    let before = rig.total("Pull").0;
    let mut answered = before;
    for hash in 0..600 {
        // Ten minutes with a claim each second, and an empty answer to each Pull.
        let entries = Some(vec![entry(&publisher, u64::MAX, 0)]);
        rig.receive(link, Summary { hash, entries });
        rig.receive(link, Announce { ranges: vec![range(&publisher, 0, u64::MAX)] });
        rig.pass(Duration::from_secs(1));
        rig.timeout();
        while rig.total("Pull").0 > answered {
            answered += 1;
            assert!(answered - before < 10_000, "a Pull follows every answer");
            let nonce = last_pull(&rig);
            rig.receive(link, PullEnd { batches: 0, refused: false, nonce });
        }
    }
    let pulls = rig.total("Pull").0 - before;
    assert!(pulls <= 1800, "{pulls} pulls in ten minutes");
}

/// The peer returns from a partition. Neighbours that connect after the first one may still retain
/// messages that the first one has evicted.
#[test]
fn first_neighbour_alone_causes_no_gap_before_others_can_connect() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    rig.receive(link, gossip(message(&publisher, 1, 29, b"b")));
    let entries = Some(vec![entry(&publisher, 30, 13)]);
    rig.receive(link, Summary { hash: 1, entries });
    let pass = |rig: &mut Rig, seconds: u64| {
        for _ in 0..seconds * 10 {
            rig.pass(Duration::from_millis(100));
            rig.timeout();
            let nonce = |f| if let Frame::Ping(p) = f { Some(p.nonce) } else { None };
            let pings: Vec<u64> =
                rig.sent.drain(..).filter_map(|(to, f)| nonce(f).filter(|_| to == link)).collect();
            for nonce in pings {
                rig.receive(link, Pong { nonce });
            }
        }
    };
    pass(&mut rig, 8);
    assert_eq!(counter(&rig, "gaps"), 0, "one neighbour alone");
    pass(&mut rig, 8);
    assert!(counter(&rig, "gaps") > 0, "no other neighbour has connected");
}

/// A neighbour answers each Pull with a PullEnd that counts one batch, and has sent none.
#[test]
fn empty_answers_cause_no_pull_loop() {
    let (mut rig, link) = with_neighbours(3);
    let publisher = identity(5);
    rig.receive(link, gossip(message(&publisher, 1, 0, b"a")));
    rig.receive(link, gossip(message(&publisher, 1, 9, b"b")));
    rig.receive(link, Announce { ranges: vec![range(&publisher, 0, 10)] });
    let before = rig.total("Pull").0;
    let mut answered = before;
    let from = rig.now;
    while rig.now.since(from) < Duration::from_secs(2) {
        rig.next_deadline();
        while rig.total("Pull").0 > answered {
            answered += 1;
            assert!(answered - before < 30, "{} pulls within two seconds", answered - before);
            let nonce = last_pull(&rig);
            rig.receive(link, PullEnd { batches: 1, refused: false, nonce });
        }
    }
    assert_eq!(counter(&rig, "gaps"), 0, "given up within two seconds");
}

/// A false `oldest_retained` in one neighbour's Summary must not hide the messages that another one
/// sends.
#[test]
fn false_oldest_retained_hides_no_messages() {
    for oldest_retained in [1, 1 << 40, u64::MAX - 1] {
        let (mut rig, link) = with_neighbours(2);
        let honest = link_of(&rig, 2);
        let publisher = identity(5);
        let entries = Some(vec![entry(&publisher, u64::MAX - 1, oldest_retained)]);
        rig.receive(link, Summary { hash: 1, entries });
        for n in 0..5 {
            rig.receive(honest, gossip(message(&publisher, 1, n, b"x")));
        }
        rig.pass(Duration::from_secs(3));
        rig.timeout();
        assert_eq!(rig.deliveries.len(), 5, "oldest retained:  {oldest_retained}");
    }
}

/// The same where a later message arrives before the first one.
#[test]
fn false_oldest_retained_hides_no_late_messages() {
    let (mut rig, link) = with_neighbours(2);
    let honest = link_of(&rig, 2);
    let publisher = identity(5);
    rig.receive(honest, gossip(message(&publisher, 1, 3, b"x")));
    let entries = Some(vec![entry(&publisher, 4, 3)]);
    rig.receive(link, Summary { hash: 1, entries });
    for n in [0, 1, 2, 4] {
        rig.receive(honest, gossip(message(&publisher, 1, n, b"x")));
    }
    rig.pass(Duration::from_secs(60));
    for _ in 0..60 {
        rig.next_deadline();
    }
    // Each message is delivered or reported as missed.
    let missed = counter(&rig, "messages_missed");
    assert_eq!(rig.deliveries.len() as u64 + missed, 5, "{missed} reported as missed");
}

/// A publisher signs two contents for one number, and batches that overlap in every way.
#[test]
fn contradicting_batches_deliver_each_number_once_in_order() {
    let (mut rig, link) = with_neighbours(3);
    let other = link_of(&rig, 2);
    let publisher = identity(5);
    let parts: [(u64, usize); 12] = [
        (0, 1),
        (0, 3),
        (2, 2),
        (1, 1),
        (7, 1),
        (3, 8),
        (5, 1),
        (6, 3),
        (4, 20),
        (0, 30),
        (29, 9),
        (12, 1),
    ];
    for round in 0..6u64 {
        for (i, (first, n)) in parts.into_iter().enumerate() {
            let payload = [i as u8, round as u8];
            let b = batch(&publisher, 1, round * 35 + first, &vec![payload.as_slice(); n]);
            rig.receive(if i % 2 == 0 { link } else { other }, gossip(b));
            rig.check();
        }
    }
    // The rig checks the order of deliveries and gaps; at the end no number is pending.
    let delivered = rig.deliveries.len() as u64;
    assert_eq!(delivered + counter(&rig, "messages_missed"), 5 * 35 + 38);
    assert!(delivered > 150, "{delivered}");
}

/// A Pull that names the same range a thousand times is answered once.
#[test]
fn repeated_ranges_in_a_pull_are_answered_once() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..40 {
        let payloads = [&[7u8; 1000][..]; 50];
        rig.receive(link_of(&rig, 2), gossip(batch(&publisher, 1, n * 50, &payloads)));
    }
    for _ in 0..100 {
        let before = rig.total("Gossip").1;
        rig.receive(link, Pull { ranges: vec![range(&publisher, 0, 2000); 1024], nonce: 1 });
        let bytes = rig.total("Gossip").1 - before;
        assert!(bytes <= QUEUE_PAYLOAD as u64 / 4, "{} KiB for one short frame", bytes >> 10);
    }
}

/// Small batches cost by their number and not by their bytes.
#[test]
fn number_of_small_batches_per_answer_is_bounded() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    for n in 0..2000 {
        rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, n, b"x")));
    }
    let before = rig.total("Gossip").0;
    rig.receive(link, Pull { ranges: vec![range(&publisher, 0, 2000)], nonce: 1 });
    let sent = rig.total("Gossip").0 - before;
    assert!((1..=u64::from(MAX_PULL_BATCHES)).contains(&sent), "{sent} batches for one Pull");
    let before = rig.total("Gossip").0;
    let have = vec![entry(&publisher, 1, 0)];
    rig.receive(link, Graft { publishers: tokens_of(&[&publisher]), have });
    let sent = rig.total("Gossip").0 - before;
    assert!(sent <= u64::from(MAX_PULL_BATCHES), "{sent} batches for one Graft");
}

/// One neighbour pulls as fast as it can: a request has 54 bytes, an answer a megabyte.
#[test]
fn pulls_beyond_the_quota_are_refused_and_honest_catch_up_is_not() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    rig.receive(link_of(&rig, 2), gossip(message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD])));
    let pull = || Pull { ranges: vec![range(&publisher, 0, 1)], nonce: 1 };
    let retention = lan().retention_bytes() / MAX_PAYLOAD as u64;
    for _ in 0..2 * retention {
        rig.receive(link, pull());
    }
    assert_eq!(counter(&rig, "requests_throttled"), 0, "twice everything that is retained");
    let started = rig.now;
    for _ in 0..5000 {
        rig.receive(link, pull());
        rig.pass(Duration::from_micros(200));
    }
    let seconds = rig.now.since(started).as_secs_f64();
    let bytes = rig.total("Gossip").1 as f64;
    let allowed = ANSWER_BURST as f64 + seconds * ANSWER_RATE as f64 + 2.0 * MAX_PAYLOAD as f64;
    assert!(bytes <= allowed, "{bytes} bytes, {allowed} allowed");
    let refused = counter(&rig, "requests_throttled");
    assert!(refused > 4000, "{refused}");
    let last = rig.sent.iter().rev().find_map(|(to, f)| match f {
        Frame::PullEnd(f) if *to == link => Some(f.clone()),
        _ => None,
    });
    assert!(last.is_some_and(|f| f.refused), "the answer says that it was refused");

    // Another neighbour is answered as before, and the first one again later.
    let other = link_of(&rig, 2);
    let answers = |rig: &mut Rig, link| {
        let before = rig.total("Gossip").0;
        rig.receive(link, pull());
        rig.total("Gossip").0 - before
    };
    assert_eq!(answers(&mut rig, other), 1);
    rig.pass(Duration::from_secs(3));
    assert_eq!(answers(&mut rig, link), 1);
    let reported = rig.events.get("throttled");
    assert_eq!(reported, Some(&1), "{:?}", rig.events);
}

/// A neighbour repeats each kind of request without a pause.
#[test]
fn requests_of_every_kind_are_bounded_by_count() {
    let publisher = identity(5);
    let id = MessageId { publisher: publisher.id(), epoch: 1, sequence: 0 };
    let kinds: Vec<Frame> = vec![
        Pull { ranges: vec![], nonce: 1 }.into(),
        GetData { id }.into(),
        Summary { hash: 1, entries: None }.into(),
        Graft { publishers: tokens_of(&[&publisher]), have: vec![entry(&publisher, 0, 0)] }.into(),
        ProbeRequest { subject: publisher.id(), incarnation: 1 }.into(),
    ];
    for frame in kinds {
        let (mut rig, link) = with_neighbours(2);
        for _ in 0..3 * REQUEST_BURST {
            rig.receive(link, frame.clone());
        }
        let refused = counter(&rig, "requests_throttled");
        assert!(refused >= u64::from(2 * REQUEST_BURST) - 1, "{}: {refused}", frame.name());
        rig.check();
    }
}

/// P8: a peer answers GetData of a neighbour with the message, at a bounded rate for each
/// neighbour.
#[test]
fn fetch_is_answered_for_neighbours_at_a_bounded_rate() {
    let (mut rig, link) = with_neighbours(2);
    let publisher = identity(5);
    let large = message(&publisher, 1, 0, &vec![7; MAX_PAYLOAD]);
    let id = first_of(&large);
    rig.receive(link_of(&rig, 2), gossip(large.clone()));
    let ask = |rig: &mut Rig, link, id| {
        rig.sent.clear();
        rig.receive(link, GetData { id });
        let data = rig.sent.iter().find_map(|(to, f)| match f {
            Frame::Data(d) if *to == link => Some(d.batch.clone()),
            _ => None,
        });
        data.expect("an answer")
    };
    assert_eq!(ask(&mut rig, link, id), Some(large));
    let unknown = MessageId { sequence: 7, ..id };
    assert_eq!(ask(&mut rig, link, unknown), None);
    let unknown_identity = rig.link_up(6, Role::Peer, None);
    assert_eq!(ask(&mut rig, unknown_identity, id), None, "the requester is no neighbour");
    let given = (0..1000).filter(|_| ask(&mut rig, link, id).is_some()).count();
    assert!(given * MAX_PAYLOAD <= 2 * DATA_RATE, "{given} MiB at once for short requests");
    assert!(counter(&rig, "data_refused") > 900);
    rig.pass(Duration::from_secs(3));
    assert!(ask(&mut rig, link, id).is_some());
}

/// A neighbour answers GetData with batches that do not hold the message.
#[test]
fn data_without_the_requested_message_is_ignored() {
    let (mut rig, link) = with_neighbours(1);
    let publisher = identity(5);
    let id = MessageId { publisher: publisher.id(), epoch: 1, sequence: 7 };
    let now = rig.now;
    rig.as_peer_mut().fetch(now, id);
    rig.drain();
    rig.receive(link, Data { id, batch: Some(message(&publisher, 1, 8, b"x")), age_ms: Some(5) });
    rig.receive(link, Data { id, batch: Some(message(&identity(4), 1, 7, b"x")), age_ms: Some(5) });
    rig.receive(link, Data { id, batch: Some(message(&publisher, 2, 7, b"x")), age_ms: Some(5) });
    assert!(rig.deliveries.is_empty());
    let fetched = |rig: &Rig| rig.events.get("fetched").copied().unwrap_or(0);
    assert_eq!(fetched(&rig), 0, "the answers do not hold the message");
    rig.receive(
        link,
        Data { id, batch: Some(batch(&publisher, 1, 5, &[&b"x"[..]; 4])), age_ms: Some(5) },
    );
    assert_eq!(fetched(&rig), 1);
    rig.check();
}

/// Thousands of publishers, each with a message that is not the first of its stream.
#[test]
fn known_publisher_is_delivered_after_thousands_of_streams_without_a_start() {
    let (mut rig, link) = with_neighbours(2);
    for n in 0..3000 {
        rig.receive(link, gossip(message(&unknown_identity(n), 1, 5, b"x")));
        if n % 100 == 0 {
            rig.pass(Duration::from_millis(50));
            rig.timeout();
        }
    }
    rig.pass(Duration::from_secs(5));
    for _ in 0..100 {
        rig.next_deadline();
    }
    rig.check();
    // A message of a known publisher is delivered all the same.
    rig.receive(link, gossip(message(&identity(5), 1, 0, b"x")));
    assert!(rig.deliveries.contains_key(&first_of(&message(&identity(5), 1, 0, b"x"))));
}

/// Claims are not signed. A claim of one neighbour about unknown publishers must not count as
/// received, and must not appear in the Summary to others.
#[test]
fn claims_about_unknown_publishers_are_not_passed_on() {
    let (mut rig, link) = with_neighbours(2);
    let mut entries: Vec<SummaryEntry> = (0..4000)
        .map(|n| SummaryEntry {
            publisher: unknown_identity(n).id(),
            epoch: 1,
            next: 9,
            gaps: Vec::new(),
            oldest_retained: if n % 2 == 0 { 9 } else { 3 },
        })
        .collect();
    entries.sort_by_key(|e| e.publisher);
    rig.receive(link, Summary { hash: 1, entries: Some(entries) });
    for _ in 0..50 {
        rig.next_deadline();
    }
    let known = rig.as_peer().publishers().len();
    assert_eq!(known, 0, "{known} publishers, as one neighbour claims");
    let other = link_of(&rig, 2);
    rig.sent.clear();
    rig.receive(other, Summary { hash: 2, entries: None });
    let entries = rig.sent.iter().find_map(|(_, f)| match f {
        Frame::Summary(s) => Some(s.entries.as_deref().unwrap_or_default().len()),
        _ => None,
    });
    assert_eq!(entries, Some(0), "invented publishers are in the Summary");
}
