//! Allowlists from a local directory: `<owner>/<repo>/<tag>/<asset>` (ATTESTATION 5).
//!
//! The operator's own word, in place of GitHub. The tag is percent-encoded as one segment, so
//! that `release/1` does not become two directories.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use bytes::Bytes;
use ee_control::ports::ReleaseSource;
use ee_control::ports::{DigestSource, ReleaseAsset, ReleaseError, ReleaseFetch, ReleaseKey};
use ee_core::attestation::Provenance;
use futures_util::{FutureExt, future::BoxFuture};

use super::github::{ALLOWLIST_MAX_BYTES, encoded_segment, sha256};

/// A directory of allowlists.
pub struct AllowlistDir {
    root: PathBuf,
    asset_name: String,
}

impl AllowlistDir {
    /// Serves `asset_name` files below `root`.
    pub fn new(root: PathBuf, asset_name: String) -> Self {
        Self { root, asset_name }
    }

    /// The path of a release's allowlist. Owners and names are compared without case on GitHub;
    /// here the registered spelling is looked up first, then the lower-case one.
    fn candidates(&self, release: &ReleaseKey) -> [PathBuf; 2] {
        let tag = encoded_segment(release.tag.as_str());
        let path = |repo: &str| self.root.join(repo).join(&tag).join(&self.asset_name);
        [path(release.repo.as_str()), path(&release.repo.key())]
    }

    fn read(&self, release: &ReleaseKey, etag: Option<&str>) -> Result<ReleaseFetch, ReleaseError> {
        for path in self.candidates(release) {
            match read_bounded(&path) {
                Ok(content) => return fetched(content, etag),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let detail = format!("{}: {error}", path.display());
                    return Err(ReleaseError::Outage { detail });
                }
            }
        }
        let [path, _] = self.candidates(release);
        Err(ReleaseError::NotFound {
            what: format!("file {}", path.display()),
        })
    }
}

impl ReleaseSource for AllowlistDir {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn fetch<'a>(
        &'a self,
        release: &'a ReleaseKey,
        etag: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReleaseFetch, ReleaseError>> {
        // A file of at most 256 KiB: shorter than the way to a blocking thread and back.
        async move { self.read(release, etag) }.boxed()
    }
}

fn fetched(content: Vec<u8>, etag: Option<&str>) -> Result<ReleaseFetch, ReleaseError> {
    if content.len() > ALLOWLIST_MAX_BYTES {
        return Err(ReleaseError::Oversize {
            limit_bytes: ALLOWLIST_MAX_BYTES as u64,
        });
    }
    let digest = sha256(&content);
    let current = hex::encode(digest);
    if etag == Some(current.as_str()) {
        return Ok(ReleaseFetch::NotModified);
    }
    Ok(ReleaseFetch::Found(ReleaseAsset {
        content: Bytes::from(content),
        digest,
        digest_source: DigestSource::Computed,
        provenance: Provenance::Local,
        etag: Some(current),
    }))
}

/// Reads one byte more than allowed at most, so that the caller sees an oversize.
fn read_bounded(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(ALLOWLIST_MAX_BYTES as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ee_protocol::names::{ReleaseTag, Repo};

    fn key(repo: &str, tag: &str) -> ReleaseKey {
        ReleaseKey {
            repo: Repo::parse(repo).expect("repo"),
            tag: ReleaseTag::parse(tag).expect("tag"),
        }
    }

    #[tokio::test]
    async fn a_tag_with_a_slash_is_one_segment() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let place = dir.path().join("org/repo/release%2F1");
        std::fs::create_dir_all(&place).expect("made");
        std::fs::write(place.join("list.json"), b"{}").expect("written");
        let source = AllowlistDir::new(dir.path().into(), "list.json".into());
        let release = key("Org/Repo", "release/1");
        let Ok(ReleaseFetch::Found(asset)) = source.fetch(&release, None).await else {
            panic!("found")
        };
        assert_eq!(&asset.content[..], b"{}");
        let again = source.fetch(&release, asset.etag.as_deref()).await;
        assert!(matches!(again, Ok(ReleaseFetch::NotModified)));
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let source = AllowlistDir::new(dir.path().into(), "list.json".into());
        let error = source
            .fetch(&key("org/repo", "v1"), None)
            .await
            .expect_err("missing");
        assert!(
            error.to_string().contains("org/repo/v1/list.json"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_oversized_file_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let place = dir.path().join("org/repo/v1");
        std::fs::create_dir_all(&place).expect("made");
        std::fs::write(place.join("list.json"), vec![b' '; ALLOWLIST_MAX_BYTES + 1]).expect("ok");
        let source = AllowlistDir::new(dir.path().into(), "list.json".into());
        let error = source
            .fetch(&key("org/repo", "v1"), None)
            .await
            .expect_err("too large");
        assert!(matches!(error, ReleaseError::Oversize { .. }));
    }
}
