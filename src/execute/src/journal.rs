//! The journal: every event of a run, one JSON document per line, appended and synced before the run goes on. It is
//! for people and for later questions; nothing is ever read back to decide anything.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Event, Finish};

/// Errors in it carry what programs on the hosts printed; that is for the operator alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Journals that are kept of a cluster.
const JOURNALS_MAX: usize = 100;
const ENDING: &str = ".ndjson";

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal {path} cannot be written")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the journal {path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("line {line} of {path} is none of a journal's")]
    Damaged {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
}

/// An open journal of one run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: fs::File,
}

/// The first line of a journal: what the run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub cluster: String,
    /// Who ran it.
    pub owner: String,
    /// Of the plan.
    pub fingerprint: String,
    /// Of the program that wrote it.
    pub version: String,
}

impl Header {
    #[must_use]
    pub fn new(cluster: &str, owner: &str, fingerprint: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            owner: owner.to_owned(),
            fingerprint: fingerprint.to_owned(),
            version: naru_inventory::VERSION.to_owned(),
        }
    }
}

/// A line of a journal but the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub time: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

/// The first line, which says when the run began as well.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FirstLine {
    time: Timestamp,
    journal: Header,
}

/// A journal that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Absent when the run was killed before the first line was on the disk.
    pub header: Option<Header>,
    pub lines: Vec<Line>,
    /// Whether its last line was cut off, as it is when the machine that wrote it lost its power.
    pub is_torn: bool,
}

impl Record {
    /// How the run ended; nothing if it was killed.
    #[must_use]
    pub fn finish(&self) -> Option<Finish> {
        self.lines.iter().rev().find_map(|line| match line.event {
            Event::Finished(finish) => Some(finish),
            _ => None,
        })
    }
}

/// A journal of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its file without the ending; the time of its beginning.
    pub name: String,
    pub path: PathBuf,
    pub header: Option<Header>,
    pub finish: Option<Finish>,
}

impl Journal {
    /// A new journal in `<state>/naru/<cluster>/`, where state is `$XDG_STATE_HOME` or `~/.local/state`. The oldest go
    /// when there are too many.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn create(header: &Header) -> Result<Self, JournalError> {
        let folder = cluster_folder(&header.cluster);
        let name = format!("{}{ENDING}", Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ"));
        let journal = Self::create_in(&folder, &name, header)?;
        prune(&folder, JOURNALS_MAX);
        Ok(journal)
    }

    pub(crate) fn create_in(folder: &Path, name: &str, header: &Header) -> Result<Self, JournalError> {
        let path = folder.join(name);
        let fail = |source| JournalError::Write { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(fail)?;
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true);
        options.options_mut().mode(FILE_MODE);
        let file = options.open(&path).map_err(fail)?;
        let mut journal = Self { path, file };
        journal.write(&FirstLine { time: Timestamp::now(), journal: header.clone() })?;
        Ok(journal)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// When the line cannot be written and synced.
    pub fn append(&mut self, event: &Event) -> Result<(), JournalError> {
        self.write(&Line { time: Timestamp::now(), event: event.clone() })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(line).expect("events are plain data");
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Write { path: self.path.clone(), source })
    }
}

/// Reads a journal. A last line that was cut off is left out.
///
/// # Errors
/// When the file cannot be read, or a line before the last is none of a journal's.
pub fn read(path: &Path) -> Result<Record, JournalError> {
    let file = fs::File::open(path).map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
    let mut record = Record { header: None, lines: Vec::new(), is_torn: false };
    let mut damaged = None;
    for (index, text) in BufReader::new(file.into_parts().0).split(b'\n').enumerate() {
        let text = text.map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
        if let Some((line, source)) = damaged.take() {
            return Err(JournalError::Damaged { path: path.to_owned(), line, source });
        }
        if index == 0
            && let Ok(first) = serde_json::from_slice::<FirstLine>(&text)
        {
            record.header = Some(first.journal);
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(line) => record.lines.push(line),
            Err(error) => damaged = Some((index + 1, error)),
        }
    }
    record.is_torn = damaged.is_some();
    Ok(record)
}

/// The journals of a cluster, newest first; those that cannot be read are told without their content.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn list(cluster: &str) -> Result<Vec<Listed>, JournalError> {
    list_in(&cluster_folder(cluster))
}

pub(crate) fn list_in(folder: &Path) -> Result<Vec<Listed>, JournalError> {
    let paths = match paths(folder) {
        Ok(paths) => paths,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::Read { path: folder.to_owned(), source }),
    };
    let listed = paths.into_iter().rev().map(|path| {
        let record = read(&path).ok();
        let finish = record.as_ref().and_then(Record::finish);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Listed { name, path, header: record.and_then(|record| record.header), finish }
    });
    Ok(listed.collect())
}

/// Oldest first: their names are the times of their beginning.
fn paths(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// That an old journal stays is no reason to do nothing.
fn prune(folder: &Path, keep: usize) {
    let paths = paths(folder).unwrap_or_default();
    for path in paths.iter().take(paths.len().saturating_sub(keep)) {
        if let Err(error) = fs::remove_file(path) {
            tracing::debug!(%error, "an old journal stays");
        }
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
        let journal = Journal::create_in(&folder, "run.ndjson", &Header::new("web", "ann", "f")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(journal.path()), mode(&folder)), (0o600, 0o700));
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_line_is_left_out() {
        let temporary = tempfile::tempdir().unwrap();
        let header = Header::new("web", "ann@desk", "abc");
        let mut journal = Journal::create_in(temporary.path(), "1.ndjson", &header).unwrap();
        let started = Event::StepStarted { step: "w1/node".into(), host: "w1".into(), title: "run".into() };
        let finish = Finish { succeeded: 1, ..Finish::default() };
        journal.append(&started).unwrap();
        journal.append(&Event::Finished(finish)).unwrap();
        let whole = read(journal.path()).unwrap();
        assert_eq!(whole.header, Some(header.clone()));
        assert_eq!(
            whole.lines.iter().map(|line| &line.event).collect::<Vec<_>>(),
            [&started, &Event::Finished(finish)]
        );
        assert!(!whole.is_torn);
        let text = fs::read(journal.path()).unwrap();
        let last_line = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for length in 1..text.len() {
            fs::write(journal.path(), &text[..length]).unwrap();
            let torn = read(journal.path()).unwrap_or_else(|error| panic!("cut at {length}: {error}"));
            assert!(torn.lines.len() <= 2);
            if length > last_line + 1 && length < text.len() - 1 {
                assert!(torn.is_torn && torn.lines.len() == 1 && torn.finish().is_none(), "cut at {length}");
            }
        }
        fs::write(journal.path(), b"{\n{}\n").unwrap();
        assert!(matches!(read(journal.path()), Err(JournalError::Damaged { line: 1, .. })));
    }

    #[test]
    fn the_oldest_go_and_the_newest_come_first() {
        let temporary = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            Journal::create_in(temporary.path(), &format!("{number}.ndjson"), &Header::new("web", "ann", "f")).unwrap();
        }
        fs::write(temporary.path().join("known-hosts-w1"), "").unwrap();
        prune(temporary.path(), 3);
        let names: Vec<String> = list_in(temporary.path()).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["5", "4", "3"]);
        assert!(temporary.path().join("known-hosts-w1").exists());
        assert_eq!(list_in(&temporary.path().join("none")).unwrap(), []);
    }
}
