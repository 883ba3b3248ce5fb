//! Who calls: tokens, roles, scopes. One place mints an [`Actor`], and only from a token that
//! matched (EXPERIENCE 7).
//!
//! **Invariants:** an unset token closes its door; a loopback address is no credential; tokens are
//! held as SHA-256 and compared in constant time; a correct token is never refused because of
//! others' failures.

mod bootstrap;
mod failures;
mod roles;
mod token;

use std::{net::IpAddr, sync::Mutex};

use arc_swap::ArcSwapOption;
use ee_protocol::{
    problem::{Problem, ProblemCode},
    time::Timestamp,
};
use ee_store::Store;
use http::{HeaderMap, HeaderValue, header};

use self::{bootstrap::Bootstrap, failures::FailureLimiter, token::digest_of};
pub use self::{
    bootstrap::{Announce, BOOTSTRAP_FILE, announce},
    roles::{Role, Scope},
    token::Digest,
};
use crate::{config::Settings, http::ApiError};

/// Proof that a presented token matched, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    role: Role,
}

impl Actor {
    /// The role of the token.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// What a request presented.
enum Presented<'a> {
    Nothing,
    /// A header that is no bearer token.
    Malformed,
    Token(&'a str),
}

/// The credentials that exist, and the count of failures.
pub struct Auth {
    environment: Vec<(Role, Digest)>,
    stored_admin: ArcSwapOption<Digest>,
    bootstrap: ArcSwapOption<Bootstrap>,
    failures: Mutex<FailureLimiter>,
}

impl Auth {
    /// The tokens of the settings and the stored admin token.
    pub fn new(settings: &Settings, stored_admin: Option<Digest>) -> Self {
        let tokens = [
            (Role::Admin, &settings.admin_token),
            (Role::Launcher, &settings.launcher_token),
            (Role::Uptime, &settings.uptime_token),
        ];
        let environment = tokens
            .into_iter()
            .filter_map(|(role, token)| Some((role, digest_of(token.as_ref()?.expose()))))
            .collect();
        Self {
            environment,
            stored_admin: ArcSwapOption::from_pointee(stored_admin),
            bootstrap: ArcSwapOption::empty(),
            failures: Mutex::new(FailureLimiter::default()),
        }
    }

    /// Whether anyone can act as `role`.
    pub fn is_configured(&self, role: Role) -> bool {
        let in_environment = self
            .environment
            .iter()
            .any(|(configured, _)| *configured == role);
        in_environment || (role == Role::Admin && self.stored_admin.load().is_some())
    }

    /// The caller's proof for `scope`, or the refusal in the order of EXPERIENCE 7: a valid token
    /// with the scope passes; then 403 `role_not_configured`, 401 `token_missing`, 401
    /// `token_invalid`, 403 `scope_missing`.
    pub fn authorise(
        &self,
        headers: &HeaderMap,
        scope: Scope,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Actor, ApiError> {
        let presented = presented(headers);
        let role = match &presented {
            Presented::Token(token) => self.role_of(token),
            Presented::Nothing | Presented::Malformed => None,
        };
        if let Some(role) = role.filter(|role| role.has(scope)) {
            return Ok(Actor { role });
        }
        let home = scope.home();
        if !self.is_configured(home) {
            let detail = format!("no token of the role {home} is configured");
            return Err(Problem::new(ProblemCode::RoleNotConfigured)
                .detail(detail)
                .into());
        }
        match (presented, role) {
            (_, Some(role)) => {
                let detail = format!("the role {role} lacks the scope {scope}");
                Err(Problem::new(ProblemCode::ScopeMissing)
                    .detail(detail)
                    .into())
            }
            (Presented::Nothing, None) => Err(ProblemCode::TokenMissing.into()),
            (Presented::Malformed | Presented::Token(_), None) => Err(self.failed(client, now)),
        }
    }

    /// The role of a token that came another way than `Authorization` (`X-EE-Token`). Looks at
    /// every configured token, whether or not one matched already.
    pub fn role_of(&self, token: &str) -> Option<Role> {
        let presented = digest_of(token);
        let stored = self.stored_admin.load();
        let stored = stored.as_deref().map(|digest| (Role::Admin, *digest));
        let mut found = None;
        for (role, digest) in self.environment.iter().copied().chain(stored) {
            if token::equal(&digest, &presented) {
                found = Some(role);
            }
        }
        found
    }

    /// Counts a wrong token: 401 `token_invalid`, or 429 once there were too many.
    fn failed(&self, client: IpAddr, now: Timestamp) -> ApiError {
        let mut failures = self
            .failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(wait) = failures.failed(client, now) else {
            return ProblemCode::TokenInvalid.into();
        };
        let seconds = wait.as_secs().max(1);
        let detail = format!("too many wrong tokens from this address; wait {seconds} s");
        ApiError::from(Problem::new(ProblemCode::RateLimited).detail(detail))
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Spends the bootstrap token for an admin token, once.
    pub async fn spend_bootstrap(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        store: &Store,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        let live = self
            .bootstrap
            .load_full()
            .filter(|bootstrap| bootstrap.is_live(now));
        let Some(live) = live else {
            return Err(ProblemCode::BootstrapClosed.into());
        };
        let token = match presented(headers) {
            Presented::Nothing => return Err(ProblemCode::TokenMissing.into()),
            Presented::Malformed => return Err(self.failed(client, now)),
            Presented::Token(token) => token,
        };
        if !token::equal(&live.digest, &digest_of(token)) {
            return Err(self.failed(client, now));
        }
        let admin = token::generate("admin");
        let admin_digest = digest_of(&admin);
        let spent = store.spend_bootstrap(live.digest, admin_digest, now).await;
        match spent {
            Ok(true) => {}
            Ok(false) => return Err(ProblemCode::BootstrapClosed.into()),
            Err(error) => {
                tracing::error!(event = "bootstrap_failed", %error);
                return Err(ProblemCode::StoreUnavailable.into());
            }
        }
        self.stored_admin
            .store(Some(std::sync::Arc::new(admin_digest)));
        self.bootstrap.store(None);
        Ok(admin)
    }

    /// Opens the bootstrap door: makes a token, stores its hash, and returns it to be announced.
    pub async fn open_bootstrap(&self, store: &Store, now: Timestamp) -> anyhow::Result<String> {
        let token = token::generate("boot");
        let bootstrap = Bootstrap::new(digest_of(&token), now);
        store.set_bootstrap(bootstrap.digest).await?;
        self.bootstrap.store(Some(std::sync::Arc::new(bootstrap)));
        Ok(token)
    }
}

fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Presented::Nothing;
    };
    if values.next().is_some() {
        return Presented::Malformed;
    }
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() => Presented::Token(token),
        Some(_) | None => Presented::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ee_protocol::settings::{SecretRule, Sources};

    const ADMIN: &str = "admin-token-0123456789abcdef";
    const UPTIME: &str = "uptime-token-0123456789abcdef";

    fn auth(pairs: &[(&str, &str)]) -> Auth {
        let sources = Sources::from_pairs(pairs.iter().copied());
        let settings = Settings::from_sources(&sources, SecretRule::Strong).expect("settings");
        Auth::new(&settings, None)
    }

    fn answer(auth: &Auth, authorization: Option<&str>) -> String {
        answer_from(auth, authorization, "203.0.113.1")
    }

    fn answer_from(auth: &Auth, authorization: Option<&str>, client: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().expect("header"));
        }
        let client = client.parse().expect("address");
        let now = Timestamp::from_unix_seconds(1_000);
        match auth.authorise(&headers, Scope::AppsRead, client, now) {
            Ok(actor) => actor.role().to_string(),
            Err(error) => error.problem.code,
        }
    }

    #[test]
    fn unset_token_closes_the_door() {
        let closed = auth(&[]);
        for authorization in [None, Some("Bearer "), Some("Bearer x"), Some("Basic eDp5")] {
            assert_eq!(answer(&closed, authorization), "role_not_configured");
        }
    }

    #[test]
    fn loopback_is_no_credential() {
        let open = auth(&[("EE_ADMIN_TOKEN", ADMIN)]);
        assert_eq!(answer_from(&open, None, "127.0.0.1"), "token_missing");
        assert_eq!(answer_from(&open, None, "::1"), "token_missing");
        assert_eq!(
            answer_from(&auth(&[]), None, "127.0.0.1"),
            "role_not_configured"
        );
    }

    #[test]
    fn answers_come_in_their_order() {
        let both = auth(&[("EE_ADMIN_TOKEN", ADMIN), ("EE_UPTIME_TOKEN", UPTIME)]);
        assert_eq!(answer(&both, Some(&format!("Bearer {ADMIN}"))), "admin");
        assert_eq!(answer(&both, None), "token_missing");
        assert_eq!(answer(&both, Some("Bearer wrong")), "token_invalid");
        assert_eq!(answer(&both, Some("Basic eDp5")), "token_invalid");
        assert_eq!(
            answer(&both, Some(&format!("Bearer {UPTIME}"))),
            "scope_missing"
        );
        let uptime_only = auth(&[("EE_UPTIME_TOKEN", UPTIME)]);
        assert_eq!(
            answer(&uptime_only, Some(&format!("Bearer {UPTIME}"))),
            "role_not_configured"
        );
    }

    #[test]
    fn bad_tokens_are_rate_limited_but_a_right_one_passes() {
        let auth = auth(&[("EE_ADMIN_TOKEN", ADMIN)]);
        let codes: Vec<String> = (0..12)
            .map(|_| answer(&auth, Some("Bearer wrong")))
            .collect();
        assert!(
            codes[..10].iter().all(|code| code == "token_invalid"),
            "{codes:?}"
        );
        assert_eq!(codes[11], "rate_limited");
        assert_eq!(answer(&auth, Some(&format!("Bearer {ADMIN}"))), "admin");
        assert_eq!(
            answer_from(&auth, Some("Bearer wrong"), "203.0.113.2"),
            "token_invalid"
        );
    }
}
