//! What the simulated TDX module reports about a TD.

/// SEPT_VE_DISABLE and nothing else: what forge-1 accepts.
pub const TD_ATTRIBUTES_DEFAULT: [u8; 8] = [0, 0, 0, 0x10, 0, 0, 0, 0];
/// x87, SSE, AVX, AVX-512, CET, AMX: what a current guest enables.
pub const XFAM_DEFAULT: [u8; 8] = [0xe7, 0x02, 0x06, 0, 0, 0, 0, 0];

/// A measurement register (SHA-384).
pub type Register = [u8; 48];

/// The TD part of a quote's body. Everything is settable: this is what an attacker on the host, or
/// another image, would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td {
    /// Measurement of the TDX module.
    pub mr_seam: Register,
    /// Signer of the TDX module; zero is Intel.
    pub mr_signer_seam: Register,
    /// Attributes of the TDX module.
    pub seam_attributes: [u8; 8],
    /// TD attributes, little endian.
    pub td_attributes: [u8; 8],
    /// Extended features that the TD may use.
    pub xfam: [u8; 8],
    /// Firmware and initial memory.
    pub mrtd: Register,
    /// Configuration id, set by the host.
    pub mr_config_id: Register,
    /// Owner, set by the host.
    pub mr_owner: Register,
    /// Owner's configuration, set by the host.
    pub mr_owner_config: Register,
    /// Run-time registers 0 to 3.
    pub rtmr: [Register; 4],
    /// Hash of bound service TDs (TD 1.5 bodies only).
    pub mr_service_td: Register,
}

impl Default for Td {
    fn default() -> Self {
        Self {
            mr_seam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: TD_ATTRIBUTES_DEFAULT,
            xfam: XFAM_DEFAULT,
            mrtd: [0; 48],
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmr: [[0; 48]; 4],
            mr_service_td: [0; 48],
        }
    }
}

impl Td {
    /// The same TD with one attribute bit flipped (0 is DEBUG, 29 MIGRATABLE, 30 PKS, 63 PERFMON).
    #[must_use]
    pub fn with_attribute_bit(mut self, bit: u32) -> Self {
        let attributes = u64::from_le_bytes(self.td_attributes) ^ (1 << bit);
        self.td_attributes = attributes.to_le_bytes();
        self
    }
}
