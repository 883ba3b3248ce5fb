//! Keys of the inner TLS session and its configuration (TUNNEL 3.2, RFC 7250).
//!
//! Both ends show a raw public key and nothing else; whose key it is, the quote says, not a
//! certificate authority. TLS 1.3 only, ALPN `h2`, no resumption, no early data.

use std::fmt;
use std::sync::Arc;

use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

/// A stored key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 key in PKCS #8: {0}")]
pub struct KeyError(String);

/// One end's key pair.
#[derive(Clone)]
pub struct TunnelKey {
    certified: Arc<CertifiedKey>,
    spki_sha256: [u8; 32],
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelKey").finish_non_exhaustive()
    }
}

impl TunnelKey {
    /// A fresh key: an agent makes one per boot.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_pkcs8(&Self::generate_pkcs8()).expect("ring reads the key it made")
    }

    /// A fresh key in PKCS #8, for an owner that keeps it.
    #[must_use]
    pub fn generate_pkcs8() -> Vec<u8> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the system has randomness");
        document.as_ref().to_vec()
    }

    /// Reads a stored key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let signing =
            provider::sign::any_eddsa_type(&der).map_err(|error| KeyError(error.to_string()))?;
        let spki = signing
            .public_key()
            .ok_or_else(|| KeyError("no public key".to_owned()))?;
        let spki = CertificateDer::from(spki.to_vec());
        let spki_sha256 = sha256(&spki);
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![spki], signing)),
            spki_sha256,
        })
    }

    /// The public key as a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.certified.cert[0]
    }

    /// SHA-256 of [`Self::spki_der`]: how quotes and messages name the key.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The agent's side of the inner TLS: the server.
#[derive(Debug, Clone)]
pub struct InnerTlsServer {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) own_sha256: [u8; 32],
}

impl InnerTlsServer {
    /// A server that shows `key` and demands the client's.
    #[must_use]
    pub fn new(key: &TunnelKey) -> Self {
        let provider = Arc::new(provider::default_provider());
        let verifier = Arc::new(AnyRawKey(Arc::clone(&provider)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring provides TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&key.certified),
            )));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Self {
            config: Arc::new(config),
            own_sha256: key.spki_sha256,
        }
    }
}

/// The control plane's side of the inner TLS: the client.
#[derive(Debug, Clone)]
pub struct InnerTlsClient {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) own_sha256: [u8; 32],
}

impl InnerTlsClient {
    /// A client that shows `key` and demands the server's.
    #[must_use]
    pub fn new(key: &TunnelKey) -> Self {
        let provider = Arc::new(provider::default_provider());
        let verifier = Arc::new(AnyRawKey(Arc::clone(&provider)));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring provides TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&key.certified),
            )));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Self {
            config: Arc::new(config),
            own_sha256: key.spki_sha256,
        }
    }
}

/// Accepts any raw public key whose owner signed the handshake. The key is not trusted by that:
/// its hash goes into the quote's binding, which the appraisal recomputes.
#[derive(Debug)]
struct AnyRawKey(Arc<CryptoProvider>);

impl AnyRawKey {
    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered, so its signatures cannot be asked for.
fn tls12_refused() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.3 only".to_owned()))
}

impl ServerCertVerifier for AnyRawKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_refused()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyRawKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_refused()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
