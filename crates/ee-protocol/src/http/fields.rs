//! Members of a request's JSON object, each still as the text that was sent: a number never
//! becomes a float on its way to an amount of money.
//!
//! Seed routes read as the prototype did: `if not x` took null, false, 0, "", [] and {} for
//! missing, and an integer passed for an id. Members nobody asks for are ignored there.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    account::{AccountId, ClientId, Note},
    money::{Amount, MicroUsd},
    names::NodeId,
    period::Period,
    problem::{Problem, ProblemCode},
};

const PERIOD_START: &str = "period_start";
const PERIOD_END: &str = "period_end";

/// A refusal of a request's shape.
pub type Refused = Box<Problem>;

/// The members of one JSON object. Of members with one name the last counts, as everywhere.
#[derive(Debug)]
pub struct Fields<'a> {
    members: BTreeMap<String, &'a RawValue>,
    /// JSON pointer to the object; empty for the whole body.
    pointer: String,
}

/// What a member holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent<'a> {
    /// Absent, or one of the values that the prototype took for absent.
    Missing,
    /// Text that is not empty.
    Text(String),
    /// A number other than zero, as it was written.
    Number(&'a str),
    /// `true`.
    True,
    /// An array, as it was written.
    Array(&'a str),
    /// An object, as it was written.
    Object(&'a str),
    /// Text that is no Unicode: lone surrogates.
    Broken,
}

/// A period of a body, with its bounds as they were sent: answers repeat them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPeriod {
    /// The period.
    pub period: Period,
    /// `period_start` as sent.
    pub start: String,
    /// `period_end` as sent.
    pub end: String,
}

impl<'a> Fields<'a> {
    /// Reads a body that must be one JSON object, else `invalid_json`.
    pub fn read(body: &'a [u8]) -> Result<Self, Refused> {
        let members = serde_json::from_slice(body);
        let members = members
            .map_err(|error| Problem::new(ProblemCode::InvalidJson).detail(error.to_string()))?;
        Ok(Self {
            members,
            pointer: String::new(),
        })
    }

    /// Reads a body that may be absent: nothing sent is an object without members.
    pub fn read_or_empty(body: &'a [u8]) -> Result<Self, Refused> {
        if body.trim_ascii().is_empty() {
            return Self::read(b"{}");
        }
        Self::read(body)
    }

    /// Reads an object inside of a body, for instance an item of a batch.
    pub fn read_item(raw: &'a str, pointer: String) -> Result<Self, Refused> {
        match serde_json::from_str(raw) {
            Ok(members) => Ok(Self { members, pointer }),
            Err(_) => Err(Problem::new(ProblemCode::InvalidField)
                .field(pointer, "not an object")
                .into()),
        }
    }

    /// Refuses members that are not `known`: 400 `unknown_field`.
    pub fn only(&self, known: &[&str]) -> Result<(), Refused> {
        let strange = self
            .members
            .keys()
            .filter(|name| !known.contains(&&***name));
        let problem = strange.fold(Problem::new(ProblemCode::UnknownField), |problem, name| {
            problem.field(self.pointer_to(name), "unknown")
        });
        match problem.errors.is_empty() {
            true => Ok(()),
            false => Err(problem.into()),
        }
    }

    /// What a member holds.
    pub fn sent(&self, name: &str) -> Sent<'a> {
        match self.members.get(name) {
            Some(raw) => sent(raw.get()),
            None => Sent::Missing,
        }
    }

    /// The member as it was written, if it is there at all.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).map(|raw| raw.get())
    }

    /// Whether the member is there at all, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The first of these members that is not missing, with its name; else the first name.
    pub fn first<'n>(&self, names: &[&'n str]) -> (&'n str, Sent<'a>) {
        let mut sent = names.iter().map(|name| (*name, self.sent(name)));
        let found = sent.find(|(_, sent)| *sent != Sent::Missing);
        found.unwrap_or((names[0], Sent::Missing))
    }

    /// An id's text: a string, or an integer as it was written. `None` if missing.
    pub fn id_text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.sent(name) {
            // A zero is an id like any other integer to a client that counts from zero, but the
            // prototype took it for missing.
            Sent::Missing => Ok(None),
            Sent::Text(text) => Ok(Some(text)),
            Sent::Number(raw) if is_integer(raw) => Ok(Some(raw.to_owned())),
            Sent::Number(_) | Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => {
                Err(self.invalid(name, "not a string"))
            }
        }
    }

    /// The id of an account. `None` if missing.
    pub fn account(&self, name: &str) -> Result<Option<AccountId>, Refused> {
        self.parsed(name, AccountId::parse)
    }

    /// The id of a node. `None` if missing.
    pub fn node(&self, name: &str) -> Result<Option<NodeId>, Refused> {
        self.parsed(name, NodeId::parse)
    }

    /// An id of the client's making. `None` if missing.
    pub fn client_id(&self, name: &str) -> Result<Option<ClientId>, Refused> {
        self.parsed(name, ClientId::parse)
    }

    /// Free text of a person. `None` if missing.
    pub fn note(&self, name: &str) -> Result<Option<Note>, Refused> {
        self.parsed(name, Note::parse)
    }

    fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.id_text(name)? else {
            return Ok(None);
        };
        let parsed = parse(&text).map_err(|error| self.invalid(name, &error.to_string()));
        parsed.map(Some)
    }

    /// An amount above zero, from the first of the members that is there: `missing_amount`,
    /// `invalid_amount`.
    pub fn amount(&self, names: &[&str]) -> Result<Amount, Refused> {
        let (name, sent) = self.first(names);
        if sent == Sent::Missing {
            return Err(self.refused(ProblemCode::MissingAmount, name, "missing or zero"));
        }
        let amount = money(&sent).and_then(Amount::new);
        amount.ok_or_else(|| self.refused(ProblemCode::InvalidAmount, name, "no amount"))
    }

    /// Money that may be zero, or `code`; `None` if absent, null or empty.
    pub fn money(&self, name: &str, code: ProblemCode) -> Result<Option<MicroUsd>, Refused> {
        let sent = match (self.sent(name), self.members.get(name)) {
            (Sent::Missing, Some(raw)) if is_number(raw.get()) => Sent::Number("0"),
            (Sent::Missing, _) => return Ok(None),
            (sent, _) => sent,
        };
        let money = money(&sent);
        money
            .map(Some)
            .ok_or_else(|| self.refused(code, name, "no amount"))
    }

    /// `period_start` and `period_end`; `None` if both are missing. Otherwise `missing_fields`,
    /// `invalid_period`.
    pub fn period(&self) -> Result<Option<SentPeriod>, Refused> {
        let (start, end) = (self.sent(PERIOD_START), self.sent(PERIOD_END));
        match (start, end) {
            (Sent::Missing, Sent::Missing) => Ok(None),
            (Sent::Missing, _) => {
                Err(self.refused(ProblemCode::MissingFields, PERIOD_START, "missing"))
            }
            (_, Sent::Missing) => {
                Err(self.refused(ProblemCode::MissingFields, PERIOD_END, "missing"))
            }
            (Sent::Text(start), Sent::Text(end)) => match Period::parse_bounds(&start, &end) {
                Ok(period) => Ok(Some(SentPeriod { period, start, end })),
                Err(_) => Err(self.refused(ProblemCode::InvalidPeriod, PERIOD_END, "no period")),
            },
            (_, _) => Err(self.refused(ProblemCode::InvalidPeriod, PERIOD_START, "no period")),
        }
    }

    /// 400 `missing_fields`, naming those of the members that are missing; fine if none is.
    pub fn demand(&self, names: &[&str]) -> Result<(), Refused> {
        let missing = names.iter().filter(|name| self.sent(name) == Sent::Missing);
        let problem = missing.fold(Problem::new(ProblemCode::MissingFields), |problem, name| {
            problem.field(self.pointer_to(name), "missing")
        });
        match problem.errors.is_empty() {
            true => Ok(()),
            false => Err(problem.into()),
        }
    }

    /// One of a closed list of words, or `code`. `None` if missing.
    pub fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        code: ProblemCode,
    ) -> Result<Option<T>, Refused> {
        let sent = self.sent(name);
        if sent == Sent::Missing {
            return Ok(None);
        }
        let found = words.iter().find(|(word, _)| match &sent {
            Sent::Text(text) => text == word,
            Sent::Missing
            | Sent::Number(_)
            | Sent::True
            | Sent::Array(_)
            | Sent::Object(_)
            | Sent::Broken => false,
        });
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let refused = || self.refused(code, name, &format!("not one of {}", known.join(", ")));
        found.map(|(_, value)| Some(*value)).ok_or_else(refused)
    }

    /// `true` or `false`; `None` if absent or null.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.members.get(name).map(|raw| raw.get()) {
            None | Some("null") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid(name, "not true or false")),
        }
    }

    /// A count above zero and below 2^32, as integer or its text; `None` if missing.
    pub fn count(&self, name: &str) -> Result<Option<u32>, Refused> {
        let digits = match self.sent(name) {
            Sent::Missing => return Ok(None),
            Sent::Number(raw) => raw.to_owned(),
            Sent::Text(text) => text,
            Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => String::new(),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count = digits.parse().ok().filter(|count| plain && *count > 0);
        count
            .map(Some)
            .ok_or_else(|| self.invalid(name, "not a whole number above zero"))
    }

    /// 400 `invalid_field` about a member.
    pub fn invalid(&self, name: &str, what: &str) -> Refused {
        self.refused(ProblemCode::InvalidField, name, what)
    }

    /// A refusal about a member.
    pub fn refused(&self, code: ProblemCode, name: &str, what: &str) -> Refused {
        Problem::new(code).field(self.pointer_to(name), what).into()
    }

    /// JSON pointer to a member (RFC 6901).
    pub fn pointer_to(&self, name: &str) -> String {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        format!("{}/{escaped}", self.pointer)
    }
}

fn sent(raw: &str) -> Sent<'_> {
    match raw.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) if text.is_empty() => Sent::Missing,
            Ok(text) => Sent::Text(text),
            Err(_) => Sent::Broken,
        },
        Some(b'[') if raw[1..].trim_start() == "]" => Sent::Missing,
        Some(b'[') => Sent::Array(raw),
        Some(b'{') if raw[1..].trim_start() == "}" => Sent::Missing,
        Some(b'{') => Sent::Object(raw),
        Some(b't') => Sent::True,
        Some(b'-' | b'0'..=b'9') if !is_zero(raw) => Sent::Number(raw),
        // Zero, null, false.
        Some(_) | None => Sent::Missing,
    }
}

fn money(sent: &Sent<'_>) -> Option<MicroUsd> {
    match sent {
        Sent::Text(text) => MicroUsd::parse_text(text).ok(),
        Sent::Number(raw) => MicroUsd::parse_number(raw).ok(),
        Sent::Missing | Sent::True | Sent::Array(_) | Sent::Object(_) | Sent::Broken => None,
    }
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether every digit before an exponent is zero.
fn is_zero(raw: &str) -> bool {
    let mantissa = raw.split(['e', 'E']).next().unwrap_or_default();
    mantissa
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> String {
        match Fields::read(body.as_bytes()) {
            Ok(_) => "ok".to_owned(),
            Err(problem) => problem.code,
        }
    }

    #[test]
    fn only_an_object_is_a_request() {
        assert_eq!(code(r#"{"a":1e999}"#), "ok");
        for bad in [
            "",
            "null",
            "[]",
            "[{}]",
            "1",
            "\"x\"",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":٣}",
            "{a:1}",
            "{\"a\":1}{}",
            "{\"\\ud800\":1}",
        ] {
            assert_eq!(code(bad), "invalid_json", "{bad}");
        }
        assert!(Fields::read(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_the_prototype_took_for_missing_is_missing() {
        for raw in [
            "null", "false", "0", "-0", "0.0", "0e5", "\"\"", "[]", "[ ]", "{}", "{ \n}",
        ] {
            assert_eq!(sent(raw), Sent::Missing, "{raw}");
        }
        assert_eq!(sent("0.0001"), Sent::Number("0.0001"));
        assert_eq!(sent("1e400"), Sent::Number("1e400"));
        assert_eq!(sent("\"0\""), Sent::Text("0".into()));
        assert_eq!(sent(r#""\ud800""#), Sent::Broken);
        assert_eq!(sent("true"), Sent::True);
        assert_eq!(sent("[0]"), Sent::Array("[0]"));
    }

    #[test]
    fn integers_pass_for_ids_as_they_were_written() {
        let fields = Fields::read(br#"{"a":12,"b":-7,"c":1.5,"d":true,"e":null,"f":"x"}"#);
        let fields = fields.expect("an object");
        let id = |name| fields.id_text(name).map_err(|problem| problem.code);
        assert_eq!(id("a"), Ok(Some("12".into())));
        assert_eq!(id("b"), Ok(Some("-7".into())));
        assert_eq!(id("c"), Err("invalid_field".into()));
        assert_eq!(id("d"), Err("invalid_field".into()));
        assert_eq!(id("e"), Ok(None));
        assert_eq!(id("f"), Ok(Some("x".into())));
    }

    #[test]
    fn unknown_members_are_all_named() {
        let fields = Fields::read(br#"{"known":1,"a/b":2,"c~d":3}"#).expect("an object");
        let problem = fields.only(&["known"]).expect_err("strange");
        let pointers: Vec<_> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a~1b", "/c~0d"]);
        assert!(fields.only(&["known", "a/b", "c~d"]).is_ok());
    }

    #[test]
    fn amounts_come_from_the_text_that_was_sent() {
        let amount = |raw: &str| {
            let body = format!("{{\"amount_usd\":{raw}}}");
            let fields = Fields::read(body.as_bytes()).expect("an object");
            let amount = fields.amount(&["amount_usd", "amount"]);
            amount.map(Amount::micros).map_err(|problem| problem.code)
        };
        assert_eq!(amount("25"), Ok(25_000_000));
        assert_eq!(amount("0.000001"), Ok(1));
        assert_eq!(amount("0.1"), Ok(100_000));
        assert_eq!(amount("1e2"), Ok(100_000_000));
        assert_eq!(amount("\"12.345678\""), Ok(12_345_678));
        for missing in ["0", "-0", "0.0", "null", "false", "\"\"", "[]"] {
            assert_eq!(amount(missing), Err("missing_amount".into()), "{missing}");
        }
        for bad in [
            "-1",
            "1e30",
            "1e999",
            "0.0000001",
            "\"0\"",
            "\"-1\"",
            "\"1e2\"",
            "\"NaN\"",
            "\"Infinity\"",
            "\"1_000\"",
            "\" 1\"",
            "\"١٢\"",
            "\"１\"",
            "true",
            "[1]",
            "{\"a\":1}",
            "\"1,5\"",
            "\"+1\"",
            "\"1.\"",
            "\".5\"",
            "\"\\ud800\"",
            "99999999999",
        ] {
            assert_eq!(amount(bad), Err("invalid_amount".into()), "{bad}");
        }
    }

    #[test]
    fn the_first_member_that_is_there_is_the_amount() {
        let body = br#"{"amount_usd":null,"amount":2}"#;
        let fields = Fields::read(body).expect("an object");
        let amount = fields.amount(&["amount_usd", "amount"]).expect("two");
        assert_eq!(amount.micros(), 2_000_000);
    }

    #[test]
    fn money_may_be_zero_where_it_is_a_target() {
        let fields = Fields::read(br#"{"a":0,"b":null,"c":-1,"d":"0"}"#).expect("an object");
        let money = |name| {
            fields
                .money(name, ProblemCode::InvalidAmount)
                .map_err(|p| p.code)
        };
        assert_eq!(money("a"), Ok(Some(MicroUsd::ZERO)));
        assert_eq!(money("b"), Ok(None));
        assert_eq!(money("c"), Err("invalid_amount".into()));
        assert_eq!(money("d"), Ok(Some(MicroUsd::ZERO)));
    }

    #[test]
    fn z_and_offset_are_one_period() {
        let period = |start: &str, end: &str| {
            let body = format!(r#"{{"period_start":{start},"period_end":{end}}}"#);
            let fields = Fields::read(body.as_bytes()).expect("an object");
            let period = fields.period().map_err(|problem| problem.code);
            period.map(|sent| sent.map(|sent| sent.period.to_string()))
        };
        let hour = Ok(Some("20261122T130000Z--20261122T140000Z".to_owned()));
        for (start, end) in [
            ("\"2026-11-22T13:00:00Z\"", "\"2026-11-22T14:00:00+00:00\""),
            ("\"2026-11-22T15:00:00+02:00\"", "\"2026-11-22T14:00:00\""),
        ] {
            assert_eq!(period(start, end), hour, "{start}");
        }
        assert_eq!(period("null", "\"\""), Ok(None));
        let day = "\"2026-11-22T14:00:00Z\"";
        assert_eq!(period(day, "null"), Err("missing_fields".into()));
        for (start, end) in [
            (day, day),
            (day, "\"2026-11-22T13:00:00Z\""),
            (day, "7"),
            (day, "\"yesterday\""),
            (day, "\"9999-12-31T00:00:00Z\""),
            ("[1]", day),
        ] {
            assert_eq!(
                period(start, end),
                Err("invalid_period".into()),
                "{start} {end}"
            );
        }
    }

    #[test]
    fn counts_are_whole_and_above_zero() {
        let fields = br#"{"a":3,"b":"4","c":-1,"d":1.0,"e":4294967296,"f":"+1","g":0}"#;
        let fields = Fields::read(fields).expect("an object");
        let count = |name| fields.count(name).map_err(|problem| problem.code);
        assert_eq!(count("a"), Ok(Some(3)));
        assert_eq!(count("b"), Ok(Some(4)));
        assert_eq!(count("g"), Ok(None));
        for name in ["c", "d", "e", "f"] {
            assert_eq!(count(name), Err("invalid_field".into()), "{name}");
        }
    }
}
