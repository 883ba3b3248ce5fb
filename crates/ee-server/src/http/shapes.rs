//! What bodies hold, for the description of the API: one table a body, in the order of its members.
//!
//! Requests are parsed by `ee_protocol::http`, which is lenient about types; here stands what a
//! client should send. Tests compare real answers with these tables.

use serde_json::{Map, Value, json};

/// One member of a body.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
}

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// True or false.
    Flag,
    /// Dollars: a number or a decimal string.
    Usd,
    /// Micro-USD: a decimal string.
    MicroUsd,
    /// vCPU-hours: a number or a decimal string.
    Hours,
    /// RFC 3339.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An array of text.
    Texts,
    /// An array of objects.
    List(&'static [Member]),
    /// An object.
    Object(&'static [Member]),
    /// An object whose members are accounts.
    ByAccount(&'static [Member]),
}

/// Whether a member must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is always there.
    Required,
    /// It is always there, and may be null.
    Nullable,
    /// It may be absent.
    Optional,
}

/// A member that is always there.
pub const fn has(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        need: Need::Required,
    }
}

/// A member that may be null.
pub const fn null(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        need: Need::Nullable,
    }
}

/// A member that may be absent.
pub const fn may(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        need: Need::Optional,
    }
}

/// What accounts hold after a write.
pub const HOLDINGS: &[Member] = &[
    has("available_micro_usd", Kind::MicroUsd),
    has("posted_micro_usd", Kind::MicroUsd),
    has("locked_micro_usd", Kind::MicroUsd),
    has("held_micro_usd", Kind::MicroUsd),
];

/// A body as JSON Schema. Further members may come: `/v1` only grows.
pub fn schema(members: &[Member]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|member| (member.name.to_owned(), of(*member)))
        .collect();
    let required = members
        .iter()
        .filter(|member| member.need != Need::Optional);
    let required: Vec<&str> = required.map(|member| member.name).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn of(member: Member) -> Value {
    let mut schema = match member.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Usd => json!({
            "type": ["number", "string"],
            "pattern": r"^\d{1,10}(\.\d{1,6})?$",
            "description": "dollars; at most 6 decimals",
        }),
        Kind::MicroUsd => json!({
            "type": "string",
            "pattern": r"^-?\d+$",
            "description": "millionths of a dollar",
        }),
        Kind::Hours => json!({"type": ["number", "string"], "maxLength": 40}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::List(members) => json!({"type": "array", "items": schema(members)}),
        Kind::Object(members) => schema(members),
        Kind::ByAccount(members) => {
            json!({"type": "object", "additionalProperties": schema(members)})
        }
    };
    if member.need == Need::Nullable {
        nullable(&mut schema);
    }
    schema
}

/// JSON Schema 2020-12 says null by adding a type, and to an enumeration by adding a value.
fn nullable(schema: &mut Value) {
    let one_or_more = schema["type"].take();
    let mut types = match one_or_more.as_array() {
        Some(types) => types.clone(),
        None => vec![one_or_more],
    };
    types.push(json!("null"));
    schema["type"] = Value::Array(types);
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_a_schema() {
        const BODY: &[Member] = &[
            has("id", Kind::Text),
            null("state", Kind::Word(&["open", "done"])),
            may("rows", Kind::List(&[has("n", Kind::Integer)])),
        ];
        let expected = json!({
            "type": "object",
            "required": ["id", "state"],
            "properties": {
                "id": {"type": "string"},
                "state": {"type": ["string", "null"], "enum": ["open", "done", null]},
                "rows": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["n"],
                        "properties": {"n": {"type": "integer"}},
                    },
                },
            },
        });
        assert_eq!(schema(BODY), expected);
    }
}
