//! Units that have to be restarted because something that they read is about to change. It is noted on the host before
//! the change and forgotten after the restart, so that a run which is cut off in between leaves it to the next one:
//! times of files say nothing about one that is gone, and the wrong thing after the clock was set back. Of a process
//! that was started here it is kept which files it found, for those that somebody else changes: a certificate comes
//! without the unit that reads it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::kinds::unit;
use crate::pending::Pending;
use crate::revert::boot_id;
use crate::{Host, Resource, ResourceError, atomic};

const MODE: u32 = 0o600;

/// Notes those of these units that look at what `resource` changes.
pub(crate) fn note(host: &Host, resource: &Resource, units: &[Resource]) -> Result<(), ResourceError> {
    let mut changes = Pending::default();
    changes.note(resource);
    for one in units {
        let Resource::Unit { name, restart_on, .. } = one else { continue };
        if let Some(path) = unit::watched(name, restart_on).iter().find_map(|path| changes.changed(path)) {
            note_one(host, name, path)?;
        }
    }
    Ok(())
}

/// Notes one unit; the first reason stays.
pub(crate) fn note_one(host: &Host, unit: &str, path: &str) -> Result<(), ResourceError> {
    if pending(host, unit)?.is_some() {
        return Ok(());
    }
    atomic::write(&place(host, unit), MODE, format!("{}\n{path}", boot_id(host)).as_bytes())
}

/// The path that changed since this unit was started. Who was started by a reboot has read what is there.
pub(crate) fn pending(host: &Host, unit: &str) -> Result<Option<String>, ResourceError> {
    let text = atomic::read_text(&place(host, unit))?;
    let Some((boot, path)) = text.split_once('\n') else { return Ok(None) };
    Ok((boot == boot_id(host)).then(|| path.to_owned()))
}

/// The unit runs with what is there now.
pub(crate) fn done(host: &Host, unit: &str) -> Result<(), ResourceError> {
    match fs::remove_file(place(host, unit)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Of which process of which boot, and what it found at each path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    boot: String,
    process: String,
    found: Found,
}

/// By path; what is not there has none.
pub(crate) type Found = BTreeMap<String, String>;

/// What lies at these paths now.
pub(crate) fn found(host: &Host, paths: &[String]) -> Found {
    paths.iter().filter_map(|path| Some((path.clone(), stamp(&host.path(path))?))).collect()
}

/// Keeps what a process found that was just started. `found` is from before the start.
pub(crate) fn started(host: &Host, unit: &str, process: Option<String>, found: Found) -> Result<(), ResourceError> {
    let Some(process) = process else { return Ok(()) };
    let started = Started { boot: boot_id(host), process, found };
    let bytes = serde_json::to_vec(&started).map_err(std::io::Error::other)?;
    atomic::write(&start_place(host, unit), MODE, &bytes)
}

/// The first of these paths at which something else lies than this process found; none when it was not started here.
pub(crate) fn changed_since(
    host: &Host,
    unit: &str,
    process: Option<&str>,
    paths: &[String],
) -> Result<Option<String>, ResourceError> {
    let bytes = atomic::read(&start_place(host, unit))?.unwrap_or_default();
    let Ok(started) = serde_json::from_slice::<Started>(&bytes) else { return Ok(None) };
    if process != Some(started.process.as_str()) || started.boot != boot_id(host) {
        return Ok(None);
    }
    let now = found(host, paths);
    Ok(now.into_iter().find(|(path, stamp)| started.found.get(path) != Some(stamp)).map(|(path, _)| path))
}

/// Differs whenever the file, or anything directly in the folder, was written or replaced.
fn stamp(path: &Path) -> Option<String> {
    let one = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some(format!("{}-{}.{:09}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    };
    let mut stamps = vec![one(path)?];
    if path.is_dir() {
        let mut inside: Vec<String> = fs::read_dir(path).ok()?.filter_map(|entry| one(&entry.ok()?.path())).collect();
        inside.sort();
        stamps.extend(inside);
    }
    Some(stamps.join(" "))
}

fn start_place(host: &Host, unit: &str) -> PathBuf {
    host.state_directory().join("starts").join(unit)
}

fn place(host: &Host, unit: &str) -> PathBuf {
    host.state_directory().join("restarts").join(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_starts_units_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let boot = host.path("/proc/sys/kernel/random/boot_id");
        atomic::write(&boot, 0o644, b"one\n").unwrap();
        note_one(&host, "x.service", "/etc/x").unwrap();
        note_one(&host, "x.service", "/etc/y").unwrap();
        assert_eq!(pending(&host, "x.service").unwrap().as_deref(), Some("/etc/x"));
        atomic::write(&boot, 0o644, b"two\n").unwrap();
        assert_eq!(pending(&host, "x.service").unwrap(), None);
        done(&host, "x.service").unwrap();
        done(&host, "x.service").unwrap();
        assert!(!place(&host, "x.service").exists());
    }
}
