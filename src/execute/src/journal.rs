//! The journal: every event of a run, one JSON document per line, appended and synced before the run goes on. It is
//! for people and for later questions; nothing is ever read back to decide anything.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;
use serde::Serialize;

use crate::Event;

/// Errors in it carry what programs on the hosts printed; that is for the operator alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

#[derive(Debug, thiserror::Error)]
#[error("the journal {path} cannot be written")]
pub struct JournalError {
    pub path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// An open journal of one run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: fs::File,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

impl Journal {
    /// A new journal in `<state>/naru/<cluster>/`, where state is `$XDG_STATE_HOME` or `~/.local/state`.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn create(cluster: &str) -> Result<Self, JournalError> {
        let folder = cluster_folder(cluster);
        let name = format!("{}.ndjson", Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ"));
        Self::create_in(&folder, &name)
    }

    pub(crate) fn create_in(folder: &Path, name: &str) -> Result<Self, JournalError> {
        let path = folder.join(name);
        let fail = |source| JournalError { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(fail)?;
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true);
        options.options_mut().mode(FILE_MODE);
        let file = options.open(&path).map_err(fail)?;
        Ok(Self { path, file })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// When the line cannot be written and synced.
    pub fn append(&mut self, event: &Event) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(&Line { time: Timestamp::now(), event }).expect("events are plain data");
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError { path: self.path.clone(), source })
    }
}

/// Where everything about one cluster is kept that may be lost: `<state>/naru/<cluster>`.
#[must_use]
pub fn cluster_folder(cluster: &str) -> PathBuf {
    state_folder().join("naru").join(cluster)
}

fn state_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| std::env::temp_dir().join("naru-state"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_operator_may_read_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("naru/web");
        let journal = Journal::create_in(&folder, "run.ndjson").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(journal.path()), mode(&folder)), (0o600, 0o700));
    }
}
