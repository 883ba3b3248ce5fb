//! The inner TLS handshake: both keys, both exporters, within its limits (TUNNEL 3.2).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::CommonState;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::event::InnerTlsInfo;
use crate::keys::{InnerTlsClient, InnerTlsServer, sha256};
use crate::limits::{HANDSHAKE_BYTES, HANDSHAKE_TIME};
use crate::link::WsStream;
use crate::socket::BinaryRule;

/// Label of the exporter that the quote binds (RFC 9266).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// Label of the exporter that keys the control messages' MAC.
const CONTROL_LABEL: &[u8] = b"EXPORTER-EasyEnclave-Control";

/// What binary is legal while the handshake runs.
pub(crate) const HANDSHAKE_RULE: BinaryRule = BinaryRule::Handshake {
    receive: HANDSHAKE_BYTES,
    send: HANDSHAKE_BYTES,
};

/// A finished handshake.
pub(crate) struct Established<S> {
    pub(crate) stream: Box<TlsStream<WsStream<S>>>,
    pub(crate) info: InnerTlsInfo,
    pub(crate) mac_key: [u8; 32],
}

type Shaking<S> = Pin<Box<dyn Future<Output = std::io::Result<TlsStream<WsStream<S>>>> + Send>>;

/// A handshake on its way.
pub(crate) struct Handshake<S> {
    shaking: Shaking<S>,
    timer: Pin<Box<Sleep>>,
    own_sha256: [u8; 32],
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> {
    pub(crate) fn client(tls: &InnerTlsClient, stream: WsStream<S>) -> Self {
        let name = ServerName::try_from("agent.invalid").expect("a valid DNS name");
        let connect = TlsConnector::from(tls.config.clone()).connect(name, stream);
        Self::new(
            Box::pin(async { connect.await.map(TlsStream::Client) }),
            tls.own_sha256,
        )
    }

    pub(crate) fn server(tls: &InnerTlsServer, stream: WsStream<S>) -> Self {
        let accept = TlsAcceptor::from(tls.config.clone()).accept(stream);
        Self::new(
            Box::pin(async { accept.await.map(TlsStream::Server) }),
            tls.own_sha256,
        )
    }

    fn new(shaking: Shaking<S>, own_sha256: [u8; 32]) -> Self {
        Self {
            shaking,
            timer: Box::pin(sleep(HANDSHAKE_TIME)),
            own_sha256,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Established<S>, String>> {
        match self.shaking.as_mut().poll(cx) {
            Poll::Ready(Ok(stream)) => Poll::Ready(establish(stream, self.own_sha256)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Pending => self
                .timer
                .as_mut()
                .poll(cx)
                .map(|()| Err("timed out".to_owned())),
        }
    }
}

fn establish<S>(
    mut stream: TlsStream<WsStream<S>>,
    own_sha256: [u8; 32],
) -> Result<Established<S>, String> {
    let (exporter, mac_key, early) = match &mut stream {
        TlsStream::Client(stream) => {
            let (_, session) = stream.get_mut();
            let state = session
                .process_new_packets()
                .map_err(|error| error.to_string())?;
            let export = |label: &[u8]| session.export_keying_material([0; 32], label, None);
            (
                export(BINDING_LABEL),
                export(CONTROL_LABEL),
                state.plaintext_bytes_to_read(),
            )
        }
        TlsStream::Server(stream) => {
            let (_, session) = stream.get_mut();
            let state = session
                .process_new_packets()
                .map_err(|error| error.to_string())?;
            let export = |label: &[u8]| session.export_keying_material([0; 32], label, None);
            (
                export(BINDING_LABEL),
                export(CONTROL_LABEL),
                state.plaintext_bytes_to_read(),
            )
        }
    };
    if early != 0 {
        return Err("application data before attestation".to_owned());
    }
    let exporter = exporter.map_err(|error| error.to_string())?;
    let mac_key = mac_key.map_err(|error| error.to_string())?;
    if exporter == [0; 32] || mac_key == [0; 32] {
        return Err("exporter is all zero".to_owned());
    }
    let is_client = matches!(stream, TlsStream::Client(_));
    let peer = peer_sha256(stream.get_ref().1)?;
    let (control, agent) = if is_client {
        (own_sha256, peer)
    } else {
        (peer, own_sha256)
    };
    let info = InnerTlsInfo {
        exporter,
        agent_spki_sha256: agent,
        control_spki_sha256: control,
    };
    Ok(Established {
        stream: Box::new(stream),
        info,
        mac_key,
    })
}

fn peer_sha256(session: &CommonState) -> Result<[u8; 32], String> {
    if session.alpn_protocol() != Some(b"h2") {
        return Err("the peer did not agree on h2".to_owned());
    }
    match session.peer_certificates() {
        Some([key]) => Ok(sha256(key)),
        Some(_) | None => Err("the peer showed no raw public key".to_owned()),
    }
}
