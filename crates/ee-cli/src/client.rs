//! The admin client: JSON over HTTP, problems as failures.

use std::time::Duration;

use anyhow::Context;
use ee_protocol::problem::Problem;
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Exit, Failure};

/// How long an answer may take; the API answers from memory.
const TIMEOUT: Duration = Duration::from_secs(15);

/// One control plane, and who we are to it.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
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
        })
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
        let body = serde_json::to_vec(body).context("writing the request")?;
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        self.answer(path, request.body(body)).await
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
