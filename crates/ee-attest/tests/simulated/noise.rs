//! Reproducible noise, and damage done with it.

use serde_json::{Value, json};

/// Reproducible noise (xorshift).
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// The bytes with one to four kinds of damage: bits, lengths, cuts, copies, insertions.
    pub fn damage(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return bytes;
            }
            self.damage_once(&mut bytes);
        }
        bytes
    }

    fn damage_once(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + 1 + self.below(64));
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = b"\0\xff\x7f\x80\"{[\\}0-"[self.below(11)],
            2 => {
                let extreme: [&[u8]; 4] =
                    [&[0xff; 4], &[0xff, 0xff, 0xff, 0x7f], &[0; 4], &[0xff; 2]];
                let extreme = extreme[self.below(4)];
                let end = bytes.len().min(at + extreme.len());
                bytes[at..end].copy_from_slice(&extreme[..end - at]);
            }
            3 => bytes.truncate(at),
            4 => {
                bytes.drain(at..end);
            }
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let junk: Vec<u8> = (0..1 + self.below(16)).map(|_| self.byte()).collect();
                bytes.splice(at..at, junk);
            }
        }
    }

    /// JSON of the same outer shape with one value replaced, dropped or repeated.
    pub fn twist(&mut self, original: &Value) -> Value {
        let mut value = original.clone();
        self.twist_inside(&mut value);
        value
    }

    fn twist_inside(&mut self, value: &mut Value) {
        let here = self.once_in(4);
        match value {
            Value::Object(members) if !members.is_empty() && !here => {
                let names: Vec<String> = members.keys().cloned().collect();
                let name = &names[self.below(names.len())];
                if self.once_in(6) {
                    members.remove(name);
                } else if let Some(member) = members.get_mut(name) {
                    self.twist_inside(member);
                }
            }
            Value::Array(items) if !items.is_empty() && !here => {
                let at = self.below(items.len());
                match self.below(6) {
                    0 => {
                        items.remove(at);
                    }
                    1 => items.push(items[at].clone()),
                    2 => items.swap(0, at),
                    _ => self.twist_inside(&mut items[at]),
                }
            }
            Value::String(text) if self.once_in(2) => {
                let damaged = self.damage(text.as_bytes());
                *text = String::from_utf8_lossy(&damaged).into_owned();
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => *value = self.odd_value(),
        }
    }

    fn odd_value(&mut self) -> Value {
        match self.below(10) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(u64::MAX),
            4 => json!(1e300),
            5 => json!(""),
            6 => json!("0".repeat(1 << self.below(14))),
            7 => json!([]),
            8 => json!({}),
            _ => json!([[[{"a": [null]}]]]),
        }
    }
}
