//! Asking who answers at an address, without being a node of the network.

use std::net::SocketAddr;
use std::sync::Arc;

use rumormill_proto::wire::Close;
use rumormill_proto::{CloseReason, DialError, DialTarget, Identity, PeerId, Role, SeedAddress};
use tokio::io::AsyncWriteExt as _;

use super::Tls;
use super::dial::{Caller, call};
use super::hello::write_frame;
use super::working::WorkingAddresses;
use crate::counters::Tally;
use crate::error::StartError;
use crate::network_key::NetworkKey;
use crate::random_bytes;
use crate::tuning::Tuning;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identified {
    /// The key that it proved.
    pub id: PeerId,
    /// What it says it is.
    pub role: Role,
    /// Where it answered.
    pub address: SocketAddr,
}

/// Why nobody was identified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// Nobody answered, or not as a node of this network does: the reason, and what was found.
    #[error("{why} ({detail})")]
    Call {
        /// As a node would be told.
        why: DialError,
        /// Of the address that says most.
        detail: String,
    },
    /// This process cannot make a call.
    #[error(transparent)]
    Setup(StartError),
}

/// Connects to an address as a node does, proves the network key if there is one, learns who is there, and
/// says goodbye: what a peer would find there, without being one. If the address has a pin, only that key
/// will do. It takes as long as a dial of a node does, at most.
///
/// # Errors
/// See [`IdentifyError`].
pub async fn identify(
    address: &SeedAddress,
    network_key: Option<&NetworkKey>,
) -> Result<Identified, IdentifyError> {
    let identity = Identity::from_secret(&random_bytes().map_err(IdentifyError::Setup)?);
    let tls =
        Tls::new(&identity).map_err(|e| IdentifyError::Setup(StartError::Tls(e.to_string())))?;
    let tally = Arc::new(Tally::default());
    let working = WorkingAddresses::default();
    let caller = Caller {
        id: identity.id(),
        role: Role::Peer,
        process: 0,
        tls: &tls,
        network_key,
        tally: &tally,
        working: &working,
    };
    let (mut stream, info) =
        call(caller, &Tuning::of(Role::Peer), &DialTarget::Seed(address.clone()))
            .await
            .map_err(|f| IdentifyError::Call { why: f.why, detail: f.detail })?;
    // A courtesy: what was to be learnt is.
    let _ = write_frame(&mut stream, &Close { reason: CloseReason::Done }.into()).await;
    let _ = stream.shutdown().await;
    Ok(Identified { id: info.remote, role: info.role, address: info.remote_address })
}
