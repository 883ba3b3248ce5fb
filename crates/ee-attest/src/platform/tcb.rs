//! Which TCB level a platform meets, computed a second time beside dcap-qvl.
//!
//! dcap-qvl's cheap answer names the status but not the level's date, and its errors are text.
//! Matching again with its public `shortfalls` gives dates, causes and advice; the two results
//! are compared, and a difference counts as unverified.

use dcap_qvl::{
    QeTcbLevel, SvnComponent, SvnShortfall, TcbInfo, TcbLevel, TcbStatus as Level,
    tcb_info::{TdxModuleIdentity, TdxModuleTcbLevel},
};
use ee_protocol::{report_data::sha256, time::Timestamp};

use crate::{collateral::CollateralBundle, pck::PckLeaf, registers::Registers};

/// What the platform is measured against and what it has.
pub(super) struct Platform<'a> {
    pub(super) bundle: &'a CollateralBundle,
    pub(super) pck: &'a PckLeaf,
    pub(super) registers: &'a Registers,
    /// ISVSVN of the quoting enclave, from its report.
    pub(super) qe_isv_svn: u16,
}

/// Why no level applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLevel {
    /// The platform's versions are below every level.
    Platform,
    /// The TDX module is unknown, unsigned or below every level.
    Module,
    /// The quoting enclave is below every level.
    QuotingEnclave,
    /// Some level that applies is revoked.
    Revoked,
}

/// The matched level, and the module's if it has one.
#[derive(Clone, Copy)]
pub(super) struct Matched<'a> {
    platform: &'a TcbLevel,
    module: Option<&'a TdxModuleTcbLevel>,
    qe: &'a QeTcbLevel,
}

impl<'a> Platform<'a> {
    fn info(&self) -> &'a TcbInfo {
        self.bundle.tcb_info()
    }

    /// The level met at launch; of a TD 1.5 the current versions must meet one as well.
    pub(super) fn matched(&self) -> Result<Matched<'a>, NoLevel> {
        let launch = self.levels(&self.registers.tee_tcb_svn)?;
        self.check_module()?;
        let current = self
            .registers
            .tee_tcb_svn2
            .as_ref()
            .map(|svn| self.levels(svn))
            .transpose()?;
        let qe = self.qe_level().ok_or(NoLevel::QuotingEnclave)?;
        let revoked = |(platform, module): &(&TcbLevel, Option<&TdxModuleTcbLevel>)| {
            platform.tcb_status == Level::Revoked
                || module.is_some_and(|level| level.tcb_status == Level::Revoked)
        };
        if revoked(&launch)
            || current.as_ref().is_some_and(revoked)
            || qe.tcb_status == Level::Revoked
        {
            return Err(NoLevel::Revoked);
        }
        Ok(Matched {
            platform: launch.0,
            module: launch.1,
            qe,
        })
    }

    fn levels(
        &self,
        svn: &[u8; 16],
    ) -> Result<(&'a TcbLevel, Option<&'a TdxModuleTcbLevel>), NoLevel> {
        let platform = self.info().tcb_levels.iter().find(|level| {
            self.shortfalls(level, svn)
                .is_some_and(|shortfalls| shortfalls.is_empty())
        });
        let platform = platform.ok_or(NoLevel::Platform)?;
        let Some(module) = self.module(svn)? else {
            return Ok((platform, None));
        };
        let module = module
            .tcb_levels
            .iter()
            .find(|level| level.shortfall(svn).is_none());
        Ok((platform, Some(module.ok_or(NoLevel::Module)?)))
    }

    fn shortfalls(&self, level: &TcbLevel, svn: &[u8; 16]) -> Option<Vec<SvnShortfall>> {
        level
            .shortfalls(&self.pck.cpu_svn, self.pck.pce_svn, Some(svn))
            .ok()
    }

    fn module(&self, svn: &[u8; 16]) -> Result<Option<&'a TdxModuleIdentity>, NoLevel> {
        self.info()
            .tdx_module_identity(svn)
            .map_err(|_| NoLevel::Module)
    }

    /// Signer and attributes of the TDX module.
    fn check_module(&self) -> Result<(), NoLevel> {
        let base = self.info().tdx_module.as_ref().ok_or(NoLevel::Module)?;
        let (signer, attributes, mask) = match self.module(&self.registers.tee_tcb_svn)? {
            Some(module) => (
                &module.mrsigner,
                &module.attributes,
                &module.attributes_mask,
            ),
            None => (&base.mrsigner, &base.attributes, &base.attributes_mask),
        };
        let signed = hex::decode(signer).is_ok_and(|it| it == self.registers.mr_signer_seam);
        let (attributes, mask) = (bits(attributes), bits(mask));
        let actual = Some(u64::from_be_bytes(self.registers.seam_attributes));
        let allowed = attributes
            .zip(mask)
            .map(|(attributes, mask)| attributes & mask);
        if signed && actual == allowed {
            Ok(())
        } else {
            Err(NoLevel::Module)
        }
    }

    fn qe_level(&self) -> Option<&'a QeTcbLevel> {
        let levels = &self.bundle.qe_identity().tcb_levels;
        levels
            .iter()
            .find(|level| self.qe_isv_svn >= level.tcb.isvsvn)
    }

    /// What would bring the platform up to date: the level with fewest shortfalls among those
    /// that Intel calls up to date, among all if there is none.
    pub(super) fn advice(&self) -> String {
        let levels = &self.info().tcb_levels;
        let up_to_date = levels
            .iter()
            .filter(|level| level.tcb_status == Level::UpToDate);
        let svn = &self.registers.tee_tcb_svn;
        let nearest =
            |level: &&TcbLevel| self.shortfalls(level, svn).map_or(usize::MAX, |s| s.len());
        let level = up_to_date
            .min_by_key(nearest)
            .or_else(|| levels.iter().min_by_key(nearest));
        let mut shortfalls = level
            .and_then(|level| self.shortfalls(level, svn))
            .unwrap_or_default();
        if let Ok(Some(module)) = self.module(svn) {
            shortfalls.extend(
                module
                    .tcb_levels
                    .first()
                    .and_then(|best| best.shortfall(svn)),
            );
        }
        let mut advice: Vec<String> = shortfalls.iter().map(describe).collect();
        let best_qe = self.bundle.qe_identity().tcb_levels.first();
        if let Some(best) = best_qe.filter(|best| self.qe_isv_svn < best.tcb.isvsvn) {
            advice.push(format!(
                "quoting enclave ISVSVN has {}, needs {}: host owner updates the DCAP packages",
                self.qe_isv_svn, best.tcb.isvsvn
            ));
        }
        advice.join("; ")
    }
}

impl Matched<'_> {
    /// The status that dcap-qvl must have found for the platform before the QE's is merged in.
    pub(super) fn platform_status(&self) -> Level {
        match (
            self.module.map(|level| level.tcb_status),
            self.platform.tcb_status,
        ) {
            (Some(Level::OutOfDate), Level::UpToDate | Level::SWHardeningNeeded) => {
                Level::OutOfDate
            }
            (
                Some(Level::OutOfDate),
                Level::ConfigurationNeeded | Level::ConfigurationAndSWHardeningNeeded,
            ) => Level::OutOfDateConfigurationNeeded,
            (_, status) => status,
        }
    }

    /// The oldest date of platform and module level, as Intel's library dates them.
    pub(super) fn date(&self) -> Option<Timestamp> {
        let platform = Timestamp::parse_rfc3339(&self.platform.tcb_date)?;
        match self.module {
            None => Some(platform),
            Some(module) => Some(platform.min(Timestamp::parse_rfc3339(&module.tcb_date)?)),
        }
    }

    /// A stable name of the level within a platform family: its versions, not its dates, since
    /// Intel re-issues levels with every evaluation.
    pub(super) fn id(&self, fmspc: [u8; 6]) -> String {
        let tcb = &self.platform.tcb;
        let mut text: Vec<u8> = fmspc.to_vec();
        text.extend(
            tcb.sgx_components
                .iter()
                .chain(&tcb.tdx_components)
                .map(|part| part.svn),
        );
        text.extend(tcb.pce_svn.to_be_bytes());
        text.extend(self.module.map(|level| level.tcb.isvsvn));
        text.extend(self.qe.tcb.isvsvn.to_be_bytes());
        let digest = sha256(&text);
        format!("{}-{}", hex::encode(fmspc), hex::encode(&digest[..8]))
    }
}

/// Sixteen hexadecimal digits as a number.
fn bits(text: &str) -> Option<u64> {
    (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

fn describe(shortfall: &SvnShortfall) -> String {
    let SvnShortfall {
        component,
        have,
        needs,
    } = shortfall;
    let (name, remedy) = match component {
        SvnComponent::Sgx(index) => (format!("SGX component {index}"), "BIOS"),
        SvnComponent::Tdx(index) => (
            format!("TDX component {index}"),
            "host owner updates the TDX module or its loader",
        ),
        SvnComponent::PceSvn => ("PCE SVN".to_owned(), "host owner updates the SGX packages"),
        SvnComponent::TdxModuleIsvSvn => (
            "TDX module ISVSVN".to_owned(),
            "host owner updates the TDX module",
        ),
    };
    format!("{name} has {have}, needs {needs}: {remedy}")
}
