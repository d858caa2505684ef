//! Identifies the node at an address, without being a node of the network.

use std::net::SocketAddr;
use std::sync::Arc;

use rumormill_proto::wire::Close;
use rumormill_proto::{CloseReason, DialError, DialTarget, Identity, PeerId, Role, SeedAddress};
use tokio::io::AsyncWriteExt as _;

use super::Tls;
use super::dial::{Dialer, dial_target};
use super::hello::write_frame;
use super::working::WorkingAddresses;
use crate::counters::TransportCounters;
use crate::error::StartError;
use crate::network_key::NetworkKey;
use crate::random_bytes;
use crate::tuning::Tuning;

/// The node that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentifiedNode {
    /// The key that it proved.
    pub id: PeerId,
    /// The role that it claims.
    pub role: Role,
    /// The address at which it answered.
    pub address: SocketAddr,
}

/// Why no node was identified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// No node of this network answered: the reason, and the details.
    #[error("{why} ({detail})")]
    Call {
        /// The reason, as a dialling node gets it.
        why: DialError,
        /// The most informative failure among all addresses.
        detail: String,
    },
    /// This process cannot dial.
    #[error(transparent)]
    Setup(StartError),
}

/// Connects to an address as a node does, proves the network key if one is given, returns the
/// identity of the node there, and closes the link. It finds the same node that a dialling peer
/// would find, without joining the network. If the address has a pin, only a node with that key is
/// accepted. It takes at most as long as the dial of a node.
///
/// # Errors
/// See [`IdentifyError`].
pub async fn identify(
    address: &SeedAddress,
    network_key: Option<&NetworkKey>,
) -> Result<IdentifiedNode, IdentifyError> {
    let identity = Identity::from_secret(&random_bytes().map_err(IdentifyError::Setup)?);
    let tls =
        Tls::new(&identity).map_err(|e| IdentifyError::Setup(StartError::Tls(e.to_string())))?;
    let counters = Arc::new(TransportCounters::default());
    let working = WorkingAddresses::default();
    let dialer = Dialer {
        id: identity.id(),
        role: Role::Peer,
        process: 0,
        tls: &tls,
        network_key,
        counters: &counters,
        working: &working,
    };
    let (mut stream, info) =
        dial_target(dialer, &Tuning::for_role(Role::Peer), &DialTarget::Seed(address.clone()))
            .await
            .map_err(|f| IdentifyError::Call { why: f.why, detail: f.detail })?;
    // Only politeness: the result is known already.
    let _ = write_frame(&mut stream, &Close { reason: CloseReason::Done }.into()).await;
    let _ = stream.shutdown().await;
    Ok(IdentifiedNode { id: info.remote, role: info.role, address: info.remote_address })
}
