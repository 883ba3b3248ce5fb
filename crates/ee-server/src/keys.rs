//! The control plane's tunnel key: made once, kept in `EE_DATA_DIR`, readable by its owner alone.
//!
//! Agents pin its hash (`EE_CONTROL_KEY`), so it must survive restarts.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use ee_tunnel::keys::TunnelKey;

/// The key's file in the data directory: PKCS#8, DER.
const TUNNEL_KEY_FILE: &str = "tunnel-key.der";

/// Reads the tunnel key, or makes it on the first start.
pub fn tunnel_key(data_dir: &Path) -> anyhow::Result<TunnelKey> {
    let path = data_dir.join(TUNNEL_KEY_FILE);
    let pkcs8 = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = TunnelKey::generate_pkcs8();
            write_private(&path, &made)
                .with_context(|| format!("cannot write the tunnel key to {}", path.display()))?;
            made
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    TunnelKey::from_pkcs8(&pkcs8).map_err(|error| {
        anyhow::anyhow!(
            "{} is not a tunnel key ({error}); move it away to make a new one, and \
            give agents that pin the key the new hash",
            path.display()
        )
    })
}

/// Creates the data directory for its owner alone.
pub fn create_data_dir(data_dir: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(data_dir)
        .with_context(|| format!("cannot create EE_DATA_DIR {}", data_dir.display()))
}

/// Writes a file that only its owner may read, whole or not at all: a new name, then a rename.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_key_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = tunnel_key(dir.path()).expect("made");
        let second = tunnel_key(dir.path()).expect("read");
        assert_eq!(first.spki_sha256(), second.spki_sha256());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(TUNNEL_KEY_FILE)).expect("there");
            assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_key_file_is_named_and_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(TUNNEL_KEY_FILE);
        fs::write(&path, b"not a key").expect("written");
        let error = tunnel_key(dir.path()).expect_err("refused").to_string();
        assert!(error.contains(TUNNEL_KEY_FILE), "{error}");
        assert_eq!(fs::read(&path).expect("kept"), b"not a key");
    }
}
