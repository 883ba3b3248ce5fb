//! A fake of GitHub's release API on two hosts: the API and the asset store it redirects to.
//!
//! Every request is recorded with its `Authorization`, so that a test can show that the token stays
//! on the API host.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use ring::digest;
use serde_json::{Value, json};

use crate::serve::{Ask, Body, Fake, answer, any_port, json as json_answer, unsized_body};

/// What the metadata says about the asset's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestMode {
    /// The asset's SHA-256.
    Right,
    /// Another SHA-256.
    Wrong,
    /// `null`, as for assets from before GitHub computed digests.
    Missing,
}

/// One release with one asset.
#[derive(Debug, Clone)]
pub struct Release {
    /// `owner/name`.
    pub repo: String,
    /// The release's tag.
    pub tag: String,
    /// The asset's name.
    pub asset_name: String,
    /// The asset.
    pub content: Vec<u8>,
    /// Whether GitHub calls the release immutable.
    pub immutable: bool,
    /// The digest in the metadata.
    pub digest: DigestMode,
    /// The size in the metadata where it is to differ from the truth.
    pub declared_size: Option<u64>,
    /// Whether the asset comes with Content-Length.
    pub sized: bool,
}

impl Release {
    /// A release with an honest asset.
    pub fn new(repo: &str, tag: &str, asset_name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            repo: repo.to_owned(),
            tag: tag.to_owned(),
            asset_name: asset_name.to_owned(),
            content: content.into(),
            immutable: false,
            digest: DigestMode::Right,
            declared_size: None,
            sized: true,
        }
    }
}

/// How GitHub behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GithubMode {
    /// Assets come from the API host.
    Normal,
    /// Assets are a redirect to the asset host.
    RedirectAssets,
    /// Assets are a redirect to wherever this says.
    RedirectAssetsTo(String),
    /// The release call is a redirect: the repository was renamed.
    Moved,
    /// This status for every call.
    ServerError(u16),
    /// 403 with the headers of an exhausted quota.
    RateLimited {
        /// When the quota is full again, Unix seconds.
        reset: u64,
    },
    /// Answers late.
    Slow(Duration),
}

/// Which of the two hosts was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GithubHost {
    /// `api.github.com`.
    Api,
    /// `objects.githubusercontent.com`.
    Assets,
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub host: GithubHost,
    /// Path and query as sent.
    pub path: String,
    /// The credential, if any.
    pub authorization: Option<String>,
    /// The validator, if any.
    pub if_none_match: Option<String>,
    /// What the client accepts.
    pub accept: Option<String>,
    /// Who asks: GitHub refuses clients without a name.
    pub user_agent: Option<String>,
}

/// A fake GitHub on loopback; it stops when it is dropped.
pub struct FakeGithub {
    api: Fake,
    assets: Fake,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    releases: Vec<Release>,
    mode: Option<GithubMode>,
    seen: Vec<Seen>,
    /// Set once both hosts listen.
    urls: BTreeMap<&'static str, String>,
}

impl FakeGithub {
    /// Starts both hosts without any release.
    pub async fn start() -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let api = Self::host(&state, GithubHost::Api).await?;
        let assets = Self::host(&state, GithubHost::Assets).await?;
        lock(&state).urls = BTreeMap::from([("api", api.url()), ("assets", assets.url())]);
        Ok(Self { api, assets, state })
    }

    async fn host(state: &Arc<Mutex<State>>, host: GithubHost) -> io::Result<Fake> {
        let shared = Arc::clone(state);
        Fake::start(any_port(), move |ask| {
            respond(Arc::clone(&shared), host, ask)
        })
        .await
    }

    /// What `EE_GITHUB_API_URL` takes.
    pub fn api_url(&self) -> String {
        self.api.url()
    }

    /// The asset host.
    pub fn asset_url(&self) -> String {
        self.assets.url()
    }

    /// Publishes a release; one with the same repository, tag and asset name is replaced.
    pub fn publish(&self, release: Release) {
        let mut state = lock(&self.state);
        state.releases.retain(|old| {
            (&old.repo, &old.tag, &old.asset_name)
                != (&release.repo, &release.tag, &release.asset_name)
        });
        state.releases.push(release);
    }

    /// Uploads another content under the same name: what an attacker with the token would do.
    pub fn swap(&self, repo: &str, tag: &str, content: impl Into<Vec<u8>>) {
        let mut state = lock(&self.state);
        let mut releases = state.releases.iter_mut();
        if let Some(release) = releases.find(|found| found.repo == repo && found.tag == tag) {
            release.content = content.into();
        }
    }

    /// Changes the behaviour from the next request on.
    pub fn set_mode(&self, mode: GithubMode) {
        lock(&self.state).mode = Some(mode);
    }

    /// Requests so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }
}

async fn respond(state: Arc<Mutex<State>>, host: GithubHost, ask: Ask) -> Response<Body> {
    let mode = {
        let mut state = lock(&state);
        state.seen.push(seen(host, &ask));
        state.mode.clone().unwrap_or(GithubMode::Normal)
    };
    match mode {
        GithubMode::ServerError(status) => return failure(status),
        GithubMode::RateLimited { reset } => return rate_limited(reset),
        GithubMode::Slow(delay) => tokio::time::sleep(delay).await,
        GithubMode::Normal
        | GithubMode::RedirectAssets
        | GithubMode::RedirectAssetsTo(_)
        | GithubMode::Moved => {}
    }
    let state = lock(&state);
    match host {
        GithubHost::Api => state.api(&mode, &ask),
        GithubHost::Assets => state.stored(ask.uri().path()),
    }
}

impl State {
    /// Below `/repos/{owner}/{name}`: `/releases/tags/{tag}` and `/releases/assets/{id}`.
    fn api(&self, mode: &GithubMode, ask: &Ask) -> Response<Body> {
        let path: Vec<_> = ask.uri().path().split('/').skip(1).collect();
        match path[..] {
            ["repos", owner, name, "releases", "tags", tag] => {
                if *mode == GithubMode::Moved {
                    return redirect("/repositories/1/releases/tags/v1", &self.urls["api"]);
                }
                self.release(&format!("{owner}/{name}"), tag, ask.headers())
            }
            ["repos", _, _, "releases", "assets", id] => self.asset(mode, id, ask),
            _ => not_found(),
        }
    }

    fn release(&self, repo: &str, tag: &str, headers: &HeaderMap) -> Response<Body> {
        let tag = percent_encoding::percent_decode_str(tag).decode_utf8_lossy();
        let assets: Vec<_> = (0..)
            .zip(&self.releases)
            .filter(|(_, found)| found.repo.eq_ignore_ascii_case(repo) && found.tag == tag)
            .map(|(id, found)| (found.immutable, self.metadata(id, found)))
            .collect();
        let Some((immutable, _)) = assets.first() else {
            return not_found();
        };
        let immutable = *immutable;
        let assets: Vec<_> = assets.into_iter().map(|(_, metadata)| metadata).collect();
        let body = json!({ "tag_name": tag, "immutable": immutable, "assets": assets });
        let etag = format!("W/\"{}\"", sha256_hex(body.to_string().as_bytes()));
        let unchanged = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|sent| sent == etag.as_str());
        let mut response = if unchanged {
            answer(StatusCode::NOT_MODIFIED, "application/json", "")
        } else {
            json_answer(StatusCode::OK, &body)
        };
        set(&mut response, header::ETAG, &etag);
        response
    }

    fn metadata(&self, id: usize, release: &Release) -> Value {
        let Release {
            repo,
            tag,
            asset_name,
            content,
            digest,
            declared_size,
            immutable: _,
            sized: _,
        } = release;
        let digest = match digest {
            DigestMode::Right => json!(format!("sha256:{}", sha256_hex(content))),
            DigestMode::Wrong => json!(format!("sha256:{}", "0".repeat(64))),
            DigestMode::Missing => Value::Null,
        };
        let size = declared_size.unwrap_or(content.len() as u64);
        let (api, assets) = (&self.urls["api"], &self.urls["assets"]);
        json!({
            "id": id,
            "name": asset_name,
            "state": "uploaded",
            "content_type": "application/json",
            "size": size,
            "digest": digest,
            "url": format!("{api}/repos/{repo}/releases/assets/{id}"),
            "browser_download_url": format!("{assets}/{repo}/releases/download/{tag}/{asset_name}"),
        })
    }

    fn asset(&self, mode: &GithubMode, id: &str, ask: &Ask) -> Response<Body> {
        let Some((id, release)) = self.by_id(id) else {
            return not_found();
        };
        let accept = ask.headers().get(header::ACCEPT);
        if accept.is_none_or(|value| value != "application/octet-stream") {
            return json_answer(StatusCode::OK, &self.metadata(id, release));
        }
        match mode {
            GithubMode::RedirectAssets => redirect(
                &format!("/store/{id}?signature=secret"),
                &self.urls["assets"],
            ),
            GithubMode::RedirectAssetsTo(url) => redirect("", url),
            GithubMode::Normal
            | GithubMode::Moved
            | GithubMode::ServerError(_)
            | GithubMode::RateLimited { .. }
            | GithubMode::Slow(_) => octets(release),
        }
    }

    fn stored(&self, path: &str) -> Response<Body> {
        if path == "/loop" {
            return redirect("/loop", &self.urls["assets"]);
        }
        let found = path.strip_prefix("/store/").and_then(|id| self.by_id(id));
        found.map_or_else(not_found, |(_, release)| octets(release))
    }

    fn by_id(&self, id: &str) -> Option<(usize, &Release)> {
        let id = id.parse().ok()?;
        Some((id, self.releases.get(id)?))
    }
}

fn seen(host: GithubHost, ask: &Ask) -> Seen {
    let header = |name: HeaderName| {
        let value = ask.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Seen {
        host,
        path: ask.uri().to_string(),
        authorization: header(header::AUTHORIZATION),
        if_none_match: header(header::IF_NONE_MATCH),
        accept: header(header::ACCEPT),
        user_agent: header(header::USER_AGENT),
    }
}

fn octets(release: &Release) -> Response<Body> {
    let content = release.content.clone();
    if release.sized {
        return answer(StatusCode::OK, "application/octet-stream", content);
    }
    Response::new(unsized_body(content))
}

fn redirect(path: &str, base: &str) -> Response<Body> {
    let mut response = answer(StatusCode::FOUND, "text/html", "");
    set(&mut response, header::LOCATION, &format!("{base}{path}"));
    response
}

fn rate_limited(reset: u64) -> Response<Body> {
    let message = json!({ "message": "API rate limit exceeded" });
    let mut response = json_answer(StatusCode::FORBIDDEN, &message);
    set(
        &mut response,
        HeaderName::from_static("x-ratelimit-remaining"),
        "0",
    );
    set(
        &mut response,
        HeaderName::from_static("x-ratelimit-reset"),
        &reset.to_string(),
    );
    response
}

fn failure(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_answer(status, &json!({ "message": "simulated failure" }))
}

fn not_found() -> Response<Body> {
    json_answer(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }))
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value = value.parse().expect("header values here are visible ASCII");
    response.headers_mut().insert(name, value);
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .expect("no handler panics while it holds the state")
}
