//! Who calls, proved by a token that matched, and what that token reaches.

use std::{collections::BTreeSet, sync::Arc};

use ee_protocol::{
    access::{Resource, Role, Scope, TokenId},
    problem::{Problem, ProblemCode},
    time::Timestamp,
};

use crate::http::ApiError;

/// Proof that a presented token matched. Clones share one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Arc<Identity>);

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    name: String,
    principal: String,
    role: Role,
    scopes: BTreeSet<Scope>,
    resources: BTreeSet<Resource>,
    accounts: BTreeSet<String>,
    nodes: BTreeSet<String>,
    apps: BTreeSet<String>,
    expires_at: Option<Timestamp>,
}

/// How far a list goes for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a> {
    /// Everything.
    All,
    /// These ids only.
    Only(&'a BTreeSet<String>),
}

impl Reach<'_> {
    /// Whether it includes `id`.
    pub fn includes(self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }
}

impl Actor {
    /// The holder of a token of the settings, or of the admin token made by the bootstrap.
    pub(super) fn fixed(name: String, role: Role) -> Self {
        Self::new(name, role, role.scopes(), BTreeSet::new(), None)
    }

    /// The holder of a managed token.
    pub(super) fn managed(
        id: TokenId,
        role: Role,
        scopes: BTreeSet<Scope>,
        resources: BTreeSet<Resource>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self::new(format!("token:{id}"), role, scopes, resources, expires_at)
    }

    fn new(
        name: String,
        role: Role,
        scopes: BTreeSet<Scope>,
        resources: BTreeSet<Resource>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let (mut accounts, mut nodes, mut apps) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for resource in &resources {
            let id = resource.id().to_owned();
            match resource {
                Resource::Account(_) => {
                    accounts.insert(id);
                }
                // A node's earnings are the account of its id.
                Resource::Node(_) => {
                    accounts.insert(id.clone());
                    nodes.insert(id);
                }
                Resource::App(_) => {
                    apps.insert(id);
                }
            }
        }
        Self(Arc::new(Identity {
            principal: principal(role, &resources),
            name,
            role,
            scopes,
            resources,
            accounts,
            nodes,
            apps,
            expires_at,
        }))
    }

    /// What logs and audit rows call it: `env:admin`, `stored:admin`, `token:0123456789ab`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whose requests these are: the token's resource, else its role. It outlives a rotation.
    pub fn principal(&self) -> &str {
        &self.0.principal
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The scopes.
    pub fn scopes(&self) -> &BTreeSet<Scope> {
        &self.0.scopes
    }

    /// What it is bound to.
    pub fn resources(&self) -> &BTreeSet<Resource> {
        &self.0.resources
    }

    /// When its token ends; none: not by itself.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// Whether the token is bound to no resource.
    pub fn is_unbound(&self) -> bool {
        self.0.resources.is_empty()
    }

    /// Whether it holds the scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.scopes.contains(&scope)
    }

    /// A second scope of a route.
    ///
    /// # Errors
    /// 403 `scope_missing`.
    pub fn demand(&self, scope: Scope) -> Result<(), ApiError> {
        if self.has(scope) {
            return Ok(());
        }
        Err(self.lacks(scope))
    }

    pub(super) fn lacks(&self, scope: Scope) -> ApiError {
        let detail = format!("this {} token lacks the scope {scope}", self.role());
        Problem::new(ProblemCode::ScopeMissing)
            .detail(detail)
            .into()
    }

    /// The accounts it reaches; a node's earnings count as its own.
    pub fn accounts(&self) -> Reach<'_> {
        self.reach(&self.0.accounts)
    }

    /// The nodes it reaches.
    pub fn nodes(&self) -> Reach<'_> {
        self.reach(&self.0.nodes)
    }

    /// The apps it reaches.
    pub fn apps(&self) -> Reach<'_> {
        self.reach(&self.0.apps)
    }

    fn reach<'a>(&self, ids: &'a BTreeSet<String>) -> Reach<'a> {
        match self.is_unbound() {
            true => Reach::All,
            false => Reach::Only(ids),
        }
    }

    /// Whether it may act on an account.
    ///
    /// # Errors
    /// 403 `resource_denied`.
    pub fn may_account(&self, id: &str) -> Result<(), ApiError> {
        self.may(self.accounts(), "account", id)
    }

    /// Whether it may act on a node.
    ///
    /// # Errors
    /// 403 `resource_denied`.
    pub fn may_node(&self, id: &str) -> Result<(), ApiError> {
        self.may(self.nodes(), "node", id)
    }

    /// Whether it may act on an app.
    ///
    /// # Errors
    /// 403 `resource_denied`.
    pub fn may_app(&self, id: &str) -> Result<(), ApiError> {
        self.may(self.apps(), "app", id)
    }

    /// Whether it may act on what belongs to nobody in particular.
    ///
    /// # Errors
    /// 403 `resource_denied` for a token bound to a resource.
    pub fn may_all(&self) -> Result<(), ApiError> {
        match self.is_unbound() {
            true => Ok(()),
            false => Err(self.denied("everything")),
        }
    }

    fn may(&self, reach: Reach<'_>, kind: &str, id: &str) -> Result<(), ApiError> {
        match reach.includes(id) {
            true => Ok(()),
            false => Err(self.denied(&format!("{kind}={id}"))),
        }
    }

    fn denied(&self, asked: &str) -> ApiError {
        let bound: Vec<String> = self.resources().iter().map(Resource::to_string).collect();
        let detail = format!("asked for {asked}, the token is for {}", bound.join(", "));
        Problem::new(ProblemCode::ResourceDenied)
            .detail(detail)
            .into()
    }
}

/// The account or node a token speaks for; else what it is bound to; else its role. Two tokens of
/// one account share it even if one of them may also touch an app.
fn principal(role: Role, resources: &BTreeSet<Resource>) -> String {
    let name = |resource: &Resource| format!("{}:{}", resource.kind(), resource.id());
    let owner = resources.iter().find(|resource| match resource {
        Resource::Account(_) | Resource::Node(_) => true,
        Resource::App(_) => false,
    });
    match (owner, resources.is_empty()) {
        (Some(owner), _) => name(owner),
        (None, true) => format!("role:{role}"),
        (None, false) => resources.iter().map(name).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(role: Role, resources: &[&str]) -> Actor {
        let id = TokenId::from_bytes([1; 6]);
        let resources = resources.iter().map(|text| text.parse().expect("resource"));
        Actor::managed(id, role, role.scopes(), resources.collect(), None)
    }

    fn code(result: Result<(), ApiError>) -> String {
        result.map_or_else(|error| error.problem.code, |()| "ok".to_owned())
    }

    #[test]
    fn a_bound_token_reaches_its_own_and_nothing_else() {
        let alice = bound(Role::Account, &["account=alice", "app=hello"]);
        assert_eq!(code(alice.may_account("alice")), "ok");
        assert_eq!(code(alice.may_app("hello")), "ok");
        assert_eq!(code(alice.may_account("bob")), "resource_denied");
        assert_eq!(code(alice.may_account("hello")), "resource_denied");
        assert_eq!(code(alice.may_node("alice")), "resource_denied");
        assert_eq!(code(alice.may_app("other")), "resource_denied");
        assert_eq!(code(alice.may_all()), "resource_denied");
        let app_only = bound(Role::Viewer, &["app=hello"]);
        assert_eq!(app_only.accounts(), Reach::Only(&BTreeSet::new()));
    }

    #[test]
    fn a_node_reaches_its_earnings_but_moves_nothing() {
        let node = bound(Role::Node, &["node=n1"]);
        assert_eq!(code(node.may_node("n1")), "ok");
        assert_eq!(code(node.may_account("n1")), "ok");
        assert_eq!(code(node.demand(Scope::LedgerTransfer)), "scope_missing");
        assert_eq!(code(node.demand(Scope::LedgerRead)), "ok");
    }

    #[test]
    fn an_unbound_token_reaches_everything_its_scopes_allow() {
        let operator = Actor::fixed("env:operator".to_owned(), Role::Operator);
        assert_eq!(operator.accounts(), Reach::All);
        assert_eq!(code(operator.may_all()), "ok");
        assert_eq!(code(operator.demand(Scope::LedgerMint)), "scope_missing");
    }

    #[test]
    fn the_principal_is_the_resource_else_the_role() {
        let principal = |role, resources: &[&str]| bound(role, resources).principal().to_owned();
        assert_eq!(principal(Role::Admin, &[]), "role:admin");
        assert_eq!(
            principal(Role::Account, &["app=hello", "account=alice"]),
            "account:alice"
        );
        assert_eq!(principal(Role::Node, &["node=n1"]), "node:n1");
        assert_eq!(principal(Role::Viewer, &["app=b", "app=a"]), "app:a,app:b");
    }
}
