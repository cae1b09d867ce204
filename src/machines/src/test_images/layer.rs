//! One layer of an image: a tar stream with reproducible headers.

use std::collections::BTreeSet;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::Result;

/// A layer in the making.
#[derive(Default)]
pub(super) struct Layer {
    builder: Option<Builder<Vec<u8>>>,
    seen: BTreeSet<String>,
}

impl Layer {
    fn builder(&mut self) -> &mut Builder<Vec<u8>> {
        self.builder.get_or_insert_with(|| Builder::new(Vec::new()))
    }

    /// A folder with those above it. One that is there already is left as it is.
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent, 0o755)?;
        }
        let mut header = header(EntryType::Directory, mode, 0);
        Ok(self.builder().append_data(&mut header, format!("{path}/"), std::io::empty())?)
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        if !self.enter(path)? {
            return Ok(());
        }
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        Ok(self.builder().append_data(&mut header, path, content)?)
    }

    /// A file of this computer; a link is followed. Programs stay programs.
    pub(super) fn copy(&mut self, path: &str, source: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs_err::metadata(source)?.permissions().mode() & 0o777;
        self.file(path, mode, &fs_err::read(source)?)
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        if !self.enter(path)? {
            return Ok(());
        }
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.builder().append_link(&mut header, path, target)?)
    }

    /// Makes the folder of a path; false when the path itself is in the layer already.
    fn enter(&mut self, path: &str) -> Result<bool> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent, 0o755)?;
        }
        Ok(self.seen.insert(path.to_owned()))
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.builder();
        let builder = self.builder.take().expect("the line above made it");
        Ok(builder.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    // The same files make the same bytes, and so the same digest, at any time.
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_holds_each_path_once_with_its_folders() {
        let make = || {
            let mut layer = Layer::default();
            layer.file("usr/bin/a", 0o755, b"a").unwrap();
            layer.file("usr/bin/a", 0o755, b"again").unwrap();
            layer.link("bin", "usr/bin").unwrap();
            layer.finish().unwrap()
        };
        let bytes = make();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["usr/", "usr/bin/", "usr/bin/a", "bin"]);
        assert_eq!(bytes, make());
    }
}
