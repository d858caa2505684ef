//! TLS with the settings of links, without a link, for benchmarks that compare the two.

use rumormill_proto::Identity;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls::Tls;
use crate::error::StartError;

/// Both sides of TLS with the settings, the provider and the kind of keys that links use. The
/// connector accepts any key that the remote proves.
///
/// # Errors
/// The TLS library refuses the key.
#[doc(hidden)]
pub fn link_tls(identity: &Identity) -> Result<(TlsAcceptor, TlsConnector), StartError> {
    let refused = |e: rustls::Error| StartError::Tls(e.to_string());
    let tls = Tls::new(identity).map_err(refused)?;
    Ok((tls.acceptor(), tls.connector(None).map_err(refused)?))
}
