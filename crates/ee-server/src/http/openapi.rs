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
    routes::{Access, ROUTES, Route},
};

/// The description.
pub async fn openapi_read() -> Response {
    json_answer(StatusCode::OK, &document())
}

/// The API as an OpenAPI document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
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
    let (status, done) = match route.access {
        Access::Bootstrap => ("201", "The admin token, shown once"),
        Access::Public | Access::Scope(_) | Access::ProxyApi => ("200", "Done"),
    };
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route.path),
        "responses": {status: {"description": done}, "default": refused},
    });
    operation["security"] = match route.access {
        Access::Public => json!([]),
        Access::ProxyApi => json!([{}, {"token": []}]),
        Access::Scope(_) | Access::Bootstrap => json!([{"token": []}]),
    };
    if let Access::Scope(scope) = route.access {
        operation["x-scope"] = json!(scope.as_str());
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

fn parameters(path: &str) -> Vec<Value> {
    let named = path.split('/').filter_map(|segment| {
        segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
    });
    let in_path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let query = match path {
        "/v1/apps/{app}/explain" => Some("agent"),
        "/v1/tls-check" => Some("domain"),
        _ => None,
    };
    let in_query = |name| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    named.map(in_path).chain(query.map(in_query)).collect()
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
        let mut ids: Vec<String> = ROUTES.iter().map(operation_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
