//! The host that resources are kept on: its root folder, Naru's own folders, and where programs are found.

use std::path::{Path, PathBuf};

/// Searched in this order; SSH gives a bare PATH without the `sbin` folders.
const PROGRAM_FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The same as a search path.
pub const PROGRAM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A host, seen through its root folder. Tests use another root and their own programs.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    program_folders: Vec<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self::local()
    }
}

impl Host {
    /// The machine that this process runs on.
    #[must_use]
    pub fn local() -> Self {
        Self { root: PathBuf::from("/"), program_folders: PROGRAM_FOLDERS.iter().map(PathBuf::from).collect() }
    }

    /// A host whose files lie below `root`; programs are looked for in `program_folders` only.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>, program_folders: Vec<PathBuf>) -> Self {
        Self { root: root.into(), program_folders }
    }

    /// A host whose files lie below `root` and that uses this machine's programs.
    #[must_use]
    pub fn rooted(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::local() }
    }

    #[must_use]
    pub fn is_local(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where an absolute path of the host really lies.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.path("/var/lib/naru")
    }

    #[must_use]
    pub fn artifact(&self, sha256: &str) -> PathBuf {
        self.path("/var/lib/naru/artifacts").join(sha256)
    }

    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.path("/var/lib/naru/manifest.json")
    }

    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path("/run/naru/lock")
    }

    /// Where a program lies: a name is looked for in the program folders, a path is taken as it is.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.program_folders.iter().map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_land_below_the_root() {
        let host = Host::below("/tmp/machine", Vec::new());
        assert_eq!(host.path("/etc/naru/node.yaml"), Path::new("/tmp/machine/etc/naru/node.yaml"));
        assert_eq!(Host::local().path("/etc/hosts"), Path::new("/etc/hosts"));
        assert!(host.program("sh").is_none());
        assert!(Host::local().program("sh").is_some());
    }
}
