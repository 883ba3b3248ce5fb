//! How deep JSON nests and how much it holds, found without parsing it: parsers recurse and
//! allocate, and texts come from strangers.

/// Whether the text nests arrays and objects deeper than `max`; brackets in strings do not count.
/// Bytes that are no JSON get some answer: the parser refuses them afterwards.
pub fn deeper_than(text: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether the text holds more arrays, objects and commas than `max`, strings not counted.
pub(crate) fn has_more_parts_than(text: &str, max: usize) -> bool {
    let (mut parts, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' | b',' => parts += 1,
            _ => {}
        }
    }
    parts > max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert!(deeper_than(b"[[[]]]", 2) && !deeper_than(b"[[[]]]", 3));
        assert!(!deeper_than(br#"["[[[[", "\"[[["]"#, 1));
    }
}
