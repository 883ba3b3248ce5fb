//! `easyenclave allowlist alarms|acknowledge`.

use std::process::ExitCode;

use ee_protocol::http::allowlists::{
    Acknowledged, Acknowledgement, AllowlistAlarm, AllowlistAlarms,
};

use crate::{
    client::Client,
    failure::Exit,
    output::{self, Format},
};

/// Prints open alarms; status 3 if there are any.
pub async fn list(client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let open: AllowlistAlarms = client.get("/v1/allowlists").await?;
    output::print(format, &open, |open| text(&open.alarms));
    Ok(if open.alarms.is_empty() {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

/// Settles one alarm.
pub async fn acknowledge(
    word: &Acknowledgement,
    client: &Client,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let done: Acknowledged = client.post("/v1/allowlists/acknowledge", word).await?;
    output::print(format, &done, |done| {
        let Acknowledgement {
            repo, release_tag, ..
        } = word;
        format!(
            "{} {}: {repo} {release_tag} is judged by it",
            done.outcome, done.digest
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn text(alarms: &[AllowlistAlarm]) -> String {
    if alarms.is_empty() {
        return "every allowlist is as it was first seen".to_owned();
    }
    let alarms = alarms.iter().map(|alarm| {
        let AllowlistAlarm {
            repo,
            release_tag,
            pinned,
            published,
            since,
        } = alarm;
        format!(
            "{repo} {release_tag}: changed, noticed {since}; new sessions are refused\n  \
             pinned     {pinned}\n  published  {published}\n  \
             next: look at the change, then easyenclave allowlist acknowledge {repo} \
             {release_tag} DIGEST"
        )
    });
    alarms.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_shows_both_digests_and_the_next_step() {
        let alarm = AllowlistAlarm {
            repo: "org/app".to_owned(),
            release_tag: "v1".to_owned(),
            pinned: "sha256:aa".to_owned(),
            published: "sha256:bb".to_owned(),
            since: "2026-11-22T17:00:00Z".to_owned(),
        };
        let shown = text(&[alarm]);
        for part in ["sha256:aa", "sha256:bb", "acknowledge org/app v1 DIGEST"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert_eq!(text(&[]), "every allowlist is as it was first seen");
    }
}
