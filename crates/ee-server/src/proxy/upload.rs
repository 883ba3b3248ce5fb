//! A client's request body on its way into the tunnel: bytes as they are, trailers cleaned.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::fields;

/// The body that a client sends.
pub struct Upload<B>(pub B);

impl<B: Body<Data = Bytes> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        polled.map(|frame| frame.map(|frame| frame.map(clean)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A frame whose trailers, if it holds any, say nothing that only a head may say.
pub fn clean(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        fields::clean_trailers(trailers);
    }
    frame
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn trailers_of_a_client_are_cleaned_on_their_way() {
        let trailers = async {
            let mut trailers = HeaderMap::new();
            trailers.insert("connection", HeaderValue::from_static("close"));
            trailers.insert("ee-app", HeaderValue::from_static("victim"));
            trailers.insert("x-checksum", HeaderValue::from_static("1"));
            Some(Ok(trailers))
        };
        let body = Full::new(Bytes::from_static(b"x")).with_trailers(Box::pin(trailers));
        let read = Upload(body).collect().await.expect("infallible");
        let left: Vec<_> = read.trailers().expect("trailers").keys().cloned().collect();
        assert_eq!(left, ["x-checksum"]);
    }
}
