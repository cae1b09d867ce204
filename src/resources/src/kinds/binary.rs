//! An executable copied from the artifact store.

use super::{Kind, announce, change};
use crate::hashes::Hashes;
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

const MODE: u32 = 0o755;
const SHORT_HASH: usize = 12;

pub(crate) struct Binary<'a> {
    pub(crate) path: &'a str,
    pub(crate) sha256: &'a str,
}

impl Binary<'_> {
    fn current_hash(&self, host: &Host) -> Result<Option<String>, ResourceError> {
        let mut hashes = Hashes::load(host);
        let hash = hashes.sha256(self.path)?;
        hashes.save()?;
        Ok(hash)
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

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, self.path, "binary");
        Ok(())
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put_with_mode(self.path, "binary", self.sha256, MODE);
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
