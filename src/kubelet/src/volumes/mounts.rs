//! Mounts below a folder: listing, binding, unmounting.

use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::VolumeError;

/// Mounts on top of one another at the same place, at most.
const PASSES: usize = 8;

pub(super) fn bind(source: &Path, target: &Path) -> std::io::Result<()> {
    Ok(mount_bind(source, target)?)
}

/// Mount points at or below a folder, deepest first.
pub(super) fn below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(folder))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    Ok(found)
}

/// The kernel writes blanks as octal `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

pub(super) fn unmount_below(folder: &Path) -> Result<(), VolumeError> {
    let folder = fs::canonicalize(folder)?;
    for _ in 0..PASSES {
        let mounts = below(&folder)?;
        if mounts.is_empty() {
            return Ok(());
        }
        for path in mounts {
            unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).map_err(std::io::Error::from)?;
        }
    }
    Err(VolumeError::StillMounted { path: folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes() {
        assert_eq!(unescape("/a\\040b\\134"), "/a b\\");
    }
}
