//! Listening sockets of the API and the proxy: plain TCP or TLS behind one type.
//!
//! `TCP_NODELAY` is set on every socket (TUNNEL 11: without it kept connections stall 40 ms on
//! bodies around 64 KiB).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// Connections the kernel holds before we accept them: a storm of reconnects (TUNNEL 11).
const BACKLOG: i32 = 4096;
/// Pause after `accept` failed for want of descriptors; trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A TLS handshake takes two round trips; slower peers are holding a slot.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket, with TLS if configured.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    owner: Owner,
}

/// Who keeps a listening socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This process: connections in its queue are lost with it.
    Us,
    /// The service manager: the next process takes what waits.
    ServiceManager,
}

impl Listener {
    /// Binds and listens at once, so that a taken port is an error at start. Must be called
    /// inside a tokio runtime.
    pub fn bind(address: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::new(socket.into(), tls, Owner::Us)
    }

    /// Listens on a socket that outlives this process. Must be called inside a tokio runtime.
    pub fn inherit(socket: std::net::TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(socket, tls, Owner::ServiceManager)
    }

    fn new(
        socket: std::net::TcpListener,
        tls: Option<TlsAcceptor>,
        owner: Owner,
    ) -> io::Result<Self> {
        // Linux gives the option to what is accepted: one system call for each connection less.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        let socket = TcpListener::from_std(socket)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            tls,
            address,
            owner,
        })
    }

    /// The bound address; with port 0 this is where the kernel's choice shows.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; none after `stopping`. A socket of our own is emptied first, because
    /// whoever waits in its queue believes to be connected.
    pub async fn accept_until(
        &self,
        stopping: &CancellationToken,
    ) -> Option<(Incoming, SocketAddr)> {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            accepted = self.accept() => return Some(accepted),
        }
        match self.owner {
            Owner::ServiceManager => None,
            Owner::Us => self.accept().now_or_never(),
        }
    }

    /// The next connection. Errors of single connections are skipped, want of descriptors is
    /// waited out. Cancel safe.
    pub async fn accept(&self) -> (Incoming, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    let tls = self.tls.clone();
                    return (Incoming { stream, tls }, peer);
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", %error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// An accepted connection whose TLS handshake, if any, is still to come: do that in the
/// connection's own task.
pub struct Incoming {
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
}

impl Incoming {
    /// Finishes the handshake; plain connections are ready at once.
    pub async fn handshake(self) -> io::Result<Conn> {
        let Some(tls) = self.tls else {
            return Ok(Conn::Plain(self.stream));
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(self.stream)).await {
            Ok(stream) => Ok(Conn::Tls(Box::new(stream?))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "TLS handshake")),
        }
    }
}

/// A connection to a client or an agent.
#[derive(Debug)]
pub enum Conn {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS ended here.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Conn {
    /// The protocol both sides agreed on in the TLS handshake, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Limits what the kernel holds unsent (`TCP_NOTSENT_LOWAT`): what is said next waits behind no
    /// more than that.
    pub fn limit_unsent(&self, bytes: u32) -> io::Result<()> {
        SockRef::from(self.tcp()).set_tcp_notsent_lowat(bytes)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the client reached us over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_do_not_delay() {
        let address = "127.0.0.1:0".parse().expect("address");
        let listener = Listener::bind(address, None).expect("bound");
        let client = TcpStream::connect(listener.address())
            .await
            .expect("connected");
        let (incoming, peer) = listener.accept().await;
        assert_eq!(peer, client.local_addr().expect("address"));
        let conn = incoming.handshake().await.expect("plain");
        assert!(conn.tcp().nodelay().expect("option"));
    }

    #[tokio::test]
    async fn what_waits_unsent_can_be_limited() {
        let address = "127.0.0.1:0".parse().expect("address");
        let listener = Listener::bind(address, None).expect("bound");
        let _client = TcpStream::connect(listener.address())
            .await
            .expect("connected");
        let (incoming, _) = listener.accept().await;
        let conn = incoming.handshake().await.expect("plain");
        conn.limit_unsent(4_096).expect("an option of Linux");
        let limit = SockRef::from(conn.tcp()).tcp_notsent_lowat();
        assert_eq!(limit.expect("option"), 4_096);
    }

    #[tokio::test]
    async fn who_waits_is_taken_along_or_left_to_the_next_process() {
        let address = "127.0.0.1:0".parse().expect("address");
        let stopped = CancellationToken::new();
        stopped.cancel();
        let own = Listener::bind(address, None).expect("bound");
        let _waiting = TcpStream::connect(own.address()).await.expect("connected");
        // The kernel has told the runtime by now: the connection stands.
        tokio::task::yield_now().await;
        assert!(own.accept_until(&stopped).await.is_some());
        assert!(own.accept_until(&stopped).await.is_none());

        let kept = std::net::TcpListener::bind(address).expect("bound");
        let bound = kept.local_addr().expect("bound");
        let first = Listener::inherit(kept.try_clone().expect("open"), None).expect("a socket");
        let _waiting = TcpStream::connect(bound).await.expect("connected");
        assert!(first.accept_until(&stopped).await.is_none());
        drop(first);
        let second = Listener::inherit(kept, None).expect("a socket");
        let running = CancellationToken::new();
        assert!(second.accept_until(&running).await.is_some());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_at_start() {
        let address = "127.0.0.1:0".parse().expect("address");
        let first = Listener::bind(address, None).expect("bound");
        assert!(Listener::bind(first.address(), None).is_err());
    }
}
