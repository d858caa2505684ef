//! The state that all handlers of requests share.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use rumormill::Node;
use rumormill::proto::MessageId;
use rumormill::proto::message::ParseMessageIdError;
use tokio::sync::watch;

use super::direct::Director;
use crate::network::Network;
use crate::nodes::{Handle, Nodes, ServedNode};
use crate::problem::Problem;
use crate::token::Token;

/// The access to an API.
#[derive(Debug, Clone)]
pub enum Access {
    /// Only with this token; with a fresh one if none is given.
    Token(Option<Token>),
    /// Every user of this machine may read, and requests with the token may change things.
    LocalReaders,
}

/// The state that axum hands to a handler.
pub(super) type App = State<Arc<Shared>>;

/// The result of a handler.
pub(super) type Answer<T> = Result<T, Problem>;

/// The state of a server.
pub(super) struct Shared {
    pub(super) token: Token,
    pub(super) access: Access,
    pub(super) address: SocketAddr,
    pub(super) nodes: Arc<Nodes>,
    pub(super) network: Arc<Network>,
    pub(super) director: OnceLock<Box<dyn Director>>,
    pub(super) closing: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The peer behind a path, or an error that says what a seed does not do.
pub(super) fn peer<'a>(served: &'a ServedNode, what: &str) -> Answer<&'a Node> {
    match &served.handle {
        Handle::Peer(node) => Ok(node),
        Handle::Seed(_) => Err(Problem::not_found(format!(
            "{} is a seed, and seeds {what}; ask a peer",
            served.name
        ))),
    }
}

/// The id of a message from the parts of a path.
pub(super) fn message_id(publisher: &str, epoch: &str, sequence: &str) -> Answer<MessageId> {
    let id = format!("{publisher}/{epoch}/{sequence}").parse();
    id.map_err(|e: ParseMessageIdError| Problem::bad_request(e.to_string()))
}
