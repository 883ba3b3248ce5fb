//! The events behind the runtime registers, replayed.
//!
//! A register is RTMR = SHA-384(RTMR, digest) over its events, from 48 zero bytes. Digests of
//! runtime events (as dstack and our images extend them) are recomputed from name and payload;
//! the text of firmware events is untrusted and only their digests count.

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::{refusal::Refusal, report_data::sha256};
use ring::digest::{self, SHA384};
use serde::Deserialize;
use serde_json::Value;

use crate::registers::{Register, Registers};

/// Type of events that the application extends at run time.
pub const RUNTIME_EVENT: u32 = 0x0800_0001;
/// Bytes of the log's JSON text (ATTESTATION 11).
pub const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Events in a log (ATTESTATION 11): firmware and boot loader make about 30.
pub const EVENTS_MAX: usize = 4_096;
/// Bytes of one payload (ATTESTATION 11).
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a runtime event's name.
const NAME_BYTES_MAX: usize = 64;

/// One event, its digest recomputed where that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which runtime register it extends.
    pub imr: usize,
    /// TCG's type of the event, or [`RUNTIME_EVENT`].
    pub event_type: u32,
    /// What the register is extended with.
    pub digest: Register,
    /// Its name; trusted of runtime events only.
    pub name: String,
    /// Its payload; trusted of runtime events only.
    pub payload: Vec<u8>,
}

/// A log in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog(Vec<Event>);

/// A runtime event that an allowlist describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedEvent {
    /// Its name.
    pub name: String,
    /// SHA-256 of its payload.
    pub payload_sha256: [u8; 32],
}

/// An event on the wire; bytes in hexadecimal.
#[derive(Deserialize)]
struct WireEvent {
    imr: u8,
    event_type: u32,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    event_payload: String,
}

impl EventLog {
    /// Parses the `event_log` of an `attest_response`.
    pub fn parse(log: &Value) -> Result<Self, Failure> {
        let Value::Array(events) = log else {
            return Err(invalid(None, "no list"));
        };
        if events.len() > EVENTS_MAX {
            return Err(invalid(None, &format!("{} events", events.len())));
        }
        if log.to_string().len() > LOG_BYTES_MAX {
            return Err(invalid(None, &format!("more than {LOG_BYTES_MAX} bytes")));
        }
        let parse = |(index, event): (usize, &Value)| {
            parse_event(event).map_err(|what| invalid(Some(index), &what))
        };
        events
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// What a register comes to; `None` if the log has no event for it.
    pub fn replay(&self, imr: usize) -> Option<Register> {
        let mut events = self.0.iter().filter(|event| event.imr == imr).peekable();
        events.peek()?;
        Some(events.fold([0; 48], |register, event| extend(&register, &event.digest)))
    }

    /// Compares with the quote every register that the log speaks of.
    pub fn check(&self, registers: &Registers) -> Result<(), Failure> {
        for (imr, actual) in registers.rtmr.iter().enumerate() {
            let Some(replayed) = self.replay(imr) else {
                continue;
            };
            if replayed != *actual {
                return Err(mismatch(
                    &format!(
                        "RTMR{imr} by replay of its events: {}",
                        hex::encode(replayed)
                    ),
                    &hex::encode(actual),
                ));
            }
        }
        Ok(())
    }

    /// RTMR3 holds exactly the described events, in order; the first departing one is named.
    pub fn check_described(
        &self,
        expected: &[ExpectedEvent],
        registers: &Registers,
    ) -> Result<(), Failure> {
        let replayed = self.replay(3).unwrap_or([0; 48]);
        if replayed != registers.rtmr[3] {
            return Err(mismatch(
                &format!("RTMR3 by replay of its events: {}", hex::encode(replayed)),
                &hex::encode(registers.rtmr[3]),
            ));
        }
        let actual: Vec<&Event> = self.0.iter().filter(|event| event.imr == 3).collect();
        for position in 0..expected.len().max(actual.len()) {
            let (wanted, seen) = (expected.get(position), actual.get(position));
            let fits = wanted
                .zip(seen)
                .is_some_and(|(wanted, seen)| wanted.describes(seen));
            if !fits {
                let name = |text: Option<&str>| text.unwrap_or("no event").to_owned();
                return Err(mismatch(
                    &format!(
                        "event {position}: {}",
                        name(wanted.map(|event| &*event.name))
                    ),
                    &format!("event {position}: {}", name(seen.map(|event| &*event.name))),
                ));
            }
        }
        Ok(())
    }
}

impl ExpectedEvent {
    fn describes(&self, event: &Event) -> bool {
        event.event_type == RUNTIME_EVENT
            && event.name == self.name
            && sha256(&event.payload) == self.payload_sha256
    }
}

/// The digest that a runtime event extends RTMR3 with.
pub fn runtime_digest(name: &str, payload: &[u8]) -> Register {
    sha384(&[
        &RUNTIME_EVENT.to_le_bytes(),
        b":",
        name.as_bytes(),
        b":",
        payload,
    ])
}

/// The value of a register after one more digest.
pub fn extend(register: &Register, digest: &Register) -> Register {
    sha384(&[register, digest])
}

/// Whether a runtime event may have this name: it must not contain the separator.
pub fn is_event_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn sha384(parts: &[&[u8]]) -> Register {
    let mut context = digest::Context::new(&SHA384);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 48];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn parse_event(event: &Value) -> Result<Event, String> {
    let wire = WireEvent::deserialize(event).map_err(|error| error.to_string())?;
    let WireEvent {
        imr,
        event_type,
        digest,
        event: name,
        event_payload,
    } = wire;
    if imr > 3 {
        return Err(format!("imr {imr}"));
    }
    if event_payload.len() > 2 * PAYLOAD_BYTES_MAX {
        return Err(format!("a payload of {} digits", event_payload.len()));
    }
    let payload = hex::decode(&event_payload).map_err(|_| "a payload that is no hex".to_owned())?;
    let digest = if event_type == RUNTIME_EVENT {
        if !is_event_name(&name) {
            return Err("a runtime event without a proper name".to_owned());
        }
        let computed = runtime_digest(&name, &payload);
        if !digest.is_empty() && !digest.eq_ignore_ascii_case(&hex::encode(computed)) {
            return Err(format!(
                "a digest of `{name}` that its payload does not have"
            ));
        }
        computed
    } else {
        let mut sent = [0; 48];
        hex::decode_to_slice(&digest, &mut sent).map_err(|_| "no SHA-384 digest".to_owned())?;
        sent
    };
    Ok(Event {
        imr: usize::from(imr),
        event_type,
        digest,
        name,
        payload,
    })
}

fn invalid(index: Option<usize>, actual: &str) -> Failure {
    let code = Code::EventLogInvalid;
    let actual = match index {
        Some(index) => format!("event {index}: {actual}"),
        None => actual.to_owned(),
    };
    Failure::new(code).explained(
        Refusal::new(
            code.as_str(),
            "event log",
            "Send the log as the platform recorded it.",
        )
        .compared(
            "a list of {imr, event_type, digest, event, event_payload}",
            actual,
        ),
    )
}

/// There is no log, but the allowlist describes RTMR3 by events.
pub(crate) fn missing() -> Failure {
    invalid(
        None,
        "nothing, while the allowlist describes RTMR3 by its events",
    )
}

fn mismatch(expected: &str, actual: &str) -> Failure {
    let code = Code::EventLogMismatch;
    let hint = "Send every event of this boot, in order, and start what the release describes.";
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), "event log", hint).compared(expected, actual))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::{DebugTds, ParsedQuote};
    use serde_json::json;

    fn seal() -> Value {
        json!({"imr": 3, "event_type": RUNTIME_EVENT, "digest": "", "event": "ee-seal",
               "event_payload": hex::encode("sealed")})
    }

    fn code(log: &Value) -> Code {
        EventLog::parse(log).expect_err("refused").code
    }

    #[test]
    fn runtime_vector_of_the_attestation_document_holds() {
        let digest = hex::encode(runtime_digest("ee-seal", b"sealed"));
        assert!(
            digest.starts_with("6986b26d") && digest.ends_with("44e2aee9"),
            "{digest}"
        );
        let log = EventLog::parse(&json!([seal()])).expect("a log");
        let register = hex::encode(log.replay(3).expect("an event"));
        assert!(
            register.starts_with("4cf4cd39") && register.ends_with("b4f71def"),
            "{register}"
        );
    }

    #[test]
    fn a_real_log_replays_to_the_registers_of_its_quote() {
        let file = include_str!("../tests/vectors/eventlogs/near-mpc__quote_json.json");
        let given: Value = serde_json::from_str(file).expect("JSON");
        let bytes = include_bytes!("../tests/vectors/quotes/near-mpc__quote_json.bin");
        let quote = ParsedQuote::parse(bytes, DebugTds::Refused).expect("a quote");
        let log = EventLog::parse(&given["event_log"]).expect("a log");
        let of = |imr: usize| log.events().iter().filter(|event| event.imr == imr).count();
        assert_eq!([of(0), of(1), of(2), of(3)], [13, 5, 2, 9]);
        assert!(
            log.events()
                .iter()
                .all(|e| (e.imr == 3) == (e.event_type == RUNTIME_EVENT))
        );
        assert_eq!(log.check(quote.registers()), Ok(()));
        for imr in 0..4 {
            assert_eq!(
                hex::encode(log.replay(imr).expect("events")),
                given[format!("rtmr{imr}")]
            );
        }
        let compose = given["app_compose"].as_str().expect("text");
        assert_eq!(
            hex::encode(sha256(compose.as_bytes())),
            given["compose_hash"]
        );
        let hash = log
            .events()
            .iter()
            .find(|event| event.name == "compose-hash")
            .expect("event");
        assert_eq!(hex::encode(&hash.payload), given["compose_hash"]);
    }

    #[test]
    fn reordered_cut_or_forged_logs_do_not_match() {
        let file = include_str!("../tests/vectors/eventlogs/near-mpc__quote_json.json");
        let given: Value = serde_json::from_str(file).expect("JSON");
        let bytes = include_bytes!("../tests/vectors/quotes/near-mpc__quote_json.bin");
        let quote = ParsedQuote::parse(bytes, DebugTds::Refused).expect("a quote");
        let Value::Array(events) = &given["event_log"] else {
            panic!("a list")
        };
        let mut reordered = events.clone();
        let last = reordered.len() - 1;
        reordered.swap(last, last - 1);
        let cut = events[..last].to_vec();
        let mut forged = events.clone();
        forged[last]["event_payload"] = json!("00");
        forged[last]["digest"] = json!("");
        for events in [reordered, cut, forged] {
            let log = EventLog::parse(&Value::Array(events)).expect("well-formed");
            let failure = log.check(quote.registers()).expect_err("refused");
            assert_eq!(failure.code, Code::EventLogMismatch);
        }
        let mut lying = events.clone();
        lying[last]["event_payload"] = json!("00");
        assert_eq!(code(&Value::Array(lying)), Code::EventLogInvalid);
    }

    #[test]
    fn described_events_must_be_all_in_order() {
        let expected = |name: &str, payload: &str| ExpectedEvent {
            name: name.to_owned(),
            payload_sha256: sha256(payload.as_bytes()),
        };
        let bytes = include_bytes!("../tests/vectors/quotes/near-mpc__quote_json.bin");
        let quote = ParsedQuote::parse(bytes, DebugTds::Refused).expect("a quote");
        let mut registers = quote.registers().clone();
        let log = EventLog::parse(&json!([seal()])).expect("a log");
        let empty = EventLog::parse(&json!([])).expect("a log");
        registers.rtmr[3] = log.replay(3).expect("an event");
        let right = expected("ee-seal", "sealed");
        assert_eq!(
            log.check_described(std::slice::from_ref(&right), &registers),
            Ok(())
        );
        for wrong in [
            vec![],
            vec![right.clone(), right.clone()],
            vec![expected("ee-seal", "other")],
            vec![expected("ee-agent", "sealed")],
        ] {
            let failure = log
                .check_described(&wrong, &registers)
                .expect_err("refused");
            assert_eq!(failure.code, Code::EventLogMismatch);
        }
        let silent = empty
            .check_described(&[], &registers)
            .expect_err("an unexplained register");
        assert_eq!(silent.code, Code::EventLogMismatch);
        registers.rtmr[3] = [0; 48];
        assert_eq!(empty.check_described(&[], &registers), Ok(()));
    }

    #[test]
    fn malformed_logs_are_refused() {
        let with = |name: &str, value: Value| {
            let mut event = seal();
            event[name] = value;
            json!([event])
        };
        for log in [
            json!({}),
            json!([1]),
            json!([{}]),
            with("imr", json!(4)),
            with("imr", json!(-1)),
            with("event", json!("a:b")),
            with("event", json!("")),
            with("event", json!("x".repeat(65))),
            with("digest", json!("00".repeat(48))),
            with("event_type", json!(1)),
            with("event_payload", json!("0")),
            with("event_payload", json!("00".repeat(PAYLOAD_BYTES_MAX + 1))),
            Value::Array(vec![seal(); EVENTS_MAX + 1]),
        ] {
            assert_eq!(code(&log), Code::EventLogInvalid);
        }
    }
}
