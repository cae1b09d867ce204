//! The cluster's identity from one control plane to another: authorities and keys that all of them share, sealed by
//! the one that has them for the one that asked, so that nobody between them can read it.

use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use naru_pki::{Recipient, seal};
use naru_resources::{Host, Manifest, ResourceError, write_whole};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::session::failure;
use crate::{Failure, FailureKind};

const FOLDER: &str = "/etc/naru/pki";
const KEY_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;
const MAX_FILES: usize = 64;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// One file on its way. Whatever the sender says, a key is for its owner only.
#[derive(Serialize, Deserialize)]
struct File {
    path: String,
    kind: String,
    text: String,
}

impl Drop for File {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

pub(crate) fn encode(recipient: &Recipient) -> String {
    STANDARD.encode(recipient.public_key())
}

pub(crate) fn sealed(host: &Host, paths: &[String], recipient: &str) -> Result<String, Failure> {
    if paths.len() > MAX_FILES {
        return Err(refused(format!("more than {MAX_FILES} files are no identity")));
    }
    let recipient = STANDARD.decode(recipient).map_err(|_| refused("the recipient is no base64".to_owned()))?;
    let manifest = Manifest::load(host).map_err(|error| failure(&error, &[]))?;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        check(path)?;
        let real = host.path(path);
        let unreadable = |error: std::io::Error| refused(format!("the cluster's identity is not here: {error}"));
        if fs::symlink_metadata(&real).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(refused(format!("{path} is too large for a certificate or a key")));
        }
        let text = fs::read_to_string(&real).map_err(unreadable)?;
        let kind = manifest.entries.get(path).map_or("authority", |entry| entry.kind.as_str()).to_owned();
        files.push(File { path: path.clone(), kind, text });
    }
    let plain = Zeroizing::new(serde_json::to_vec(&files).map_err(|error| refused(error.to_string()))?);
    let sealed = seal(&recipient, &plain).map_err(|error| failure(&error.into(), &[]))?;
    Ok(STANDARD.encode(sealed))
}

pub(crate) fn install(host: &Host, recipient: &Recipient, sealed: &str) -> Result<(), Failure> {
    let sealed = STANDARD.decode(sealed).map_err(|_| refused("what was sealed is no base64".to_owned()))?;
    let plain = recipient.open(&sealed).map_err(|error| failure(&error.into(), &[]))?;
    let mut files: Vec<File> = serde_json::from_slice(&plain)
        .map_err(|_| refused("what was sealed is no identity of a cluster".to_owned()))?;
    // Keys first: a certificate without its key is the one state that cannot be repaired by trying again.
    files.sort_by_key(|file| is_public(&file.path));
    // All are looked at before the first is written.
    for file in &files {
        check(&file.path)?;
    }
    let write = || -> Result<(), ResourceError> {
        let mut manifest = Manifest::load(host)?;
        for file in &files {
            let mode = if is_public(&file.path) { PUBLIC_MODE } else { KEY_MODE };
            let real = host.path(&file.path);
            // An untouched file keeps its time, and the units that read it keep running.
            if fs::read(&real).map(Zeroizing::new).is_ok_and(|there| there.as_slice() == file.text.as_bytes()) {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&real, std::fs::Permissions::from_mode(mode))?;
            } else {
                write_whole(&real, mode, file.text.as_bytes())?;
            }
            manifest.put_with_mode(&file.path, &file.kind, "", mode);
        }
        manifest.save(host)
    };
    write().map_err(|error| failure(&error, &[]))
}

fn is_public(path: &str) -> bool {
    path.ends_with(".crt") || path.ends_with(".pub")
}

/// Only what lies below the folder of certificates and keys, by a plain path.
fn check(path: &str) -> Result<(), Failure> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let below = path.strip_prefix(FOLDER).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
    if plain && below { Ok(()) } else { Err(refused(format!("`{path}` is no part of the cluster's identity"))) }
}

fn refused(message: String) -> Failure {
    Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PATHS: [&str; 2] = ["/etc/naru/pki/ca.crt", "/etc/naru/pki/etcd/ca.key"];

    fn hosts(folder: &tempfile::TempDir) -> [Host; 2] {
        let hosts = ["one", "two"].map(|name| Host::below(folder.path().join(name), Vec::new()));
        write_whole(&hosts[0].path(PATHS[0]), 0o644, b"certificate").unwrap();
        // Wide open by somebody's mistake.
        write_whole(&hosts[0].path(PATHS[1]), 0o644, b"the private key").unwrap();
        hosts
    }

    #[test]
    fn it_arrives_closed_and_unread() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = hosts(&folder);
        let (recipient, other) = (Recipient::generate().unwrap(), Recipient::generate().unwrap());
        let sealed = sealed(&one, &PATHS.map(str::to_owned), &encode(&recipient)).unwrap();
        assert!(!String::from_utf8_lossy(&STANDARD.decode(&sealed).unwrap()).contains("private key"));
        assert!(install(&two, &other, &sealed).is_err());
        assert!(!two.path(PATHS[1]).exists());
        install(&two, &recipient, &sealed).unwrap();
        assert_eq!(fs::read_to_string(two.path(PATHS[1])).unwrap(), "the private key");
        assert_eq!(fs::metadata(two.path(PATHS[1])).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Manifest::load(&two).unwrap().entries.len(), 2);
    }

    #[test]
    fn nothing_else_of_the_host_is_given_or_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = hosts(&folder);
        let recipient = Recipient::generate().unwrap();
        for path in ["/etc/shadow", "/etc/naru/pki/../../shadow", "/etc/naru/pki", "/etc/naru/pki2/x", "etc/naru/pki/x"]
        {
            let failure = sealed(&one, &[path.to_owned()], &encode(&recipient)).unwrap_err();
            assert!(failure.message.contains("no part of"), "{failure:?}");
            let evil = [File { path: path.to_owned(), kind: String::new(), text: "x".to_owned() }];
            let evil = seal(recipient.public_key(), &serde_json::to_vec(&evil).unwrap()).unwrap();
            assert!(install(&two, &recipient, &STANDARD.encode(evil)).is_err());
        }
        assert!(!folder.path().join("two").exists());
    }
}
