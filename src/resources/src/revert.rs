//! Changes that are put back unless somebody confirms them in time. Before a change, what it touches is saved below
//! `/var/lib/naru/revert/ID`; a watcher that outlives the connection, and every agent that starts later, puts it back
//! when its time has come.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::kinds::systemd;
use crate::manifest::{Entry, Manifest};
use crate::saved::{self, SavedPath, SavedUnit};
use crate::{Change, Host, Resource, ResourceError, atomic};

const FOLDER: &str = "/var/lib/naru/revert";
const RECORD: &str = "saved.json";
const LOCK: &str = "lock";
const WATCH: &str = "watch";
/// How the last one of all ended.
const OUTCOME: &str = "outcome.json";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const ID_BYTES: usize = 8;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const MILLISECONDS: i64 = 1_000;

/// What was there before a change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    boot_id: String,
    seconds: u32,
    /// When it is put back; unknown while the change is being made.
    deadline_unix_ms: Option<i64>,
    /// In the order of the resources.
    paths: Vec<(String, SavedPath)>,
    sysctls: BTreeMap<String, String>,
    units: Vec<SavedUnit>,
    entries: BTreeMap<String, Option<Entry>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    id: String,
    is_confirmed: bool,
}

/// A change that is being made and will be put back. Nobody else puts it back while this lives.
#[derive(Debug)]
pub struct Revert {
    host: Host,
    id: String,
    _lock: fs::File,
}

impl Revert {
    /// Saves what these resources touch.
    pub fn prepare(host: &Host, resources: &[Resource], seconds: u32) -> Result<Self, ResourceError> {
        refuse_pending(host)?;
        let id = new_id()?;
        let folder = folder(host, &id);
        std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder)?;
        let lock = lock(&folder.join(LOCK), FlockOperation::LockExclusive)?
            .ok_or_else(|| ResourceError::passing("the saved state is in use"))?;
        let manifest = Manifest::load(host)?;
        let paths = saved::touched(resources);
        let record = Record {
            boot_id: boot_id(host),
            seconds,
            deadline_unix_ms: None,
            entries: paths.iter().map(|path| (path.clone(), manifest.entries.get(path).cloned())).collect(),
            paths: saved::paths(host, &folder, paths)?,
            sysctls: saved::sysctls(host, resources),
            units: saved::units(host, resources)?,
        };
        write_record(&folder, &record)?;
        Ok(Self { host: host.clone(), id, _lock: lock })
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The change is made: from now on the time runs.
    pub fn begin(self) -> Result<String, ResourceError> {
        let folder = folder(&self.host, &self.id);
        let mut record = read_record(&folder)?;
        let now = Timestamp::now().as_millisecond();
        record.deadline_unix_ms = Some(now.saturating_add(i64::from(record.seconds) * MILLISECONDS));
        write_record(&folder, &record)?;
        Ok(self.id.clone())
    }

    /// Nothing was changed after all.
    pub fn discard(self) -> Result<(), ResourceError> {
        end(&self.host, &self.id, true)
    }

    /// The change failed: everything is put back at once.
    pub fn abandon(self) -> Result<Vec<Change>, ResourceError> {
        put_back(&self.host, &self.id)
    }
}

/// Keeps what the change made. Saying it twice is as good as once.
pub fn confirm(host: &Host, id: &str) -> Result<(), ResourceError> {
    let folder = checked_folder(host, id)?;
    let held = lock(&folder.join(LOCK), FlockOperation::LockExclusive)?;
    if held.is_none() || !folder.join(RECORD).exists() {
        let outcome = outcome(host).filter(|outcome| outcome.id == id && outcome.is_confirmed);
        return if outcome.is_some() { Ok(()) } else { Err(too_late(id)) };
    }
    end(host, id, true)
}

/// Waits in this thread until the time of this change has come, and puts it back if nobody confirmed it. `ready` is
/// told when the watch has begun.
pub fn watch(host: &Host, id: &str, ready: impl FnOnce()) -> Result<Vec<Change>, ResourceError> {
    let folder = checked_folder(host, id)?;
    let Some(_watch) = lock(&folder.join(WATCH), FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(Vec::new());
    };
    ready();
    // Waits as long as the change is being made, or until its maker is dead.
    let Some(held) = lock(&folder.join(LOCK), FlockOperation::LockExclusive)? else { return Ok(Vec::new()) };
    if !folder.join(RECORD).exists() {
        return Ok(Vec::new());
    }
    let record = read_record(&folder)?;
    drop(held);
    // A deadline far ahead tells of a clock that was set back meanwhile.
    let longest_ms = i64::from(record.seconds) * MILLISECONDS;
    let left_ms = record
        .deadline_unix_ms
        .map_or(longest_ms, |deadline| (deadline - Timestamp::now().as_millisecond()).clamp(0, longest_ms));
    std::thread::sleep(Duration::from_millis(u64::try_from(left_ms).unwrap_or_default()));
    let Some(_lock) = lock(&folder.join(LOCK), FlockOperation::LockExclusive)? else { return Ok(Vec::new()) };
    if folder.join(RECORD).exists() { put_back(host, id) } else { Ok(Vec::new()) }
}

/// Whether somebody watches this change.
#[must_use]
pub fn is_watched(host: &Host, id: &str) -> bool {
    let path = folder(host, id).join(WATCH);
    let Ok(file) = fs::File::open(path) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

/// Puts back what is due: its time has passed without a watcher, or the host was started anew since. Answers what
/// still has to be watched.
pub fn resume(host: &Host) -> Result<Vec<String>, ResourceError> {
    let mut unwatched = Vec::new();
    for id in pending(host) {
        let folder = folder(host, &id);
        let Some(_lock) = lock(&folder.join(LOCK), FlockOperation::NonBlockingLockExclusive)? else { continue };
        if !folder.join(RECORD).exists() {
            // Cut off before anything was changed, or after everything was done.
            fs::remove_dir_all(&folder)?;
            continue;
        }
        let record = read_record(&folder)?;
        let now = Timestamp::now().as_millisecond();
        let is_due = record.boot_id != boot_id(host) || record.deadline_unix_ms.is_some_and(|deadline| deadline <= now);
        if is_due && !is_watched(host, &id) {
            put_back(host, &id)?;
        } else if !is_watched(host, &id) {
            unwatched.push(id);
        }
    }
    Ok(unwatched)
}

/// Changes that wait for their confirmation.
#[must_use]
pub fn pending(host: &Host) -> Vec<String> {
    let Ok(entries) = fs::read_dir(host.path(FOLDER)) else { return Vec::new() };
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The change that waits to be confirmed, if there is one.
#[must_use]
pub fn waiting(host: &Host) -> Option<String> {
    pending(host).into_iter().find(|id| folder(host, id).join(RECORD).exists())
}

/// What is saved would be overtaken by changes that are made in between.
pub(crate) fn refuse_pending(host: &Host) -> Result<(), ResourceError> {
    match waiting(host) {
        None => Ok(()),
        Some(id) => Err(ResourceError::passing(format!("an earlier change of this host ({id}) waits to be confirmed"))),
    }
}

/// Everything as it was: files and folders, kernel parameters, units. Goes on after a failure and tells the first.
fn put_back(host: &Host, id: &str) -> Result<Vec<Change>, ResourceError> {
    let folder = folder(host, id);
    let record = read_record(&folder)?;
    let mut changes = Vec::new();
    let mut failures = Vec::new();
    let mut note = |outcome: Result<Option<String>, ResourceError>| match outcome {
        Ok(Some(summary)) => {
            changes.push(Change { resource: changes.len(), summary, diff: None, disruption: None });
        }
        Ok(None) => {}
        Err(error) => failures.push(error),
    };
    for unit in &record.units {
        note(saved::stop_new(host, unit));
    }
    for (path, saved) in record.paths.iter().rev() {
        note(saved::restore_path(host, &folder, path, saved));
    }
    for (key, value) in &record.sysctls {
        note(saved::restore_sysctl(host, key, value));
    }
    if !record.units.is_empty() {
        note(systemd::reload(host).map(|()| None));
    }
    for unit in &record.units {
        note(saved::restore_unit(host, unit));
    }
    note(restore_entries(host, &record.entries).map(|()| None));
    if let Some(error) = failures.into_iter().next() {
        return Err(error);
    }
    tracing::warn!(id, changes = changes.len(), "nobody confirmed the change in time; it was put back");
    end(host, id, false)?;
    Ok(changes)
}

fn restore_entries(host: &Host, entries: &BTreeMap<String, Option<Entry>>) -> Result<(), ResourceError> {
    let mut manifest = Manifest::load(host)?;
    for (name, entry) in entries {
        match entry {
            Some(entry) => manifest.put(name, &entry.kind, &entry.sha256),
            None => manifest.remove(name),
        }
    }
    manifest.save(host)
}

/// The record goes first: without it nothing is put back.
fn end(host: &Host, id: &str, is_confirmed: bool) -> Result<(), ResourceError> {
    let outcome = serde_json::to_vec(&Outcome { id: id.to_owned(), is_confirmed }).map_err(io::Error::other)?;
    atomic::write(&host.path(FOLDER).join(OUTCOME), FILE_MODE, &outcome)?;
    let folder = folder(host, id);
    fs::remove_file(folder.join(RECORD))?;
    atomic::sync_folder(&folder.join(RECORD))?;
    Ok(fs::remove_dir_all(&folder)?)
}

fn outcome(host: &Host) -> Option<Outcome> {
    serde_json::from_slice(&atomic::read(&host.path(FOLDER).join(OUTCOME)).ok().flatten()?).ok()
}

fn too_late(id: &str) -> ResourceError {
    ResourceError::refused(
        format!("the change {id} does not wait to be confirmed: its time has passed, and it was put back"),
        "plan again: the host is as it was before",
    )
}

fn new_id() -> Result<String, ResourceError> {
    let mut bytes = [0_u8; ID_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn folder(host: &Host, id: &str) -> PathBuf {
    host.path(FOLDER).join(id)
}

fn checked_folder(host: &Host, id: &str) -> Result<PathBuf, ResourceError> {
    if id.len() == 2 * ID_BYTES && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(folder(host, id));
    }
    Err(ResourceError::refused(format!("`{id}` is no confirmation"), ""))
}

pub(crate) fn boot_id(host: &Host) -> String {
    fs::read_to_string(host.path(BOOT_ID)).unwrap_or_default().trim().to_owned()
}

/// `None`: somebody else has it, or the folder is gone.
fn lock(path: &Path, operation: FlockOperation) -> Result<Option<fs::File>, ResourceError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.options_mut().mode(FILE_MODE);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.parent() {
                Some(folder) if folder.is_dir() => Err(error.into()),
                _ => Ok(None),
            };
        }
        Err(error) => return Err(error.into()),
    };
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn write_record(folder: &Path, record: &Record) -> Result<(), ResourceError> {
    let bytes = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    atomic::write(&folder.join(RECORD), FILE_MODE, &bytes)
}

fn read_record(folder: &Path) -> Result<Record, ResourceError> {
    let path = folder.join(RECORD);
    serde_json::from_slice(&fs::read(&path)?).map_err(|error| ResourceError::Unreadable {
        path: path.display().to_string(),
        what: "the state of before a change",
        reason: error.to_string(),
    })
}

#[cfg(test)]
#[path = "revert_tests.rs"]
mod tests;
