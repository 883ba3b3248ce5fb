//! Listening sockets that a service manager holds for us (`sd_listen_fds`, systemd.socket).
//!
//! Such a socket outlives this process: while one control plane drains and the next one starts,
//! clients wait in its queue instead of being refused. That makes a restart without a failed
//! request possible with one process at a time at the database.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<Vec<TcpListener>>);

impl Inherited {
    /// What the service manager handed to this process, by `LISTEN_FDS` and `LISTEN_PID`; nothing
    /// without them. The variables are removed, so a second call finds nothing.
    ///
    /// # Errors
    /// If one of them is no listening TCP socket.
    pub fn from_service_manager() -> io::Result<Self> {
        let mut handed = listenfd::ListenFd::from_env();
        let sockets = (0..handed.len()).map(|at| handed.take_tcp_listener(at));
        let sockets: Vec<TcpListener> = sockets
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(Self::of(sockets))
    }

    /// These sockets: for whoever runs control planes in process.
    pub fn of(sockets: Vec<TcpListener>) -> Self {
        Self(Mutex::new(sockets))
    }

    /// The socket for an address: the one bound to its port, if the address leaves the interface
    /// open or names the same.
    pub fn take(&self, wanted: SocketAddr) -> Option<TcpListener> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |bound: SocketAddr| {
            let same = bound.ip() == wanted.ip();
            bound.port() == wanted.port() && (same || wanted.ip().is_unspecified())
        };
        let at = sockets
            .iter()
            .position(|socket| socket.local_addr().is_ok_and(fits))?;
        Some(sockets.swap_remove(at))
    }

    /// Addresses of the sockets that nobody took: nobody would ever accept from them.
    pub fn left(&self) -> Vec<SocketAddr> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_by_its_port_and_once() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let bound = socket.local_addr().expect("bound");
        let inherited = Inherited::of(vec![socket]);
        let other = SocketAddr::from(([192, 0, 2, 1], bound.port()));
        assert!(inherited.take(other).is_none(), "another interface");
        assert!(
            inherited
                .take(SocketAddr::from(([127, 0, 0, 1], 1)))
                .is_none()
        );
        assert_eq!(inherited.left(), [bound]);
        let any = SocketAddr::from(([0, 0, 0, 0], bound.port()));
        assert!(inherited.take(any).is_some());
        assert!(inherited.take(any).is_none() && inherited.left().is_empty());
    }
}
