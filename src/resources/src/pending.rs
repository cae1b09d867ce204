//! What earlier resources of the same list are about to change, so that a check of later ones tells what will
//! happen after them: a unit restarts because its configuration is going to change, an image waits for containerd.

use std::collections::BTreeSet;

use crate::Resource;

/// The simulator asks the same questions of its hosts.
#[derive(Debug, Default)]
pub struct Pending {
    paths: BTreeSet<String>,
    removed: BTreeSet<String>,
    packages: bool,
}

impl Pending {
    /// Notes that this resource is going to change.
    pub fn note(&mut self, resource: &Resource) {
        match resource {
            Resource::Directory { path, .. } | Resource::File { path, .. } | Resource::Binary { path, .. } => {
                self.paths.insert(path.clone());
            }
            Resource::Authority(authority) => {
                self.paths.extend([authority.certificate_path.clone(), authority.key_path.clone()]);
            }
            Resource::Certificate(certificate) => {
                self.paths.extend([certificate.certificate_path.clone(), certificate.key_path.clone()]);
            }
            Resource::KeyPair { private_path, public_path } => {
                self.paths.extend([private_path.clone(), public_path.clone()]);
            }
            Resource::Absent { path } => {
                self.paths.insert(path.clone());
                self.removed.insert(path.clone());
            }
            Resource::Packages { .. } => self.packages = true,
            _ => {}
        }
    }

    /// The first of these paths (or something below it) that is going to change.
    #[must_use]
    pub fn changed<'a>(&'a self, path: &str) -> Option<&'a str> {
        let below = format!("{}/", path.trim_end_matches('/'));
        self.paths.iter().map(String::as_str).find(|changed| *changed == path || changed.starts_with(&below))
    }

    /// Whether this path is going to be removed.
    #[must_use]
    pub fn removed(&self, path: &str) -> bool {
        self.removed.contains(path)
    }

    /// Whether packages are going to be installed, which may bring programs and units that are not there yet.
    #[must_use]
    pub fn packages(&self) -> bool {
        self.packages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_changes_with_what_is_in_it() {
        let mut pending = Pending::default();
        pending.note(&Resource::Directory { path: "/etc/naru/pki".to_owned(), mode: 0o700 });
        assert_eq!(pending.changed("/etc/naru"), Some("/etc/naru/pki"));
        assert_eq!(pending.changed("/etc/nar"), None);
        assert!(!pending.packages());
    }
}
