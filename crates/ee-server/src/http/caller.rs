//! Requests to the books: who submits, under which key, and what their answers carry.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ee_control::{
    answers::{Answered, Caller, Failure, Listed, Mark, Reads},
    books::RequestKey,
};
use ee_core::books::principal::{Principal, Role as BooksRole};
use ee_protocol::{
    account::{AccountId, IdempotencyKey},
    names::NodeId,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use super::{
    answer::{ApiError, json},
    paging::{self, Page},
};
use crate::{
    auth::{Actor, Reach, Role, Scope},
    state::AppState,
};

/// The client's key: a repeat under it has one effect and one answer.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is the stored one.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The answer's place in the journal.
const LEDGER_SEQ: HeaderName = HeaderName::from_static("ledger-seq");
/// Read at least what stood at this place of the journal.
const LEDGER_MIN_SEQ: HeaderName = HeaderName::from_static("ledger-min-seq");

/// Who submits on this route, and the key if one was sent.
pub fn caller(actor: &Actor, headers: &HeaderMap, route: &'static str) -> Result<Caller, ApiError> {
    let key = key(headers)?.map(|key| RequestKey { route, key });
    Ok(Caller {
        principal: principal(actor),
        key,
        reads: reads(actor),
    })
}

/// Whose balances a token may read.
fn reads(actor: &Actor) -> Reads {
    match actor.has(Scope::LedgerRead) {
        true => reach(actor),
        false => Reads::Only(BTreeSet::new()),
    }
}

/// The accounts that a token reaches.
pub fn reach(actor: &Actor) -> Reads {
    match actor.accounts() {
        Reach::All => Reads::All,
        Reach::Only(accounts) => Reads::Only(accounts.clone()),
    }
}

/// Refuses a request that moves money and could not be told from its repeat.
pub fn demand_key_or_id(caller: &Caller, has_id: HasId) -> Result<(), ApiError> {
    match (&caller.key, has_id) {
        (Some(_), _) | (None, HasId::Yes) => Ok(()),
        (None, HasId::No) => Err(ProblemCode::IdempotencyKeyRequired.into()),
    }
}

/// Whether a body carries the client's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HasId {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl<T> From<&Option<T>> for HasId {
    fn from(id: &Option<T>) -> Self {
        match id {
            Some(_) => Self::Yes,
            None => Self::No,
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = sent.next() else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .and_then(|key| IdempotencyKey::parse(key).ok());
    match (key, sent.next()) {
        (Some(key), None) => Ok(Some(key)),
        (_, _) => {
            let detail = "Idempotency-Key is one field of 1 to 255 printable ASCII characters";
            Err(Problem::new(ProblemCode::InvalidRequest)
                .detail(detail)
                .into())
        }
    }
}

/// The first resource of the token, else its role: rotating a token keeps it.
pub fn principal(actor: &Actor) -> Principal {
    let text = actor.principal();
    let of = |kind: &str| {
        let id = text.strip_prefix(kind)?;
        AccountId::parse(id).ok()
    };
    if let Some(account) = of("account:") {
        return Principal::Account(account);
    }
    if let Some(node) = of("node:") {
        return Principal::Node(node);
    }
    Principal::Role(match actor.role() {
        Role::Admin => BooksRole::Admin,
        Role::Uptime => BooksRole::Uptime,
        Role::Launcher => BooksRole::Launcher,
        Role::Operator | Role::Auditor | Role::Viewer | Role::Node | Role::Account => {
            BooksRole::Scoped
        }
    })
}

/// 200 with the body and its place in the journal.
pub fn done<T: Serialize>(answered: &Answered<T>) -> Response {
    done_at(StatusCode::OK, answered)
}

/// As [`done`], with another status.
pub fn done_at<T: Serialize>(status: StatusCode, answered: &Answered<T>) -> Response {
    let mut response = json(status, &answered.body);
    mark(response.headers_mut(), answered.mark);
    response.into_response()
}

/// Marks an answer that shows the books with a record that it surely includes. Writes carry their
/// own, and do not wait for the one before them to be durable.
pub async fn stamp(State(state): State<AppState>, request: Request, next: Next) -> Response {
    // What a read shows is at least what stood before it.
    let before = match request.method().is_safe() {
        true => match reached(&state, request.headers()).await {
            Ok(seq) => seq,
            Err(refused) => return refused.into_response(),
        },
        false => None,
    };
    let mut response = next.run(request).await;
    if response.headers().contains_key(LEDGER_SEQ) {
        return response;
    }
    let stamp = match before {
        Some(seq) => Some(seq),
        None => seq(&state).await,
    };
    if let Some(seq) = stamp {
        let headers = response.headers_mut();
        headers.insert(LEDGER_SEQ, HeaderValue::from(seq));
    }
    response
}

/// The last record, once it is the one that the caller names in `Ledger-Min-Seq`, or a later one:
/// whoever was given a place in the journal reads nothing older (LEDGER 12). In the process that
/// wrote it that is so at once; a place that the books have not reached was given by others.
async fn reached(state: &AppState, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let now = seq(state).await;
    let Some(asked) = headers.get(LEDGER_MIN_SEQ) else {
        return Ok(now);
    };
    let asked = asked
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let Some(asked) = asked else {
        let problem = Problem::new(ProblemCode::InvalidField);
        let problem = problem.detail("Ledger-Min-Seq is a number that Ledger-Seq gave");
        return Err(problem.field("Ledger-Min-Seq", "invalid").into());
    };
    match now {
        Some(seq) if seq < asked => {
            let detail = format!("the books end with {seq}, before Ledger-Min-Seq {asked}");
            Err(Problem::new(ProblemCode::StoreUnavailable)
                .detail(detail)
                .into())
        }
        now => Ok(now),
    }
}

/// The last record; none while the books do not answer.
async fn seq(state: &AppState) -> Option<u64> {
    state.books.read(|books| books.head().seq.0).await.ok()
}

/// A refusal with its place in the journal.
pub fn failed(failure: Failure) -> ApiError {
    if let Failure::Unread(error) = &failure {
        tracing::error!(event = "books_unreadable", %error);
    }
    let mut refused = ApiError::from(failure.problem());
    if let Failure::Refused(_, at) = failure {
        mark(&mut refused.headers, at);
    }
    refused
}

fn mark(headers: &mut HeaderMap, mark: Mark) {
    headers.insert(LEDGER_SEQ, HeaderValue::from(mark.seq));
    if mark.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// An account's id in a path, else 404 `account_not_found`: what is no id names nothing.
pub fn account_in_path(path: Result<Path<String>, PathRejection>) -> Result<AccountId, ApiError> {
    let id = path.ok().and_then(|Path(id)| AccountId::parse(&id).ok());
    id.ok_or_else(|| Problem::new(ProblemCode::AccountNotFound).into())
}

/// A node's id in a path, else 404 `node_not_found`.
pub fn node_in_path(path: Result<Path<String>, PathRejection>) -> Result<NodeId, ApiError> {
    let id = path.ok().and_then(|Path(id)| NodeId::parse(&id).ok());
    id.ok_or_else(no_such_node)
}

/// 404 where the path names the node; where a body does, the prototype said 400.
pub fn no_such_node() -> ApiError {
    let problem = Problem::new(ProblemCode::NodeNotFound);
    problem.at_status(StatusCode::NOT_FOUND.as_u16()).into()
}

/// As [`failed`], where the path names the node.
pub fn failed_for_node(failure: Failure) -> ApiError {
    if failure.code() == ProblemCode::NodeNotFound {
        return no_such_node();
    }
    failed(failure)
}

/// A page of a list: the body that `show` makes of its rows and cursor, with `Link`.
pub fn page_of<T, B: Serialize>(
    listed: Listed<T>,
    state: &AppState,
    uri: &Uri,
    page: &Page,
    show: impl FnOnce(Vec<T>, Option<String>) -> B,
) -> Response {
    let next = listed
        .next
        .map(|position| paging::next(uri, &state.cursors, page.limit, &position));
    let (cursor, link) = next.unzip();
    let mut response = json(StatusCode::OK, &show(listed.rows, cursor));
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
