//! The simulated platform's quoting over HTTP, so that agents in any language can be written
//! without TDX: `POST /quote {"report_data":"<128 hex>"}`.

use std::{io, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    image::DemoImage,
    platform::SimPlatform,
    quote::QuoteVersion,
    serve::{Ask, Body, Fake, json as json_answer},
    td::Td,
};

/// A request is 150 bytes; beyond this it is none.
const REQUEST_MAX_BYTES: usize = 4 * 1024;

/// The quoting service; it stops when it is dropped.
pub struct QuoteServer {
    fake: Fake,
}

struct Quoting {
    platform: SimPlatform,
    version: QuoteVersion,
    td: Td,
    event_log: Value,
    measurements: Value,
}

#[derive(Deserialize)]
struct QuoteRequest {
    report_data: String,
}

impl QuoteServer {
    /// Quotes for a TD that runs `image`; bind it to loopback only.
    pub async fn start(
        addr: SocketAddr,
        platform: SimPlatform,
        image: &DemoImage,
        version: QuoteVersion,
    ) -> io::Result<Self> {
        let quoting = Arc::new(Quoting {
            platform,
            version,
            td: image.td(),
            event_log: image.event_log(),
            measurements: image.claims_json(),
        });
        let handler = move |ask: Ask| respond(Arc::clone(&quoting), ask);
        Ok(Self {
            fake: Fake::start(addr, handler).await?,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.fake.addr()
    }

    /// Its URL without a path.
    pub fn url(&self) -> String {
        self.fake.url()
    }
}

async fn respond(quoting: Arc<Quoting>, ask: Ask) -> Response<Body> {
    if ask.uri().path() != "/quote" {
        return refusal(StatusCode::NOT_FOUND, "the only path is /quote");
    }
    if ask.method() != Method::POST {
        return refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST {\"report_data\":\"<128 hex>\"}",
        );
    }
    let Ok(body) = Limited::new(ask.into_body(), REQUEST_MAX_BYTES)
        .collect()
        .await
    else {
        return refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 4 KiB",
        );
    };
    match report_data(&body.to_bytes()) {
        Some(report_data) => json_answer(StatusCode::OK, &quoting.answer(&report_data)),
        None => refusal(
            StatusCode::BAD_REQUEST,
            "the body is {\"report_data\":\"..\"} with 128 hexadecimal digits",
        ),
    }
}

impl Quoting {
    /// The fields that `attest_response` takes as they are.
    fn answer(&self, report_data: &[u8; 64]) -> Value {
        let quote = self.platform.quote(&self.td, self.version, report_data);
        json!({
            "quote": STANDARD.encode(quote),
            "report_data": hex::encode(report_data),
            "event_log": self.event_log,
            "measurements": self.measurements,
        })
    }
}

fn report_data(body: &[u8]) -> Option<[u8; 64]> {
    let request: QuoteRequest = serde_json::from_slice(body).ok()?;
    hex::decode(request.report_data).ok()?.try_into().ok()
}

fn refusal(status: StatusCode, detail: &str) -> Response<Body> {
    json_answer(
        status,
        &json!({ "status": status.as_u16(), "detail": detail }),
    )
}
