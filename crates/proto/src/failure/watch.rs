//! The watch of one neighbour.

use core::time::Duration;

use crate::config::Config;
use crate::io::LinkId;
use crate::limits::MAX_INDIRECT_PROBES;
use crate::small::VecSet;
use crate::time::Time;

/// The longest wait for an answer, as a multiple of the configured timeout.
const MAX_TIMEOUT_FACTOR: u32 = 8;

/// The next action for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WatchAction {
    /// Send a liveness request.
    Ping,
    /// Too many answers are missing: suspect it.
    Suspect,
    /// Nothing now.
    None,
}

/// The liveness state of a neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) last_heard: Time,
    reply_delays: Option<ReplyDelays>,
    pub(crate) misses: u32,
    outstanding: Option<PendingPing>,
    next_ping: Time,
    /// When the link falls silent, the other end asks first.
    asks_second: bool,
    /// The links that asked about this neighbour and wait for an answer. With questions, one miss
    /// is enough to begin a burst.
    indirect_probes: Option<Box<IndirectProbes>>,
}

/// The last liveness request, not answered yet.
#[derive(Debug, Clone, Copy)]
struct PendingPing {
    nonce: u64,
    sent: Time,
    /// When the first of consecutive requests was sent that have no answer, and since which there
    /// was no traffic.
    unanswered_since: Time,
    /// The highest timeout factor that this node has had since. A deadline never moves to the past.
    factor: u32,
}

/// Questions of other nodes about a neighbour. Only the answer to a request that was sent after
/// them counts: other traffic may have been in flight before.
#[derive(Debug, Clone, Default)]
struct IndirectProbes {
    links: VecSet<LinkId>,
    /// When the last of them arrived.
    last_asked: Time,
}

/// The effect of an answer to a liveness request.
#[derive(Debug, Default)]
pub(crate) struct PongOutcome {
    /// It arrived within the configured timeout.
    pub(crate) is_timely: bool,
    /// The links that are sent an answer.
    pub(crate) requesters: VecSet<LinkId>,
}

/// When the last answer arrived, its delay, and mean and deviation of the delays: in microseconds,
/// because every link has these.
#[derive(Debug, Clone, Copy)]
struct ReplyDelays {
    last: Time,
    delay: u32,
    mean: u32,
    deviation: u32,
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

const fn duration(micros: u32) -> Duration {
    Duration::from_micros(micros as u64)
}

impl Watch {
    /// The watch of a neighbour that was heard from just now. `jitter` spreads the first requests
    /// to many neighbours.
    ///
    /// A request and its answer are signs of life for both ends, so only one end of a link has to
    /// ask. But both have heard the last frame at the same time, and would ask at the same time
    /// again. So one of the two `asks_second`: a little later, if the other has not asked by then.
    pub(crate) fn new(now: Time, jitter: Duration, asks_second: bool) -> Self {
        Watch {
            last_heard: now,
            reply_delays: None,
            misses: 0,
            outstanding: None,
            next_ping: now + jitter,
            asks_second,
            indirect_probes: None,
        }
    }

    /// Records traffic: a sign of life to this node, if the node reads it without delay.
    pub(crate) fn on_traffic(&mut self, now: Time) {
        self.last_heard = now;
        self.misses = 0;
    }

    /// How long the neighbour may be silent before it is asked.
    fn longest_silence(&self, config: &Config) -> Duration {
        let silence = config.ping_interval();
        // In `classic` both ends ask in every interval, regardless of traffic.
        let second = self.asks_second && config.misses() == 1;
        if second { silence + silence / 8 } else { silence }
    }

    /// Takes the links that wait for an answer about this neighbour.
    pub(crate) fn take_requesters(&mut self) -> VecSet<LinkId> {
        self.indirect_probes.take().map(|q| q.links).unwrap_or_default()
    }

    /// Handles the answer to a liveness request. An answer to an earlier request is ordinary
    /// traffic.
    pub(crate) fn on_pong(&mut self, now: Time, nonce: u64, config: &Config) -> PongOutcome {
        let Some(PendingPing { sent, .. }) = self.outstanding.filter(|r| r.nonce == nonce) else {
            return PongOutcome::default();
        };
        self.outstanding = None;
        self.misses = 0;
        self.last_heard = self.last_heard.max(sent);
        let delay = now.since(sent);
        // RFC 6298, section 2: gains of 1/8 and 1/4.
        let (mean, deviation) = match self.reply_delays {
            None => (delay, delay / 2),
            Some(r) => {
                let (mean, deviation) = (duration(r.mean), duration(r.deviation));
                ((mean * 7 + delay) / 8, (deviation * 3 + delay.abs_diff(mean)) / 4)
            }
        };
        let (delay, mean, deviation) = (micros(delay), micros(mean), micros(deviation));
        self.reply_delays = Some(ReplyDelays { last: now, delay, mean, deviation });
        let is_answer = self.indirect_probes.as_ref().is_some_and(|q| q.last_asked <= sent);
        PongOutcome {
            is_timely: now.since(sent) <= config.ping_timeout(),
            requesters: if is_answer { self.take_requesters() } else { VecSet::default() },
        }
    }

    pub(crate) fn last_reply(&self) -> Option<Time> {
        self.reply_delays.map(|r| r.last)
    }

    pub(crate) fn reply_delay(&self) -> Option<Duration> {
        self.reply_delays.map(|r| duration(r.delay))
    }

    pub(crate) fn smoothed_delay(&self) -> Option<Duration> {
        self.reply_delays.map(|r| duration(r.mean))
    }

    /// How long an answer may take: as configured, or longer where the path is slow or the health
    /// of this node is low. At most [`MAX_TIMEOUT_FACTOR`] times as long as configured.
    fn timeout(&self, config: &Config, factor: u32) -> Duration {
        let expected = self.expected_delay();
        let most = config.ping_timeout() * MAX_TIMEOUT_FACTOR;
        (config.ping_timeout().max(expected) * factor).min(most)
    }

    /// How long an answer takes on this path, except in rare cases.
    pub(crate) fn expected_delay(&self) -> Duration {
        let usual = |r: ReplyDelays| duration(r.mean) + duration(r.deviation) * 4;
        self.reply_delays.map_or(Duration::ZERO, usual)
    }

    /// Whether an answer is later than configured.
    pub(crate) fn is_late(&self, now: Time, config: &Config) -> bool {
        let since = self.outstanding.map(|r| r.unanswered_since);
        since.is_some_and(|at| self.last_heard <= at && now >= at + config.ping_timeout())
    }

    /// Records that a request was sent.
    pub(crate) fn record_ping(&mut self, now: Time, nonce: u64, config: &Config) {
        let before = self.outstanding.map(|r| r.unanswered_since);
        let unanswered_since = before.filter(|at| self.last_heard <= *at).unwrap_or(now);
        self.outstanding = Some(PendingPing { nonce, sent: now, unanswered_since, factor: 1 });
        self.next_ping = now + self.longest_silence(config);
    }

    /// Adds the question of another node about this neighbour: a ping is due at once. Returns
    /// `false` if too many nodes ask. A repeated question on one link does not delay the answers to
    /// others.
    pub(crate) fn add_indirect_probe(&mut self, now: Time, by: LinkId) -> bool {
        let indirect_probes = self.indirect_probes.get_or_insert_default();
        if indirect_probes.links.contains(&by) {
            return true;
        }
        if indirect_probes.links.len() >= MAX_INDIRECT_PROBES {
            return false;
        }
        indirect_probes.links.insert(by);
        indirect_probes.last_asked = now;
        true
    }

    /// Makes a ping due at once, to measure how long an answer takes.
    pub(crate) fn request_measurement(&mut self, now: Time) {
        self.indirect_probes.get_or_insert_default().last_asked = now;
    }

    /// The time of a question since the last request, so that another request is needed.
    fn needs_request_since(&self) -> Option<Time> {
        let asked = self.indirect_probes.as_ref().map(|q| q.last_asked)?;
        self.outstanding.is_none_or(|r| r.sent < asked).then_some(asked)
    }

    /// The next action. In `classic` every interval has its request; otherwise only silence has,
    /// unless the timeouts of this node are raised: then answers are needed to find out when they
    /// are timely again.
    pub(crate) fn due(&mut self, now: Time, config: &Config, factor: u32) -> WatchAction {
        if self.needs_request_since().is_some() {
            return WatchAction::Ping;
        }
        if let Some(r) = &mut self.outstanding {
            r.factor = r.factor.max(factor);
            let r = *r;
            let timeout = self.timeout(config, r.factor);
            if self.last_heard > r.unanswered_since {
                // Traffic proves life to this node as well as an answer does; questions need the
                // answer.
                let is_overdue = now >= r.sent + timeout;
                if self.indirect_probes.is_none() && (factor == 1 || is_overdue) {
                    self.outstanding = None;
                } else if self.indirect_probes.is_some() && is_overdue {
                    return WatchAction::Ping;
                }
            } else if now >= r.unanswered_since + timeout {
                self.outstanding = None;
                self.misses += 1;
                if self.misses >= config.misses() || self.indirect_probes.is_some() {
                    return WatchAction::Suspect;
                }
            }
        }
        let every_interval = config.misses() > 1 || factor > 1;
        let needs_ping = every_interval || self.indirect_probes.is_some() || self.misses > 0;
        if self.outstanding.is_none() && now >= self.next_ping {
            let allowed = self.longest_silence(config);
            if needs_ping || now.since(self.last_heard) >= allowed {
                return WatchAction::Ping;
            }
            self.next_ping = self.last_heard + allowed;
        }
        WatchAction::None
    }

    /// When [`Watch::due`] has to be called next.
    pub(crate) fn deadline(&self, config: &Config, factor: u32) -> Time {
        if let Some(asked) = self.needs_request_since() {
            return asked;
        }
        let Some(r) = self.outstanding else { return self.next_ping };
        let from = if self.last_heard > r.unanswered_since { r.sent } else { r.unanswered_since };
        from + self.timeout(config, factor.max(r.factor))
    }

    /// Ends a suspicion: overdue actions are due now, and not late.
    pub(crate) fn resume(&mut self, now: Time) {
        self.next_ping = self.next_ping.max(now);
    }

    /// Postpones the deadlines, because this node itself was late.
    pub(crate) fn postpone(&mut self, by: Duration) {
        if let Some(r) = &mut self.outstanding {
            r.unanswered_since += by;
            r.sent = r.sent.max(r.unanswered_since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// Runs a watch on a neighbour that answers until `dies`. Returns when it is suspected.
    fn suspected(config: &Config, dies: u64) -> u64 {
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        for ms in 0..200_000 {
            match watch.due(at(ms), config, 1) {
                WatchAction::Ping => {
                    watch.record_ping(at(ms), ms, config);
                    if ms < dies {
                        watch.on_traffic(at(ms + 1));
                        watch.on_pong(at(ms + 1), ms, config);
                    }
                }
                WatchAction::Suspect => return ms,
                WatchAction::None => {}
            }
        }
        panic!("never suspected");
    }

    #[test]
    fn classic_suspects_after_three_misses() {
        let c = Config::classic().build().unwrap();
        for dies in [1, 5_000, 13_000, 20_000, 25_999] {
            let after = suspected(&c, dies) - dies;
            // Up to one interval to the first unanswered request, two more, and the timeout.
            assert!((26_000..=39_000 + 4_000).contains(&after), "{dies}: {after}");
        }
    }

    #[test]
    fn lan_suspects_within_a_second() {
        let c = Config::lan().build().unwrap();
        for dies in [1, 300, 499, 777] {
            let after = suspected(&c, dies) - dies;
            assert!(after <= 800, "{dies}: {after}");
        }
    }

    #[test]
    fn only_one_end_of_an_idle_link_pings() {
        let questions = |config: &Config| {
            let mut ends = [false, true].map(|second| Watch::new(at(0), Duration::ZERO, second));
            let mut asked = [0, 0];
            for ms in 0..60_000 {
                for me in [0, 1] {
                    if ends[me].due(at(ms), config, 1) == WatchAction::Ping {
                        asked[me] += 1;
                        ends[me].record_ping(at(ms), ms, config);
                        ends[1 - me].on_traffic(at(ms));
                        ends[me].on_traffic(at(ms));
                        ends[me].on_pong(at(ms), ms, config);
                    }
                }
            }
            asked
        };
        let [first, second] = questions(&Config::lan().build().unwrap());
        assert!((115..=121).contains(&first) && second <= 2, "{first} and {second} in a minute");
        assert_eq!(questions(&Config::classic().build().unwrap()), [5, 5], "every 13 s, both");
    }

    #[test]
    fn traffic_is_a_sign_of_life_and_saves_pings() {
        let c = Config::lan().build().unwrap();
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        for ms in 1..5_000 {
            if ms % 100 == 0 {
                watch.on_traffic(at(ms));
            }
            assert_eq!(watch.due(at(ms), &c, 1), WatchAction::None);
        }
    }

    /// Only answers show that they are timely again.
    #[test]
    fn busy_link_is_pinged_while_timeouts_are_raised() {
        let c = Config::lan().build().unwrap();
        let answers = |factor: u32| {
            let (mut watch, mut asked, mut timely) =
                (Watch::new(at(0), Duration::ZERO, false), None, 0);
            for ms in 1..5_000 {
                if ms % 5 == 0 {
                    watch.on_traffic(at(ms));
                }
                if asked.is_some_and(|sent| ms == sent + 20) {
                    timely += u32::from(watch.on_pong(at(ms), ms - 20, &c).is_timely);
                }
                if watch.due(at(ms), &c, factor) == WatchAction::Ping {
                    watch.record_ping(at(ms), ms, &c);
                    asked = Some(ms);
                }
                assert!(watch.deadline(&c, factor) > at(ms), "due actions were performed");
            }
            timely
        };
        assert_eq!(answers(1), 0);
        assert!((8..=10).contains(&answers(2)), "{}", answers(2));
    }

    #[test]
    fn question_is_answered_after_a_request_that_was_sent_later() {
        let c = Config::lan().build().unwrap();
        let asker = LinkId(7);
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        watch.record_ping(at(0), 1, &c);
        assert!(watch.add_indirect_probe(at(10), asker));
        // In flight when the question arrived: frames, and the answer to the last request.
        watch.on_traffic(at(11));
        assert_eq!(watch.on_pong(at(12), 1, &c).requesters.len(), 0);
        assert_eq!(watch.due(at(12), &c, 1), WatchAction::Ping);
        watch.record_ping(at(12), 2, &c);
        watch.on_traffic(at(13));
        assert_eq!(watch.due(at(13), &c, 1), WatchAction::None);
        assert!(watch.on_pong(at(14), 2, &c).requesters.contains(&asker));
        assert_eq!(watch.on_pong(at(15), 2, &c).requesters.len(), 0, "answered once");
    }

    #[test]
    fn question_about_a_silent_neighbour_leads_to_suspicion_after_one_timeout() {
        let c = Config::classic().build().unwrap();
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        watch.record_ping(at(0), 1, &c);
        assert!(watch.add_indirect_probe(at(2_000), LinkId(7)));
        assert_eq!(watch.deadline(&c, 1), at(2_000), "another request is due at once");
        assert_eq!(watch.due(at(2_000), &c, 1), WatchAction::Ping);
        watch.record_ping(at(2_000), 2, &c);
        assert_eq!(watch.due(at(2_999), &c, 1), WatchAction::None);
        assert_eq!(watch.due(at(3_000), &c, 1), WatchAction::Suspect, "from the first request on");
    }

    #[test]
    fn timeout_factor_is_bounded() {
        let c = Config::lan().build().unwrap();
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        assert_eq!(watch.timeout(&c, 2), Duration::from_millis(500));
        watch.record_ping(at(0), 1, &c);
        watch.on_pong(at(1500), 1, &c);
        assert_eq!(watch.timeout(&c, 8), Duration::from_millis(2000));
    }

    #[test]
    fn slow_path_gets_more_time() {
        let c = Config::lan().build().unwrap();
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        watch.record_ping(at(0), 1, &c);
        watch.on_pong(at(400), 1, &c);
        assert!(watch.timeout(&c, 1) > Duration::from_millis(1000));
        assert_eq!(watch.reply_delay(), Some(Duration::from_millis(400)));
    }

    #[test]
    fn lateness_of_this_node_postpones_suspicion() {
        let c = Config::lan().build().unwrap();
        let mut watch = Watch::new(at(0), Duration::ZERO, false);
        watch.record_ping(at(0), 1, &c);
        watch.postpone(Duration::from_secs(5));
        assert_eq!(watch.due(at(5_100), &c, 1), WatchAction::None);
        assert_eq!(watch.due(at(5_251), &c, 1), WatchAction::Suspect);
    }
}
