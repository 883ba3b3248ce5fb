//! Every answer that these tests read is what openapi.json says: members, types, words.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(ee_server::http::openapi::document);

/// Compares a JSON answer with the description of its route.
pub fn check(method: &str, path: &str, body: &Value) {
    let Some(operation) = operation(method, path) else {
        panic!("{method} {path} is not described");
    };
    let responses = operation["responses"].as_object().expect("responses");
    let done = responses.iter().find(|(status, _)| status.starts_with('2'));
    let (_, done) = done.expect("a success");
    let schema = &done["content"]["application/json"]["schema"];
    if !schema.is_null() {
        matches(schema, body, &format!("{method} {path}"));
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object()?;
    // A path without parameters is nearer than one with.
    let mut fitting: Vec<_> = paths
        .iter()
        .filter(|(template, item)| fits(template, path) && item.get(method).is_some())
        .collect();
    fitting.sort_by_key(|(template, _)| template.matches('{').count());
    let (_, item) = fitting.first()?;
    item.get(method)
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    let same = |(wanted, found): (&&str, &&str)| wanted.starts_with('{') || wanted == found;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

fn matches(schema: &Value, body: &Value, place: &str) {
    let types: Vec<&str> = match schema["type"].as_array() {
        Some(types) => types.iter().filter_map(Value::as_str).collect(),
        None => schema["type"].as_str().into_iter().collect(),
    };
    let kind = match body {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&kind), "{place}: {kind}, not {types:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(
            words.contains(body),
            "{place}: {body} is not one of {words:?}"
        );
    }
    match body {
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.for_each(|(at, item)| matches(&schema["items"], item, &format!("{place}[{at}]")));
        }
        Value::Object(members) if schema["properties"].is_object() => {
            let known = schema["properties"].as_object().expect("properties");
            for required in schema["required"].as_array().into_iter().flatten() {
                let name = required.as_str().expect("a name");
                assert!(members.contains_key(name), "{place} lacks {name}");
            }
            for (name, value) in members {
                let Some(schema) = known.get(name) else {
                    panic!("{place}.{name} is not described");
                };
                matches(schema, value, &format!("{place}.{name}"));
            }
        }
        Value::Object(members) => {
            let schema = &schema["additionalProperties"];
            let each = members.iter();
            each.for_each(|(name, value)| matches(schema, value, &format!("{place}.{name}")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
