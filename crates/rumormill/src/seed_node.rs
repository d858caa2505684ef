//! A running seed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rumormill_proto::snapshot::{MemberView, SeedSnapshot};
use rumormill_proto::wire::Verifier;
use rumormill_proto::{Config, Identity, PeerId, Role, Seed, SeedAddress, SeedSetup, Time};

use crate::error::{StartError, StoppedError};
use crate::handle::Handle;
use crate::launch::{LaunchOptions, OpenedStore, on_blocking_pool};
use crate::listener::Listener;
use crate::network_key::NetworkKey;
use crate::subscription::Events;
use crate::trace::NodeLabel;

/// A running seed: it keeps the registry of the network and carries no gossip. Clones are handles
/// to the same one.
///
/// It runs in tasks of the tokio runtime that [`SeedBuilder::start`] was awaited on, until
/// [`stop`](SeedNode::stop), [`kill`](SeedNode::kill), the end of the runtime, or until the last
/// handle is dropped.
///
/// ```
/// use rumormill::{Config, Listener, SeedAddress, SeedNode};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind("127.0.0.1:0".parse()?)?;
/// let me = SeedAddress { host_port: listener.local_addr().to_string(), pin: None };
/// let seed = SeedNode::builder()
///     .config(Config::lan().build()?)
///     .listener(listener)
///     .seeds(vec![me])
///     .own_index(Some(0))
///     .start()
///     .await?;
/// assert_eq!(seed.members().await?.len(), 0);
/// seed.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SeedNode {
    handle: Handle<Seed>,
}

/// Collects the options of a seed. Every option has a default.
#[derive(Debug)]
pub struct SeedBuilder {
    launch: LaunchOptions,
    own_index: Option<usize>,
}

impl SeedNode {
    /// Creates a builder with default options.
    #[must_use]
    pub fn builder() -> SeedBuilder {
        SeedBuilder { launch: LaunchOptions::new(Role::Seed), own_index: None }
    }

    /// The id of the seed: the public key that it proves on every connection.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.handle.id()
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Every event from now on. For events from the very first one, see [`SeedBuilder::events`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.handle.events()
    }

    /// The whole state of the seed at this moment, with the counters of protocol, transport and
    /// store.
    ///
    /// # Errors
    /// The seed has stopped. A [frozen](SeedNode::freeze) seed answers after it is resumed.
    pub async fn snapshot(&self) -> Result<SeedSnapshot, StoppedError> {
        let mut snapshot = self.handle.call(|seed, now| seed.snapshot(now)).await?;
        self.handle.add_counters(&mut snapshot.counters);
        snapshot.store_problem = self.handle.store_problem();
        Ok(snapshot)
    }

    /// The registry: peers in all states.
    ///
    /// # Errors
    /// The seed has stopped. A [frozen](SeedNode::freeze) seed answers after it is resumed.
    pub async fn members(&self) -> Result<Vec<MemberView>, StoppedError> {
        self.handle.call(|seed, _| seed.members()).await
    }

    /// Closes the links, writes the pending changes to disk, and ends. Resolves within a few
    /// seconds, when all tasks of the seed have ended.
    ///
    /// # Errors
    /// The seed had stopped already.
    pub async fn stop(&self) -> Result<(), StoppedError> {
        self.handle.stop().await
    }

    /// Fault injection: ends at once without notice, as a crash would. Sockets are closed by being
    /// dropped; nothing more is written to disk.
    pub fn kill(&self) {
        self.handle.kill();
    }

    /// Fault injection: the effect of `SIGSTOP` and `SIGCONT`. While the seed is frozen, sockets
    /// stay open and the kernel accepts connections, but the seed reads, writes and computes
    /// nothing; calls wait.
    pub fn freeze(&self, frozen: bool) {
        self.handle.freeze(frozen);
    }

    /// Resolves when all tasks of the seed have ended, for any reason.
    pub async fn stopped(&self) {
        self.handle.stopped().await;
    }
}

impl SeedBuilder {
    /// The configuration. Default: the preset `lan`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.launch.config = Some(config);
        self
    }

    /// The key pair. Default: the one in the data directory, or a new one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.launch.identity = Some(identity);
        self
    }

    /// The address to listen at. Default: `[::]:0`, all interfaces, IPv4 and IPv6, and a port that
    /// the system chooses.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.launch.listen = Some(address);
        self
    }

    /// A socket that already listens; it takes precedence over [`listen`](SeedBuilder::listen).
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.launch.listener = Some(listener);
        self
    }

    /// All seeds of the network as the configuration names them, including this one.
    #[must_use]
    pub fn seeds(mut self, seeds: Vec<SeedAddress>) -> Self {
        self.launch.seeds = seeds;
        self
    }

    /// The index of this seed among all seeds, counted from 0; `None` if it is not among them.
    #[must_use]
    pub const fn own_index(mut self, index: Option<usize>) -> Self {
        self.own_index = index;
        self
    }

    /// The directory for identity and registry. Default: none; nothing survives a restart.
    #[must_use]
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.launch.data_dir = Some(directory.into());
        self
    }

    /// Shares the results of signature checks with other nodes of this process, so that each
    /// signature is checked once for all of them: of n nodes in one process, n others send each of
    /// them the same records. Default: not shared.
    #[must_use]
    pub fn verifier(mut self, verifier: Arc<Verifier>) -> Self {
        self.launch.verifier = verifier;
        self
    }

    /// The key of a private network. Default: none, an open network.
    #[must_use]
    pub fn network_key(mut self, key: NetworkKey) -> Self {
        self.launch.network_key = Some(key);
        self
    }

    /// Every event of the seed, from the first one.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.launch.channels.events.subscribe())
    }

    /// Starts the seed.
    ///
    /// # Errors
    /// The data directory cannot be used, the address is in use, or the system lacks a resource. No
    /// part of the seed is left running.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O.
    pub async fn start(self) -> Result<SeedNode, StartError> {
        let SeedBuilder { mut launch, own_index } = self;
        launch.check_seeds()?;
        if let Some(index) = own_index
            && index >= launch.seeds.len()
        {
            return Err(StartError::OwnIndex { index, seeds: launch.seeds.len() });
        }
        let (directory, given) = (launch.data_dir.take(), launch.identity.take());
        let (verifier, counters) = (launch.verifier.clone(), launch.counters.clone());
        let opened = on_blocking_pool(move || {
            OpenedStore::open(directory.as_deref(), Role::Seed, given, |database| {
                database.registry(&verifier, &counters)
            })
        })
        .await?;
        let registry = opened.found.unwrap_or_default();
        let identity = opened.identity;
        let listener = launch.take_listener()?;
        let setup = SeedSetup {
            config: launch.config()?,
            identity: identity.clone(),
            seeds: launch.seeds.clone(),
            own_index,
            entries: registry.entries,
            nonce: registry.nonce,
            rng_seed: crate::random_bytes()?,
        };
        let configured = own_index.and_then(|i| launch.seeds.get(i));
        let address =
            configured.map_or_else(|| listener.local_addr().to_string(), ToString::to_string);
        let label = NodeLabel { name: format!("seed {address}"), id: identity.id() };
        let make = || Seed::new(setup, Time::ZERO);
        let handle = launch.run(make, label, identity, listener, opened.database)?;
        Ok(SeedNode { handle })
    }
}
