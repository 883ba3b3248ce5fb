//! The app's time to answer, counted from the last part of the request that it was given: an
//! upload of many minutes must not cost the app its time. Who sends the upload is watched by the
//! control plane.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use ee_tunnel::interim::Hold;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout};

/// A request's body that tells when its last part was read.
pub struct Timed<B> {
    body: B,
    progress: Progress,
    held: Option<Held>,
}

/// A body that the app has not asked for.
struct Held {
    hold: Hold,
    /// Told when it is asked for.
    wanted: Box<dyn Fn() + Send>,
}

/// When the last part of a body was read.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl<B> Timed<B> {
    /// Counts from now.
    pub(super) fn new(body: B) -> Self {
        let progress = Progress {
            began: Instant::now(),
            last_ms: Arc::default(),
        };
        Self {
            body,
            progress,
            held: None,
        }
    }

    /// Gives nothing before `hold` ends, and tells when it does.
    pub(super) fn hold(&mut self, hold: Hold, wanted: impl Fn() + Send + 'static) {
        let wanted = Box::new(wanted);
        self.held = Some(Held { hold, wanted });
    }

    /// What the body tells.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Progress {
    /// The answer, if it comes within this time of the body's last part.
    pub(super) async fn answered_within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let due = self.began + last + within;
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if let Ok(answer) = timeout(left, answer.as_mut()).await {
                return Some(answer);
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(held) = &mut self.held {
            ready!(held.hold.poll(cx));
            (held.wanted)();
            self.held = None;
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            let millis = self.progress.began.elapsed().as_millis();
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            self.progress.last_ms.store(millis, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::Full;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_leaves_the_app_its_time() {
        let minute = Duration::from_secs(60);
        let mut body = Timed::new(Full::new(Bytes::from_static(b"x")));
        let progress = body.progress();
        let app = async {
            tokio::time::sleep(minute / 2).await;
            poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            tokio::time::sleep(minute - Duration::from_secs(1)).await;
        };
        assert!(progress.answered_within(minute, app).await.is_some());
        let silent = tokio::time::sleep(minute);
        assert!(progress.answered_within(minute, silent).await.is_none());
    }
}
