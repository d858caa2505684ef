//! The arguments that commands which start nodes have in common.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rumormill::NetworkKey;
use rumormill::proto::{BroadcastMode, Config, ConfigBuilder, ConfigError, Preset};
use rumormill_terminal::exit::{Exit, Failure, OrExit as _, Outcome};
use rumormill_units::{duration, size};

/// The arguments of every command that starts nodes.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Timings that belong together: classic (13 s, 3 misses), lan, wan; the same at all nodes of a
    /// network
    #[arg(long, value_name = "PRESET", default_value = "lan")]
    pub preset: Preset,
    /// File with the key of a private network: 64 hexadecimal characters; further keys in it are
    /// accepted too, for changing keys
    #[arg(long, value_name = "FILE")]
    pub network_key_file: Option<PathBuf>,
}

/// The arguments of every command that starts peers.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// The arguments of every command that starts nodes.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How messages spread: trees (one copy a peer), flood (a copy from nearly every neighbour)
    #[arg(long, value_name = "MODE", default_value = "trees")]
    pub broadcast: BroadcastMode,
    /// Bytes of messages that each peer keeps for others, in memory (and in --data-dir), such as
    /// 64MiB [default: 16MiB]; use the same value at all peers, because a publisher counts on its
    /// own value
    #[arg(long, value_name = "BYTES", value_parser = retention)]
    pub retention: Option<u64>,
    /// How long each peer keeps them [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = retention_age)]
    pub retention_age: Option<Duration>,
    /// Most neighbours that each peer looks for; it accepts one more from a peer that has too few
    /// [default: as many as the power law gives it]
    #[arg(long, value_name = "N", value_parser = max_degree)]
    pub max_degree: Option<u16>,
}

fn retention(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    accepted(Config::lan().retention_bytes(bytes)).map(|()| bytes)
}

fn retention_age(text: &str) -> Result<Duration, String> {
    let age = duration::parse(text)?;
    accepted(Config::lan().retention_age(age)).map(|()| age)
}

fn max_degree(text: &str) -> Result<u16, String> {
    let degree = text.parse().map_err(|_| "expected a number of neighbours".to_owned())?;
    accepted(Config::lan().max_degree(Some(degree))).map(|()| degree)
}

/// Whether the core accepts the one value that was set; the error says which values it accepts.
fn accepted(config: ConfigBuilder) -> Result<(), String> {
    config.build().map(drop).map_err(|e| match e {
        ConfigError::OutOfRange { expected, .. } => format!("it must be {expected}"),
        e => e.to_string(),
    })
}

/// Parses an address that a node can advertise to others.
///
/// # Errors
/// A message for the user: the text is no address, or no host can connect to that address.
pub fn advertised_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected the IP address and port at which others reach it, such as 203.0.113.7:7400"
            .to_owned()
    })?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(format!(
            "no host can connect to {address}: name one address and port of this host, as others see \
             it"
        ));
    }
    Ok(address)
}

impl NetworkArgs {
    /// The settings of a peer.
    ///
    /// # Errors
    /// The values contradict each other.
    pub fn config(&self) -> Outcome<Config> {
        let mut config = Config::of(self.common.preset).broadcast(self.broadcast);
        if let Some(bytes) = self.retention {
            config = config.retention_bytes(bytes);
        }
        if let Some(age) = self.retention_age {
            config = config.retention_age(age);
        }
        config.max_degree(self.max_degree).build().or_exit(Exit::Config)
    }

    /// Reports what is wrong with the arguments before a node is started.
    ///
    /// # Errors
    /// The settings contradict each other, or the network key cannot be read.
    pub fn check(&self) -> Outcome<()> {
        self.config()?;
        self.common.network_key().map(drop)
    }
}

impl CommonArgs {
    /// The settings of a seed.
    ///
    /// # Errors
    /// The values contradict each other.
    pub fn config(&self) -> Outcome<Config> {
        Config::of(self.preset).build().or_exit(Exit::Config)
    }

    /// The key of the private network; `None` in a public one.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn network_key(&self) -> Outcome<Option<NetworkKey>> {
        self.network_key_file.as_deref().map(read_network_key).transpose()
    }
}

/// Reads a network key, or a list of keys.
///
/// # Errors
/// The file cannot be read, or holds no key.
pub fn read_network_key(path: &Path) -> Outcome<NetworkKey> {
    let wrong = |what: String| Failure::new(Exit::Config, format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the network key: {e}")))?;
    text.trim().parse().map_err(|e: rumormill::ParseNetworkKeyError| {
        wrong(format!("{e}; make one with `openssl rand -hex 32`"))
    })
}
