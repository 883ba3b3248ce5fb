//! `GET /openapi.json`: the API as OpenAPI 3.1, built from the list of routes.
//!
//! The committed `openapi.json` is compared with it, so that a change of the API shows as a diff
//! in review.

use axum::response::Response;
use ee_protocol::problem::{MEDIA_TYPE, ProblemCode};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    answer::json as json_answer,
    paging,
    routes::{Access, Route, routes},
    shapes,
};
use crate::auth::Scope;

/// The description.
pub async fn openapi_read() -> Response {
    json_answer(StatusCode::OK, &document())
}

/// The API as an OpenAPI document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "EasyEnclave control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": problem_schema()},
        },
    })
}

fn operation(route: &Route) -> Value {
    let refused = json!({
        "description": "Refused; `code` says why",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let posts = route.method == http::Method::POST;
    let (status, done) = match route.access {
        Access::Bootstrap => ("201", "The admin token, shown once"),
        Access::Scope(Scope::TokensAdmin) if route.path == "/v1/tokens" && posts => {
            ("201", "The token, shown once")
        }
        Access::Public
        | Access::Scope(_)
        | Access::Own(_)
        | Access::AnyToken
        | Access::ProxyApi => ("200", "Done"),
    };
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route),
        "responses": {status: {"description": done}, "default": refused},
    });
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": shapes::schema(route.takes)}},
        });
    }
    if !route.answers.is_empty() {
        let schema = shapes::schema(route.answers);
        operation["responses"][status]["content"] = json!({"application/json": {"schema": schema}});
    }
    operation["security"] = match route.access {
        Access::Public => json!([]),
        Access::ProxyApi => json!([{}, {"token": []}]),
        Access::Scope(_) | Access::Own(_) | Access::AnyToken | Access::Bootstrap => {
            json!([{"token": []}])
        }
    };
    if let Access::Scope(scope) | Access::Own(scope) = route.access {
        operation["x-scope"] = json!(scope.as_str());
    }
    if let Access::Own(_) = route.access {
        operation["x-own"] = json!(true);
    }
    operation
}

/// `get_v1_apps_app_explain`: stable, unique, and readable in generated clients.
fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty());
    let words: Vec<&str> = words.collect();
    format!(
        "{}_{}",
        route.method.as_str().to_ascii_lowercase(),
        words.join("_")
    )
}

fn parameters(route: &Route) -> Vec<Value> {
    let named = route.path.split('/').filter_map(|segment| {
        segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
    });
    let in_path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let query: &[&str] = match (route.method.as_str(), route.path) {
        ("GET", "/v1/apps/{app}/explain") => &["agent"],
        ("GET", "/v1/tls-check") => &["domain"],
        ("GET", "/v1/settlements") => &["node"],
        ("GET", "/v1/locks") => &["account", "node", "state"],
        ("GET", "/v1/accounts/{account}/entries") => &["format"],
        _ => &[],
    };
    let in_query = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let mut parameters: Vec<Value> = named.map(in_path).collect();
    parameters.extend(query.iter().map(in_query));
    if route
        .answers
        .iter()
        .any(|member| member.name == "next_cursor")
    {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": paging::LIMIT_MAX});
        parameters.push(json!({"name": "limit", "in": "query", "schema": limit}));
        parameters.push(in_query(&"cursor"));
    }
    let books = route.takes.len() + route.answers.len() > 0;
    if books && route.method != http::Method::GET {
        let key = json!({"type": "string", "minLength": 1, "maxLength": 255});
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "schema": key}));
    }
    parameters
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "error", "hint"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "enum": codes},
            "error": text,
            "hint": text,
            "request_id": text,
            "retryable": {"type": "boolean"},
            "seq": {"type": "integer", "description": "the record of the refusal in the journal"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"pointer": text, "code": text},
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_description_is_current() {
        let committed = include_str!("../../../../openapi.json");
        let current = format!("{:#}\n", document());
        let drifted = "run: cargo xtask generate";
        assert!(committed == current, "{drifted}");
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut ids: Vec<String> = routes().map(operation_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), routes().count());
    }
}
