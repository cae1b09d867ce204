//! The cluster's identity, which all control planes share: its authorities and its service-account keys. It goes from
//! one control plane to another sealed for the receiver (`naru_pki::seal`), never readable in between.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use fs_err as fs;
use naru_pki::{Recipient, seal};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{Host, Manifest, ResourceError, atomic};

/// Nothing outside this folder is the cluster's identity.
const FOLDER: &str = "/etc/naru/pki/";
const MAX_FILES: usize = 16;
const MAX_FILE_BYTES: u64 = 64 * 1024;
const KEY_MODE: u32 = 0o600;
const MODE_BITS: u32 = 0o777;
const KIND: &str = "authority";

#[derive(Serialize, Deserialize)]
struct File {
    mode: u32,
    text: String,
}

impl Drop for File {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// These files of this host, for the receiver with this public key and nobody else.
///
/// # Errors
/// When one is not there, or is no part of the identity.
pub fn seal_identity(host: &Host, paths: &[String], recipient: &[u8]) -> Result<Vec<u8>, ResourceError> {
    if paths.len() > MAX_FILES {
        return Err(ResourceError::refused(format!("{} files are too many for an identity", paths.len()), ""));
    }
    let mut files = BTreeMap::new();
    for path in paths {
        check(path)?;
        let place = host.path(path);
        let metadata = fs::metadata(&place)?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(ResourceError::refused(format!("{path} is too large for a key or certificate"), ""));
        }
        let mode = metadata.permissions().mode() & MODE_BITS;
        files.insert(path, File { mode, text: fs::read_to_string(&place)? });
    }
    let text = Zeroizing::new(serde_json::to_vec(&files).map_err(std::io::Error::other)?);
    Ok(seal(recipient, &text)?)
}

/// Puts what was sealed for us in its place; answers the paths.
///
/// # Errors
/// When it was sealed for another, is damaged, or cannot be written.
pub fn install_identity(host: &Host, recipient: &Recipient, sealed: &[u8]) -> Result<Vec<String>, ResourceError> {
    let text = recipient.open(sealed)?;
    let files: BTreeMap<String, File> = serde_json::from_slice(&text).map_err(|error| ResourceError::Unreadable {
        path: "what the other control plane sealed".to_owned(),
        what: "files of an identity",
        reason: error.to_string(),
    })?;
    files.keys().try_for_each(|path| check(path))?;
    let mut manifest = Manifest::load(host)?;
    for (path, file) in &files {
        let is_key = path.ends_with(".key");
        let mode = if is_key { KEY_MODE } else { file.mode & MODE_BITS };
        if let Some(folder) = host.path(path).parent() {
            fs::create_dir_all(folder)?;
        }
        atomic::write(&host.path(path), mode, file.text.as_bytes())?;
        manifest.put_with_mode(path, KIND, "", mode);
    }
    manifest.save(host)?;
    Ok(files.into_keys().collect())
}

fn check(path: &str) -> Result<(), ResourceError> {
    let is_inside = path.starts_with(FOLDER) && !path.split('/').any(|part| part == "..");
    if is_inside { Ok(()) } else { Err(ResourceError::refused(format!("{path} is no part of the identity"), "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_arrives_whole_private_and_only_at_its_receiver() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (Host::below(one.path(), Vec::new()), Host::below(two.path(), Vec::new()));
        fs::create_dir_all(from.path(FOLDER)).unwrap();
        let paths = ["ca.crt", "ca.key"].map(|name| format!("{FOLDER}{name}"));
        atomic::write(&from.path(&paths[0]), 0o644, b"certificate").unwrap();
        atomic::write(&from.path(&paths[1]), 0o600, b"private key").unwrap();
        let recipient = Recipient::generate().unwrap();
        let sealed = seal_identity(&from, &paths, recipient.public_key()).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        assert!(install_identity(&to, &Recipient::generate().unwrap(), &sealed).is_err());
        assert!(!to.path(&paths[1]).exists());
        assert_eq!(install_identity(&to, &recipient, &sealed).unwrap(), paths);
        assert_eq!(fs::read_to_string(to.path(&paths[1])).unwrap(), "private key");
        assert_eq!(fs::metadata(to.path(&paths[1])).unwrap().permissions().mode() & MODE_BITS, 0o600);
        assert!(Manifest::load(&to).unwrap().entries.contains_key(&paths[0]));
    }

    #[test]
    fn nothing_else_can_be_asked_for() {
        let host = Host::below("/nowhere", Vec::new());
        for path in ["/etc/shadow", "/etc/naru/pki/../../shadow"] {
            let refused = seal_identity(&host, &[path.to_owned()], &[0; 32]).unwrap_err();
            assert!(refused.to_string().contains("no part"), "{refused}");
        }
    }
}
