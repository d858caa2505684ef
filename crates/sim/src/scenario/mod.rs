//! Scenarios: TOML files that describe a run.
//!
//! A run has four phases. In the *join* phase the peers join, and the network must come to rest.
//! The *active* phase has load, faults, churn, chaos and adversaries. In the *calm* phase faults
//! have ended, and every promise must hold within a time limit. In the *final check* some peers
//! publish once more. Promises that hold at every moment are checked all along.
//!
//! ```
//! let text = r#"
//!     name = "two-crashes"
//!     about = "Two peers die while messages flow"
//!     peers = 30
//!     for = "30s"
//!
//!     [[load]]
//!     publishers = 5
//!     rate = 10
//!
//!     [[fault]]
//!     at = "10s"
//!     do = "crash"
//!     peers = 2
//! "#;
//! let scenario = rumormill_sim::Scenario::parse(text)?;
//! assert_eq!(scenario.faults.len(), 1);
//! # Ok::<(), rumormill_sim::scenario::ScenarioError>(())
//! ```

mod adversary;
mod builtin;
mod fault;
mod load;
mod values;
mod vary;

use rumormill_proto::{BroadcastMode, Config, ConfigError, Preset};
use serde::Deserialize;

pub use adversary::{Adversary, AdversaryKind};
pub use builtin::{BUILTIN, Builtin};
pub use fault::{Fault, FaultKind, Side, VictimSelection};
pub use load::{Chaos, Churn, DepartureKind, Load};
pub use values::{Share, Size, SizeRange, Span, SpanRange};
pub use vary::{Variation, set};

use crate::network::Latency;

/// Most peers in one run.
pub const MAX_PEERS: usize = 4_000_000;
/// Most seeds in one run.
const MAX_SEEDS: usize = rumormill_proto::limits::MAX_SEEDS;

/// Why a scenario cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The text is not TOML, or a value has the wrong type; the message names the line.
    #[error("{0}")]
    Form(String),
    /// A value is outside its range.
    #[error("{what} is {value}, but must be {expected}")]
    Range {
        /// The setting, by its name in the file.
        what: &'static str,
        /// The value in the file.
        value: String,
        /// The allowed range.
        expected: &'static str,
    },
    /// A setting of the nodes is invalid.
    #[error(transparent)]
    Node(#[from] ConfigError),
    /// There is no built-in scenario with this name.
    #[error("there is no built-in scenario {0:?}: `rumor-lab sim --list` names them")]
    Unknown(String),
}

/// A scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its purpose, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Initial number of peers (1 to 4,000,000).
    pub peers: usize,
    /// Number of seeds (1 to 64).
    #[serde(default = "three")]
    pub seeds: usize,
    /// Preset of the nodes' settings.
    #[serde(default = "lan", deserialize_with = "text")]
    pub preset: Preset,
    /// Broadcast mode.
    #[serde(default = "trees", deserialize_with = "text")]
    pub broadcast: BroadcastMode,
    /// Whether frames are encoded, signed and verified.
    #[serde(default)]
    pub keys: Keys,
    /// Settings of the nodes beside the preset.
    #[serde(default)]
    pub node: NodeSettings,
    /// The network between the nodes.
    #[serde(default)]
    pub network: NetworkSettings,
    /// The join phase.
    #[serde(default)]
    pub join: JoinSettings,
    /// Length of the active phase.
    #[serde(default, rename = "for")]
    pub length: Span,
    /// Loads.
    #[serde(default, rename = "load")]
    pub loads: Vec<Load>,
    /// Scheduled faults.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// Arrivals and departures of peers.
    #[serde(default)]
    pub churn: Vec<Churn>,
    /// Random faults.
    pub chaos: Option<Chaos>,
    /// Adversaries.
    #[serde(default, rename = "adversary")]
    pub adversaries: Vec<Adversary>,
    /// Time limit of the calm phase: how long after the active phase every promise must hold.
    #[serde(default = "two_minutes")]
    pub calm: Span,
    /// How often, in virtual time, the promises that hold at every moment are checked.
    #[serde(default = "ten_seconds")]
    pub check_every: Span,
    /// Expectations beside the promises.
    #[serde(default)]
    pub expect: Expectations,
    /// When, from the beginning of the run, a test plants a violation.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) planted_violation: Option<Span>,
}

/// How the nodes use keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Every frame is encoded and decoded, and its signatures are verified.
    #[default]
    Real,
    /// Frames are passed without encoding. For large networks of honest nodes.
    Fast,
}

/// Settings of the nodes; the preset has the values that are not given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSettings {
    /// Bytes of messages that each peer retains.
    pub retention: Option<Size>,
    /// How long a peer retains messages.
    pub retention_age: Option<Span>,
    /// Most neighbours of a peer.
    pub max_degree: Option<u16>,
    /// How often neighbours compare their message lists.
    pub sync_interval: Option<Span>,
    /// Interval between two edge swaps in the whole network.
    pub swap_interval: Option<Span>,
}

/// The network between the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NetworkSettings {
    /// Delay of packets: one time, or a shortest and a longest.
    pub latency: SpanRange,
    /// How delays are drawn, if the latency is a range.
    pub spread: LatencySpread,
    /// Probability that a packet is lost and retransmitted (0 to 0.9).
    pub loss: f64,
    /// Bytes a second of each node's line in each direction; no limit if not given.
    pub bandwidth: Option<Size>,
    /// How long a disk takes to commit a write.
    pub disk: Span,
}

/// How delays are drawn from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencySpread {
    /// A delay for each packet. Frames of one link keep their order; those of different links may
    /// overtake each other.
    #[default]
    Packet,
    /// One delay for each pair of nodes.
    Pair,
    /// Nodes have positions on a map; the delay grows with the distance.
    Map,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        let ms = |n| Span(core::time::Duration::from_millis(n));
        NetworkSettings {
            latency: SpanRange { min: ms(1), max: ms(1) },
            spread: LatencySpread::Packet,
            loss: 0.0,
            bandwidth: None,
            disk: ms(2),
        }
    }
}

impl NetworkSettings {
    /// The latency of the world.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let (min, max) = (self.latency.min.0, self.latency.max.0);
        match self.spread {
            _ if min == max => Latency::Constant(min),
            LatencySpread::Packet => Latency::Uniform { min, max },
            LatencySpread::Pair => Latency::PerPair { min, max },
            LatencySpread::Map => Latency::Map { min, max },
        }
    }
}

/// Settings of the join phase.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct JoinSettings {
    /// Time over which the peers start, at equal intervals.
    pub over: Span,
    /// How long after the last start the network must be at rest.
    pub within: Span,
}

impl Default for JoinSettings {
    fn default() -> Self {
        JoinSettings { over: Span::default(), within: two_minutes() }
    }
}

/// Expectations of a run beside the promises. Values that are not given are not checked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectations {
    /// Smallest exponent of the fitted power law.
    pub alpha_min: Option<f64>,
    /// Largest exponent of the fitted power law.
    pub alpha_max: Option<f64>,
    /// Smallest p-value of the bounded fit.
    pub bounded_p_min: Option<f64>,
    /// Largest mean number of copies of a batch at a peer.
    pub copies_max: Option<f64>,
    /// Largest stretch: hops of the messages as a multiple of the shortest paths.
    pub stretch_max: Option<f64>,
    /// Longest delivery time to a peer to which the message is owed.
    pub delay_max: Option<Span>,
    /// Smallest fraction of owed deliveries that are made (0 to 1); messages reported as gaps count
    /// as owed.
    pub delivered_min: Option<f64>,
}

fn three() -> usize {
    3
}

fn lan() -> Preset {
    Preset::Lan
}

fn trees() -> BroadcastMode {
    BroadcastMode::Trees
}

fn two_minutes() -> Span {
    Span(core::time::Duration::from_secs(120))
}

fn ten_seconds() -> Span {
    Span(core::time::Duration::from_secs(10))
}

/// Deserializes a value from its text form.
fn text<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: core::str::FromStr<Err: core::fmt::Display>,
{
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

impl Scenario {
    /// Whether addresses of hosts change in it, so that peers have to learn their addresses.
    pub(crate) fn moves_hosts(&self) -> bool {
        let moves = |f: &Fault| matches!(f.kind, FaultKind::MoveHost { .. });
        self.chaos.is_some() || self.faults.iter().any(moves)
    }

    /// Parses a scenario from the text of a TOML file.
    ///
    /// # Errors
    /// The text is not a valid scenario; the message names the line and the reason.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let read: Result<Scenario, _> = toml::from_str(text);
        read.map_err(|e| ScenarioError::Form(e.to_string()))?.checked()
    }

    /// Makes a scenario from a TOML table, such as one with a value of a [`Variation`].
    ///
    /// # Errors
    /// The table is not a valid scenario; the message has the reason.
    pub fn from_table(table: toml::Table) -> Result<Self, ScenarioError> {
        let read: Result<Scenario, _> = table.try_into();
        read.map_err(|e| ScenarioError::Form(e.to_string()))?.checked()
    }

    fn checked(self) -> Result<Self, ScenarioError> {
        let out_of_range = |what, value: &dyn core::fmt::Display, expected| {
            Err(ScenarioError::Range { what, value: value.to_string(), expected })
        };
        if !(1..=MAX_PEERS).contains(&self.peers) {
            return out_of_range("peers", &self.peers, "from 1 to 4000000");
        }
        if !(1..=MAX_SEEDS).contains(&self.seeds) {
            return out_of_range("seeds", &self.seeds, "from 1 to 64");
        }
        if !(0.0..=0.9).contains(&self.network.loss) {
            return out_of_range("network.loss", &self.network.loss, "from 0 to 0.9");
        }
        if self.network.bandwidth.is_some_and(|b| b.0 == 0) {
            return out_of_range(
                "network.bandwidth",
                &0,
                "at least 1 byte a second, or not given at all",
            );
        }
        if self.check_every.0.is_zero() {
            return out_of_range("check-every", &self.check_every, "above 0");
        }
        for load in &self.loads {
            load.check()?;
        }
        for churn in &self.churn {
            churn.check()?;
        }
        for fault in &self.faults {
            fault.check()?;
        }
        if let Some(chaos) = &self.chaos {
            chaos.check()?;
        }
        if self.keys == Keys::Fast && self.adversaries.iter().any(|a| a.kind.breaks_signatures()) {
            let what = "keys";
            let expected = "real with adversaries whose frames have invalid signatures";
            return out_of_range(what, &"fast", expected);
        }
        self.config()?;
        Ok(self)
    }

    /// The settings of the nodes.
    ///
    /// # Errors
    /// A setting is outside its range.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut b = Config::of(self.preset).broadcast(self.broadcast);
        if let Some(bytes) = self.node.retention {
            b = b.retention_bytes(bytes.0);
        }
        if let Some(age) = self.node.retention_age {
            b = b.retention_age(age.0);
        }
        if let Some(interval) = self.node.sync_interval {
            b = b.sync_interval(interval.0);
        }
        if let Some(interval) = self.node.swap_interval {
            b = b.swap_interval(interval.0);
        }
        b.max_degree(self.node.max_degree).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn file_with_name_and_peers_is_a_valid_scenario() {
        let s = Scenario::parse("name = \"x\"\npeers = 5").unwrap();
        assert_eq!((s.seeds, s.preset, s.keys), (3, Preset::Lan, Keys::Real));
        assert!(s.loads.is_empty() && s.chaos.is_none());
    }

    #[test]
    fn errors_name_the_line_and_the_value() {
        assert!(error_of("name = \"x\"\npeers = 5\npers = 3").contains("line 3"));
        assert!(error_of("name = \"x\"\npeers = 0").contains("peers is 0, but must be from 1"));
        assert!(error_of("name = \"x\"\npeers = 5\npreset = \"lna\"").contains("unknown preset"));
        let fault = "name = \"x\"\npeers = 5\n[[fault]]\nat = \"1s\"\ndo = \"crahs\"";
        assert!(error_of(fault).contains("crahs"), "{}", error_of(fault));
        let fault = "name = \"x\"\npeers = 5\n[[fault]]\nat = \"1s\"\ndo = \"crash\"\npers = 3";
        assert!(error_of(fault).contains("pers"), "{}", error_of(fault));
        assert!(
            error_of("name = \"x\"\npeers = 5\n[network]\nloss = 1.5").contains("network.loss")
        );
    }

    #[test]
    fn every_built_in_scenario_is_valid() {
        for b in BUILTIN {
            let s = Scenario::parse(b.text).unwrap_or_else(|e| panic!("{}: {e}", b.name));
            assert_eq!(s.name, b.name);
            assert!(!s.about.is_empty(), "{} must have a description", b.name);
        }
    }
}
