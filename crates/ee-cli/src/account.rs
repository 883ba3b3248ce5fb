//! `easyenclave account ls|show|entries`.

use std::process::ExitCode;

use ee_protocol::http::{
    accounts::{AccountList, AccountView, Entry, EntryList},
    credits::Holdings,
};

use crate::{
    client::Client,
    money::dollars,
    output::{self, Format},
    path::segment,
};

/// Questions about accounts.
#[derive(Debug, clap::Subcommand)]
pub enum Question {
    /// Every account by id
    Ls {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// What an account holds: posted, locked, held, available
    Show {
        /// The account
        account: String,
    },
    /// What moved on an account, newest first
    Entries {
        /// The account
        account: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// Asks and prints.
pub async fn run(question: Question, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match question {
        Question::Ls { limit } => {
            let (accounts, next_cursor) = client
                .pages("/v1/accounts", limit, |page: AccountList| {
                    (page.accounts, page.next_cursor)
                })
                .await?;
            let list = AccountList {
                accounts,
                next_cursor,
            };
            output::print_list(format, &list, &list.accounts, |list| table(&list.accounts));
        }
        Question::Show { account } => {
            let path = format!("/v1/accounts/{}", segment(&account));
            let account: AccountView = client.get(&path).await?;
            output::print(format, &account, show);
        }
        Question::Entries { account, limit } => {
            let path = format!("/v1/accounts/{}/entries", segment(&account));
            let (entries, next_cursor) = client
                .pages(&path, limit, |page: EntryList| {
                    (page.entries, page.next_cursor)
                })
                .await?;
            let list = EntryList {
                entries,
                next_cursor,
            };
            output::print_list(format, &list, &list.entries, |list| {
                entry_table(&list.entries)
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(accounts: &[AccountView]) -> String {
    let head = [
        "ACCOUNT",
        "KIND",
        "AVAILABLE",
        "POSTED",
        "LOCKED",
        "HELD",
        "STAKE",
    ];
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            let Holdings {
                available_micro_usd,
                posted_micro_usd,
                locked_micro_usd,
                held_micro_usd,
            } = &account.holdings;
            let kind = account.kind.clone();
            vec![
                account.account_id.clone(),
                kind.unwrap_or_else(|| "-".to_owned()),
                dollars(available_micro_usd),
                dollars(posted_micro_usd),
                dollars(locked_micro_usd),
                dollars(held_micro_usd),
                dollars(&account.stake_micro_usd),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}

fn show(account: &AccountView) -> String {
    let kind = account.kind.as_deref().unwrap_or("not fixed yet");
    let rows = [
        ("account", account.account_id.clone()),
        ("kind", kind.to_owned()),
        ("available", dollars(&account.holdings.available_micro_usd)),
        ("posted", dollars(&account.holdings.posted_micro_usd)),
        ("locked", dollars(&account.holdings.locked_micro_usd)),
        ("held", dollars(&account.holdings.held_micro_usd)),
        ("stake", dollars(&account.stake_micro_usd)),
        ("unbonding", dollars(&account.unbonding_micro_usd)),
    ];
    output::fields(&rows)
}

fn entry_table(entries: &[Entry]) -> String {
    let head = [
        "AT",
        "KIND",
        "AMOUNT",
        "EFFECT",
        "ACCOUNT",
        "WITH",
        "SEQ",
        "REFERENCE",
    ];
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                output::time(&entry.at),
                entry.kind.clone(),
                dollars(&entry.amount_micro_usd),
                entry.effect.clone(),
                entry.account.clone(),
                entry.counterparty.clone(),
                entry.seq.to_string(),
                entry.reference.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}
