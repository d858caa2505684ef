//! The server side: one listener on loopback for all nodes of a process.

mod accept;
mod direct;
mod extract;
mod guard;
mod health;
mod network;
mod node_routes;
mod openapi;
mod router;
mod shared;
mod streams;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rumormill::proto::PeerId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::control_file::ControlFile;
use crate::limits::SHUTDOWN_GRACE;
use crate::network::Network;
use crate::nodes::{Handle, Nodes};
use crate::token::Token;
pub use direct::{Director, OperatorAction};
pub use shared::Access;
use shared::Shared;

/// Why a control API could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address other than loopback opens the nodes to the network.
    #[error("{0} is not a loopback address: others could reach it; give a token as well")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("the control API cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// A token needs randomness.
    #[error("the system gives no randomness for the control token: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// A running control API. Dropping it ends it at once; [`Server::shutdown`] lets open requests end.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on 127.0.0.1, at a port that the system chooses, with a fresh token.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no randomness for a token.
    pub async fn start() -> Result<Self, ServeError> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Access::Token(None)).await
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// The address is not loopback and `access` has no token, the address cannot be listened on, or
    /// there is no randomness for a token.
    pub async fn start_at(address: SocketAddr, access: Access) -> Result<Self, ServeError> {
        if !address.ip().is_loopback() && !matches!(access, Access::Token(Some(_))) {
            return Err(ServeError::NotLoopback(address));
        }
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let token = match &access {
            Access::Token(Some(token)) => token.clone(),
            _ => Token::random()?,
        };
        let nodes = Arc::new(Nodes::default());
        let shared = Arc::new(Shared {
            token,
            access,
            network: Network::new(Arc::clone(&nodes)),
            director: std::sync::OnceLock::new(),
            address: listener.local_addr().map_err(bind)?,
            nodes,
            closing: watch::Sender::new(false),
        });
        let router = router::router(Arc::clone(&shared));
        let task = tokio::spawn(accept::run(listener, router, shared.closing.subscribe()));
        Ok(Server { shared, task })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The address of the page, with the token, which gives access to everything.
    #[must_use]
    pub fn page_url(&self) -> String {
        format!("{}/#{}", self.url(), self.shared.token.secret())
    }

    /// Sets the director, which carries out the actions of the page. Only the first call has an
    /// effect.
    pub fn direct(&self, director: Box<dyn Director>) {
        let _ = self.shared.director.set(director);
    }

    /// Serves a further node, and gives its control file.
    #[must_use]
    pub fn add(&self, name: impl Into<String>, handle: impl Into<Handle>) -> ControlFile {
        let served = self.shared.nodes.add(name.into(), handle.into());
        ControlFile {
            name: served.name.clone(),
            id: served.id.to_hex(),
            role: served.handle.role().to_string(),
            pid: std::process::id(),
            url: self.url(),
            token: self.shared.token.clone(),
        }
    }

    /// Stops serving a node.
    pub fn remove(&self, id: PeerId) {
        self.shared.nodes.remove(id);
    }

    /// Takes no further connections, ends the streams, gives open requests a second, and ends.
    pub async fn shutdown(mut self) {
        self.shared.closing.send_replace(true);
        // `accept::run` ends by itself well within this; the limit is for a stuck handler.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE * 2, &mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
