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
    let period = || prop_oneof![2 => 0..3_usize, 1 => 3..9_usize];
    let money = || prop_oneof![1_i64..50, 1_000..200_000_i64];
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
        2 => (node(), 0_i64..60_000, proptest::option::of(1_u32..6))
            .prop_map(|(n, p, v)| Transition::Register(n, p, v)),
        6 => (name(), node(), period(), 1_u32..4, mode, id())
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

impl Transition {
    /// The command, and the id that a client gave it; none for what is no command. `locks` are
    /// all that were made so far.
    pub(super) fn command(&self, locks: &[EntryId]) -> Option<(Command, Option<ClientKey>)> {
        let name = |index: &usize| NAMES[*index];
        let some_id = |number: &u8| client(&format!("id{number}"));
        let debit = |account: &usize, number: &Option<u8>| {
            let number = number.as_ref()?;
            Some(ClientKey::Debit(id(name(account)), some_id(number)))
        };
        Some(match self {
            Transition::Purchase(account, micros, number) => {
                let external = number.as_ref().map(some_id);
                let key = external.clone().map(ClientKey::Purchase);
                let command = Purchase {
                    account: id(name(account)),
                    amount: amount(*micros),
                    external_ref: external,
                };
                (Command::Purchase(command), key)
            }
            Transition::Transfer(from, to, micros, number, open) => {
                let command = Transfer {
                    id: number.as_ref().map(some_id),
                    open_account: *open,
                    ..transfer(name(from), name(to), *micros)
                };
                (Command::Transfer(command), debit(from, number))
            }
            Transition::Batch(items) => {
                let items = items.iter().map(|(from, to, micros, chain)| BatchItem {
                    transfer: transfer(name(from), name(to), *micros),
                    chain: *chain,
                });
                let items = items.collect();
                (Command::TransferBatch(TransferBatch { items }), None)
            }
            Transition::Payout(account, micros, number) => {
                let command = Payout {
                    id: number.as_ref().map(some_id),
                    account: id(name(account)),
                    amount: amount(*micros),
                    external_ref: None,
                };
                (Command::Payout(command), debit(account, number))
            }
            Transition::Register(index, price, vcpus) => {
                let command = RegisterNode {
                    node: node(name(index)),
                    price: Price::new(usd(*price)),
                    effective_from: None,
                    vcpus: *vcpus,
                    stake: None,
                    tier: None,
                    allow_update: true,
                };
                (Command::RegisterNode(command), None)
            }
            Transition::Lock(account, on, period, vcpus, mode, number) => {
                let command = Lock {
                    id: number.as_ref().map(some_id),
                    node: node(name(on)),
                    ..lock(name(account), period_of(*period), *vcpus, *mode)
                };
                (Command::Lock(command), debit(account, number))
            }
            Transition::Release(index) => {
                let lock = *locks.get(index.checked_rem(locks.len())?)?;
                (Command::ReleaseLock(ReleaseLock { lock }), None)
            }
            Transition::Usage(account, on, period, used, cumulative, number) => {
                let (account, on) = (id(name(account)), node(name(on)));
                let identity = match number.as_ref().map(some_id) {
                    Some(id) => UsageIdentity::Usage(id),
                    None => UsageIdentity::None,
                };
                let key = number.as_ref().map(some_id);
                let key = key.map(|id| ClientKey::Usage(account.clone(), on.clone(), id));
                let command = ReportUsage {
                    account,
                    node: on,
                    identity,
                    cumulative: *cumulative,
                    ..report(period_of(*period), *used)
                };
                (Command::ReportUsage(command), key)
            }
            Transition::Bind(index, account, vcpus, price_max, nodes_max) => {
                let terms = PayerTerms {
                    account: id(name(account)),
                    vcpus: *vcpus,
                    price_max: price_max.and_then(|max| Price::new(usd(max))),
                    nodes_max: *nodes_max,
                };
                let command = BindPayer {
                    app: app(APPS[*index]),
                    payer: Some(terms),
                };
                (Command::BindPayer(command), None)
            }
            Transition::Renew(index, period, candidates) => {
                let candidates = candidates.iter().map(|index| node(name(index))).collect();
                let app = app(APPS[*index]);
                let command = RenewLock {
                    app,
                    period: period_of(*period),
                    candidates,
                };
                (Command::RenewLock(command), None)
            }
            Transition::Vouch(..) | Transition::Abuse(..) => return self.evidence(),
            Transition::Finalize(index, period) => {
                let node = Some(node(name(index)));
                (
                    Command::Finalize(Finalize {
                        period: period_of(*period),
                        node,
                    }),
                    None,
                )
            }
            Transition::Tick => (Command::Tick, None),
            Transition::Wait(_) | Transition::Restart | Transition::Again(_) => return None,
        })
    }

    fn evidence(&self) -> Option<(Command, Option<ClientKey>)> {
        match self {
            Transition::Vouch(index, period, percent) => {
                let period = period_of(*period);
                let length_us = period.length_ms() * 1000;
                let until = period.start().unix_micros() + length_us * percent.min(&100) / 100;
                let track = if percent % 2 == 0 {
                    Track::Health
                } else {
                    Track::Attestation
                };
                let command = ReportFacts {
                    node: node(NAMES[*index]),
                    track,
                    from: period.start(),
                    until: Timestamp::from_unix_micros(until),
                };
                Some((Command::ReportFacts(command), None))
            }
            Transition::Abuse(index, period) => {
                let note = |text| ee_protocol::account::Note::parse(text).expect("a note");
                let command = FileAbuse {
                    node: node(NAMES[*index]),
                    period: Some(period_of(*period)),
                    reason: note("spam"),
                    reported_by: note("somebody"),
                };
                Some((Command::FileAbuse(command), None))
            }
            _ => None,
        }
    }
}
