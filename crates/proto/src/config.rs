//! The settings and the presets.
//!
//! Fields are private: a [`Config`] comes only from a [`ConfigBuilder`], which refuses values that
//! would break a guarantee. Each value is read with the method of its name.

use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;
use core::time::Duration;

use serde::Serialize;

use crate::limits::{MAX_PAYLOAD, MAX_TARGET};

/// A set of timings that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The original descriptions to the number: a liveness request every 13 s, dead after 3 misses.
    Classic,
    /// One site: a dead process is found in about a second.
    #[default]
    Lan,
    /// Across sites: tolerates delays of hundreds of milliseconds.
    Wan,
}

/// The serialised word.
impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for Preset {
    type Err = ConfigError;
    fn from_str(s: &str) -> Result<Self, ConfigError> {
        let all = [Preset::Classic, Preset::Lan, Preset::Wan];
        named(all, s).ok_or_else(|| ConfigError::UnknownPreset(s.chars().take(40).collect()))
    }
}

/// How batches spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BroadcastMode {
    /// Along trees, one copy per peer; other links carry announcements.
    #[default]
    Trees,
    /// To every neighbour except the sender, as in the original descriptions. A peer gets nearly as
    /// many copies as it has neighbours.
    Flood,
}

/// The serialised word.
impl fmt::Display for BroadcastMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for BroadcastMode {
    type Err = ConfigError;
    fn from_str(s: &str) -> Result<Self, ConfigError> {
        let all = [BroadcastMode::Trees, BroadcastMode::Flood];
        named(all, s).ok_or_else(|| ConfigError::UnknownBroadcast(s.chars().take(40).collect()))
    }
}

/// The value that serialises as this name.
fn named<T: fmt::Display>(all: impl IntoIterator<Item = T>, name: &str) -> Option<T> {
    all.into_iter().find(|value| value.to_string() == name)
}

/// A setting with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such preset.
    #[error("unknown preset {0:?}: choose classic, lan or wan")]
    UnknownPreset(String),
    /// There is no such broadcast mode.
    #[error("unknown broadcast {0:?}: choose trees or flood")]
    UnknownBroadcast(String),
    /// A value outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// The given value.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
}

macro_rules! config {
    ($( $(#[$doc:meta])* $field:ident: $ty:ty, )*) => {
        /// The settings of one node, valid by construction.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { preset: Preset, $( $field: $ty, )* }

        impl Config {
            /// The preset it started from.
            #[must_use]
            pub const fn preset(&self) -> Preset { self.preset }
            $( $(#[$doc])* #[must_use] pub const fn $field(&self) -> $ty { self.$field } )*
        }

        impl ConfigBuilder {
            $( $(#[$doc])* #[must_use]
               pub const fn $field(mut self, value: $ty) -> Self { self.0.$field = value; self } )*
        }
    };
}

config! {
    /// Silence after which a neighbour is pinged (10 ms to 10 min).
    ping_interval: Duration,
    /// How long the answer to a ping may take before it counts as a miss (5 ms to 10 min; not
    /// longer than the interval where `misses` is above 1).
    ping_timeout: Duration,
    /// Consecutive misses after which a neighbour is suspected (1 to 100). With 1, a miss starts
    /// the probe burst; above it, misses are counted ping by ping.
    misses: u32,
    /// How long a probe burst lasts: pings to the suspect and indirect probes through its other
    /// neighbours (20 ms to 1 min). A seed's own probe lasts as long.
    probe_burst: Duration,
    /// Pings within one burst (1 to 16).
    probe_retries: u32,
    /// How long a seed keeps a death report while it waits for more (50 ms to 10 min).
    report_window: Duration,
    /// How often a peer pings its seeds (50 ms to 10 min).
    seed_ping_interval: Duration,
    /// How long a registration is valid without a refresh, on the seed's own clock (1 s to 1 day).
    lease: Duration,
    /// How often a peer refreshes its registration (less than half the lease).
    lease_refresh: Duration,
    /// First wait before a failed seed is tried again; it doubles, with jitter (10 ms to 1 min).
    backoff_min: Duration,
    /// Longest wait before a failed seed is tried again (not under `backoff_min`, at most 10 min).
    backoff_max: Duration,
    /// How often seeds compare their registries (100 ms to 10 min).
    registry_exchange: Duration,
    /// How long updates are gathered before a seed pushes them (1 ms to 10 s).
    push_delay: Duration,
    /// How long a dead or departed peer is remembered (1 min to 30 days).
    tombstone: Duration,
    /// How often a peer compares its message list with that of a random neighbour (100 ms to 1 h).
    sync_interval: Duration,
    /// How batches spread.
    broadcast: BroadcastMode,
    /// How often one edge pair in the whole network is exchanged at random, so that no island can
    /// last (100 ms to 1 day).
    swap_interval: Duration,
    /// Candidates that are dialled at once for a neighbour or an edge swap: the one whose link is
    /// up first is asked, so that links are short (1, the first that is drawn, to 16).
    dial_candidates: u32,
    /// Upper limit of the target degree, if the peer's capacity requires one (1 to [`MAX_TARGET`]).
    /// As with every target, one more neighbour is accepted if it would otherwise have none or one.
    max_degree: Option<u16>,
    /// Bytes of messages retained for others (one payload to 1 TiB).
    retention_bytes: u64,
    /// How long messages are retained (1 s to 30 days).
    retention_age: Duration,
    /// How long a `get` asks neighbours before it gives up (10 ms to 10 min).
    fetch_timeout: Duration,
}

/// Changes a preset and checks the result.
#[derive(Debug, Clone)]
pub struct ConfigBuilder(Config);

impl Config {
    /// The timings of the original descriptions.
    #[must_use]
    pub const fn classic() -> ConfigBuilder {
        ConfigBuilder(Config {
            preset: Preset::Classic,
            ping_interval: Duration::from_secs(13),
            ping_timeout: Duration::from_secs(3),
            misses: 3,
            probe_burst: Duration::from_millis(3000),
            probe_retries: 3,
            report_window: Duration::from_secs(26),
            seed_ping_interval: Duration::from_secs(13),
            backoff_max: Duration::from_secs(30),
            swap_interval: Duration::from_secs(15),
            ..Self::BASE
        })
    }

    /// Timings for one site.
    #[must_use]
    pub const fn lan() -> ConfigBuilder {
        ConfigBuilder(Self::BASE)
    }

    /// Timings for many sites.
    #[must_use]
    pub const fn wan() -> ConfigBuilder {
        ConfigBuilder(Config {
            preset: Preset::Wan,
            ping_interval: Duration::from_secs(3),
            ping_timeout: Duration::from_millis(1500),
            probe_burst: Duration::from_secs(3),
            report_window: Duration::from_secs(10),
            seed_ping_interval: Duration::from_secs(6),
            backoff_max: Duration::from_secs(30),
            push_delay: Duration::from_millis(250),
            swap_interval: Duration::from_secs(10),
            dial_candidates: 4,
            ..Self::BASE
        })
    }

    /// The builder of a preset.
    #[must_use]
    pub const fn of(preset: Preset) -> ConfigBuilder {
        match preset {
            Preset::Classic => Self::classic(),
            Preset::Lan => Self::lan(),
            Preset::Wan => Self::wan(),
        }
    }

    const BASE: Config = Config {
        preset: Preset::Lan,
        ping_interval: Duration::from_millis(500),
        ping_timeout: Duration::from_millis(250),
        misses: 1,
        probe_burst: Duration::from_millis(600),
        probe_retries: 3,
        report_window: Duration::from_millis(2500),
        seed_ping_interval: Duration::from_secs(2),
        lease: Duration::from_secs(120),
        lease_refresh: Duration::from_secs(39),
        backoff_min: Duration::from_millis(250),
        backoff_max: Duration::from_secs(10),
        registry_exchange: Duration::from_secs(5),
        push_delay: Duration::from_millis(100),
        tombstone: Duration::from_secs(24 * 3600),
        sync_interval: Duration::from_secs(5),
        broadcast: BroadcastMode::Trees,
        swap_interval: Duration::from_secs(3),
        dial_candidates: 1,
        max_degree: None,
        retention_bytes: 16 * 1024 * 1024,
        retention_age: Duration::from_secs(600),
        fetch_timeout: Duration::from_secs(3),
    };
}

/// Checks that the value of a setting is within its limits.
fn within<T: PartialOrd + fmt::Debug>(
    name: &'static str,
    value: T,
    limits: RangeInclusive<T>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if limits.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { name, value: format!("{value:?}"), expected })
}

impl ConfigBuilder {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// Names the first setting out of range, its value and the accepted values.
    pub fn build(self) -> Result<Config, ConfigError> {
        let c = self.0;
        let ms = Duration::from_millis;
        let s = Duration::from_secs;
        let day = s(24 * 3600);
        within("ping_interval", c.ping_interval, ms(10)..=s(600), "between 10 ms and 10 min")?;
        within("ping_timeout", c.ping_timeout, ms(5)..=s(600), "between 5 ms and 10 min")?;
        if c.misses != 1 {
            let expected = "at most ping_interval where misses is above 1";
            within("ping_timeout", c.ping_timeout, ms(5)..=c.ping_interval, expected)?;
        }
        within("misses", c.misses, 1..=100, "between 1 and 100")?;
        within("probe_burst", c.probe_burst, ms(20)..=s(60), "between 20 ms and 1 min")?;
        within("probe_retries", c.probe_retries, 1..=16, "between 1 and 16")?;
        within("report_window", c.report_window, ms(50)..=s(600), "between 50 ms and 10 min")?;
        within("seed_ping_interval", c.seed_ping_interval, ms(50)..=s(600), "50 ms to 10 min")?;
        within("lease", c.lease, s(1)..=day, "between 1 s and 1 day")?;
        within("lease_refresh", c.lease_refresh, ms(100)..=c.lease / 2, "at most half the lease")?;
        within("backoff_min", c.backoff_min, ms(10)..=s(60), "between 10 ms and 1 min")?;
        within("backoff_max", c.backoff_max, c.backoff_min..=s(600), "backoff_min to 10 min")?;
        within("registry_exchange", c.registry_exchange, ms(100)..=s(600), "100 ms to 10 min")?;
        within("push_delay", c.push_delay, ms(1)..=s(10), "between 1 ms and 10 s")?;
        within("tombstone", c.tombstone, s(60)..=day * 30, "between 1 min and 30 days")?;
        within("sync_interval", c.sync_interval, ms(100)..=s(3600), "between 100 ms and 1 h")?;
        within("swap_interval", c.swap_interval, ms(100)..=day, "between 100 ms and 1 day")?;
        within("dial_candidates", c.dial_candidates, 1..=16, "between 1 and 16")?;
        if c.max_degree.is_some() {
            let limits = Some(1)..=Some(MAX_TARGET);
            within("max_degree", c.max_degree, limits, "between 1 and 1024")?;
        }
        let bytes = MAX_PAYLOAD as u64..=1 << 40;
        within("retention_bytes", c.retention_bytes, bytes, "between 1 MiB and 1 TiB")?;
        within("retention_age", c.retention_age, s(1)..=day * 30, "between 1 s and 30 days")?;
        within("fetch_timeout", c.fetch_timeout, ms(10)..=s(600), "between 10 ms and 10 min")?;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for p in [Preset::Classic, Preset::Lan, Preset::Wan] {
            assert_eq!(Config::of(p).build().unwrap().preset(), p);
            assert_eq!(p.to_string().parse::<Preset>().unwrap(), p);
        }
    }

    #[test]
    fn classic_preset_has_the_described_timings() {
        let c = Config::classic().build().unwrap();
        assert_eq!(c.ping_interval(), Duration::from_secs(13));
        assert_eq!(c.misses(), 3);
    }

    #[test]
    fn error_names_the_invalid_setting() {
        let e = Config::lan().max_degree(Some(0)).build().unwrap_err().to_string();
        assert!(e.contains("max_degree"), "{e}");
        let e = Config::lan().lease_refresh(Duration::from_secs(100)).build().unwrap_err();
        assert!(e.to_string().contains("half the lease"), "{e}");
    }
}
