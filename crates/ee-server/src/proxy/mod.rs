//! The way in for people: the proxy listener, and `POST /v1/proxy/{app}`.
//!
//! The straight line of a request: `listener` accepts, `app` reads which app is meant, `request`
//! makes the head fit for the tunnel, `forward` picks a tunnel and sends, `response` makes the
//! answer fit for the public. Nothing here touches the database or waits for a writer.

mod app;
mod body;
mod credit;
mod exchange;
mod face;
mod fields;
mod forward;
mod interim;
mod lent;
mod listener;
mod pace;
mod patience;
mod payload;
mod post;
mod relay;
mod request;
mod response;
mod trace;
mod upload;
mod websocket;

use ee_protocol::problem::{Problem, ProblemCode};

pub use self::{listener::run_listener, post::proxy_post};

/// What reads heads of strangers, for the fuzz targets.
#[doc(hidden)]
pub mod readers {
    pub use super::{
        app::{authority, select},
        fields::clean_trailers,
        payload::parse as payload,
        request::{Caller, check, is_origin_form, rewrite},
        response::rewrite as rewrite_answer,
    };
}

/// A refusal that says what happened this time.
fn refuse(code: ProblemCode, detail: &str) -> Box<Problem> {
    Problem::new(code).detail(detail).into()
}
