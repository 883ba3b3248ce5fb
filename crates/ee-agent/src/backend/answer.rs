//! Answers that go back through the tunnel: the app's, streamed, or the agent's own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::{RequestBody, connection::Connection, headers, pool::Pool};

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Less than the tunnel's `max_header_list_size` of 64 KiB, so that `ee-origin`, the status and
/// what HTTP/2 counts beside them still fit.
const HEADERS_MAX_BYTES: usize = 63 * 1024;

/// The body of an answer.
pub struct AnswerBody<B: RequestBody>(Source<B>);

enum Source<B: RequestBody> {
    /// The agent's own few bytes; `None` once they are sent.
    Agent(Option<Bytes>),
    /// What the backend sends, and the connection it comes from.
    App {
        incoming: Incoming,
        connection: Option<(Connection<B>, Arc<Pool<B>>)>,
    },
    /// The app, over a connection that no other request shares.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

/// The app's answer, cleaned.
pub(super) fn of_app<B: RequestBody>(
    response: Response<Incoming>,
    connection: Connection<B>,
    pool: Arc<Pool<B>>,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    let (mut parts, incoming) = response.into_parts();
    clean(&mut parts)?;
    let mut body = AnswerBody(Source::App {
        incoming,
        connection: Some((connection, pool)),
    });
    body.release_at_end();
    Ok(Response::from_parts(parts, body))
}

/// The app's answer, cleaned, with a body from elsewhere than the pool.
pub(super) fn of_stream<B: RequestBody>(
    mut parts: Parts,
    body: impl Body<Data = Bytes, Error = BoxError> + Send + 'static,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    clean(&mut parts)?;
    let source = Source::Stream(UnsyncBoxBody::new(body));
    Ok(Response::from_parts(parts, AnswerBody(source)))
}

/// The app's answer, cleaned, from a connection that `driver` keeps going.
pub(super) fn of_incoming<B: RequestBody>(
    response: Response<Incoming>,
    driver: impl Send + Unpin + 'static,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    let (parts, incoming) = response.into_parts();
    let driven = Driven {
        incoming,
        _driver: driver,
    };
    of_stream(parts, driven)
}

/// A body, and what drives the connection it comes from.
struct Driven<D> {
    incoming: Incoming,
    _driver: D,
}

impl<D: Unpin> Body for Driven<D> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.incoming)
            .poll_frame(cx)
            .map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn clean(parts: &mut Parts) -> Result<(), BoxError> {
    if parts.status.as_u16() > 599 || parts.status.is_informational() {
        return Err(format!("the backend answered with status {}", parts.status).into());
    }
    headers::clean_answer(&mut parts.headers);
    let size = headers::size(&parts.headers);
    if size > HEADERS_MAX_BYTES {
        return Err(format!("the backend sent {size} bytes of header fields").into());
    }
    parts
        .headers
        .insert(headers::EE_ORIGIN, HeaderValue::from_static("app"));
    parts.extensions.clear();
    Ok(())
}

/// The agent's answer in place of the app's.
pub(super) fn of_agent<B: RequestBody>(
    status: StatusCode,
    error: &'static str,
) -> Response<AnswerBody<B>> {
    let text = Bytes::from(format!("{{\"error\":\"{error}\"}}"));
    let mut response = Response::new(AnswerBody(Source::Agent(Some(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(headers::EE_ORIGIN, HeaderValue::from_static("agent"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl<B: RequestBody> AnswerBody<B> {
    /// Gives the connection back as soon as the last byte is there.
    fn release_at_end(&mut self) {
        let Source::App {
            incoming,
            connection,
        } = &mut self.0
        else {
            return;
        };
        if incoming.is_end_stream()
            && let Some((connection, pool)) = connection.take()
        {
            pool.put(connection);
        }
    }

    fn poll_app(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Source::App {
            incoming,
            connection,
        } = &mut self.0
        else {
            return Poll::Ready(None);
        };
        // Asking first tells the connection that somebody wants bytes; driving it then fetches
        // them within the same wake-up.
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Some((connection, _)) = connection {
                    connection.drive(cx);
                }
                ready!(Pin::new(incoming).poll_frame(cx))
            }
        };
        match frame {
            None => {
                if let Some((connection, pool)) = connection.take() {
                    pool.put(connection);
                }
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                *connection = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl<B: RequestBody> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Source::Agent(text) => Poll::Ready(text.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::App { .. } => this.poll_app(cx),
            Source::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Agent(text) => text.is_none(),
            Source::App { incoming, .. } => incoming.is_end_stream(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Agent(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Source::App { incoming, .. } => incoming.size_hint(),
            Source::Stream(body) => body.size_hint(),
        }
    }
}
