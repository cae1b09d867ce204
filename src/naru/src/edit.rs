//! Edits of the inventory's file by verbs: shown as a diff, and written only if the file is still the one that was
//! read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use naru_inventory::Inventory;
use naru_plan::Colour;
use similar::TextDiff;

use crate::exit::Failure;
use crate::style::{BAD, DIM, GOOD, paint};

const CONTEXT_LINES: usize = 2;
/// Of a file's mode; the rest tells its type.
const PERMISSIONS: u32 = 0o7777;

/// The file of an inventory as it was read.
pub(crate) struct File {
    path: PathBuf,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::user(error.to_string()).hint("`naru init` writes one"),
            _ => Failure::user(error.to_string()),
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What an inventory of this text says.
    pub(crate) fn parse(&self, text: &str) -> Result<Inventory, Failure> {
        Ok(naru_inventory::parse(&self.path.to_string_lossy(), text)?)
    }

    /// What an edit changes, as a person reads it.
    pub(crate) fn diff(&self, edited: &str, colour: Colour) -> String {
        let name = self.path.display().to_string();
        let diff = TextDiff::from_lines(self.text.as_str(), edited);
        let text = diff.unified_diff().context_radius(CONTEXT_LINES).header(&name, &name).to_string();
        let lines = text.lines().map(|line| match line.bytes().next() {
            Some(b'+') => paint(line, GOOD, colour),
            Some(b'-') => paint(line, BAD, colour),
            _ => paint(line, DIM, colour),
        });
        lines.map(|line| format!("  {line}\n")).collect()
    }

    /// Puts the edited text in place, whole, with the file's permissions; a link stays a link.
    pub(crate) fn write(&self, before: &str, edited: &str) -> Result<(), Failure> {
        let fail = |error: std::io::Error| Failure::ours(error.to_string());
        let path = fs::canonicalize(&self.path).map_err(fail)?;
        if fs::read_to_string(&path).map_err(fail)? != before {
            return Err(Failure::user(format!("somebody else has changed {} meanwhile", self.path.display()))
                .detail("nothing was written over it")
                .hint("run the same command again"));
        }
        let mode = fs::metadata(&path).map_err(fail)?.permissions().mode();
        crate::private::write_as(&path, edited, mode & PERMISSIONS).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_keeps_link_and_permissions_and_never_overwrites_another() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.yaml"), folder.path().join("cluster.yaml"));
        fs::write(&real, "a\nb\n").unwrap();
        fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        fs::os::unix::fs::symlink(&real, &link).unwrap();
        let file = File::read(&link).unwrap();
        file.write(&file.text, "a\nc\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "a\nc\n");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(file.diff("a\nc\n", Colour::Never).contains("  -b\n  +c\n"));
        assert!(file.write(&file.text, "mine").is_err(), "the file is another one by now");
        assert_eq!(fs::read_to_string(&real).unwrap(), "a\nc\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }
}
