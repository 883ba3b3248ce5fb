//! Allowlists from GitHub releases: the rules of ATTESTATION 5, "Fetching from GitHub".
//!
//! **Invariant:** the token goes to the API host and nowhere else. Redirects are followed by hand,
//! without it, and only to GitHub's own content hosts.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ee_control::ports::{
    Clock, DigestSource, ReleaseAsset, ReleaseError, ReleaseFetch, ReleaseKey, ReleaseSource,
};
use ee_core::attestation::Provenance;
use ee_protocol::{settings::Secret, time::Timestamp};
use futures_util::{FutureExt, future::BoxFuture};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::client::{BodyFailure, FETCH_TIMEOUT, HttpClient, bounded_body, error_text};

/// An allowlist holds at most 64 entries (ATTESTATION 11).
pub const ALLOWLIST_MAX_BYTES: usize = 256 * 1024;
/// A release lists at most 1 000 assets of about 1.5 KiB each, and its notes.
const RELEASE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// GitHub needs one redirect; three leave room for a change of theirs (rule 2).
const REDIRECTS_MAX: usize = 3;
/// Requests to GitHub at once (ATTESTATION 11).
const FETCHES_MAX: usize = 16;
/// GitHub's wish where it names no time for a spent quota ("wait at least one minute").
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60);
/// Everything but RFC 3986's unreserved characters, so that a tag stays one path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes text as one segment of a path.
pub fn encoded_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

/// Where a redirect of an asset may lead. A constructor argument and never a setting: tests name
/// their fake's loopback host.
#[derive(Debug, Clone)]
pub enum AssetHosts {
    /// `https://*.githubusercontent.com`.
    GithubUserContent,
    /// Exactly these `host:port` pairs, over plain HTTP too.
    Only(Vec<String>),
}

impl AssetHosts {
    fn allow(&self, url: &Url) -> bool {
        match self {
            Self::GithubUserContent => {
                url.scheme() == "https"
                    && url
                        .host_str()
                        .is_some_and(|host| host.ends_with(".githubusercontent.com"))
                    && url.port_or_known_default() == Some(443)
            }
            Self::Only(authorities) => {
                let port = url.port_or_known_default().unwrap_or(0);
                let authority = format!("{}:{port}", url.host_str().unwrap_or_default());
                authorities.contains(&authority)
            }
        }
    }
}

/// Releases on GitHub, or on an enterprise server with the same API.
pub struct GithubSource {
    client: HttpClient,
    api_url: String,
    token: Option<Secret>,
    asset_name: String,
    asset_hosts: AssetHosts,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
}

#[derive(Deserialize)]
struct Release {
    #[serde(default)]
    assets: Vec<Asset>,
    #[serde(default)]
    immutable: bool,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    url: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: Option<String>,
}

impl GithubSource {
    /// A source that asks `api_url` for the asset `asset_name` of releases.
    pub fn new(
        client: HttpClient,
        api_url: String,
        token: Option<Secret>,
        asset_name: String,
        asset_hosts: AssetHosts,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let slots = Semaphore::new(FETCHES_MAX);
        Self {
            client,
            api_url,
            token,
            asset_name,
            asset_hosts,
            clock,
            slots,
        }
    }

    async fn fetch_release(
        &self,
        release: &ReleaseKey,
        etag: Option<&str>,
    ) -> Result<ReleaseFetch, ReleaseError> {
        let (owner, name) = release.repo.parts();
        let tag = encoded_segment(release.tag.as_str());
        let url = self.url(&format!(
            "{}/repos/{owner}/{name}/releases/tags/{tag}",
            self.api_url
        ))?;
        let response = self
            .ask_api(url, "application/vnd.github+json", etag)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(ReleaseFetch::NotModified),
            StatusCode::NOT_FOUND => return Err(not_found(format!("release {release}"))),
            status if status.is_redirection() => {
                return Err(ReleaseError::RepoMoved {
                    to: location(&response),
                });
            }
            _ => return Err(self.refused(&response)),
        }
        let etag = response
            .headers()
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        let etag = etag.map(str::to_owned);
        let body = read_body(response, RELEASE_MAX_BYTES).await?;
        let found: Release = serde_json::from_slice(&body)
            .map_err(|error| outage(format!("the release is not readable: {error}")))?;
        let provenance = if found.immutable {
            Provenance::ReleaseImmutable
        } else {
            Provenance::Release
        };
        let Some(asset) = found
            .assets
            .into_iter()
            .find(|asset| asset.name == self.asset_name)
        else {
            let what = format!("asset {} in release {release}", self.asset_name);
            return Err(not_found(what));
        };
        let content = self.fetch_asset(&asset).await?;
        let (digest, digest_source) = compared(&content, asset.digest.as_deref())?;
        Ok(ReleaseFetch::Found(ReleaseAsset {
            content,
            digest,
            digest_source,
            provenance,
            etag,
        }))
    }

    async fn fetch_asset(&self, asset: &Asset) -> Result<Bytes, ReleaseError> {
        if asset.size > ALLOWLIST_MAX_BYTES as u64 {
            return Err(oversize());
        }
        let url = self.url(&asset.url)?;
        if url.origin() != self.url(&self.api_url)?.origin() {
            return Err(outage(format!(
                "the asset's url leads to another host: {}",
                host(&url)
            )));
        }
        let mut response = self.ask_api(url, "application/octet-stream", None).await?;
        for _ in 0..REDIRECTS_MAX {
            if !response.status().is_redirection() {
                break;
            }
            let next = response.url().join(&location(&response));
            let next = next.map_err(|_| outage("a redirect without a usable Location".into()))?;
            if !self.asset_hosts.allow(&next) {
                return Err(outage(format!(
                    "a redirect to {} is not followed",
                    host(&next)
                )));
            }
            // Built from scratch: no header of the API request, no token, goes along.
            let request = self
                .client
                .get(next)
                .header(header::ACCEPT, "application/octet-stream");
            response = request
                .send()
                .await
                .map_err(|error| outage(error_text(error)))?;
        }
        match response.status() {
            StatusCode::OK => read_body(response, ALLOWLIST_MAX_BYTES).await,
            StatusCode::NOT_FOUND => Err(not_found(format!("asset {}", self.asset_name))),
            status if status.is_redirection() => {
                Err(outage(format!("more than {REDIRECTS_MAX} redirects")))
            }
            _ => Err(self.refused(&response)),
        }
    }

    /// One request to the API host, the only one that sees the token.
    async fn ask_api(
        &self,
        url: Url,
        accept: &'static str,
        etag: Option<&str>,
    ) -> Result<Response, ReleaseError> {
        let mut request = self.client.get(url).header(header::ACCEPT, accept);
        request = request.header("X-GitHub-Api-Version", "2022-11-28");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = request
            .send()
            .await
            .map_err(|error| outage(error_text(error)))?;
        self.client.note_date(&response);
        Ok(response)
    }

    fn url(&self, text: &str) -> Result<Url, ReleaseError> {
        Url::parse(text).map_err(|error| outage(format!("not a URL: {error}")))
    }

    /// An answer that is no answer: a spent quota with its reset, or an outage.
    fn refused(&self, response: &Response) -> ReleaseError {
        let status = response.status();
        let number = |name: &str| -> Option<i64> {
            response
                .headers()
                .get(name)?
                .to_str()
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let now = self.clock.now();
        let limited = matches!(
            status,
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        let spent = number("x-ratelimit-remaining") == Some(0);
        if let (true, Some(wait)) = (limited, number("retry-after")) {
            let wait = Duration::from_secs(wait.max(1).unsigned_abs());
            return ReleaseError::RateLimited {
                until: now.after(wait),
            };
        }
        if limited && (spent || status == StatusCode::TOO_MANY_REQUESTS) {
            let reset = number("x-ratelimit-reset").map(Timestamp::from_unix_seconds);
            let until = reset.filter(|reset| *reset > now);
            let until = until.unwrap_or_else(|| now.after(RATE_LIMIT_PAUSE));
            return ReleaseError::RateLimited { until };
        }
        if status == StatusCode::UNAUTHORIZED {
            return outage("GitHub refuses EE_GITHUB_TOKEN (401)".to_owned());
        }
        outage(format!("status {}", status.as_u16()))
    }
}

impl ReleaseSource for GithubSource {
    fn name(&self) -> String {
        self.api_url.clone()
    }

    fn fetch<'a>(
        &'a self,
        release: &'a ReleaseKey,
        etag: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReleaseFetch, ReleaseError>> {
        async move {
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, async {
                let _slot = self
                    .slots
                    .acquire()
                    .await
                    .map_err(|_| outage("closed".into()))?;
                self.fetch_release(release, etag).await
            });
            fetched
                .await
                .unwrap_or_else(|_| Err(outage("no answer in 10 s".to_owned())))
        }
        .boxed()
    }
}

async fn read_body(response: Response, limit_bytes: usize) -> Result<Bytes, ReleaseError> {
    bounded_body(response, limit_bytes)
        .await
        .map_err(|failure| match failure {
            BodyFailure::TooLarge => ReleaseError::Oversize {
                limit_bytes: limit_bytes as u64,
            },
            BodyFailure::Broken(error) => outage(error_text(error)),
        })
}

/// Our digest of the content, after comparing it with the published one if there is one.
fn compared(
    content: &[u8],
    published: Option<&str>,
) -> Result<([u8; 32], DigestSource), ReleaseError> {
    let digest = sha256(content);
    let actual = hex::encode(digest);
    match published.and_then(|text| text.strip_prefix("sha256:")) {
        None => Ok((digest, DigestSource::Computed)),
        Some(expected) if expected.eq_ignore_ascii_case(&actual) => {
            Ok((digest, DigestSource::Published))
        }
        Some(expected) => Err(ReleaseError::DigestMismatch {
            expected: expected.to_ascii_lowercase(),
            actual,
        }),
    }
}

fn location(response: &Response) -> String {
    let location = response.headers().get(header::LOCATION);
    location
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// The host of a URL for a message; paths and queries of signed URLs stay out of logs.
fn host(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

fn outage(detail: String) -> ReleaseError {
    ReleaseError::Outage { detail }
}

fn not_found(what: String) -> ReleaseError {
    ReleaseError::NotFound { what }
}

fn oversize() -> ReleaseError {
    ReleaseError::Oversize {
        limit_bytes: ALLOWLIST_MAX_BYTES as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_githubs_content_hosts_only() {
        let hosts = AssetHosts::GithubUserContent;
        let allow = |text: &str| hosts.allow(&Url::parse(text).expect("url"));
        assert!(allow(
            "https://release-assets.githubusercontent.com/x?sig=1"
        ));
        for bad in [
            "http://objects.githubusercontent.com/x",
            "https://githubusercontent.com/x",
            "https://evil-githubusercontent.com/x",
            "https://objects.githubusercontent.com:8443/x",
            "https://objects.githubusercontent.com.evil.example/x",
            "https://127.0.0.1/x",
        ] {
            assert!(!allow(bad), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_one_segment() {
        assert_eq!(encoded_segment("release/1 ä"), "release%2F1%20%C3%A4");
        assert_eq!(encoded_segment("v0.1.3"), "v0.1.3");
    }
}
