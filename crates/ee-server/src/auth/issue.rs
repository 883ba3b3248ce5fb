//! Makes, rotates and revokes managed tokens. Durable first, then in memory, then told to the
//! plane: nothing that was acknowledged is undone by a crash.

use std::{collections::BTreeSet, time::Duration};

use ee_protocol::{
    access::{Resource, Role, Scope, TokenId},
    names::NodeId,
    problem::{Problem, ProblemCode},
    time::Timestamp,
};
use ee_store::{Audit, Store, StoreError, TokenRow};

use super::{
    Actor, Auth,
    managed::{self, State},
    token::{self, NewToken},
};
use crate::http::ApiError;

/// Life of a token unless it is asked otherwise (EXPERIENCE 7).
pub const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long the secret before a rotation stays good unless it is asked otherwise.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Tokens kept at once, dead ones for a month included, some 40 MiB: more are a script gone wild.
const TOKENS_MAX: usize = 65_536;

/// What a new token is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its role.
    pub role: Role,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// What it is bound to.
    pub resources: BTreeSet<Resource>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Draft {
    /// A node's own token. It does not end by itself: a node must not fall silent in the night
    /// because a date passed.
    fn for_node(node: &NodeId) -> Self {
        Self {
            role: Role::Node,
            name: String::new(),
            scopes: Role::Node.scopes(),
            resources: BTreeSet::from([Resource::Node(node.clone())]),
            expires_at: None,
        }
    }
}

/// A token made or rotated: the text goes to the caller once.
pub struct Issued {
    /// The token.
    pub text: String,
    /// Its row.
    pub row: TokenRow,
}

impl Auth {
    /// Makes a token.
    ///
    /// # Errors
    /// 403 `scope_missing` if `by` lacks a scope that it would give away.
    pub async fn create_token(
        &self,
        store: &Store,
        draft: Draft,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        for scope in &draft.scopes {
            by.demand(*scope)?;
        }
        let _one_at_a_time = self.changes.lock().await;
        self.create(store, draft, by, now).await
    }

    async fn create(
        &self,
        store: &Store,
        draft: Draft,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        let Draft {
            role,
            name,
            scopes,
            resources,
            expires_at,
        } = draft;
        let new = self.fresh(role)?;
        let row = TokenRow {
            id: new.id,
            role,
            name,
            scopes,
            resources,
            digest: new.digest,
            previous: None,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        self.save(store, row, "token.create", by, now)
            .await
            .map(|row| Issued {
                text: new.text,
                row,
            })
    }

    /// A token of an id that nobody has: six random bytes may meet again.
    fn fresh(&self, role: Role) -> Result<NewToken, ApiError> {
        let book = self.book();
        if book.len() >= TOKENS_MAX {
            return Err(ProblemCode::TooManyTokens.into());
        }
        let mut made = std::iter::repeat_with(|| token::generate(role.as_str()));
        let free = made.find(|new| book.row(new.id).is_none());
        Ok(free.expect("ids outnumber tokens by far"))
    }

    /// Gives a token a new secret; the old one stays good for `grace`.
    ///
    /// # Errors
    /// 404 `token_not_found`, also for a token that is dead.
    pub async fn rotate_token(
        &self,
        store: &Store,
        id: TokenId,
        grace: Duration,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        let _one_at_a_time = self.changes.lock().await;
        let row = self.book().row(id);
        let row = row.filter(|row| managed::state(row, now) == State::Active);
        let Some(row) = row else {
            return Err(not_found(id));
        };
        for scope in &row.scopes {
            by.demand(*scope)?;
        }
        self.rotate(store, row, grace, by, now).await
    }

    async fn rotate(
        &self,
        store: &Store,
        row: TokenRow,
        grace: Duration,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        let new = token::generate_for(row.role.as_str(), row.id);
        let life = row.expires_at.map(|end| end.since(row.created_at));
        let rotated = TokenRow {
            previous: (!grace.is_zero()).then(|| (row.digest, now.after(grace))),
            digest: new.digest,
            created_at: now,
            expires_at: life.map(|life| now.after(life)),
            ..row
        };
        self.save(store, rotated, "token.rotate", by, now)
            .await
            .map(|row| Issued {
                text: new.text,
                row,
            })
    }

    /// Ends a token now, and with it the secret before its rotation. A dead one stays dead.
    ///
    /// # Errors
    /// 404 `token_not_found`.
    pub async fn revoke_token(
        &self,
        store: &Store,
        id: TokenId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<TokenRow, ApiError> {
        let _one_at_a_time = self.changes.lock().await;
        let Some(row) = self.book().row(id) else {
            return Err(not_found(id));
        };
        if row.revoked_at.is_some() {
            return Ok(row);
        }
        let revoked = TokenRow {
            revoked_at: Some(now),
            previous: None,
            ..row
        };
        self.save(store, revoked, "token.revoke", by, now).await
    }

    /// The token of a node that has no live one yet; `None` if it has.
    ///
    /// # Errors
    /// When it is not durable.
    pub(super) async fn issue_for_node(
        &self,
        store: &Store,
        node: &NodeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Option<Issued>, ApiError> {
        let _one_at_a_time = self.changes.lock().await;
        if self.book().live_node_token(node, now).is_some() {
            return Ok(None);
        }
        let issued = self.create(store, Draft::for_node(node), by, now).await;
        issued.map(Some)
    }

    /// Another secret for a node; the old one stays good for a day, so that an agent that runs
    /// can be given the new one without failing its period.
    ///
    /// # Errors
    /// When it is not durable.
    pub(super) async fn rotate_for_node(
        &self,
        store: &Store,
        node: &NodeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        let _one_at_a_time = self.changes.lock().await;
        let live = self.book().live_node_token(node, now);
        match live {
            Some(row) => self.rotate(store, row, GRACE, by, now).await,
            None => self.create(store, Draft::for_node(node), by, now).await,
        }
    }

    async fn save(
        &self,
        store: &Store,
        row: TokenRow,
        action: &'static str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<TokenRow, ApiError> {
        let audit = Audit {
            at: now,
            actor: by.name().to_owned(),
            action,
            subject: format!("token:{}", row.id),
        };
        let saved = store.save_token(row.clone(), audit).await;
        saved.map_err(|error| not_kept(&error))?;
        tracing::info!(event = action, token = %row.id, role = %row.role, actor = by.name());
        self.book_mut().put(row.clone());
        Ok(row)
    }
}

fn not_found(id: TokenId) -> ApiError {
    let detail = format!("no live token has the id {id}");
    Problem::new(ProblemCode::TokenNotFound)
        .detail(detail)
        .into()
}

fn not_kept(error: &StoreError) -> ApiError {
    tracing::error!(event = "token_not_kept", %error);
    ProblemCode::StoreUnavailable.into()
}
