//! The tables of the books, column by column, and what their rows are in the books.
//!
//! The scripts of both dialects spell the same columns out as SQL, and a test compares them.

use ee_core::books::{
    AccountNo, EntryNo, NodeNo, Outcome, Policy, Principal, Refusal, Seq,
    command::UsageIdentity,
    ids::{ClientKey, Fingerprint},
    known::RequestKey,
    rows::{
        AbuseRow, AccountKind, AccountRow, ClaimRow, ClientRow, DayRevenue, Decision, DecisionRow,
        Ending, FactKind, FactRow, HoldRow, LockMode, LockRow, LockState, MeterKey, MeterRow,
        NodePriceRow, NodeRow, ObserverRow, PayerRow, PolicyRow, ReasonRow, ReportState,
        RequestRow, SettlementKey, SettlementRow, SettlementState, SlashReason, SlashRow,
        StakeTier, TransferKind, TransferRow, UnbondingRow, UsageRow, UsageState, Verdict,
    },
};
use ee_protocol::{
    account::{AccountId, AccountName, ClientId, IdempotencyKey, Note},
    money::{MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
    time::Timestamp,
};

use super::{field::corrupt, stored::stored};
use crate::{
    error::StoreError,
    ledger::{Cell, behind::Movement},
};

stored! {
    ACCOUNT = "account", key 1 fixed 2, Kept, AccountRow, |row| {
        no: AccountNo = row.no,
        name: AccountName = row.name,
        kind: AccountKind = row.kind,
        posted: MicroUsd = row.posted,
        last: Option<EntryNo> = row.last,
    } => AccountRow {
        no, name, kind, posted, last,
        // Those of its open locks, which stand in `lock`.
        debits_pending: MicroUsd::ZERO, credits_pending: MicroUsd::ZERO,
    };

    TRANSFER = "transfer", key 1, Appended, TransferRow, |row| {
        no: EntryNo = row.no,
        kind: TransferKind = row.kind,
        debit: AccountNo = row.debit,
        credit: AccountNo = row.credit,
        amount: MicroUsd = row.amount,
        pending: Option<EntryNo> = row.pending,
        client_id: Option<ClientId> = row.client_id,
        reference: Option<Note> = row.reference,
        actor: Principal = row.actor,
        at_us: Timestamp = row.at,
        debit_before: Option<EntryNo> = row.debit_before,
        credit_before: Option<EntryNo> = row.credit_before,
    } => TransferRow {
        no, kind, debit, credit, amount, pending, client_id, reference, actor, at: at_us,
        debit_before, credit_before,
    };

    MOVEMENT = "transfer", key 1, Appended, Movement, |row| {
        no: EntryNo = row.no,
        kind: TransferKind = row.kind,
        debit: AccountNo = row.debit,
        credit: AccountNo = row.credit,
        amount: MicroUsd = row.amount,
    } => Movement { no, kind, debit, credit, amount };

    METER = "meter", key 4, Kept, MeterRow, |row| {
        node: NodeNo = row.key.node,
        start_ms: i64 = row.key.period.start_ms(),
        end_ms: i64 = row.key.period.end_ms(),
        account: AccountNo = row.key.account,
        price: Price = row.price,
        used_vcpu_us: VcpuMicros = row.used,
        metered: MicroUsd = row.metered,
        reserved: MicroUsd = row.reserved,
        posted: MicroUsd = row.posted,
        clawed_back: MicroUsd = row.clawed_back,
    } => MeterRow {
        key: MeterKey { node, period: period(start_ms, end_ms)?, account },
        price, used: used_vcpu_us, metered, reserved, posted, clawed_back,
    };

    LOCK = "lock", key 1 fixed 10, Kept, LockRow, |row| {
        no: EntryNo = row.no,
        at_us: Timestamp = row.at,
        node: NodeNo = row.meter.node,
        start_ms: i64 = row.meter.period.start_ms(),
        end_ms: i64 = row.meter.period.end_ms(),
        account: AccountNo = row.meter.account,
        from_ms: i64 = row.from_ms,
        vcpus: u32 = row.vcpus,
        mode: LockMode = row.mode,
        amount: MicroUsd = row.amount,
        posted: MicroUsd = row.posted,
        state: LockState = row.state,
        expires_at_us: Timestamp = row.expires_at,
        app: Option<AppName> = row.app,
    } => LockRow {
        no, at: at_us,
        meter: MeterKey { node, period: period(start_ms, end_ms)?, account },
        from_ms, vcpus, mode, amount, posted, state, expires_at: expires_at_us, app,
    };

    USAGE = "usage", key 1, Appended, UsageRow, |row| {
        no: EntryNo = row.no,
        at_us: Timestamp = row.at,
        node: NodeNo = row.meter.node,
        start_ms: i64 = row.meter.period.start_ms(),
        end_ms: i64 = row.meter.period.end_ms(),
        account: AccountNo = row.meter.account,
        source: Option<ClientId> = source(&row.identity),
        client_id: Option<ClientId> = usage_id(&row.identity),
        used_vcpu_us: VcpuMicros = row.used,
        charge: MicroUsd = row.charge,
        lock: Option<EntryNo> = row.lock,
        state: UsageState = row.state,
    } => UsageRow {
        no, at: at_us,
        meter: MeterKey { node, period: period(start_ms, end_ms)?, account },
        identity: identity(source, client_id)?,
        used: used_vcpu_us, charge, lock, state,
    };

    PAYER = "payer", key 1, Kept, PayerRow, |row| {
        app: AppName = row.app,
        account: AccountNo = row.account,
        vcpus: u32 = row.vcpus,
        price_max: Option<Price> = row.price_max,
        nodes_max: u32 = row.nodes_max,
        since_us: Timestamp = row.since,
    } => PayerRow { app, account, vcpus, price_max, nodes_max, since: since_us };

    CLIENT = "client", key 4, Appended, ClientRow, |row| {
        form: u8 = client_parts(&row.key).0,
        scope: String = client_parts(&row.key).1,
        node: String = client_parts(&row.key).2,
        id: ClientId = client_parts(&row.key).3,
        fingerprint: Fingerprint = row.fingerprint,
        seq: Seq = row.seq,
        at_us: Timestamp = row.at,
        result: Result<Outcome, Refusal> = row.result,
    } => ClientRow {
        key: client_key(form, &scope, &node, id)?,
        fingerprint, seq, at: at_us, result,
    };

    REQUEST = "request", key 3, Kept, RequestRow, |row| {
        principal: Principal = row.key.principal,
        route: Note = row.key.route,
        key: IdempotencyKey = row.key.key,
        fingerprint: Fingerprint = row.fingerprint,
        result: Result<Outcome, Refusal> = row.result,
        seq: Seq = row.seq,
        at_us: Timestamp = row.at,
    } => RequestRow {
        key: RequestKey { principal, route, key },
        fingerprint, result, seq, at: at_us,
    };

    POLICY = "policy", key 1, Appended, PolicyRow, |row| {
        seq: Seq = row.seq,
        from_us: Timestamp = row.from,
        policy: Policy = row.policy,
    } => PolicyRow { seq, from: from_us, policy };

    NODE = "book_node", key 1, Kept, NodeRow, |row| {
        node: NodeNo = row.node,
        network: Option<Network> = row.network,
        vcpus: Option<u32> = row.vcpus,
        agent_vcpus: Option<u32> = row.agent_vcpus,
        tier: StakeTier = row.tier,
        registered: bool = row.registered,
        banned: bool = row.banned,
        platform: Option<[u8; 32]> = row.platform,
        expires_at_us: Option<Timestamp> = row.expires_at,
        revenue: Vec<DayRevenue> = row.revenue,
        created_at_us: Timestamp = row.created_at,
        updated_at_us: Timestamp = row.updated_at,
    } => NodeRow {
        node, network, vcpus, agent_vcpus, tier, registered, banned, platform,
        expires_at: expires_at_us, revenue, created_at: created_at_us, updated_at: updated_at_us,
    };

    NODE_PRICE = "node_price", key 2, Kept, NodePriceRow, |row| {
        node: NodeNo = row.node,
        from_us: Timestamp = row.from,
        price: Price = row.price,
    } => NodePriceRow { node, from: from_us, price };

    FACT = "fact", key 1, Kept, FactRow, |row| {
        no: EntryNo = row.no,
        node: Option<NodeNo> = row.node,
        kind: FactKind = row.kind,
        from_us: Timestamp = row.from,
        until_us: Option<Timestamp> = row.until,
        cause: u8 = row.cause,
        epoch: Option<u64> = row.epoch,
        ending: Ending = row.ending,
    } => FactRow { no, node, kind, from: from_us, until: until_us, cause, epoch, ending };

    OBSERVER = "observer", key 1, Kept, ObserverRow, |row| {
        epoch: u64 = row.epoch,
        replica: ClientId = row.replica,
        started_us: Timestamp = row.started,
        watermark_us: Timestamp = row.watermark,
        drained_us: Option<Timestamp> = row.drained,
        ending: Ending = row.ending,
    } => ObserverRow {
        epoch, replica, started: started_us, watermark: watermark_us, drained: drained_us, ending,
    };

    SETTLEMENT = "settlement", key 3, Kept, SettlementRow, |row| {
        node: NodeNo = row.key.node,
        start_ms: i64 = row.key.period.start_ms(),
        end_ms: i64 = row.key.period.end_ms(),
        verdict: Verdict = row.verdict,
        reasons: Vec<ReasonRow> = row.reasons,
        covered_us: u64 = row.covered_us,
        judged_us: u64 = row.judged_us,
        facts_hash: [u8; 32] = row.facts_hash,
        policy_hash: [u8; 32] = row.policy_hash,
        state: SettlementState = row.state,
        cursor: Option<EntryNo> = row.cursor,
        settled: u32 = row.settled,
        failed: u32 = row.failed,
        posted: MicroUsd = row.posted,
        returned: MicroUsd = row.returned,
        seq: Seq = row.seq,
        at_us: Timestamp = row.at,
    } => SettlementRow {
        key: SettlementKey { node, period: period(start_ms, end_ms)? },
        verdict, reasons, covered_us, judged_us, facts_hash, policy_hash, state, cursor, settled,
        failed, posted, returned, seq, at: at_us,
    };

    ABUSE = "abuse", key 1, Kept, AbuseRow, |row| {
        no: EntryNo = row.no,
        at_us: Timestamp = row.at,
        node: NodeNo = row.node,
        from_us: Timestamp = row.from,
        until_us: Option<Timestamp> = row.until,
        reason: Note = row.reason,
        reported_by: Note = row.reported_by,
        actor: Principal = row.actor,
        state: ReportState = row.state,
        decision: Option<Decision> = row.decision.as_ref().map(|decision| decision.decision),
        authorized_by: Option<Note> = row.decision.as_ref().map(|by| by.authorized_by.clone()),
        decision_actor: Option<Principal> = row.decision.as_ref().map(|by| by.actor.clone()),
        decision_at_us: Option<Timestamp> = row.decision.as_ref().map(|decision| decision.at),
    } => AbuseRow {
        no, at: at_us, node, from: from_us, until: until_us, reason, reported_by, actor, state,
        decision: decision_row(decision, authorized_by, decision_actor, decision_at_us)?,
    };

    SLASH = "slash", key 1, Kept, SlashRow, |row| {
        no: EntryNo = row.no,
        at_us: Timestamp = row.at,
        node: NodeNo = row.node,
        reason: SlashReason = row.reason,
        evidence: Note = row.evidence,
        amount: MicroUsd = row.amount,
        due_us: Option<Timestamp> = row.due,
        state: ReportState = row.state,
        decision: Option<Decision> = row.decision.as_ref().map(|decision| decision.decision),
        authorized_by: Option<Note> = row.decision.as_ref().map(|by| by.authorized_by.clone()),
        decision_actor: Option<Principal> = row.decision.as_ref().map(|by| by.actor.clone()),
        decision_at_us: Option<Timestamp> = row.decision.as_ref().map(|decision| decision.at),
    } => SlashRow {
        no, at: at_us, node, reason, evidence, amount, due: due_us, state,
        decision: decision_row(decision, authorized_by, decision_actor, decision_at_us)?,
    };

    UNBONDING = "unbonding", key 1, Kept, UnbondingRow, |row| {
        no: EntryNo = row.no,
        node: NodeNo = row.node,
        amount: MicroUsd = row.amount,
        free_at_us: Timestamp = row.free_at,
    } => UnbondingRow { no, node, amount, free_at: free_at_us };

    HOLD = "hold", key 3, Kept, HoldRow, |row| {
        node: NodeNo = row.key.node,
        start_ms: i64 = row.key.period.start_ms(),
        end_ms: i64 = row.key.period.end_ms(),
        amount: MicroUsd = row.amount,
        free_at_us: Timestamp = row.free_at,
    } => HoldRow {
        key: SettlementKey { node, period: period(start_ms, end_ms)? },
        amount, free_at: free_at_us,
    };

    CLAIM = "claim", key 1, Kept, ClaimRow, |row| {
        no: EntryNo = row.no,
        node: NodeNo = row.node,
        account: AccountNo = row.account,
        amount: MicroUsd = row.amount,
    } => ClaimRow { no, node, account, amount };
}

fn period(start_ms: i64, end_ms: i64) -> Result<Period, StoreError> {
    Period::new(start_ms, end_ms).map_err(|_| corrupt("start of a period", &Cell::Int(start_ms)))
}

fn source(identity: &UsageIdentity) -> Option<ClientId> {
    match identity {
        UsageIdentity::None | UsageIdentity::Usage(_) => None,
        UsageIdentity::Source(source, _) => Some(source.clone()),
    }
}

fn usage_id(identity: &UsageIdentity) -> Option<ClientId> {
    match identity {
        UsageIdentity::None => None,
        UsageIdentity::Usage(id) | UsageIdentity::Source(_, id) => Some(id.clone()),
    }
}

fn identity(source: Option<ClientId>, id: Option<ClientId>) -> Result<UsageIdentity, StoreError> {
    match (source, id) {
        (None, None) => Ok(UsageIdentity::None),
        (None, Some(id)) => Ok(UsageIdentity::Usage(id)),
        (Some(source), Some(id)) => Ok(UsageIdentity::Source(source, id)),
        (Some(_), None) => Err(corrupt("id of usage from a source", &Cell::Null)),
    }
}

/// The columns of a client's id: its form, whose it is, and the id; the node is empty where the
/// form has none.
pub(crate) fn client_parts(key: &ClientKey) -> (u8, String, String, ClientId) {
    let none = String::new;
    match key {
        ClientKey::Debit(account, id) => (1, account.to_string(), none(), id.clone()),
        ClientKey::Usage(account, node, id) => {
            (2, account.to_string(), node.as_str().to_owned(), id.clone())
        }
        ClientKey::Source(source, id) => (3, source.to_string(), none(), id.clone()),
        ClientKey::Purchase(id) => (4, none(), none(), id.clone()),
        ClientKey::Payout(id) => (5, none(), none(), id.clone()),
        ClientKey::Admin(id) => (6, none(), none(), id.clone()),
    }
}

fn client_key(form: u8, scope: &str, node: &str, id: ClientId) -> Result<ClientKey, StoreError> {
    let wrong = || corrupt("client's id", &Cell::Text(scope.to_owned()));
    let account = || AccountId::parse(scope).map_err(|_| wrong());
    match form {
        1 => Ok(ClientKey::Debit(account()?, id)),
        2 => {
            let node = NodeId::parse(node).map_err(|_| wrong())?;
            Ok(ClientKey::Usage(account()?, node, id))
        }
        3 => {
            let source = ClientId::parse(scope).map_err(|_| wrong())?;
            Ok(ClientKey::Source(source, id))
        }
        4 => Ok(ClientKey::Purchase(id)),
        5 => Ok(ClientKey::Payout(id)),
        6 => Ok(ClientKey::Admin(id)),
        _ => Err(wrong()),
    }
}

fn decision_row(
    decision: Option<Decision>,
    authorized_by: Option<Note>,
    actor: Option<Principal>,
    at: Option<Timestamp>,
) -> Result<Option<DecisionRow>, StoreError> {
    match (decision, authorized_by, actor, at) {
        (None, None, None, None) => Ok(None),
        (Some(decision), Some(authorized_by), Some(actor), Some(at)) => Ok(Some(DecisionRow {
            decision,
            authorized_by,
            actor,
            at,
        })),
        _ => Err(corrupt("whole decision", &Cell::Null)),
    }
}
