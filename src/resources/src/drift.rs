//! What is not as Naru left it: changed by hand, with other permissions, or gone.

use std::os::unix::fs::MetadataExt;

use fs_err as fs;

use crate::hashes::Hashes;
use crate::manifest::{Entry, Manifest};
use crate::{Host, ResourceError, atomic};

/// Kinds of the manifest whose names are no paths, or whose files come and go without harm.
const WITHOUT_PATH: [&str; 3] = ["package", "image", "artifact"];

/// Names of the entries that differ.
pub fn drifted(host: &Host, manifest: &Manifest) -> Result<Vec<String>, ResourceError> {
    let mut hashes = Hashes::load(host);
    let mut found = Vec::new();
    for (path, entry) in &manifest.entries {
        if WITHOUT_PATH.contains(&entry.kind.as_str()) {
            continue;
        }
        // What cannot be looked at is not as it was left.
        if !is_as_left(host, &mut hashes, path, entry, manifest.modes.get(path).copied()).unwrap_or(false) {
            found.push(path.clone());
        }
    }
    hashes.save()?;
    Ok(found)
}

fn is_as_left(
    host: &Host,
    hashes: &mut Hashes<'_>,
    path: &str,
    entry: &Entry,
    mode: Option<u32>,
) -> Result<bool, ResourceError> {
    // Announced, and cut off before it was done: nothing is known of how it was left, if it is there at all.
    if entry.sha256.is_empty() && mode.is_none() {
        return Ok(true);
    }
    let metadata = fs::symlink_metadata(host.path(path))?;
    if mode.is_some_and(|mode| metadata.mode() & atomic::PERMISSION_BITS != mode) {
        return Ok(false);
    }
    if entry.kind == "directory" {
        return Ok(metadata.is_dir());
    }
    if !metadata.is_file() {
        return Ok(false);
    }
    Ok(entry.sha256.is_empty() || hashes.sha256(path)?.as_deref() == Some(entry.sha256.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Resource, Stop, apply_all};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn changed_by_hand_opened_up_replaced_and_gone() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let file = |name: &str| Resource::File {
            path: format!("/etc/naru/{name}"),
            mode: 0o600,
            content: Content { text: name.to_owned(), sensitive: false },
        };
        let mut resources = vec![Resource::Directory { path: "/etc/naru".to_owned(), mode: 0o755 }];
        resources.extend(["changed", "gone", "link", "open", "same"].map(file));
        apply_all(&host, &resources, &Stop::default()).unwrap();
        let look = || drifted(&host, &Manifest::load(&host).unwrap()).unwrap();
        assert_eq!(look(), Vec::<String>::new());
        let path = |name: &str| host.path(format!("/etc/naru/{name}"));
        fs::write(path("changed"), "CHANGED").unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::set_permissions(path("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(path("link"), path("target")).unwrap();
        std::os::unix::fs::symlink("target", path("link")).unwrap();
        assert_eq!(look(), ["changed", "gone", "link", "open"].map(|name| format!("/etc/naru/{name}")));
        fs::set_permissions(host.path("/etc/naru"), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(look().contains(&"/etc/naru".to_owned()));
    }
}
