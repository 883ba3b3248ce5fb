//! The agent's side of one request.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use http_body::Body;

use crate::error::BodyError;
use crate::grain::Grain;
use crate::interim::InterimSender;
use crate::pump::Pump;

/// Answers one request. Dropping it without an answer resets the stream.
pub struct Responder {
    stream: SendResponse<Bytes>,
    interim: Option<InterimSender>,
    grain: Grain,
}

impl Responder {
    pub(crate) fn new(
        stream: SendResponse<Bytes>,
        interim: Option<InterimSender>,
        grain: Grain,
    ) -> Self {
        Self {
            stream,
            interim,
            grain,
        }
    }

    /// Runs `handler` and sends its response. The control plane's cancel drops both.
    pub async fn serve<F, B>(mut self, handler: F)
    where
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let mut handler = std::pin::pin!(handler);
        let response = poll_fn(|cx| {
            let response = handler.as_mut().poll(cx);
            self.send_interim(cx);
            if let Poll::Ready(response) = response {
                return Poll::Ready(Some(response));
            }
            self.stream.poll_reset(cx).map(|_cancelled| None)
        });
        if let Some(response) = response.await {
            // A body that cannot be sent has reset its stream; there is nobody to tell.
            let _cancelled = self.respond(response).await;
        }
    }

    fn send_interim(&mut self, cx: &Context<'_>) {
        let Some(interim) = &self.interim else {
            return;
        };
        for interim in interim.take(cx) {
            // The stream may be reset, which is seen elsewhere; a head that HTTP/2 refuses is lost.
            let _lost = self.stream.send_informational(interim);
        }
    }

    /// Sends a response; resolves when h2 has taken its last byte.
    pub async fn respond<B>(mut self, response: Response<B>) -> Result<(), BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let (head, body) = response.into_parts();
        let ended = body.is_end_stream();
        let stream = self
            .stream
            .send_response(Response::from_parts(head, ()), ended)?;
        if ended {
            return Ok(());
        }
        Pump::new(body, stream, self.grain.enter()).await
    }

    /// Refuses the request before it was looked at: safe to try elsewhere for any method.
    pub fn refuse(mut self) {
        self.stream.send_reset(Reason::REFUSED_STREAM);
    }

    /// Gives the request up without an answer.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}
