//! TLS of the listeners themselves, for a control plane without a proxy in front.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_server::StartError;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::running::{ADMIN, Running};

/// Writes a certificate for `control.example.com` and its key; returns the certificate.
fn write_certificate(dir: &std::path::Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["control.example.com".to_owned()]);
    let made = made.expect("a certificate");
    let key = made.signing_key.serialize_der();
    std::fs::write(dir.join("cert.pem"), pem("CERTIFICATE", made.cert.der())).expect("written");
    std::fs::write(dir.join("key.pem"), pem("PRIVATE KEY", &key)).expect("written");
    made.cert.der().clone()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

async fn ask_over_tls(running: &Running, trusted: CertificateDer<'static>) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(running.server.api_addr)
        .await
        .expect("connected");
    let name = ServerName::try_from("control.example.com").expect("name");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, socket).await.expect("handshake");
    let request = b"GET /health HTTP/1.1\r\nHost: control.example.com\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    // A server may close without close_notify; what was read counts.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn the_api_serves_tls_when_a_certificate_is_set() {
    let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
    let certificate = write_certificate(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let pairs = [
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_TLS_CERT_PATH", &cert),
        ("EE_TLS_KEY_PATH", &key),
    ];
    let running = Running::start_in(&dir, &pairs).await.expect("started");
    let answer = ask_over_tls(&running, certificate).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_broken_certificate_names_its_setting() {
    let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
    write_certificate(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (missing, key) = (path("missing.pem"), path("key.pem"));
    let pairs = [
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_TLS_CERT_PATH", &missing),
        ("EE_TLS_KEY_PATH", &key),
    ];
    let Err(StartError::Failed(error)) = Running::start_in(&dir, &pairs).await else {
        panic!("refused")
    };
    assert!(
        format!("{error:#}").starts_with("EE_TLS_CERT_PATH"),
        "{error:#}"
    );
}
