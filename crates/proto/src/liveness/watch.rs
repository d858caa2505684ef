//! One neighbour under watch.

use core::time::Duration;

use crate::config::Config;
use crate::io::LinkId;
use crate::limits::MAX_QUESTIONERS;
use crate::small::VecSet;
use crate::time::Time;

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
    outstanding: Option<(u64, Time)>,
    next_ping: Time,
    /// The other end is the first to ask when the link falls silent.
    asks_second: bool,
    /// Links on which somebody asked about this neighbour and waits for an answer, if there are some.
    /// Then one miss is enough to begin a burst.
    questioners: Option<Box<VecSet<LinkId>>>,
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
            questioners: None,
        }
    }

    /// Any traffic is a sign of life. Says who waits to hear of it.
    pub(crate) fn heard(&mut self, now: Time) -> VecSet<LinkId> {
        self.last_heard = now;
        self.misses = 0;
        self.take_questioners()
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
        self.questioners.take().map(|q| *q).unwrap_or_default()
    }

    /// The answer to a liveness request; [`Watch::heard`] was told already. One to an earlier
    /// request is traffic like any other.
    pub(crate) fn pong(&mut self, now: Time, nonce: u64) {
        let Some((expected, sent)) = self.outstanding else { return };
        if expected != nonce {
            return;
        }
        self.outstanding = None;
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

    /// How long an answer may take: as configured, or longer where the path is slow.
    fn timeout(&self, config: &Config) -> Duration {
        let usual = |r: Replies| duration(r.mean) + duration(r.deviation) * 4;
        let seen = self.replies.map_or(Duration::ZERO, usual);
        config.ping_timeout().max(seen.min(config.ping_timeout() * 8))
    }

    /// Notes that a request was sent.
    pub(crate) fn pinged(&mut self, now: Time, nonce: u64, config: &Config) {
        self.outstanding = Some((nonce, now));
        self.next_ping = now + self.longest_silence(config);
    }

    /// Somebody else asked about this neighbour: look at once. `false` if too many have asked to be
    /// answered.
    pub(crate) fn question(&mut self, now: Time, by: LinkId) -> bool {
        let questioners = self.questioners.get_or_insert_default();
        let room = questioners.len() < MAX_QUESTIONERS;
        if room {
            questioners.insert(by);
        }
        self.next_ping = now;
        room
    }

    /// What is due. In `classic` every interval has its request; elsewhere only silence has.
    pub(crate) fn due(&mut self, now: Time, config: &Config) -> Due {
        if let Some((_, sent)) = self.outstanding {
            if self.last_heard > sent {
                // Traffic that came after the request proves life as well as an answer.
                self.outstanding = None;
            } else if now >= sent + self.timeout(config) {
                self.outstanding = None;
                self.misses += 1;
                if self.misses >= config.misses() || self.questioners.is_some() {
                    return Due::Suspect;
                }
            }
        }
        let every_interval = config.misses() > 1;
        let asked = every_interval || self.questioners.is_some() || self.misses > 0;
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
    pub(crate) fn deadline(&self, config: &Config) -> Time {
        match self.outstanding {
            Some((_, sent)) => sent + self.timeout(config),
            None => self.next_ping,
        }
    }

    /// This node itself was late: what it waited for gets as much more time.
    pub(crate) fn postpone(&mut self, by: Duration) {
        if let Some((_, sent)) = &mut self.outstanding {
            *sent += by;
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
            match w.due(at(ms), config) {
                Due::Ping => {
                    w.pinged(at(ms), ms, config);
                    if ms < dies {
                        w.heard(at(ms + 1));
                        w.pong(at(ms + 1), ms);
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
                    if ends[me].due(at(ms), config) == Due::Ping {
                        asked[me] += 1;
                        ends[me].pinged(at(ms), ms, config);
                        ends[1 - me].heard(at(ms));
                        ends[me].heard(at(ms));
                        ends[me].pong(at(ms), ms);
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
            assert_eq!(w.due(at(ms), &c), Due::Nothing);
        }
    }

    #[test]
    fn a_slow_path_gets_more_time() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        w.pong(at(400), 1);
        assert!(w.timeout(&c) > Duration::from_millis(1000));
        assert_eq!(w.reply_delay(), Some(Duration::from_millis(400)));
    }

    #[test]
    fn ones_own_lateness_is_not_held_against_others() {
        let c = Config::lan().build().unwrap();
        let mut w = Watch::new(at(0), Duration::ZERO, false);
        w.pinged(at(0), 1, &c);
        w.postpone(Duration::from_secs(5));
        assert_eq!(w.due(at(5_100), &c), Due::Nothing);
        assert_eq!(w.due(at(5_251), &c), Due::Suspect);
    }
}
