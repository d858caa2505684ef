//! One neighbour under watch.

use core::time::Duration;

use crate::config::Config;
use crate::io::LinkId;
use crate::limits::MAX_QUESTIONERS;
use crate::small::VecSet;
use crate::time::Time;

/// The longest that an answer is waited for, in times of the configured timeout.
const MOST_PATIENCE: u32 = 8;

/// What is due with a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a liveness request.
    Ping,
    /// Too many answers stayed away: suspect it.
    Suspect,
    /// Nothing now.
    Nothing,
}

/// What is known of a neighbour's liveness.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) last_heard: Time,
    replies: Option<Replies>,
    pub(crate) misses: u32,
    outstanding: Option<Request>,
    next_ping: Time,
    /// The other end is the first to ask when the link falls silent.
    asks_second: bool,
    /// The links that asked about this neighbour and wait for an answer. Then one miss is enough to begin a burst.
    questions: Option<Box<Questions>>,
}

/// The last liveness request, not answered yet.
#[derive(Debug, Clone, Copy)]
struct Request {
    nonce: u64,
    sent: Time,
    /// When the first request in a row was sent to which there is no answer and since which there
    /// was no traffic.
    unanswered_since: Time,
    /// The most patience that this node has had since. A deadline never moves to the past.
    patience: u32,
}

/// Questions of others about a neighbour. Only the answer to a request that was sent after them is
/// an answer to them: other traffic may have been on its way since before.
#[derive(Debug, Clone, Default)]
struct Questions {
    links: VecSet<LinkId>,
    /// When the last of them came.
    asked: Time,
}

/// What the answer to a liveness request is good for.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// It came within the time that the configuration gives it.
    pub(crate) is_timely: bool,
    /// The links that are told of it.
    pub(crate) questioners: VecSet<LinkId>,
}

/// When the last answer came and how long it took, and the mean of that and its deviation: in
/// microseconds, as there is one for every link.
#[derive(Debug, Clone, Copy)]
struct Replies {
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
    /// A neighbour heard of just now. `jitter` spreads the first requests of many neighbours.
    ///
    /// A question and its answer are signs of life for both ends, so one end of a link has to ask;
    /// but both have heard the last word at the same time, and would ask at the same time again. So
    /// one of the two `asks_second`: a little later, if the other has not asked by then.
    pub(crate) fn new(now: Time, jitter: Duration, asks_second: bool) -> Self {
        Watch {
            last_heard: now,
            replies: None,
            misses: 0,
            outstanding: None,
            next_ping: now + jitter,
            asks_second,
            questions: None,
        }
    }

    /// Any traffic is a sign of life to this node, if the node reads it as it comes.
    pub(crate) fn heard(&mut self, now: Time) {
        self.last_heard = now;
        self.misses = 0;
    }

    /// How long it may be silent before it is asked.
    fn longest_silence(&self, config: &Config) -> Duration {
        let silence = config.ping_interval();
        // In `classic` both ask in every interval, whatever they hear.
        let second = self.asks_second && config.misses() == 1;
        if second { silence + silence / 8 } else { silence }
    }

    /// Who waits for an answer about this neighbour.
    pub(crate) fn take_questioners(&mut self) -> VecSet<LinkId> {
        self.questions.take().map(|q| q.links).unwrap_or_default()
    }

    /// The answer to a liveness request. One to an earlier request is traffic like any other.
    pub(crate) fn pong(&mut self, now: Time, nonce: u64, config: &Config) -> Answered {
        let Some(Request { sent, .. }) = self.outstanding.filter(|r| r.nonce == nonce) else {
            return Answered::default();
        };
        self.outstanding = None;
        self.misses = 0;
        self.last_heard = self.last_heard.max(sent);
        let delay = now.since(sent);
        // RFC 6298, section 2: gains of 1/8 and 1/4.
        let (mean, deviation) = match self.replies {
            None => (delay, delay / 2),
            Some(r) => {
                let (mean, deviation) = (duration(r.mean), duration(r.deviation));
                ((mean * 7 + delay) / 8, (deviation * 3 + delay.abs_diff(mean)) / 4)
            }
        };
        let (delay, mean, deviation) = (micros(delay), micros(mean), micros(deviation));
        self.replies = Some(Replies { last: now, delay, mean, deviation });
        let is_answer = self.questions.as_ref().is_some_and(|q| q.asked <= sent);
        Answered {
            is_timely: now.since(sent) <= config.ping_timeout(),
            questioners: if is_answer { self.take_questioners() } else { VecSet::default() },
        }
    }

    pub(crate) fn last_reply(&self) -> Option<Time> {
        self.replies.map(|r| r.last)
    }

    pub(crate) fn reply_delay(&self) -> Option<Duration> {
        self.replies.map(|r| duration(r.delay))
    }

    pub(crate) fn smoothed_delay(&self) -> Option<Duration> {
        self.replies.map(|r| duration(r.mean))
    }

    /// How long an answer may take: as configured, or longer where the path is slow or this node
    /// itself is not well. At most [`MOST_PATIENCE`] times as long as configured.
    fn timeout(&self, config: &Config, patience: u32) -> Duration {
        let seen = self.expected_delay();
        let most = config.ping_timeout() * MOST_PATIENCE;
        (config.ping_timeout().max(seen) * patience).min(most)
    }

    /// How long an answer takes on this path, in all but rare cases.
    pub(crate) fn expected_delay(&self) -> Duration {
        let usual = |r: Replies| duration(r.mean) + duration(r.deviation) * 4;
        self.replies.map_or(Duration::ZERO, usual)
    }

    /// Whether an answer is later than the configuration has it.
    pub(crate) fn is_late(&self, now: Time, config: &Config) -> bool {
        let since = self.outstanding.map(|r| r.unanswered_since);
        since.is_some_and(|at| self.last_heard <= at && now >= at + config.ping_timeout())
    }

    /// Notes that a request was sent.
    pub(crate) fn pinged(&mut self, now: Time, nonce: u64, config: &Config) {
        let before = self.outstanding.map(|r| r.unanswered_since);
        let unanswered_since = before.filter(|at| self.last_heard <= *at).unwrap_or(now);
        self.outstanding = Some(Request { nonce, sent: now, unanswered_since, patience: 1 });
        self.next_ping = now + self.longest_silence(config);
    }

    /// Another node asked about this neighbour: look at once. `false` if too many have asked to be
    /// answered. A question repeated on one link does not put off the answers to others.
    pub(crate) fn question(&mut self, now: Time, by: LinkId) -> bool {
        let questions = self.questions.get_or_insert_default();
        if questions.links.contains(&by) {
            return true;
        }
        if questions.links.len() >= MAX_QUESTIONERS {
            return false;
        }
        questions.links.insert(by);
        questions.asked = now;
        true
    }

    /// Asks at once, to learn how long an answer takes.
    pub(crate) fn measure(&mut self, now: Time) {
        self.questions.get_or_insert_default().asked = now;
    }

    /// When a question came after the last request, so that another request is needed.
    fn needs_request_since(&self) -> Option<Time> {
        let asked = self.questions.as_ref().map(|q| q.asked)?;
        self.outstanding.is_none_or(|r| r.sent < asked).then_some(asked)
    }

    /// What is due. In `classic` every interval has its request; elsewhere only silence has, unless this node is
    /// patient with its neighbours: then the answers show when the time that they take is as usual again.
    pub(crate) fn due(&mut self, now: Time, config: &Config, patience: u32) -> Due {
        if self.needs_request_since().is_some() {
            return Due::Ping;
        }
        if let Some(r) = &mut self.outstanding {
            r.patience = r.patience.max(patience);
            let r = *r;
            let timeout = self.timeout(config, r.patience);
            if self.last_heard > r.unanswered_since {
                // Traffic proves life to this node as well as an answer; to those that ask, only the
                // answer does.
                if self.questions.is_none() && (patience == 1 || now >= r.sent + timeout) {
                    self.outstanding = None;
                } else if self.questions.is_some() && now >= r.sent + timeout {
                    return Due::Ping;
                }
            } else if now >= r.unanswered_since + timeout {
                self.outstanding = None;
                self.misses += 1;
                if self.misses >= config.misses() || self.questions.is_some() {
                    return Due::Suspect;
                }
            }
        }
        let every_interval = config.misses() > 1 || patience > 1;
        let asked = every_interval || self.questions.is_some() || self.misses > 0;
        if self.outstanding.is_none() && now >= self.next_ping {
            let allowed = self.longest_silence(config);
            if asked || now.since(self.last_heard) >= allowed {
                return Due::Ping;
            }
            self.next_ping = self.last_heard + allowed;
        }
        Due::Nothing
    }

    /// When [`Watch::due`] has to be asked next.
    pub(crate) fn deadline(&self, config: &Config, patience: u32) -> Time {
        if let Some(asked) = self.needs_request_since() {
            return asked;
        }
        match self.outstanding {
            Some(r) if self.last_heard > r.unanswered_since => {
                r.sent + self.timeout(config, patience.max(r.patience))
            }
            Some(r) => r.unanswered_since + self.timeout(config, patience.max(r.patience)),
            None => self.next_ping,
        }
    }

    /// It was suspected, and is not any more: what was due meanwhile is due now, and not late.
    pub(crate) fn resume(&mut self, now: Time) {
        self.next_ping = self.next_ping.max(now);
    }

    /// This node itself was late: what it waited for gets as much more time.
    pub(crate) fn postpone(&mut self, by: Duration) {
        if let Some(r) = &mut self.outstanding {
            r.unanswered_since += by;
            if r.unanswered_since > r.sent {
                r.sent = r.unanswered_since;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// Runs a watch on a neighbour that answers until `dies`, and says when it is suspected.
    fn suspected(config: &Config, dies: u64) -> u64 {
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        for ms in 0..200_000 {
            match w.due(at(ms), config, 1) {
                Due::Ping => {
                    w.pinged(at(ms), ms, config);
                    if ms < dies {
                        w.heard(at(ms + 1));
                        w.pong(at(ms + 1), ms, config);
                    }
                }
                Due::Suspect => return ms,
                Due::Nothing => {}
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
    fn of_two_ends_one_asks() {
        let questions = |config: &Config| {
            let mut ends = [false, true].map(|second| Watch::new(at(0), Duration::ZERO, second));
            let mut asked = [0, 0];
            for ms in 0..60_000 {
                for me in [0, 1] {
                    if ends[me].due(at(ms), config, 1) == Due::Ping {
                        asked[me] += 1;
                        ends[me].pinged(at(ms), ms, config);
                        ends[1 - me].heard(at(ms));
                        ends[me].heard(at(ms));
                        ends[me].pong(at(ms), ms, config);
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
    fn traffic_is_life_and_saves_the_question() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        for ms in 1..5_000 {
            if ms % 100 == 0 {
                w.heard(at(ms));
            }
            assert_eq!(w.due(at(ms), &c, 1), Due::Nothing);
        }
    }

    /// Only answers show that the time that they take is as usual again.
    #[test]
    fn busy_link_is_asked_while_this_node_is_patient() {
        let c = Config::lan().build().unwrap();
        let answers = |patience: u32| {
            let (mut w, mut asked, mut timely) =
                (Watch::new(at(0), Duration::ZERO, false), None, 0);
            for ms in 1..5_000 {
                if ms % 5 == 0 {
                    w.heard(at(ms));
                }
                if asked.is_some_and(|sent| ms == sent + 20) {
                    timely += u32::from(w.pong(at(ms), ms - 20, &c).is_timely);
                }
                if w.due(at(ms), &c, patience) == Due::Ping {
                    w.pinged(at(ms), ms, &c);
                    asked = Some(ms);
                }
                assert!(w.deadline(&c, patience) > at(ms), "what is due has been done");
            }
            timely
        };
        assert_eq!(answers(1), 0);
        assert!((8..=10).contains(&answers(2)), "{}", answers(2));
    }

    #[test]
    fn a_question_is_answered_by_a_request_that_was_sent_after_it() {
        let c = Config::lan().build().unwrap();
        let asker = LinkId(7);
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        assert!(w.question(at(10), asker));
        // What was on its way when the question came: frames, and the answer to the request before.
        w.heard(at(11));
        assert_eq!(w.pong(at(12), 1, &c).questioners.len(), 0);
        assert_eq!(w.due(at(12), &c, 1), Due::Ping);
        w.pinged(at(12), 2, &c);
        w.heard(at(13));
        assert_eq!(w.due(at(13), &c, 1), Due::Nothing);
        assert!(w.pong(at(14), 2, &c).questioners.contains(&asker));
        assert_eq!(w.pong(at(15), 2, &c).questioners.len(), 0, "told once");
    }

    #[test]
    fn a_question_about_a_silent_neighbour_ends_in_a_suspicion_after_one_timeout() {
        let c = Config::classic().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        assert!(w.question(at(2_000), LinkId(7)));
        assert_eq!(w.deadline(&c, 1), at(2_000), "another request is due at once");
        assert_eq!(w.due(at(2_000), &c, 1), Due::Ping);
        w.pinged(at(2_000), 2, &c);
        assert_eq!(w.due(at(2_999), &c, 1), Due::Nothing);
        assert_eq!(w.due(at(3_000), &c, 1), Due::Suspect, "from the first request on");
    }

    #[test]
    fn patience_is_bounded() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        assert_eq!(w.timeout(&c, 2), Duration::from_millis(500));
        w.pinged(at(0), 1, &c);
        w.pong(at(1500), 1, &c);
        assert_eq!(w.timeout(&c, 8), Duration::from_millis(2000));
    }

    #[test]
    fn a_slow_path_gets_more_time() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        w.pong(at(400), 1, &c);
        assert!(w.timeout(&c, 1) > Duration::from_millis(1000));
        assert_eq!(w.reply_delay(), Some(Duration::from_millis(400)));
    }

    #[test]
    fn ones_own_lateness_is_not_held_against_others() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        w.postpone(Duration::from_secs(5));
        assert_eq!(w.due(at(5_100), &c, 1), Due::Nothing);
        assert_eq!(w.due(at(5_251), &c, 1), Due::Suspect);
    }
}
