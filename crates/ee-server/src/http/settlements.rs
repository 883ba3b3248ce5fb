//! `/v1/settlements*`, `POST /v1/facts`.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use ee_control::{
    answers::{Answered, Caller},
    settlements::{self, Which},
};
use ee_protocol::{
    http::settlements::{FactRequest, FinalizeRequest, Finalized, SettlementView, VerdictList},
    names::NodeId,
    period::Period,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
    caller::{caller, done, done_at, failed, failed_for_node, no_such_node, page_of},
    paging::{self, parameter},
    routes::{Access, Route},
    shapes::{Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// How long a client waits for a settlement to finish before it is sent elsewhere to look
/// (LEDGER 11).
const FINALIZE_WAIT: Duration = Duration::from_secs(10);
/// Between looks at a settlement that is under way: a chunk takes some milliseconds.
const FINALIZE_LOOK: Duration = Duration::from_millis(50);
/// The path's word for a node's last judged period.
const LATEST: &str = "latest";

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::post(
        "/v1/settlements/{period}/finalize",
        Access::Scope(Scope::SettleFinalize),
        "Settle a period now; a repeat answers with the recorded verdict",
        || post(settlement_finalize),
    )
    .bodies(FINALIZE, FINALIZED),
    Route::get(
        "/v1/settlements",
        Access::Public,
        "Verdicts, the latest period first; of one node with `?node=`",
        || get(settlement_list),
    )
    .bodies(&[], VERDICTS),
    Route::get(
        "/v1/settlements/{period}",
        Access::Public,
        "Verdicts of a period",
        || get(settlement_read),
    )
    .bodies(&[], SETTLEMENT),
    Route::get(
        "/v1/settlements/{period}/{node}",
        Access::Public,
        "A verdict and the facts behind it; the period may be `latest`",
        || get(evidence_read),
    )
    .bodies(&[], EVIDENCE),
    Route::post(
        "/v1/facts",
        Access::Scope(Scope::UsageReport),
        "Coverage of a node that was seen from outside",
        || post(fact_create),
    )
    .bodies(FACT, FACT_DONE),
];

const VERDICT_WORDS: Kind = Kind::Word(&["pass", "fail", "inconclusive"]);
const REASONS: Kind = Kind::List(&[
    has("reason", Kind::Text),
    has("first", Kind::Time),
    has("last", Kind::Time),
    has("count", Kind::Integer),
    has("excused_ms", Kind::Integer),
]);
const VERDICT: &[Member] = &[
    has("node_id", Kind::Text),
    has("period", Kind::Text),
    has("verdict", VERDICT_WORDS),
    has("state", Kind::Word(&["settling", "awaiting", "settled"])),
    has("reasons", REASONS),
    has("facts_hash", Kind::Text),
    has("policy_hash", Kind::Text),
    has("at", Kind::Time),
];
const EVIDENCE: &[Member] = &[
    has("node_id", Kind::Text),
    has("period", Kind::Text),
    has("verdict", VERDICT_WORDS),
    has("state", Kind::Word(&["settling", "awaiting", "settled"])),
    has("reasons", REASONS),
    has("facts_hash", Kind::Text),
    has("policy_hash", Kind::Text),
    has("at", Kind::Time),
    has(
        "facts",
        Kind::List(&[
            has("seq", Kind::Integer),
            has("kind", Kind::Text),
            has("from", Kind::Time),
            null("until", Kind::Time),
            null("cause", Kind::Text),
        ]),
    ),
];
const VERDICTS: &[Member] = &[
    has("settlements", Kind::List(VERDICT)),
    null("next_cursor", Kind::Text),
];
const SETTLEMENT: &[Member] = &[
    has("period", Kind::Text),
    has(
        "state",
        Kind::Word(&["open", "settling", "awaiting", "settled"]),
    ),
    has("nodes", Kind::List(VERDICT)),
    null("next_cursor", Kind::Text),
];
const FINALIZE: &[Member] = &[
    may("node_id", Kind::Text),
    may("period_start", Kind::Time),
    may("period_end", Kind::Time),
];
const FINALIZED: &[Member] = &[
    null("node_id", Kind::Text),
    has("period_start", Kind::Text),
    has("period_end", Kind::Text),
    has("eligible", Kind::Flag),
    has("reasons", Kind::Texts),
    has("settled", Kind::Integer),
    has("failed", Kind::Integer),
    null("verdict", VERDICT_WORDS),
    has("state", Kind::Word(&["settling", "awaiting", "settled"])),
    has("paid_micro_usd", Kind::MicroUsd),
    has("returned_micro_usd", Kind::MicroUsd),
    has("period", Kind::Text),
    has("pending_abuse_reports", Kind::Texts),
    may(
        "nodes",
        Kind::List(&[
            has("node_id", Kind::Text),
            has("verdict", VERDICT_WORDS),
            has("state", Kind::Word(&["settling", "awaiting", "settled"])),
            has("reasons", REASONS),
            has("settled", Kind::Integer),
            has("failed", Kind::Integer),
            has("paid_micro_usd", Kind::MicroUsd),
            has("returned_micro_usd", Kind::MicroUsd),
        ]),
    ),
    has("seq", Kind::Integer),
];
const FACT: &[Member] = &[
    has("node_id", Kind::Text),
    has("track", Kind::Word(&["health", "attestation"])),
    has("from", Kind::Time),
    has("until", Kind::Time),
];
const FACT_DONE: &[Member] = &[has("node_id", Kind::Text), has("seq", Kind::Integer)];

/// Settles a period: 200 when it is settled, 202 with `Location` if that takes long.
pub async fn settlement_finalize(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/settlements/{period}/finalize")?;
    let path = path.map_or_else(|_| String::new(), |Path(path)| path);
    let request = FinalizeRequest::parse(&path, &body::seed(body).await?)?;
    let answered = settlements::finalize(&state.books, &caller, &request).await;
    let answered = wait_for(&state, caller, &request, answered.map_err(failed)?).await?;
    Ok(finalized(&request, &answered))
}

/// 200 for what is settled; 202, and where to look, for what goes on.
fn finalized(request: &FinalizeRequest, answered: &Answered<Finalized>) -> Response {
    if !answered.body.is_settling() {
        return done(answered);
    }
    let mut accepted = done_at(StatusCode::ACCEPTED, answered);
    let location = match request {
        FinalizeRequest::Node(node, sent) => format!("/v1/settlements/{}/{node}", sent.period),
        FinalizeRequest::All(period) => format!("/v1/settlements/{period}"),
    };
    let location = HeaderValue::from_str(&location).expect("periods and node ids are ASCII");
    accepted.headers_mut().insert(header::LOCATION, location);
    accepted
}

/// Asks again until the last lock is resolved: a repeat answers with what is recorded. What goes on
/// behind the first chunk counts for the call that began it.
async fn wait_for(
    state: &AppState,
    caller: Caller,
    request: &FinalizeRequest,
    first: Answered<Finalized>,
) -> Result<Answered<Finalized>, ApiError> {
    if !first.body.is_settling() {
        return Ok(first);
    }
    let (mut answered, begun) = (first.clone(), first.body.begun());
    let repeating = Caller {
        key: None,
        ..caller
    };
    let until = tokio::time::Instant::now() + FINALIZE_WAIT;
    while answered.body.is_settling() && tokio::time::Instant::now() < until {
        tokio::time::sleep(FINALIZE_LOOK).await;
        let later = settlements::finalize(&state.books, &repeating, request).await;
        answered.body.follow(later.map_err(failed)?.body);
    }
    let counts = settlements::resolved(&state.books, request.period(), begun).await;
    (answered.body.settled, answered.body.failed) = counts.map_err(failed)?;
    Ok(answered)
}

/// Verdicts on the node that `?node=` names, or on all.
pub async fn settlement_list(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = match parameter(&uri, "node") {
        Some(node) => {
            let node = NodeId::parse(&node).map_err(|_| no_such_node())?;
            settlements::of_node(&state.books, &node, after, page.limit).await
        }
        None => settlements::latest(&state.books, after, page.limit).await,
    };
    let listed = listed.map_err(failed_for_node)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |settlements, next_cursor| VerdictList {
            settlements,
            next_cursor,
        },
    ))
}

/// Verdicts of a period.
pub async fn settlement_read(
    State(state): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let path = path.map_or_else(|_| String::new(), |Path(path)| path);
    let period = period(&path)?;
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = settlements::of_period(&state.books, period, after, page.limit).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |nodes, next_cursor| SettlementView::of(period, nodes, next_cursor),
    ))
}

/// A verdict and the facts behind it.
pub async fn evidence_read(
    State(state): State<AppState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path((path, node))) = path else {
        return Err(no_such_node());
    };
    let which = match path.as_str() {
        LATEST => Which::Latest,
        path => Which::Of(period(path)?),
    };
    let node = NodeId::parse(&node).map_err(|_| no_such_node())?;
    let evidence = settlements::evidence(&state.books, &node, which).await;
    Ok(json(StatusCode::OK, &evidence.map_err(failed_for_node)?))
}

fn period(path: &str) -> Result<Period, ApiError> {
    Period::parse(path).map_err(|error| {
        let problem = Problem::new(ProblemCode::InvalidPeriod);
        problem.detail(error.to_string()).into()
    })
}

/// Adds coverage.
pub async fn fact_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/facts")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = FactRequest::parse(&body)?;
    let answered = settlements::report_facts(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use ee_control::answers::Mark;

    use super::*;

    fn answered(state: &str) -> Answered<Finalized> {
        let period = Period::parse("2026-11-22T13Z")
            .expect("a period")
            .to_string();
        let body = Finalized {
            node_id: None,
            period_start: "2026-11-22T13:00:00Z".to_owned(),
            period_end: "2026-11-22T14:00:00Z".to_owned(),
            eligible: true,
            reasons: Vec::new(),
            settled: 2_000,
            failed: 0,
            verdict: Some("pass".to_owned()),
            state: state.to_owned(),
            paid_micro_usd: "1".to_owned(),
            returned_micro_usd: "0".to_owned(),
            period,
            pending_abuse_reports: Vec::new(),
            nodes: Vec::new(),
            seq: 7,
        };
        let mark = Mark {
            seq: 7,
            replayed: false,
        };
        Answered { body, mark }
    }

    #[test]
    fn a_settlement_that_goes_on_is_202_and_says_where_to_look() {
        let one = br#"{"node_id":"n1","period_start":"2026-11-22T13:00:00Z",
            "period_end":"2026-11-22T14:00:00Z"}"#;
        for (body, place) in [
            (
                &one[..],
                "/v1/settlements/20261122T130000Z--20261122T140000Z/n1",
            ),
            (b"", "/v1/settlements/20261122T130000Z--20261122T140000Z"),
        ] {
            let request = FinalizeRequest::parse("2026-11-22T13Z", body).expect("a request");
            let going_on = finalized(&request, &answered("settling"));
            assert_eq!(going_on.status(), StatusCode::ACCEPTED);
            assert_eq!(going_on.headers()[header::LOCATION], place);
            let settled = finalized(&request, &answered("settled"));
            assert_eq!(settled.status(), StatusCode::OK);
            assert!(!settled.headers().contains_key(header::LOCATION));
        }
    }
}
