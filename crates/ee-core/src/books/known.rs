//! What the books read by primary key and do not hold in memory: asked for by [`Need`], handed in
//! as [`Known`]. The same code serves every store and the replay.

use super::lookup::Lookup;

use ee_protocol::{
    account::{AccountId, ClientId, IdempotencyKey, Note},
    period::Period,
};

use super::{
    command::{Command, ReportUsage, Transfer, UsageIdentity},
    ids::{ClientKey, EntryNo, NodeNo},
    principal::Principal,
    rows::{
        AbuseRow, ClientRow, LockRow, MeterRow, RequestRow, SettlementKey, SettlementRow, SlashRow,
    },
};

/// Key of a remembered request (LEDGER 11).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Whose.
    pub principal: Principal,
    /// The method and path template, such as `POST /v1/transfers`.
    pub route: Note,
    /// The value of `Idempotency-Key`.
    pub key: IdempotencyKey,
}

/// A row that may lie in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// A request under an idempotency key: for the sequencer.
    Request(RequestKey),
    /// What came under a client's id.
    Client(ClientKey),
    /// A lock that may be resolved.
    Lock(EntryNo),
    /// A settlement that may be older than what memory holds, of the node with this account name.
    Settlement(AccountId, Period),
    /// A decided abuse report.
    Report(EntryNo),
    /// A decided slash.
    Slash(EntryNo),
}

/// Rows by primary key. A key that was asked for and is absent here does not exist.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Requests.
    pub requests: Lookup<RequestKey, RequestRow>,
    /// Client ids.
    pub clients: Lookup<ClientKey, ClientRow>,
    /// Resolved locks.
    pub locks: Lookup<EntryNo, LockRow>,
    /// Older settlements.
    pub settlements: Lookup<SettlementKey, SettlementRow>,
    /// Meters of older periods (for clawbacks), by node and period.
    pub meters: Lookup<(NodeNo, Period), Vec<MeterRow>>,
    /// Decided reports.
    pub reports: Lookup<EntryNo, AbuseRow>,
    /// Executed or denied slashes.
    pub slashes: Lookup<EntryNo, SlashRow>,
}

impl Command {
    /// The rows that this command may need from the store.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        match self {
            Self::Lock(c) => {
                needs.extend(c.id.iter().map(|id| debit_need(&c.account, id)));
            }
            Self::Purchase(c) => {
                let key = c.external_ref.clone().map(ClientKey::Purchase);
                needs.extend(key.map(Need::Client));
            }
            Self::Transfer(c) => needs.extend(transfer_need(c)),
            Self::TransferBatch(c) => {
                needs.extend(
                    c.items
                        .iter()
                        .filter_map(|item| transfer_need(&item.transfer)),
                );
            }
            Self::Payout(c) => {
                needs.extend(c.id.iter().map(|id| debit_need(&c.account, id)));
                let key = c.external_ref.clone().map(ClientKey::Payout);
                needs.extend(key.map(Need::Client));
            }
            Self::Adjust(c) => needs.extend(c.id.clone().map(ClientKey::Admin).map(Need::Client)),
            Self::ReleaseLock(c) => needs.push(Need::Lock(c.lock.no())),
            Self::ReportUsage(c) => needs.extend(usage_need(c)),
            Self::Deposit(c) => needs.extend(c.id.iter().map(|id| debit_need(&c.account, id))),
            Self::Withdraw(c) => {
                let account = (&c.node).into();
                needs.extend(c.id.iter().map(|id| debit_need(&account, id)));
            }
            Self::FileSlash(c) => {
                needs.extend(c.id.clone().map(ClientKey::Admin).map(Need::Client));
            }
            Self::DecideSlash(c) => needs.push(Need::Slash(c.slash.no())),
            Self::DecideAbuse(c) => needs.push(Need::Report(c.report.no())),
            Self::Finalize(c) => {
                needs.extend(
                    c.node
                        .iter()
                        .map(|node| Need::Settlement(node.into(), c.period)),
                );
            }
            Self::RenewLock(_)
            | Self::BindPayer(_)
            | Self::NodeSeen(_)
            | Self::RegisterNode(_)
            | Self::ObserverStart(_)
            | Self::ObserverBeat(_)
            | Self::ObserverStop(_)
            | Self::TrackOpen(_)
            | Self::TrackClose(_)
            | Self::Breach(_)
            | Self::Waiting(_)
            | Self::DependencyDown(_)
            | Self::DependencyUp(_)
            | Self::Drained(_)
            | Self::ReportFacts(_)
            | Self::FileAbuse(_)
            | Self::Tick
            | Self::SetPolicy(_) => {}
        }
        needs
    }
}

fn transfer_need(transfer: &Transfer) -> Option<Need> {
    let id = transfer.id.as_ref()?;
    Some(debit_need(&transfer.from, id))
}

fn usage_need(report: &ReportUsage) -> Option<Need> {
    let key = match &report.identity {
        UsageIdentity::None => return None,
        UsageIdentity::Usage(id) => {
            ClientKey::Usage(report.account.clone(), report.node.clone(), id.clone())
        }
        UsageIdentity::Source(source, id) => ClientKey::Source(source.clone(), id.clone()),
    };
    Some(Need::Client(key))
}

fn debit_need(account: &AccountId, id: &ClientId) -> Need {
    Need::Client(ClientKey::Debit(account.clone(), id.clone()))
}
