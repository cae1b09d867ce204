//! What a change touches, as it was before, and how it is put back.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::kinds::{kernel_module, swap, sysctl, systemd};
use crate::{Host, Resource, ResourceError, atomic};

const FILE_MODE: u32 = 0o600;
const UNIT_FOLDER: &str = "/etc/systemd/system";

/// Something at a path.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SavedPath {
    Absent,
    /// The bytes lie in a file of this name beside the record.
    File {
        mode: u32,
        copy: String,
    },
    Folder {
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedUnit {
    name: String,
    is_active: bool,
    is_enabled: Option<bool>,
}

/// Paths that these resources write, in their order.
pub(crate) fn touched(resources: &[Resource]) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for resource in resources {
        let of_one: Vec<String> = match resource {
            Resource::Directory { path, .. }
            | Resource::File { path, .. }
            | Resource::Binary { path, .. }
            | Resource::Absent { path } => vec![path.clone()],
            Resource::Sysctl { .. } => vec![sysctl::FILE.to_owned()],
            Resource::KernelModule { .. } => vec![kernel_module::FILE.to_owned()],
            Resource::Swap { enabled: false } => vec![swap::FSTAB.to_owned()],
            Resource::Unit { name, content: Some(_), .. } => vec![format!("{UNIT_FOLDER}/{name}")],
            Resource::Authority(authority) => vec![authority.certificate_path.clone(), authority.key_path.clone()],
            Resource::KeyPair { private_path, public_path } => vec![private_path.clone(), public_path.clone()],
            // Packages and images stay; certificates are written by a request of their own.
            _ => Vec::new(),
        };
        for path in of_one {
            if path.starts_with('/') && !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
}

/// Copies what is at these paths into `folder`.
pub(crate) fn paths(host: &Host, folder: &Path, paths: Vec<String>) -> Result<Vec<(String, SavedPath)>, ResourceError> {
    let mut found = Vec::with_capacity(paths.len());
    for (number, path) in paths.into_iter().enumerate() {
        let real = host.path(&path);
        let saved = match fs::symlink_metadata(&real) {
            Err(_) => SavedPath::Absent,
            Ok(metadata) if metadata.is_symlink() => SavedPath::Link { target: fs::read_link(&real)? },
            Ok(metadata) if metadata.is_dir() => SavedPath::Folder { mode: metadata.mode() & atomic::PERMISSION_BITS },
            Ok(metadata) => {
                let copy = format!("{number}.copy");
                atomic::write(&folder.join(&copy), FILE_MODE, &fs::read(&real)?)?;
                SavedPath::File { mode: metadata.mode() & atomic::PERMISSION_BITS, copy }
            }
        };
        found.push((path, saved));
    }
    Ok(found)
}

/// Kernel parameters as they are.
pub(crate) fn sysctls(host: &Host, resources: &[Resource]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for resource in resources {
        if let Resource::Sysctl { key, value } = resource
            && let Some(current) = (sysctl::Sysctl { key, value }).current(host)
        {
            found.insert(key.clone(), current);
        }
    }
    found
}

/// Units as they are, those that are going to be removed included.
pub(crate) fn units(host: &Host, resources: &[Resource]) -> Result<Vec<SavedUnit>, ResourceError> {
    let names = resources.iter().filter_map(|resource| match resource {
        Resource::Unit { name, .. } => Some(name.as_str()),
        Resource::Absent { path } => path.strip_prefix(UNIT_FOLDER)?.strip_prefix('/').filter(|rest| is_unit(rest)),
        _ => None,
    });
    let mut found = Vec::new();
    for name in names {
        let state = systemd::state(host, name)?;
        found.push(SavedUnit {
            name: name.to_owned(),
            is_active: state.is_active(),
            is_enabled: (state.load == "loaded").then(|| state.is_enabled()).flatten(),
        });
    }
    Ok(found)
}

fn is_unit(rest: &str) -> bool {
    !rest.contains('/') && (rest.ends_with(".service") || rest.ends_with(".socket") || rest.ends_with(".timer"))
}

pub(crate) fn restore_path(
    host: &Host,
    folder: &Path,
    path: &str,
    saved: &SavedPath,
) -> Result<Option<String>, ResourceError> {
    let real = host.path(path);
    let present = fs::symlink_metadata(&real).ok();
    match saved {
        SavedPath::Absent => match present {
            None => Ok(None),
            Some(metadata) if metadata.is_dir() => {
                // Somebody else may have put something in there since.
                Ok(fs::remove_dir(&real).is_ok().then(|| format!("remove {path}")))
            }
            Some(_) => fs::remove_file(&real).map(|()| Some(format!("remove {path}"))).map_err(Into::into),
        },
        SavedPath::Folder { mode } => {
            if present.is_some_and(|metadata| metadata.mode() & atomic::PERMISSION_BITS == *mode) {
                return Ok(None);
            }
            fs::create_dir_all(&real)?;
            fs::set_permissions(&real, std::fs::Permissions::from_mode(*mode))?;
            Ok(Some(format!("restore {path}")))
        }
        SavedPath::File { mode, copy } => {
            let bytes = fs::read(folder.join(copy))?;
            let is_file = present.is_some_and(|metadata| metadata.is_file());
            if is_file && atomic::mode(&real)? == Some(*mode) && fs::read(&real)? == bytes {
                return Ok(None);
            }
            atomic::write(&real, *mode, &bytes)?;
            Ok(Some(format!("restore {path}")))
        }
        SavedPath::Link { target } => {
            if fs::read_link(&real).is_ok_and(|present| present == *target) {
                return Ok(None);
            }
            if present.is_some() {
                fs::remove_file(&real)?;
            }
            std::os::unix::fs::symlink(target, &real)?;
            Ok(Some(format!("restore {path}")))
        }
    }
}

pub(crate) fn restore_sysctl(host: &Host, key: &str, value: &str) -> Result<Option<String>, ResourceError> {
    let parameter = sysctl::Sysctl { key, value };
    if parameter.current(host).is_some_and(|current| current == value) {
        return Ok(None);
    }
    fs::write(parameter.kernel_path(host), format!("{value}\n"))?;
    Ok(Some(format!("set {key} = {value}")))
}

/// A unit that did not run before is stopped while its file is still there.
pub(crate) fn stop_new(host: &Host, unit: &SavedUnit) -> Result<Option<String>, ResourceError> {
    let state = systemd::state(host, &unit.name)?;
    if unit.is_active || !state.is_active() {
        return Ok(None);
    }
    if unit.is_enabled.is_none() {
        systemd::retire(host, &unit.name)?;
    } else {
        systemd::systemctl(host, &["stop", "--", &unit.name])?;
    }
    Ok(Some(format!("stop {}", unit.name)))
}

/// After its files are back: enabled and running as before.
pub(crate) fn restore_unit(host: &Host, unit: &SavedUnit) -> Result<Option<String>, ResourceError> {
    let state = systemd::state(host, &unit.name)?;
    if let Some(enabled) = unit.is_enabled
        && state.is_enabled().is_some_and(|now| now != enabled)
    {
        let verb = if enabled { "enable" } else { "disable" };
        systemd::systemctl(host, &[verb, "--quiet", "--", &unit.name])?;
    }
    if !unit.is_active {
        return Ok(None);
    }
    systemd::run(host, "restart", &unit.name)?;
    Ok(Some(format!("restart {}", unit.name)))
}
