//! Scenarios: what happens to a network in a run, as a file that people read and write.
//!
//! A scenario has four parts, one after the other. The peers *join*, and the network must come to
//! rest. Then, for a time, there is *action*: load, faults, churn, chaos, adversaries. Then there is
//! *calm*: faults end, and every promise must hold within a stated time. What was promised for every
//! moment is looked at all along.
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
pub use fault::{Act, Fault, Side, Whom};
pub use load::{Chaos, Churn, Departure, Load};
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
    /// It is not TOML, or a value is of the wrong kind; the text names the line.
    #[error("{0}")]
    Form(String),
    /// A value is outside its range.
    #[error("{what} is {value}, but must be {expected}")]
    Range {
        /// The setting, as it is called in the file.
        what: &'static str,
        /// What the file says.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A setting of the nodes cannot be.
    #[error(transparent)]
    Node(#[from] ConfigError),
    /// No built-in scenario of this name.
    #[error("there is no built-in scenario {0:?}: `rumor-lab sim --list` names them")]
    Unknown(String),
}

/// What happens in a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Peers at the beginning (1 to 4,000,000).
    pub peers: usize,
    /// Seeds (1 to 64).
    #[serde(default = "three")]
    pub seeds: usize,
    /// Timings of the nodes.
    #[serde(default = "lan", deserialize_with = "text")]
    pub preset: Preset,
    /// How messages spread.
    #[serde(default = "trees", deserialize_with = "text")]
    pub broadcast: BroadcastMode,
    /// Whether signatures are made and checked and frames encoded.
    #[serde(default)]
    pub keys: Keys,
    /// Settings of the nodes beside the preset.
    #[serde(default)]
    pub node: NodeSettings,
    /// The network between the nodes.
    #[serde(default)]
    pub network: NetworkSettings,
    /// The beginning.
    #[serde(default)]
    pub join: Join,
    /// How long the action lasts.
    #[serde(default, rename = "for")]
    pub length: Span,
    /// Messages.
    #[serde(default, rename = "load")]
    pub loads: Vec<Load>,
    /// What goes wrong, and when.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// Peers that come and go.
    #[serde(default)]
    pub churn: Vec<Churn>,
    /// Faults at random.
    pub chaos: Option<Chaos>,
    /// Nodes that do not play by the rules.
    #[serde(default, rename = "adversary")]
    pub adversaries: Vec<Adversary>,
    /// How long the network has, after the action, until every promise must hold.
    #[serde(default = "two_minutes")]
    pub calm: Span,
    /// How often, in virtual time, the promises for every moment are looked at.
    #[serde(default = "ten_seconds")]
    pub check_every: Span,
    /// What must come of it beside the promises.
    #[serde(default)]
    pub expect: Expect,
    /// When, since the beginning, a test plants a fault.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) sabotage: Option<Span>,
}

/// Keys of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Every frame is encoded, decoded, and its signatures are checked.
    #[default]
    Real,
    /// Frames are handed over as they are. For large networks of honest nodes.
    Fast,
}

/// Settings of the nodes beside the preset; what is not given is the preset's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSettings {
    /// Bytes of messages that each peer keeps.
    pub retention: Option<Size>,
    /// How long it keeps them.
    pub retention_age: Option<Span>,
    /// Most neighbours of a peer.
    pub max_degree: Option<u16>,
    /// How often neighbours compare their message lists.
    pub sync_interval: Option<Span>,
    /// How often an edge pair is exchanged in the whole network.
    pub mix_interval: Option<Span>,
}

/// The network between the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NetworkSettings {
    /// How long a packet takes: one time, or a shortest and a longest.
    pub latency: SpanRange,
    /// Whose delay it is, if it is a range.
    pub spread: Spread,
    /// Part of the packets that are lost and sent again (0 to 0.9).
    pub loss: f64,
    /// Bytes a second that a node can send, and receive; no limit if not given.
    pub bandwidth: Option<Size>,
    /// How long a disk takes for one request.
    pub disk: Span,
}

/// Whose delay a range of delays describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Every packet draws its own; links overtake each other, a link keeps its order.
    #[default]
    Packet,
    /// Every pair of nodes draws one for good.
    Pair,
    /// Nodes stand on a map; delay grows with the distance.
    Map,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        let ms = |n| Span(core::time::Duration::from_millis(n));
        NetworkSettings {
            latency: SpanRange { min: ms(1), max: ms(1) },
            spread: Spread::Packet,
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
            Spread::Packet => Latency::Uniform { min, max },
            Spread::Pair => Latency::PerPair { min, max },
            Spread::Map => Latency::Map { min, max },
        }
    }
}

/// The beginning.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Join {
    /// The peers start evenly over this time.
    pub over: Span,
    /// How long the network has, from the last start, to come to rest.
    pub within: Span,
}

impl Default for Join {
    fn default() -> Self {
        Join { over: Span::default(), within: two_minutes() }
    }
}

/// What must come of a run beside the promises. What is not given is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Least exponent of the fitted power law.
    pub alpha_min: Option<f64>,
    /// Largest exponent of the fitted power law.
    pub alpha_max: Option<f64>,
    /// Least p of the bounded fit.
    pub bounded_p_min: Option<f64>,
    /// Most copies of a batch that a peer gets, on average.
    pub copies_max: Option<f64>,
    /// Most links that messages may take, as a multiple of the shortest ways.
    pub stretch_max: Option<f64>,
    /// Longest time a message may take to a peer that was never disturbed.
    pub delay_max: Option<Span>,
    /// Least part of the deliveries owed that came, 0 to 1; gaps that were told are owed as well.
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

/// Reads what has a text form of its own.
fn text<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: core::str::FromStr<Err: core::fmt::Display>,
{
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

impl Scenario {
    /// Whether the addresses of hosts change in it, so that peers have to learn theirs.
    pub(crate) fn moves_hosts(&self) -> bool {
        let moves = |f: &Fault| matches!(f.act, Act::MoveHost { .. });
        self.chaos.is_some() || self.faults.iter().any(moves)
    }

    /// Reads a scenario from the text of a TOML file.
    ///
    /// # Errors
    /// The text is no scenario; the message says where and why.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let read: Result<Scenario, _> = toml::from_str(text);
        read.map_err(|e| ScenarioError::Form(e.to_string()))?.checked()
    }

    /// Reads a scenario from a TOML table, such as one that a [`Variation`] was set in.
    ///
    /// # Errors
    /// The table is no scenario; the message says why.
    pub fn from_table(table: toml::Table) -> Result<Self, ScenarioError> {
        let read: Result<Scenario, _> = table.try_into();
        read.map_err(|e| ScenarioError::Form(e.to_string()))?.checked()
    }

    fn checked(self) -> Result<Self, ScenarioError> {
        let out = |what, value: &dyn core::fmt::Display, expected| {
            Err(ScenarioError::Range { what, value: value.to_string(), expected })
        };
        if !(1..=MAX_PEERS).contains(&self.peers) {
            return out("peers", &self.peers, "from 1 to 4000000");
        }
        if !(1..=MAX_SEEDS).contains(&self.seeds) {
            return out("seeds", &self.seeds, "from 1 to 64");
        }
        if !(0.0..=0.9).contains(&self.network.loss) {
            return out("network.loss", &self.network.loss, "from 0 to 0.9");
        }
        if self.network.bandwidth.is_some_and(|b| b.0 == 0) {
            return out("network.bandwidth", &0, "at least 1 byte a second, or not given at all");
        }
        if self.check_every.0.is_zero() {
            return out("check-every", &self.check_every, "above 0");
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
            return out(what, &"fast", "real where an adversary sends what a signature refuses");
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
        if let Some(interval) = self.node.mix_interval {
            b = b.mix_interval(interval.0);
        }
        b.max_degree(self.node.max_degree).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_short_file_is_a_whole_scenario() {
        let s = Scenario::parse("name = \"x\"\npeers = 5").unwrap();
        assert_eq!((s.seeds, s.preset, s.keys), (3, Preset::Lan, Keys::Real));
        assert!(s.loads.is_empty() && s.chaos.is_none());
    }

    #[test]
    fn errors_say_where_and_what() {
        assert!(wrong("name = \"x\"\npeers = 5\npers = 3").contains("line 3"));
        assert!(wrong("name = \"x\"\npeers = 0").contains("peers is 0, but must be from 1"));
        assert!(wrong("name = \"x\"\npeers = 5\npreset = \"lna\"").contains("unknown preset"));
        let fault = "name = \"x\"\npeers = 5\n[[fault]]\nat = \"1s\"\ndo = \"crahs\"";
        assert!(wrong(fault).contains("crahs"), "{}", wrong(fault));
        let fault = "name = \"x\"\npeers = 5\n[[fault]]\nat = \"1s\"\ndo = \"crash\"\npers = 3";
        assert!(wrong(fault).contains("pers"), "{}", wrong(fault));
        assert!(wrong("name = \"x\"\npeers = 5\n[network]\nloss = 1.5").contains("network.loss"));
    }

    #[test]
    fn every_built_in_scenario_is_one() {
        for b in BUILTIN {
            let s = Scenario::parse(b.text).unwrap_or_else(|e| panic!("{}: {e}", b.name));
            assert_eq!(s.name, b.name);
            assert!(!s.about.is_empty(), "{} says what it shows", b.name);
        }
    }
}
