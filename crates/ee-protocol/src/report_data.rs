//! The 64 bytes that a quote signs for us: `report_data = workload digest | binding digest`.
//!
//! Source: ATTESTATION 2. The agent fills the bytes in, the control plane recomputes them from its
//! own view of the session; both use this file, and the worked vector at its foot pins the format.

use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

/// Bytes of `report_data` in a TDX quote (Intel TDX DCAP quoting library, `REPORTDATA`).
pub const REPORT_DATA_LEN: usize = 64;
/// Bytes of a challenge's nonce.
pub const NONCE_LEN: usize = 32;

/// A SHA-256 digest.
pub type Digest = [u8; 32];
/// A challenge's nonce: 32 bytes of a cryptographic generator.
pub type Nonce = [u8; NONCE_LEN];

const BINDING_DOMAIN: &[u8] = b"EasyEnclave attest v2\0";
const NODE_PROOF_DOMAIN: &[u8] = b"EasyEnclave node v1\0";

/// What the agent says it runs. Claims prove nothing alone: only registers pin code.
///
/// Shape: `agent_dir_sha256` and `agent_py_sha256` are 64 hexadecimal digits each, `vm_image_id`
/// is at most 512 bytes and may hold newlines. An absent claim counts as empty text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkloadClaims {
    /// SHA-256 of the agent's directory, in hexadecimal.
    #[serde(default)]
    pub agent_dir_sha256: String,
    /// SHA-256 of the agent's main executable, in hexadecimal (the name is the prototype's).
    #[serde(default)]
    pub agent_py_sha256: String,
    /// Which VM image runs.
    #[serde(default)]
    pub vm_image_id: String,
    /// Whether the agent says that it is sealed; the verifier decides by registers.
    #[serde(default)]
    pub sealed: bool,
}

impl WorkloadClaims {
    /// The workload digest: SHA-256 of the prototype's four lines, without a final newline.
    pub fn digest(&self) -> Digest {
        let Self {
            agent_dir_sha256,
            agent_py_sha256,
            vm_image_id,
            sealed,
        } = self;
        sha256(
            format!(
                "agent_dir={agent_dir_sha256}\nagent_py={agent_py_sha256}\n\
                 vm_image_id={vm_image_id}\nsealed={sealed}"
            )
            .as_bytes(),
        )
    }
}

/// Who made the quote; in the digest because an exporter alone could be reflected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An agent, answering a challenge.
    Agent,
    /// The control plane, proving itself.
    ControlPlane,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::ControlPlane => "control-plane",
        }
    }
}

/// What ties the quote to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The inner TLS 1.3 session: its exporter (RFC 9266) and both public keys.
    TlsExporter {
        /// 32 bytes under the label `EXPORTER-Channel-Binding`, no context.
        exporter: [u8; 32],
        /// SHA-256 of the agent's SPKI (DER).
        agent_spki: Digest,
        /// SHA-256 of the control plane's tunnel key's SPKI (DER).
        control_spki: Digest,
    },
    /// Nothing but the nonce: agents without inner TLS.
    None,
}

impl Binding {
    /// The word in `attest_request.binding`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TlsExporter { .. } => "tls-exporter",
            Self::None => "none",
        }
    }
}

/// Everything the binding digest covers. Strings are as in `register`, defaults filled in, not
/// normalised.
#[derive(Debug, Clone, Copy)]
pub struct BindingFields<'a> {
    /// Who made the quote.
    pub role: Role,
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The challenge's reason: `register`, `periodic`, `policy`.
    pub reason: &'a str,
    /// The network's name.
    pub network: &'a str,
    /// The app's repository.
    pub repo: &'a str,
    /// The release's tag.
    pub release_tag: &'a str,
    /// The app's name.
    pub app_name: &'a str,
    /// The agent's id.
    pub agent_id: &'a str,
    /// The node's id.
    pub node_id: &'a str,
    /// What ties the quote to the connection.
    pub binding: &'a Binding,
}

impl BindingFields<'_> {
    /// The binding digest: SHA-256 over the domain and 13 length-prefixed fields.
    pub fn digest(&self) -> Digest {
        sha256(&self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let (value, agent, control): (&[u8], &[u8], &[u8]) = match self.binding {
            Binding::TlsExporter {
                exporter,
                agent_spki,
                control_spki,
            } => (exporter, agent_spki, control_spki),
            Binding::None => (&[], &[], &[]),
        };
        let fields: [&[u8]; 13] = [
            self.role.as_str().as_bytes(),
            self.nonce,
            self.reason.as_bytes(),
            self.network.as_bytes(),
            self.repo.as_bytes(),
            self.release_tag.as_bytes(),
            self.app_name.as_bytes(),
            self.agent_id.as_bytes(),
            self.node_id.as_bytes(),
            self.binding.as_str().as_bytes(),
            value,
            agent,
            control,
        ];
        let mut out = BINDING_DOMAIN.to_vec();
        for field in fields {
            push_length_prefixed(&mut out, field);
        }
        out
    }
}

/// `LP` of ATTESTATION 2: u16 big-endian length, then the bytes. Names are at most 141 bytes
/// long since they were parsed, so the length always fits.
fn push_length_prefixed(out: &mut Vec<u8>, field: &[u8]) {
    let len = u16::try_from(field.len()).expect("parsed names are far shorter than 64 KiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(field);
}

/// The 64 bytes a quote carries: workload digest, then binding digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportData(pub [u8; REPORT_DATA_LEN]);

impl ReportData {
    /// Joins both digests.
    pub fn new(workload: &Digest, binding: &Digest) -> Self {
        let mut bytes = [0; REPORT_DATA_LEN];
        bytes[..32].copy_from_slice(workload);
        bytes[32..].copy_from_slice(binding);
        Self(bytes)
    }

    /// The workload digest.
    pub fn workload(&self) -> &[u8] {
        &self.0[..32]
    }

    /// The binding digest; all zero for prototype agents, which bind nothing.
    pub fn binding(&self) -> &[u8] {
        &self.0[32..]
    }
}

/// The proof that the agent holds a node's token, without sending the token:
/// HMAC-SHA256 under SHA-256(token as text) over domain, nonce and report data.
pub fn node_proof(node_token: &str, nonce: &Nonce, report_data: &ReportData) -> Digest {
    node_proof_under(&sha256(node_token.as_bytes()), nonce, report_data)
}

/// The same under SHA-256(token), which is all that a verifier keeps of a token.
pub fn node_proof_under(token_digest: &Digest, nonce: &Nonce, report_data: &ReportData) -> Digest {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token_digest);
    let mut context = hmac::Context::with_key(&key);
    for part in [NODE_PROOF_DOMAIN, nonce, &report_data.0] {
        context.update(part);
    }
    let mut proof = [0; 32];
    proof.copy_from_slice(context.sign().as_ref());
    proof
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> WorkloadClaims {
        WorkloadClaims {
            agent_dir_sha256: "11".repeat(32),
            agent_py_sha256: "22".repeat(32),
            vm_image_id: format!("tag=v0.1.3\nsha256={}", "33".repeat(32)),
            sealed: true,
        }
    }

    fn spki(byte: u8) -> Digest {
        let mut der = hex::decode("302a300506032b6570032100").expect("hex");
        der.extend_from_slice(&[byte; 32]);
        sha256(&der)
    }

    fn nonce() -> Nonce {
        std::array::from_fn(|i| u8::try_from(i).expect("below 32"))
    }

    fn fields<'a>(nonce: &'a Nonce, binding: &'a Binding) -> BindingFields<'a> {
        BindingFields {
            role: Role::Agent,
            nonce,
            reason: "register",
            network: "forge-1",
            repo: "org/repo",
            release_tag: "v0.1.3",
            app_name: "myapp",
            agent_id: "uuid",
            node_id: "uuid",
            binding,
        }
    }

    fn vector_binding() -> Binding {
        Binding::TlsExporter {
            exporter: [0xa5; 32],
            agent_spki: spki(0x44),
            control_spki: spki(0x55),
        }
    }

    #[test]
    fn worked_vector_of_the_attestation_document_holds() {
        let (nonce, binding) = (nonce(), vector_binding());
        assert_eq!(
            hex::encode(spki(0x44)),
            "3457d1f4254002f76f977ee2167f0c16e0c18e843e2881608fa6bab286deafac"
        );
        assert_eq!(
            hex::encode(spki(0x55)),
            "867cfe02d33d15fa16d12f73bcbdb29714bee68bf3a0a30a709ca4c26105478a"
        );
        let workload = claims().digest();
        assert_eq!(
            hex::encode(workload),
            "dfa17d9b7ca80722dc92b6fa2a5b13944729cc9e3691521e8e5ab765880a8fed"
        );
        let fields = fields(&nonce, &binding);
        assert_eq!(fields.encode().len(), 235);
        assert_eq!(
            hex::encode(fields.digest()),
            "37d2d667307779e3d1b3e1ec901f7a600ea34ccb9977439c695a5bd1a468ce95"
        );
        let report_data = ReportData::new(&workload, &fields.digest());
        assert_eq!(
            hex::encode(node_proof("ee_node_test", &nonce, &report_data)),
            "613355e8fa2d14f20ed50a2d04d51f04911970e0179f1b74638e8f2b929b596b"
        );
    }

    #[test]
    fn every_field_changes_the_binding_digest() {
        let (nonce, binding) = (nonce(), vector_binding());
        let base = fields(&nonce, &binding);
        let (other_nonce, unbound) = ([7; 32], Binding::None);
        let variants = [
            BindingFields {
                role: Role::ControlPlane,
                ..base
            },
            BindingFields {
                nonce: &other_nonce,
                ..base
            },
            BindingFields {
                reason: "periodic",
                ..base
            },
            BindingFields {
                network: "sandbox-1",
                ..base
            },
            BindingFields {
                repo: "org/other",
                ..base
            },
            BindingFields {
                release_tag: "v0.1.4",
                ..base
            },
            BindingFields {
                app_name: "other",
                ..base
            },
            BindingFields {
                agent_id: "other",
                ..base
            },
            BindingFields {
                node_id: "other",
                ..base
            },
            BindingFields {
                binding: &unbound,
                ..base
            },
        ];
        for variant in variants {
            assert_ne!(variant.digest(), base.digest(), "{variant:?}");
        }
    }
}
