//! Blanks comments and literals of Rust text, so that a rule about code does not trip over prose.
//!
//! Lines and columns stay where they are: every removed character becomes a space.

/// Which kinds of text are blanked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only code: comments and literals are blanked.
    Code,
    /// Only literals: code and comments are blanked.
    Literals,
}

/// The text with everything blanked that `keep` does not name.
pub fn blank(text: &str, keep: Keep) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        chars: &chars,
        at: 0,
        out: String::with_capacity(text.len()),
        keep,
    };
    while lexer.at < chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    out: String,
    keep: Keep,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => {
                let end = self.find_from(0, |c| c == '\n');
                self.take(end, false);
            }
            (Some('/'), Some('*')) => {
                let end = self.block_comment_length();
                self.take(end, false);
            }
            (Some('"'), _) => self.take_literal(quoted_length(&self.chars[self.at..], '"')),
            (Some('r'), Some('"' | '#')) if !self.inside_word() => match self.raw_length() {
                Some(length) => self.take_literal(length),
                None => self.take(1, self.keep == Keep::Code),
            },
            (Some('\''), _) => match self.char_length() {
                Some(length) => self.take_literal(length),
                None => self.take(1, self.keep == Keep::Code),
            },
            _ => self.take(1, self.keep == Keep::Code),
        }
    }

    /// Whether the character before belongs to an identifier, as in `expr"`; `br"` is a literal.
    fn inside_word(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.chars.get(at));
        before.is_some_and(|c| (c.is_alphanumeric() && *c != 'b') || *c == '_')
    }

    fn take_literal(&mut self, length: usize) {
        self.take(length, self.keep == Keep::Literals);
    }

    fn take(&mut self, length: usize, keep: bool) {
        let end = (self.at + length).min(self.chars.len());
        for &c in &self.chars[self.at..end] {
            self.out.push(if keep || c == '\n' { c } else { ' ' });
        }
        self.at = end;
    }

    fn find_from(&self, start: usize, stop: impl Fn(char) -> bool) -> usize {
        let rest = &self.chars[self.at + start..];
        start + rest.iter().position(|&c| stop(c)).unwrap_or(rest.len())
    }

    fn block_comment_length(&self) -> usize {
        let mut depth = 0_usize;
        let mut length = 0;
        while let (Some(one), two) = (self.peek(length), self.peek(length + 1)) {
            match (one, two) {
                ('/', Some('*')) => (depth, length) = (depth + 1, length + 2),
                ('*', Some('/')) => (depth, length) = (depth - 1, length + 2),
                _ => length += 1,
            }
            if depth == 0 {
                break;
            }
        }
        length
    }

    /// The length of `r"…"` or `r#"…"#`; none for a raw identifier.
    fn raw_length(&self) -> Option<usize> {
        let hashes = self.find_from(1, |c| c != '#') - 1;
        if self.peek(1 + hashes) != Some('"') {
            return None;
        }
        let mut length = 2 + hashes;
        while let Some(c) = self.peek(length) {
            length += 1;
            if c == '"' && (0..hashes).all(|hash| self.peek(length + hash) == Some('#')) {
                return Some(length + hashes);
            }
        }
        Some(length)
    }

    /// The length of a character literal; none for a lifetime.
    fn char_length(&self) -> Option<usize> {
        match (self.peek(1)?, self.peek(2)?) {
            ('\\', _) => Some(quoted_length(&self.chars[self.at..], '\'')),
            (_, '\'') => Some(3),
            _ => None,
        }
    }
}

/// The length of a literal that starts here, both quotes included.
fn quoted_length(chars: &[char], quote: char) -> usize {
    let mut length = 1;
    while let Some(&c) = chars.get(length) {
        length += if c == '\\' { 2 } else { 1 };
        if c == quote {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str) {
        assert_eq!(blank(text, Keep::Code), code);
    }

    #[test]
    fn comments_and_literals_become_spaces() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"f("x\"y") + 'z' + '\n'"#, "f(      ) +     +     ");
        check("f(r#\"a\"b\"#)", "f(        )");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_stay() {
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("r#type", "r#type");
    }

    #[test]
    fn literals_can_be_kept_while_the_rest_goes() {
        let text = "EE_C + \"EE_A\" // EE_B";
        assert_eq!(blank(text, Keep::Literals), "       \"EE_A\"        ");
    }
}
