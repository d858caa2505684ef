//! The send window of a link: how many bytes may be in flight.
//!
//! Bytes that are written to a socket cannot be overtaken any more: they wait in the buffers of the
//! kernel, of the path and of the receiver, and on a slow line a probe waits behind them for
//! seconds. Therefore a link has a window. The writer sends positions in its stream; the remote
//! reports when it has read up to a position. The time between the two says how long bytes written
//! now will take. The window is held where the bytes in flight take [`TARGET_DELAY`] longer than on
//! the idle path, as in LEDBAT (RFC 6817), and never falls below [`MIN_WINDOW`]. Probes do not wait
//! for the window.
//!
//! A node whose own processor is overloaded sees long delays on all links, however fast they are.
//! Therefore the target grows with the lateness of the node's timers.
//!
//! A position costs an answer, so a link with little traffic sends few of them: after the remote
//! has answered all positions, the next one is sent when half of the window is in use.
//!
//! If the window is at its minimum and the delays are still long, then this link does not cause
//! them: another link does, or the processor of one of the two nodes. The delay is then taken as
//! the delay of the idle path, and the window grows again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How much longer the bytes in flight may take than on the idle path.
const TARGET_DELAY: Duration = Duration::from_millis(100);
/// The upper bound of the target, including the lateness of this node.
const MAX_TARGET_DELAY: Duration = Duration::from_millis(600);
/// The target grows by this multiple of the lateness of this node.
const LATENESS_FACTOR: u32 = 4;
/// The window of a new link, in bytes. It grows fourfold every round trip while no queue builds up.
const INITIAL_WINDOW: u64 = 4 * 1024;
/// A window grows up to this size even if no frame waits for it, so that a link with little traffic
/// needs few positions.
const MAX_UNUSED_WINDOW: u64 = 16 * 1024;
/// The minimum window: with packet headers, a sixteenth of a second on a line of 128 kbit/s.
pub(super) const MIN_WINDOW: u64 = 1024;
/// The maximum window: more than the buffers of the kernels hold.
const MAX_WINDOW: u64 = 16 * 1024 * 1024;
/// The largest window after a pause: earlier measurements may not hold any more.
const MAX_WINDOW_AFTER_PAUSE: u64 = 64 * 1024;
/// A pause: for this long, nothing was written and no answer was owed.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Positions sent in one window, while the remote owes an answer.
const POSITIONS_PER_WINDOW: u64 = 4;
/// While the remote owes no answer, the next position is sent after this many bytes if the last one
/// is [`POSITION_INTERVAL`] old, and otherwise after half of the window: on a fast link an answer
/// costs more than the bytes between two positions.
const MAX_UNMARKED_BYTES: u64 = 32 * 1024;
/// See [`MAX_UNMARKED_BYTES`].
const POSITION_INTERVAL: Duration = Duration::from_millis(20);

/// A position that the remote has not reported as read yet.
#[derive(Debug)]
struct SentPosition {
    at: u64,
    sent: Instant,
    /// Bytes in flight when it was sent.
    in_flight: u64,
}

/// The window of one link, and the bytes in flight.
#[derive(Debug)]
pub(super) struct SendWindow {
    window: u64,
    /// Bytes written since the link opened.
    written: u64,
    /// Bytes that the remote has read, by its last report.
    read: u64,
    positions: VecDeque<SentPosition>,
    /// The last position sent, and when.
    last_position: u64,
    position_at: Instant,
    /// When bytes were last written or reported as read.
    active: Instant,
    /// When the remote last answered, or began to owe an answer.
    reading: Instant,
    /// The delay of the idle path.
    base: Option<Duration>,
    /// The current round ends when the remote has read up to this position.
    round_end: u64,
    /// The shortest delay among the positions of the last round that used at least half of the
    /// window, and the bytes in flight for it.
    round: Option<(Duration, u64)>,
    /// A frame waited for the window in this round.
    limited: bool,
}

impl SendWindow {
    pub(super) fn new(now: Instant) -> Self {
        SendWindow {
            window: INITIAL_WINDOW,
            written: 0,
            read: 0,
            positions: VecDeque::new(),
            last_position: 0,
            position_at: now,
            active: now,
            reading: now,
            base: None,
            round_end: 0,
            round: None,
            limited: false,
        }
    }

    /// Bytes in flight.
    const fn in_flight(&self) -> u64 {
        self.written - self.read
    }

    /// When the remote last answered, or began to owe an answer.
    pub(super) const fn last_read(&self) -> Instant {
        self.reading
    }

    /// Bytes that may be written now.
    pub(super) fn available(&mut self, now: Instant) -> usize {
        if self.positions.is_empty() && now.saturating_duration_since(self.active) >= IDLE_PAUSE {
            self.window = self.window.min(MAX_WINDOW_AFTER_PAUSE);
            // The bytes in the window took less than a pause: none of them is in flight any more.
            (self.read, self.last_position) = (self.written, self.written);
        }
        // The first bytes measure the idle path, so they are few.
        let window = if self.base.is_none() { MIN_WINDOW } else { self.window };
        usize::try_from(window.saturating_sub(self.in_flight())).unwrap_or(usize::MAX)
    }

    /// Records that `bytes` were written.
    pub(super) fn record_written(&mut self, bytes: usize, now: Instant) {
        self.written += bytes as u64;
        self.active = now;
    }

    /// The position to send now, if one is due. Afterwards either the remote owes an answer, or no
    /// frame waits for the window; `waits` says whether a frame does.
    pub(super) fn position_due(&mut self, now: Instant, waits: bool) -> Option<u64> {
        let answered = self.positions.is_empty();
        let is_late = now.saturating_duration_since(self.position_at) >= POSITION_INTERVAL;
        let spacing = match (answered, self.base) {
            (true, None) => 1,
            (true, Some(_)) if waits => 1,
            (true, Some(_)) if is_late => (self.window / 2).min(MAX_UNMARKED_BYTES),
            (true, Some(_)) => self.window / 2,
            (false, _) => self.window / POSITIONS_PER_WINDOW,
        };
        let unmarked = self.written - self.last_position;
        if unmarked < spacing {
            return None;
        }
        if answered {
            self.reading = now;
        }
        (self.last_position, self.position_at) = (self.written, now);
        self.positions.push_back(SentPosition {
            at: self.written,
            sent: now,
            in_flight: self.in_flight(),
        });
        Some(self.written)
    }

    /// Records that a frame waits for the window.
    pub(super) fn record_wait(&mut self) {
        self.limited = true;
    }

    /// Records that the remote has read up to `position`. A position that was not sent is ignored.
    /// `lateness` is the current lateness of this node's timers.
    pub(super) fn record_read(&mut self, position: u64, now: Instant, lateness: Duration) {
        let Ok(index) = self.positions.binary_search_by_key(&position, |n| n.at) else { return };
        let Some(sent) = self.positions.drain(..=index).next_back() else { return };
        self.read = position;
        (self.active, self.reading) = (now, now);
        let delay = now.saturating_duration_since(sent.sent);
        self.base = Some(self.base.map_or(delay, |base| base.min(delay)));
        if sent.in_flight >= self.window / 2 && self.round.is_none_or(|(least, _)| delay < least) {
            self.round = Some((delay, sent.in_flight));
        }
        if position >= self.round_end {
            self.end_round((TARGET_DELAY + lateness * LATENESS_FACTOR).min(MAX_TARGET_DELAY));
        }
    }

    fn end_round(&mut self, target: Duration) {
        if let (Some((delay, in_flight)), Some(base)) = (self.round, self.base) {
            let queueing = delay.saturating_sub(base);
            if queueing > target {
                // The window cannot shrink further, so this link does not cause the delay.
                if self.window == MIN_WINDOW {
                    self.base = Some(delay);
                }
                // Shrinks to the bytes that would have met the target, at most by a factor of four.
                let wanted = in_flight as f64 * (base + target).as_secs_f64() / delay.as_secs_f64();
                self.window = (wanted as u64).clamp(self.window / 4, self.window).max(MIN_WINDOW);
            } else if queueing <= target / 2 {
                // Grows faster while almost nothing is queued on the path.
                let factor = if queueing <= target / 4 { 4 } else { 2 };
                let most = if self.limited { MAX_WINDOW } else { MAX_UNUSED_WINDOW };
                self.window = (self.window * factor).min(most).max(self.window);
            }
        }
        self.round = None;
        self.limited = false;
        self.round_end = self.written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with a rate in bytes per second and a propagation delay.
    struct Line {
        rate: f64,
        delay: Duration,
    }

    /// Writes as much as the window allows for `time`; returns the bytes read and the longest delay
    /// of a position in the second half of that time.
    fn saturate(
        pace: &mut SendWindow,
        start: Instant,
        line: &Line,
        time: Duration,
    ) -> (u64, Duration) {
        let step = Duration::from_micros(500);
        let (mut now, mut free_at) = (start, start);
        let mut arriving: VecDeque<(Instant, u64)> = VecDeque::new();
        let (before, mut longest) = (pace.read, Duration::ZERO);
        while now < start + time || !arriving.is_empty() {
            while arriving.front().is_some_and(|(at, _)| *at <= now) {
                let (_, position) = arriving.pop_front().unwrap();
                let sent = pace.positions.iter().find(|n| n.at == position).unwrap().sent;
                if now > start + time / 2 {
                    longest = longest.max(now - sent);
                }
                pace.record_read(position, now, Duration::ZERO);
            }
            let room = pace.available(now).min(64 * 1024);
            let waits = now < start + time && room == 0;
            if waits {
                pace.record_wait();
            } else if now < start + time {
                let takes = Duration::from_secs_f64(room as f64 / line.rate);
                free_at = free_at.max(now) + takes;
                pace.record_written(room, now);
            }
            if let Some(position) = pace.position_due(now, waits) {
                arriving.push_back((free_at.max(now) + line.delay, position));
            }
            now += step;
        }
        (pace.read - before, longest)
    }

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;
    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn slow_line_is_used_without_filling_its_buffers() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let line = Line { rate: 16_000.0, delay: MILLIS(5) };
        let (bytes, longest) = saturate(&mut pace, now, &line, SECONDS(20));
        assert!(bytes > 250_000, "{bytes} bytes in 20 s");
        assert!(longest < MILLIS(350), "{longest:?}");
    }

    #[test]
    fn fast_line_fills_within_few_round_trips() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, MILLIS(500));
        assert!(pace.window >= 2_000_000, "{} bytes after half a second", pace.window);
        let (bytes, longest) = saturate(&mut pace, now + SECONDS(1), &line, SECONDS(5));
        assert!(bytes > 400_000_000, "{bytes} bytes in 5 s");
        assert!(longest < MILLIS(300), "{longest:?}");
    }

    #[test]
    fn line_that_becomes_slow_is_noticed_before_a_long_queue_builds_up() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let fast = Line { rate: 2_000_000.0, delay: MILLIS(5) };
        saturate(&mut pace, now, &fast, SECONDS(5));
        let window = pace.window;
        assert!(window < 1_000_000, "{window}");
        let slow = Line { rate: 64_000.0, delay: MILLIS(5) };
        let (_, longest) = saturate(&mut pace, now + SECONDS(5), &slow, SECONDS(40));
        assert!(longest < MILLIS(400), "{longest:?}");
    }

    /// An overloaded processor answers late however few bytes are in flight.
    #[test]
    fn late_answers_not_caused_by_the_window_do_not_close_it() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let idle = Line { rate: 50_000_000.0, delay: MILLIS(1) };
        saturate(&mut pace, now, &idle, SECONDS(2));
        let busy = Line { rate: 50_000_000.0, delay: MILLIS(300) };
        let (bytes, _) = saturate(&mut pace, now + SECONDS(2), &busy, SECONDS(30));
        assert!(bytes > 500_000_000, "{bytes} bytes in 30 s");
    }

    #[test]
    fn lateness_of_own_timers_is_not_taken_for_a_queue() {
        let now = Instant::now();
        let (mut on_time, mut late) = (SendWindow::new(now), SendWindow::new(now));
        for (pace, lateness) in [(&mut on_time, Duration::ZERO), (&mut late, MILLIS(50))] {
            pace.base = Some(MILLIS(1));
            pace.window = 1 << 20;
            pace.record_written(1 << 20, now);
            let position = pace.position_due(now, false).unwrap();
            pace.record_read(position, now + MILLIS(200), lateness);
        }
        assert!(on_time.window < 1 << 20, "{}", on_time.window);
        assert_eq!(late.window, 1 << 20);
    }

    #[test]
    fn position_is_sent_for_first_bytes_and_for_half_a_window() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let mut write = |bytes: u64| {
            pace.record_written(bytes as usize, now);
            pace.position_due(now, false)
        };
        assert_eq!(write(100), Some(100), "the first position measures the idle path");
        assert_eq!(write(100), None, "the remote owes an answer already");
        pace.record_read(100, now + MILLIS(1), Duration::ZERO);
        assert_eq!(pace.position_due(now, false), None, "100 bytes are in flight");
        pace.record_written(INITIAL_WINDOW as usize, now);
        assert_eq!(pace.available(now), 0);
        assert_eq!(pace.position_due(now, false), Some(200 + INITIAL_WINDOW));
        pace.record_read(7, now, Duration::ZERO);
        assert_eq!(pace.available(now), 0, "this position was not sent");
        pace.record_read(200 + INITIAL_WINDOW, now, Duration::ZERO);
        assert!(pace.available(now) >= INITIAL_WINDOW as usize);
    }

    #[test]
    fn link_with_little_traffic_sends_few_positions_and_window_stays_open() {
        let (mut now, mut pace) = (Instant::now(), SendWindow::new(Instant::now()));
        let mut positions = 0;
        for _ in 0..1000 {
            assert!(pace.available(now) >= 1024);
            pace.record_written(1024, now);
            now += MILLIS(10);
            if let Some(position) = pace.position_due(now, false) {
                positions += 1;
                pace.record_read(position, now + MILLIS(5), Duration::ZERO);
            }
            now += MILLIS(40);
        }
        assert!(positions < 140, "{positions} positions for 1000 KiB");
        assert_eq!(pace.window, MAX_UNUSED_WINDOW);
    }

    #[test]
    fn window_after_a_pause_is_open_but_limited() {
        let now = Instant::now();
        let mut pace = SendWindow::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, SECONDS(2));
        assert!(pace.window > MAX_WINDOW_AFTER_PAUSE);
        assert_eq!(pace.available(now + SECONDS(60)) as u64, MAX_WINDOW_AFTER_PAUSE);
    }

    #[test]
    fn fast_link_sends_few_positions_and_one_as_soon_as_a_frame_waits() {
        let mut now = Instant::now();
        let mut pace = SendWindow::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, SECONDS(2));
        now += SECONDS(4);
        pace.record_read(pace.last_position, now, Duration::ZERO);
        (pace.read, pace.last_position, pace.position_at) = (pace.written, pace.written, now);
        let window = pace.window;
        assert!(window > 8 * MAX_UNMARKED_BYTES, "{window}");
        pace.record_written(2 * MAX_UNMARKED_BYTES as usize, now);
        assert_eq!(pace.position_due(now, false), None, "the last position is recent");
        assert_eq!(pace.position_due(now + POSITION_INTERVAL, false), Some(pace.written));
        pace.record_read(pace.written, now, Duration::ZERO);
        pace.record_written(1, now);
        assert_eq!(pace.position_due(now, false), None);
        assert_eq!(pace.position_due(now, true), Some(pace.written));
    }

    #[test]
    fn stall_timeout_of_remote_starts_when_it_owes_an_answer() {
        let mut now = Instant::now();
        let mut pace = SendWindow::new(now);
        pace.record_written(100, now);
        let first = pace.position_due(now, false).unwrap();
        pace.record_read(first, now, Duration::ZERO);
        pace.record_written(100, now);
        assert_eq!(pace.position_due(now, false), None);
        now += SECONDS(60);
        pace.record_written(INITIAL_WINDOW as usize, now);
        assert!(pace.position_due(now, false).is_some());
        assert_eq!(pace.last_read(), now);
    }
}
