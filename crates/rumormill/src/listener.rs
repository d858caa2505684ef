//! A listening socket that exists before the node does, so that its port is known.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BindError;

/// Connections the kernel may hold for us. The default of 128 is too few for the moment in which
/// hundreds of peers register at once.
const BACKLOG: i32 = 1024;

/// A bound, listening TCP socket.
///
/// Bind first, then start: with port 0 the system chooses, and the chosen port is known and
/// taken from this moment on, so that nobody can get in between.
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
    /// Binds `address` and listens.
    ///
    /// # Errors
    /// The address is taken, not of this machine, or not allowed to this user.
    pub fn bind(address: SocketAddr) -> Result<Listener, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address),
            _ => BindError::Refused { address, source },
        };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .map_err(refused)?;
        // On Unix this lets a restarted node have its port back while old connections linger in
        // TIME_WAIT; on Windows it would let two processes share it.
        #[cfg(unix)]
        socket.set_reuse_address(true).map_err(refused)?;
        socket.bind(&address.into()).map_err(refused)?;
        socket.listen(BACKLOG).map_err(refused)?;
        Listener::from_std(socket.into())
    }

    /// Takes a socket that already listens (inherited from a service manager, for example).
    ///
    /// # Errors
    /// It is not usable as a listener.
    pub fn from_std(socket: TcpListener) -> Result<Listener, BindError> {
        socket.set_nonblocking(true).map_err(BindError::Socket)?;
        let address = socket.local_addr().map_err(BindError::Socket)?;
        Ok(Listener { socket, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Hands the socket to the runtime.
    pub(crate) fn into_tokio(self) -> Result<tokio::net::TcpListener, BindError> {
        tokio::net::TcpListener::from_std(self.socket).map_err(BindError::Socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let e = Listener::bind(first.local_addr()).unwrap_err();
        assert!(matches!(e, BindError::Taken(a) if a == first.local_addr()));
        assert!(e.to_string().contains(&first.local_addr().to_string()), "{e}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let e = Listener::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(e, BindError::Refused { .. }), "{e}");
    }
}
