//! subPath without escape: the kernel resolves the path beneath the volume, and what it found is bind-mounted,
//! so that nobody can swap a link in between.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use super::mounts::{below, bind};
use super::{Mounted, VolumeError};

const MAX_DEPTH: usize = 64;

/// The host path of `sub_path` in the volume, made at `target` by a bind mount.
pub(crate) fn resolve(volume: &Mounted, sub_path: &str, target: &Path) -> Result<PathBuf, VolumeError> {
    let escapes = || VolumeError::Escapes { path: sub_path.to_owned() };
    let relative = Path::new(sub_path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || relative.components().count() > MAX_DEPTH {
        return Err(escapes());
    }
    let root = openat2(
        rustix::fs::CWD,
        &volume.path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::empty(),
    )
    .map_err(std::io::Error::from)?;
    let found = match open_beneath(&root, relative) {
        Err(Errno::NOENT) => make_folders(&root, relative),
        other => other,
    };
    let found = found.map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => escapes(),
        other => VolumeError::Io(other.into()),
    })?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    if target.symlink_metadata().is_err() {
        if fs::metadata(&source)?.is_dir() {
            fs::create_dir(target)?;
        } else {
            fs::File::create(target)?;
        }
    }
    let canonical = fs::canonicalize(target)?;
    if !below(&canonical)?.contains(&canonical) {
        bind(&source, &canonical)?;
    }
    Ok(canonical)
}

fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
}

fn make_folders(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut so_far = PathBuf::new();
    let mut parent = open_beneath(root, Path::new("."))?;
    for part in path.components() {
        so_far.push(part);
        match mkdirat(&parent, Path::new(part.as_os_str()), Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        parent = open_beneath(root, &so_far)?;
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_leave_the_volume() {
        let folder = std::env::temp_dir().join(format!("naru-sub-path-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("out")).unwrap();
        let volume = Mounted { path: folder.clone(), read_only: false, ours: true };
        let target = folder.join("target");
        assert!(matches!(resolve(&volume, "../x", &target), Err(VolumeError::Escapes { .. })));
        assert!(matches!(resolve(&volume, "out/passwd", &target), Err(VolumeError::Escapes { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
