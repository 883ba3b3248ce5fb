//! The HTTP client of all upstreams: ring, public roots, no redirects of its own, bounded bodies.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use ee_protocol::time::Timestamp;

/// Nothing of what we fetch is large; a slower answer is an outage (ATTESTATION 5 and 6).
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that does not complete TCP and TLS in this time is down; leaves time for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The client; clones share its connections and the last date seen.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: reqwest::Client,
    /// Seconds since the epoch of the last `Date` over HTTPS; 0 if there is none to take.
    date_s: Arc<AtomicI64>,
}

impl HttpClient {
    /// Remembers the answer's `Date` if the answer came over HTTPS: a second opinion on our clock.
    pub fn note_date(&self, response: &reqwest::Response) {
        let header = response.headers().get(reqwest::header::DATE);
        let date = header
            .filter(|_| response.url().scheme() == "https")
            .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok())
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        if let Some(seconds) = date.and_then(|date| i64::try_from(date.as_secs()).ok()) {
            self.date_s.store(seconds, Ordering::Release);
        }
    }

    /// The last date seen, once.
    pub fn take_date(&self) -> Option<Timestamp> {
        let seconds = self.date_s.swap(0, Ordering::AcqRel);
        (seconds > 0).then(|| Timestamp::from_unix_seconds(seconds))
    }
}

impl Deref for HttpClient {
    type Target = reqwest::Client;

    fn deref(&self) -> &reqwest::Client {
        &self.inner
    }
}

/// Builds the client. Redirects are never followed by it: whoever follows one must first decide
/// where a token may go.
pub fn client() -> anyhow::Result<HttpClient> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let inner = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FETCH_TIMEOUT)
        .user_agent(concat!("easyenclave/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("HTTP client")?;
    Ok(HttpClient {
        inner,
        date_s: Arc::default(),
    })
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub enum BodyFailure {
    /// It is, or says it is, larger than the limit.
    TooLarge,
    /// The connection failed or timed out.
    Broken(reqwest::Error),
}

/// Reads a body of at most `limit_bytes`, whatever its Content-Length claims.
pub async fn bounded_body(
    mut response: reqwest::Response,
    limit_bytes: usize,
) -> Result<Bytes, BodyFailure> {
    let declared = response.content_length().unwrap_or(0);
    if usize::try_from(declared).map_or(true, |declared| declared > limit_bytes) {
        return Err(BodyFailure::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyFailure::Broken)? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(BodyFailure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// An error of the client as text for a log: its whole chain, without the URL.
pub fn error_text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
