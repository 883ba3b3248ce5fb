//! The exact text that Intel signed, cut out of a PCS answer.
//!
//! Signatures cover the substring as sent, so it is found by position, never rebuilt.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The raw text of a member of a JSON object; `None` if there is no such member or the text is
/// no JSON object.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = object.trim().strip_prefix('{')?.trim_start();
    loop {
        let (key, after) = value(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        let (content, after) = value(rest)?;
        if serde_json::from_str::<String>(key).ok()? == name {
            return Some(content);
        }
        rest = after.trim_start().strip_prefix(',')?.trim_start();
    }
}

/// The first JSON value of the text, and what follows.
fn value(text: &str) -> Option<(&str, &str)> {
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_spelling() {
        let text = r#" {"a": 1, "tcbInfo" : {"x":[1, 2 ],"y":"}\""} ,"signature":"ab"}"#;
        assert_eq!(member(text, "tcbInfo"), Some(r#"{"x":[1, 2 ],"y":"}\""}"#));
        assert_eq!(member(text, "signature"), Some(r#""ab""#));
        assert_eq!(member(text, "a"), Some("1"));
        assert_eq!(member(text, "b"), None);
    }

    #[test]
    fn junk_has_no_members() {
        for text in [
            "", "{", "[]", "{\"a\"", "{\"a\":", "{\"a\":{", "{a:1}", "nonsense",
        ] {
            assert_eq!(member(text, "a"), None, "{text}");
        }
    }
}
