//! The host's lock for changes: a file lock that lives as long as its holder's connection, so it is never stale.

use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use fs_err as fs;
use naru_resources::Host;
use rustix::fs::{FlockOperation, flock};

use crate::{Failure, FailureKind};

const MAX_OWNER_BYTES: u64 = 512;
/// Whoever may open the file may take the lock, for as long as they like; so nobody else may.
const MODE: u32 = 0o600;

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: fs::File,
}

impl Lock {
    pub(crate) fn take(host: &Host, owner: &str) -> Result<Self, Failure> {
        let path = host.lock();
        let failed = |error: std::io::Error| Failure {
            kind: FailureKind::Permanent,
            message: format!("the lock of this host cannot be taken: {error}"),
            detail: None,
            hint: None,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = fs::OpenOptions::new();
        // Not truncated: the text names the present owner until we are the owner.
        options.read(true).write(true).create(true).truncate(false);
        options.options_mut().mode(MODE);
        let mut file = options.open(&path).map_err(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(locked(&mut file)),
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(owner.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock, if somebody does; this connection must not.
pub(crate) fn holder(host: &Host) -> Option<Failure> {
    let mut file = fs::File::open(host.lock()).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(locked(&mut file)),
        _ => None,
    }
}

fn locked(file: &mut fs::File) -> Failure {
    let mut owner = String::new();
    let read = file.take(MAX_OWNER_BYTES).read_to_string(&mut owner);
    let owner = if read.is_ok() && !owner.trim().is_empty() { owner.trim() } else { "somebody" };
    Failure {
        kind: FailureKind::Locked,
        message: format!("this host is being changed by {owner}"),
        detail: None,
        hint: Some("wait until that run has ended; the lock goes with its connection".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_may_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let mode = || fs::metadata(host.lock()).unwrap().permissions().mode() & 0o777;
        drop(Lock::take(&host, "ann").unwrap());
        assert_eq!(mode(), 0o600);
        fs::set_permissions(host.lock(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let _lock = Lock::take(&host, "ann").unwrap();
        assert_eq!(mode(), 0o600, "one of an older version is closed");
    }

    #[test]
    fn the_second_hears_who_holds_it_and_gets_it_when_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let first = Lock::take(&host, "ann@desk, a rather long name").unwrap();
        let refused = Lock::take(&host, "bob").unwrap_err();
        assert_eq!(holder(&host), Some(refused.clone()));
        assert_eq!(refused.kind, FailureKind::Locked);
        assert!(refused.message.contains("ann@desk"), "{}", refused.message);
        drop(first);
        assert_eq!(holder(&host), None);
        let _second = Lock::take(&host, "bob").unwrap();
        let refused = Lock::take(&host, "eve").unwrap_err();
        assert!(refused.message.ends_with("bob"), "{}", refused.message);
    }
}
