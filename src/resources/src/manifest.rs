//! The list of everything Naru put on the host, kept on the host: what `reset` may remove and drift is measured by.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::{Host, ResourceError, atomic};

const MODE: u32 = 0o600;

/// One thing that Naru put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub kind: String,
    /// Hash of what was written; empty where a hash says nothing (a folder, a package).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Entries by path (or by name, for what has no path).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub entries: BTreeMap<String, Entry>,
    #[serde(skip)]
    changed: bool,
}

impl Manifest {
    /// An absent manifest is an empty one; an unreadable one is an error, for it guards what may be removed.
    pub fn load(host: &Host) -> Result<Self, ResourceError> {
        let Some(bytes) = atomic::read(&host.manifest())? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| ResourceError::Unreadable {
            path: host.manifest().display().to_string(),
            what: "the list of what naru put on this host",
            reason: error.to_string(),
        })
    }

    pub fn put(&mut self, path: &str, kind: &str, sha256: &str) {
        let entry = Entry { kind: kind.to_owned(), sha256: sha256.to_owned() };
        if self.entries.get(path) != Some(&entry) {
            self.entries.insert(path.to_owned(), entry);
            self.changed = true;
        }
    }

    /// Writes it if anything changed since it was loaded.
    pub fn save(&mut self, host: &Host) -> Result<(), ResourceError> {
        if !self.changed {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        atomic::write(&host.manifest(), MODE, &bytes)?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_nothing_is_written_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let mut manifest = Manifest::load(&host).unwrap();
        manifest.save(&host).unwrap();
        assert!(!host.manifest().exists(), "an empty manifest is not written");
        manifest.put("/etc/a", "file", "abc");
        manifest.save(&host).unwrap();
        let again = Manifest::load(&host).unwrap();
        assert_eq!(again.entries["/etc/a"].sha256, "abc");
        assert_eq!(atomic::mode(&host.manifest()).unwrap(), Some(MODE));
    }

    #[test]
    fn a_damaged_manifest_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        atomic::write(&host.manifest(), MODE, b"{").unwrap();
        assert!(matches!(Manifest::load(&host), Err(ResourceError::Unreadable { .. })));
    }
}
