//! The MAC on control messages of a tunnel with inner TLS (TUNNEL 3.2).
//!
//! Control messages travel outside the inner TLS, and `health` decides money, so from the first
//! `status ok attested` on each text carries `seq` (per direction, from 0, without gap) and ends
//! in `,"mac":"<64 lower-case hex>"}`. The MAC covers the sender's word, a zero byte and the text
//! before that tail plus `}`. It is checked before the JSON is parsed.

use ring::hmac;

/// Bytes of the key: a second exporter of the inner TLS, `EXPORTER-EasyEnclave-Control`.
pub const KEY_LEN: usize = 32;
/// `,"mac":"`, 64 digits, `"}`.
const TAIL_LEN: usize = 8 + 64 + 2;
const TAIL_HEAD: &str = ",\"mac\":\"";

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The agent.
    Agent,
    /// The control plane.
    Control,
}

impl Sender {
    const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Control => "control",
        }
    }
}

/// The text carries no MAC, a wrong one, or the wrong sequence number: `control_mac_invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("control message without a valid MAC and sequence number")]
pub struct MacInvalid;

/// One direction of the control channel: seals what is sent or opens what is received, and counts.
#[derive(Debug)]
pub struct ControlMac {
    key: hmac::Key,
    sender: Sender,
    next_seq: u64,
}

impl ControlMac {
    /// The direction in which `sender` speaks, from sequence number 0.
    pub fn new(key: &[u8; KEY_LEN], sender: Sender) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            sender,
            next_seq: 0,
        }
    }

    /// Adds `seq` and `mac` to a JSON object in text form.
    ///
    /// # Panics
    /// If `json` is not an object in text form: the caller serialised it.
    pub fn seal(&mut self, json: &str) -> String {
        let open = json
            .strip_suffix('}')
            .expect("a control message is a JSON object");
        let comma = if open.ends_with('{') { "" } else { "," };
        let covered = format!("{open}{comma}\"seq\":{}}}", self.next_seq);
        self.next_seq += 1;
        let mac = hex::encode(hmac::sign(&self.key, &self.signed(&covered)));
        format!("{}{TAIL_HEAD}{mac}\"}}", &covered[..covered.len() - 1])
    }

    /// Checks MAC and sequence number of a received text; returns it without the MAC.
    pub fn open(&mut self, text: &str) -> Result<String, MacInvalid> {
        let (covered, mac) = split_tail(text).ok_or(MacInvalid)?;
        hmac::verify(&self.key, &self.signed(&covered), &mac).map_err(|_| MacInvalid)?;
        if sequence_number(&covered) != Some(self.next_seq) {
            return Err(MacInvalid);
        }
        self.next_seq += 1;
        Ok(covered)
    }

    fn signed(&self, covered: &str) -> Vec<u8> {
        [self.sender.word().as_bytes(), &[0], covered.as_bytes()].concat()
    }
}

/// The covered text (closed again with `}`) and the MAC's bytes.
fn split_tail(text: &str) -> Option<(String, Vec<u8>)> {
    let at = text.len().checked_sub(TAIL_LEN)?;
    let (head, tail) = text.split_at_checked(at)?;
    let digits = tail.strip_prefix(TAIL_HEAD)?.strip_suffix("\"}")?;
    let lower = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mac = hex::decode(digits).ok().filter(|_| lower)?;
    Some((format!("{head}}}"), mac))
}

/// `seq` is a member of the authenticated text; its value is read from the parsed object so that
/// a `"seq"` inside some string cannot stand for it.
fn sequence_number(covered: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Sequenced {
        seq: u64,
    }
    serde_json::from_str::<Sequenced>(covered)
        .ok()
        .map(|message| message.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: &str = r#"{"type":"health","status":"pass"}"#;

    fn pair() -> (ControlMac, ControlMac) {
        let key = [0xa5; KEY_LEN];
        (
            ControlMac::new(&key, Sender::Agent),
            ControlMac::new(&key, Sender::Agent),
        )
    }

    #[test]
    fn published_vector_holds() {
        let sealed = pair().0.seal(HEALTH);
        assert_eq!(
            sealed,
            "{\"type\":\"health\",\"status\":\"pass\",\"seq\":0,\"mac\":\
             \"c46dbb53686148f0e297b6c2f39424c1748123348ec8ac5492d9e6e4e4edc6d3\"}"
        );
    }

    #[test]
    fn sealed_text_opens_once_and_in_order() {
        let (mut seal, mut open) = pair();
        let (first, second) = (seal.seal(HEALTH), seal.seal(HEALTH));
        assert_eq!(open.open(&second), Err(MacInvalid), "a gap is refused");
        assert!(open.open(&first).is_ok());
        assert_eq!(open.open(&first), Err(MacInvalid), "a repeat is refused");
        assert!(open.open(&second).is_ok());
    }

    #[test]
    fn altered_text_is_refused() {
        let sealed = pair().0.seal(HEALTH);
        assert_eq!(
            pair().1.open(&sealed.replace("pass", "fail")),
            Err(MacInvalid)
        );
        assert_eq!(pair().1.open(HEALTH), Err(MacInvalid));
        assert_eq!(pair().1.open(""), Err(MacInvalid));
        assert_eq!(pair().1.open(&"é".repeat(60)), Err(MacInvalid));
    }

    #[test]
    fn a_message_cannot_be_reflected() {
        let sealed = pair().0.seal(HEALTH);
        let mut control = ControlMac::new(&[0xa5; KEY_LEN], Sender::Control);
        assert_eq!(control.open(&sealed), Err(MacInvalid));
    }
}
