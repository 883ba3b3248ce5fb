//! `allowlist diff`: what changed between two allowlists, field by field.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde::Serialize;
use serde_json::Value;

use super::json;
use crate::{
    failure::Exit,
    output::{self, Format},
};

/// What `allowlist diff` prints.
#[derive(Debug, Serialize)]
struct Difference {
    equal: bool,
    changed: Vec<Change>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Change {
    /// JSON pointer (RFC 6901).
    field: String,
    old: Option<Value>,
    new: Option<Value>,
}

/// Reads both and prints.
pub(super) fn run(old: &Path, new: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let changed = compare(&json(old)?, &json(new)?);
    let difference = Difference {
        equal: changed.is_empty(),
        changed,
    };
    output::print(format, &difference, text);
    Ok(if difference.equal {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let (old, new) = (leaves(old), leaves(new));
    let fields = old
        .keys()
        .chain(new.keys().filter(|field| !old.contains_key(*field)));
    fields
        .filter(|field| old.get(*field) != new.get(*field))
        .map(|field| Change {
            field: field.clone(),
            old: old.get(field).cloned(),
            new: new.get(field).cloned(),
        })
        .collect()
}

/// Every value that holds no others, by its place. An absent pin and a null one mean the same.
fn leaves(document: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), document)];
    while let Some((place, value)) = waiting.pop() {
        match value {
            Value::Object(members) => waiting.extend(members.iter().map(|(name, member)| {
                (
                    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
                    member,
                )
            })),
            Value::Array(items) => waiting.extend(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| (format!("{place}/{index}"), item)),
            ),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                found.insert(place, value.clone());
            }
        }
    }
    found
}

fn text(difference: &Difference) -> String {
    if difference.equal {
        return "equal".to_owned();
    }
    let show = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
    let rows = difference.changed.iter().flat_map(|change| {
        [
            change.field.clone(),
            format!("  old {}", show(&change.old)),
            format!("  new {}", show(&change.new)),
        ]
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_named_by_their_place() {
        let old = json!({"version":"1.0","measurements":{"mrtd":"aa","rtmr3":null}});
        let new = json!({"version":"1.1","measurements":{"mrtd":["aa","bb"]}});
        let changed = compare(&old, &new);
        let fields: Vec<&str> = changed.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "/measurements/mrtd",
                "/version",
                "/measurements/mrtd/0",
                "/measurements/mrtd/1"
            ]
        );
        assert_eq!(compare(&old, &old), []);
    }
}
