//! The list of everything Naru put on the host, kept on the host: what `reset` may remove and drift is measured by.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Permission bits as Naru left them, of those entries that are files or folders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) modes: BTreeMap<String, u32>,
    /// Names that were put or removed since it was loaded.
    #[serde(skip)]
    changed: BTreeSet<String>,
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

    /// The same for a file or a folder, which has permission bits.
    pub fn put_with_mode(&mut self, path: &str, kind: &str, sha256: &str, mode: u32) {
        self.put(path, kind, sha256);
        if self.modes.insert(path.to_owned(), mode) != Some(mode) {
            self.changed.insert(path.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.modes.remove(path);
        if self.entries.remove(path).is_some() {
            self.changed.insert(path.to_owned());
        }
    }

    /// Something is about to be put there, and its entry says neither hash nor mode until it is done: a power cut in
    /// between must not leave the hash of what was there before.
    pub(crate) fn announce(&mut self, path: &str, kind: &str) {
        let kind = self.entries.get(path).map_or(kind, |entry| &entry.kind).to_owned();
        self.put(path, &kind, "");
        if self.modes.remove(path).is_some() {
            self.changed.insert(path.to_owned());
        }
    }

    pub fn put(&mut self, path: &str, kind: &str, sha256: &str) {
        let entry = Entry { kind: kind.to_owned(), sha256: sha256.to_owned() };
        if self.entries.get(path) != Some(&entry) {
            self.entries.insert(path.to_owned(), entry);
            self.changed.insert(path.to_owned());
        }
    }

    /// Adds what was put since it was loaded to what is there now: agents on other connections to this host write
    /// it as well, such as one that takes an upload while another one installs packages.
    pub fn save(&mut self, host: &Host) -> Result<(), ResourceError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let _turn = atomic::turn(&host.manifest())?;
        let mut present = Self::load(host)?;
        for name in &self.changed {
            match self.entries.get(name) {
                Some(entry) => present.entries.insert(name.clone(), entry.clone()),
                None => present.entries.remove(name),
            };
            match self.modes.get(name) {
                Some(mode) => present.modes.insert(name.clone(), *mode),
                None => present.modes.remove(name),
            };
        }
        let bytes = serde_json::to_vec_pretty(&present).map_err(io::Error::other)?;
        atomic::write(&host.manifest(), MODE, &bytes)?;
        *self = present;
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
    fn two_that_write_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let (mut one, mut other) = (Manifest::load(&host).unwrap(), Manifest::load(&host).unwrap());
        one.put("/etc/a", "file", "a");
        other.put("/etc/b", "file", "b");
        other.save(&host).unwrap();
        one.save(&host).unwrap();
        let names: Vec<String> = Manifest::load(&host).unwrap().entries.into_keys().collect();
        assert_eq!(names, ["/etc/a", "/etc/b"]);
    }

    #[test]
    fn what_was_removed_stays_away_and_what_others_put_meanwhile_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let mut first = Manifest::default();
        first.put_with_mode("/etc/a", "file", "a", 0o644);
        first.save(&host).unwrap();
        let (mut one, mut other) = (Manifest::load(&host).unwrap(), Manifest::load(&host).unwrap());
        one.remove("/etc/a");
        other.put("/etc/b", "file", "b");
        other.save(&host).unwrap();
        one.save(&host).unwrap();
        let left = Manifest::load(&host).unwrap();
        assert_eq!(left.entries.keys().collect::<Vec<_>>(), ["/etc/b"]);
        assert!(left.modes.is_empty());
    }

    #[test]
    fn a_damaged_manifest_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        atomic::write(&host.manifest(), MODE, b"{").unwrap();
        assert!(matches!(Manifest::load(&host), Err(ResourceError::Unreadable { .. })));
    }
}
