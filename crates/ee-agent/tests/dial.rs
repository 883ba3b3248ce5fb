//! `wss://`: the CA of `EE_CONTROL_CA_PATH` is trusted, and no other.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot be set up has failed, and its tasks end with its runtime"
)]

use std::{io::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ee_agent::dial::Dialer;
use http::Uri;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = pem(params.self_signed(&key).unwrap().der());
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn server_for(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

async fn dial(trusted: &Authority, actual: &Authority, name: &str) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = actual.server_for(name);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.read_u8().await;
        }
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(trusted.pem.as_bytes()).unwrap();
    let url: Uri = format!("wss://localhost:{port}/v1/tunnel").parse().unwrap();
    let dialer = Dialer::new(url, Some(file.path())).map_err(|error| error.to_string())?;
    dialer
        .dial()
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_named_authority_is_trusted_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    assert_eq!(dial(&ours, &ours, "localhost").await, Ok(()));
    let refused = dial(&ours, &theirs, "localhost").await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let misnamed = dial(&ours, &ours, "elsewhere.example").await.unwrap_err();
    assert!(misnamed.contains("certificate"), "{misnamed}");
}
