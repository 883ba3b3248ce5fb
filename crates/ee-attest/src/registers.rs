//! What a TD report measures, and the names by which allowlists pin it.

use ee_protocol::report_data::ReportData;

use crate::attributes::TdAttributes;

/// A measurement register.
pub type Register = [u8; 48];

/// What a TD report says about the TD and the module that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// Security versions of the TDX module and its loaders, at launch.
    pub tee_tcb_svn: [u8; 16],
    /// The TDX module.
    pub mr_seam: Register,
    /// The signer of the TDX module; zero for Intel's.
    pub mr_signer_seam: Register,
    /// Attributes of the TDX module.
    pub seam_attributes: [u8; 8],
    /// Attributes of the TD.
    pub td_attributes: TdAttributes,
    /// Processor features that the TD may use.
    pub xfam: [u8; 8],
    /// The TD's initial content: firmware.
    pub mrtd: Register,
    /// Configuration that the host passed in.
    pub mr_config_id: Register,
    /// Owner that the host passed in.
    pub mr_owner: Register,
    /// The owner's configuration that the host passed in.
    pub mr_owner_config: Register,
    /// Runtime registers: VM shape, kernel, command line, application.
    pub rtmr: [Register; 4],
    /// What the TD had signed.
    pub report_data: ReportData,
    /// Current security versions; TD 1.5 bodies only.
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// Service TDs bound to the TD; TD 1.5 bodies only.
    pub mr_service_td: Option<Register>,
}

/// A part of the TD report that an allowlist may pin, in the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the names are Intel's own (TDX module ABI, TDREPORT)"
)]
pub enum RegisterName {
    Mrtd,
    Rtmr0,
    Rtmr1,
    Rtmr2,
    Rtmr3,
    MrConfigId,
    MrOwner,
    MrOwnerConfig,
    TdAttributes,
    Xfam,
}

impl RegisterName {
    /// Every name.
    pub const ALL: [Self; 10] = [
        Self::Mrtd,
        Self::Rtmr0,
        Self::Rtmr1,
        Self::Rtmr2,
        Self::Rtmr3,
        Self::MrConfigId,
        Self::MrOwner,
        Self::MrOwnerConfig,
        Self::TdAttributes,
        Self::Xfam,
    ];

    /// The key in `measurements` and the subject of `measurement_mismatch`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
            Self::MrConfigId => "mr_config_id",
            Self::MrOwner => "mr_owner",
            Self::MrOwnerConfig => "mr_owner_config",
            Self::TdAttributes => "td_attributes",
            Self::Xfam => "xfam",
        }
    }

    /// What the register measures, for a person.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Mrtd => "firmware",
            Self::Rtmr0 => "VM shape and ACPI tables",
            Self::Rtmr1 => "kernel",
            Self::Rtmr2 => "kernel command line and initrd",
            Self::Rtmr3 => "application",
            Self::MrConfigId => "configuration passed in by the host",
            Self::MrOwner => "owner passed in by the host",
            Self::MrOwnerConfig => "owner's configuration passed in by the host",
            Self::TdAttributes => "attributes of the TD",
            Self::Xfam => "processor features of the TD",
        }
    }

    /// The value in a TD report.
    pub fn value(self, registers: &Registers) -> Vec<u8> {
        match self {
            Self::Mrtd => registers.mrtd.to_vec(),
            Self::Rtmr0 => registers.rtmr[0].to_vec(),
            Self::Rtmr1 => registers.rtmr[1].to_vec(),
            Self::Rtmr2 => registers.rtmr[2].to_vec(),
            Self::Rtmr3 => registers.rtmr[3].to_vec(),
            Self::MrConfigId => registers.mr_config_id.to_vec(),
            Self::MrOwner => registers.mr_owner.to_vec(),
            Self::MrOwnerConfig => registers.mr_owner_config.to_vec(),
            Self::TdAttributes => registers.td_attributes.to_bytes().to_vec(),
            Self::Xfam => registers.xfam.to_vec(),
        }
    }

    pub(crate) const fn value_bytes(self) -> usize {
        match self {
            Self::TdAttributes | Self::Xfam => 8,
            Self::Mrtd
            | Self::Rtmr0
            | Self::Rtmr1
            | Self::Rtmr2
            | Self::Rtmr3
            | Self::MrConfigId
            | Self::MrOwner
            | Self::MrOwnerConfig => 48,
        }
    }
}
