//! Pages of lists: `?limit=1..1000&cursor=`, `next_cursor` and `Link` (EXPERIENCE 5).
//!
//! A cursor is opaque and sealed with a key of this server: it names a place in one list, and
//! cannot be made up or carried to another list. There are no offsets, so what is added meanwhile
//! shifts nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ee_protocol::problem::{Problem, ProblemCode};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use ring::hmac;

/// Rows of a page unless the client says otherwise.
const LIMIT_DEFAULT: u32 = 100;
/// Most rows of a page (EXPERIENCE 5).
pub const LIMIT_MAX: u32 = 1_000;
/// Bytes of the seal: 128 bits are beyond guessing, and keep cursors short.
const SEAL_BYTES: usize = 16;
/// Longest cursor that is looked at: positions are a few numbers and an id.
const CURSOR_MAX_CHARS: usize = 1_024;

/// The key that seals cursors.
pub struct CursorKey(hmac::Key);

/// Which page of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most so many rows.
    pub limit: u32,
    /// The position after which it begins; none: the list's beginning.
    pub after: Option<String>,
}

impl CursorKey {
    /// From random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A cursor to the position in the list.
    pub fn seal(&self, list: &str, position: &str) -> String {
        let seal = self.seal_of(list, position);
        let sealed = [&seal[..], position.as_bytes()].concat();
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// The position behind a cursor of this list; `None` if it was not made here.
    pub fn open(&self, list: &str, cursor: &str) -> Option<String> {
        if cursor.len() > CURSOR_MAX_CHARS {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (seal, position) = sealed.split_at_checked(SEAL_BYTES)?;
        let position = std::str::from_utf8(position).ok()?;
        let same = subtle::ConstantTimeEq::ct_eq(seal, &self.seal_of(list, position)[..]);
        bool::from(same).then(|| position.to_owned())
    }

    fn seal_of(&self, list: &str, position: &str) -> [u8; SEAL_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        // The list's length keeps "ab" + "c" apart from "a" + "bc".
        context.update(&(list.len() as u64).to_le_bytes());
        context.update(list.as_bytes());
        context.update(position.as_bytes());
        let tag = context.sign();
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&tag.as_ref()[..SEAL_BYTES]);
        seal
    }
}

/// Reads `limit` and `cursor` of a request for a list. A list's name is its path, so a cursor holds
/// for one account's entries only.
pub fn page(uri: &Uri, key: &CursorKey) -> Result<Page, Box<Problem>> {
    let limit = match parameter(uri, "limit") {
        None => LIMIT_DEFAULT,
        Some(text) => {
            let limit = text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| wrong("limit", &format!("limit is 1 to {LIMIT_MAX}")))?
        }
    };
    let after = match parameter(uri, "cursor") {
        None => None,
        Some(cursor) => {
            let position = key.open(uri.path(), &cursor);
            let unknown = || wrong("cursor", "no cursor of this list: begin without one");
            Some(position.ok_or_else(unknown)?)
        }
    };
    Ok(Page { limit, after })
}

/// The cursor to the page that begins after `position`, and the `Link` field that names it.
pub fn next(uri: &Uri, key: &CursorKey, limit: u32, position: &str) -> (String, HeaderValue) {
    let cursor = key.seal(uri.path(), position);
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|pair| !pair.is_empty() && !is(pair, "cursor") && !is(pair, "limit"));
    let kept: String = kept.map(|pair| format!("{pair}&")).collect();
    let link = format!(
        "<{}?{kept}limit={limit}&cursor={cursor}>; rel=\"next\"",
        uri.path()
    );
    let link = HeaderValue::from_str(&link).expect("a request target and base64 are visible ASCII");
    (cursor, link)
}

/// A parameter of the query, decoded; the first, if there are several. Empty is absent.
pub fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&');
    let mut values = pairs.filter(|pair| is(pair, name)).map(|pair| {
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        let value = value.replace('+', " ");
        percent_decode_str(&value).decode_utf8_lossy().into_owned()
    });
    values.next().filter(|value| !value.is_empty())
}

fn is(pair: &str, name: &str) -> bool {
    pair.split('=').next() == Some(name)
}

fn wrong(name: &str, detail: &str) -> Box<Problem> {
    let problem = Problem::new(ProblemCode::InvalidField).detail(detail);
    Box::new(problem.field(format!("?{name}"), "invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CursorKey {
        CursorKey::new(&[7; 32])
    }

    fn uri(text: &str) -> Uri {
        text.parse().expect("a target")
    }

    fn read(text: &str) -> Result<Page, String> {
        page(&uri(text), &key()).map_err(|problem| problem.code)
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(read("/l").expect("default").limit, 100);
        assert_eq!(read("/l?limit=1000").expect("most").limit, 1_000);
        for bad in ["0", "1001", "-1", "x", "1e2", "99999999999999999999"] {
            assert_eq!(
                read(&format!("/l?limit={bad}")),
                Err("invalid_field".into())
            );
        }
    }

    #[test]
    fn a_cursor_leads_to_the_next_page_of_its_own_list() {
        let (cursor, link) = next(&uri("/l?format=json&limit=3"), &key(), 3, "17.2");
        let link = link.to_str().expect("text");
        let expected = format!("</l?format=json&limit=3&cursor={cursor}>; rel=\"next\"");
        assert_eq!(link, expected);
        let page = read(&format!("/l?cursor={cursor}")).expect("ours");
        assert_eq!(page.after.as_deref(), Some("17.2"));
        let elsewhere = read(&format!("/other?cursor={cursor}"));
        assert_eq!(elsewhere, Err("invalid_field".into()));
    }

    #[test]
    fn a_forged_cursor_is_refused() {
        let sealed = key().seal("/l", "17");
        assert_eq!(CursorKey::new(&[8; 32]).open("/l", &sealed), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert_eq!(key().open("/l", &forged), None, "{forged}");
        }
        for bad in ["", "AAAA", "%", &"A".repeat(2_000)] {
            assert_eq!(key().open("/l", bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let uri = uri("/l?a=x%20y+z&b=&a=second");
        assert_eq!(parameter(&uri, "a").as_deref(), Some("x y z"));
        assert_eq!(parameter(&uri, "b"), None);
        assert_eq!(parameter(&uri, "c"), None);
    }
}
