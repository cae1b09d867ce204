//! A regular file with exactly this content.

use std::os::unix::fs::PermissionsExt;

use fs_err as fs;

use super::{Kind, announce, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Content, Host, ResourceError, atomic, originals, text_diff};

pub(crate) struct File<'a> {
    pub(crate) path: &'a str,
    pub(crate) mode: u32,
    pub(crate) content: &'a Content,
}

/// How the file on the host compares with the wanted one.
pub(crate) enum Found {
    Same,
    Absent,
    /// Content as wanted, mode not.
    Mode(u32),
    Different(Vec<u8>),
    /// A symbolic link, which the wanted file replaces.
    Link,
}

impl File<'_> {
    pub(crate) fn compare(&self, host: &Host) -> Result<Found, ResourceError> {
        let path = host.path(self.path);
        let Some(mode) = atomic::mode(&path)? else { return Ok(Found::Absent) };
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_symlink() {
            return Ok(Found::Link);
        }
        if !metadata.is_file() {
            return Err(ResourceError::refused(
                format!("{} is there, but is no regular file", self.path),
                "move it out of the way",
            ));
        }
        let bytes = fs::read(&path)?;
        Ok(if bytes != self.content.text.as_bytes() {
            Found::Different(bytes)
        } else if mode != self.mode {
            Found::Mode(mode)
        } else {
            Found::Same
        })
    }

    fn diff(&self, old: Option<&[u8]>) -> Option<String> {
        if self.content.sensitive {
            return None;
        }
        text_diff::unified(self.path, old, &self.content.text)
    }

    /// Keeps what somebody else has put at the path; to be asked before the manifest calls the path ours.
    pub(super) fn keep_other(&self, host: &Host) -> Result<(), ResourceError> {
        match self.compare(host)? {
            Found::Absent | Found::Link => Ok(()),
            Found::Same | Found::Mode(_) | Found::Different(_) => originals::keep(host, self.path),
        }
    }
}

impl Kind for File<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        Ok(match self.compare(host)? {
            Found::Same => None,
            Found::Absent => Some(Change { diff: self.diff(None), ..change(format!("create {}", self.path)) }),
            Found::Link => Some(Change { diff: self.diff(None), ..change(format!("replace the link {}", self.path)) }),
            Found::Mode(mode) => Some(change(format!("chmod {:04o} {} (was {mode:04o})", self.mode, self.path))),
            Found::Different(old) => {
                Some(Change { diff: self.diff(Some(&old)), ..change(format!("update {}", self.path)) })
            }
        })
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(self.path);
        match self.compare(host)? {
            Found::Same => Ok(()),
            Found::Mode(_) => Ok(fs::set_permissions(&path, std::fs::Permissions::from_mode(self.mode))?),
            _ => atomic::write(&path, self.mode, self.content.text.as_bytes()),
        }
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        self.keep_other(host)?;
        announce(host, manifest, self.path, "file");
        Ok(())
    }

    fn record(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        // As wanted before anybody of ours wrote it: it is the host's all the same.
        if !manifest.entries.contains_key(self.path) {
            self.keep_other(host)?;
        }
        let sha256 = atomic::sha256(self.content.text.as_bytes());
        manifest.put_with_mode(self.path, "file", &sha256, self.mode);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, sensitive: bool) -> Content {
        Content { text: text.to_owned(), sensitive }
    }

    #[test]
    fn create_update_and_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let (one, two) = (content("one\n", false), content("two\n", false));
        let file = |content| File { path: "/etc/a", mode: 0o644, content };
        let found = file(&one).check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "create /etc/a");
        assert!(found.diff.unwrap().contains("+one"));
        file(&one).apply(&host).unwrap();
        assert_eq!(file(&one).check(&host, &Pending::default()).unwrap(), None);
        let found = file(&two).check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "update /etc/a");
        assert!(found.diff.unwrap().contains("-one\n+two\n"));
    }

    #[test]
    fn what_was_there_as_wanted_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir(host.path("/etc")).unwrap();
        fs::write(host.path("/etc/a"), "one\n").unwrap();
        let resource =
            |text| [crate::Resource::File { path: "/etc/a".into(), mode: 0o644, content: content(text, false) }];
        let stop = crate::Stop::default();
        fs::set_permissions(host.path("/etc/a"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(crate::apply_all(&host, &resource("one\n"), &stop).unwrap().is_empty());
        crate::apply_all(&host, &resource("two\n"), &stop).unwrap();
        crate::apply_all(&host, &[crate::Resource::Absent { path: "/etc/a".into() }], &stop).unwrap();
        assert_eq!(fs::read_to_string(host.path("/etc/a")).unwrap(), "one\n");
    }

    #[test]
    fn sensitive_text_is_in_no_diff() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let secret = content("hunter2", true);
        let file = File { path: "/etc/secret", mode: 0o600, content: &secret };
        let found = file.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.diff, None);
        assert!(!format!("{found:?} {secret:?}").contains("hunter2"));
    }

    #[test]
    fn a_mode_alone_is_corrected_without_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let text = content("x", false);
        File { path: "/etc/a", mode: 0o644, content: &text }.apply(&host).unwrap();
        let strict = File { path: "/etc/a", mode: 0o600, content: &text };
        let found = strict.check(&host, &Pending::default()).unwrap().unwrap();
        assert_eq!(found.summary, "chmod 0600 /etc/a (was 0644)");
        strict.apply(&host).unwrap();
        assert_eq!(strict.check(&host, &Pending::default()).unwrap(), None);
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        atomic::write(&host.path("/etc/target"), 0o644, b"target").unwrap();
        std::os::unix::fs::symlink("target", host.path("/etc/a")).unwrap();
        let text = content("own", false);
        let file = File { path: "/etc/a", mode: 0o644, content: &text };
        assert_eq!(file.check(&host, &Pending::default()).unwrap().unwrap().summary, "replace the link /etc/a");
        file.apply(&host).unwrap();
        assert_eq!(atomic::read(&host.path("/etc/target")).unwrap().unwrap(), b"target");
        assert_eq!(file.check(&host, &Pending::default()).unwrap(), None);
    }
}
