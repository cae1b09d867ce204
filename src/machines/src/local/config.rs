//! Where the local provider keeps things, and what it needs of this computer.

use std::path::{Path, PathBuf};

use crate::command::find_program;
use crate::{Error, Result};

/// Programs run by the provider and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 10] = [
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("find", "findutils"),
    ("sh", "dash"),
];

/// Folders of the local provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Root file systems and container images: costs time, not data, when lost.
    pub cache: PathBuf,
    /// Clusters and the disks of their machines. Must be able to hold an overlay's upper folder (not an overlay itself).
    pub state: PathBuf,
}

impl Config {
    /// `NARU_MACHINES_CACHE` and `NARU_MACHINES_STATE`, or the folders of this computer: `/var/cache/naru` and
    /// `/var/lib/naru-machines` for root, below the home folder for others.
    pub fn from_environment() -> Self {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || folder("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let root = rustix::process::geteuid().is_root();
        let cache = folder("NARU_MACHINES_CACHE").unwrap_or_else(|| {
            if root {
                return PathBuf::from("/var/cache/naru");
            }
            folder("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("naru/machines")
        });
        let state = folder("NARU_MACHINES_STATE").unwrap_or_else(|| {
            if root {
                return PathBuf::from("/var/lib/naru-machines");
            }
            folder("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state")).join("naru/machines")
        });
        Self { cache, state }
    }

    pub(super) fn cluster(&self, cluster: &str) -> PathBuf {
        self.state.join(cluster)
    }

    pub(super) fn machine(&self, cluster: &str, host: &str) -> PathBuf {
        self.cluster(cluster).join("machines").join(host)
    }
}

/// The lock for what all clusters of this computer share: subnets, interface names. One for all state folders.
pub(super) fn computer_lock() -> &'static Path {
    Path::new("/run/naru-machines.lock")
}

/// Says what is missing on this computer, everything at once.
pub fn check_computer() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| find_program(program).is_none()).collect();
    if !missing.is_empty() {
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        return Err(Error::MissingPrograms { programs: programs.join(", "), packages: packages.join(" ") });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(())
}
