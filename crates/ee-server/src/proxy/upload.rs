//! A client's request body on its way into the tunnel: bytes as they are, trailers cleaned, and not
//! slower than a client may be.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use ee_tunnel::interim::Hold;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};

use super::{
    fields,
    pace::{Pace, TooSlow, UploadWatch},
};

/// The body that a client sends.
pub struct Upload<B> {
    body: B,
    watch: UploadWatch,
    /// None where the client may be silent for as long as it likes.
    pace: Option<Pace>,
    /// Until the app asks for the body.
    held: Option<Hold>,
}

/// Why a body did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E> {
    /// The connection failed.
    #[error(transparent)]
    Client(E),
    /// The client is too slow.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
}

impl<B> Upload<B> {
    /// The body of a request with these fields.
    pub fn new(body: B, headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_call = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        Self {
            body,
            watch: UploadWatch::new(),
            pace: (!is_call).then(Pace::default),
            held: None,
        }
    }

    /// Gives nothing, and asks the client for nothing, before `hold` ends.
    pub fn hold(&mut self, hold: Hold) {
        self.held = Some(hold);
    }

    /// What others see of it.
    pub fn watch(&self) -> UploadWatch {
        self.watch.clone()
    }

    fn given_up<E>(&self, error: TooSlow) -> Poll<Option<Result<Frame<Bytes>, UploadError<E>>>> {
        self.watch.give_up();
        Poll::Ready(Some(Err(error.into())))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = UploadError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(hold) = &mut this.held {
            ready!(hold.poll(cx));
            this.held = None;
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let Some(pace) = &mut this.pace else {
                return Poll::Pending;
            };
            this.watch.awaits_client();
            let too_slow = ready!(pace.poll_idle(cx));
            return this.given_up(too_slow);
        };
        this.watch.moved();
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client)));
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match this.pace.as_mut().map_or(Ok(()), |pace| pace.came(bytes)) {
            Ok(()) => Poll::Ready(Some(Ok(clean(frame)))),
            Err(too_slow) => this.given_up(too_slow),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    use http_body_util::{BodyExt, Full, StreamBody};

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
        let upload = Upload::new(body, &HeaderMap::new());
        let read = upload.collect().await.expect("infallible");
        let left: Vec<_> = read.trailers().expect("trailers").keys().cloned().collect();
        assert_eq!(left, ["x-checksum"]);
    }

    /// Of an HTTP/2 client only this tells a part from the whole: no length need be promised.
    #[tokio::test]
    async fn a_body_that_fails_does_not_end() {
        let half = Ok(Frame::data(Bytes::from_static(b"half")));
        let frames = futures_util::stream::iter([half, Err("cut off")]);
        let mut upload = Upload::new(StreamBody::new(frames), &HeaderMap::new());
        let first = upload.frame().await.expect("not the end").expect("data");
        assert_eq!(first.into_data().expect("data"), "half");
        assert!(!upload.is_end_stream());
        let second = upload.frame().await;
        let failed = matches!(second, Some(Err(UploadError::Client("cut off"))));
        assert!(failed, "{second:?}");
    }

    /// A body that never comes.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_upload_fails_and_a_silent_call_goes_on() {
        let hour = std::time::Duration::from_secs(3_600);
        let mut plain = Upload::new(Silent, &HeaderMap::new());
        let watch = plain.watch();
        // The app's time, which is not over before the client's is.
        let ended = watch.answered_within(hour / 120, plain.frame()).await;
        assert!(matches!(ended, Some(Some(Err(UploadError::TooSlow(_))))));
        assert!(watch.is_too_slow());
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/grpc+proto"),
        );
        let mut call = Upload::new(Silent, &headers);
        assert!(tokio::time::timeout(hour, call.frame()).await.is_err());
        assert!(!call.watch().is_too_slow());
    }
}
