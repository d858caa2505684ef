//! The faults of a scenario.

use serde::Deserialize;

use super::ScenarioError;
use super::values::{Share, Size, Span, SpanRange};

/// A scheduled fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct Fault {
    /// Time of the injection, from the beginning of the active phase.
    pub at: Span,
    /// Interval of repetitions until the active phase ends; none if not given.
    pub every: Option<Span>,
    /// Time until the fault is reverted: killed peers and peers that left start again, frozen
    /// processes continue, the network heals. If it is not given, killed peers stay dead and other
    /// faults last until the calm phase.
    pub duration: Option<Span>,
    /// The kind of the fault.
    pub kind: FaultKind,
}

/// Kind of a fault. In a scenario file it is named by `do`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[serde(deny_unknown_fields)]
pub enum FaultKind {
    /// Kills processes.
    Crash {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How the victims are selected.
        #[serde(default)]
        victims: VictimSelection,
    },
    /// Kills newcomers 5 to 300 ms after their start, one after the other.
    CrashLoop {
        /// Number of newcomers, of the initial number of peers.
        #[serde(default)]
        peers: Share,
        /// Time from one newcomer to the next.
        gap: Span,
    },
    /// Takes the power from hosts while all their neighbours but one are frozen for a moment, with
    /// frames of the victims in their sockets.
    CrashUnobserved {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How long the neighbours are frozen.
        pause: Span,
    },
    /// Takes the power from hosts.
    PowerOff {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How the victims are selected.
        #[serde(default)]
        victims: VictimSelection,
    },
    /// Stops processes as by `SIGSTOP`.
    Freeze {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How the victims are selected.
        #[serde(default)]
        victims: VictimSelection,
    },
    /// Lets peers leave in an orderly way.
    Leave {
        /// Number of peers.
        #[serde(default)]
        peers: Share,
        /// Messages that each peer publishes right before.
        #[serde(default)]
        messages: usize,
        /// Bytes of each message.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Adds peers that publish after a while and leave at once.
    Visit {
        /// Number of new peers, of the initial number of peers.
        #[serde(default)]
        peers: Share,
        /// Time from their start to their messages.
        stay: Span,
        /// Messages that each peer publishes.
        messages: usize,
        /// Bytes of each message.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Kills peers and restarts them at once.
    Restart {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// Whether they restart with empty disks.
        #[serde(default)]
        disk_lost: bool,
    },
    /// Copies disks; at the end of the fault the peers are killed and restart from the copy.
    Restore {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// Whether their clocks are set back by an hour then.
        #[serde(default)]
        clock_back: bool,
    },
    /// Adds peers.
    Arrive {
        /// Number of new peers, of the initial number of peers.
        #[serde(default)]
        peers: Share,
    },
    /// Partitions the network in two sides.
    Partition {
        /// Number of peers on the first side.
        peers: Share,
        /// Number of seeds on the first side.
        #[serde(default)]
        seeds: usize,
        /// The blocked direction.
        #[serde(default)]
        side: Side,
    },
    /// Cuts the path from each victim to one of its neighbours.
    CutLinks {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
    },
    /// Cuts and restores the path from each victim to one of its neighbours, again and again.
    Flap {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How long the path is cut each time.
        down: Span,
        /// How long it is open in between.
        up: Span,
    },
    /// Loses packets, which are retransmitted.
    Loss {
        /// Probability of a loss (0 to 0.9).
        part: f64,
    },
    /// Changes the latency of packets.
    Delay {
        /// The new latency.
        latency: SpanRange,
    },
    /// Drops announcements and payloads as from full queues.
    FullQueues {
        /// Probability of a drop (0 to 1).
        part: f64,
    },
    /// Gives peers a slow line.
    SlowPeer {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// Bytes a second in each direction.
        bandwidth: Size,
    },
    /// Gives peers a slow uplink; the downlink is not changed.
    SlowUplink {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// Bytes a second.
        bandwidth: Size,
    },
    /// Stalls disks.
    SlowDisk {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// How long the disks stall.
        stall: Span,
    },
    /// Sets wall clocks.
    ClockJump {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
        /// The change.
        by: Span,
        /// Whether the clocks are set back rather than forward.
        #[serde(default)]
        back: bool,
    },
    /// Lets peers publish as fast as flow control allows.
    Overload {
        /// Number of peers.
        #[serde(default)]
        peers: Share,
        /// Bytes of each message.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Copies data directories and starts a second process with each copy.
    Clone {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
    },
    /// Changes the addresses of hosts; their processes continue.
    MoveHost {
        /// Number of victims.
        #[serde(default)]
        peers: Share,
    },
    /// Kills seeds.
    CrashSeeds {
        /// Number of victims.
        seeds: usize,
        /// Whether they restart with empty disks.
        #[serde(default)]
        disk_lost: bool,
    },
    /// Stops seeds as by `SIGSTOP`.
    FreezeSeeds {
        /// Number of victims.
        seeds: usize,
    },
    /// Cuts the paths between all seeds.
    CutSeeds {},
}

/// How the victims of a fault are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VictimSelection {
    /// Random peers.
    #[default]
    Random,
    /// The peers with the highest degrees.
    Hubs,
    /// The peers with the lowest degrees.
    Leaves,
    /// Random peers and all their neighbours.
    WithNeighbours,
}

/// The direction that a partition blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both directions.
    #[default]
    Both,
    /// Packets from the first side.
    Out,
    /// Packets to the first side.
    In,
}

impl TryFrom<toml::Table> for Fault {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        let mut time = |key: &str| -> Result<Option<Span>, String> {
            let value = table.remove(key).map(toml::Value::try_into);
            value.transpose().map_err(|e| format!("fault.{key}: {e}"))
        };
        let at = time("at")?.ok_or("fault.at is missing: the time of the fault")?;
        let (every, duration) = (time("every")?, time("for")?);
        let name = table.get("do").map_or_else(|| "without \"do\"".to_owned(), ToString::to_string);
        let kind = table.try_into().map_err(|e| format!("fault {name}: {e}"))?;
        Ok(Fault { at, every, duration, kind })
    }
}

impl Fault {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let part = match self.kind {
            FaultKind::Loss { part } if !(0.0..=0.9).contains(&part) => {
                Some((part, "from 0 to 0.9"))
            }
            FaultKind::FullQueues { part } if !(0.0..=1.0).contains(&part) => {
                Some((part, "from 0 to 1"))
            }
            _ => None,
        };
        if let Some((value, expected)) = part {
            let value = value.to_string();
            return Err(ScenarioError::Range { what: "fault.part", value, expected });
        }
        if self.every.is_some_and(|e| e.0.is_zero()) {
            let (what, expected) = ("fault.every", "above 0");
            return Err(ScenarioError::Range { what, value: "0".to_owned(), expected });
        }
        Ok(())
    }
}
