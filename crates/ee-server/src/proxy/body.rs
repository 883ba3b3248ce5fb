//! The body of an answer: the app's, streamed, or a problem of ours.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use ee_tunnel::BodyError;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{credit::Credit, exchange::AppBody, pace::Offered, upload};

/// What leaves the proxy.
pub enum ProxyBody {
    /// An answer of the control plane itself.
    Own(Full<Bytes>),
    /// The app's. The credit is given back when its last byte has left, or when it is dropped,
    /// which cancels the stream at the agent.
    App {
        /// The bytes.
        body: AppBody,
        /// The credit.
        _credit: Credit,
    },
    /// None, where the head names the length of what is not sent: a 304 in HTTP/1.1, of which
    /// hyper writes the length only where the body claims to have it, and then sends none.
    Withheld(u64),
}

impl ProxyBody {
    /// Bytes of our own.
    pub fn own(bytes: Bytes) -> Self {
        Self::Own(Full::new(bytes))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::App { body, .. } => {
                Offered::asked();
                let polled = Pin::new(body).poll_frame(cx);
                if matches!(polled, Poll::Ready(Some(Ok(_)))) {
                    Offered::given();
                }
                polled.map(|frame| frame.map(|frame| frame.map(upload::clean)))
            }
            Self::Withheld(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::App { body, .. } => body.is_end_stream(),
            Self::Withheld(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::App { body, .. } => body.size_hint(),
            Self::Withheld(length) => SizeHint::with_exact(*length),
        }
    }
}
