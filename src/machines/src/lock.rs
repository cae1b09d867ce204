//! File locks against concurrent runs. A lock is held by the open file: it dies with its process, never goes stale.

use std::path::Path;
use std::process::Stdio;
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
    file: File,
}

impl Lock {
    /// Takes the lock, waiting for another holder up to [`LOCK_WAIT`].
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        let start = Instant::now();
        let mut told = false;
        while start.elapsed() < LOCK_WAIT {
            match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_still(path, &file) => return Ok(Self { file }),
                // The holder before us removed the file: whoever comes next would lock another one.
                Ok(()) => file = open(path)?,
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

    /// The lock as standard input of a program: when we are killed, it stays taken until that program has ended too.
    pub(crate) fn share(&self) -> Result<Stdio> {
        Ok(self.file.file().try_clone()?.into())
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    Ok(fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?)
}

fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |data: &std::fs::Metadata| (data.dev(), data.ino());
    matches!((path.metadata(), file.metadata()), (Ok(named), Ok(opened)) if identity(&named) == identity(&opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_lock_file_does_not_let_two_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path).unwrap()
        });
        std::thread::sleep(Duration::from_millis(150));
        fs_err::remove_file(&path).unwrap();
        drop(first);
        let second = second.join().unwrap();
        assert!(is_still(&path, &second.file));
    }

    #[test]
    fn a_child_keeps_the_lock_when_its_parent_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let start = Instant::now();
        let mut child = sleep.arg("0.4").stdin(lock.share().unwrap()).spawn().unwrap();
        drop((lock, sleep));
        Lock::take(&path).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(300));
        child.wait().unwrap();
    }

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
