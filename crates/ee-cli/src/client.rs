//! The admin client: JSON over HTTP, problems as failures.

use std::time::Duration;

use anyhow::Context;
use ee_protocol::problem::Problem;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    failure::{Exit, Failure},
    path::with_query,
};

/// How long an answer may take; the API answers from memory.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Items of a page at most (EXPERIENCE 5).
const PAGE_MAX: usize = 1_000;

/// One control plane, and who we are to it.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    key: Option<String>,
}

impl Client {
    /// A client of the control plane at `url`, `http(s)://host[:port]`.
    pub fn new(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("easyenclave/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("setting up the HTTP client")?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            url,
            token: token.map(str::to_owned),
            key: None,
        })
    }

    /// Sends writes under this key, to repeat one whose answer got lost.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// Where it talks to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `GET`; any refusal is a [`Failure`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.http.get(format!("{}{path}", self.url));
        self.answer(path, request).await
    }

    /// `POST` of JSON; any refusal is a [`Failure`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.write(path, self.http.post(format!("{}{path}", self.url)), body)
            .await
    }

    /// `PUT` of JSON; any refusal is a [`Failure`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.write(path, self.http.put(format!("{}{path}", self.url)), body)
            .await
    }

    /// `DELETE`; any refusal is a [`Failure`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.http.delete(format!("{}{path}", self.url));
        self.keyed(path, request).await
    }

    async fn write<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body).context("writing the request")?;
        let request = request.header("content-type", "application/json");
        self.keyed(path, request.body(body)).await
    }

    /// Sends a write under an idempotency key, so that repeating it has no second effect.
    async fn keyed<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<T> {
        let key = match &self.key {
            Some(key) => key.clone(),
            None => fresh_key()?,
        };
        let answer = self
            .answer(path, request.header("idempotency-key", &key))
            .await;
        answer.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) if failure.exit == Exit::Unreachable => failure
                .next(format!(
                    "repeat the command with --idempotency-key {key}: it has one effect"
                ))
                .into(),
            Ok(failure) => failure.into(),
            Err(error) => error,
        })
    }

    /// A list page by page, up to `limit` items; `split` takes a page apart. Also the cursor of
    /// the page after the last one read.
    pub async fn pages<P: DeserializeOwned, T>(
        &self,
        path: &str,
        limit: usize,
        split: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> anyhow::Result<(Vec<T>, Option<String>)> {
        let mut items = Vec::new();
        let mut cursor = None;
        while items.len() < limit {
            let size = (limit - items.len()).min(PAGE_MAX);
            let query = [("limit", Some(size.to_string())), ("cursor", cursor)];
            let (mut page, next) = split(self.get(&with_query(path, &query)).await?);
            items.append(&mut page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok((items, cursor))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<T> {
        let mut request = request;
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("{path} answered something else than expected"));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Failure::from(problem).into()),
            Err(_) => Err(Failure::new(
                Exit::Failure,
                "unexpected_answer",
                format!("{}{path} answered {status}", self.url),
                "check that --url names the API of a control plane",
            )
            .into()),
        }
    }

    /// `GET` where a 404 is an answer too.
    pub async fn get_if_found<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.downcast_ref::<Failure>() {
                Some(failure) if failure.exit == Exit::NotFound => Ok(None),
                Some(_) | None => Err(error),
            },
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            "did not answer in time"
        } else {
            "is not reachable"
        };
        Failure::new(
            Exit::Unreachable,
            "unreachable",
            format!("{} {why}", self.url),
            "check --url and that the control plane runs; for a local one: easyenclave dev",
        )
    }
}

/// 128 random bits: nobody else's request has this key.
fn fresh_key() -> anyhow::Result<String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().context("the system has no randomness")?;
    Ok(hex::encode(bytes))
}
