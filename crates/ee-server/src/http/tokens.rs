//! `/v1/tokens`: managed tokens. A token's text leaves here once, when it is made.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use ee_control::answers::Listed;
use ee_protocol::{
    access::{Resource, Role, Scope, TokenId},
    http::{
        fields::{Fields, Sent},
        tokens::{TokenIssued, TokenList, TokenView},
    },
    problem::{Problem, ProblemCode},
    time::Timestamp,
};
use ee_store::TokenRow;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
    caller::page_of,
    paging,
};
use crate::{
    auth::{self, Actor, Draft, GRACE, Issued, LIFE},
    state::AppState,
};

/// Longest name of a token in characters: a line of a table.
const NAME_MAX_CHARS: usize = 128;
/// Resources of one token: enough for a person's apps, and short enough to check at each request.
const RESOURCES_MAX: usize = 16;
/// Longest life: ten years; whoever needs more forgets that the token exists.
const LIFE_MAX: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);
/// Longest grace of a rotation: a month.
const GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Tokens by id.
pub async fn token_list(
    State(state): State<AppState>,
    _: Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref().and_then(|after| after.parse().ok());
    let rows = state.auth.token_rows(after, page.limit as usize);
    let listed = Listed::of(rows, page.limit, |row| row.id.to_string());
    let now = state.now();
    let listed = listed.map(|row| shown(&row, now));
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |tokens, next_cursor| TokenList {
            tokens,
            next_cursor,
        },
    ))
}

/// Makes a token: 201, with its text.
pub async fn token_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let now = state.now();
    let draft = draft(&Fields::read(&body)?, now)?;
    let made = state
        .auth
        .create_token(&state.store, draft, &actor, now)
        .await?;
    auth::tell_plane_of(&state, &made.row).await;
    Ok(issued(StatusCode::CREATED, made, now))
}

/// Gives a token a new secret.
pub async fn token_rotate(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let id = known(id)?;
    let body = body::bounded(body, JSON_MAX_BYTES).await?;
    let fields = Fields::read_or_empty(&body)?;
    fields.only(&["grace_s"])?;
    let grace = seconds(&fields, "grace_s", Duration::ZERO, GRACE_MAX)?.unwrap_or(GRACE);
    let now = state.now();
    let rotated = state
        .auth
        .rotate_token(&state.store, id, grace, &actor, now)
        .await?;
    auth::tell_plane_of(&state, &rotated.row).await;
    Ok(issued(StatusCode::OK, rotated, now))
}

/// Ends a token.
pub async fn token_revoke(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let row = state
        .auth
        .revoke_token(&state.store, known(id)?, &actor, now)
        .await?;
    auth::tell_plane_of(&state, &row).await;
    Ok(json(StatusCode::OK, &shown(&row, now)))
}

fn known(id: Result<Path<String>, PathRejection>) -> Result<TokenId, ApiError> {
    let Path(id) = id.unwrap_or_else(|_| Path(String::new()));
    id.parse().map_err(|error| {
        let detail = format!("'{id}': {error}");
        Problem::new(ProblemCode::TokenNotFound)
            .detail(detail)
            .into()
    })
}

fn issued(status: StatusCode, made: Issued, now: Timestamp) -> Response {
    let answer = TokenIssued {
        token: made.text,
        view: shown(&made.row, now),
    };
    let mut response = json(status, &answer);
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn shown(row: &TokenRow, now: Timestamp) -> TokenView {
    let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339_seconds);
    let grace = row.previous.map(|(_, until)| until);
    TokenView {
        id: row.id.to_string(),
        role: row.role.to_string(),
        name: row.name.clone(),
        state: auth::state(row, now).as_str().to_owned(),
        scopes: words(&row.scopes),
        resources: words(&row.resources),
        created_at: row.created_at.rfc3339_seconds(),
        expires_at: time(row.expires_at),
        last_used_at: time(row.last_used_at),
        previous_until: time(grace.filter(|until| now < *until)),
    }
}

fn words<T: ToString>(set: &BTreeSet<T>) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

fn draft(fields: &Fields<'_>, now: Timestamp) -> Result<Draft, Box<Problem>> {
    fields.only(&["role", "name", "resources", "scopes", "expires_in_s"])?;
    let Some(role) = fields.id_text("role")? else {
        let missing = Problem::new(ProblemCode::MissingFields);
        return Err(missing.field("/role", "missing").into());
    };
    let role = Role::from_str(&role).map_err(|error| wrong("role", &error))?;
    let name = fields.id_text("name")?.unwrap_or_default();
    if name.chars().count() > NAME_MAX_CHARS || name.chars().any(char::is_control) {
        return Err(wrong("name", &"at most 128 characters, no controls"));
    }
    let resources = list::<Resource>(fields, "resources")?;
    let scopes = list::<Scope>(fields, "scopes")?;
    check_bindings(role, &resources)?;
    if let Some(scope) = scopes.iter().find(|scope| !role.may_hold(**scope)) {
        let why = format!("a token of the role {role} cannot hold {scope}");
        return Err(wrong("scopes", &why));
    }
    let life = seconds(fields, "expires_in_s", Duration::from_secs(1), LIFE_MAX)?;
    Ok(Draft {
        scopes: match scopes.is_empty() {
            true => role.scopes(),
            false => scopes,
        },
        role,
        name,
        resources,
        expires_at: Some(now.after(life.unwrap_or(LIFE))),
    })
}

/// An account's token speaks for one account, a node's for one node; apps may come with the
/// account that pays for them. Other roles are narrowed by whatever they name.
fn check_bindings(role: Role, resources: &BTreeSet<Resource>) -> Result<(), Box<Problem>> {
    let count = |kind: &str| resources.iter().filter(|r| r.kind() == kind).count();
    let (accounts, nodes, apps) = (count("account"), count("node"), count("app"));
    if resources.len() > RESOURCES_MAX {
        return Err(wrong("resources", &"at most 16"));
    }
    let fits = match role {
        Role::Account => (accounts, nodes) == (1, 0),
        Role::Node => (accounts, nodes, apps) == (0, 1, 0),
        Role::Admin
        | Role::Operator
        | Role::Launcher
        | Role::Uptime
        | Role::Auditor
        | Role::Viewer => true,
    };
    match (fits, role) {
        (true, _) => Ok(()),
        (false, Role::Node) => Err(wrong("resources", &"a node's token is for one node=<id>")),
        (false, _) => {
            let why = "an account's token is for one account=<id>, and any app=<name> besides";
            Err(wrong("resources", &why))
        }
    }
}

fn list<T>(fields: &Fields<'_>, name: &str) -> Result<BTreeSet<T>, Box<Problem>>
where
    T: FromStr<Err: std::fmt::Display> + Ord,
{
    // What the seed's routes take for missing is a mistake here: a list that was meant to narrow
    // a token and is none would leave it wide.
    let Some(raw) = fields.raw(name).filter(|raw| *raw != "null") else {
        return Ok(BTreeSet::new());
    };
    let texts: Vec<String> =
        serde_json::from_str(raw).map_err(|_| wrong(name, &"not a list of texts"))?;
    let parsed = texts.iter().map(|text| {
        text.parse().map_err(|error: T::Err| {
            let why = format!("'{text}': {error}");
            wrong(name, &why)
        })
    });
    parsed.collect()
}

fn seconds(
    fields: &Fields<'_>,
    name: &str,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>, Box<Problem>> {
    if !fields.has(name) {
        return Ok(None);
    }
    let number = match fields.sent(name) {
        // Zero counts as missing to the prototype's routes; here it is a number.
        Sent::Missing => Some(0),
        Sent::Number(raw) => raw.parse::<u64>().ok(),
        Sent::Text(_) | Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => None,
    };
    let span = number.map(Duration::from_secs);
    match span.filter(|span| (least..=most).contains(span)) {
        Some(span) => Ok(Some(span)),
        None => {
            let (least, most) = (least.as_secs(), most.as_secs());
            Err(wrong(name, &format!("whole seconds, {least} to {most}")))
        }
    }
}

fn wrong(name: &str, why: &dyn std::fmt::Display) -> Box<Problem> {
    let problem = Problem::new(ProblemCode::InvalidField).field(format!("/{name}"), "invalid");
    Box::new(problem.detail(format!("{name}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);

    fn read(body: &str) -> Result<Draft, String> {
        let fields = Fields::read(body.as_bytes()).expect("an object");
        draft(&fields, NOW).map_err(|problem| format!("{}: {}", problem.code, problem.detail))
    }

    #[test]
    fn a_token_has_its_roles_scopes_and_ninety_days_unless_it_says_otherwise() {
        let made = read(r#"{"role":"account","resources":["account=alice"]}"#).expect("good");
        assert_eq!(made.scopes, Role::Account.scopes());
        assert_eq!(made.expires_at, Some(NOW.after(LIFE)));
        let narrow = r#"{"role":"account","resources":["account=alice","app=hello"],
            "scopes":["ledger:read","apps:write"],"expires_in_s":60,"name":"ci"}"#;
        let made = read(narrow).expect("good");
        assert_eq!(words(&made.scopes), ["apps:write", "ledger:read"]);
        assert_eq!(made.expires_at, Some(NOW.after(Duration::from_secs(60))));
        assert_eq!(made.name, "ci");
    }

    #[test]
    fn what_a_role_cannot_be_is_refused() {
        for bad in [
            r#"{"role":"root"}"#,
            r#"{"role":["admin"]}"#,
            r#"{"role":"account"}"#,
            r#"{"role":"account","resources":["node=n1"]}"#,
            r#"{"role":"account","resources":["account=a","account=b"]}"#,
            r#"{"role":"node","resources":["account=n1"]}"#,
            r#"{"role":"node","resources":["node=n1","app=hello"]}"#,
            r#"{"role":"node","resources":["node=n1"],"scopes":["ledger:transfer"]}"#,
            r#"{"role":"viewer","scopes":["ledger:mint"]}"#,
            r#"{"role":"viewer","scopes":"apps:read"}"#,
            r#"{"role":"viewer","scopes":[1]}"#,
            r#"{"role":"viewer","resources":{}}"#,
            r#"{"role":"viewer","resources":""}"#,
            r#"{"role":"viewer","expires_in_s":0}"#,
            r#"{"role":"viewer","expires_in_s":-1}"#,
            r#"{"role":"viewer","expires_in_s":1e9}"#,
            r#"{"role":"viewer","expires_in_s":99999999999}"#,
            r#"{"role":"viewer","name":"a\nb"}"#,
        ] {
            let refused = read(bad).expect_err(bad);
            assert!(refused.starts_with("invalid_field"), "{bad}: {refused}");
        }
        assert!(
            read("{}")
                .expect_err("no role")
                .starts_with("missing_fields")
        );
        let strange = read(r#"{"role":"viewer","admin":true}"#).expect_err("strange");
        assert!(strange.starts_with("unknown_field"), "{strange}");
    }
}
