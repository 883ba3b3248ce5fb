//! TCB info v3 and QE identity v2 of the simulated platform.
//!
//! One TCB info holds a level for every status, so that machines of one FMSPC differ only by their
//! security versions, as real ones do: the first CPUSVN component selects the level, the third TDX
//! component tells a TD that was launched before a module update.

use serde_json::{Value, json};

use crate::dates::{Window, rfc3339};

/// FMSPC of the simulated platform, a value that Intel has not given to any machine.
pub const FMSPC_DEFAULT: [u8; 6] = [0x50, 0x80, 0x6f, 0, 0, 0xee];
/// Security version of the provisioning certification enclave.
pub const PCE_SVN: u16 = 11;
/// TDX module version (`TEE_TCB_SVN[1]`), named `TDX_01` in TCB info.
pub const MODULE_VERSION: u8 = 1;
/// TDX module ISVSVNs (`TEE_TCB_SVN[0]`) by standing.
pub const MODULE_SVN_CURRENT: u8 = 6;
/// Out of date.
pub const MODULE_SVN_OLD: u8 = 4;
/// Revoked.
pub const MODULE_SVN_REVOKED: u8 = 2;
/// TDX microcode (`TEE_TCB_SVN[2]`) after and before the update.
pub const TDX_SVN_CURRENT: u8 = 8;
/// Before the update.
pub const TDX_SVN_OLD: u8 = 5;
/// Quoting enclave ISVSVN: current.
pub const QE_SVN_CURRENT: u16 = 4;
/// Out of date.
pub const QE_SVN_OLD: u16 = 3;
/// Revoked.
pub const QE_SVN_REVOKED: u16 = 2;
/// Product id of the TD quoting enclave.
pub const QE_PRODUCT: u16 = 2;
/// MRSIGNER of the simulated quoting enclave.
pub const QE_SIGNER: [u8; 32] = [0xdc; 32];

/// The nine statuses, in the order of Intel's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimStatus {
    /// Nothing to do.
    UpToDate,
    /// Software must harden itself.
    SwHardeningNeeded,
    /// Firmware configuration is needed.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSwHardeningNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates and configuration are missing.
    OutOfDateConfigurationNeeded,
    /// Keys are compromised.
    Revoked,
    /// The machine was updated while the TD ran (TD 1.5 bodies only).
    TdRelaunchAdvised,
    /// The same, and configuration is needed.
    TdRelaunchAdvisedConfigurationNeeded,
}

impl SimStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
    ];

    /// As Intel writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }

    /// The first CPUSVN component of a machine with this status.
    pub const fn cpu_component(self) -> u8 {
        match self {
            Self::UpToDate | Self::TdRelaunchAdvised => 9,
            Self::SwHardeningNeeded => 8,
            Self::ConfigurationNeeded | Self::TdRelaunchAdvisedConfigurationNeeded => 7,
            Self::ConfigurationAndSwHardeningNeeded => 6,
            Self::OutOfDate => 5,
            Self::OutOfDateConfigurationNeeded => 4,
            Self::Revoked => 3,
        }
    }

    /// TDX microcode when the TD was launched.
    pub const fn launch_component(self) -> u8 {
        match self {
            Self::TdRelaunchAdvised | Self::TdRelaunchAdvisedConfigurationNeeded => TDX_SVN_OLD,
            Self::UpToDate
            | Self::SwHardeningNeeded
            | Self::ConfigurationNeeded
            | Self::ConfigurationAndSwHardeningNeeded
            | Self::OutOfDate
            | Self::OutOfDateConfigurationNeeded
            | Self::Revoked => TDX_SVN_CURRENT,
        }
    }
}

/// Contents of TCB info and QE identity that a test may bend.
#[derive(Debug, Clone)]
pub struct TcbOptions {
    /// The FMSPC that TCB info is about.
    pub fmspc: [u8; 6],
    /// Advisories of the UpToDate level.
    pub advisories: Vec<String>,
    /// Evaluation number of TCB info.
    pub tcb_evaluation: u32,
    /// Evaluation number of QE identity; Intel's two differ at times.
    pub qe_evaluation: u32,
    /// `tcbDate` of levels that are not out of date.
    pub tcb_date: String,
    /// `tcbDate` of levels that are.
    pub out_of_date_tcb_date: String,
}

impl Default for TcbOptions {
    fn default() -> Self {
        Self {
            fmspc: FMSPC_DEFAULT,
            advisories: Vec::new(),
            tcb_evaluation: 20,
            qe_evaluation: 19,
            tcb_date: "2026-02-11T00:00:00Z".to_owned(),
            out_of_date_tcb_date: "2025-05-14T00:00:00Z".to_owned(),
        }
    }
}

impl TcbOptions {
    /// The signed text of TCB info.
    pub fn tcb_info(&self, window: Window) -> String {
        json!({
            "id": "TDX",
            "version": 3,
            "issueDate": rfc3339(window.from),
            "nextUpdate": rfc3339(window.until),
            "fmspc": hex::encode_upper(self.fmspc),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": self.tcb_evaluation,
            "tdxModule": {
                "mrsigner": "00".repeat(48),
                "attributes": "00".repeat(8),
                "attributesMask": "FF".repeat(8),
            },
            "tdxModuleIdentities": [{
                "id": format!("TDX_{MODULE_VERSION:02X}"),
                "mrsigner": "00".repeat(48),
                "attributes": "00".repeat(8),
                "attributesMask": "FF".repeat(8),
                "tcbLevels": self.svn_levels(&[
                    (u16::from(MODULE_SVN_CURRENT), SimStatus::UpToDate),
                    (u16::from(MODULE_SVN_OLD), SimStatus::OutOfDate),
                    (u16::from(MODULE_SVN_REVOKED), SimStatus::Revoked),
                ]),
            }],
            "tcbLevels": self.levels(),
        })
        .to_string()
    }

    /// The signed text of QE identity.
    pub fn qe_identity(&self, window: Window) -> String {
        json!({
            "id": "TD_QE",
            "version": 2,
            "issueDate": rfc3339(window.from),
            "nextUpdate": rfc3339(window.until),
            "tcbEvaluationDataNumber": self.qe_evaluation,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": hex::encode_upper(QE_SIGNER),
            "isvprodid": QE_PRODUCT,
            "tcbLevels": self.svn_levels(&[
                (QE_SVN_CURRENT, SimStatus::UpToDate),
                (QE_SVN_OLD, SimStatus::OutOfDate),
                (QE_SVN_REVOKED, SimStatus::Revoked),
            ]),
        })
        .to_string()
    }

    fn svn_levels(&self, levels: &[(u16, SimStatus)]) -> Vec<Value> {
        let level = |&(svn, status)| self.level(json!({ "isvsvn": svn }), status);
        levels.iter().map(level).collect()
    }

    /// Highest first, as Intel sorts them.
    fn levels(&self) -> Vec<Value> {
        [
            (9, TDX_SVN_CURRENT, SimStatus::UpToDate),
            (9, TDX_SVN_OLD, SimStatus::OutOfDate),
            (8, TDX_SVN_CURRENT, SimStatus::SwHardeningNeeded),
            (7, TDX_SVN_CURRENT, SimStatus::ConfigurationNeeded),
            (7, TDX_SVN_OLD, SimStatus::OutOfDateConfigurationNeeded),
            (
                6,
                TDX_SVN_CURRENT,
                SimStatus::ConfigurationAndSwHardeningNeeded,
            ),
            (5, TDX_SVN_CURRENT, SimStatus::OutOfDate),
            (4, TDX_SVN_CURRENT, SimStatus::OutOfDateConfigurationNeeded),
            (3, TDX_SVN_CURRENT, SimStatus::Revoked),
        ]
        .map(|(cpu, tdx, status)| self.level(platform_tcb(cpu, tdx), status))
        .into()
    }

    fn level(&self, tcb: Value, status: SimStatus) -> Value {
        let old = matches!(
            status,
            SimStatus::OutOfDate | SimStatus::OutOfDateConfigurationNeeded | SimStatus::Revoked
        );
        let date = if old {
            &self.out_of_date_tcb_date
        } else {
            &self.tcb_date
        };
        let mut level = json!({ "tcb": tcb, "tcbDate": date, "tcbStatus": status.as_str() });
        let advisories = self.advisories_of(status);
        if !advisories.is_empty() {
            level["advisoryIDs"] = json!(advisories);
        }
        level
    }

    fn advisories_of(&self, status: SimStatus) -> Vec<String> {
        match status {
            SimStatus::UpToDate => self.advisories.clone(),
            SimStatus::SwHardeningNeeded
            | SimStatus::ConfigurationNeeded
            | SimStatus::ConfigurationAndSwHardeningNeeded => vec!["INTEL-SA-90001".to_owned()],
            SimStatus::OutOfDate
            | SimStatus::OutOfDateConfigurationNeeded
            | SimStatus::Revoked
            | SimStatus::TdRelaunchAdvised
            | SimStatus::TdRelaunchAdvisedConfigurationNeeded => {
                vec!["INTEL-SA-90001".to_owned(), "INTEL-SA-90002".to_owned()]
            }
        }
    }
}

fn platform_tcb(cpu_component: u8, tdx_component: u8) -> Value {
    let mut sgx = vec![json!({ "svn": 0 }); 16];
    sgx[0] = json!({ "svn": cpu_component, "category": "BIOS", "type": "Early Microcode Update" });
    let mut tdx = vec![json!({ "svn": 0 }); 16];
    tdx[0] = json!({ "svn": 5, "category": "OS/VMM", "type": "TDX Module" });
    tdx[1] = json!({ "svn": 0, "category": "OS/VMM", "type": "TDX Module" });
    tdx[2] =
        json!({ "svn": tdx_component, "category": "OS/VMM", "type": "TDX Late Microcode Update" });
    json!({ "sgxtcbcomponents": sgx, "pcesvn": PCE_SVN, "tdxtcbcomponents": tdx })
}
