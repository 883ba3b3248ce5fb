//! How fast the books decide, by hand: `cargo test -p ee-core --release speed -- --ignored`.
//!
//! Wall time is a measurement, not a promise: nothing but this file's own test reads it.

use std::time::Instant;

use super::*;

const ACCOUNTS: u32 = 100_000;
const TRANSFERS: u32 = 1_000_000;
const BATCH: u32 = 1_000;
/// The least that leaves group commit bound by the disk, on one slow core.
const TRANSFERS_A_SECOND_MIN: f64 = 500_000.0;

/// Steps of a fixed pseudo-random walk (Knuth's 64-bit constants).
fn next(state: &mut u64) -> u32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

#[test]
#[ignore = "measures wall time: for a release build on a quiet machine"]
fn half_a_million_transfers_a_second_are_decided() {
    let known = Known::default();
    let mut books = Books::empty();
    let names: Vec<AccountId> = (0..ACCOUNTS)
        .map(|no| id(&format!("account-{no}")))
        .collect();
    for name in &names {
        let (account, amount) = (name.clone(), amount(1_000_000_000));
        let purchase = Purchase {
            account,
            amount,
            external_ref: None,
        };
        books
            .apply(at(0), &ADMIN, &Command::Purchase(purchase), &known)
            .expect("bought");
    }
    books.committed();
    let mut state = 7;
    let commands: Vec<Command> = (0..TRANSFERS)
        .map(|_| {
            let name = |state: &mut u64| names[(next(state) % ACCOUNTS) as usize].clone();
            let (from, to) = (name(&mut state), name(&mut state));
            let (amount, open_account) = (amount(1), false);
            Command::Transfer(Transfer {
                id: None,
                from,
                to,
                amount,
                open_account,
            })
        })
        .collect();
    let started = Instant::now();
    let mut written = 0;
    for batch in commands.chunks(BATCH as usize) {
        for command in batch {
            // A transfer to oneself is refused, one in a hundred thousand.
            drop(books.apply(at(1), &ADMIN, command, &known));
        }
        written += books.changes().transfers.len();
        books.committed();
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(TRANSFERS) / seconds;
    assert!(written > 999_000, "{written} written");
    assert!(
        rate >= TRANSFERS_A_SECOND_MIN,
        "{rate:.0} transfers a second"
    );
    println_rate(rate);
}

#[expect(clippy::print_stdout, reason = "the point of a measurement by hand")]
fn println_rate(rate: f64) {
    println!("{rate:.0} transfers a second, in batches of {BATCH}, {ACCOUNTS} accounts");
}
