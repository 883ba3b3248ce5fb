//! What may happen in the model, and the command that it is.

use proptest::prelude::*;

use super::*;
use crate::books::ids::ClientKey;

/// Users, two nodes, and one that may become either.
pub(super) const NAMES: [&str; 6] = ["u1", "u2", "u3", "n1", "n2", "x1"];
pub(super) const APPS: [&str; 2] = ["shop", "blog"];

/// Everything that happens. Names and periods are indices.
#[derive(Debug, Clone)]
pub(super) enum Transition {
    Wait(i64),
    Purchase(usize, i64, Option<u8>),
    Transfer(usize, usize, i64, Option<u8>, bool),
    Batch(Vec<(usize, usize, i64, bool)>),
    Payout(usize, i64, Option<u8>),
    Register(usize, i64, Option<u32>),
    Lock(usize, usize, usize, u32, LockMode, Option<u8>),
    Release(usize),
    Usage(usize, usize, usize, u64, bool, Option<u8>),
    Bind(usize, usize, u32, Option<i64>, u32),
    Renew(usize, usize, Vec<usize>),
    Vouch(usize, usize, i64),
    Abuse(usize, usize),
    Finalize(usize, usize),
    Tick,
    Restart,
    /// A command with an id, once more.
    Again(usize),
}

/// Hours, halves that overlap them, and one long one; the clock walks through them.
pub(super) fn period_of(index: usize) -> Period {
    match index {
        0..=5 => hour(i64::try_from(index).expect("small")),
        6 => span(1_800, 5_400),
        7 => span(7_200, 14_400),
        _ => span(60, 75),
    }
}

pub(super) fn transition() -> impl Strategy<Value = Transition> {
    let name = || prop_oneof![3 => 0..3_usize, 1 => 3..NAMES.len()];
    let node = || prop_oneof![3 => Just(3_usize), 1 => 4..NAMES.len()];
    let period = || prop_oneof![1 => 0..3_usize, 1 => 3..9_usize];
    let money = || prop_oneof![1_i64..50, 1_000..2_000_000_i64];
    let id = || proptest::option::weighted(0.3, 0..6_u8);
    let mode = prop_oneof![Just(LockMode::Metered), Just(LockMode::Reserved)];
    let used = prop_oneof![0_u64..2_000_000_000, Just(514_285_714), Just(3_600_000_000)];
    let app = || 0..APPS.len();
    prop_oneof![
        3 => prop_oneof![0_i64..900, 900..4_000_i64].prop_map(Transition::Wait),
        4 => (name(), money(), id()).prop_map(|(a, m, i)| Transition::Purchase(a, m, i)),
        4 => (name(), name(), money(), id(), any::<bool>())
            .prop_map(|(a, b, m, i, o)| Transition::Transfer(a, b, m, i, o)),
        2 => proptest::collection::vec((name(), name(), money(), any::<bool>()), 0..5)
            .prop_map(Transition::Batch),
        1 => (name(), money(), id()).prop_map(|(a, m, i)| Transition::Payout(a, m, i)),
        2 => (node(), 0_i64..60_000, proptest::option::weighted(0.8, 2_u32..6))
            .prop_map(|(n, p, v)| Transition::Register(n, p, v)),
        10 => (name(), node(), period(), 1_u32..4, mode, id())
            .prop_map(|(a, n, p, v, m, i)| Transition::Lock(a, n, p, v, m, i)),
        3 => (0..40_usize).prop_map(Transition::Release),
        8 => (name(), node(), period(), used, any::<bool>(), id())
            .prop_map(|(a, n, p, u, c, i)| Transition::Usage(a, n, p, u, c, i)),
        1 => (app(), name(), 1_u32..3, proptest::option::of(0_i64..60_000), 1_u32..3)
            .prop_map(|(a, n, v, p, m)| Transition::Bind(a, n, v, p, m)),
        3 => (app(), period(), Just(vec![3, 4, 5]).prop_shuffle())
            .prop_map(|(a, p, c)| Transition::Renew(a, p, c)),
        4 => (node(), period(), prop_oneof![Just(100_i64), Just(101), 0..110_i64]).prop_map(|(n, p, t)| Transition::Vouch(n, p, t)),
        1 => (node(), period()).prop_map(|(n, p)| Transition::Abuse(n, p)),
        2 => (node(), period()).prop_map(|(n, p)| Transition::Finalize(n, p)),
        4 => Just(Transition::Tick),
        1 => Just(Transition::Restart),
        2 => (0..40_usize).prop_map(Transition::Again),
    ]
}

type Sent = Option<(Command, Option<ClientKey>)>;

impl Transition {
    /// The command, and the id that a client gave it; none for what is no command. `locks` are
    /// all that were made so far.
    pub(super) fn command(&self, locks: &[EntryId]) -> Sent {
        match self {
            Self::Purchase(account, micros, number) => bought(*account, *micros, *number),
            Self::Transfer(from, to, micros, number, open) => {
                let command = Transfer {
                    id: number.map(some_id),
                    open_account: *open,
                    ..transfer(NAMES[*from], NAMES[*to], *micros)
                };
                Some((Command::Transfer(command), debit(*from, *number)))
            }
            Self::Batch(items) => batch(items),
            Self::Payout(account, micros, number) => paid_out(*account, *micros, *number),
            Self::Register(index, price, vcpus) => registered(*index, *price, *vcpus),
            Self::Lock(account, on, period, vcpus, mode, number) => {
                let command = Lock {
                    id: number.map(some_id),
                    node: node(NAMES[*on]),
                    ..lock(NAMES[*account], period_of(*period), *vcpus, *mode)
                };
                Some((Command::Lock(command), debit(*account, *number)))
            }
            Self::Release(index) => {
                let lock = *locks.get(index.checked_rem(locks.len())?)?;
                Some((Command::ReleaseLock(ReleaseLock { lock }), None))
            }
            Self::Usage(account, on, period, used, cumulative, number) => {
                let meter = (*account, *on, *period);
                usage(meter, (*used, *cumulative), *number)
            }
            Self::Bind(index, account, vcpus, price_max, nodes_max) => {
                bound((*index, *account), (*vcpus, *price_max, *nodes_max))
            }
            Self::Renew(index, period, candidates) => renewed(*index, *period, candidates),
            Self::Vouch(index, period, percent) => vouched(*index, *period, *percent),
            Self::Abuse(index, period) => filed(*index, *period),
            Self::Finalize(index, period) => {
                let (period, node) = (period_of(*period), Some(node(NAMES[*index])));
                Some((Command::Finalize(Finalize { period, node }), None))
            }
            Self::Tick => Some((Command::Tick, None)),
            Self::Wait(_) | Self::Restart | Self::Again(_) => None,
        }
    }
}

fn some_id(number: u8) -> ClientId {
    client(&format!("id{number}"))
}

fn debit(account: usize, number: Option<u8>) -> Option<ClientKey> {
    Some(ClientKey::Debit(id(NAMES[account]), some_id(number?)))
}

fn bought(account: usize, micros: i64, number: Option<u8>) -> Sent {
    let command = Purchase {
        account: id(NAMES[account]),
        amount: amount(micros),
        external_ref: number.map(some_id),
    };
    let key = number.map(some_id).map(ClientKey::Purchase);
    Some((Command::Purchase(command), key))
}

fn batch(items: &[(usize, usize, i64, bool)]) -> Sent {
    let item = |(from, to, micros, chain): &(usize, usize, i64, bool)| BatchItem {
        transfer: transfer(NAMES[*from], NAMES[*to], *micros),
        chain: *chain,
    };
    let items = items.iter().map(item).collect();
    Some((Command::TransferBatch(TransferBatch { items }), None))
}

fn paid_out(account: usize, micros: i64, number: Option<u8>) -> Sent {
    let command = Payout {
        id: number.map(some_id),
        account: id(NAMES[account]),
        amount: amount(micros),
        external_ref: None,
    };
    Some((Command::Payout(command), debit(account, number)))
}

fn registered(index: usize, price: i64, vcpus: Option<u32>) -> Sent {
    let command = RegisterNode {
        node: node(NAMES[index]),
        price: Price::new(usd(price)),
        effective_from: None,
        vcpus,
        stake: None,
        tier: None,
        allow_update: true,
    };
    Some((Command::RegisterNode(command), None))
}

fn usage(
    (account, on, period): (usize, usize, usize),
    (used, cumulative): (u64, bool),
    number: Option<u8>,
) -> Sent {
    let (account, on) = (id(NAMES[account]), node(NAMES[on]));
    let identity = number
        .map(some_id)
        .map_or(UsageIdentity::None, UsageIdentity::Usage);
    let key = number.map(|number| ClientKey::Usage(account.clone(), on.clone(), some_id(number)));
    let command = ReportUsage {
        account,
        node: on,
        identity,
        cumulative,
        ..report(period_of(period), used)
    };
    Some((Command::ReportUsage(command), key))
}

fn bound(
    (index, account): (usize, usize),
    (vcpus, price_max, nodes_max): (u32, Option<i64>, u32),
) -> Sent {
    let terms = PayerTerms {
        account: id(NAMES[account]),
        vcpus,
        price_max: price_max.and_then(|max| Price::new(usd(max))),
        nodes_max,
    };
    let command = BindPayer {
        app: app(APPS[index]),
        payer: Some(terms),
    };
    Some((Command::BindPayer(command), None))
}

fn renewed(index: usize, period: usize, candidates: &[usize]) -> Sent {
    let command = RenewLock {
        app: app(APPS[index]),
        period: period_of(period),
        candidates: candidates.iter().map(|index| node(NAMES[*index])).collect(),
    };
    Some((Command::RenewLock(command), None))
}

/// Even percents are of health, odd ones of attestation.
fn vouched(index: usize, period: usize, percent: i64) -> Sent {
    let period = period_of(period);
    let length_us = period.length_ms() * 1000;
    let until = period.start().unix_micros() + length_us * percent.min(100) / 100;
    let command = ReportFacts {
        node: node(NAMES[index]),
        track: if percent % 2 == 0 {
            Track::Health
        } else {
            Track::Attestation
        },
        from: period.start(),
        until: Timestamp::from_unix_micros(until),
    };
    Some((Command::ReportFacts(command), None))
}

fn filed(index: usize, period: usize) -> Sent {
    let note = |text| ee_protocol::account::Note::parse(text).expect("a note");
    let command = FileAbuse {
        node: node(NAMES[index]),
        period: Some(period_of(period)),
        reason: note("spam"),
        reported_by: note("somebody"),
    };
    Some((Command::FileAbuse(command), None))
}
