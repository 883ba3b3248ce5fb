//! A simulated TDX machine: options, PCK key and certificate, quoting enclave, quotes.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    collateral::Collateral,
    dates::{DatedItem, Window},
    keys::{SimKey, seeded_bytes},
    pck::PckIdentity,
    pki::{PckCa, PkiOptions, Revoked, SimPki},
    quote::{QeShape, QuoteVersion, TeeTcb, certification, push_auth, qe_report, signed_part},
    tcb::{
        FMSPC_DEFAULT, MODULE_SVN_CURRENT, MODULE_SVN_OLD, MODULE_SVN_REVOKED, MODULE_VERSION,
        PCE_SVN, QE_SVN_CURRENT, QE_SVN_OLD, QE_SVN_REVOKED, SimStatus, TDX_SVN_CURRENT,
    },
    td::Td,
};

/// The seed of `easyenclave dev` unless `--seed` says otherwise.
pub const DEFAULT_SEED: u64 = 20_240_115;
/// What rollback takes away from evaluation numbers.
const ROLLBACK_EVALUATIONS: u32 = 3;
/// How much earlier rolled-back collateral was issued: it is still valid.
const ROLLBACK_S: u64 = 10 * 86_400;

/// Something wrong with a machine, beyond its TCB status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Security versions below every level of TCB info.
    UnknownTcbLevel,
    /// The TDX module is not signed by Intel.
    ModuleSigner,
    /// The TDX module has attributes set.
    ModuleAttributes,
    /// TCB info knows no module of this version.
    ModuleVersionUnknown,
    /// The module's version is below every level.
    ModuleTooOld,
    /// The module is out of date.
    ModuleOutOfDate,
    /// The module is revoked.
    ModuleRevoked,
    /// The quoting enclave has another signer.
    QeSigner,
    /// The quoting enclave is another product.
    QeProduct,
    /// The quoting enclave's version is below every level.
    QeTooOld,
    /// The quoting enclave is out of date.
    QeOutOfDate,
    /// The quoting enclave is revoked.
    QeRevoked,
    /// The quoting enclave runs in debug mode.
    QeDebug,
    /// The QE report vouches for another attestation key.
    QeReportData,
    /// The QE report is not signed by the PCK key.
    QeReportSignature,
    /// The quote is not signed by the attestation key.
    IsvSignature,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Tells machines of one platform apart.
    pub number: u32,
    /// Standing of its TCB.
    pub status: SimStatus,
    /// FMSPC in its PCK certificate.
    pub fmspc: [u8; 6],
    /// What is wrong with it.
    pub flaws: BTreeSet<Flaw>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            number: 0,
            status: SimStatus::UpToDate,
            fmspc: FMSPC_DEFAULT,
            flaws: BTreeSet::new(),
        }
    }
}

/// A machine and the PKI that it belongs to.
#[derive(Debug, Clone, Default)]
pub struct SimOptions {
    /// The machine.
    pub machine: Machine,
    /// Its PKI and collateral.
    pub pki: PkiOptions,
}

impl SimOptions {
    /// Sets the machine's TCB status.
    #[must_use]
    pub fn with_status(mut self, status: SimStatus) -> Self {
        self.machine.status = status;
        self
    }

    /// Adds a flaw to the machine.
    #[must_use]
    pub fn with_flaw(mut self, flaw: Flaw) -> Self {
        self.machine.flaws.insert(flaw);
        self
    }

    /// Revokes a certificate.
    #[must_use]
    pub fn revoke(mut self, revoked: Revoked) -> Self {
        self.pki.revoked = Some(revoked);
        self
    }

    /// Sets the window of one item.
    #[must_use]
    pub fn with_dates(mut self, item: DatedItem, window: Window) -> Self {
        self.pki.dates.insert(item, window);
        self
    }

    /// Lets one item end before `now`.
    #[must_use]
    pub fn expired(self, item: DatedItem, now: u64) -> Self {
        self.with_dates(item, Window::past(now))
    }

    /// Lets one item begin after `now`.
    #[must_use]
    pub fn not_yet_valid(self, item: DatedItem, now: u64) -> Self {
        self.with_dates(item, Window::future(now))
    }
}

/// A simulated TDX platform: quotes and the collateral that judges them. Cheap to clone.
#[derive(Clone)]
pub struct SimPlatform {
    inner: Arc<Inner>,
}

struct Inner {
    pki: Arc<SimPki>,
    machine: Machine,
    tcb: TeeTcb,
    qe: QeShape,
    attestation_key: SimKey,
    /// Certification data is the same in every quote of a machine.
    certification: Vec<u8>,
}

impl SimPlatform {
    /// The platform of `seed`: equal seeds and options give equal keys and certificates.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        let pki = SimPki::new(seed, options.pki, options.machine.number);
        Self::in_pki(Arc::new(pki), options.machine)
    }

    /// Another good machine under the same root and collateral.
    pub fn sibling(&self, number: u32) -> Self {
        self.sibling_with(number, |_| ())
    }

    /// Another machine, changed by `change`.
    pub fn sibling_with(&self, number: u32, change: impl FnOnce(&mut Machine)) -> Self {
        let fmspc = self.inner.machine.fmspc;
        let mut machine = Machine {
            number,
            fmspc,
            ..Machine::default()
        };
        change(&mut machine);
        Self::in_pki(Arc::clone(&self.inner.pki), machine)
    }

    /// The root certificate: the verifier's constructor argument.
    pub fn root_der(&self) -> &[u8] {
        self.inner.pki.root_der()
    }

    /// The root's common name.
    pub fn root_name(&self) -> &str {
        &self.inner.pki.options.root_name
    }

    /// FMSPC of the machine's PCK certificate.
    pub fn fmspc(&self) -> [u8; 6] {
        self.inner.machine.fmspc
    }

    /// FMSPC that TCB info is about: the machine's, unless a test says otherwise.
    pub fn collateral_fmspc(&self) -> [u8; 6] {
        self.inner.pki.options.tcb.fmspc
    }

    /// The CA that issued the PCK certificate.
    pub fn ca(&self) -> PckCa {
        self.inner.pki.options.ca
    }

    /// A quote over `td` and `report_data`.
    pub fn quote(&self, td: &Td, version: QuoteVersion, report_data: &[u8; 64]) -> Vec<u8> {
        let Inner {
            machine,
            tcb,
            qe,
            attestation_key,
            certification,
            ..
        } = &*self.inner;
        let spoilt;
        let td = match spoil(td, &machine.flaws) {
            Some(changed) => {
                spoilt = changed;
                &spoilt
            }
            None => td,
        };
        let mut quote = signed_part(td, version, tcb, qe.svn, report_data);
        let mut signature = attestation_key.sign_raw(&quote);
        if machine.flaws.contains(&Flaw::IsvSignature) {
            signature[0] ^= 1;
        }
        push_auth(&mut quote, signature, attestation_key, certification);
        quote
    }

    /// The collateral that the PCS serves at `now`.
    pub fn collateral(&self, now: u64) -> Collateral {
        Collateral::issue(&self.inner.pki, now)
    }

    /// Older collateral that is still within its dates: lower numbers, earlier issue.
    pub fn rolled_back_collateral(&self, now: u64) -> Collateral {
        let pki = &self.inner.pki;
        let mut options = pki.options.clone();
        options.crl_number = options.crl_number.saturating_sub(1);
        let tcb = &mut options.tcb;
        tcb.tcb_evaluation = tcb.tcb_evaluation.saturating_sub(ROLLBACK_EVALUATIONS);
        tcb.qe_evaluation = tcb.qe_evaluation.saturating_sub(ROLLBACK_EVALUATIONS);
        for item in DatedItem::ALL
            .into_iter()
            .filter(|item| !item.is_certificate())
        {
            options
                .dates
                .insert(item, pki.window(item, now).earlier_by(ROLLBACK_S));
        }
        Collateral::issue(
            &SimPki::new(pki.seed, options, self.inner.machine.number),
            now,
        )
    }

    fn in_pki(pki: Arc<SimPki>, machine: Machine) -> Self {
        let qe = qe_shape(&machine.flaws);
        let attestation_key = SimKey::derive(pki.seed, "attestation key", machine.number);
        let certification = certify(&pki, &machine, &qe, &attestation_key);
        let tcb = tee_tcb(&machine);
        Self {
            inner: Arc::new(Inner {
                pki,
                machine,
                tcb,
                qe,
                attestation_key,
                certification,
            }),
        }
    }
}

fn certify(pki: &SimPki, machine: &Machine, qe: &QeShape, attestation_key: &SimKey) -> Vec<u8> {
    let pck_key = SimKey::derive(pki.seed, "pck", machine.number);
    let authentication = seeded_bytes(pki.seed, "qe authentication data", machine.number);
    let mut report = qe_report(qe, attestation_key, &authentication);
    if machine.flaws.contains(&Flaw::QeReportData) {
        report[320] ^= 1;
    }
    let mut signature = pck_key.sign_raw(&report);
    if machine.flaws.contains(&Flaw::QeReportSignature) {
        signature[0] ^= 1;
    }
    let chain = pki.pck_chain(&identity(pki.seed, machine), machine.number, &pck_key);
    certification(&report, signature, &authentication, &chain)
}

fn identity(seed: u64, machine: &Machine) -> PckIdentity {
    let ids = seeded_bytes(seed, "platform ids", machine.number);
    let (ppid, instance) = ids.split_at(16);
    let mut cpu_svn = [0; 16];
    if !machine.flaws.contains(&Flaw::UnknownTcbLevel) {
        cpu_svn[0] = machine.status.cpu_component();
    }
    PckIdentity {
        ppid: ppid.try_into().expect("half of 32 bytes"),
        platform_instance_id: instance.try_into().expect("half of 32 bytes"),
        fmspc: machine.fmspc,
        cpu_svn,
        pce_svn: PCE_SVN,
    }
}

fn tee_tcb(machine: &Machine) -> TeeTcb {
    let flawed = |flaw| machine.flaws.contains(&flaw);
    let mut current = [0; 16];
    current[0] = match () {
        () if flawed(Flaw::ModuleTooOld) => MODULE_SVN_REVOKED - 1,
        () if flawed(Flaw::ModuleRevoked) => MODULE_SVN_REVOKED,
        () if flawed(Flaw::ModuleOutOfDate) => MODULE_SVN_OLD,
        () => MODULE_SVN_CURRENT,
    };
    current[1] = MODULE_VERSION
        + if flawed(Flaw::ModuleVersionUnknown) {
            8
        } else {
            0
        };
    current[2] = TDX_SVN_CURRENT;
    let mut launch = current;
    launch[2] = machine.status.launch_component();
    TeeTcb { launch, current }
}

fn qe_shape(flaws: &BTreeSet<Flaw>) -> QeShape {
    let mut shape = QeShape::genuine(QE_SVN_CURRENT);
    for flaw in flaws {
        match flaw {
            Flaw::QeSigner => shape.signer[0] ^= 1,
            Flaw::QeProduct => shape.product += 1,
            Flaw::QeTooOld => shape.svn = QE_SVN_REVOKED - 1,
            Flaw::QeOutOfDate => shape.svn = QE_SVN_OLD,
            Flaw::QeRevoked => shape.svn = QE_SVN_REVOKED,
            Flaw::QeDebug => shape.debug = true,
            Flaw::UnknownTcbLevel
            | Flaw::ModuleSigner
            | Flaw::ModuleAttributes
            | Flaw::ModuleVersionUnknown
            | Flaw::ModuleTooOld
            | Flaw::ModuleOutOfDate
            | Flaw::ModuleRevoked
            | Flaw::QeReportData
            | Flaw::QeReportSignature
            | Flaw::IsvSignature => {}
        }
    }
    shape
}

/// The TD as a machine with a flawed module reports it.
fn spoil(td: &Td, flaws: &BTreeSet<Flaw>) -> Option<Td> {
    let signer = flaws.contains(&Flaw::ModuleSigner);
    let attributes = flaws.contains(&Flaw::ModuleAttributes);
    if !signer && !attributes {
        return None;
    }
    let mut td = td.clone();
    td.mr_signer_seam[0] ^= u8::from(signer);
    td.seam_attributes[0] ^= u8::from(attributes);
    Some(td)
}
