//! What this agent says it runs (ATTESTATION 2): `WorkloadClaims` on real hardware.
//!
//! `agent_py_sha256` (the prototype's name for the main executable) is the hash of the running
//! program. `agent_dir_sha256` and `vm_image_id` are facts of the image: whoever builds it writes
//! them into its settings and into its allowlist; without a setting the directory's claim is the
//! program's hash. Claims prove nothing: the registers of the quote do.

use std::{io, path::Path};

use ee_protocol::report_data::WorkloadClaims;
use ring::digest::{Context, SHA256};

use crate::settings::ClaimSettings;

/// Read in pieces of this size: the program is some 10 MiB.
const PIECE_BYTES: usize = 64 * 1024;

/// The claims of the program at `executable`.
pub fn of_executable(executable: &Path, settings: &ClaimSettings) -> io::Result<WorkloadClaims> {
    let program = sha256_of_file(executable)?;
    Ok(WorkloadClaims {
        agent_dir_sha256: settings
            .agent_dir_sha256
            .clone()
            .unwrap_or_else(|| program.clone()),
        agent_py_sha256: program,
        vm_image_id: settings.vm_image_id.clone(),
        sealed: settings.sealed,
    })
}

fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hex::encode(context.finish())),
            count => context.update(&piece[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executables_hash_stands_in_for_the_directorys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let claims = of_executable(file.path(), &ClaimSettings::default()).unwrap();
        assert_eq!(
            (
                claims.agent_py_sha256.as_str(),
                claims.agent_dir_sha256.as_str()
            ),
            (abc, abc)
        );
        let configured = ClaimSettings {
            agent_dir_sha256: Some("11".repeat(32)),
            vm_image_id: "tag=v1\nsha256=33".to_owned(),
            sealed: true,
        };
        let claims = of_executable(file.path(), &configured).unwrap();
        assert_eq!(claims.agent_dir_sha256, "11".repeat(32));
        assert_eq!(claims.agent_py_sha256, abc);
        assert!(claims.sealed);
    }
}
