//! How commands are written: their number (u16), then their fields in the order of their struct.

use super::canonical::{canonical_choice, canonical_struct};
use crate::books::command::{
    Adjust, BatchItem, BindPayer, Breach, Command, DecideAbuse, DecideSlash, DependencyDown,
    DependencyUp, Deposit, Drained, FileAbuse, FileSlash, Finalize, Lock, NodeSeen, ObserverBeat,
    ObserverStart, ObserverStop, PayerTerms, Payout, Purchase, RegisterNode, ReleaseLock,
    RenewLock, ReportFacts, ReportUsage, TrackClose, TrackOpen, Transfer, TransferBatch, Waiting,
    Withdraw,
};

canonical_struct! {
    Purchase { account, amount, external_ref }
    Transfer { id, from, to, amount, open_account }
    TransferBatch { items }
    BatchItem { transfer, chain }
    Payout { id, account, amount, external_ref }
    Adjust { id, debit, credit, amount, reason }
    Lock {
        id,
        account,
        node,
        vcpus,
        period,
        mode,
    }
    RenewLock { app, period, candidates }
    ReleaseLock { lock }
    BindPayer { app, payer }
    PayerTerms { account, vcpus, price_max, nodes_max }
    ReportUsage {
        account,
        node,
        period,
        used,
        identity,
        cumulative,
    }
    NodeSeen { node, network, vcpus, platform, expires_at }
    RegisterNode {
        node,
        price,
        effective_from,
        vcpus,
        stake,
        tier,
        allow_update,
    }
    Deposit { id, node, account, amount }
    Withdraw { id, node, amount }
    FileSlash { id, node, reason, evidence }
    DecideSlash { slash, decision, authorized_by }
    ObserverStart { epoch, replica }
    ObserverBeat { epoch, watermark }
    ObserverStop { epoch, at }
    TrackOpen { epoch, node, track, at }
    TrackClose { epoch, node, track, at }
    Breach { epoch, node, cause, at }
    Waiting { epoch, node, dependency, at }
    DependencyDown { epoch, dependency, at }
    DependencyUp { epoch, dependency, at }
    Drained { epoch, at }
    ReportFacts { node, track, from, until }
    FileAbuse { node, period, reason, reported_by }
    DecideAbuse { report, decision, authorized_by }
    Finalize { period, node }
}

canonical_choice! { Command, u16, "a command" {
    1 => Purchase(fields),
    2 => Transfer(fields),
    3 => TransferBatch(fields),
    4 => Payout(fields),
    5 => Adjust(fields),
    10 => Lock(fields),
    11 => RenewLock(fields),
    12 => ReleaseLock(fields),
    13 => BindPayer(fields),
    14 => ReportUsage(fields),
    20 => NodeSeen(fields),
    21 => RegisterNode(fields),
    22 => Deposit(fields),
    23 => Withdraw(fields),
    24 => FileSlash(fields),
    25 => DecideSlash(fields),
    30 => ObserverStart(fields),
    31 => ObserverBeat(fields),
    32 => ObserverStop(fields),
    33 => TrackOpen(fields),
    34 => TrackClose(fields),
    35 => Breach(fields),
    36 => Waiting(fields),
    37 => DependencyDown(fields),
    38 => DependencyUp(fields),
    39 => Drained(fields),
    40 => ReportFacts(fields),
    50 => FileAbuse(fields),
    51 => DecideAbuse(fields),
    52 => Finalize(fields),
    53 => Tick,
    54 => SetPolicy(fields),
}}
