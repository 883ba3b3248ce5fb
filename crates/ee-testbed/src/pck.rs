//! The SGX extension of a PCK certificate, 1.2.840.113741.1.13.1 (Intel SGX PCK certificate and CRL
//! profile specification).

use crate::{
    der::{boolean, enumerated, integer, object_identifier, octet_string, sequence},
    pki::PckCa,
};

/// The extension's identifier as rcgen takes it.
pub const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
/// The same in DER arcs; every item appends one or two arcs below 128.
const SGX_ARCS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
/// `SGX Type`: scalable (multi-package) and standard.
const SCALABLE: u8 = 1;
const STANDARD: u8 = 0;

/// What a PCK certificate says about its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckIdentity {
    /// Platform provisioning id.
    pub ppid: [u8; 16],
    /// Platform instance id.
    pub platform_instance_id: [u8; 16],
    /// Family, model, stepping, platform, custom SKU.
    pub fmspc: [u8; 6],
    /// CPUSVN: one byte a component.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
}

impl PckIdentity {
    /// The extension's value. Processor certificates carry no instance id and no configuration.
    pub fn extension(&self, ca: PckCa) -> Vec<u8> {
        let mut items = vec![
            item(&[1], octet_string(&self.ppid)),
            item(&[2], self.tcb()),
            item(&[3], octet_string(&[0, 0])),
            item(&[4], octet_string(&self.fmspc)),
        ];
        match ca {
            PckCa::Processor => items.push(item(&[5], enumerated(STANDARD))),
            PckCa::Platform => items.extend([
                item(&[5], enumerated(SCALABLE)),
                item(&[6], octet_string(&self.platform_instance_id)),
                item(&[7], configuration()),
            ]),
        }
        sequence(&items)
    }

    fn tcb(&self) -> Vec<u8> {
        let mut items: Vec<_> = (1u8..)
            .zip(self.cpu_svn)
            .map(|(component, svn)| item(&[2, component], integer(u16::from(svn))))
            .collect();
        items.push(item(&[2, 17], integer(self.pce_svn)));
        items.push(item(&[2, 18], octet_string(&self.cpu_svn)));
        sequence(&items)
    }
}

/// Dynamic platform, cached keys, SMT: all set, as in every certificate seen of real TDX machines.
fn configuration() -> Vec<u8> {
    sequence(&[1, 2, 3].map(|flag| item(&[7, flag], boolean(true))))
}

fn item(arcs: &[u8], value: Vec<u8>) -> Vec<u8> {
    sequence(&[object_identifier(&[&SGX_ARCS, arcs].concat()), value])
}
