//! A directory with a mode.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use fs_err as fs;

use super::{Kind, announce, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

pub(crate) struct Directory<'a> {
    pub(crate) path: &'a str,
    pub(crate) mode: u32,
}

impl Kind for Directory<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let path = host.path(self.path);
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => Err(ResourceError::refused(
                format!("{} is there, but is no directory", self.path),
                "move it out of the way",
            )),
            Ok(metadata) => {
                let mode = metadata.permissions().mode() & atomic::PERMISSION_BITS;
                Ok((mode != self.mode)
                    .then(|| change(format!("chmod {:04o} {} (was {mode:04o})", self.mode, self.path))))
            }
            Err(_) => Ok(Some(change(format!("create {}/", self.path.trim_end_matches('/'))))),
        }
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(self.path);
        if !path.exists() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // A private directory is private from the start.
            std::fs::DirBuilder::new().mode(self.mode).create(&path)?;
            atomic::sync_folder(&path)?;
        }
        fs::set_permissions(&path, std::fs::Permissions::from_mode(self.mode))?;
        Ok(())
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, self.path, "directory");
        Ok(())
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put_with_mode(self.path, "directory", "", self.mode);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_with_its_mode_and_corrected() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let private = Directory { path: "/etc/naru/pki", mode: 0o700 };
        let found = private.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "create /etc/naru/pki/");
        private.apply(&host).unwrap();
        assert_eq!(private.check(&host, &Pending::default()).unwrap(), None);
        let open = Directory { path: "/etc/naru/pki", mode: 0o755 };
        let found = open.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "chmod 0755 /etc/naru/pki (was 0700)");
        open.apply(&host).unwrap();
        assert_eq!(open.check(&host, &Pending::default()).unwrap(), None);
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        atomic::write(&host.path("/etc/naru"), 0o644, b"").unwrap();
        let directory = Directory { path: "/etc/naru", mode: 0o755 };
        assert!(matches!(directory.check(&host, &Pending::default()), Err(ResourceError::Refused { .. })));
    }
}
