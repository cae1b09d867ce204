//! Hashes of files that were computed before. Programs are tens of megabytes, so their hash is kept with what the
//! file looked like when it was computed; a file that looks the same is not read again. Whoever changes a file's
//! bytes changes its change time, which no program can set.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use fs_err as fs;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Host, ResourceError, atomic};

const MODE: u32 = 0o600;
/// Change times are only so fine: a file that changed a moment ago may change again and look the same.
const SETTLED: SignedDuration = SignedDuration::from_millis(200);
/// More files of ours are surely a mistake; then the list begins anew.
const MAX_FILES: usize = 4_096;

/// What a file looked like when its hash was computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    inode: u64,
    size_bytes: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
    sha256: String,
}

#[derive(Debug)]
pub(crate) struct Hashes<'a> {
    host: &'a Host,
    known: BTreeMap<String, Seen>,
    is_changed: bool,
}

impl<'a> Hashes<'a> {
    /// An unreadable list only costs computing the hashes again.
    pub(crate) fn load(host: &'a Host) -> Self {
        let bytes = atomic::read(&store(host)).ok().flatten().unwrap_or_default();
        let known: BTreeMap<String, Seen> = serde_json::from_slice(&bytes).unwrap_or_default();
        let known = if known.len() > MAX_FILES { BTreeMap::new() } else { known };
        Self { host, known, is_changed: false }
    }

    /// The hash of a regular file as it is now; `None` when there is none.
    pub(crate) fn sha256(&mut self, path: &str) -> Result<Option<String>, ResourceError> {
        let real = self.host.path(path);
        if atomic::mode(&real)?.is_none() {
            return Ok(None);
        }
        let mut file = fs::File::open(&real)?;
        let metadata = file.metadata()?;
        let seen = |sha256: &str| Seen {
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            changed_seconds: metadata.ctime(),
            changed_nanoseconds: metadata.ctime_nsec(),
            sha256: sha256.to_owned(),
        };
        if let Some(before) = self.known.get(path)
            && *before == seen(&before.sha256)
        {
            return Ok(Some(before.sha256.clone()));
        }
        let settled = Timestamp::now().checked_sub(SETTLED).is_ok_and(|then| {
            then.as_second() > metadata.ctime()
                || (then.as_second() == metadata.ctime() && i64::from(then.subsec_nanosecond()) > metadata.ctime_nsec())
        });
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut hash))?;
        let sha256 = hex::encode(hash.finalize());
        if settled {
            self.known.insert(path.to_owned(), seen(&sha256));
            self.is_changed = true;
        }
        Ok(Some(sha256))
    }

    /// Keeps what was learnt; on a host that has nothing of ours, nothing is begun.
    pub(crate) fn save(&mut self) -> Result<(), ResourceError> {
        if !std::mem::take(&mut self.is_changed) || !self.host.state_directory().is_dir() {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(&self.known).map_err(io::Error::other)?;
        atomic::write(&store(self.host), MODE, &bytes)
    }
}

fn store(host: &Host) -> PathBuf {
    host.state_directory().join("hashes.json")
}

pub(crate) struct HashWriter<'a>(pub(crate) &'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Asks until the answer is one that was kept.
    fn settle(host: &Host, path: &str) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            let mut hashes = Hashes::load(host);
            hashes.sha256(path).unwrap();
            hashes.save().unwrap();
            if Hashes::load(host).known.contains_key(path) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the hash was never kept");
    }

    #[test]
    fn another_content_with_the_same_size_and_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir_all(host.state_directory()).unwrap();
        let path = host.path("/opt/program");
        atomic::write(&path, 0o755, b"one").unwrap();
        settle(&host, "/opt/program");
        let times = fs::metadata(&path).unwrap();
        fs::write(&path, b"two").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(times.modified().unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), times.modified().unwrap());
        let found = Hashes::load(&host).sha256("/opt/program").unwrap();
        assert_eq!(found, Some(atomic::sha256(b"two")));
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir_all(host.state_directory()).unwrap();
        atomic::write(&host.path("/opt/program"), 0o755, b"one").unwrap();
        settle(&host, "/opt/program");
        let mut hashes = Hashes::load(&host);
        hashes.known.get_mut("/opt/program").unwrap().sha256 = "kept".to_owned();
        assert_eq!(hashes.sha256("/opt/program").unwrap().unwrap(), "kept");
        assert_eq!(hashes.sha256("/opt/nothing").unwrap(), None);
    }
}
