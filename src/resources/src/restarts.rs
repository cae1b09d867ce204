//! Units that have to be restarted because something that they read is about to change. It is noted on the host before
//! the change and forgotten after the restart, so that a run which is cut off in between leaves it to the next one:
//! times of files say nothing about one that is gone, and the wrong thing after the clock was set back.

use std::path::PathBuf;

use fs_err as fs;

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
