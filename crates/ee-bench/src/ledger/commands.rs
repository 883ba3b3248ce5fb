//! What the load asks of the books.

use ee_control::books::Submission;
use ee_core::books::command::{
    BatchItem, Purchase, RegisterNode, ReportFacts, ReportUsage, Transfer, TransferBatch,
    UsageIdentity,
};
use ee_core::books::{Command, Principal, principal::Role};
use ee_core::facts::Track;
use ee_protocol::account::AccountId;
use ee_protocol::money::{Amount, MicroUsd, Price, VcpuMicros};
use ee_protocol::names::NodeId;
use ee_protocol::period::Period;

/// A prime that leads through the accounts in an order that no cache likes.
const STRIDE: i64 = 48_271;

/// The operator asks.
pub fn submission(command: Command) -> Submission {
    Submission {
        principal: Principal::Role(Role::Admin),
        key: None,
        command,
    }
}

/// The name of an account.
pub fn account_name(number: i64) -> String {
    format!("account-{number}")
}

fn account(number: i64) -> AccountId {
    AccountId::parse(&account_name(number)).expect("a valid id")
}

fn amount(micros: i64) -> Amount {
    Amount::new(MicroUsd::from_micros(micros)).expect("in range")
}

/// Opens an account with money for a million transfers.
pub fn purchase(number: i64) -> Command {
    Command::Purchase(Purchase {
        account: account(number),
        amount: amount(1_000_000),
        external_ref: None,
    })
}

/// Who pays whom in the transfer of this number.
pub fn sides(number: i64, accounts: i64) -> (i64, i64) {
    let debit = number.wrapping_mul(STRIDE).rem_euclid(accounts);
    (debit, (debit + 1) % accounts)
}

fn move_one(number: i64, accounts: i64) -> Transfer {
    let (debit, credit) = sides(number, accounts);
    Transfer {
        id: None,
        from: account(debit),
        to: account(credit),
        amount: amount(1),
        open_account: false,
    }
}

/// One transfer.
pub fn transfer(number: i64, accounts: i64) -> Command {
    Command::Transfer(move_one(number, accounts))
}

/// Many transfers in one command.
pub fn batch(numbers: std::ops::Range<i64>, accounts: i64) -> Command {
    let items = numbers.map(|number| BatchItem {
        transfer: move_one(number, accounts),
        chain: false,
    });
    Command::TransferBatch(TransferBatch {
        items: items.collect(),
    })
}

/// The node that works.
pub fn node() -> NodeId {
    NodeId::parse("node-1").expect("a valid id")
}

/// The node with its price, one dollar for a vCPU-hour.
pub fn register() -> Command {
    let price = Price::new(MicroUsd::from_micros(1_000_000));
    Command::RegisterNode(RegisterNode {
        node: node(),
        price,
        effective_from: None,
        vcpus: None,
        stake: None,
        tier: None,
        allow_update: false,
    })
}

/// The node was there for the whole period.
pub fn covered(period: Period) -> [Command; 2] {
    [Track::Health, Track::Attestation].map(|track| {
        Command::ReportFacts(ReportFacts {
            node: node(),
            track,
            from: period.start(),
            until: period.end(),
        })
    })
}

/// A little use, of which each report needs a lock of its own.
pub fn usage(number: i64, accounts: i64, period: Period) -> Command {
    Command::ReportUsage(ReportUsage {
        account: account(number.rem_euclid(accounts)),
        node: node(),
        period,
        used: VcpuMicros::from_micros(36_000_000),
        identity: UsageIdentity::None,
        cumulative: false,
    })
}
