//! Receiving an artifact piece by piece into the host's store, where it appears only once its hash agrees. What
//! arrived before a cut stays as `SHA256.part`, so that the next attempt goes on from there.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::hashes::HashWriter;
use crate::manifest::Manifest;
use crate::{Host, ResourceError, atomic};

const FOLDER: &str = "/var/lib/naru/artifacts";
const MODE: u32 = 0o755;
const PART_MODE: u32 = 0o600;
const PART: &str = "part";
const SHA256_HEX_LENGTH: usize = 64;
/// Partial artifacts beyond this number are removed, the oldest first.
const MAX_PARTS: usize = 4;
/// A partial artifact that nobody went on with for so long is removed.
const PART_LIFE: Duration = Duration::from_secs(24 * 3600);
/// An artifact that nothing uses may belong to a step that is still to come, as long as it is not older than this.
const UNUSED_LIFE: Duration = Duration::from_secs(24 * 3600);
/// What an upload leaves free on the disk, for everybody else on the host.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// An artifact that is on its way.
#[derive(Debug)]
pub struct ArtifactWriter {
    host: Host,
    file: fs::File,
    part: PathBuf,
    path: PathBuf,
    hash: Sha256,
    sha256: String,
    size_bytes: u64,
    have_bytes: u64,
}

/// An artifact that the host does not have whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub sha256: String,
    /// What an earlier attempt left.
    pub have_bytes: u64,
}

impl ArtifactWriter {
    /// Goes on at this offset; what lies beyond it is written anew.
    ///
    /// # Errors
    /// When the host has fewer bytes than that, when the rest does not fit on its disk, or when another connection
    /// brings the same artifact now.
    pub fn resume(host: &Host, sha256: &str, size_bytes: u64, offset_bytes: u64) -> Result<Self, ResourceError> {
        let path = artifact_path(host, sha256)?;
        let part = path.with_extension(PART);
        fs::create_dir_all(host.path(FOLDER))?;
        clean(host, &part)?;
        let mut file = open_part(&part)?;
        let there_bytes = file.metadata()?.len();
        if there_bytes < offset_bytes || offset_bytes > size_bytes {
            let message = format!("the host has {there_bytes} bytes of the artifact, not {offset_bytes}");
            return Err(ResourceError::passing(message));
        }
        file.set_len(offset_bytes)?;
        let free_bytes = free_bytes(&host.path(FOLDER));
        let needed_bytes = size_bytes - offset_bytes + SPARE_BYTES;
        if free_bytes < needed_bytes {
            return Err(ResourceError::NoSpace { path: FOLDER.to_owned(), needed_bytes, free_bytes });
        }
        let mut hash = Sha256::new();
        file.seek(SeekFrom::Start(0))?;
        std::io::copy(&mut file, &mut HashWriter(&mut hash))?;
        let sha256 = sha256.to_owned();
        Ok(Self { host: host.clone(), file, part, path, hash, sha256, size_bytes, have_bytes: offset_bytes })
    }

    /// How much is there by now.
    #[must_use]
    pub fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    /// Takes the next bytes. When they do not fit on the disk, nothing of the artifact is kept there.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ResourceError> {
        if self.have_bytes + bytes.len() as u64 > self.size_bytes {
            let message = format!("more than the announced {} bytes of the artifact arrived", self.size_bytes);
            return Err(ResourceError::refused(message, "the file changed while it was read; try again"));
        }
        if let Err(error) = self.file.write_all(bytes) {
            let error = ResourceError::from(error);
            if !error.is_no_space() {
                return Err(error);
            }
            let needed_bytes = self.size_bytes - self.have_bytes;
            let free_bytes = free_bytes(&self.host.path(FOLDER));
            fs::remove_file(&self.part)?;
            return Err(ResourceError::NoSpace { path: FOLDER.to_owned(), needed_bytes, free_bytes });
        }
        self.hash.update(bytes);
        self.have_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Checks size and hash and puts the artifact in its place.
    pub fn finish(self) -> Result<(), ResourceError> {
        if self.have_bytes != self.size_bytes {
            let message = format!("{} of {} bytes of the artifact arrived", self.have_bytes, self.size_bytes);
            return Err(ResourceError::passing(message));
        }
        let found = hex::encode(self.hash.finalize());
        if found != self.sha256 {
            fs::remove_file(&self.part)?;
            let message = format!("the artifact arrived damaged: {found} instead of {}", self.sha256);
            return Err(ResourceError::passing(message));
        }
        self.file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        atomic::sync_folder(&self.path)?;
        let mut manifest = Manifest::load(&self.host)?;
        manifest.put(&format!("{FOLDER}/{}", self.sha256), "artifact", &self.sha256);
        manifest.save(&self.host)
    }
}

/// Opens or makes the file and keeps others away from it for as long as it is open.
fn open_part(part: &Path) -> Result<fs::File, ResourceError> {
    let busy = || ResourceError::passing("another connection is bringing the same artifact");
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.options_mut().mode(PART_MODE);
    let file = options.open(part)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(busy()),
        Err(error) => return Err(std::io::Error::from(error).into()),
    }
    // Whoever had it before us may have finished it in between: then the name is another file's, or nobody's.
    let is_same = fs::metadata(part).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
    if is_same { Ok(file) } else { Err(busy()) }
}

fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |status| status.f_bavail * status.f_frsize)
}

/// Removes partial artifacts that are old or too many, but not `wanted` and none that somebody writes.
fn clean(host: &Host, wanted: &Path) -> Result<(), ResourceError> {
    let now = SystemTime::now();
    let mut parts = Vec::new();
    for entry in fs::read_dir(host.path(FOLDER))?.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == PART) && path != wanted {
            let modified = entry.metadata()?.modified()?;
            parts.push((now.duration_since(modified).unwrap_or_default(), path));
        }
    }
    parts.sort();
    for (place, (age, path)) in parts.iter().enumerate() {
        if (*age > PART_LIFE || place + 1 >= MAX_PARTS) && open_part(path).is_ok() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Which of these artifacts are not in the store.
pub fn missing_artifacts(host: &Host, wanted: &[String]) -> Result<Vec<Missing>, ResourceError> {
    let mut missing = Vec::new();
    for sha256 in wanted {
        let path = artifact_path(host, sha256)?;
        if !path.is_file() {
            let have_bytes = fs::metadata(path.with_extension(PART)).map_or(0, |metadata| metadata.len());
            missing.push(Missing { sha256: sha256.clone(), have_bytes });
        }
    }
    Ok(missing)
}

/// Removes old artifacts that nothing is made from any more, but the newest of them: it is what was here before.
/// `running` is the program of this process.
pub fn prune_artifacts(host: &Host, running: Option<&Path>) -> Result<Vec<String>, ResourceError> {
    let mut manifest = Manifest::load(host)?;
    let Ok(entries) = fs::read_dir(host.path(FOLDER)) else { return Ok(Vec::new()) };
    let used = |name: &str| {
        manifest.entries.values().any(|entry| entry.kind != "artifact" && entry.sha256 == name)
            || running.is_some_and(|running| *running == host.artifact(name))
    };
    let now = SystemTime::now();
    let mut unused = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_hash(&name) && !used(&name) {
            let modified = entry.metadata()?.modified()?;
            unused.push((now.duration_since(modified).unwrap_or_default(), name));
        }
    }
    unused.sort();
    let old = unused.into_iter().skip(1).filter(|(age, _)| *age > UNUSED_LIFE).map(|(_, name)| name);
    let removed: Vec<String> = old.collect();
    for name in &removed {
        fs::remove_file(host.artifact(name))?;
        manifest.remove(&format!("{FOLDER}/{name}"));
    }
    manifest.save(host)?;
    Ok(removed)
}

/// Where a whole artifact lies. A name that is no hash could lead out of the store.
pub fn artifact_path(host: &Host, sha256: &str) -> Result<PathBuf, ResourceError> {
    if is_hash(sha256) {
        Ok(host.artifact(sha256))
    } else {
        Err(ResourceError::refused(format!("`{sha256}` is no SHA-256"), ""))
    }
}

fn is_hash(name: &str) -> bool {
    name.len() == SHA256_HEX_LENGTH && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, hours: u64) {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }

    #[test]
    fn it_appears_whole_or_not_at_all_and_goes_on_after_a_cut() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let sha256 = atomic::sha256(b"hello world");
        let missing = || missing_artifacts(&host, std::slice::from_ref(&sha256)).unwrap();
        assert_eq!(missing()[0].have_bytes, 0);
        let mut cut = ArtifactWriter::resume(&host, &sha256, 11, 0).unwrap();
        cut.write(b"hello").unwrap();
        let busy = ArtifactWriter::resume(&host, &sha256, 11, 0).unwrap_err();
        assert!(busy.is_transient() && busy.to_string().contains("another connection"), "{busy}");
        assert!(cut.finish().unwrap_err().to_string().contains("5 of 11"));
        assert_eq!(missing()[0].have_bytes, 5);
        assert!(ArtifactWriter::resume(&host, &sha256, 11, 6).unwrap_err().is_transient());
        let mut rest = ArtifactWriter::resume(&host, &sha256, 11, 4).unwrap();
        rest.write(b"o world").unwrap();
        rest.finish().unwrap();
        assert_eq!(missing(), []);
        assert_eq!(atomic::mode(&host.artifact(&sha256)).unwrap(), Some(0o755));
        assert_eq!(fs::read_dir(host.path(FOLDER)).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let sha256 = atomic::sha256(b"hello world");
        let mut damaged = ArtifactWriter::resume(&host, &sha256, 11, 0).unwrap();
        damaged.write(b"HELLO world").unwrap();
        assert!(damaged.write(b"!").unwrap_err().to_string().contains("more than the announced 11"));
        assert!(damaged.finish().unwrap_err().to_string().contains("damaged"));
        assert_eq!(fs::read_dir(host.path(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let error = ArtifactWriter::resume(&host, &"0".repeat(64), 1 << 50, 0).unwrap_err();
        assert!(error.is_no_space(), "{error}");
        assert!(error.to_string().contains(" are free"), "{error}");
    }

    #[test]
    fn old_parts_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let name = |number: usize| format!("{number:064x}");
        let mut held = ArtifactWriter::resume(&host, &name(0), 5, 0).unwrap();
        held.write(b"x").unwrap();
        age(&held.part, 30);
        for number in 1..8 {
            let mut part = ArtifactWriter::resume(&host, &name(number), 5, 0).unwrap();
            part.write(b"x").unwrap();
            age(&part.part, if number == 1 { 30 } else { 0 });
        }
        let left: Vec<String> = missing_artifacts(&host, &(0..8).map(name).collect::<Vec<_>>())
            .unwrap()
            .into_iter()
            .filter(|missing| missing.have_bytes > 0)
            .map(|missing| missing.sha256)
            .collect();
        assert!(left.contains(&name(0)) && left.contains(&name(7)) && !left.contains(&name(1)), "{left:?}");
        assert!(left.len() <= MAX_PARTS + 1, "{left:?}");
    }

    #[test]
    fn old_artifacts_go_but_those_in_use_and_the_newest_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let names: Vec<String> = (0..5).map(|number| format!("{number:064x}")).collect();
        for (number, name) in names.iter().enumerate() {
            atomic::write(&host.artifact(name), MODE, b"x").unwrap();
            age(&host.artifact(name), if number == 4 { 1 } else { 50 - number as u64 });
        }
        let mut manifest = Manifest::default();
        manifest.put("/opt/naru/bin/naru-node", "binary", &names[0]);
        manifest.put(&format!("{FOLDER}/{}", names[2]), "artifact", &names[2]);
        manifest.save(&host).unwrap();
        let removed = prune_artifacts(&host, Some(&host.artifact(&names[1]))).unwrap();
        assert_eq!(removed, [names[3].clone(), names[2].clone()], "4 is the newest that nothing uses");
        assert!(!Manifest::load(&host).unwrap().entries.contains_key(&format!("{FOLDER}/{}", names[2])));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let host = Host::below("/nowhere", Vec::new());
        assert!(ArtifactWriter::resume(&host, "../../etc/passwd", 1, 0).is_err());
    }
}
