//! The plan of a run, worked out before it starts.

use std::time::Duration;

use rumormill::proto::Preset;
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_units::duration;

use super::options::{Fault, FaultSpec, Options, RunLength};

/// A peer that gets a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Victim {
    /// Its number among the peers.
    pub(crate) peer: usize,
    pub(crate) fault: Fault,
    /// From the start of the run.
    pub(crate) at: Duration,
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) peers: usize,
    pub(crate) length: Option<RunLength>,
    pub(crate) every: Duration,
    pub(crate) messages: u64,
    pub(crate) after: Duration,
    pub(crate) payload: usize,
    /// In the order of their times.
    pub(crate) victims: Vec<Victim>,
    /// How long the peers may take to join and to form one component.
    pub(crate) formation_timeout: Duration,
    /// How long the end of the run waits for missing deliveries and removals.
    pub(crate) grace: Duration,
}

/// The time before its fault in which a victim publishes nothing, because a message that is still
/// in the process is lost with it.
pub(crate) const VICTIM_SILENCE: Duration = Duration::from_secs(1);

impl Plan {
    /// Completes the options, or says what is wrong with them.
    pub(crate) fn new(options: &Options, preset: Preset) -> Outcome<Self> {
        let classic = preset == Preset::Classic;
        let seconds = |n| Duration::from_secs(n);
        Ok(Plan {
            peers: options.peers,
            length: options.length,
            every: options.every,
            messages: options.messages,
            after: options.after.unwrap_or(seconds(if classic { 30 } else { 3 })),
            payload: options.payload,
            victims: victims(options)?,
            formation_timeout: seconds(60)
                + Duration::from_millis(200) * u32::try_from(options.peers).unwrap_or(u32::MAX),
            grace: match preset {
                Preset::Lan => seconds(15),
                Preset::Wan => seconds(30),
                Preset::Classic => seconds(75),
            },
        })
    }

    /// When a peer publishes one of its messages, counted from the first moment of publishing. The
    /// peers take turns within the period, so that they do not all publish at once.
    pub(crate) fn due(&self, peer: usize, number: u64) -> Duration {
        let share = self.every.mul_f64(index(peer) / index(self.peers.max(1)));
        let periods = u32::try_from(number).unwrap_or(u32::MAX);
        share + self.every.saturating_mul(periods)
    }

    /// When publishing ends at the latest, counted from the start of the run: the last message must
    /// have time to arrive.
    pub(crate) fn publish_deadline(&self) -> Option<Duration> {
        match self.length {
            Some(RunLength::For(length)) => Some(length - (length / 4).min(Duration::from_secs(5))),
            _ => None,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // A few thousand peers.
fn index(n: usize) -> f64 {
    n as f64
}

/// Takes victims from the highest peer downwards, in the order of their times.
fn victims(options: &Options) -> Outcome<Vec<Victim>> {
    let usage = |message| Err(Failure::new(Exit::Usage, message));
    let mut specs: Vec<(FaultSpec, Fault)> =
        options.kill.iter().map(|s| (*s, Fault::Kill)).collect();
    specs.extend(options.stop.iter().map(|s| (*s, Fault::Stop)));
    specs.sort_by_key(|(s, _)| s.at);
    let total = specs.iter().fold(0usize, |n, (s, _)| n.saturating_add(s.peers));
    if total >= options.peers {
        return usage(format!(
            "--kill and --stop name {total} victims of {} peers; at least one peer must be left",
            options.peers
        ));
    }
    if let (Some(RunLength::For(length)), Some((last, _))) = (options.length, specs.last())
        && last.at >= length
    {
        return usage(format!(
            "a victim is named for {}, but the run ends after {}",
            duration::show(last.at),
            duration::show(length)
        ));
    }
    let each = specs.iter().flat_map(|(s, fault)| (0..s.peers).map(|_| (s.at, *fault)));
    Ok(each
        .zip((0..options.peers).rev())
        .map(|((at, fault), peer)| Victim { peer, fault, at })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
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
    fn classic_preset_publishes_as_the_descriptions_say() {
        let plan = Plan::new(&options(), Preset::Classic).unwrap();
        assert_eq!(plan.after, Duration::from_secs(30));
        assert_eq!((plan.messages, plan.every), (10, Duration::from_secs(5)));
    }

    #[test]
    fn peers_publish_in_turns() {
        let plan = Plan::new(&options(), Preset::Lan).unwrap();
        assert_eq!(plan.due(0, 0), Duration::ZERO);
        assert_eq!(plan.due(1, 0), Duration::from_millis(250));
        assert_eq!(plan.due(0, 1), Duration::from_secs(5));
        assert_eq!(plan.due(19, 9), Duration::from_millis(49_750));
    }

    #[test]
    fn ten_messages_fit_into_a_minute() {
        let o = Options { length: Some(RunLength::For(Duration::from_secs(60))), ..options() };
        let plan = Plan::new(&o, Preset::Lan).unwrap();
        // Joining takes about a second.
        let last = Duration::from_secs(2) + plan.after + plan.due(19, 9);
        assert!(last < plan.publish_deadline().unwrap(), "{last:?}");
    }

    #[test]
    fn victims_are_the_last_peers_in_order_of_time() {
        let spec = |t| FaultSpec::parse(t).unwrap();
        let o = Options { kill: vec![spec("2@20s")], stop: vec![spec("1@10s")], ..options() };
        let victims = Plan::new(&o, Preset::Lan).unwrap().victims;
        let brief: Vec<_> = victims.iter().map(|v| (v.peer, v.fault, v.at.as_secs())).collect();
        assert_eq!(brief, [(19, Fault::Stop, 10), (18, Fault::Kill, 20), (17, Fault::Kill, 20)]);
    }

    #[test]
    fn plans_that_cannot_be_carried_out_are_refused() {
        let spec = |t| FaultSpec::parse(t).unwrap();
        let all = Options { kill: vec![spec("20@1s")], ..options() };
        assert_eq!(Plan::new(&all, Preset::Lan).unwrap_err().exit, Exit::Usage);
        let late = Options {
            kill: vec![spec("1@1m")],
            length: Some(RunLength::For(Duration::from_secs(30))),
            ..options()
        };
        assert_eq!(Plan::new(&late, Preset::Lan).unwrap_err().exit, Exit::Usage);
    }
}
