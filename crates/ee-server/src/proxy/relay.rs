//! The bytes of an upgraded connection, both ways, with back-pressure.
//!
//! From client to app they are the body of the tunnel's request: the driver of the tunnel reads
//! the client when the agent grants window. From app to client a task writes what the tunnel
//! brings, and the window is given back as the client's socket takes it. There is no idle limit:
//! the pings of the tunnel and of the two ends find out who is gone.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::body::ProxyBody;
use crate::tasks::Tasks;

/// Bytes taken from a client at once: one DATA frame of the tunnel.
const CHUNK_BYTES: usize = 16 * 1024;
/// A client that takes nothing for this long is reset (TUNNEL 10).
const CLIENT_STALLED: Duration = Duration::from_secs(60);
/// The app's time for its last words after the client has ended its side: an app that does not
/// close must not keep a stream for ever.
const LAST_WORDS: Duration = Duration::from_secs(30);

type Client = TokioIo<Upgraded>;

/// The client's side of the stream, with what tells its end.
pub struct Opened {
    client: ReadHalf<Client>,
    ended: oneshot::Sender<()>,
}

/// Shut until the app has agreed. Each attempt at a tunnel gets a body of its own; the last one
/// is the one that opens.
#[derive(Default)]
pub struct Gate(Mutex<Option<oneshot::Sender<Opened>>>);

impl Gate {
    /// A request body without bytes until the gate opens; it ends when the gate is dropped.
    pub fn lend(&self) -> ClientBytes {
        let (sender, opened) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        ClientBytes::Shut(opened)
    }

    /// Lets the client's bytes through; resolves when no more will come.
    fn open(self, client: ReadHalf<Client>) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        if let Some(sender) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // The tunnel may be gone: then the answer's body tells so.
            let _gone = sender.send(Opened { client, ended });
        }
        end
    }
}

/// What the client sends, as a request body. Nothing is held while the client is silent.
pub enum ClientBytes {
    /// The app has not agreed.
    Shut(oneshot::Receiver<Opened>),
    /// Bytes flow.
    Open(Opened),
    /// No more.
    Ended,
}

impl Body for ClientBytes {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Shut(opened) => {
                    *this = ready!(Pin::new(opened).poll(cx)).map_or(Self::Ended, Self::Open);
                }
                Self::Open(opened) => {
                    let read = ready!(poll_read(&mut opened.client, cx));
                    if let Ok(bytes) = &read
                        && !bytes.is_empty()
                    {
                        return Poll::Ready(Some(read.map(Frame::data)));
                    }
                    if let Self::Open(opened) = std::mem::replace(this, Self::Ended) {
                        // The relay may have ended first.
                        let _heard = opened.ended.send(());
                    }
                    return Poll::Ready(read.err().map(Err));
                }
                Self::Ended => return Poll::Ready(None),
            }
        }
    }
}

/// `read_buf` keeps no state between polls, so a new one each time loses nothing.
fn poll_read(client: &mut ReadHalf<Client>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    let read = ready!(pin!(client.read_buf(&mut buffer)).poll(cx));
    Poll::Ready(read.map(|_| buffer.freeze()))
}

/// An upgrade that both sides have agreed on.
pub struct Relay {
    /// The client's connection, once its answer has left.
    pub upgrade: OnUpgrade,
    /// Opens the way to the app.
    pub gate: Gate,
    /// The way from the app, and the credit.
    pub body: ProxyBody,
}

impl Relay {
    /// Carries bytes until either side has ended. A drain does not wait for it: a WebSocket lasts
    /// as long as the tunnel under it.
    pub fn start(self, tasks: &Tasks) {
        let closing = tasks.closing().clone();
        tasks.spawn_session("proxy_upgrade", async move {
            tokio::select! {
                ended = self.run() => if let Err(error) = ended {
                    tracing::debug!(event = "proxy_upgrade_broke_off", error);
                },
                () = closing.cancelled() => {}
            }
        });
    }

    async fn run(self) -> Result<(), String> {
        let upgraded = self.upgrade.await.map_err(|error| error.to_string())?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let client_ended = self.gate.open(reader);
        let last_words = async {
            // An error means that the tunnel dropped the upload, which is an end as well.
            let _ended = client_ended.await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            written = write(self.body, writer) => written,
            () = last_words => Err("the app did not end after the client had".to_owned()),
        }
    }
}

/// Writes what the app sends. A clean end ends the client's side cleanly, a failure breaks it off.
async fn write(mut body: ProxyBody, mut client: WriteHalf<Client>) -> Result<(), String> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        let written = async {
            client.write_all(&bytes).await?;
            client.flush().await
        };
        match timeout(CLIENT_STALLED, written).await {
            Ok(written) => written.map_err(|error| error.to_string())?,
            Err(_) => return Err("the client does not read".to_owned()),
        }
    }
    client.shutdown().await.map_err(|error| error.to_string())
}
