use std::collections::VecDeque;

use bytes::Bytes;
use rumormill_proto::Role;
use rumormill_proto::link_queue::DropReason;

use super::*;

fn queue() -> SharedLinkQueue {
    SharedLinkQueue::new(&Tuning::for_role(Role::Peer))
}

fn of_size(n: u8, size: usize) -> Encoded {
    Encoded { head: vec![n; 4].into(), tail: vec![n; size - 4].into() }
}

fn frame(n: u8) -> Encoded {
    of_size(n, 36)
}

/// Takes frames for a remote that reads at once.
fn take(q: &SharedLinkQueue, bytes: usize, mut to: impl FnMut(Class, Encoded)) -> DequeueOutcome {
    let now = Instant::now();
    let mut position = None;
    let taken = q.take(bytes, now, |class, frame| match is_position(&frame) {
        Some(at) => position = Some(at),
        None => to(class, frame),
    });
    if let Some(at) = position {
        q.record_read(at, now, Duration::ZERO);
    }
    taken
}

fn is_position(frame: &Encoded) -> Option<u64> {
    match wire::decode(frame.head.get(4..)?) {
        Ok(wire::Frame::Position(p)) => Some(p.bytes),
        _ => None,
    }
}

/// The next frame alone: its class and number.
fn next(q: &SharedLinkQueue) -> Result<(Class, u8), DequeueOutcome> {
    let mut got = None;
    match take(q, 1, |class, frame| got = Some((class, frame.head[0]))) {
        DequeueOutcome::Frames => Ok(got.unwrap()),
        other => Err(other),
    }
}

#[test]
fn frames_are_taken_in_order_of_their_class_and_close_reason_comes_last() {
    let q = queue();
    let _ = q.enqueue(Class::Last, frame(5));
    let _ = q.enqueue(Class::History, frame(4));
    let _ = q.enqueue(Class::Payload, frame(3));
    let _ = q.enqueue(Class::Announce, frame(2));
    let _ = q.enqueue(Class::Control, frame(1));
    let _ = q.enqueue(Class::Liveness, frame(0));
    q.close(CloseReason::Leaving);
    q.close(CloseReason::Idle);
    let refused = EnqueueOutcome::Dropped { items: 1, reason: DropReason::LinkClosed };
    assert_eq!(q.enqueue(Class::Control, frame(5)), refused);
    assert_eq!(next(&q), Ok((Class::Liveness, 0)));
    assert_eq!(next(&q), Ok((Class::Control, 1)));
    assert_eq!(next(&q), Ok((Class::Announce, 2)));
    assert_eq!(next(&q), Ok((Class::Payload, 3)));
    assert_eq!(next(&q), Ok((Class::History, 4)));
    assert_eq!(next(&q), Ok((Class::Last, 5)));
    assert_eq!(next(&q), Err(DequeueOutcome::Close(CloseReason::Leaving)));
}

#[test]
fn own_payloads_count_as_taken_when_the_last_of_them_is_taken() {
    let q = queue();
    assert!(q.has_taken_own_payloads(), "the queue has no own payloads");
    let _ = q.enqueue(Class::Payload, frame(1));
    let _ = q.enqueue(Class::Payload, frame(2));
    q.mark_own_payload();
    let _ = q.enqueue(Class::Payload, frame(3));
    let _ = q.enqueue(Class::Control, frame(4));
    let taken: Vec<bool> =
        (0..4).map(|_| next(&q).map(|_| q.has_taken_own_payloads()).unwrap()).collect();
    assert_eq!(taken, [false, false, true, true]);
}

#[test]
fn writer_takes_many_small_frames_at_once_and_a_large_frame_alone() {
    let q = queue();
    for n in 0..9 {
        let _ = q.enqueue(Class::Payload, frame(n));
    }
    let mut taken = 0;
    assert_eq!(take(&q, 4 * 36, |_, _| taken += 1), DequeueOutcome::Frames);
    assert_eq!(taken, 4);
    let _ = q.enqueue(Class::Control, of_size(0, 500));
    let mut classes = Vec::new();
    take(&q, 100, |class, _| classes.push(class));
    assert_eq!(classes, [Class::Control]);
}

#[test]
fn probes_bypass_the_window_and_large_frames_are_split_into_pieces() {
    let tuning = Tuning { read_stall: Duration::from_secs(9), ..Tuning::for_role(Role::Peer) };
    let (q, now) = (SharedLinkQueue::new(&tuning), Instant::now());
    let _ = q.enqueue(Class::Payload, of_size(1, 100_000));
    let (mut bytes, mut positions) = (0, Vec::new());
    let taken = q.take(1 << 20, now, |class, frame| match is_position(&frame) {
        Some(at) => positions.push(at),
        None => {
            assert_eq!(class, Class::Payload);
            bytes += frame.len();
        }
    });
    assert_eq!(taken, DequeueOutcome::Frames);
    assert!((1000..5000).contains(&bytes), "{bytes} bytes into the window of a new link");
    let DequeueOutcome::WindowClosed(until) = q.take(1 << 20, now, |_, _| ()) else {
        panic!("the window is open")
    };
    assert!(until <= now + Duration::from_secs(9));

    let _ = q.enqueue(Class::Liveness, frame(7));
    q.report_read(5);
    let mut urgent = Vec::new();
    assert_eq!(
        q.take(100, now, |class, frame| urgent.push((class, frame.len()))),
        DequeueOutcome::Frames
    );
    assert_eq!(urgent.iter().filter(|(c, _)| *c == Class::Liveness).count(), urgent.len());
    assert!(urgent.len() >= 2);

    let _ = q.enqueue(Class::Control, frame(8));
    q.record_read(*positions.last().unwrap(), now, Duration::ZERO);
    let mut next = Vec::new();
    q.take(1 << 20, now, |class, _| next.push(class));
    assert_eq!(next[..2], [Class::Control, Class::Payload], "control goes between the pieces");
}

#[test]
fn link_closed_as_too_slow_drops_its_backlog() {
    let q = queue();
    let _ = q.enqueue(Class::Payload, frame(3));
    q.close(CloseReason::TooSlow);
    assert_eq!(next(&q), Err(DequeueOutcome::Close(CloseReason::TooSlow)));
}

#[test]
fn frame_without_tail_is_queued_and_taken() {
    let q = queue();
    let _ = q.enqueue(Class::Control, Encoded { head: vec![7].into(), tail: Bytes::new() });
    assert_eq!(next(&q), Ok((Class::Control, 7)));
}

/// A remote that answers a position some time after it was sent.
#[derive(Default)]
struct SlowRemote {
    owed: VecDeque<(Instant, u64)>,
    positions: usize,
    bytes: usize,
}

impl SlowRemote {
    /// Takes the frames that the queue releases now.
    fn take(&mut self, q: &SharedLinkQueue, now: Instant, delay: Duration) -> DequeueOutcome {
        while self.owed.front().is_some_and(|(at, _)| *at <= now) {
            let (_, position) = self.owed.pop_front().unwrap();
            q.record_read(position, now, Duration::ZERO);
        }
        q.take(1 << 17, now, |_, frame| match is_position(&frame) {
            Some(at) => {
                self.positions += 1;
                self.owed.push_back((now + delay, at));
            }
            None => self.bytes += frame.len(),
        })
    }
}

#[test]
fn link_with_little_traffic_sends_few_positions_and_never_waits_for_its_window() {
    let q = SharedLinkQueue::new(&Tuning::for_role(Role::Peer));
    let (mut now, mut remote) = (Instant::now(), SlowRemote::default());
    for n in 0..100 {
        let _ = q.enqueue(Class::Payload, of_size(1, 1024));
        assert_eq!(
            remote.take(&q, now, Duration::from_millis(5)),
            DequeueOutcome::Frames,
            "message {n}"
        );
        now += Duration::from_millis(50);
        remote.take(&q, now, Duration::from_millis(5));
    }
    assert!(remote.positions <= 15, "{} positions for 100 messages", remote.positions);
}

#[test]
fn remote_owes_an_answer_whenever_frames_wait() {
    for seed in 0..50_u64 {
        let q = SharedLinkQueue::new(&Tuning::for_role(Role::Peer));
        let (mut now, mut remote) = (Instant::now(), SlowRemote::default());
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let magnitude = 4 + random(14);
            let size = 10 + random(1 << magnitude) as usize;
            let class = [Class::Payload, Class::Control, Class::Liveness][random(3) as usize];
            let _ = q.enqueue(class, of_size(1, size));
            while remote.take(&q, now, Duration::from_millis(random(300))) == DequeueOutcome::Frames
            {
            }
            if let DequeueOutcome::WindowClosed(until) =
                q.take(1 << 17, now, |_, _| panic!("the queue released a frame"))
            {
                assert!(!remote.owed.is_empty(), "seed {seed}: nothing will open the window");
                assert!(until > now, "seed {seed}: the remote has had no time");
            }
            now += Duration::from_millis([0, 1, 20, 5_000][random(4) as usize]);
        }
        for _ in 0..100_000 {
            if remote.take(&q, now, Duration::from_millis(5)) == DequeueOutcome::Empty {
                break;
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(remote.take(&q, now, Duration::ZERO), DequeueOutcome::Empty, "seed {seed}");
    }
}
