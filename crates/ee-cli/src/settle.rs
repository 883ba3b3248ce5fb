//! `easyenclave settle ls|show|finalize`.

use std::{collections::BTreeMap, process::ExitCode, str::FromStr, time::Duration};

use ee_control::ports::Clock;
use ee_protocol::{
    http::{
        locks::LockView,
        settlements::{
            EvidenceView, Finalized, NodeVerdict, ReasonView, SettlementView, VerdictList,
        },
    },
    period::{InvalidPeriod, Period},
    time::Timestamp,
};
use ee_server::clock::SystemClock;
use serde_json::json;

use crate::{
    client::Client,
    failure::{Exit, Failure},
    lock,
    money::dollars,
    output::{self, Format},
    path::{segment, with_query},
    period::Named,
};

/// Between two looks for a verdict: a person waits, and nothing is lost by half a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Locks looked through for those of a node's period.
const LOCKS_MAX: usize = 1_000;

/// What to do with settlements.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Verdicts, the latest period first
    Ls {
        /// On this node; on all if it is left out
        #[arg(long)]
        node: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// How a period was judged, why, and who was refunded
    Show {
        /// 2026-11-22T13Z, 2026-11-22, START--END, or latest
        period: Which,
        /// One node, with the facts behind its verdict
        #[arg(long, required_if_eq("period", "latest"))]
        node: Option<String>,
        /// Wait for the verdict; of `latest` that of the newest period that credits are locked for
        #[arg(long, requires = "node")]
        wait: bool,
    },
    /// Settle a period now, without waiting for its grace or for pending abuse reports
    Finalize {
        /// 2026-11-22T13Z, 2026-11-22, or START--END
        period: Named,
        /// One node; all with locks in exactly this period if it is left out
        #[arg(long)]
        node: Option<String>,
    },
}

/// Which period is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A node's newest.
    Latest,
    /// This one.
    Of(Period),
}

impl FromStr for Which {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        match text {
            "latest" => Ok(Self::Latest),
            text => Period::parse(text).map(Self::Of),
        }
    }
}

impl Which {
    fn name(self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Of(period) => period.to_string(),
        }
    }
}

/// Does it and prints.
pub async fn run(task: Task, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ls { node, limit } => {
            let path = with_query("/v1/settlements", &[("node", node)]);
            let (settlements, next_cursor) = client
                .pages(&path, limit, |page: VerdictList| {
                    (page.settlements, page.next_cursor)
                })
                .await?;
            let list = VerdictList {
                settlements,
                next_cursor,
            };
            output::print_list(format, &list, &list.settlements, |list| {
                verdicts(&list.settlements, format.is_wide())
            });
        }
        Task::Show {
            period,
            node: Some(node),
            wait,
        } => {
            let evidence = match wait {
                false => evidence(client, period, &node).await?,
                true => awaited(client, period, &node).await?,
            };
            let locks = locks_of(client, &evidence.verdict).await?;
            output::print(format, &evidence, |evidence| {
                shown(&evidence.verdict, &locks)
            });
        }
        Task::Show {
            period, node: None, ..
        } => {
            let path = format!("/v1/settlements/{}", segment(&period.name()));
            let view: SettlementView = client.get(&path).await?;
            output::print_list(format, &view, &view.nodes, |view| {
                format!(
                    "{}  {}\n{}",
                    view.period,
                    view.state,
                    verdicts(&view.nodes, format.is_wide())
                )
            });
        }
        Task::Finalize { period, node } => {
            let mut body = json!({});
            if let Some(node) = node {
                let (start, end) = period.bounds();
                body = json!({"node_id": node, "period_start": start, "period_end": end});
            }
            let path = format!(
                "/v1/settlements/{}/finalize",
                segment(&period.0.to_string())
            );
            let done: Finalized = client.post(&path, &body).await?;
            output::print(format, &done, finalized);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn evidence(client: &Client, period: Which, node: &str) -> anyhow::Result<EvidenceView> {
    let period = segment(&period.name());
    let path = format!("/v1/settlements/{period}/{}", segment(node));
    client.get(&path).await
}

/// Looks until the period is judged and its money moved, or until it can only be awaited.
async fn awaited(client: &Client, period: Which, node: &str) -> anyhow::Result<EvidenceView> {
    let period = match period {
        Which::Latest => newest_locked(client, node).await?.map_or(period, Which::Of),
        Which::Of(_) => period,
    };
    loop {
        let found = match evidence(client, period, node).await {
            Ok(found) => Some(found),
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(found) if found.verdict.state != "settling" => return Ok(found),
            Some(_) | None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.exit == Exit::NotFound)
}

/// The newest period that credits are locked for on the node, if it begins within a period's
/// length from now: locks may be made far ahead. `None` also for whoever may not read locks.
async fn newest_locked(client: &Client, node: &str) -> anyhow::Result<Option<Period>> {
    let path = with_query("/v1/locks", &[("node", Some(node.to_owned()))]);
    let locks = readable(lock::list(client, &path, LOCKS_MAX).await)?;
    let now = SystemClock.now();
    Ok(newest(locks.iter().map(|lock| lock.period.as_str()), now))
}

fn newest<'a>(periods: impl Iterator<Item = &'a str>, now: Timestamp) -> Option<Period> {
    let now_ms = now.unix_micros() / 1_000;
    let soon = |period: &Period| period.start_ms() <= now_ms + period.length_ms();
    let periods = periods.filter_map(|text| Period::parse(text).ok());
    periods.filter(soon).max_by_key(|period| period.start_ms())
}

/// The locks behind a verdict that the caller may read.
async fn locks_of(client: &Client, verdict: &NodeVerdict) -> anyhow::Result<Vec<LockView>> {
    let node = Some(verdict.node_id.clone());
    let path = with_query("/v1/locks", &[("node", node)]);
    let mut locks = readable(lock::list(client, &path, LOCKS_MAX).await)?;
    locks.retain(|lock| lock.period == verdict.period);
    Ok(locks)
}

/// Verdicts are public, users' amounts are not: without the right to see them there are none.
fn readable(
    list: anyhow::Result<ee_protocol::http::locks::LockList>,
) -> anyhow::Result<Vec<LockView>> {
    match list {
        Ok(list) => Ok(list.locks),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) if failure.exit == Exit::Auth => Ok(Vec::new()),
            Some(_) | None => Err(error),
        },
    }
}

fn verdicts(verdicts: &[NodeVerdict], wide: bool) -> String {
    let mut head = vec!["PERIOD", "NODE", "VERDICT", "STATE", "WHY"];
    if wide {
        head.extend(["JUDGED", "FACTS", "POLICY"]);
    }
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|verdict| {
            let mut row = vec![
                verdict.period.clone(),
                verdict.node_id.clone(),
                word(&verdict.verdict),
                verdict.state.clone(),
                reasons(&verdict.reasons),
            ];
            if wide {
                row.extend([
                    output::time(&verdict.at),
                    verdict.facts_hash.clone(),
                    verdict.policy_hash.clone(),
                ]);
            }
            row
        })
        .collect();
    output::columns(&head, &rows)
}

/// `pass` as PASSED: what is read first stands out.
fn word(verdict: &str) -> String {
    match verdict {
        "pass" => "PASSED".to_owned(),
        "fail" => "FAILED".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// `health_miss 14:03:17`.
fn reasons(reasons: &[ReasonView]) -> String {
    let each = reasons.iter().map(|reason| {
        let time = reason.first.get(11..19).unwrap_or(&reason.first);
        format!("{} {time}", reason.reason)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The verdict, then what became of each account's credits.
fn shown(verdict: &NodeVerdict, locks: &[LockView]) -> String {
    let NodeVerdict {
        period, node_id, ..
    } = verdict;
    let head = format!(
        "{period}  {node_id}  {}  {}",
        word(&verdict.verdict),
        reasons(&verdict.reasons)
    );
    let mut lines = vec![head.trim_end().to_owned()];
    let accounts = by_account(locks);
    let paid: i64 = accounts.values().map(|(paid, _)| paid).sum();
    for (account, (paid, returned)) in &accounts {
        if *paid > 0 {
            lines.push(format!(
                "  paid      {account}  {}",
                dollars(&paid.to_string())
            ));
        }
        if *returned > 0 {
            let returned = dollars(&returned.to_string());
            lines.push(format!("  refunded  {account}  {returned}"));
        }
    }
    if !accounts.is_empty() && verdict.state == "settled" {
        let received = match paid {
            0 => "nothing".to_owned(),
            paid => dollars(&paid.to_string()),
        };
        let last = lines.last_mut().expect("the verdict's line is there");
        last.push_str(&format!("   {node_id} receives {received}"));
    }
    lines.join("\n")
}

/// What each account paid and got back, in millionths; open locks have done neither.
fn by_account(locks: &[LockView]) -> BTreeMap<&str, (i64, i64)> {
    let mut accounts = BTreeMap::new();
    for lock in locks.iter().filter(|lock| lock.state != "open") {
        let amount: i64 = lock.amount_micro_usd.parse().unwrap_or(0);
        let posted: i64 = lock.posted_micro_usd.parse().unwrap_or(0);
        let (paid, returned) = accounts.entry(lock.account_id.as_str()).or_insert((0, 0));
        *paid += posted;
        *returned += amount - posted;
    }
    accounts
}

fn finalized(done: &Finalized) -> String {
    let verdict = done.verdict.as_deref().map_or_else(|| "-".to_owned(), word);
    let pending = done.pending_abuse_reports.join(" ");
    let mut rows = vec![
        ("period", done.period.clone()),
        ("verdict", verdict),
        ("state", done.state.clone()),
        ("reasons", done.reasons.join(", ")),
        ("paid", dollars(&done.paid_micro_usd)),
        ("returned", dollars(&done.returned_micro_usd)),
        (
            "locks",
            format!("{} settled, {} failed now", done.settled, done.failed),
        ),
    ];
    if !pending.is_empty() {
        rows.push(("pending abuse", pending));
    }
    output::fields(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: &str = "20261122T140300Z--20261122T140330Z";

    fn lock(account: &str, amount: &str, posted: &str) -> LockView {
        LockView {
            lock_id: "0".repeat(32),
            account_id: account.to_owned(),
            node_id: "hello-1".to_owned(),
            period: PERIOD.to_owned(),
            from: String::new(),
            vcpus: Some(2),
            mode: "reserved".to_owned(),
            amount_micro_usd: amount.to_owned(),
            posted_micro_usd: posted.to_owned(),
            state: "settled".to_owned(),
            expires_at: String::new(),
            app: None,
        }
    }

    fn verdict(word: &str, reasons: Vec<ReasonView>) -> NodeVerdict {
        NodeVerdict {
            node_id: "hello-1".to_owned(),
            period: PERIOD.to_owned(),
            verdict: word.to_owned(),
            state: "settled".to_owned(),
            reasons,
            facts_hash: String::new(),
            policy_hash: String::new(),
            at: String::new(),
        }
    }

    #[test]
    fn room_shows_when_it_was_judged_and_by_what() {
        let mut one = verdict("pass", Vec::new());
        one.at = "2026-11-22T14:03:41.000001Z".to_owned();
        (one.facts_hash, one.policy_hash) = ("f0".to_owned(), "0b".to_owned());
        let narrow = verdicts(std::slice::from_ref(&one), false);
        let wide = verdicts(&[one], true);
        assert!(!narrow.contains("14:03:41"), "{narrow}");
        assert!(wide.contains("2026-11-22T14:03:41Z  f0     0b"), "{wide}");
    }

    #[test]
    fn a_failed_period_names_its_reason_and_who_was_refunded() {
        let miss = ReasonView {
            reason: "health_miss".to_owned(),
            first: "2026-11-22T14:03:17.000000Z".to_owned(),
            last: String::new(),
            count: 1,
            excused_ms: 0,
        };
        let text = shown(&verdict("fail", vec![miss]), &[lock("alice", "667", "0")]);
        assert_eq!(
            text,
            "20261122T140300Z--20261122T140330Z  hello-1  FAILED  health_miss 14:03:17\n  \
             refunded  alice  $0.000667   hello-1 receives nothing"
        );
    }

    #[test]
    fn a_passed_period_says_who_paid_what() {
        let locks = [lock("alice", "667", "600"), lock("bob", "1000", "1000")];
        assert_eq!(
            shown(&verdict("pass", Vec::new()), &locks),
            "20261122T140300Z--20261122T140330Z  hello-1  PASSED\n  \
             paid      alice  $0.0006\n  \
             refunded  alice  $0.000067\n  \
             paid      bob  $0.001   hello-1 receives $0.0016"
        );
        let anonymous = shown(&verdict("pass", Vec::new()), &[]);
        assert_eq!(anonymous.lines().count(), 1, "amounts are not public");
    }

    #[test]
    fn the_newest_period_is_not_one_of_next_week() {
        let now = Timestamp::from_unix_seconds(1_795_356_190);
        let near = Period::holding(now, 30).expect("period");
        let next = near.next().expect("period");
        let far = Period::holding(now.after(Duration::from_secs(600_000)), 30).expect("period");
        let texts = [near, next, far].map(|period| period.to_string());
        assert_eq!(newest(texts.iter().map(String::as_str), now), Some(next));
        assert_eq!(newest(std::iter::empty(), now), None);
    }
}
