//! An executable copied from the artifact store. Programs are tens of megabytes, so their hash is kept beside with
//! what the file looked like when it was computed; a file that looks the same is not read again.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Kind, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

const MODE: u32 = 0o755;
const SHORT_HASH: usize = 12;

pub(crate) struct Binary<'a> {
    pub(crate) path: &'a str,
    pub(crate) sha256: &'a str,
}

/// What a file looked like when its hash was computed. A change of any content changes the change time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    inode: u64,
    size_bytes: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
    sha256: String,
}

impl Binary<'_> {
    fn current_hash(&self, host: &Host) -> Result<Option<String>, ResourceError> {
        let path = host.path(self.path);
        if atomic::mode(&path)?.is_none() {
            return Ok(None);
        }
        let seen = look(&path, String::new())?;
        let known = load(host);
        if let Some(before) = known.get(self.path)
            && (Seen { sha256: before.sha256.clone(), ..seen }) == *before
        {
            return Ok(Some(before.sha256.clone()));
        }
        let mut hash = Sha256::new();
        io::copy(&mut fs::File::open(&path)?, &mut HashWriter(&mut hash))?;
        Ok(Some(hex::encode(hash.finalize())))
    }
}

impl Kind for Binary<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let short = &self.sha256[..self.sha256.len().min(SHORT_HASH)];
        Ok(match self.current_hash(host)? {
            None => Some(change(format!("install {} ({short})", self.path))),
            Some(hash) if hash != self.sha256 => {
                Some(change(format!("replace {} ({} by {short})", self.path, &hash[..SHORT_HASH])))
            }
            Some(_) if atomic::mode(&host.path(self.path))? != Some(MODE) => {
                Some(change(format!("chmod {MODE:04o} {}", self.path)))
            }
            Some(_) => None,
        })
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let artifact = host.artifact(self.sha256);
        if !artifact.is_file() {
            return Err(ResourceError::refused(
                format!("the artifact {} for {} was not uploaded", self.sha256, self.path),
                "apply again: missing artifacts are uploaded first",
            ));
        }
        atomic::copy(&artifact, &host.path(self.path), MODE, self.sha256)
    }

    fn record(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put(self.path, "binary", self.sha256);
        let mut known = load(host);
        let seen = look(&host.path(self.path), self.sha256.to_owned())?;
        if known.get(self.path) != Some(&seen) {
            known.insert(self.path.to_owned(), seen);
            let bytes = serde_json::to_vec_pretty(&known).map_err(io::Error::other)?;
            atomic::write(&store(host), 0o600, &bytes)?;
        }
        Ok(())
    }
}

fn store(host: &Host) -> PathBuf {
    host.state_directory().join("hashes.json")
}

/// An unreadable list only costs computing the hash again.
fn load(host: &Host) -> BTreeMap<String, Seen> {
    let bytes = atomic::read(&store(host)).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn look(path: &std::path::Path, sha256: String) -> Result<Seen, ResourceError> {
    let metadata = fs::metadata(path)?;
    Ok(Seen {
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        changed_seconds: metadata.ctime(),
        changed_nanoseconds: metadata.ctime_nsec(),
        sha256,
    })
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with_artifact(folder: &std::path::Path, bytes: &[u8]) -> (Host, String) {
        let host = Host::below(folder, Vec::new());
        let sha256 = atomic::sha256(bytes);
        atomic::write(&host.artifact(&sha256), 0o600, bytes).unwrap();
        (host, sha256)
    }

    #[test]
    fn installed_then_tampered_with_then_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let (host, sha256) = host_with_artifact(folder.path(), b"program");
        let binary = Binary { path: "/opt/naru/bin/naru-node", sha256: &sha256 };
        let check = || binary.check(&host, &Pending::default()).unwrap().map(|change| change.summary);
        assert!(check().unwrap().starts_with("install /opt/naru/bin/naru-node"));
        binary.apply(&host).unwrap();
        binary.record(&host, &mut Manifest::default()).unwrap();
        assert_eq!(check(), None);
        atomic::write(&host.path(binary.path), MODE, b"PROGRAM").unwrap();
        assert!(check().unwrap().starts_with("replace"), "the kept hash must not hide another file");
        binary.apply(&host).unwrap();
        assert_eq!(check(), None);
    }

    #[test]
    fn a_missing_artifact_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let error = Binary { path: "/opt/x", sha256: "abc" }.apply(&host).unwrap_err();
        assert!(error.to_string().contains("was not uploaded"));
    }
}
