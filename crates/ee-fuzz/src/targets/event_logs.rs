//! Event logs: parsed, replayed, compared with a quote and with what a release describes.

use std::sync::LazyLock;

use ee_attest::{Allowlist, DebugTds, ParsedQuote, event_log::EventLog};
use serde_json::Value;

use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "event-logs",
    about: "event logs beside a quote",
    run,
    seeds: logs,
    longest: 16 * 1024,
    floor: 2100,
};

struct Beside {
    quote: ParsedQuote,
    allowlist: Allowlist,
}

static BESIDE: LazyLock<Beside> = LazyLock::new(|| {
    let quote = &seeds::simulated_quotes()[0];
    let allowlist = seeds::image().allowlist_with_events().to_string();
    Beside {
        quote: ParsedQuote::parse(quote, DebugTds::Refused).expect("a quote"),
        allowlist: Allowlist::parse(allowlist.as_bytes()).expect("an allowlist"),
    }
});

fn logs() -> Vec<Vec<u8>> {
    vec![
        seeds::image().event_log().to_string().into_bytes(),
        seeds::real_event_log(),
        b"[]".to_vec(),
    ]
}

fn run(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let Ok(log) = EventLog::parse(&value) else {
        return;
    };
    for imr in 0..6 {
        let spoken_of = log.events().iter().any(|event| event.imr == imr);
        assert_eq!(log.replay(imr).is_some(), spoken_of);
    }
    let registers = BESIDE.quote.registers();
    let agrees = log.check(registers).is_ok();
    let replays = |imr: usize| {
        log.replay(imr)
            .is_none_or(|replayed| replayed == registers.rtmr[imr])
    };
    assert_eq!(agrees, (0..registers.rtmr.len()).all(replays));
    let expected = BESIDE.allowlist.rtmr3_events().expect("described");
    if log.check_described(expected, registers).is_ok() {
        assert!(replays(3), "what is described is what was measured");
    }
}
