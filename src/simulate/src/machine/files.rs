//! The host's files: what they hold as far as it matters, their mode, and when they last changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Issued, Key, Machine, Signer};

pub(crate) const FOLDER_MODE: u32 = 0o755;

#[derive(Debug, Clone, PartialEq)]
pub struct FileModel {
    pub body: Body,
    pub mode: u32,
    /// By the host's clock: when content, mode or name last changed.
    pub changed_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Folder,
    Text(Arc<str>),
    /// A program or an archive, known by its hash.
    Program(String),
    PrivateKey(Key),
    PublicKey(Key),
    Authority(Arc<Signer>),
    Certificate(Arc<Issued>),
    Link,
}

impl Body {
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Hash as a manifest notes it.
    #[must_use]
    pub fn sha256(&self) -> String {
        match self {
            Self::Text(text) => sha256(text.as_bytes()),
            Self::Program(sha256) => sha256.clone(),
            other => sha256(format!("{other:?}").as_bytes()),
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Machine {
    /// The text of a file; empty where there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        match self.files.get(path).map(|file| &file.body) {
            Some(Body::Text(text)) => text.to_string(),
            _ => String::new(),
        }
    }

    #[must_use]
    pub fn is_folder(&self, path: &str) -> bool {
        matches!(self.files.get(path).map(|file| &file.body), Some(Body::Folder))
    }

    /// Writes a file and the folders above it.
    pub fn put(&mut self, path: &str, body: Body, mode: u32) {
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
            parent = above;
            if self.files.contains_key(parent) {
                continue;
            }
            let folder = FileModel { body: Body::Folder, mode: FOLDER_MODE, changed_unix_ms: self.clock_unix_ms };
            self.files.insert(parent.to_owned(), folder);
        }
        self.files.insert(path.to_owned(), FileModel { body, mode, changed_unix_ms: self.clock_unix_ms });
        self.touch_parent(path);
    }

    /// A folder changes with the names in it, and a unit with its drop-ins.
    pub(crate) fn touch_parent(&mut self, path: &str) {
        let Some((parent, _)) = path.rsplit_once('/') else { return };
        let now = self.clock_unix_ms;
        if let Some(folder) = self.files.get_mut(parent) {
            folder.changed_unix_ms = now;
        }
        let unit = parent.strip_prefix("/etc/systemd/system/").and_then(|name| name.strip_suffix(".d"));
        if let Some(unit) = unit.and_then(|name| self.units.get_mut(name)) {
            unit.needs_reload = true;
        }
    }

    /// When a file, or anything directly in a folder, last changed. A time ahead of the host's clock tells of a wrong
    /// clock, not of a change.
    pub(crate) fn changed_at(&self, path: &str) -> Option<i64> {
        let mut newest = self.files.get(path)?.changed_unix_ms;
        if self.is_folder(path) {
            let below = format!("{path}/");
            let inside = self.files.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
            let direct = inside.filter(|(name, _)| !name[below.len()..].contains('/'));
            newest = direct.fold(newest, |newest, (_, file)| newest.max(file.changed_unix_ms));
        }
        (newest <= self.clock_unix_ms).then_some(newest)
    }

    /// Everything that a path and the folder's files of it hold, as one hash; what a process read of them.
    pub(crate) fn content_of(&self, path: &str) -> String {
        let below = format!("{path}/");
        let own = self.files.get(path).map(|file| file.body.sha256()).unwrap_or_default();
        let inside = self.files.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
        inside.fold(own, |sum, (name, file)| sha256(format!("{sum}{name}{}", file.body.sha256()).as_bytes()))
    }
}

/// The parameters that a file of sysctl.d sets.
pub(crate) fn sysctl_values(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), normalized(value)))
        .collect()
}

/// The kernel separates several numbers by tabs, people by spaces.
pub(crate) fn normalized(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A table of file systems with its swap areas commented out.
pub(crate) fn without_swap(fstab: &str) -> String {
    let mut text = String::with_capacity(fstab.len());
    for line in fstab.split_inclusive('\n') {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(2) == Some(&"swap") && !fields[0].starts_with('#') {
            text.push_str("# off by naru: ");
        }
        text.push_str(line);
    }
    text
}
