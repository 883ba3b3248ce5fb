//! Verdicts and their money, through the books alone (LEDGER 7 to 10, 13).

use ee_protocol::account::AccountId;

use crate::books::rows::{SettlementState, Verdict};

mod rig;
mod stakes;
mod verdicts;

use rig::{HOUR, Rig};

/// An hour that passes: 40 000 µ$ locked by `u1`.
fn passed_hour() -> Rig {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.1 + 5);
    rig
}

fn settled(rig: &Rig) -> (Verdict, SettlementState) {
    let row = rig.settlement().expect("judged");
    (row.verdict, row.state)
}

fn ee_account(id: &str) -> AccountId {
    AccountId::parse(id).expect("an account id")
}
