//! The books over HTTP: money, locks, usage, verdicts, and what strangers try with them.

mod bodies;
mod credits;
mod described;
mod idempotency;
mod lists;
mod locks;
mod nodes;
mod ownership;
mod settlements;
mod usage;
mod zero_bytes;

use std::{sync::Arc, time::Duration};

use ee_control::ports::Clock;
use ee_protocol::time::Timestamp;
use ee_server::clock::SystemClock;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::running::{ADMIN, LAUNCHER, Running, UPTIME};

/// A server with a token of each role of the settings.
pub struct World {
    pub running: Running,
}

/// An answer, read.
#[derive(Debug)]
pub struct Read {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl World {
    pub async fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
        Self::start_in(&dir).await
    }

    pub async fn start_in(dir: &Arc<TempDir>) -> Self {
        let tokens = [
            ("EE_ADMIN_TOKEN", ADMIN),
            ("EE_LAUNCHER_TOKEN", LAUNCHER),
            ("EE_UPTIME_TOKEN", UPTIME),
        ];
        let running = Running::start_in(dir, &tokens).await.expect("started");
        Self { running }
    }

    pub async fn call(
        &self,
        method: Method,
        token: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> Read {
        let verb = method.as_str().to_ascii_lowercase();
        let mut request = self.running.request(method, path).bearer_auth(token);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            let request_body = body.to_owned();
            request = request
                .header("content-type", "application/json")
                .body(request_body);
        }
        let response = request.send().await.expect("answered");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let is_json = headers
            .get("content-type")
            .is_some_and(|kind| kind == "application/json");
        if status < 300 && is_json {
            described::check(&verb, path, &body);
        }
        Read {
            status,
            headers,
            body,
            text,
        }
    }

    /// A POST without key.
    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Read {
        let body = body.to_string();
        self.call(Method::POST, token, path, None, Some(&body))
            .await
    }

    /// A POST under a key.
    pub async fn keyed(&self, token: &str, path: &str, key: &str, body: &Value) -> Read {
        let body = body.to_string();
        self.call(Method::POST, token, path, Some(key), Some(&body))
            .await
    }

    pub async fn get(&self, token: &str, path: &str) -> Read {
        self.call(Method::GET, token, path, None, None).await
    }

    pub async fn purchase(&self, account: &str, amount_usd: &str) -> Read {
        let body = json!({"account_id": account, "amount_usd": amount_usd});
        let read = self.post(ADMIN, "/v1/credits/purchase", &body).await;
        assert_eq!(read.status, 200, "{}", read.text);
        read
    }

    /// Available, posted, locked, in µ$.
    pub async fn holdings(&self, account: &str) -> (i64, i64, i64) {
        let read = self.get(ADMIN, &format!("/v1/balances/{account}")).await;
        let amount = |name: &str| {
            let text = read.body[name].as_str().expect("a decimal string");
            text.parse().expect("a number")
        };
        (
            amount("available_micro_usd"),
            amount("posted_micro_usd"),
            amount("locked_micro_usd"),
        )
    }

    /// The trial balance's sum, which is always zero.
    pub async fn sum(&self) -> String {
        let read = self.get(ADMIN, "/v1/ledger/trial-balance").await;
        read.body["sum_micro_usd"]
            .as_str()
            .expect("text")
            .to_owned()
    }

    /// Makes a token.
    pub async fn token(&self, role: &str, resources: &[&str]) -> String {
        self.token_with(json!({"role": role, "resources": resources}))
            .await
    }

    pub async fn token_with(&self, request: Value) -> String {
        let read = self.post(ADMIN, "/v1/tokens", &request).await;
        assert_eq!(read.status, 201, "{}", read.text);
        read.body["token"].as_str().expect("text").to_owned()
    }

    /// Registers a node with a price.
    pub async fn node(&self, node: &str, price_usd: &str) -> Read {
        let body = json!({"node_id": node, "price_usd": price_usd, "allow_update": true});
        let read = self.post(ADMIN, "/v1/nodes/register", &body).await;
        assert_eq!(read.status, 200, "{}", read.text);
        read
    }

    pub async fn stop(self) -> Arc<TempDir> {
        self.running.stop().await
    }
}

impl Read {
    /// Status and code, to compare.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The full hour that many hours ago, RFC 3339.
pub fn hours_ago(hours: u64) -> String {
    full_hour()
        .before(Duration::from_secs(hours * 3_600))
        .rfc3339_seconds()
}

/// The full hour that many hours from now, RFC 3339.
pub fn hours_ahead(hours: u64) -> String {
    full_hour()
        .after(Duration::from_secs(hours * 3_600))
        .rfc3339_seconds()
}

fn full_hour() -> Timestamp {
    let seconds = SystemClock.now().unix_seconds();
    Timestamp::from_unix_seconds(seconds - seconds % 3_600)
}
