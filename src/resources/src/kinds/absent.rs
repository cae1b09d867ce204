//! Something that an earlier plan put on the host and that is not wanted any more.

use std::io;

use fs_err as fs;

use crate::pending::Pending;
use crate::{Change, Host, ResourceError};

use super::{Kind, change};

pub(super) struct Absent<'a> {
    pub(super) path: &'a str,
}

impl Kind for Absent<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let there = host.path(self.path).symlink_metadata().is_ok();
        Ok(there.then(|| change(format!("remove {}", self.path))))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(self.path);
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
