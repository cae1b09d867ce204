//! SSH keys: one that logs in to a cluster's machines, one per machine that proves it is that machine.

use std::io::Write as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use crate::{Error, Result};

/// Makes an ed25519 key pair: the private key in `path` (mode 0600), the public one beside it. Returns the public key
/// as `ssh-ed25519 AAAA…`, without a comment. A pair that is there already is kept.
pub(super) fn make(path: &Path, comment: &str) -> Result<String> {
    if path.exists() {
        return public(path);
    }
    let fail = |source| Error::Key { path: path.to_path_buf(), source };
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(fail)?;
    let text = key.to_openssh(LineEnding::LF).map_err(fail)?;
    let public = key.public_key().to_openssh().map_err(fail)?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    let _ = fs_err::remove_file(&temporary);
    let mut file = fs_err::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs_err::write(path.with_extension("pub"), format!("{public} {comment}\n"))?;
    fs_err::rename(&temporary, path)?;
    Ok(public)
}

/// The public key of a pair, read out of the private one: the file beside it may have been lost.
pub(super) fn public(path: &Path) -> Result<String> {
    let fail = |source| Error::Key { path: path.to_path_buf(), source };
    let key = PrivateKey::from_openssh(fs_err::read_to_string(path)?).map_err(fail)?;
    let text = key.public_key().to_openssh().map_err(fail)?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        let first = make(&path, "demo").unwrap();
        assert!(first.starts_with("ssh-ed25519 AAAA"), "{first}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(make(&path, "demo").unwrap(), first);
        assert_eq!(public(&path).unwrap(), first);
        assert_ne!(make(&folder.path().join("other"), "demo").unwrap(), first);
    }
}
