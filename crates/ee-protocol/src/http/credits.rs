//! `/v1/credits/*`, `/v1/balances/{account}`, `/v1/transfers*`, `/v1/payouts`: money on the wire.
//!
//! Amounts go out as decimal strings of micro-USD; `*_cents` are the prototype's numbers, floored
//! (LEDGER 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Refused, Sent};
use crate::{
    account::{AccountId, ClientId},
    money::Amount,
    problem::{Problem, ProblemCode},
};

/// What an account holds, in micro-USD as decimal strings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holdings {
    /// What may be spent: posted less locked.
    pub available_micro_usd: String,
    /// What is on the account.
    pub posted_micro_usd: String,
    /// What open locks and other pendings have set aside.
    pub locked_micro_usd: String,
    /// Earnings that rest until the payout hold ends (LEDGER 8).
    pub held_micro_usd: String,
}

/// Holdings after a write, for those of its accounts that the caller may read.
pub type Balances = BTreeMap<String, Holdings>;

/// `POST /v1/credits/purchase`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchased {
    /// The account.
    pub account_id: String,
    /// Its available balance now, in whole cents.
    pub balance_cents: i64,
    /// The transfer that minted the credits.
    pub transfer_id: String,
    /// The record in the journal.
    pub seq: u64,
    /// Holdings now.
    pub balances: Balances,
}

/// `POST /v1/credits/transfer`, `/v1/transfers`, `/v1/payouts`, `/v1/nodes/{node}/stake`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// The transfer.
    pub transfer_id: String,
    /// The record in the journal.
    pub seq: u64,
    /// Holdings now.
    pub balances: Balances,
}

/// `GET /v1/balances/{account}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The account.
    pub account_id: String,
    /// What is available, in whole cents.
    pub balance_cents: i64,
    /// Whether there is such an account; if not, all amounts are zero.
    pub exists: bool,
    /// The amounts.
    #[serde(flatten)]
    pub holdings: Holdings,
}

/// `GET /v1/transfers/{id}`: one row of the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// The id that the books gave it.
    pub transfer_id: String,
    /// Its record in the journal.
    pub seq: u64,
    /// `purchase`, `transfer`, `settle`, …
    pub kind: String,
    /// Where the money came from.
    pub from_account: String,
    /// Where it went.
    pub to_account: String,
    /// How much.
    pub amount_micro_usd: String,
    /// The client's own id or reference.
    pub reference: Option<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// `POST /v1/transfers/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchDone {
    /// One result for each item, in their order.
    pub results: Vec<BatchItem>,
    /// The record in the journal.
    pub seq: u64,
}

/// What became of an item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchItem {
    /// The transfer; null if it was refused.
    pub transfer_id: Option<String>,
    /// Why it was refused; null if it was made.
    pub code: Option<String>,
}

/// Most transfers in one batch (LEDGER 11).
pub const BATCH_MAX: usize = 1_000;

/// A purchase as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseRequest {
    /// Who receives the credits.
    pub account: AccountId,
    /// How many.
    pub amount: Amount,
    /// The payment's id elsewhere: one purchase for each, for ever.
    pub external_ref: Option<ClientId>,
}

/// A transfer as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRequest {
    /// The client's id of it: one transfer for each, for ever.
    pub id: Option<ClientId>,
    /// Who pays.
    pub from: AccountId,
    /// Who receives.
    pub to: AccountId,
    /// How much.
    pub amount: Amount,
    /// Whether an account that receives for the first time is opened.
    pub open_account: bool,
}

/// A batch as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRequest {
    /// The transfers, each with whether it stands and falls with the next.
    pub transfers: Vec<(TransferRequest, bool)>,
}

/// A payout as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutRequest {
    /// The client's id of it.
    pub id: Option<ClientId>,
    /// Whose credits leave.
    pub account: AccountId,
    /// How many.
    pub amount: Amount,
    /// The payment's id elsewhere.
    pub external_ref: Option<ClientId>,
}

const AMOUNT: [&str; 2] = ["amount_usd", "amount"];

impl PurchaseRequest {
    /// Reads the body of `POST /v1/credits/purchase`: `missing_account_id`, `missing_amount`,
    /// `invalid_amount`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        let account = fields.account("account_id")?.ok_or_else(|| {
            fields.refused(ProblemCode::MissingAccountId, "account_id", "missing")
        })?;
        Ok(Self {
            account,
            amount: fields.amount(&AMOUNT)?,
            external_ref: fields.client_id("external_ref")?,
        })
    }
}

impl TransferRequest {
    /// Reads the body of `POST /v1/credits/transfer`, which opens the receiving account as the
    /// prototype did: `missing_account`, `missing_amount`, `invalid_amount`.
    pub fn parse_seed(body: &[u8]) -> Result<Self, Refused> {
        let mut transfer = Self::read(&Fields::read(body)?)?;
        transfer.open_account = true;
        Ok(transfer)
    }

    /// Reads the body of `POST /v1/transfers`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&TRANSFER_MEMBERS)?;
        Self::read(&fields)
    }

    fn read(fields: &Fields<'_>) -> Result<Self, Refused> {
        let account = |name: &str| {
            let missing = || fields.refused(ProblemCode::MissingAccount, name, "missing");
            fields.account(name)?.ok_or_else(missing)
        };
        Ok(Self {
            from: account("from_account")?,
            to: account("to_account")?,
            amount: fields.amount(&AMOUNT)?,
            id: fields.client_id("id")?,
            open_account: fields.flag("open_account")?.unwrap_or(false),
        })
    }
}

const TRANSFER_MEMBERS: [&str; 6] = [
    "id",
    "from_account",
    "to_account",
    "amount_usd",
    "amount",
    "open_account",
];

impl BatchRequest {
    /// Reads the body of `POST /v1/transfers/batch`. A wrong item refuses the whole batch and is
    /// named by its pointer: nothing of it was tried.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["transfers"])?;
        let Sent::Array(raw) = fields.sent("transfers") else {
            fields.demand(&["transfers"])?;
            return Err(fields.invalid("transfers", "not an array"));
        };
        let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw)
            .map_err(|error| Problem::new(ProblemCode::InvalidJson).detail(error.to_string()))?;
        if items.len() > BATCH_MAX {
            let most = format!("more than {BATCH_MAX}");
            return Err(fields.invalid("transfers", &most));
        }
        let items = items.iter().enumerate();
        let transfers = items.map(|(index, raw)| {
            let item = Fields::read_item(raw.get(), format!("/transfers/{index}"))?;
            item.only(&[&TRANSFER_MEMBERS[..], &["chain"]].concat())?;
            let chained = item.flag("chain")?.unwrap_or(false);
            Ok((TransferRequest::read(&item)?, chained))
        });
        let transfers = transfers.collect::<Result<_, Refused>>()?;
        Ok(Self { transfers })
    }
}

impl PayoutRequest {
    /// Reads the body of `POST /v1/payouts`.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        let fields = Fields::read(body)?;
        fields.only(&["id", "account_id", "amount_usd", "amount", "external_ref"])?;
        let account = fields.account("account_id")?.ok_or_else(|| {
            fields.refused(ProblemCode::MissingAccountId, "account_id", "missing")
        })?;
        Ok(Self {
            account,
            amount: fields.amount(&AMOUNT)?,
            id: fields.client_id("id")?,
            external_ref: fields.client_id("external_ref")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(parsed: Result<T, Refused>) -> String {
        parsed.map_or_else(|problem| problem.code, |_| "ok".to_owned())
    }

    #[test]
    fn a_purchase_is_refused_in_the_documents_order() {
        let check = |body: &str, expect: &str| {
            assert_eq!(
                code(PurchaseRequest::parse(body.as_bytes())),
                expect,
                "{body}"
            );
        };
        check("[]", "invalid_json");
        check("{}", "missing_account_id");
        check(r#"{"account_id":""}"#, "missing_account_id");
        check(r#"{"account_id":"a"}"#, "missing_amount");
        check(r#"{"account_id":"a","amount_usd":0}"#, "missing_amount");
        check(r#"{"account_id":"a","amount_usd":-1}"#, "invalid_amount");
        check(
            r#"{"account_id":"sys:mint","amount_usd":1}"#,
            "invalid_field",
        );
        check(r#"{"account_id":"a#held","amount_usd":1}"#, "invalid_field");
        check(r#"{"account_id":"a","amount":"25","other":1}"#, "ok");
        check(r#"{"account_id":12,"amount_usd":1}"#, "ok");
    }

    #[test]
    fn a_transfer_is_refused_in_the_documents_order() {
        let check = |body: &str, expect: &str| {
            assert_eq!(
                code(TransferRequest::parse_seed(body.as_bytes())),
                expect,
                "{body}"
            );
        };
        check("{}", "missing_account");
        check(r#"{"from_account":"a"}"#, "missing_account");
        check(r#"{"from_account":"a","to_account":"b"}"#, "missing_amount");
        check(
            r#"{"from_account":"a","to_account":"b","amount":"x"}"#,
            "invalid_amount",
        );
        check(
            r#"{"from_account":"a","to_account":"b","amount":1,"more":1}"#,
            "ok",
        );
    }

    #[test]
    fn added_routes_know_their_members() {
        let body = br#"{"from_account":"a","to_account":"b","amount":1,"more":1}"#;
        assert_eq!(code(TransferRequest::parse(body)), "unknown_field");
    }

    #[test]
    fn a_batch_names_the_wrong_item() {
        let body = br#"{"transfers":[{"from_account":"a","to_account":"b","amount":1,"chain":true},
            {"from_account":"a","to_account":"b","amount":-1}]}"#;
        let problem = BatchRequest::parse(body).expect_err("refused");
        assert_eq!(problem.code, "invalid_amount");
        assert_eq!(problem.errors[0].pointer, "/transfers/1/amount");
        for (body, expect) in [
            (r#"{"transfers":{"a":1}}"#, "invalid_field"),
            (r#"{"transfers":[1]}"#, "invalid_field"),
            (r#"{"transfers":[]}"#, "missing_fields"),
            (r#"{}"#, "missing_fields"),
        ] {
            assert_eq!(code(BatchRequest::parse(body.as_bytes())), expect, "{body}");
        }
    }

    #[test]
    fn a_batch_holds_a_thousand() {
        let item = r#"{"from_account":"a","to_account":"b","amount":1}"#;
        let batch = |n: usize| format!("{{\"transfers\":[{}]}}", vec![item; n].join(","));
        assert_eq!(code(BatchRequest::parse(batch(1_000).as_bytes())), "ok");
        assert_eq!(
            code(BatchRequest::parse(batch(1_001).as_bytes())),
            "invalid_field"
        );
    }

    #[test]
    fn answers_of_the_seed_are_golden() {
        let purchased = Purchased {
            account_id: "alice".into(),
            balance_cents: 2500,
            transfer_id: "0".repeat(32),
            seq: 7,
            balances: Balances::from([("alice".to_owned(), Holdings::default())]),
        };
        insta::assert_snapshot!(serde_json::to_string(&purchased).expect("plain data"), @r#"{"account_id":"alice","balance_cents":2500,"transfer_id":"00000000000000000000000000000000","seq":7,"balances":{"alice":{"available_micro_usd":"","posted_micro_usd":"","locked_micro_usd":"","held_micro_usd":""}}}"#);
        let balance = Balance {
            account_id: "alice".into(),
            balance_cents: 2500,
            exists: true,
            holdings: Holdings {
                available_micro_usd: "25000000".into(),
                posted_micro_usd: "25000000".into(),
                locked_micro_usd: "0".into(),
                held_micro_usd: "0".into(),
            },
        };
        insta::assert_snapshot!(serde_json::to_string(&balance).expect("plain data"), @r#"{"account_id":"alice","balance_cents":2500,"exists":true,"available_micro_usd":"25000000","posted_micro_usd":"25000000","locked_micro_usd":"0","held_micro_usd":"0"}"#);
    }

    #[test]
    fn a_transfer_as_the_seed_answers_it_is_golden() {
        let moved = Transferred {
            transfer_id: "0".repeat(32),
            seq: 8,
            balances: Balances::new(),
        };
        insta::assert_snapshot!(serde_json::to_string(&moved).expect("plain data"), @r#"{"transfer_id":"00000000000000000000000000000000","seq":8,"balances":{}}"#);
    }
}
