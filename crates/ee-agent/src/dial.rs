//! The way to the control plane: TCP, and TLS for `wss://`.
//!
//! The outer TLS only keeps strangers from the bytes on the way to a CDN or the control plane;
//! what the quote is bound to is the inner TLS (TUNNEL 3.2).

use std::{io, path::Path, sync::Arc, time::Duration};

use ee_tunnel::limits::UNSENT_MAX;
use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

/// Name, TCP and TLS together; a network that takes longer is retried with a new attempt.
const DIAL_DEADLINE: Duration = Duration::from_secs(15);

/// A connected socket, with or without TLS.
pub type Socket = Either<TcpStream, TlsStream<TcpStream>>;

/// Knows how to reach one control plane.
#[derive(Clone)]
pub struct Dialer {
    url: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why a dialer could not be made; settings are at fault.
#[derive(Debug, thiserror::Error)]
pub enum DialerError {
    /// The CA file cannot be read or holds no certificate.
    #[error("EE_CONTROL_CA_PATH: {0}")]
    Ca(String),
    /// The host is neither a DNS name nor an IP address.
    #[error("EE_CONTROL_WS: {0}")]
    Host(String),
}

impl Dialer {
    /// Trusts public roots, or only the CA at `ca_path`.
    pub fn new(url: Uri, ca_path: Option<&Path>) -> Result<Self, DialerError> {
        if url.scheme_str() != Some("wss") {
            return Ok(Self { url, tls: None });
        }
        let name = ServerName::try_from(bare_host(&url).to_owned())
            .map_err(|error| DialerError::Host(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(client_config(ca_path)?));
        Ok(Self {
            url,
            tls: Some((connector, name)),
        })
    }

    /// The tunnel endpoint.
    pub const fn url(&self) -> &Uri {
        &self.url
    }

    /// Connects.
    pub async fn dial(&self) -> io::Result<Socket> {
        match tokio::time::timeout(DIAL_DEADLINE, self.connect()).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no connection within 15 s",
            )),
        }
    }

    async fn connect(&self) -> io::Result<Socket> {
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(default_port);
        let stream = TcpStream::connect((bare_host(&self.url), port)).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX)?;
        match &self.tls {
            None => Ok(Either::Left(stream)),
            Some((connector, name)) => Ok(Either::Right(
                connector.connect(name.clone(), stream).await?,
            )),
        }
    }
}

/// The host without the brackets of an IPv6 address.
fn bare_host(url: &Uri) -> &str {
    url.host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
}

fn client_config(ca_path: Option<&Path>) -> Result<ClientConfig, DialerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots(ca_path)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_path: Option<&Path>) -> Result<RootCertStore, DialerError> {
    let Some(path) = ca_path else {
        return Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
    };
    let refuse = |error: String| DialerError::Ca(format!("{}: {error}", path.display()));
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| refuse(e.to_string()))? {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        store
            .add(certificate)
            .map_err(|error| refuse(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(refuse("no certificate in it".to_owned()));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_ca_file_is_named() {
        let url = Uri::from_static("wss://control.example/v1/tunnel");
        let empty = tempfile::NamedTempFile::new().unwrap();
        for path in [Path::new("no-such-file.pem"), empty.path()] {
            let message = Dialer::new(url.clone(), Some(path))
                .err()
                .unwrap()
                .to_string();
            assert!(message.contains("EE_CONTROL_CA_PATH"), "{message}");
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
        assert!(Dialer::new(url, None).is_ok());
    }
}
