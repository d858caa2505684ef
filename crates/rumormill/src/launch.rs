//! The common part of starting a peer and starting a seed.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumormill_proto::limits::MAX_SEEDS;
use rumormill_proto::wire::Verifier;
use rumormill_proto::{Config, Identity, Role, SeedAddress, StateMachine};
use tokio::sync::mpsc;

use crate::context::{ContextSetup, NewContext, NodeContext};
use crate::counters::TransportCounters;
use crate::driver::{self, ChannelsGuard, Clock, DriverSetup, SharedCore};
use crate::error::StartError;
use crate::handle::Handle;
use crate::listener::Listener;
use crate::network_key::NetworkKey;
use crate::store::{self, Database};
use crate::trace::NodeLabel;
use crate::transport;
use crate::tuning::Tuning;

/// The most calls that may wait for the driver; further callers wait for a free slot.
const MAX_WAITING_COMMANDS: usize = 256;

/// The options that both builders collect.
#[derive(Debug)]
pub(crate) struct LaunchOptions {
    pub(crate) role: Role,
    pub(crate) config: Option<Config>,
    pub(crate) identity: Option<Identity>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) listener: Option<Listener>,
    pub(crate) seeds: Vec<SeedAddress>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) tuning: Tuning,
    pub(crate) channels: ChannelsGuard,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) counters: Arc<TransportCounters>,
}

impl LaunchOptions {
    pub(crate) fn new(role: Role) -> Self {
        LaunchOptions {
            role,
            config: None,
            identity: None,
            listen: None,
            listener: None,
            seeds: Vec::new(),
            data_dir: None,
            network_key: None,
            tuning: Tuning::for_role(role),
            channels: ChannelsGuard::new(),
            verifier: Arc::new(Verifier::new()),
            counters: Arc::default(),
        }
    }

    pub(crate) fn check_seeds(&self) -> Result<(), StartError> {
        if self.seeds.len() > MAX_SEEDS {
            return Err(StartError::TooManySeeds(self.seeds.len()));
        }
        Ok(())
    }

    /// The configuration. The first call fixes it.
    pub(crate) fn config(&mut self) -> Result<Config, StartError> {
        let config = match self.config.take() {
            Some(config) => config,
            None => Config::lan().build()?,
        };
        self.config = Some(config.clone());
        Ok(config)
    }

    pub(crate) fn take_listener(&mut self) -> Result<Listener, StartError> {
        match self.listener.take() {
            Some(listener) => Ok(listener),
            None => {
                let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
                Ok(Listener::bind(self.listen.unwrap_or(any))?)
            }
        }
    }

    /// Starts the tasks of a node. `make` creates the core at the moment the node's clock starts.
    pub(crate) fn run<C: StateMachine + Send + 'static>(
        self,
        make: impl FnOnce() -> C,
        label: NodeLabel,
        identity: Identity,
        listener: Listener,
        database: Option<Database>,
    ) -> Result<Handle<C>, StartError> {
        let setup = ContextSetup {
            label,
            role: self.role,
            identity,
            network_key: self.network_key,
            tuning: self.tuning,
            verifier: self.verifier,
            counters: self.counters,
        };
        let NewContext { context, ended } = NodeContext::create(setup)?;
        let address = listener.local_addr();
        tracing::info!(
            target: "rumormill::node",
            node = %context.label.name,
            id = %context.label.id,
            "{} begins as a {}, version {}, at {address}",
            context.label,
            match context.role {
                Role::Peer => "peer",
                Role::Seed => "seed",
            },
            env!("CARGO_PKG_VERSION")
        );
        let socket = listener.into_tokio()?;
        let (commands, inbox) = mpsc::channel(MAX_WAITING_COMMANDS);
        let mut core = make();
        if self.channels.progress.is_attached() {
            core.follow_consumer();
        }
        let restored = core.take_restored();
        if let Some(config) = &self.config {
            self.channels.log.set_bounds(config.retention_bytes(), config.retention_age());
        }
        self.channels.log.restore(restored);
        let shared_core = Arc::new(SharedCore::new(core, Clock::start()));
        let channels = self.channels.into_driver();
        let handle =
            Handle::new(&context, address, commands, shared_core.clone(), channels.clone(), ended);
        let store = database.map(|database| store::spawn(&context, database));
        let accepting = context.clone();
        tokio::spawn(async move {
            let work = transport::accept_loop(accepting.clone(), socket);
            let _ = accepting.gate.run(work).await;
        });
        driver::spawn(DriverSetup { shared_core, context, channels, commands: inbox, store });
        Ok(handle)
    }
}

/// Identity and store of a node that is about to start.
pub(crate) struct OpenedStore<T> {
    pub(crate) identity: Identity,
    pub(crate) database: Option<Database>,
    /// The state read from the store; `None` without a store.
    pub(crate) found: Option<T>,
}

impl<T> OpenedStore<T> {
    /// Opens the data directory, if there is one. The store comes first, because its lock protects
    /// the key file as well. Blocks.
    pub(crate) fn open(
        directory: Option<&Path>,
        role: Role,
        given: Option<Identity>,
        read: impl FnOnce(&mut Database) -> Result<T, redb::Error>,
    ) -> Result<Self, StartError> {
        let Some(directory) = directory else {
            let identity = match given {
                Some(identity) => identity,
                None => Identity::from_secret(&crate::random_bytes()?),
            };
            return Ok(OpenedStore { identity, database: None, found: None });
        };
        // Two nodes must not share one key, and each role has its own file with its own lock.
        let other = directory.join(store::state_file_name(match role {
            Role::Peer => Role::Seed,
            Role::Seed => Role::Peer,
        }));
        if other.exists() {
            return Err(StartError::OtherRole { path: other, role });
        }
        let mut database = Database::open(directory, store::state_file_name(role))?;
        let identity = store::load_or_create(directory, given)?;
        let found = read(&mut database).map_err(|e| store::unusable(database.path(), e))?;
        Ok(OpenedStore { identity, database: Some(database), found: Some(found) })
    }
}

/// Runs disk access on the blocking pool, where it delays no other task.
pub(crate) async fn on_blocking_pool<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => Err(StartError::Runtime(e.to_string())),
        },
    }
}
