//! Collateral from PCS or PCCS endpoints and from directories (`file://`), one item a call.
//!
//! Layout of an endpoint: Intel's PCS API version 4. Layout of a directory: `<key>` with the
//! extension `json` (TCB info, QE identity) or `der` (lists), and `<key>.chain.pem` beside it,
//! where `<key>` is `tcb-info-<fmspc>`, `qe-identity`, `pck-crl-platform`, `pck-crl-processor`
//! or `root-crl`.

use std::{io, path::PathBuf, time::UNIX_EPOCH};

use bytes::Bytes;
use ee_control::ports::{CollateralError, CollateralKey, CollateralSource, FetchedItem};
use ee_protocol::time::Timestamp;
use futures_util::{FutureExt, future::BoxFuture};
use percent_encoding::percent_decode_str;
use reqwest::{StatusCode, header::DATE};
use tokio::sync::Semaphore;

use super::client::{BodyFailure, FETCH_TIMEOUT, HttpClient, bounded_body, error_text};

/// The largest item, TCB info, has about 20 KiB (ATTESTATION 11).
const ITEM_MAX_BYTES: usize = 1024 * 1024;
/// Requests to endpoints at once (ATTESTATION 11).
const FETCHES_MAX: usize = 8;
/// Intel's PCS serves everything but the root's own list.
const INTEL_PCS: &str = "https://api.trustedservices.intel.com";
/// Where Intel publishes the root's list (DER).
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// Path that many PCCS settings carry already.
const PCCS_SUFFIX: &str = "/sgx/certification/v4";

enum Endpoint {
    Http(String),
    Directory(PathBuf),
}

/// The endpoints of `EE_PCCS_URL`, in order.
pub struct PccsSource {
    client: HttpClient,
    endpoints: Vec<(String, Endpoint)>,
    slots: Semaphore,
}

impl PccsSource {
    /// Endpoints as `EE_PCCS_URL` lists them.
    pub fn new(client: HttpClient, urls: &[String]) -> Self {
        let endpoint = |url: &String| match url.strip_prefix("file://") {
            Some(path) => (url.clone(), Endpoint::Directory(path.into())),
            None => {
                let base = url.trim_end_matches('/').trim_end_matches(PCCS_SUFFIX);
                (
                    url.clone(),
                    Endpoint::Http(base.trim_end_matches('/').to_owned()),
                )
            }
        };
        let endpoints = urls.iter().map(endpoint).collect();
        Self {
            client,
            endpoints,
            slots: Semaphore::new(FETCHES_MAX),
        }
    }

    async fn fetch_http(
        &self,
        base: &str,
        key: &CollateralKey,
    ) -> Result<FetchedItem, CollateralError> {
        let (url, chain_header) = place(base, key);
        let response = self.client.get(url).send().await;
        let response = response.map_err(|error| outage(error_text(error)))?;
        self.client.note_date(&response);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(CollateralError::NotFound),
            status => return Err(outage(format!("status {}", status.as_u16()))),
        }
        let chain = chain_header.and_then(|name| {
            let text = response.headers().get(name)?.to_str().ok()?;
            Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
        });
        let date = base
            .starts_with("https://")
            .then(|| date(&response))
            .flatten();
        let body =
            bounded_body(response, ITEM_MAX_BYTES)
                .await
                .map_err(|failure| match failure {
                    BodyFailure::TooLarge => outage(format!("more than {ITEM_MAX_BYTES} bytes")),
                    BodyFailure::Broken(error) => outage(error_text(error)),
                })?;
        Ok(FetchedItem {
            body,
            issuer_chain_pem: chain,
            date,
        })
    }
}

impl CollateralSource for PccsSource {
    fn endpoints(&self) -> Vec<String> {
        self.endpoints
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn fetch<'a>(
        &'a self,
        endpoint: usize,
        key: &'a CollateralKey,
    ) -> BoxFuture<'a, Result<FetchedItem, CollateralError>> {
        async move {
            match self.endpoints.get(endpoint).map(|(_, endpoint)| endpoint) {
                None => Err(outage(format!("there is no endpoint {endpoint}"))),
                Some(Endpoint::Directory(path)) => read_directory(path, key),
                Some(Endpoint::Http(base)) => {
                    let fetched = tokio::time::timeout(FETCH_TIMEOUT, async {
                        let _slot = self
                            .slots
                            .acquire()
                            .await
                            .map_err(|_| outage("closed".into()))?;
                        self.fetch_http(base, key).await
                    });
                    fetched
                        .await
                        .unwrap_or_else(|_| Err(outage("no answer in 10 s".to_owned())))
                }
            }
        }
        .boxed()
    }
}

/// URL of an item below an endpoint, and the header that carries its issuer chain.
fn place(base: &str, key: &CollateralKey) -> (String, Option<&'static str>) {
    match key {
        CollateralKey::TcbInfo { fmspc } => {
            let fmspc = hex::encode(fmspc);
            let url = format!("{base}/tdx/certification/v4/tcb?fmspc={fmspc}");
            (url, Some("TCB-Info-Issuer-Chain"))
        }
        CollateralKey::QeIdentity => {
            let url = format!("{base}/tdx/certification/v4/qe/identity");
            (url, Some("SGX-Enclave-Identity-Issuer-Chain"))
        }
        CollateralKey::PckCrl { ca } => {
            let ca = ca.as_str();
            let url = format!("{base}{PCCS_SUFFIX}/pckcrl?ca={ca}&encoding=der");
            (url, Some("SGX-PCK-CRL-Issuer-Chain"))
        }
        CollateralKey::RootCrl if base == INTEL_PCS => (INTEL_ROOT_CRL.to_owned(), None),
        CollateralKey::RootCrl => (format!("{base}{PCCS_SUFFIX}/rootcacrl"), None),
    }
}

/// The answer's own date, in whole seconds.
fn date(response: &reqwest::Response) -> Option<Timestamp> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    let since_epoch = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(UNIX_EPOCH)
        .ok()?;
    let seconds = i64::try_from(since_epoch.as_secs()).ok()?;
    Some(Timestamp::from_unix_seconds(seconds))
}

fn read_directory(
    directory: &std::path::Path,
    key: &CollateralKey,
) -> Result<FetchedItem, CollateralError> {
    let extension = match key {
        CollateralKey::TcbInfo { .. } | CollateralKey::QeIdentity => "json",
        CollateralKey::PckCrl { .. } | CollateralKey::RootCrl => "der",
    };
    let body = read_file(&directory.join(format!("{key}.{extension}")))?;
    let chain = match read_file(&directory.join(format!("{key}.chain.pem"))) {
        Ok(bytes) => String::from_utf8(bytes).ok(),
        Err(CollateralError::NotFound) => None,
        Err(error) => return Err(error),
    };
    Ok(FetchedItem {
        body: Bytes::from(body),
        issuer_chain_pem: chain,
        date: None,
    })
}

fn read_file(path: &std::path::Path) -> Result<Vec<u8>, CollateralError> {
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return CollateralError::NotFound;
        }
        outage(format!("{}: {error}", path.display()))
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > ITEM_MAX_BYTES as u64 {
        return Err(outage(format!(
            "{} has more than {ITEM_MAX_BYTES} bytes",
            path.display()
        )));
    }
    std::fs::read(path).map_err(failed)
}

fn outage(detail: String) -> CollateralError {
    CollateralError::Outage { detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ee_control::ports::PckCa;

    #[test]
    fn the_root_list_comes_from_intels_certificate_host() {
        assert_eq!(place(INTEL_PCS, &CollateralKey::RootCrl).0, INTEL_ROOT_CRL);
        let (url, header) = place("https://pccs.example", &CollateralKey::RootCrl);
        assert_eq!(url, "https://pccs.example/sgx/certification/v4/rootcacrl");
        assert_eq!(header, None);
    }

    #[tokio::test]
    async fn a_pccs_path_in_the_setting_is_not_doubled() {
        let client = super::super::client().expect("client");
        let urls = ["https://pccs.example:8081/sgx/certification/v4/".to_owned()];
        let source = PccsSource::new(client, &urls);
        let Endpoint::Http(base) = &source.endpoints[0].1 else {
            panic!("http")
        };
        let key = CollateralKey::PckCrl {
            ca: PckCa::Platform,
        };
        let wanted = "https://pccs.example:8081/sgx/certification/v4/pckcrl?ca=platform";
        assert!(place(base, &key).0.starts_with(wanted));
    }

    #[tokio::test]
    async fn a_directory_serves_items_and_misses_are_not_outages() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("qe-identity.json"), b"{}").expect("written");
        std::fs::write(dir.path().join("qe-identity.chain.pem"), b"pem").expect("written");
        let url = format!("file://{}", dir.path().display());
        let source = PccsSource::new(super::super::client().expect("client"), &[url]);
        let item = source
            .fetch(0, &CollateralKey::QeIdentity)
            .await
            .expect("found");
        assert_eq!(item.issuer_chain_pem.as_deref(), Some("pem"));
        let miss = source.fetch(0, &CollateralKey::RootCrl).await;
        assert_eq!(miss, Err(CollateralError::NotFound));
    }
}
