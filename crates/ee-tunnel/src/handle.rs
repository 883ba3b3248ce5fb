//! The control plane's way to send requests through a tunnel that another task drives.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::{Notify, oneshot};

use crate::body::TunnelBody;
use crate::buffered::Buffered;
use crate::error::TunnelError;
use crate::grain::Grain;
use crate::inbox::Inboxes;
use crate::interim::OnInterim;
use crate::jobs::Job;
use crate::limits::STREAMS_MAX;
use crate::link::lock;
use crate::pump::Pump;

/// The h2 session as requests see it.
pub(crate) enum Session {
    /// Attestation is not done.
    Shut,
    /// Open for traffic; the first request makes the driver start h2.
    Idle { wanted: bool },
    /// Streams can be opened.
    Live(SendRequest<Bytes>),
    /// No new requests, for ever.
    Closed,
}

/// What the handles and the driver of one tunnel share.
pub(crate) struct Shared {
    session: Mutex<Session>,
    changed: Notify,
    credits: AtomicU32,
    inflight: AtomicUsize,
    /// Requests ever begun.
    begun: AtomicU64,
    pub(crate) inboxes: Inboxes,
    uploads: Mutex<Vec<Job>>,
    grain: Grain,
}

impl Shared {
    pub(crate) fn new(buffered: Buffered) -> Self {
        Self {
            session: Mutex::new(Session::Shut),
            changed: Notify::new(),
            credits: AtomicU32::new(0),
            inflight: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            inboxes: Inboxes::new(buffered),
            uploads: Mutex::new(Vec::new()),
            grain: Grain::default(),
        }
    }

    pub(crate) fn set_session(&self, session: Session) {
        *lock(&self.session) = session;
        self.changed.notify_waiters();
    }

    /// Open for traffic, unless it is closed already.
    pub(crate) fn open(&self, credits: u32) {
        self.set_credits(credits);
        let mut session = lock(&self.session);
        if matches!(*session, Session::Shut) {
            *session = Session::Idle { wanted: false };
        }
    }

    pub(crate) fn set_credits(&self, credits: u32) {
        self.credits
            .store(credits.min(STREAMS_MAX), Ordering::Relaxed);
    }

    pub(crate) fn credits(&self) -> u32 {
        self.credits.load(Ordering::Relaxed)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*lock(&self.session), Session::Idle { wanted: true })
    }

    /// Lets h2 end if no request needs it: the next one starts it anew. Whether it ends.
    pub(crate) fn rest(&self) -> bool {
        let mut session = lock(&self.session);
        // Who begins a request counts it first and then comes here for the session.
        let may_rest = matches!(*session, Session::Live(_)) && self.inflight() == 0;
        if may_rest {
            *session = Session::Idle { wanted: false };
        }
        may_rest
    }

    /// Open for traffic without h2.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(*lock(&self.session), Session::Idle { .. })
    }

    /// Requests ever begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn inflight(&self) -> usize {
        self.inflight.load(Ordering::Relaxed)
    }

    pub(crate) fn take_uploads(&self) -> Vec<Job> {
        std::mem::take(&mut *lock(&self.uploads))
    }

    fn push_upload(&self, job: Job) {
        lock(&self.uploads).push(job);
        self.inboxes.driver().wake();
    }
}

/// One request that is being served; ends with its response's body.
pub(crate) struct Inflight(Arc<Shared>);

impl Inflight {
    fn begin(shared: &Arc<Shared>) -> Result<Self, TunnelError> {
        let guard = Self(Arc::clone(shared));
        let before = shared.inflight.fetch_add(1, Ordering::Relaxed);
        shared.begun.fetch_add(1, Ordering::Relaxed);
        if before >= shared.credits() as usize {
            return Err(TunnelError::OverCapacity);
        }
        Ok(guard)
    }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        let before = self.0.inflight.fetch_sub(1, Ordering::Relaxed);
        if before == 1 && matches!(*lock(&self.0.session), Session::Closed) {
            // A draining driver waits for the last request.
            self.0.inboxes.driver().wake();
        }
    }
}

/// Sends requests to the agent at the other end. Cheap to clone.
#[derive(Clone)]
pub struct TunnelHandle {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for TunnelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelHandle")
            .field("inflight", &self.inflight())
            .finish_non_exhaustive()
    }
}

impl TunnelHandle {
    /// Requests without a complete answer.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.shared.inflight()
    }

    /// Bytes of answers that wait for their readers: of this tunnel, and of all that count with it.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.inboxes.buffered()
    }

    /// Whether a request may be tried.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            *lock(&self.shared.session),
            Session::Idle { .. } | Session::Live(_)
        )
    }

    /// Whether HTTP/2 runs; else the next request starts it.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        matches!(*lock(&self.shared.session), Session::Live(_))
    }

    /// Sends a request; resolves with the response's head. Dropping the future or the response
    /// cancels the stream at the agent. The URI must be absolute: its parts become the pseudo
    /// header fields.
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<TunnelBody>, TunnelError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Display,
    {
        let inflight = Inflight::begin(&self.shared)?;
        self.wait_live().await?;
        let (mut head, body) = request.into_parts();
        let hear = head.extensions.remove::<OnInterim>();
        let ended = body.is_end_stream();
        let (response, stream) = self.open_stream(Request::from_parts(head, ()), ended)?;
        let response = Answering { response, hear };
        if ended {
            let response = response.await?;
            return Ok(self.answer(response, inflight, None));
        }
        let upload = Pump::new(body, stream, self.shared.grain.enter());
        self.exchange(response, upload, inflight).await
    }

    /// Until h2 runs; the first request makes the driver start it.
    async fn wait_live(&self) -> Result<(), TunnelError> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match &mut *lock(&self.shared.session) {
                Session::Live(_) => return Ok(()),
                Session::Shut | Session::Closed => return Err(TunnelError::NotOpen),
                Session::Idle { wanted } => {
                    *wanted = true;
                    self.shared.inboxes.driver().wake();
                }
            }
            changed.await;
        }
    }

    fn open_stream(
        &self,
        request: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, h2::SendStream<Bytes>), TunnelError> {
        let mut session = lock(&self.shared.session);
        let Session::Live(sender) = &mut *session else {
            return Err(TunnelError::NotOpen);
        };
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(not_sent(error)),
            // An earlier stream still waits for a slot; a clone does not wait behind it.
            Poll::Pending => *sender = sender.clone(),
        }
        sender.send_request(request, ended).map_err(not_sent)
    }

    fn answer(
        &self,
        response: Response<RecvStream>,
        inflight: Inflight,
        upload: Option<oneshot::Sender<()>>,
    ) -> Response<TunnelBody> {
        let inboxes = &self.shared.inboxes;
        response.map(|stream| TunnelBody::new(stream, inboxes, inflight, upload))
    }

    /// Sends the body while waiting for the head of the response; what is left of it then moves
    /// to the driver, because the reader of the response may wait for the writer of the request.
    async fn exchange<B>(
        &self,
        mut response: Answering,
        mut upload: Pump<B>,
        inflight: Inflight,
    ) -> Result<Response<TunnelBody>, TunnelError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Display,
    {
        match select(&mut response, &mut upload).await {
            Either::Right((Ok(()), _)) => {
                let response = response.await?;
                Ok(self.answer(response, inflight, None))
            }
            Either::Right((Err(crate::BodyError::Source(error)), _)) => {
                Err(TunnelError::RequestBody(error))
            }
            // The agent stopped reading: its answer, or the lack of one, tells why.
            Either::Right((Err(_), _)) => {
                let response = response.await?;
                Ok(self.answer(response, inflight, None))
            }
            Either::Left((response, _)) => {
                let response = response?;
                let (stop, stopped) = oneshot::channel();
                self.shared
                    .push_upload(Box::pin(finish_upload(upload, stopped)));
                Ok(self.answer(response, inflight, Some(stop)))
            }
        }
    }
}

/// The head of a response, and whoever hears what is said before it.
struct Answering {
    response: ResponseFuture,
    hear: Option<OnInterim>,
}

impl Future for Answering {
    type Output = Result<Response<RecvStream>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(hear) = &this.hear {
            while let Poll::Ready(Some(Ok(interim))) = this.response.poll_informational(cx) {
                hear.hear(interim);
            }
        }
        Pin::new(&mut this.response).poll(cx)
    }
}

/// Sends the rest of a body; gives the stream up when the response is no longer wanted.
async fn finish_upload<B>(mut upload: Pump<B>, stopped: oneshot::Receiver<()>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display,
{
    if let Either::Right(_) = select(&mut upload, stopped).await {
        upload.reset(Reason::CANCEL);
    }
}

/// An error of opening a stream: nothing has left, whatever the reason is. Only a request that
/// HTTP/2 cannot express would fail again elsewhere.
fn not_sent(error: h2::Error) -> TunnelError {
    if error.is_io() || error.is_go_away() {
        return TunnelError::NotOpen;
    }
    TunnelError::Protocol(error.to_string())
}
