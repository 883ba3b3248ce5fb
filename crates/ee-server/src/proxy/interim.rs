//! Interim answers of an app (RFC 9110 15.2): 100, for which a client keeps its body, and 103 with
//! hints.
//!
//! Only HTTP/1.1 gets them: hyper's HTTP/2 server sends none. Hints go on to those that follow a
//! link (`Sec-Fetch-Mode: navigate`): only browsers make use of them, and RFC 8297 section 3 warns
//! of old HTTP/1.1 clients that take them for the answer.

use std::time::Duration;

use ee_tunnel::interim::{EE_INTERIM, Go, Hold, OnInterim};
use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, EXPECT},
    request::Parts,
};

use super::{body::ProxyBody, response, upload::Upload};
use crate::h1::Interim;

/// An agent that knows nothing of all this keeps nobody waiting; ours asks for the body after 1 s.
const CONTINUE_WITHIN: Duration = Duration::from_secs(2);

/// What a client wants to hear before its answer.
#[derive(Debug, Clone, Copy)]
pub struct Early {
    /// Whether its body may come.
    body: bool,
    /// Hints.
    hints: bool,
}

/// Whether the client's body may come.
pub struct Held(Option<Go>);

impl Early {
    /// As the head says that came.
    pub fn of(head: &Parts, ended: bool) -> Self {
        let says = |name: &str, word: &[u8]| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes);
            value.is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        let hears = head.version == Version::HTTP_11;
        Self {
            body: hears && !ended && says(EXPECT.as_str(), b"100-continue"),
            hints: hears && says("sec-fetch-mode", b"navigate"),
        }
    }

    /// Asks for it in the head that goes to the agent, and holds the body.
    pub fn arrange<B>(self, head: &mut Parts, upload: &mut Upload<B>, interim: &Interim) -> Held {
        if !self.body && !self.hints {
            return Held(None);
        }
        head.headers
            .insert(EE_INTERIM, HeaderValue::from_static("1"));
        let go = self.body.then(Go::default);
        if let Some(go) = &go {
            let expectation = HeaderValue::from_static("100-continue");
            head.headers.insert(EXPECT, expectation);
            upload.hold(Hold::new(go.clone(), CONTINUE_WITHIN));
        }
        head.extensions.insert(self.listener(go.clone(), interim));
        Held(go)
    }

    fn listener(self, go: Option<Go>, interim: &Interim) -> OnInterim {
        let interim = interim.clone();
        OnInterim::new(move |said: Response<()>| match (said.status(), &go) {
            // hyper sends the client its 100 when the body is first read.
            (StatusCode::CONTINUE, Some(go)) => go.go(),
            (StatusCode::EARLY_HINTS, _) if self.hints => {
                let mut headers = said.into_parts().0.headers;
                response::clean(&mut headers);
                interim.push(StatusCode::EARLY_HINTS, &headers);
            }
            _ => {}
        })
    }
}

impl Held {
    /// An answer without the body that was announced ends the connection: the client may have sent
    /// it after all (RFC 9110 10.1.1).
    pub fn close_if_held(self, mut answer: Response<ProxyBody>) -> Response<ProxyBody> {
        if self.0.is_some_and(|go| !go.has_gone()) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }
}
