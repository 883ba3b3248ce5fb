//! The simulated provisioning PKI: root, PCK CA, TCB signer, and the leaf certificates of machines.
//!
//! Names follow Intel's, because the verifier tells the Platform from the Processor CA by them;
//! only the root's key, a constructor argument of the verifier, tells this PKI from Intel's.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber,
};

use crate::{
    dates::{DatedItem, Window, moment},
    keys::SimKey,
    pck::{PckIdentity, SGX_EXTENSION},
    tcb::TcbOptions,
};

const SERIAL_ROOT: u32 = 0x1000_0001;
const SERIAL_PCK_CA: u32 = 0x1000_0002;
const SERIAL_TCB_SIGNER: u32 = 0x1000_0003;
/// Leaf serials count up from here, one a machine.
const SERIAL_FIRST_LEAF: u32 = 0x2000_0000;
/// RFC 7468 breaks base64 after 64 characters.
const PEM_LINE: usize = 64;

/// Which intermediate CA issued the PCK leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PckCa {
    /// For multi-package machines: every TDX server.
    Platform,
    /// For single-package machines.
    Processor,
}

impl PckCa {
    /// The word in PCS queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    const fn common_name(self) -> &'static str {
        match self {
            Self::Platform => "Intel SGX PCK Platform CA",
            Self::Processor => "Intel SGX PCK Processor CA",
        }
    }
}

/// A certificate that a revocation list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The leaf of the machine that the platform was made with; its siblings stay good.
    PckLeaf,
    /// The intermediate CA.
    PckCa,
    /// The signer of TCB info and QE identity.
    TcbSigner,
}

/// Everything about the PKI and its collateral that a test may bend.
#[derive(Debug, Clone)]
pub struct PkiOptions {
    /// Common name of the root. Names are free: a forged root may call itself Intel's.
    pub root_name: String,
    /// The intermediate CA.
    pub ca: PckCa,
    /// What is revoked.
    pub revoked: Option<Revoked>,
    /// Windows that differ from the defaults.
    pub dates: BTreeMap<DatedItem, Window>,
    /// CRL number of both lists.
    pub crl_number: u32,
    /// Contents of TCB info and QE identity.
    pub tcb: TcbOptions,
}

impl Default for PkiOptions {
    fn default() -> Self {
        Self {
            root_name: "EasyEnclave Simulated SGX Root CA".to_owned(),
            ca: PckCa::Platform,
            revoked: None,
            dates: BTreeMap::new(),
            crl_number: 7,
            tcb: TcbOptions::default(),
        }
    }
}

/// The PKI of one seed.
pub struct SimPki {
    pub(crate) seed: u64,
    pub(crate) options: PkiOptions,
    /// Serial of the leaf that `Revoked::PckLeaf` means.
    revocable_leaf: u32,
    root: Authority,
    pck_ca: Authority,
    pub(crate) tcb_signer: SimKey,
    tcb_signer_der: Vec<u8>,
}

/// A CA: its parameters are needed again whenever it issues.
struct Authority {
    params: CertificateParams,
    key: SimKey,
    der: Vec<u8>,
}

impl SimPki {
    /// The PKI of `seed`; `machine` is the one that `Revoked::PckLeaf` revokes.
    pub fn new(seed: u64, options: PkiOptions, machine: u32) -> Self {
        let root = Authority::root(seed, &options);
        let pck_ca = Authority::pck_ca(seed, &options, &root);
        let tcb_signer = SimKey::derive(seed, "tcb signer", 0);
        let params = end_entity(&options, DatedItem::TcbSigner, "Intel SGX TCB Signing");
        let tcb_signer_der = root.issue(with_serial(params, SERIAL_TCB_SIGNER), &tcb_signer);
        let revocable_leaf = leaf_serial(machine);
        Self {
            seed,
            options,
            revocable_leaf,
            root,
            pck_ca,
            tcb_signer,
            tcb_signer_der,
        }
    }

    /// The root certificate.
    pub fn root_der(&self) -> &[u8] {
        &self.root.der
    }

    /// The chain that ends TCB info and QE identity: signer, root.
    pub fn tcb_signer_chain(&self) -> String {
        pem(&self.tcb_signer_der) + &pem(&self.root.der)
    }

    /// The chain that ends the PCK CRL: PCK CA, root.
    pub fn pck_ca_chain(&self) -> String {
        pem(&self.pck_ca.der) + &pem(&self.root.der)
    }

    /// The leaf certificate of a machine with its chain, as quotes carry it.
    pub fn pck_chain(&self, identity: &PckIdentity, machine: u32, key: &SimKey) -> String {
        let mut params = end_entity(
            &self.options,
            DatedItem::PckLeaf,
            "Intel SGX PCK Certificate",
        );
        let extension = identity.extension(self.options.ca);
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&SGX_EXTENSION, extension)];
        let leaf = self
            .pck_ca
            .issue(with_serial(params, leaf_serial(machine)), key);
        pem(&leaf) + &self.pck_ca_chain()
    }

    /// The root's revocation list at `now`.
    pub fn root_crl(&self, now: u64) -> Vec<u8> {
        let serial = match self.options.revoked {
            Some(Revoked::PckCa) => Some(SERIAL_PCK_CA),
            Some(Revoked::TcbSigner) => Some(SERIAL_TCB_SIGNER),
            Some(Revoked::PckLeaf) | None => None,
        };
        self.root.crl(
            self.window(DatedItem::RootCrl, now),
            self.options.crl_number,
            serial,
        )
    }

    /// The PCK CA's revocation list at `now`.
    pub fn pck_crl(&self, now: u64) -> Vec<u8> {
        let serial = match self.options.revoked {
            Some(Revoked::PckLeaf) => Some(self.revocable_leaf),
            Some(Revoked::PckCa | Revoked::TcbSigner) | None => None,
        };
        self.pck_ca.crl(
            self.window(DatedItem::PckCrl, now),
            self.options.crl_number,
            serial,
        )
    }

    /// The window of a collateral item served at `now`.
    pub fn window(&self, item: DatedItem, now: u64) -> Window {
        self.options
            .dates
            .get(&item)
            .copied()
            .unwrap_or(Window::collateral_at(now))
    }
}

impl Authority {
    fn root(seed: u64, options: &PkiOptions) -> Self {
        let key = SimKey::derive(seed, "root", 0);
        let params = authority(options, DatedItem::RootCa, &options.root_name, 1);
        let params = with_serial(params, SERIAL_ROOT);
        let certificate = params
            .self_signed(&key)
            .expect("the root's parameters are complete");
        Self {
            der: certificate.der().to_vec(),
            params,
            key,
        }
    }

    fn pck_ca(seed: u64, options: &PkiOptions, root: &Self) -> Self {
        let key = SimKey::derive(seed, options.ca.as_str(), 0);
        let params = authority(options, DatedItem::PckCa, options.ca.common_name(), 0);
        let params = with_serial(params, SERIAL_PCK_CA);
        Self {
            der: root.issue(params.clone(), &key),
            params,
            key,
        }
    }

    fn issue(&self, params: CertificateParams, subject: &SimKey) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params
            .signed_by(subject, &issuer)
            .expect("the parameters are complete");
        certificate.der().to_vec()
    }

    fn crl(&self, window: Window, number: u32, revoked_serial: Option<u32>) -> Vec<u8> {
        let list = CertificateRevocationListParams {
            this_update: moment(window.from),
            next_update: moment(window.until),
            crl_number: serial(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_serial
                .map(|serial| revoked(serial, window))
                .into_iter()
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer)
            .expect("the list's parameters are complete")
            .der()
            .to_vec()
    }
}

/// A certificate as PEM with a final newline.
pub fn pem(der: &[u8]) -> String {
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let text = STANDARD.encode(der);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_LINE));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out + "-----END CERTIFICATE-----\n"
}

fn authority(
    options: &PkiOptions,
    item: DatedItem,
    common_name: &str,
    path_length: u8,
) -> CertificateParams {
    let mut params = named(options, item, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn end_entity(options: &PkiOptions, item: DatedItem, common_name: &str) -> CertificateParams {
    let mut params = named(options, item, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn named(options: &PkiOptions, item: DatedItem, common_name: &str) -> CertificateParams {
    let window = options
        .dates
        .get(&item)
        .copied()
        .unwrap_or(Window::CERTIFICATE);
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "EasyEnclave simulation");
    let mut params = CertificateParams::default();
    params.not_before = moment(window.from);
    params.not_after = moment(window.until);
    params.distinguished_name = name;
    params.use_authority_key_identifier_extension = true;
    params
}

fn with_serial(mut params: CertificateParams, number: u32) -> CertificateParams {
    params.serial_number = Some(serial(number));
    params
}

fn serial(number: u32) -> SerialNumber {
    SerialNumber::from_slice(&number.to_be_bytes())
}

fn leaf_serial(machine: u32) -> u32 {
    SERIAL_FIRST_LEAF + machine
}

fn revoked(serial_number: u32, window: Window) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: serial(serial_number),
        revocation_time: moment(window.from),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    }
}
