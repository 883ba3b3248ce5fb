//! What the guard and the service of one connection tell each other.
//!
//! hyper asks the service for heads in their order, one at a time, so that both count the same.

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;
use http::{HeaderValue, Request, Response, StatusCode, header::CONNECTION};
use http_body::Body;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};

use super::fault::Fault;

/// The requests of one connection, by number from 1.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicU64,
    answered: AtomicU64,
    upgraded: AtomicBool,
    refused: OnceLock<(u64, Fault)>,
    waiting: AtomicWaker,
}

impl Turns {
    /// A service behind the guard: it sees the good requests, `refuse` answers the bad one, after
    /// which the connection is closed.
    pub fn service<S, B>(
        self,
        service: S,
        refuse: fn(Fault) -> Response<B>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<B>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    >
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
    {
        service_fn(move |request| {
            let turns = self.clone();
            let answering = match turns.begin() {
                None => Ok(service.call(request)),
                Some(fault) => Err(last(refuse(fault))),
            };
            async move {
                let answer = match answering {
                    Ok(answering) => answering.await?,
                    Err(refusal) => refusal,
                };
                turns.answered(answer.status());
                Ok(answer)
            }
        })
    }

    /// The service's next request: what is wrong with it, if it is one that the guard put in a
    /// bad one's place.
    fn begin(&self) -> Option<Fault> {
        let number = self.0.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let refused = self.0.refused.get();
        refused
            .filter(|(place, _)| *place == number)
            .map(|(_, fault)| *fault)
    }

    /// The service has this answer to the request that was begun last.
    pub(super) fn answered(&self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.0.upgraded.store(true, Ordering::Release);
        }
        self.0.answered.fetch_add(1, Ordering::AcqRel);
        self.0.waiting.wake();
    }

    /// Whether a request was begun that has no answer yet.
    pub(super) fn is_open(&self) -> bool {
        let begun = self.0.begun.load(Ordering::Acquire);
        begun > self.0.answered.load(Ordering::Acquire)
    }

    /// The guard has put an empty request in the place of this one.
    pub(super) fn refuse(&self, number: u64, fault: Fault) {
        // A second refusal cannot come: nothing after the first is read.
        let _first = self.0.refused.set((number, fault));
    }

    /// Whether this request, which asked for it, has changed the protocol; `None` while it is not
    /// answered, and then the task is woken when it is.
    pub(super) fn upgraded(&self, number: u64, waker: &Waker) -> Option<bool> {
        self.0.waiting.register(waker);
        let answered = self.0.answered.load(Ordering::Acquire) >= number;
        answered.then(|| self.0.upgraded.load(Ordering::Acquire))
    }
}

/// Whoever frames one request badly is not believed about where the next begins.
fn last<B>(mut refusal: Response<B>) -> Response<B> {
    let close = HeaderValue::from_static("close");
    refusal.headers_mut().insert(CONNECTION, close);
    refusal
}
