//! What a run is to do, worked out before it starts.

use std::path::PathBuf;
use std::time::Duration;

use rumormill::proto::Preset;

use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_units::duration;

/// How long a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// So long.
    For(Duration),
    /// Until it is interrupted.
    Forever,
}

impl Length {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Length::Forever);
        }
        match duration::parse(text) {
            Ok(d) if d.is_zero() => Err("a run of no length shows nothing".to_owned()),
            Ok(d) => Ok(Length::For(d)),
            Err(e) => Err(format!("{e}, or `forever`")),
        }
    }
}

/// So many peers at this time: `N@TIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volley {
    pub(crate) peers: usize,
    pub(crate) at: Duration,
}

impl Volley {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected N@TIME, such as 3@20s";
        let (peers, at) = text.split_once('@').ok_or(expected)?;
        let peers = peers.parse().map_err(|_| expected)?;
        Ok(Volley { peers, at: duration::parse(at)? })
    }
}

/// What a victim suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// SIGKILL, or all of its sockets dropped at once.
    Kill,
    /// SIGSTOP, or nothing of it runs any more while its sockets stay open.
    Stop,
}

/// One victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Victim {
    /// Its place among the peers.
    pub(crate) peer: usize,
    pub(crate) fault: Fault,
    /// From the start of the run.
    pub(crate) at: Duration,
}

/// What the user asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) seeds: Option<usize>,
    pub(crate) peers: usize,
    pub(crate) length: Option<Length>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) every: Duration,
    pub(crate) messages: u64,
    pub(crate) after: Option<Duration>,
    pub(crate) payload: usize,
    pub(crate) kill: Vec<Volley>,
    pub(crate) stop: Vec<Volley>,
    pub(crate) processes: bool,
    /// How many files this process may have open; `None` means no limit.
    pub(crate) open_files: Option<u64>,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) peers: usize,
    pub(crate) length: Option<Length>,
    pub(crate) every: Duration,
    pub(crate) messages: u64,
    pub(crate) after: Duration,
    pub(crate) payload: usize,
    /// By time.
    pub(crate) victims: Vec<Victim>,
    /// How long everybody may take to join.
    pub(crate) forming: Duration,
    /// How long the end waits for what is still to come.
    pub(crate) grace: Duration,
}

/// The time before its end in which a victim publishes nothing.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

impl Plan {
    pub(crate) fn new(wishes: &Wishes, preset: Preset) -> Outcome<Self> {
        let classic = preset == Preset::Classic;
        let seconds = |n| Duration::from_secs(n);
        Ok(Plan {
            peers: wishes.peers,
            length: wishes.length,
            every: wishes.every,
            messages: wishes.messages,
            after: wishes.after.unwrap_or(seconds(if classic { 30 } else { 3 })),
            payload: wishes.payload,
            victims: victims(wishes)?,
            forming: seconds(60)
                + Duration::from_millis(200) * u32::try_from(wishes.peers).unwrap_or(u32::MAX),
            grace: match preset {
                Preset::Lan => seconds(15),
                Preset::Wan => seconds(30),
                Preset::Classic => seconds(75),
            },
        })
    }

    /// When a peer publishes one of its messages, from the first moment of publishing. The peers
    /// take turns within the period, so that they never all speak at once.
    pub(crate) fn due(&self, peer: usize, number: u64) -> Duration {
        let share = self.every.mul_f64(index(peer) / index(self.peers.max(1)));
        let periods = u32::try_from(number).unwrap_or(u32::MAX);
        share + self.every.saturating_mul(periods)
    }

    /// When publishing ends at the latest, from the start of the run: what is published last must
    /// have time to arrive.
    pub(crate) fn last_call(&self) -> Option<Duration> {
        match self.length {
            Some(Length::For(length)) => Some(length - (length / 4).min(Duration::from_secs(5))),
            _ => None,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // A few thousand peers.
fn index(n: usize) -> f64 {
    n as f64
}

/// Takes victims from the highest peer downwards, in the order of their times.
fn victims(wishes: &Wishes) -> Outcome<Vec<Victim>> {
    let usage = |message| Err(Failure::new(Exit::Usage, message));
    let mut volleys: Vec<(Volley, Fault)> = wishes.kill.iter().map(|v| (*v, Fault::Kill)).collect();
    volleys.extend(wishes.stop.iter().map(|v| (*v, Fault::Stop)));
    volleys.sort_by_key(|(v, _)| v.at);
    let total = volleys.iter().fold(0usize, |n, (v, _)| n.saturating_add(v.peers));
    if total >= wishes.peers {
        return usage(format!(
            "--kill and --stop name {total} victims of {} peers; somebody must be left",
            wishes.peers
        ));
    }
    if let (Some(Length::For(length)), Some((last, _))) = (wishes.length, volleys.last())
        && last.at >= length
    {
        return usage(format!(
            "a victim is named for {}, but the run ends after {}",
            duration::show(last.at),
            duration::show(length)
        ));
    }
    let each = volleys.iter().flat_map(|(v, fault)| (0..v.peers).map(|_| (v.at, *fault)));
    Ok(each
        .zip((0..wishes.peers).rev())
        .map(|((at, fault), peer)| Victim { peer, fault, at })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            seeds: None,
            peers: 20,
            length: None,
            config: None,
            every: Duration::from_secs(5),
            messages: 10,
            after: None,
            payload: 0,
            kill: Vec::new(),
            stop: Vec::new(),
            processes: false,
            open_files: None,
        }
    }

    #[test]
    fn classic_is_the_descriptions() {
        let plan = Plan::new(&wishes(), Preset::Classic).unwrap();
        assert_eq!(plan.after, Duration::from_secs(30));
        assert_eq!((plan.messages, plan.every), (10, Duration::from_secs(5)));
    }

    #[test]
    fn peers_take_turns() {
        let plan = Plan::new(&wishes(), Preset::Lan).unwrap();
        assert_eq!(plan.due(0, 0), Duration::ZERO);
        assert_eq!(plan.due(1, 0), Duration::from_millis(250));
        assert_eq!(plan.due(0, 1), Duration::from_secs(5));
        assert_eq!(plan.due(19, 9), Duration::from_millis(49_750));
    }

    #[test]
    fn ten_messages_fit_into_a_minute() {
        let w = Wishes { length: Some(Length::For(Duration::from_secs(60))), ..wishes() };
        let plan = Plan::new(&w, Preset::Lan).unwrap();
        // Joining takes about a second.
        let last = Duration::from_secs(2) + plan.after + plan.due(19, 9);
        assert!(last < plan.last_call().unwrap(), "{last:?}");
    }

    #[test]
    fn victims_are_the_last_peers_in_order_of_time() {
        let volley = |t| Volley::parse(t).unwrap();
        let w = Wishes { kill: vec![volley("2@20s")], stop: vec![volley("1@10s")], ..wishes() };
        let victims = Plan::new(&w, Preset::Lan).unwrap().victims;
        let brief: Vec<_> = victims.iter().map(|v| (v.peer, v.fault, v.at.as_secs())).collect();
        assert_eq!(brief, [(19, Fault::Stop, 10), (18, Fault::Kill, 20), (17, Fault::Kill, 20)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let volley = |t| Volley::parse(t).unwrap();
        let all = Wishes { kill: vec![volley("20@1s")], ..wishes() };
        assert_eq!(Plan::new(&all, Preset::Lan).unwrap_err().exit, Exit::Usage);
        let late = Wishes {
            kill: vec![volley("1@1m")],
            length: Some(Length::For(Duration::from_secs(30))),
            ..wishes()
        };
        assert_eq!(Plan::new(&late, Preset::Lan).unwrap_err().exit, Exit::Usage);
        for bad in ["3", "@3s", "x@3s", "3@", "3@5", "-1@5s"] {
            assert!(Volley::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Length::parse("forever"), Ok(Length::Forever));
        assert!(Length::parse("0").is_err() && Length::parse("ever").is_err());
    }
}
