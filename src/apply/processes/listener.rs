//! The one listening socket: bound by `up`, handed down as standard input, taken up again by API processes.
//!
//! While no process accepts, connections wait in the socket's own queue: replacing all of them loses none.
//!
//! Must not know: what is served.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::sockopt;

use super::ProcessError;

/// Connections that may wait while no process accepts, in number.
const BACKLOG: i32 = 1024;

/// The listening socket, owned by the supervisor as long as it lives; clones are the same socket.
#[derive(Clone, Debug)]
pub struct SharedListener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
}

impl SharedListener {
    /// Binds `address` (port 0 takes a free one). Nothing is accepted here.
    ///
    /// # Errors
    /// [`ProcessError::PortInUse`] names the port; [`ProcessError::Listen`] for anything else.
    pub fn bind(address: SocketAddr) -> Result<Self, ProcessError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ProcessError::PortInUse(address),
            _ => ProcessError::Listen { address, source },
        };
        let socket = TcpListener::bind(address).map_err(failed)?;
        rustix::net::listen(&socket, BACKLOG).map_err(|e| failed(e.into()))?;
        // The flag belongs to the socket, not to a process: all who accept from it share it, and none may block on it.
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket: Arc::new(socket), address })
    }

    /// The address bound, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle of the same socket to give away.
    ///
    /// # Errors
    /// When this process has no file descriptors left.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }
}

/// In a child: the listening socket that came as standard input, non-blocking, ready for `tokio::net::TcpListener::from_std`.
///
/// # Errors
/// [`ProcessError::NoListener`] when standard input is anything else.
pub fn listener_from_stdin() -> Result<TcpListener, ProcessError> {
    listener_from(&io::stdin())
}

fn listener_from(given: &impl AsFd) -> Result<TcpListener, ProcessError> {
    let refused = |_| ProcessError::NoListener;
    if !sockopt::socket_acceptconn(given).map_err(refused)? {
        return Err(ProcessError::NoListener);
    }
    let listener = TcpListener::from(given.as_fd().try_clone_to_owned().map_err(|_| ProcessError::NoListener)?);
    listener.set_nonblocking(true).map_err(|_| ProcessError::NoListener)?;
    listener.local_addr().map_err(|_| ProcessError::NoListener)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = SharedListener::bind(any_port()).unwrap();
        let said = SharedListener::bind(first.address()).unwrap_err();
        assert!(matches!(said, ProcessError::PortInUse(at) if at == first.address()), "{said}");
        assert!(said.to_string().contains(&format!("port {} on 127.0.0.1 is in use", first.address().port())));
        assert!(said.retryable());
    }

    #[test]
    fn a_listening_socket_is_taken_up_and_anything_else_refused() {
        let shared = SharedListener::bind(any_port()).unwrap();
        let taken = listener_from(&shared.handle().unwrap()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), shared.address());
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(listener_from(&file), Err(ProcessError::NoListener)));
        let talking = std::net::TcpStream::connect(shared.address()).unwrap();
        assert!(matches!(listener_from(&talking), Err(ProcessError::NoListener)));
    }
}
