//! One HTTP/1.1 connection to the backend.
//!
//! hyper splits a connection into a sender and a driver that somebody must poll. Requests without
//! a body are driven by the task that waits for the answer: no other task has to be woken twice
//! per request. A request with a body gets a task for the driver, because its upload must go on
//! while nobody reads the answer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::AbortHandle};

use super::{RequestBody, answer::BoxError};
use crate::tasks;

/// Longest read buffer of one connection: what is read at once is one frame in the tunnel, and two
/// of them wait there. It bounds a response's header block, too.
pub(super) const BUFFER_MAX_BYTES: usize = ee_tunnel::limits::FRAME_MAX as usize;

type HyperConnection<B> = http1::Connection<TokioIo<TcpStream>, B>;

/// A connection that carries one request at a time.
pub(super) struct Connection<B: RequestBody> {
    sender: http1::SendRequest<B>,
    driver: Driver<B>,
}

/// Who polls the connection.
enum Driver<B: RequestBody> {
    /// Whoever waits for the answer.
    Inline(Box<HyperConnection<B>>),
    /// A task of its own, which ends with the connection.
    Task { _task: AbortOnDrop },
    /// Nobody: the connection has ended.
    Ended,
}

/// How a request went.
pub(super) enum Sent<B: RequestBody> {
    /// Response headers are there.
    Answered(Connection<B>, Response<Incoming>),
    /// The connection closed before it took the request, which is whole and safe to send again.
    Untouched(Request<B>, BoxError),
    /// The backend may have seen the request.
    Failed(BoxError),
}

impl<B: RequestBody> Connection<B> {
    /// Speaks HTTP/1.1 on `stream`.
    pub(super) async fn new(stream: TcpStream) -> Result<Self, BoxError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_MAX_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            driver: Driver::Inline(Box::new(connection)),
        })
    }

    /// Whether an idle connection can take a request: open, and done with the last one.
    pub(super) fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.driver.poll(cx);
        matches!(self.driver, Driver::Inline(_) | Driver::Task { .. })
            && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(mut self, request: Request<B>) -> Sent<B> {
        if !request.body().is_end_stream() {
            self.driver.move_to_task();
        }
        let driver = &mut self.driver;
        let outcome = {
            let mut answer = pin!(self.sender.try_send_request(request));
            poll_fn(|cx| {
                driver.poll(cx);
                answer.as_mut().poll(cx)
            })
            .await
        };
        match outcome {
            Ok(response) => Sent::Answered(self, response),
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::Untouched(request, error.into_error().into()),
                None => Sent::Failed(error.into_error().into()),
            },
        }
    }

    /// Moves bytes if this connection is driven by its reader.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.driver.poll(cx);
    }
}

impl<B: RequestBody> Driver<B> {
    /// What went wrong with the connection reaches the caller through the sender or the body.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Inline(connection) = self
            && Pin::new(connection.as_mut()).poll(cx).is_ready()
        {
            *self = Self::Ended;
        }
    }

    fn move_to_task(&mut self) {
        if let Self::Inline(connection) = std::mem::replace(self, Self::Ended) {
            let task = tasks::spawn("backend-connection", async move {
                if let Err(error) = connection.await {
                    tracing::debug!(event = "backend_connection_ended", %error);
                }
            });
            *self = Self::Task {
                _task: AbortOnDrop(task.abort_handle()),
            };
        }
    }
}

/// Ends a task with its connection.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
