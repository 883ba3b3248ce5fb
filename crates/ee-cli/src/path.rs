//! Paths of requests: names become segments and values, whatever they hold.

/// A name as one segment of a path or one value of a query: what is not plain is encoded.
pub fn segment(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A path with those of the parameters that have a value.
pub fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        Some(format!("{name}={}", segment(value)))
    });
    let query: Vec<String> = given.collect();
    let separator = if path.contains('?') { "&" } else { "?" };
    match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}{separator}{}", query.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(segment("hello-1"), "hello-1");
        assert_eq!(segment("../v1/x?y"), "..%2Fv1%2Fx%3Fy");
    }

    #[test]
    fn parameters_without_value_are_left_out() {
        let path = with_query("/v1/locks", &[("node", Some("n 1".into())), ("app", None)]);
        assert_eq!(path, "/v1/locks?node=n%201");
        assert_eq!(with_query("/v1/locks", &[("app", None)]), "/v1/locks");
        let more = with_query(&path, &[("limit", Some("5".into()))]);
        assert_eq!(more, "/v1/locks?node=n%201&limit=5");
    }
}
