//! Receiving an artifact piece by piece into the host's store, where it appears only once its hash agrees.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::atomic::Staged;
use crate::{Host, ResourceError};

const MODE: u32 = 0o755;
const SHA256_HEX_LENGTH: usize = 64;

/// An artifact that is on its way. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct ArtifactWriter {
    staged: Staged,
    hash: Sha256,
    sha256: String,
}

impl ArtifactWriter {
    pub fn create(host: &Host, sha256: &str) -> Result<Self, ResourceError> {
        let path = artifact_path(host, sha256)?;
        Ok(Self { staged: Staged::create(&path, MODE)?, hash: Sha256::new(), sha256: sha256.to_owned() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ResourceError> {
        self.hash.update(bytes);
        self.staged.write(bytes)
    }

    /// Checks the hash and puts the artifact in its place.
    pub fn finish(self) -> Result<(), ResourceError> {
        let found = hex::encode(self.hash.finalize());
        if found != self.sha256 {
            let message = format!("the artifact arrived damaged: {found} instead of {}", self.sha256);
            return Err(ResourceError::refused(message, "the file changed while it was read; try again"));
        }
        self.staged.commit()
    }
}

/// Which of these artifacts are not in the store.
pub fn missing_artifacts(host: &Host, wanted: &[String]) -> Result<Vec<String>, ResourceError> {
    let mut missing = Vec::new();
    for sha256 in wanted {
        if !artifact_path(host, sha256)?.is_file() {
            missing.push(sha256.clone());
        }
    }
    Ok(missing)
}

/// A name that is no hash could lead out of the store.
fn artifact_path(host: &Host, sha256: &str) -> Result<PathBuf, ResourceError> {
    let is_hash = sha256.len() == SHA256_HEX_LENGTH
        && sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hash {
        Ok(host.artifact(sha256))
    } else {
        Err(ResourceError::refused(format!("`{sha256}` is no SHA-256"), ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic;

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let sha256 = atomic::sha256(b"hello world");
        assert_eq!(missing_artifacts(&host, std::slice::from_ref(&sha256)).unwrap().len(), 1);
        let mut damaged = ArtifactWriter::create(&host, &sha256).unwrap();
        damaged.write(b"hello").unwrap();
        assert!(damaged.finish().is_err());
        assert_eq!(fs_err::read_dir(host.path("/var/lib/naru/artifacts")).unwrap().count(), 0);
        let mut whole = ArtifactWriter::create(&host, &sha256).unwrap();
        whole.write(b"hello ").unwrap();
        whole.write(b"world").unwrap();
        whole.finish().unwrap();
        assert!(missing_artifacts(&host, &[sha256]).unwrap().is_empty());
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let host = Host::below("/nowhere", Vec::new());
        assert!(ArtifactWriter::create(&host, "../../etc/passwd").is_err());
    }
}
