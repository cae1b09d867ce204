//! emptyDir on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::fs::{Gid, chown};
use rustix::mount::{MountFlags, mount};

use super::VolumeError;
use super::mounts::below;
use crate::quantity::units;

pub(super) fn prepare(path: &Path, source: &EmptyDirVolumeSource, group: Option<i64>) -> Result<(), VolumeError> {
    let fresh = !path.exists();
    match source.medium.as_deref().unwrap_or_default() {
        "Memory" => memory(path, source.size_limit.as_ref().map(units))?,
        "" => fs::create_dir_all(path)?,
        _ => return Err(VolumeError::Unsupported),
    }
    if fresh {
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
            chown(path, None, Some(Gid::from_raw(group))).map_err(std::io::Error::from)?;
        }
        // Set apart from the creation, so that our umask has no say.
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A tmpfs at the path, unless one is there already.
pub(super) fn memory(path: &Path, size_bytes: Option<i64>) -> Result<(), VolumeError> {
    fs::create_dir_all(path)?;
    let canonical = fs::canonicalize(path)?;
    if below(&canonical)?.iter().any(|mounted| *mounted == canonical) {
        return Ok(());
    }
    let options = size_bytes.filter(|bytes| *bytes > 0).map_or("mode=0777".into(), |b| format!("mode=0777,size={b}"));
    let options = std::ffi::CString::new(options).map_err(std::io::Error::other)?;
    mount(c"tmpfs", &canonical, c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
        .map_err(std::io::Error::from)?;
    Ok(())
}
