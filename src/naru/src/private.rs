//! Files of the operator's: closed to others from the first byte, whole or not there at all.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use fs_err as fs;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Writes a file; a link of this name is replaced, never followed.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    write_as(path, text, FILE_MODE)
}

/// The same for a file that others may read in the end.
pub(crate) fn write_as(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    // Of a process with the same number that was killed, as happens in containers.
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    options.options_mut().mode(FILE_MODE);
    let mut file = options.open(&temporary)?;
    let done = file
        .write_all(text.as_bytes())
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_to_others_also_where_a_file_or_a_link_was() {
        let temporary = tempfile::tempdir().unwrap();
        let (victim, path) = (temporary.path().join("victim"), temporary.path().join("deep/plan.json"));
        fs::write(&victim, "untouched").unwrap();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::os::unix::fs::symlink(&victim, &path).unwrap();
        write(&path, "one").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }
}
