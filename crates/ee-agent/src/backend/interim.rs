//! What the app says before its answer: 100, for which a client's body may wait, and 103 with hints
//! (RFC 9110 15.2, RFC 8297).

use std::time::Duration;

use ee_tunnel::interim::{Go, Hold, InterimSender};
use http::{HeaderValue, Request, Response, StatusCode, header::EXPECT};
use http_body::Body;
use hyper::ext::on_informational;

use super::{headers, timed::Timed};

/// Many apps never say that they want a body; clients such as curl wait for so long, too.
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);
/// Longest head of an interim answer that goes on.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// A request whose client hears interim answers.
pub(super) struct Early {
    sender: InterimSender,
    /// Whether the client keeps its body until the app asks for it.
    waits: bool,
}

impl Early {
    /// Of a request as it comes out of the tunnel.
    pub(super) fn take<B: Body>(request: &mut Request<B>) -> Option<Self> {
        let sender = request.extensions_mut().remove::<InterimSender>()?;
        let expects = request.headers().get(EXPECT).is_some_and(is_continue);
        let waits = expects && !request.body().is_end_stream();
        Some(Self { sender, waits })
    }

    /// For an app that is not asked: the body may come.
    pub(super) fn go_on(self) {
        if self.waits {
            self.sender.send(interim(StatusCode::CONTINUE));
        }
    }

    /// Asks the app, and passes on what it says.
    pub(super) fn arrange<B>(self, request: &mut Request<Timed<B>>) {
        let Self { sender, waits } = self;
        let go = Go::default();
        if waits {
            let expectation = HeaderValue::from_static("100-continue");
            request.headers_mut().insert(EXPECT, expectation);
            let hold = Hold::new(go.clone(), CONTINUE_WITHIN);
            let sender = sender.clone();
            let wanted = move || sender.send(interim(StatusCode::CONTINUE));
            request.body_mut().hold(hold, wanted);
        }
        on_informational(request, move |said| match said.status() {
            StatusCode::CONTINUE => go.go(),
            StatusCode::EARLY_HINTS => {
                let mut hints = interim(StatusCode::EARLY_HINTS);
                *hints.headers_mut() = said.headers().clone();
                headers::clean_answer(hints.headers_mut());
                if headers::size(hints.headers()) <= HEAD_MAX_BYTES {
                    sender.send(hints);
                }
            }
            // 102 and unknown ones say nothing to this client.
            _ => {}
        });
    }
}

fn is_continue(expectation: &HeaderValue) -> bool {
    expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

fn interim(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
