//! Files that change all at once: a new folder is filled, then the `..data` link moves to it by one rename.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Gid, chown};

use super::VolumeError;
use super::payload::Files;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes the folder show exactly these files. Does nothing if it does already.
pub(super) fn write(folder: &Path, files: &Files, group: Option<i64>) -> Result<(), VolumeError> {
    for path in files.keys() {
        let bad = Path::new(path).components().any(|part| !matches!(part, std::path::Component::Normal(_)));
        if bad || path.is_empty() {
            return Err(VolumeError::Escapes { path: path.clone() });
        }
    }
    let data = folder.join(DATA);
    let old = fs::read_link(&data).ok().map(|target| folder.join(target));
    if old.as_ref().is_some_and(|old| is_same(old, files)) {
        link_names(folder, files)?;
        return Ok(());
    }
    let stamp = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    let name = format!("..{stamp}.{:09}", rand::random_range(0..1_000_000_000_u32));
    let fresh = folder.join(&name);
    fill(&fresh, files, group)?;
    let next = folder.join(DATA_NEXT);
    if next.symlink_metadata().is_ok() {
        fs::remove_file(&next)?;
    }
    symlink(&name, &next)?;
    fs::rename(&next, &data)?;
    link_names(folder, files)?;
    if let Some(old) = old.filter(|old| old.exists()) {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

fn is_same(folder: &Path, files: &Files) -> bool {
    let mut present = BTreeSet::new();
    collect(folder, Path::new(""), &mut present);
    present.len() == files.len()
        && files.iter().all(|(path, file)| {
            present.contains(Path::new(path)) && fs::read(folder.join(path)).is_ok_and(|bytes| bytes == file.content)
        })
}

fn collect(root: &Path, relative: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root.join(relative)).into_iter().flatten().flatten() {
        let path = relative.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(root, &path, found);
        } else {
            found.insert(path);
        }
    }
}

fn fill(folder: &Path, files: &Files, group: Option<i64>) -> Result<(), VolumeError> {
    let group = group.and_then(|group| u32::try_from(group).ok());
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        let mut mode = u32::try_from(file.mode).unwrap_or(0o644) & 0o7777;
        if let Some(group) = group {
            chown(&target, None, Some(Gid::from_raw(group))).map_err(std::io::Error::from)?;
            mode |= 0o440;
        }
        fs::set_permissions(&target, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The names that containers see: links through `..data`. Names that are gone lose their link.
fn link_names(folder: &Path, files: &Files) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::payload::File;

    fn files(entries: &[(&str, &str)]) -> Files {
        entries
            .iter()
            .map(|(path, text)| ((*path).to_owned(), File { content: text.as_bytes().to_vec(), mode: 0o640 }))
            .collect()
    }

    #[test]
    fn swaps_all_files_at_once() {
        let folder = std::env::temp_dir().join(format!("naru-atomic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        write(&folder, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        let first = fs::read_link(folder.join(DATA)).unwrap();
        assert_eq!(fs::read_to_string(folder.join("sub/b")).unwrap(), "2");
        assert_eq!(fs::metadata(folder.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        write(&folder, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(folder.join(DATA)).unwrap(), first, "nothing changed");
        write(&folder, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "3");
        assert!(folder.join("sub").symlink_metadata().is_err());
        assert!(!folder.join(first).exists());
        assert!(write(&folder, &files(&[("../x", "")]), None).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
