//! Outer TLS of the two listeners, when `EE_TLS_CERT_PATH` is set.

use std::sync::Arc;

use anyhow::Context;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsPaths;

/// Which protocols a listener offers in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// The API: WebSocket upgrades need HTTP/1.1.
    Http1,
    /// The proxy listener.
    Http2AndHttp1,
}

/// Reads certificate and key and builds the acceptor; TLS 1.2 and 1.3.
pub fn acceptor(paths: &TlsPaths, alpn: Alpn) -> anyhow::Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&paths.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("EE_TLS_CERT_PATH {}", paths.certificate.display()))?;
    anyhow::ensure!(
        !chain.is_empty(),
        "EE_TLS_CERT_PATH {} holds no certificate",
        paths.certificate.display()
    );
    let key = PrivateKeyDer::from_pem_file(&paths.key)
        .with_context(|| format!("EE_TLS_KEY_PATH {}", paths.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "EE_TLS_KEY_PATH {} does not fit the certificate",
                paths.key.display()
            )
        })?;
    config.alpn_protocols = match alpn {
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2AndHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}
