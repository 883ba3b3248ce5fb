//! Requests to an agent that works them off one by one, in text (TUNNEL 7).
//!
//! The queue is ee-core's, the messages are ee-tunnel's; here callers are matched with answers.
//! An answer is handed on as text: its caller checks it, so that a long one holds up no tunnel.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ee_core::legacy::{LegacyQueue, RequestId};
use ee_protocol::{legacy::Envelope, time::Timestamp};
use tokio::sync::{mpsc, oneshot};

/// Requests on their way into the queue; the driver takes them at once.
const ARRIVING_MAX: usize = 4;

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// As many requests wait as may.
    #[error("the agent's queue is full")]
    QueueFull,
    /// No answer came in time.
    #[error("the agent did not answer in time")]
    TimedOut,
    /// The tunnel ended first.
    #[error("the agent disconnected")]
    Disconnected,
}

type Answer = Result<String, LegacyError>;

/// One request: its text, and who waits for the answer.
struct Job {
    id: RequestId,
    text: String,
    caller: oneshot::Sender<Answer>,
}

/// Sends requests to the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LegacyHandle {
    jobs: mpsc::Sender<Job>,
    next_id: Arc<AtomicU64>,
}

impl LegacyHandle {
    /// An id for a request; unique on this tunnel.
    pub fn new_id(&self) -> RequestId {
        RequestId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a `proxy_request` with this id; resolves with the text of the `proxy_response`.
    /// Dropping the future gives the request up.
    pub async fn request(&self, id: RequestId, text: String) -> Answer {
        let (caller, answer) = oneshot::channel();
        let job = Job { id, text, caller };
        let sent = self.jobs.send(job).await;
        sent.map_err(|_| LegacyError::Disconnected)?;
        answer.await.unwrap_or(Err(LegacyError::Disconnected))
    }
}

/// The requests of one tunnel, at its driver. Dropping it fails them all.
pub(super) struct LegacyLine {
    arriving: mpsc::Receiver<Job>,
    queue: LegacyQueue<Job>,
    /// The tunnel is to be closed once nothing is asked any more.
    leaving: bool,
}

impl LegacyLine {
    pub(super) fn new() -> (LegacyHandle, Self) {
        let (jobs, arriving) = mpsc::channel(ARRIVING_MAX);
        let handle = LegacyHandle {
            jobs,
            next_id: Arc::default(),
        };
        let line = Self {
            arriving,
            queue: LegacyQueue::default(),
            leaving: false,
        };
        (handle, line)
    }

    /// Waits for a request and queues it. Cancel safe; pending while none comes.
    pub(super) async fn take_in(&mut self, now: impl Fn() -> Timestamp) {
        let Some(job) = self.arriving.recv().await else {
            return std::future::pending().await;
        };
        self.queue.retain(|waiting| !waiting.caller.is_closed());
        let id = job.id;
        if let Err(job) = self.queue.push(now(), id, job) {
            tell(job, Err(LegacyError::QueueFull));
        }
    }

    /// Fails what is too late, then gives the text to send now, if the agent is free.
    pub(super) fn next_text(&mut self, now: Timestamp) -> Option<String> {
        while let Some(job) = self.queue.expired(now) {
            tell(job, Err(LegacyError::TimedOut));
        }
        self.queue.retain(|waiting| !waiting.caller.is_closed());
        let job = self.queue.send_next(now)?;
        Some(std::mem::take(&mut job.text))
    }

    /// Takes a text if it is an answer, and otherwise gives it back. An answer that nobody waits
    /// for means nothing.
    pub(super) fn answer(&mut self, text: String) -> Option<String> {
        let Some(envelope) = Envelope::of_response(&text) else {
            return Some(text);
        };
        if let Some(job) = self.queue.answered(&envelope.request_id) {
            tell(job, Ok(text));
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.queue.poll_timeout()
    }

    /// The tunnel is to be closed when it is idle: such agents know no `drain`.
    pub(super) fn leave_when_idle(&mut self) {
        self.leaving = true;
    }

    /// Whether the time for that has come.
    pub(super) fn may_leave(&self) -> bool {
        self.leaving && self.queue.is_idle() && self.arriving.is_empty()
    }
}

/// The caller may have gone: then nobody is told.
fn tell(job: Job, answer: Answer) {
    let _gone = job.caller.send(answer);
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, time::Duration};

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_770_000_000).after(Duration::from_secs(seconds))
    }

    fn response(id: RequestId) -> String {
        format!(r#"{{"type":"proxy_response","request_id":"{id}","status":200}}"#)
    }

    type Asking = Pin<Box<dyn Future<Output = Answer>>>;

    /// A caller whose request has arrived in the line.
    async fn ask(
        handle: &LegacyHandle,
        line: &mut LegacyLine,
        now: Timestamp,
    ) -> (RequestId, Asking) {
        let id = handle.new_id();
        let caller = handle.clone();
        let mut asking: Asking = Box::pin(async move { caller.request(id, id.to_string()).await });
        tokio::select! {
            biased;
            answer = &mut asking => panic!("answered unheard: {answer:?}"),
            () = line.take_in(|| now) => {}
        }
        (id, asking)
    }

    #[tokio::test]
    async fn callers_get_their_own_answers_one_after_another() {
        let (handle, mut line) = LegacyLine::new();
        let (first, asking_first) = ask(&handle, &mut line, at(0)).await;
        let (second, asking_second) = ask(&handle, &mut line, at(0)).await;
        assert_eq!(line.next_text(at(0)), Some(first.to_string()));
        assert_eq!(line.next_text(at(0)), None, "one at a time");
        assert_eq!(
            line.answer(response(second)),
            None,
            "not asked yet: ignored"
        );
        assert_eq!(line.answer(response(first)), None);
        assert_eq!(asking_first.await, Ok(response(first)));
        assert_eq!(line.next_text(at(1)), Some(second.to_string()));
        assert_eq!(line.answer(response(second)), None);
        assert_eq!(asking_second.await, Ok(response(second)));
    }

    #[tokio::test]
    async fn late_and_superfluous_requests_are_told_apart() {
        let (handle, mut line) = LegacyLine::new();
        let mut asked = Vec::new();
        for _ in 0..64 {
            asked.push(ask(&handle, &mut line, at(0)).await.1);
        }
        let (_, full) = ask(&handle, &mut line, at(0)).await;
        assert_eq!(full.await, Err(LegacyError::QueueFull));
        // Given up while waiting: the place is free again.
        drop(asked.pop());
        let (_, late) = ask(&handle, &mut line, at(1)).await;
        assert_eq!(line.next_text(at(16)), None);
        assert_eq!(late.await, Err(LegacyError::TimedOut));
    }

    #[tokio::test]
    async fn tunnel_loss_fails_at_once() {
        let (handle, mut line) = LegacyLine::new();
        let (_, asking) = ask(&handle, &mut line, at(0)).await;
        assert!(line.next_text(at(0)).is_some());
        drop(line);
        assert_eq!(asking.await, Err(LegacyError::Disconnected));
        let after = handle.request(handle.new_id(), String::new()).await;
        assert_eq!(after, Err(LegacyError::Disconnected));
    }

    #[tokio::test]
    async fn the_line_is_left_only_when_nothing_is_asked() {
        let (handle, mut line) = LegacyLine::new();
        let (id, asking) = ask(&handle, &mut line, at(0)).await;
        line.leave_when_idle();
        assert!(!line.may_leave());
        line.next_text(at(0));
        assert!(!line.may_leave());
        line.answer(response(id));
        assert!(line.may_leave());
        assert!(asking.await.is_ok());
    }

    #[test]
    fn other_texts_are_given_back() {
        let (_handle, mut line) = LegacyLine::new();
        let health = r#"{"type":"health","status":"pass"}"#.to_owned();
        assert_eq!(line.answer(health.clone()), Some(health));
        assert_eq!(
            line.answer(response(RequestId(7))),
            None,
            "of nobody: ignored"
        );
    }
}
