//! What goes wrong, and when.

use serde::Deserialize;

use super::ScenarioError;
use super::values::{Share, Size, Span, SpanRange};

/// Something that goes wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct Fault {
    /// At this time of the action.
    pub at: Span,
    /// Again and again after so long, until the action ends.
    pub every: Option<Span>,
    /// After so long it is undone: the killed and those that left start again, the frozen go on, the
    /// network heals. For good, or until the calm, if not given.
    pub lasts: Option<Span>,
    /// What.
    pub act: Act,
}

/// What can go wrong. In a file it is named by `do`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[serde(deny_unknown_fields)]
pub enum Act {
    /// Processes are killed.
    Crash {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Which.
        #[serde(default)]
        whom: Whom,
    },
    /// Newcomers are killed right after they have joined, one after the other.
    CrashLoop {
        /// How many, of as many as there were at the beginning.
        #[serde(default)]
        peers: Share,
        /// From one to the next.
        gap: Span,
    },
    /// Hosts vanish while all their neighbours but one are stopped for a moment, with frames of the dead in
    /// their sockets.
    CrashUnobserved {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// For how long the neighbours are stopped.
        pause: Span,
    },
    /// Hosts vanish without a word.
    PowerOff {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Which.
        #[serde(default)]
        whom: Whom,
    },
    /// Processes are stopped.
    Freeze {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Which.
        #[serde(default)]
        whom: Whom,
    },
    /// Peers leave in an orderly way.
    Leave {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Messages that each publishes right before.
        #[serde(default)]
        messages: usize,
        /// Bytes of each of them.
        #[serde(default)]
        size: Option<Size>,
    },
    /// New peers start, publish, and leave at once.
    Visit {
        /// How many, of as many as there were at the beginning.
        #[serde(default)]
        peers: Share,
        /// How long they stay before they publish.
        stay: Span,
        /// Messages that each publishes.
        messages: usize,
        /// Bytes of each of them.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Peers are killed and start again at once.
    Restart {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Whether they have lost their disks.
        #[serde(default)]
        disk_lost: bool,
    },
    /// Disks are copied; when the fault ends, the peers are killed and start again from the copy.
    Restore {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Whether their clocks are an hour behind then.
        #[serde(default)]
        clock_back: bool,
    },
    /// New peers start.
    Arrive {
        /// How many, of as many as there were at the beginning.
        #[serde(default)]
        peers: Share,
    },
    /// The network is cut in two.
    Partition {
        /// How many peers are on the one side.
        peers: Share,
        /// How many of the seeds are with them.
        #[serde(default)]
        seeds: usize,
        /// Which way is closed.
        #[serde(default)]
        side: Side,
    },
    /// Peers lose the path to one of their neighbours each.
    CutLinks {
        /// How many peers.
        #[serde(default)]
        peers: Share,
    },
    /// The path from a peer to one of its neighbours goes and comes.
    Flap {
        /// How many peers.
        #[serde(default)]
        peers: Share,
        /// How long it is gone each time.
        down: Span,
        /// How long it is there in between.
        up: Span,
    },
    /// Packets are lost and sent again.
    Loss {
        /// Part of them (0 to 0.9).
        part: f64,
    },
    /// Packets take another time.
    Delay {
        /// How long.
        latency: SpanRange,
    },
    /// Queues are full: announcements and payloads are left out.
    FullQueues {
        /// Part of them (0 to 1).
        part: f64,
    },
    /// Peers get a slow line.
    SlowPeer {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Bytes a second, each way.
        bandwidth: Size,
    },
    /// Peers get a slow uplink; what they receive is as fast as before.
    SlowUplink {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Bytes a second.
        bandwidth: Size,
    },
    /// Disks stall.
    SlowDisk {
        /// How many peers' disks.
        #[serde(default)]
        peers: Share,
        /// For how long.
        stall: Span,
    },
    /// Wall clocks are set.
    ClockJump {
        /// How many peers' clocks.
        #[serde(default)]
        peers: Share,
        /// By how much.
        by: Span,
        /// Back, not forward.
        #[serde(default)]
        back: bool,
    },
    /// Peers publish as fast as they may.
    Overload {
        /// How many.
        #[serde(default)]
        peers: Share,
        /// Bytes of a message.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Data directories are copied, and a second process is started with each copy.
    Clone {
        /// Of how many peers.
        #[serde(default)]
        peers: Share,
    },
    /// Hosts get another address; their processes go on.
    MoveHost {
        /// How many.
        #[serde(default)]
        peers: Share,
    },
    /// Seeds are killed.
    CrashSeeds {
        /// How many.
        seeds: usize,
        /// Whether they have lost their disks when they start again.
        #[serde(default)]
        disk_lost: bool,
    },
    /// Seeds are stopped.
    FreezeSeeds {
        /// How many.
        seeds: usize,
    },
    /// Seeds cannot reach each other.
    CutSeeds {},
}

/// Which peers are struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// Any.
    #[default]
    Random,
    /// Those with the most neighbours.
    Hubs,
    /// Those with the fewest.
    Leaves,
    /// Any, and all their neighbours with them.
    WithNeighbours,
}

/// Which way a partition closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both ways.
    #[default]
    Both,
    /// What the peers of the one side send.
    Out,
    /// What is sent to them.
    In,
}

impl TryFrom<toml::Table> for Fault {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        let mut time = |key: &str| -> Result<Option<Span>, String> {
            let taken = table.remove(key).map(toml::Value::try_into);
            taken.transpose().map_err(|e| format!("fault.{key}: {e}"))
        };
        let at = time("at")?.ok_or("fault.at is missing: when does it happen?")?;
        let (every, lasts) = (time("every")?, time("for")?);
        let name = table.get("do").map_or_else(|| "without \"do\"".to_owned(), ToString::to_string);
        let act = table.try_into().map_err(|e| format!("fault {name}: {e}"))?;
        Ok(Fault { at, every, lasts, act })
    }
}

impl Fault {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let part = match self.act {
            Act::Loss { part } if !(0.0..=0.9).contains(&part) => Some((part, "from 0 to 0.9")),
            Act::FullQueues { part } if !(0.0..=1.0).contains(&part) => Some((part, "from 0 to 1")),
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
