//! Files that are either the old or the new one, whatever happens in between: temporary name in the same folder,
//! for nobody but the owner until it is whole, fsync, rename, fsync of the folder.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::ResourceError;

pub(crate) const PERMISSION_BITS: u32 = 0o7777;
const OWNER_BITS: u32 = 0o700;
const TURN_MODE: u32 = 0o600;
const NAME_ATTEMPTS: u32 = 16;
const COPY_BYTES: usize = 256 * 1024;

/// Writes `content` so that nobody ever sees half of it.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), ResourceError> {
    let mut staged = Staged::create(path, mode)?;
    staged.write(content)?;
    staged.commit()
}

/// Waits until nobody else reads and writes the file at `path` anew. It is held for one read and one write only, and
/// goes with its holder; the file beside it that is locked is for nobody but the owner.
pub fn turn(path: &Path) -> Result<fs::File, ResourceError> {
    let path = path.with_extension("lock");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.options_mut().mode(TURN_MODE);
    let file = options.open(&path)?;
    flock(&file, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
    Ok(file)
}

/// Copies a file the same way; the hash of what was copied must be `sha256`.
pub(crate) fn copy(from: &Path, path: &Path, mode: u32, sha256: &str) -> Result<(), ResourceError> {
    let mut source = fs::File::open(from)?;
    let mut staged = Staged::create(path, mode)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; COPY_BYTES];
    loop {
        let count = std::io::Read::read(&mut source, &mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        staged.write(&buffer[..count])?;
    }
    let found = hex::encode(hash.finalize());
    if found != sha256 {
        let message = format!("the artifact {} is damaged: its hash is {found}", from.display());
        return Err(ResourceError::refused(message, "delete it on the host and apply again"));
    }
    staged.commit()
}

/// A temporary file that disappears unless it is committed.
#[derive(Debug)]
pub(crate) struct Staged {
    file: fs::File,
    temporary: PathBuf,
    path: PathBuf,
    mode: u32,
    committed: bool,
}

impl Staged {
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Self, ResourceError> {
        let folder =
            path.parent().ok_or_else(|| ResourceError::refused(format!("{} is no file name", path.display()), ""))?;
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for attempt in 0..NAME_ATTEMPTS {
            let temporary = folder.join(format!(".{name}.naru-{}-{attempt}", std::process::id()));
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            options.options_mut().mode(mode & OWNER_BITS);
            match options.open(&temporary) {
                Ok(file) => {
                    let mode = mode & PERMISSION_BITS;
                    return Ok(Self { file, temporary, path: path.to_owned(), mode, committed: false });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ResourceError::refused(
            format!("{} is full of temporary files of ours", folder.display()),
            "remove the files `.*.naru-*` there",
        ))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ResourceError> {
        Ok(self.file.write_all(bytes)?)
    }

    pub(crate) fn commit(mut self) -> Result<(), ResourceError> {
        // Neither the umask nor the narrow mode of before counts now.
        self.file.set_permissions(std::fs::Permissions::from_mode(self.mode))?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.committed = true;
        sync_folder(&self.path)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a rename or a new name in the folder of `path` last.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ResourceError> {
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Permission bits; `None` when nothing is there.
pub(crate) fn mode(path: &Path) -> Result<Option<u32>, ResourceError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.mode() & PERMISSION_BITS)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The bytes of a regular file; `None` when nothing is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, ResourceError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The text of a file; empty when nothing is there, and for bytes that are no text.
pub(crate) fn read_text(path: &Path) -> Result<String, ResourceError> {
    Ok(read(path)?.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default())
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_with_its_mode_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file");
        write(&path, 0o600, b"one").unwrap();
        write(&path, 0o640, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(mode(&path).unwrap(), Some(0o640));
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn nobody_else_reads_along_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut staged = Staged::create(&folder.path().join("file"), 0o644).unwrap();
        staged.write(b"x").unwrap();
        assert_eq!(mode(&staged.temporary).unwrap(), Some(0o600));
        let path = staged.path.clone();
        staged.commit().unwrap();
        assert_eq!(mode(&path).unwrap(), Some(0o644));
    }

    #[test]
    fn a_damaged_artifact_never_replaces_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("artifact"), folder.path().join("program"));
        write(&from, 0o600, b"new").unwrap();
        write(&to, 0o755, b"old").unwrap();
        assert!(copy(&from, &to, 0o755, &sha256(b"something else")).is_err());
        assert_eq!(read(&to).unwrap().unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the staged copy is gone");
        copy(&from, &to, 0o755, &sha256(b"new")).unwrap();
        assert_eq!(read(&to).unwrap().unwrap(), b"new");
    }

    #[test]
    fn what_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("no/such")).unwrap(), None);
        assert_eq!(mode(&folder.path().join("nothing")).unwrap(), None);
    }
}
