//! Keys of the control plane: made once, kept in `EE_DATA_DIR`, readable by their owner alone.
//!
//! Agents pin the hash of the tunnel key (`EE_CONTROL_KEY`), and sets of platforms in a policy
//! hold under one platform key only, so both must survive restarts.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use ee_tunnel::keys::TunnelKey;

/// The key's file in the data directory: PKCS#8, DER.
const TUNNEL_KEY_FILE: &str = "tunnel-key.der";

/// The key's file in the data directory: 32 random bytes.
const PLATFORM_KEY_FILE: &str = "platform-key";

/// The key's file in the data directory: 32 random bytes.
const CURSOR_KEY_FILE: &str = "cursor-key";

/// Reads the tunnel key, or makes it on the first start.
pub fn tunnel_key(data_dir: &Path) -> anyhow::Result<TunnelKey> {
    let path = data_dir.join(TUNNEL_KEY_FILE);
    let pkcs8 = read_or_make(&path, TunnelKey::generate_pkcs8)?;
    TunnelKey::from_pkcs8(&pkcs8).map_err(|error| {
        anyhow::anyhow!(
            "{} is not a tunnel key ({error}); move it away to make a new one, and \
            give agents that pin the key the new hash",
            path.display()
        )
    })
}

/// Reads the key under which platforms have pseudonyms, or makes it on the first start.
pub fn platform_key(data_dir: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_dir.join(PLATFORM_KEY_FILE);
    let key = read_or_make(&path, || crate::entropy::seed().to_vec())?;
    key.try_into().map_err(|_| {
        anyhow::anyhow!(
            "{} does not hold 32 bytes; move it away to make a new key, and name the platforms \
             in platforms_allowed and platforms_denied anew",
            path.display()
        )
    })
}

/// Reads the key that seals cursors of lists, or makes it on the first start: a page asked for
/// before a restart is followed by the next one after it.
pub fn cursor_key(data_dir: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_dir.join(CURSOR_KEY_FILE);
    let key = read_or_make(&path, || crate::entropy::seed().to_vec())?;
    key.try_into().map_err(|_| {
        anyhow::anyhow!(
            "{} does not hold 32 bytes; move it away to make a new key: only pages that are \
             being read begin anew",
            path.display()
        )
    })
}

fn read_or_make(path: &Path, make: impl FnOnce() -> Vec<u8>) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = make();
            write_private(path, &made)
                .with_context(|| format!("cannot write a key to {}", path.display()))?;
            Ok(made)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
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
    // What stands there, left by a crash or laid by somebody else, would keep its own mode, owner
    // or target: the file is always new.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
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
    fn the_platform_key_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = platform_key(dir.path()).expect("made");
        assert_eq!(platform_key(dir.path()).expect("read"), first);
        assert_ne!(first, [0; 32]);
        let path = dir.path().join(PLATFORM_KEY_FILE);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&path, b"short").expect("written");
        let error = platform_key(dir.path()).expect_err("refused").to_string();
        assert!(error.contains(PLATFORM_KEY_FILE), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_lies_where_a_secret_will_be_is_not_written_through() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, elsewhere) = (dir.path().join("secret"), dir.path().join("elsewhere"));
        let staged = dir.path().join("secret.new");
        symlink(&elsewhere, &staged).expect("linked");
        write_private(&path, b"one").expect("written");
        assert!(!elsewhere.exists());
        fs::write(&staged, b"readable by all").expect("written");
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o644)).expect("mode");
        write_private(&path, b"two").expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(
            (fs::read(&path).expect("read"), mode & 0o777),
            (b"two".to_vec(), 0o600)
        );
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
