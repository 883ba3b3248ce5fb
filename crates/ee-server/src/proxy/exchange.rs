//! One request through one tunnel, whichever way the tunnel carries requests.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use ee_protocol::problem::{Problem, ProblemCode};
use ee_tunnel::{
    BodyError, Protocol, TunnelBody, TunnelError,
    interim::OnInterim,
    legacy::{self, AnswerError, REQUEST_BODY_MAX, RequestTooLarge},
};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};

use super::refuse;
use crate::tunnel::{LegacyError, LegacyHandle, Link, Way};

/// The body of an app's answer.
pub enum AppBody {
    /// As it comes.
    Streamed(TunnelBody),
    /// It came in one message.
    Whole(Full<Bytes>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// HTTP/2 did not bring one.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The agent's queue did not bring one.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// The request does not fit in a message.
    #[error(transparent)]
    TooLarge(#[from] RequestTooLarge),
    /// The agent's message is no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The client's body broke off.
    #[error("the request body failed: {0}")]
    RequestBody(String),
    /// Messages carry paths: a prototype agent would ask for another than `*`.
    #[error("the app's agent carries requests for a path only, not OPTIONS *")]
    ServerWide,
    /// Messages carry no upgraded connection.
    #[error("the app's agent carries plain requests only")]
    Upgrade,
}

impl Failure {
    /// Whether the app cannot have seen the request.
    pub fn retry_is_safe(&self) -> bool {
        match self {
            Self::Tunnel(error) => error.retry_is_safe(),
            Self::Legacy(error) => *error == LegacyError::QueueFull,
            // Of several nodes another may carry more than this one.
            Self::TooLarge(_) | Self::ServerWide | Self::Upgrade => true,
            Self::Answer(_) | Self::RequestBody(_) => false,
        }
    }

    /// Whether the tunnel was lost while the request was on it.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Tunnel(error) => matches!(error, TunnelError::Disconnected),
            Self::Legacy(error) => *error == LegacyError::Disconnected,
            Self::TooLarge(_)
            | Self::ServerWide
            | Self::Upgrade
            | Self::Answer(_)
            | Self::RequestBody(_) => false,
        }
    }

    /// What the client is told.
    pub fn problem(&self) -> Box<Problem> {
        let code = match self {
            Self::Tunnel(error) => of_tunnel(error),
            Self::Legacy(LegacyError::QueueFull) => ProblemCode::OverCapacity,
            Self::Legacy(LegacyError::TimedOut) => ProblemCode::ProxyTimeout,
            Self::Legacy(LegacyError::Disconnected) => ProblemCode::AgentDisconnected,
            Self::TooLarge(_) => ProblemCode::BodyTooLarge,
            Self::Answer(AnswerError::TooLarge) => ProblemCode::ResponseTooLarge,
            Self::Answer(
                AnswerError::Malformed(_)
                | AnswerError::Status(_)
                | AnswerError::Field
                | AnswerError::Fields,
            ) => ProblemCode::BadAgentResponse,
            Self::RequestBody(_) | Self::ServerWide => ProblemCode::InvalidRequest,
            Self::Upgrade => ProblemCode::UpgradeUnsupported,
        };
        refuse(code, &self.to_string())
    }
}

fn of_tunnel(error: &TunnelError) -> ProblemCode {
    match error {
        TunnelError::NotOpen | TunnelError::GoneAway | TunnelError::Disconnected => {
            ProblemCode::AgentDisconnected
        }
        TunnelError::OverCapacity | TunnelError::Refused => ProblemCode::OverCapacity,
        TunnelError::Reset(_) | TunnelError::Protocol(_) => ProblemCode::BadAgentResponse,
        TunnelError::RequestBody(_) => ProblemCode::InvalidRequest,
    }
}

/// Sends a request whose head was made fit; resolves with the head of the answer.
pub async fn exchange<B>(link: &Link, request: Request<B>) -> Result<Response<AppBody>, Failure>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display,
{
    match link.way() {
        Way::H2(tunnel) => Ok(tunnel.request(request).await?.map(AppBody::Streamed)),
        Way::Legacy(handle) => in_messages(handle, request).await,
    }
}

async fn in_messages<B>(
    handle: &LegacyHandle,
    request: Request<B>,
) -> Result<Response<AppBody>, Failure>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display,
{
    let (head, body) = request.into_parts();
    if head.extensions.get::<Protocol>().is_some() {
        return Err(Failure::Upgrade);
    }
    if head.uri.path() == "*" {
        return Err(Failure::ServerWide);
    }
    if body.size_hint().lower() > REQUEST_BODY_MAX as u64 {
        return Err(RequestTooLarge.into());
    }
    // Messages have no interim answers: the body may come.
    if let Some(hear) = head.extensions.get::<OnInterim>() {
        let mut go_on = Response::new(());
        *go_on.status_mut() = StatusCode::CONTINUE;
        hear.hear(go_on);
    }
    // A body that has ended is not read, so that another attempt may have it.
    let body = match body.is_end_stream() {
        true => Bytes::new(),
        false => collect(body).await?,
    };
    let id = handle.new_id();
    let text = legacy::request_text(&head, &body, &id.to_string())?;
    drop(body);
    let text = handle.request(id, text).await?;
    let mut answer = legacy::answer(&text, &head.method)?;
    // Such agents pass on what the app said and have no answers of their own.
    let origin = HeaderValue::from_static("app");
    answer.headers_mut().insert("ee-origin", origin);
    Ok(answer.map(|body| AppBody::Whole(Full::new(body))))
}

async fn collect<B>(body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut limited = Limited::new(Readable(body), REQUEST_BODY_MAX);
    let mut collected = Vec::new();
    while let Some(frame) = limited.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<Broken>() {
            Ok(broken) => Failure::RequestBody(broken.0),
            Err(_) => RequestTooLarge.into(),
        })?;
        if let Ok(data) = frame.into_data() {
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.into())
}

/// A body whose failure is told from the limit's.
struct Readable<B>(B);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

impl<B> Body for Readable<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        polled.map_err(|error| Broken(error.to_string()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}
