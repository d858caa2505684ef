//! TLS as links speak it, without a link: what a measurement compares links with.

use rumormill_proto::Identity;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls::Tls;
use crate::error::StartError;

/// Both sides of TLS with the settings, the provider and the kind of keys that links use. The
/// connector takes whoever proves a key.
///
/// # Errors
/// The TLS library refuses the key.
#[doc(hidden)]
pub fn link_tls(identity: &Identity) -> Result<(TlsAcceptor, TlsConnector), StartError> {
    let refused = |e: rustls::Error| StartError::Tls(e.to_string());
    let tls = Tls::new(identity).map_err(refused)?;
    Ok((tls.acceptor(), tls.connector(None).map_err(refused)?))
}
