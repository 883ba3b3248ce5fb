//! Damaged answers through the whole attestor: none panics, none passes but what means the same.

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_core::{attestation::Verdict, session::VerificationRequest};
use ee_protocol::tunnel::AttestResponse;
use serde_json::Value;

use crate::world::{START_S, STRANGER, World, reason};

/// Damaged answers in the normal run; 10^7 in a campaign. The parsers have 10^4 each in
/// ee-attest; here the whole line is run, which takes a millisecond.
const ANSWERS: u64 = 2_000;

/// Reproducible noise (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len());
        bytes[at] ^= 1 << self.below(8);
    }
}

/// Damages a member, its quote below the base64 as a rule.
fn damage(noise: &mut Noise, whole: &AttestResponse) -> Option<AttestResponse> {
    if noise.below(3) > 0 {
        let mut quote = STANDARD.decode(whole.quote.as_ref()?).ok()?;
        noise.flip(&mut quote);
        return Some(AttestResponse {
            quote: Some(STANDARD.encode(quote)),
            ..whole.clone()
        });
    }
    let mut value = serde_json::to_value(whole).ok()?;
    let members = value.as_object_mut()?;
    let names: Vec<String> = members.keys().cloned().collect();
    let name = names[noise.below(names.len())].clone();
    match noise.below(4) {
        0 => members.remove(&name),
        1 => members.insert(name, Value::from(-1)),
        2 => members.insert(name, Value::from(vec![Value::Null; 3])),
        _ => {
            let mut text = members[&name].to_string().into_bytes();
            noise.flip(&mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            let damaged = serde_json::from_str(&text).unwrap_or(Value::String(text));
            members.insert(name, damaged)
        }
    };
    serde_json::from_value(value).ok()
}

#[tokio::test]
async fn damaged_answers_never_panic_and_never_prove_anything_else() {
    let world = World::new().await;
    let mut brought = world.good();
    let bundle = world.platform.collateral(START_S.unsigned_abs()).to_json();
    brought.collateral = serde_json::from_str(&bundle).ok();
    brought.event_log = true;
    let whole = brought.request(world.clock_now());
    let Verdict::Pass(truth) = world
        .attestor
        .verify(Box::new(whole.clone()), STRANGER)
        .await
    else {
        panic!("the undamaged answer is refused");
    };
    let mut noise = Noise(0x5eed_0020);
    let (mut passed, mut refused) = (0, 0);
    for number in 0..ANSWERS {
        let Some(response) = damage(&mut noise, &whole.response) else {
            continue;
        };
        let request = VerificationRequest {
            response,
            ..whole.clone()
        };
        match world.attestor.verify(Box::new(request), STRANGER).await {
            Verdict::Pass(result) => {
                assert_eq!(result, truth, "answer {number}");
                passed += 1;
            }
            verdict @ (Verdict::Fail(_) | Verdict::Indeterminate(_)) => {
                assert!(
                    !reason(&verdict).starts_with('~'),
                    "answer {number}: {verdict:?}"
                );
                refused += 1;
            }
        }
    }
    // Quotes are malleable in unsigned places (ATTESTATION 3), so some pass unchanged in meaning.
    assert!(
        passed > 0 && refused > 1_000,
        "{passed} passed, {refused} refused"
    );
}
