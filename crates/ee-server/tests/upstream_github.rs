//! The GitHub client against a fake GitHub on loopback: rules 1 to 6 of ATTESTATION 5, "Fetching".

use std::sync::Arc;

use ee_control::ports::{
    Clock, DigestSource, ReleaseAsset, ReleaseError, ReleaseFetch, ReleaseKey, ReleaseSource,
};
use ee_core::attestation::Provenance;
use ee_protocol::{
    names::{ReleaseTag, Repo},
    settings::Secret,
    time::Timestamp,
};
use ee_server::upstream::{AssetHosts, GithubSource, client};
use ee_testbed::{
    DigestMode, FakeGithub, GithubMode, Release,
    fake_github::{GithubHost, Seen},
};

const ASSET: &str = "agent-attestation-allowlist.json";
const TOKEN: &str = "ghp_0123456789abcdef0123456789abcdef0123";
const NOW_S: i64 = 1_800_000_000;
const LIMIT: usize = 256 * 1024;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(NOW_S)
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned()
}

fn source(github: &FakeGithub) -> GithubSource {
    GithubSource::new(
        client().expect("client"),
        github.api_url(),
        Some(Secret::new(TOKEN)),
        ASSET.to_owned(),
        AssetHosts::Only(vec![authority(&github.asset_url())]),
        Arc::new(FixedClock),
    )
}

fn key() -> ReleaseKey {
    ReleaseKey {
        repo: Repo::parse("org/repo").expect("repo"),
        tag: ReleaseTag::parse("v0.1.3").expect("tag"),
    }
}

async fn published(change: impl FnOnce(&mut Release)) -> FakeGithub {
    let github = FakeGithub::start().await.expect("loopback");
    let mut release = Release::new("org/repo", "v0.1.3", ASSET, "{\"version\":\"1.1\"}");
    change(&mut release);
    github.publish(release);
    github
}

async fn fetch(github: &FakeGithub) -> Result<ReleaseFetch, ReleaseError> {
    source(github).fetch(&key(), None).await
}

async fn found(github: &FakeGithub) -> ReleaseAsset {
    match fetch(github).await {
        Ok(ReleaseFetch::Found(asset)) => asset,
        other => panic!("{other:?}"),
    }
}

fn seen(github: &FakeGithub, host: GithubHost) -> Vec<Seen> {
    github
        .requests()
        .into_iter()
        .filter(|seen| seen.host == host)
        .collect()
}

#[tokio::test]
async fn an_asset_is_fetched_through_its_api_url() {
    let github = published(|_| {}).await;
    let asset = found(&github).await;
    assert_eq!(&asset.content[..], b"{\"version\":\"1.1\"}");
    assert_eq!(asset.digest_source, DigestSource::Published);
    assert_eq!(asset.provenance, Provenance::Release);
    let requests = seen(&github, GithubHost::Api);
    assert_eq!(requests[0].path, "/repos/org/repo/releases/tags/v0.1.3");
    assert_eq!(
        requests[1].accept.as_deref(),
        Some("application/octet-stream")
    );
}

#[tokio::test]
async fn token_stays_on_the_api_host() {
    let github = published(|_| {}).await;
    github.set_mode(GithubMode::RedirectAssets);
    found(&github).await;
    let api = seen(&github, GithubHost::Api);
    let wanted = format!("Bearer {TOKEN}");
    assert!(
        api.len() >= 2
            && api
                .iter()
                .all(|s| s.authorization.as_ref() == Some(&wanted))
    );
    let assets = seen(&github, GithubHost::Assets);
    assert!(!assets.is_empty(), "the redirect was followed");
    assert!(
        assets.iter().all(|seen| seen.authorization.is_none()),
        "{assets:?}"
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let github = published(|_| {}).await;
    let stranger = FakeGithub::start().await.expect("loopback");
    github.set_mode(GithubMode::RedirectAssetsTo(format!(
        "{}/x",
        stranger.api_url()
    )));
    let error = fetch(&github).await.expect_err("refused");
    assert!(error.to_string().contains("is not followed"), "{error}");
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn a_renamed_repository_is_not_followed() {
    let github = published(|_| {}).await;
    github.set_mode(GithubMode::Moved);
    assert!(matches!(
        fetch(&github).await,
        Err(ReleaseError::RepoMoved { .. })
    ));
}

#[tokio::test]
async fn the_published_digest_must_match() {
    let github = published(|release| release.digest = DigestMode::Wrong).await;
    assert!(matches!(
        fetch(&github).await,
        Err(ReleaseError::DigestMismatch { .. })
    ));
    let github = published(|release| release.digest = DigestMode::Missing).await;
    assert_eq!(found(&github).await.digest_source, DigestSource::Computed);
}

#[tokio::test]
async fn oversize_is_refused_by_declaration_and_while_reading() {
    let big = vec![b' '; LIMIT + 1];
    let declared = published(|release| release.content.clone_from(&big)).await;
    assert!(matches!(
        fetch(&declared).await,
        Err(ReleaseError::Oversize { .. })
    ));
    assert_eq!(
        declared.requests().len(),
        1,
        "the asset itself is not asked for"
    );
    for sized in [true, false] {
        let lying = published(|release| {
            release.content.clone_from(&big);
            release.declared_size = Some(10);
            release.sized = sized;
        })
        .await;
        assert!(
            matches!(fetch(&lying).await, Err(ReleaseError::Oversize { .. })),
            "{sized}"
        );
    }
}

#[tokio::test]
async fn an_entity_tag_saves_the_download() {
    let github = published(|_| {}).await;
    let etag = found(&github).await.etag.expect("GitHub sends one");
    let again = source(&github).fetch(&key(), Some(&etag)).await;
    assert!(matches!(again, Ok(ReleaseFetch::NotModified)), "{again:?}");
    github.swap("org/repo", "v0.1.3", "{}");
    let swapped = source(&github).fetch(&key(), Some(&etag)).await;
    assert!(matches!(swapped, Ok(ReleaseFetch::Found(_))), "{swapped:?}");
}

#[tokio::test]
async fn missing_release_and_missing_asset_are_told_apart() {
    let github = FakeGithub::start().await.expect("loopback");
    let error = fetch(&github).await.expect_err("no release").to_string();
    assert!(error.contains("release org/repo@v0.1.3"), "{error}");
    let github = published(|release| release.asset_name = "other.json".to_owned()).await;
    let error = fetch(&github).await.expect_err("no asset").to_string();
    assert!(error.contains(&format!("asset {ASSET}")), "{error}");
}

#[tokio::test]
async fn outages_and_spent_quotas_are_nobodys_fault() {
    let github = published(|_| {}).await;
    github.set_mode(GithubMode::ServerError(502));
    assert!(matches!(
        fetch(&github).await,
        Err(ReleaseError::Outage { .. })
    ));
    let reset = u64::try_from(NOW_S).expect("positive") + 90;
    github.set_mode(GithubMode::RateLimited { reset });
    let until = Timestamp::from_unix_seconds(NOW_S + 90);
    assert_eq!(
        fetch(&github).await.expect_err("limited"),
        ReleaseError::RateLimited { until }
    );
}

#[tokio::test]
async fn an_immutable_release_counts_for_more() {
    let github = published(|release| release.immutable = true).await;
    assert_eq!(
        found(&github).await.provenance,
        Provenance::ReleaseImmutable
    );
}
