//! Files of the host's that Naru has put its own in the place of: kept, so that they can be given back.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::{Host, ResourceError, atomic};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A larger file is no configuration; it is not kept.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    path: String,
    mode: u32,
}

/// Keeps the regular file at `path`, unless it is ours or one is kept already.
pub(crate) fn keep(host: &Host, path: &str) -> Result<(), ResourceError> {
    let Ok(metadata) = fs::symlink_metadata(host.path(path)) else { return Ok(()) };
    let (bytes, note) = places(host, path);
    if !metadata.is_file() || metadata.len() > MAX_BYTES || note.exists() {
        return Ok(());
    }
    if Manifest::load(host)?.entries.contains_key(path) {
        return Ok(());
    }
    let text = Note { path: path.to_owned(), mode: metadata.mode() & atomic::PERMISSION_BITS };
    let text = serde_json::to_vec(&text).map_err(std::io::Error::other)?;
    if let Some(folder) = note.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        builder.mode(FOLDER_MODE);
        builder.create(folder)?;
    }
    atomic::write(&bytes, FILE_MODE, &fs::read(host.path(path))?)?;
    // Last: a note tells that its bytes are whole.
    atomic::write(&note, FILE_MODE, &text)
}

/// Puts a kept file back in place of ours; tells whether there was one. It stays kept until `forget`: who is cut off
/// before the manifest knows would take the host's file for ours the next time.
pub(crate) fn restore(host: &Host, path: &str) -> Result<bool, ResourceError> {
    let (bytes, note) = places(host, path);
    let Some(text) = atomic::read(&note)? else { return Ok(false) };
    let text: Note = serde_json::from_slice(&text).map_err(|error| ResourceError::Unreadable {
        path: note.display().to_string(),
        what: "a note on a file of the host's",
        reason: error.to_string(),
    })?;
    atomic::write(&host.path(path), text.mode, &fs::read(&bytes)?)?;
    Ok(true)
}

/// What was kept has been given back, and the manifest does not list ours any more.
pub(crate) fn forget(host: &Host, path: &str) -> Result<(), ResourceError> {
    let (bytes, note) = places(host, path);
    fs::remove_file(&note)?;
    Ok(fs::remove_file(&bytes)?)
}

fn places(host: &Host, path: &str) -> (PathBuf, PathBuf) {
    let stem = host.state_directory().join("originals").join(atomic::sha256(path.as_bytes()));
    (stem.with_extension("bytes"), stem.with_extension("json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Resource, Stop, apply_all};

    #[test]
    fn a_file_of_the_hosts_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let path = "/etc/containerd/config.toml";
        atomic::write(&host.path(path), 0o640, b"theirs").unwrap();
        for text in ["ours", "ours again"] {
            let content = Content { text: text.to_owned(), sensitive: false };
            let resources = [Resource::File { path: path.to_owned(), mode: 0o644, content }];
            apply_all(&host, &resources, &Stop::default()).unwrap();
        }
        assert!(restore(&host, path).unwrap());
        assert_eq!(atomic::read(&host.path(path)).unwrap().unwrap(), b"theirs");
        assert_eq!(atomic::mode(&host.path(path)).unwrap(), Some(0o640));
        assert!(restore(&host, path).unwrap(), "whoever was cut off gives it back again");
        forget(&host, path).unwrap();
        assert!(!restore(&host, path).unwrap(), "it is given back once");
    }
}
