//! How many bytes of a link may be under way.
//!
//! What is written to a socket cannot be overtaken any more: it stands in the buffers of the kernel, of the
//! path and of the receiver, and on a slow line a probe waits behind it for seconds. So a link has a
//! window. The writer notes positions in its stream; the remote tells when it has read up to one. The time
//! between says how long whatever is written now will take. The window is held where what is under way
//! takes [`TARGET`] longer than it does on the idle path, as LEDBAT does (RFC 6817), and never below
//! [`LEAST`]. Probes do not wait for the window.
//!
//! A node whose own processor keeps it waiting sees long delays on all links, however fast they are. So the
//! target grows with the lateness of its timers.
//!
//! A position costs an answer, so a link that carries little has few of them: the first one after the remote
//! has answered all is noted when half of the window is in use.
//!
//! A window at its least that still sees long delays is not their cause: another link is, or the
//! processor of one of the two. Then the delay is taken for the path's own, and the window grows again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How much longer than on the idle path what is under way may take.
const TARGET: Duration = Duration::from_millis(100);
/// The longest that the lateness of this node makes of it.
const LONGEST_TARGET: Duration = Duration::from_millis(600);
/// So many times the lateness of this node is added.
const LATENESS_FACTOR: u32 = 4;
/// The window of a new link, in bytes. It grows fourfold every round trip while nothing queues up.
const INITIAL: u64 = 4 * 1024;
/// A window grows up to here although nothing waits for it, so that a link that carries little needs few
/// positions.
const UNUSED: u64 = 16 * 1024;
/// The least window: with the headers of its packets, a sixteenth of a second on a line of 128 kbit/s.
pub(super) const LEAST: u64 = 1024;
/// The largest window: more than the buffers of the kernels take.
const MOST: u64 = 16 * 1024 * 1024;
/// The largest window after a pause: what was measured before may not hold any more.
const AFTER_PAUSE: u64 = 64 * 1024;
/// A pause: nothing was written, and no answer owed, for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// Positions noted in one window, while the remote owes an answer.
const POSITIONS: u64 = 4;
/// While the remote owes no answer, the next position is noted after so many bytes if the last one is
/// [`NOTED_EVERY`] old, and otherwise after half of the window: on a fast link an answer costs more than the
/// bytes between two positions.
const UNNOTED: u64 = 32 * 1024;
/// See [`UNNOTED`].
const NOTED_EVERY: Duration = Duration::from_millis(20);

/// A position that the remote has not reported yet.
#[derive(Debug)]
struct Noted {
    at: u64,
    sent: Instant,
    /// Bytes under way when it was sent.
    flight: u64,
}

/// The window of one link, and what is under way.
#[derive(Debug)]
pub(super) struct Pace {
    window: u64,
    /// Bytes written in all.
    written: u64,
    /// Bytes that the remote has read, as it last said.
    read: u64,
    noted: VecDeque<Noted>,
    /// The last position noted, and when.
    last_noted: u64,
    noted_at: Instant,
    /// When something was last written or read.
    active: Instant,
    /// When the remote last answered, or began to owe an answer.
    reading: Instant,
    /// How long the idle path takes.
    base: Option<Duration>,
    /// The round ends when the remote has read up to here.
    round_end: u64,
    /// Of those positions of the round before which the window was used: the shortest delay, and what was
    /// under way then.
    round: Option<(Duration, u64)>,
    /// Something waited for the window in this round.
    limited: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace {
            window: INITIAL,
            written: 0,
            read: 0,
            noted: VecDeque::new(),
            last_noted: 0,
            noted_at: now,
            active: now,
            reading: now,
            base: None,
            round_end: 0,
            round: None,
            limited: false,
        }
    }

    /// Bytes under way.
    const fn flight(&self) -> u64 {
        self.written - self.read
    }

    /// When the remote last answered, or began to owe an answer.
    pub(super) const fn last_read(&self) -> Instant {
        self.reading
    }

    /// Bytes that may be written now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if self.noted.is_empty() && now.saturating_duration_since(self.active) >= PAUSE {
            self.window = self.window.min(AFTER_PAUSE);
            // The window held what takes less than a pause: nothing of it is under way any more.
            (self.read, self.last_noted) = (self.written, self.written);
        }
        // What is written first measures the idle path, so it is little.
        let window = if self.base.is_none() { LEAST } else { self.window };
        usize::try_from(window.saturating_sub(self.flight())).unwrap_or(usize::MAX)
    }

    /// So much was written.
    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.written += bytes as u64;
        self.active = now;
    }

    /// The position to send now, if one is due. Afterwards the remote owes an answer, or nothing waits for the
    /// window; `waits` says whether something does.
    pub(super) fn position_due(&mut self, now: Instant, waits: bool) -> Option<u64> {
        let answered = self.noted.is_empty();
        let is_late = now.saturating_duration_since(self.noted_at) >= NOTED_EVERY;
        let spacing = match (answered, self.base) {
            (true, None) => 1,
            (true, Some(_)) if waits => 1,
            (true, Some(_)) if is_late => (self.window / 2).min(UNNOTED),
            (true, Some(_)) => self.window / 2,
            (false, _) => self.window / POSITIONS,
        };
        let unnoted = self.written - self.last_noted;
        if unnoted < spacing {
            return None;
        }
        if answered {
            self.reading = now;
        }
        (self.last_noted, self.noted_at) = (self.written, now);
        self.noted.push_back(Noted { at: self.written, sent: now, flight: self.flight() });
        Some(self.written)
    }

    /// Something waits for the window.
    pub(super) fn has_waited(&mut self) {
        self.limited = true;
    }

    /// The remote has read up to here. A position that was not noted is ignored. `lateness` is how late this
    /// node's timers are at the moment.
    pub(super) fn was_read(&mut self, position: u64, now: Instant, lateness: Duration) {
        let Ok(index) = self.noted.binary_search_by_key(&position, |n| n.at) else { return };
        let Some(noted) = self.noted.drain(..=index).next_back() else { return };
        self.read = position;
        (self.active, self.reading) = (now, now);
        let delay = now.saturating_duration_since(noted.sent);
        self.base = Some(self.base.map_or(delay, |base| base.min(delay)));
        if noted.flight >= self.window / 2 && self.round.is_none_or(|(least, _)| delay < least) {
            self.round = Some((delay, noted.flight));
        }
        if position >= self.round_end {
            self.end_round((TARGET + lateness * LATENESS_FACTOR).min(LONGEST_TARGET));
        }
    }

    fn end_round(&mut self, target: Duration) {
        if let (Some((delay, flight)), Some(base)) = (self.round, self.base) {
            let queueing = delay.saturating_sub(base);
            if queueing > target {
                if self.window == LEAST {
                    self.base = Some(delay);
                }
                let wanted = flight as f64 * (base + target).as_secs_f64() / delay.as_secs_f64();
                self.window = (wanted as u64).clamp(self.window / 4, self.window).max(LEAST);
            } else if queueing <= target / 2 {
                let factor = if queueing <= target / 4 { 4 } else { 2 };
                let most = if self.limited { MOST } else { UNUSED };
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

    /// A line that carries so many bytes a second and takes so long besides.
    struct Line {
        rate: f64,
        delay: Duration,
    }

    /// Writes as much as the window lets it for so long; gives the bytes read and the longest delay of a
    /// position in the second half.
    fn saturate(pace: &mut Pace, start: Instant, line: &Line, time: Duration) -> (u64, Duration) {
        let step = Duration::from_micros(500);
        let (mut now, mut free_at) = (start, start);
        let mut arriving: VecDeque<(Instant, u64)> = VecDeque::new();
        let (before, mut longest) = (pace.read, Duration::ZERO);
        while now < start + time || !arriving.is_empty() {
            while arriving.front().is_some_and(|(at, _)| *at <= now) {
                let (_, position) = arriving.pop_front().unwrap();
                let sent = pace.noted.iter().find(|n| n.at == position).unwrap().sent;
                if now > start + time / 2 {
                    longest = longest.max(now - sent);
                }
                pace.was_read(position, now, Duration::ZERO);
            }
            let room = pace.room(now).min(64 * 1024);
            let waits = now < start + time && room == 0;
            if waits {
                pace.has_waited();
            } else if now < start + time {
                let takes = Duration::from_secs_f64(room as f64 / line.rate);
                free_at = free_at.max(now) + takes;
                pace.wrote(room, now);
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
    fn slow_line_is_used_and_never_filled() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let line = Line { rate: 16_000.0, delay: MILLIS(5) };
        let (bytes, longest) = saturate(&mut pace, now, &line, SECONDS(20));
        assert!(bytes > 250_000, "{bytes} bytes in 20 s");
        assert!(longest < MILLIS(350), "{longest:?}");
    }

    #[test]
    fn fast_line_fills_within_few_round_trips() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, MILLIS(500));
        assert!(pace.window >= 2_000_000, "{} bytes after half a second", pace.window);
        let (bytes, longest) = saturate(&mut pace, now + SECONDS(1), &line, SECONDS(5));
        assert!(bytes > 400_000_000, "{bytes} bytes in 5 s");
        assert!(longest < MILLIS(300), "{longest:?}");
    }

    #[test]
    fn line_that_becomes_slow_is_noticed_within_its_own_backlog() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let fast = Line { rate: 2_000_000.0, delay: MILLIS(5) };
        saturate(&mut pace, now, &fast, SECONDS(5));
        let window = pace.window;
        assert!(window < 1_000_000, "{window}");
        let slow = Line { rate: 64_000.0, delay: MILLIS(5) };
        let (_, longest) = saturate(&mut pace, now + SECONDS(5), &slow, SECONDS(40));
        assert!(longest < MILLIS(400), "{longest:?}");
    }

    /// A processor that is busy answers late however little is under way.
    #[test]
    fn late_answers_that_the_window_does_not_cause_do_not_close_it() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let idle = Line { rate: 50_000_000.0, delay: MILLIS(1) };
        saturate(&mut pace, now, &idle, SECONDS(2));
        let busy = Line { rate: 50_000_000.0, delay: MILLIS(300) };
        let (bytes, _) = saturate(&mut pace, now + SECONDS(2), &busy, SECONDS(30));
        assert!(bytes > 500_000_000, "{bytes} bytes in 30 s");
    }

    #[test]
    fn late_node_does_not_take_its_own_lateness_for_a_queue() {
        let now = Instant::now();
        let (mut on_time, mut late) = (Pace::new(now), Pace::new(now));
        for (pace, lateness) in [(&mut on_time, Duration::ZERO), (&mut late, MILLIS(50))] {
            pace.base = Some(MILLIS(1));
            pace.window = 1 << 20;
            pace.wrote(1 << 20, now);
            let position = pace.position_due(now, false).unwrap();
            pace.was_read(position, now + MILLIS(200), lateness);
        }
        assert!(on_time.window < 1 << 20, "{}", on_time.window);
        assert_eq!(late.window, 1 << 20);
    }

    #[test]
    fn position_is_noted_for_the_first_bytes_and_for_half_a_window() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut write = |bytes: u64| {
            pace.wrote(bytes as usize, now);
            pace.position_due(now, false)
        };
        assert_eq!(write(100), Some(100), "the first one measures the idle path");
        assert_eq!(write(100), None, "an answer is owed already");
        pace.was_read(100, now + MILLIS(1), Duration::ZERO);
        assert_eq!(pace.position_due(now, false), None, "100 bytes are under way");
        pace.wrote(INITIAL as usize, now);
        assert_eq!(pace.room(now), 0);
        assert_eq!(pace.position_due(now, false), Some(200 + INITIAL));
        pace.was_read(7, now, Duration::ZERO);
        assert_eq!(pace.room(now), 0, "that position was not noted");
        pace.was_read(200 + INITIAL, now, Duration::ZERO);
        assert!(pace.room(now) >= INITIAL as usize);
    }

    #[test]
    fn link_that_carries_little_notes_few_positions_and_always_has_room() {
        let (mut now, mut pace) = (Instant::now(), Pace::new(Instant::now()));
        let mut positions = 0;
        for _ in 0..1000 {
            assert!(pace.room(now) >= 1024);
            pace.wrote(1024, now);
            now += MILLIS(10);
            if let Some(position) = pace.position_due(now, false) {
                positions += 1;
                pace.was_read(position, now + MILLIS(5), Duration::ZERO);
            }
            now += MILLIS(40);
        }
        assert!(positions < 140, "{positions} positions for 1000 KiB");
        assert_eq!(pace.window, UNUSED);
    }

    #[test]
    fn pause_leaves_room_and_little_of_the_window() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, SECONDS(2));
        assert!(pace.window > AFTER_PAUSE);
        assert_eq!(pace.room(now + SECONDS(60)) as u64, AFTER_PAUSE);
    }

    #[test]
    fn fast_link_notes_few_positions_and_whatever_waits_notes_one() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let line = Line { rate: 100_000_000.0, delay: MILLIS(20) };
        saturate(&mut pace, now, &line, SECONDS(2));
        now += SECONDS(4);
        pace.was_read(pace.last_noted, now, Duration::ZERO);
        (pace.read, pace.last_noted, pace.noted_at) = (pace.written, pace.written, now);
        let window = pace.window;
        assert!(window > 8 * UNNOTED, "{window}");
        pace.wrote(2 * UNNOTED as usize, now);
        assert_eq!(pace.position_due(now, false), None, "the last one is fresh");
        assert_eq!(pace.position_due(now + NOTED_EVERY, false), Some(pace.written));
        pace.was_read(pace.written, now, Duration::ZERO);
        pace.wrote(1, now);
        assert_eq!(pace.position_due(now, false), None);
        assert_eq!(pace.position_due(now, true), Some(pace.written));
    }

    #[test]
    fn remote_is_given_its_time_from_when_it_owes_an_answer() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.wrote(100, now);
        let first = pace.position_due(now, false).unwrap();
        pace.was_read(first, now, Duration::ZERO);
        pace.wrote(100, now);
        assert_eq!(pace.position_due(now, false), None);
        now += SECONDS(60);
        pace.wrote(INITIAL as usize, now);
        assert!(pace.position_due(now, false).is_some());
        assert_eq!(pace.last_read(), now);
    }
}
