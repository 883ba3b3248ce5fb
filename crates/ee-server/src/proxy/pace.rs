//! How fast a client must send its body, and what that means for whoever waits for an answer
//! (TUNNEL 10, "request body idle, rate").
//!
//! Only time spent waiting for the client counts: an app that reads slowly slows the client down
//! too. A gRPC call may be silent for hours, as a stream of events may; its client keeps the
//! connection alive by pings.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// How long a client may send nothing of its body.
const IDLE_WITHIN: Duration = Duration::from_secs(60);
/// The least rate of a body.
const BYTES_PER_SECOND_MIN: u64 = 256;
/// Time waited for a client before its rate is looked at.
const RATE_AFTER: Duration = Duration::from_secs(30);

/// The client sends too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's body came too slowly")]
pub struct TooSlow;

/// Measures one body.
#[derive(Debug, Default)]
pub struct Pace {
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    idle: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// So many bytes came.
    pub fn came(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.bytes += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        let due = self.waited.as_secs() * BYTES_PER_SECOND_MIN;
        if self.waited > RATE_AFTER && self.bytes < due {
            return Err(TooSlow);
        }
        Ok(())
    }

    /// Nothing is there; ready when that has lasted too long.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let timer = self
            .idle
            .get_or_insert_with(|| Box::pin(sleep(IDLE_WITHIN)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            timer.as_mut().reset(now + IDLE_WITHIN);
        }
        timer.as_mut().poll(cx).map(|()| TooSlow)
    }
}

/// What others see of an upload that goes on. Clones show the same.
#[derive(Debug, Clone)]
pub struct UploadWatch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    began: Instant,
    /// Milliseconds after `began` when a part of the body was handed on last.
    last_ms: AtomicU64,
    /// Whether the next part is the client's to send.
    awaits_client: AtomicBool,
    too_slow: AtomicBool,
}

impl UploadWatch {
    /// Of a request that begins now.
    pub fn new() -> Self {
        Self(Arc::new(Watched {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            too_slow: AtomicBool::new(false),
        }))
    }

    /// A part was handed on.
    pub fn moved(&self) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.store(millis, Ordering::Relaxed);
        self.0.awaits_client.store(false, Ordering::Relaxed);
    }

    /// The client must send the next part, and is watched for that.
    pub fn awaits_client(&self) {
        self.0.awaits_client.store(true, Ordering::Relaxed);
    }

    /// The client is too slow; its request has failed.
    pub fn give_up(&self) {
        self.0.too_slow.store(true, Ordering::Relaxed);
    }

    /// Whether the request failed because the client was too slow.
    pub fn is_too_slow(&self) -> bool {
        self.0.too_slow.load(Ordering::Relaxed)
    }

    /// The answer, if it comes within this time of the last part of the body: a long upload must
    /// not cost the app its time to answer. `None` if it does not.
    pub async fn answered_within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        let mut due = self.0.began + within;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if let Ok(answer) = timeout(left, answer.as_mut()).await {
                return Some(answer);
            }
            let last = Duration::from_millis(self.0.last_ms.load(Ordering::Relaxed));
            let now = Instant::now();
            due = match self.0.awaits_client.load(Ordering::Relaxed) {
                // Its own limit ends that.
                true => now + within,
                false => self.0.began + last + within,
            };
            if due <= now {
                return None;
            }
        }
    }
}

/// Resolves when a client takes nothing of an answer for too long; see [`Offered`].
pub const CLIENT_TAKES_WITHIN: Duration = Duration::from_secs(60);
/// How often that is looked at; a clock read for every piece of an answer would cost more.
const LOOKS: u32 = 4;

/// The pieces of one answer as they are taken, in HTTP/2: hyper asks for the next when the client
/// has granted room for the last, and does nothing at all while it grants none.
#[derive(Debug, Clone, Default)]
pub struct Offered(Arc<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    given: AtomicU64,
    /// Whether a piece was given and the next has not been asked for.
    held_up: AtomicBool,
}

tokio::task_local! {
    /// The answer that this task sends.
    pub static OFFERED: Offered;
}

impl Offered {
    /// Notes that the next piece is asked for, in a task that sends an answer.
    pub fn asked() {
        let _elsewhere = OFFERED.try_with(|offered| {
            offered.0.held_up.store(false, Ordering::Relaxed);
        });
    }

    /// Notes that a piece was given.
    pub fn given() {
        let _elsewhere = OFFERED.try_with(|offered| {
            offered.0.given.fetch_add(1, Ordering::Relaxed);
            offered.0.held_up.store(true, Ordering::Relaxed);
        });
    }

    /// Resolves when one piece was not taken for [`CLIENT_TAKES_WITHIN`], give or take a quarter.
    pub async fn stalled(&self) {
        let (mut seen, mut quiet) = (0, 0);
        let mut next = Instant::now();
        while quiet < LOOKS {
            next += CLIENT_TAKES_WITHIN / LOOKS;
            sleep_until(next).await;
            let given = self.0.given.load(Ordering::Relaxed);
            let same = given == seen && self.0.held_up.load(Ordering::Relaxed);
            quiet = if same { quiet + 1 } else { 0 };
            seen = given;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::ready};

    use super::*;

    async fn silent(pace: &mut Pace, seconds: u64) -> bool {
        let idle = poll_fn(|cx| {
            ready!(pace.poll_idle(cx));
            Poll::Ready(())
        });
        timeout(Duration::from_secs(seconds), idle).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_after_a_minute() {
        let mut pace = Pace::default();
        assert!(!silent(&mut pace, 59).await);
        assert_eq!(pace.came(100_000), Ok(()));
        assert!(!silent(&mut pace, 59).await, "a new minute");
        assert!(silent(&mut pace, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickling_client_is_given_up_and_a_slow_app_is_not_its_fault() {
        let mut trickle = Pace::default();
        let mut taken = 0;
        while !silent(&mut trickle, 5).await && trickle.came(1_000).is_ok() {
            taken += 1;
        }
        assert_eq!(
            taken, 6,
            "1 000 bytes in 5 s are too few once 30 s were waited"
        );
        let mut slow_app = Pace::default();
        for _ in 0..100 {
            assert!(!silent(&mut slow_app, 1).await);
            assert_eq!(slow_app.came(300), Ok(()));
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_of_many_minutes_leaves_the_app_its_time() {
        let minute = Duration::from_secs(60);
        let watch = UploadWatch::new();
        let app = async {
            for _ in 0..20 {
                tokio::time::sleep(minute / 2).await;
                watch.moved();
                watch.awaits_client();
            }
            watch.moved();
            tokio::time::sleep(minute - Duration::from_secs(1)).await;
        };
        assert!(watch.answered_within(minute, app).await.is_some());
        let watch = UploadWatch::new();
        let began = Instant::now();
        let never = std::future::pending::<()>();
        assert!(watch.answered_within(minute, never).await.is_none());
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_piece_that_is_not_taken_is_a_stall() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let offered = Offered::default();
        OFFERED.sync_scope(offered.clone(), Offered::asked);
        let waiting = timeout(minutes(60), offered.stalled()).await;
        assert!(waiting.is_err(), "an app that has nothing to say");
        OFFERED.sync_scope(offered.clone(), Offered::given);
        assert!(timeout(minutes(2), offered.stalled()).await.is_ok());
        let taking = async {
            loop {
                tokio::time::sleep(Duration::from_secs(50)).await;
                OFFERED.sync_scope(offered.clone(), || {
                    Offered::asked();
                    Offered::given();
                });
            }
        };
        let slow = tokio::select! {
            () = offered.stalled() => false,
            () = taking => false,
            () = tokio::time::sleep(minutes(60)) => true,
        };
        assert!(slow, "a slow reader is served to the end");
    }
}
