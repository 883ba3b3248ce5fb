//! Who calls: tokens, roles, scopes. One place mints an [`Actor`], and only from a token that
//! matched (EXPERIENCE 7).
//!
//! **Invariants:** an unset token closes its door; a loopback address is no credential; tokens are
//! held as SHA-256 and compared in constant time; a correct token is never refused because of
//! others' failures.

mod actor;
mod bootstrap;
mod failures;
mod issue;
mod managed;
mod token;
mod upkeep;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use arc_swap::ArcSwapOption;
use ee_core::rate::Allowed;
use ee_protocol::{
    problem::{Problem, ProblemCode},
    time::Timestamp,
};
use ee_store::{Store, TokenRow};
use http::{HeaderMap, HeaderValue, header};

pub use self::{
    actor::{Actor, Reach},
    bootstrap::{Announce, BOOTSTRAP_FILE, announce},
    issue::{Draft, GRACE, Issued, LIFE},
    managed::{TOKEN_RATE, state},
    token::Digest,
    upkeep::{tell_plane_of, tell_plane_of_all, upkeep},
};
use self::{
    bootstrap::Bootstrap,
    failures::FailureLimiter,
    managed::{Entry, TokenBook},
    token::digest_of,
};
use crate::{config::Settings, http::ApiError};

pub use ee_protocol::access::{Role, Scope};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// The scope, by a token that is bound to nothing.
    Whole(Scope),
    /// The scope; the handler checks what a bound token may touch.
    Own(Scope),
    /// Any live token.
    AnyToken,
}

impl Demand {
    fn scope(self) -> Option<Scope> {
        match self {
            Self::Whole(scope) | Self::Own(scope) => Some(scope),
            Self::AnyToken => None,
        }
    }

    /// Why the actor may not pass, if so.
    fn refusal(self, actor: &Actor) -> Option<ApiError> {
        let checked = match self {
            Self::Whole(scope) => actor.demand(scope).and_then(|()| actor.may_all()),
            Self::Own(scope) => actor.demand(scope),
            Self::AnyToken => Ok(()),
        };
        checked.err()
    }
}

/// A caller that may pass.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is.
    pub actor: Actor,
    /// What its rate has left, if it has one.
    pub rate: Option<Allowed>,
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
    environment: Vec<(Digest, Actor)>,
    stored_admin: ArcSwapOption<(Digest, Actor)>,
    managed: RwLock<TokenBook>,
    /// Held while a managed token is changed in store and memory.
    changes: tokio::sync::Mutex<()>,
    bootstrap: ArcSwapOption<Bootstrap>,
    failures: Mutex<FailureLimiter>,
}

/// A credential that matched.
enum Found {
    /// Of the settings or the bootstrap: no rate, the queues bound them.
    Fixed(Actor),
    Managed(Arc<Entry>),
}

impl Auth {
    /// The tokens of the settings, the stored admin token, the managed ones.
    pub fn new(settings: &Settings, stored_admin: Option<Digest>, managed: Vec<TokenRow>) -> Self {
        let tokens = [
            (Role::Admin, &settings.admin_token),
            (Role::Launcher, &settings.launcher_token),
            (Role::Uptime, &settings.uptime_token),
        ];
        let environment = tokens.into_iter().filter_map(|(role, token)| {
            let digest = digest_of(token.as_ref()?.expose());
            Some((digest, Actor::fixed(format!("env:{role}"), role)))
        });
        Self {
            environment: environment.collect(),
            stored_admin: ArcSwapOption::from_pointee(stored_admin.map(stored)),
            managed: RwLock::new(TokenBook::new(managed)),
            changes: tokio::sync::Mutex::new(()),
            bootstrap: ArcSwapOption::empty(),
            failures: Mutex::new(FailureLimiter::default()),
        }
    }

    /// Whether anyone can act as `role` at `now`.
    pub fn is_configured(&self, role: Role, now: Timestamp) -> bool {
        let mut fixed = self.environment.iter();
        fixed.any(|(_, actor)| actor.role() == role)
            || (role == Role::Admin && self.stored_admin.load().is_some())
            || self.book().has_live(role, now)
    }

    /// Rows of managed tokens by id, after `after`.
    pub fn token_rows(
        &self,
        after: Option<ee_protocol::access::TokenId>,
        limit: usize,
    ) -> Vec<TokenRow> {
        self.book().page(after, limit)
    }

    fn book(&self) -> RwLockReadGuard<'_, TokenBook> {
        self.managed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, TokenBook> {
        self.managed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller's proof, or the refusal in the order of EXPERIENCE 7: a valid token that meets
    /// the demand passes; then 403 `role_not_configured`, 401 `token_missing`, 401
    /// `token_invalid`, 403 `scope_missing`, 403 `resource_denied`.
    pub fn authorise(
        &self,
        headers: &HeaderMap,
        demand: Demand,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, ApiError> {
        let presented = presented(headers);
        let found = match &presented {
            Presented::Token(token) => self.find(token, now),
            Presented::Nothing | Presented::Malformed => None,
        };
        let admitted = found.map(|found| counted(found, now)).transpose()?;
        let refusal = admitted
            .as_ref()
            .map(|admitted| demand.refusal(&admitted.actor));
        if let (Some(admitted), Some(None)) = (admitted, &refusal) {
            return Ok(admitted);
        }
        let home = demand.scope().map_or(Role::Admin, Scope::home);
        if !self.is_configured(home, now) {
            let detail = format!("no token of the role {home} is configured");
            return Err(Problem::new(ProblemCode::RoleNotConfigured)
                .detail(detail)
                .into());
        }
        match (presented, refusal.flatten()) {
            (_, Some(refusal)) => Err(refusal),
            (Presented::Nothing, None) => Err(ProblemCode::TokenMissing.into()),
            (Presented::Malformed | Presented::Token(_), None) => Err(self.failed(client, now)),
        }
    }

    /// Who a token is that came another way than `Authorization` (`X-EE-Token`).
    pub fn actor_of(&self, token: &str, now: Timestamp) -> Option<Actor> {
        self.find(token, now).map(|found| match found {
            Found::Fixed(actor) => actor,
            Found::Managed(entry) => entry.actor.clone(),
        })
    }

    /// Looks at every fixed token and at the managed one of its id, whether or not one matched
    /// already.
    fn find(&self, token: &str, now: Timestamp) -> Option<Found> {
        let presented = digest_of(token);
        let stored = self.stored_admin.load();
        let mut found = self.book().find(token, now).map(Found::Managed);
        for (digest, actor) in self.environment.iter().chain(stored.as_deref()) {
            if token::equal(digest, &presented) {
                found = Some(Found::Fixed(actor.clone()));
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
        match failures.failed(client, now) {
            Some(wait) => too_many("too many wrong tokens from this address", wait),
            None => ProblemCode::TokenInvalid.into(),
        }
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
        let spent = store.spend_bootstrap(live.digest, admin.digest, now).await;
        match spent {
            Ok(true) => {}
            Ok(false) => return Err(ProblemCode::BootstrapClosed.into()),
            Err(error) => {
                tracing::error!(event = "bootstrap_failed", %error);
                return Err(ProblemCode::StoreUnavailable.into());
            }
        }
        self.stored_admin
            .store(Some(Arc::new(stored(admin.digest))));
        self.bootstrap.store(None);
        Ok(admin.text)
    }

    /// Opens the bootstrap door: makes a token, stores its hash, and returns it to be announced.
    pub async fn open_bootstrap(&self, store: &Store, now: Timestamp) -> anyhow::Result<String> {
        let token = token::generate("boot");
        let bootstrap = Bootstrap::new(token.digest, now);
        store.set_bootstrap(bootstrap.digest).await?;
        self.bootstrap.store(Some(Arc::new(bootstrap)));
        Ok(token.text)
    }
}

fn stored(digest: Digest) -> (Digest, Actor) {
    (digest, Actor::fixed("stored:admin".to_owned(), Role::Admin))
}

/// Counts a use of a managed token: 429 if there were too many.
fn counted(found: Found, now: Timestamp) -> Result<Admitted, ApiError> {
    match found {
        Found::Fixed(actor) => Ok(Admitted { actor, rate: None }),
        Found::Managed(entry) => match entry.take(now) {
            Ok(allowed) => Ok(Admitted {
                actor: entry.actor.clone(),
                rate: Some(allowed),
            }),
            Err(wait) => Err(too_many("this token asks too often", wait)),
        },
    }
}

fn too_many(what: &str, wait: std::time::Duration) -> ApiError {
    let seconds = wait.as_micros().div_ceil(1_000_000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    let detail = format!("{what}; wait {seconds} s");
    ApiError::from(Problem::new(ProblemCode::RateLimited).detail(detail))
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
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
        Auth::new(&settings, None, Vec::new())
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
        match auth.authorise(&headers, Demand::Whole(Scope::AppsRead), client, now) {
            Ok(admitted) => admitted.actor.role().to_string(),
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
