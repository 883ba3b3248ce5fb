//! Event logs: what was extended into the run-time registers, and the replay that gives their
//! values.

use ring::digest;
use serde_json::{Value, json};

use crate::td::Register;

/// Type of a run-time event, as dstack writes it; its digest can be recomputed.
pub const RUNTIME_EVENT: u32 = 0x0800_0001;
/// `EV_EFI_VARIABLE_AUTHORITY`: stands for any firmware event, whose text is untrusted.
pub const FIRMWARE_EVENT: u32 = 0x8000_00e0;

/// One extension of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Register 0 to 3.
    pub imr: u8,
    /// Type of the event.
    pub event_type: u32,
    /// What was extended.
    pub digest: Register,
    /// Name of a run-time event, description of a firmware event.
    pub name: String,
    /// Payload of a run-time event.
    pub payload: Vec<u8>,
}

impl Event {
    /// A firmware event: digest and description are unrelated to each other.
    pub fn firmware(imr: u8, digest: Register, description: &str) -> Self {
        let (name, payload) = (description.to_owned(), Vec::new());
        Self {
            imr,
            event_type: FIRMWARE_EVENT,
            digest,
            name,
            payload,
        }
    }

    /// A run-time event in RTMR3: the digest is SHA-384 over type, name and payload.
    pub fn runtime(name: &str, payload: &[u8]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA384);
        hash.update(&RUNTIME_EVENT.to_le_bytes());
        hash.update(b":");
        hash.update(name.as_bytes());
        hash.update(b":");
        hash.update(payload);
        Self {
            imr: 3,
            event_type: RUNTIME_EVENT,
            digest: register(hash.finish()),
            name: name.to_owned(),
            payload: payload.to_vec(),
        }
    }

    /// The event as `attest_response` carries it.
    pub fn to_json(&self) -> Value {
        json!({
            "imr": self.imr,
            "event_type": self.event_type,
            "digest": hex::encode(self.digest),
            "event": self.name,
            "event_payload": hex::encode(&self.payload),
        })
    }
}

/// The four registers after `events`, from zero.
pub fn replay(events: &[Event]) -> [Register; 4] {
    let mut registers = [[0; 48]; 4];
    for event in events {
        let target = &mut registers[usize::from(event.imr)];
        let mut hash = digest::Context::new(&digest::SHA384);
        hash.update(target.as_slice());
        hash.update(&event.digest);
        *target = register(hash.finish());
    }
    registers
}

/// SHA-384 of `bytes`.
pub fn sha384(bytes: &[u8]) -> Register {
    register(digest::digest(&digest::SHA384, bytes))
}

fn register(digest: digest::Digest) -> Register {
    digest.as_ref().try_into().expect("SHA-384 has 48 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seal_event_gives_the_published_vector() {
        let event = Event::runtime("ee-seal", b"sealed");
        let digest = hex::encode(event.digest);
        assert!(
            digest.starts_with("6986b26d") && digest.ends_with("44e2aee9"),
            "{digest}"
        );
        let rtmr3 = hex::encode(replay(&[event])[3]);
        assert!(
            rtmr3.starts_with("4cf4cd39") && rtmr3.ends_with("b4f71def"),
            "{rtmr3}"
        );
    }
}
