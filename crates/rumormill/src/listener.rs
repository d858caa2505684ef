//! A listening socket that exists before its node does, so that its port is known.

use std::io;
#[cfg(test)]
use std::net::TcpStream;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BindError;

/// Connections that the kernel may hold before `accept`. The default of 128 is too few when
/// hundreds of peers register at once.
const BACKLOG: i32 = 1024;

/// A bound, listening TCP socket.
///
/// Bind first, then start: with port 0 the system chooses the port, which is known and reserved
/// from this moment on, so that no other process can take it in between.
///
/// ```
/// let listener = rumormill::Listener::bind("127.0.0.1:0".parse().unwrap())?;
/// assert_ne!(listener.local_addr().port(), 0);
/// # Ok::<(), rumormill::BindError>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address` and listens. The unspecified IPv6 address (`[::]`) accepts connections over
    /// IPv4 as well; a host without IPv6 listens at `0.0.0.0` instead.
    ///
    /// # Errors
    /// Another process listens at the address, the address is not on this machine, or this user may
    /// not use it.
    pub fn bind(address: SocketAddr) -> Result<Listener, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::AddressInUse(address),
            _ => BindError::Refused { address, source },
        };
        let takes_all = address.ip() == Ipv6Addr::UNSPECIFIED;
        match listen_at(address, takes_all) {
            Ok(socket) => Listener::from_std(socket),
            Err(e) if takes_all && e.kind() != io::ErrorKind::AddrInUse => {
                let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                Listener::from_std(listen_at(ipv4, false).map_err(|_| refused(e))?)
            }
            Err(e) => Err(refused(e)),
        }
    }

    /// Uses a socket that already listens (inherited from a service manager, for example).
    ///
    /// # Errors
    /// The socket cannot be used as a listener.
    pub fn from_std(socket: TcpListener) -> Result<Listener, BindError> {
        socket.set_nonblocking(true).map_err(BindError::Socket)?;
        let address = socket.local_addr().map_err(BindError::Socket)?;
        Ok(Listener { socket, address })
    }

    /// The address it listens at.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Registers the socket with the runtime.
    pub(crate) fn into_tokio(self) -> Result<tokio::net::TcpListener, BindError> {
        tokio::net::TcpListener::from_std(self.socket).map_err(BindError::Socket)
    }
}

/// Creates a listening socket. With `both`, an IPv6 socket accepts connections over IPv4 as well.
fn listen_at(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Unix this lets a restarted node use its port again while old connections are in TIME_WAIT;
    // on Windows it would let two processes share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if both {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_accepts_connections_over_ipv4_and_ipv6() {
        let listener = Listener::bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn error_for_address_in_use_names_the_address() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let e = Listener::bind(first.local_addr()).unwrap_err();
        assert!(matches!(e, BindError::AddressInUse(a) if a == first.local_addr()));
        assert!(e.to_string().contains(&first.local_addr().to_string()), "{e}");
    }

    #[test]
    fn address_of_another_machine_is_refused() {
        let e = Listener::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(e, BindError::Refused { .. }), "{e}");
    }
}
