//! File locks against concurrent runs. A lock is held by the open file: it dies with its process, never goes stale.

use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::File;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// Longest wait for another run: it may be making an image over a slow link.
const LOCK_WAIT: Duration = Duration::from_secs(20 * 60);
const LOCK_POLL: Duration = Duration::from_millis(100);

/// An exclusive lock, released on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for another holder up to [`LOCK_WAIT`].
    pub(crate) fn take(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let start = Instant::now();
        let mut told = false;
        while start.elapsed() < LOCK_WAIT {
            match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
            if !told {
                tracing::info!(lock = %path.display(), "waiting for another run");
                told = true;
            }
            std::thread::sleep(LOCK_POLL);
        }
        let what = format!("waiting for the lock {}", path.display());
        Err(Error::Deadline { what, seconds: LOCK_WAIT.as_secs(), hint: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let start = Instant::now();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path).map(|_| start.elapsed())
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(first);
        assert!(second.join().unwrap().unwrap() >= Duration::from_millis(300));
    }
}
