//! Connections: TCP, TLS with raw public keys, Hello.

mod accept;
mod addresses;
mod dial;
mod hello;
mod identify;
mod race;
mod raw;
mod socket;
mod tls;
mod working;

pub(crate) use accept::accept_loop;
pub(crate) use addresses::AddressLimits;
pub(crate) use dial::{Dialer, dial};
#[cfg(test)]
pub(crate) use hello::{LocalHello, as_dialer};
pub use identify::{IdentifiedNode, IdentifyError, identify};
pub use raw::link_tls;
pub(crate) use socket::Socket;
pub(crate) use tls::Tls;
pub(crate) use working::WorkingAddresses;
