//! `easyenclave app ls|show|explain`.

use std::process::ExitCode;

use ee_protocol::http::{
    apps::{AppList, AppStatus},
    explain::{AppExplanation, NodeExplanation, OfferExplanation, RefusedAttempt},
};

use crate::{
    client::Client,
    failure::Exit,
    money::price,
    output::{self, Format},
    path::segment,
};

/// Questions about apps.
#[derive(Debug, clap::Subcommand)]
pub enum Question {
    /// Every app that is bound
    Ls,
    /// One app: the node that would serve, and the pool
    Show {
        /// The app's name
        app: String,
    },
    /// Every gate of every node, and who was refused and why; exit status 3 if the answer is no
    Explain {
        /// The app's name
        app: String,
        /// Only this agent
        #[arg(long)]
        agent: Option<String>,
    },
}

/// Asks and prints.
pub async fn run(question: Question, client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    match question {
        Question::Ls => {
            let list: AppList = client.get("/v1/apps").await?;
            output::print(format, &list, |list| table(&list.apps));
            Ok(ExitCode::SUCCESS)
        }
        Question::Show { app } => {
            let status: AppStatus = client.get(&format!("/v1/apps/{}", segment(&app))).await?;
            output::print(format, &status, show);
            Ok(ExitCode::SUCCESS)
        }
        Question::Explain { app, agent } => explain(&app, agent.as_deref(), client, format).await,
    }
}

async fn explain(
    app: &str,
    agent: Option<&str>,
    client: &Client,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let query = agent
        .map(|id| format!("?agent={}", segment(id)))
        .unwrap_or_default();
    let path = format!("/v1/apps/{}/explain{query}", segment(app));
    let explanation: AppExplanation = client.get(&path).await?;
    let served = explanation
        .nodes
        .iter()
        .any(|node| node.eligible && node.tunnels > 0);
    output::print(format, &explanation, explained);
    Ok(if served {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

/// The apps in columns.
pub fn table(apps: &[AppStatus]) -> String {
    let head = [
        "APP", "NETWORK", "NODES", "ELIGIBLE", "SEALED", "ATTESTED", "HEALTH", "STATUS",
    ];
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|app| {
            vec![
                app.app_name.clone(),
                app.network.clone(),
                app.nodes.total.to_string(),
                app.nodes.eligible.to_string(),
                yes(app.sealed),
                app.last_attest
                    .clone()
                    .unwrap_or_else(|| "never".to_owned()),
                app.health_status.clone(),
                app.reason.clone().unwrap_or_else(|| app.status.clone()),
            ]
        })
        .collect();
    output::columns(&head, &rows)
}

fn show(app: &AppStatus) -> String {
    let never = || "never".to_owned();
    let rows = [
        ("app", app.app_name.clone()),
        ("url", app.url.clone()),
        ("repo", format!("{} {}", app.repo, app.release_tag)),
        ("network", app.network.clone()),
        ("agent", app.agent_id.clone()),
        (
            "nodes",
            format!("{} of {} eligible", app.nodes.eligible, app.nodes.total),
        ),
        ("sealed", yes(app.sealed)),
        ("binding", app.binding.clone()),
        (
            "attested",
            app.last_attested_at
                .as_deref()
                .map_or_else(never, output::time),
        ),
        (
            "healthy",
            app.last_health_at
                .as_deref()
                .map_or_else(never, output::time),
        ),
        (
            "expires",
            app.registration_expires_at
                .as_deref()
                .map_or_else(never, output::time),
        ),
        (
            "serves",
            if app.allowed {
                "yes".to_owned()
            } else {
                app.reasons.join(", ")
            },
        ),
    ];
    rows.map(|(name, value)| format!("{name:9} {value}"))
        .join("\n")
}

fn explained(explanation: &AppExplanation) -> String {
    let nodes = explanation.nodes.iter().map(node);
    let refused = explanation.refused.iter().map(attempt);
    let text: Vec<String> = nodes.chain(refused).collect();
    if text.is_empty() {
        return format!(
            "{}: no node, and nobody was refused lately",
            explanation.app_name
        );
    }
    text.join("\n\n")
}

fn node(node: &NodeExplanation) -> String {
    let state = match (node.eligible, node.tunnels) {
        (true, 0) => "eligible, not connected",
        (true, _) => "serves",
        (false, _) => "does not serve",
    };
    let gates = node.gates.iter().map(|gate| {
        let word = if gate.ok { "ok  " } else { "FAIL" };
        let code = gate.code.as_deref().unwrap_or_default();
        format!("{word}  {:14} {} {}", gate.gate, code, gate.detail)
            .trim_end()
            .to_owned()
    });
    let head = format!("node {} (agent {}): {state}", node.node, node.agent);
    [head]
        .into_iter()
        .chain(gates)
        .chain(node.offer.as_ref().map(offer))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The lowest effective price serves first.
fn offer(offer: &OfferExplanation) -> String {
    let factor = |permille: u16| format!("{}.{:03}", permille / 1_000, permille % 1_000);
    format!(
        "price {} / trust {} = {} a vCPU-hour\n      trust: attestation {}, health {}, \
         settlement {}, stake {}, tenure {}",
        price(&offer.price_micro_usd_per_vcpu_hour),
        factor(offer.trust_permille),
        price(&offer.effective_micro_usd_per_vcpu_hour),
        factor(offer.attestation_permille),
        factor(offer.health_permille),
        factor(offer.settlement_permille),
        factor(offer.stake_permille),
        factor(offer.tenure_permille),
    )
}

fn attempt(attempt: &RefusedAttempt) -> String {
    let RefusedAttempt {
        at,
        first_at,
        count,
        agent_id,
        repo,
        release_tag,
        network,
        reason,
        refusals,
    } = attempt;
    let when = match count {
        1 => format!("at {at}"),
        _ => format!("{count} times, first at {first_at}, last at {at}"),
    };
    let mut lines = vec![
        format!("agent {agent_id} ({repo} {release_tag} on {network}) was refused {when}"),
        format!("FAIL  {reason}"),
    ];
    for refusal in refusals {
        lines.push(format!("      {}: {}", refusal.check, refusal.code));
        if !refusal.expected.is_empty() {
            lines.push(format!("      expected {}", refusal.expected));
            lines.push(format!("      actual   {}", refusal.actual));
        }
        lines.push(format!("      next: {}", refusal.hint));
    }
    lines.join("\n")
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rogue() -> RefusedAttempt {
        let refusal = ee_protocol::refusal::Refusal::new(
            "measurement_mismatch:rtmr2",
            "measurements",
            "rebuild from v0.1.0",
        )
        .compared("0be1", "e93a");
        RefusedAttempt {
            at: "2026-11-22T14:00:00Z".into(),
            first_at: "2026-11-22T14:00:00Z".into(),
            count: 1,
            agent_id: "rogue".into(),
            repo: "easyenclave/hello".into(),
            release_tag: "v0.1.0".into(),
            network: "sandbox-1".into(),
            reason: "measurement_mismatch:rtmr2".into(),
            refusals: vec![refusal],
        }
    }

    #[test]
    fn refused_attempt_shows_expected_actual_and_next_step() {
        let text = attempt(&rogue());
        for part in [
            "was refused at 2026-11-22T14:00:00Z",
            "expected 0be1",
            "actual   e93a",
            "next: rebuild from v0.1.0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn repeats_are_one_line_with_first_and_last_time() {
        let repeated = RefusedAttempt {
            at: "2026-11-22T15:00:00Z".into(),
            count: 17,
            ..rogue()
        };
        let text = attempt(&repeated);
        let when = "17 times, first at 2026-11-22T14:00:00Z, last at 2026-11-22T15:00:00Z";
        assert!(text.contains(when), "{text}");
    }
}
