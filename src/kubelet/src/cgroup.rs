//! The cgroup of each pod, made by us so that limits hold for the pod as a whole.
//! Version 1 (every mounted hierarchy, and the empty version 2 of a hybrid host) and version 2.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use crate::qos::QosClass;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// Processes that were killed leave their cgroup a moment later.
const REMOVE_ATTEMPTS: usize = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);
const CPU_PERIOD_US: i64 = 100_000;
pub(crate) const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cannot set up the pod cgroup")]
    Io(#[from] std::io::Error),
    #[error("cgroup {path} still has processes")]
    Busy { path: PathBuf },
}

/// Limits of one pod or container. `None` means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub cpu_shares: i64,
    pub cpu_quota_us: Option<i64>,
    pub memory_bytes: Option<i64>,
}

pub(crate) fn shares(cpu_millis: i64) -> i64 {
    (cpu_millis * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The quota per 100 ms; never under 1 ms, which the kernel refuses.
pub(crate) fn quota_us(cpu_millis: i64) -> i64 {
    (cpu_millis * CPU_PERIOD_US / 1000).max(1000)
}

/// Version 2 counts 1..10000 where version 1 counts 2..262144.
fn weight(shares: i64) -> i64 {
    1 + ((shares - MIN_SHARES) * 9999) / (MAX_SHARES - MIN_SHARES)
}

#[derive(Debug)]
enum Layout {
    Unified,
    /// Mount points of all hierarchies.
    Legacy(Vec<PathBuf>),
}

#[derive(Debug)]
pub(crate) struct Cgroups {
    layout: Layout,
    /// As the runtime sees it: `/kubepods`.
    parent: String,
}

impl Cgroups {
    pub(crate) fn detect(parent: &str) -> Result<Self, CgroupError> {
        let layout = if Path::new(CGROUP_ROOT).join("cgroup.controllers").exists() {
            Layout::Unified
        } else {
            let mounts = fs::read_to_string("/proc/self/mounts")?;
            let mut seen = BTreeSet::new();
            for line in mounts.lines() {
                let mut words = line.split(' ').skip(1);
                let (Some(path), Some(kind)) = (words.next(), words.next()) else { continue };
                if (kind == "cgroup" || kind == "cgroup2") && path.starts_with(CGROUP_ROOT) {
                    seen.insert(fs::canonicalize(path)?);
                }
            }
            Layout::Legacy(seen.into_iter().collect())
        };
        Ok(Self { layout, parent: parent.trim_end_matches('/').to_owned() })
    }

    /// The parent that the runtime is told: `/kubepods/burstable/pod<uid>`.
    pub(crate) fn pod_path(&self, uid: &str, qos: QosClass) -> String {
        match qos {
            QosClass::Guaranteed => format!("{}/pod{uid}", self.parent),
            QosClass::Burstable => format!("{}/burstable/pod{uid}", self.parent),
            QosClass::BestEffort => format!("{}/besteffort/pod{uid}", self.parent),
        }
    }

    fn roots(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::Unified => vec![PathBuf::from(CGROUP_ROOT)],
            Layout::Legacy(roots) => roots.clone(),
        }
    }

    /// Makes the pod's cgroup with all its ancestors and writes the limits. Idempotent.
    pub(crate) fn create_pod(&self, uid: &str, qos: QosClass, limits: &Limits) -> Result<(), CgroupError> {
        let relative = self.pod_path(uid, qos);
        for root in self.roots() {
            let mut folder = root.clone();
            for part in relative.split('/').filter(|part| !part.is_empty()) {
                match &self.layout {
                    Layout::Unified => delegate_controllers(&folder),
                    Layout::Legacy(_) => {}
                }
                let child = folder.join(part);
                if !child.is_dir() {
                    fs::create_dir_all(&child)?;
                    inherit_cpuset(&folder, &child)?;
                    if part == "besteffort" {
                        write_if_present(&child, "cpu.shares", MIN_SHARES)?;
                        write_if_present(&child, "cpu.weight", 1)?;
                    }
                }
                folder = child;
            }
            if matches!(self.layout, Layout::Unified) {
                delegate_controllers(&folder);
            }
            apply(&folder, limits)?;
        }
        Ok(())
    }

    /// Removes the pod's cgroup wherever it lies; a pod without one is fine.
    pub(crate) async fn remove_pod(&self, uid: &str) -> Result<(), CgroupError> {
        for root in self.roots() {
            for qos in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
                let folder = root.join(self.pod_path(uid, qos).trim_start_matches('/'));
                remove_tree(&folder).await?;
            }
        }
        Ok(())
    }

    /// UIDs of all pods that have a cgroup.
    pub(crate) fn pod_uids(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for root in self.roots() {
            for level in ["", "burstable", "besteffort"] {
                let folder = root.join(self.parent.trim_start_matches('/')).join(level);
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    if let Some(uid) = entry.file_name().to_string_lossy().strip_prefix("pod") {
                        found.insert(uid.to_owned());
                    }
                }
            }
        }
        found
    }
}

/// Best effort: a controller that the kernel lacks is simply not limited.
fn delegate_controllers(folder: &Path) {
    let available = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        if let Err(error) = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(%error, controller, "controller cannot be delegated");
        }
    }
}

/// A version 1 cpuset starts empty, and no process can enter an empty one.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let source = parent.join(file);
        if !source.exists() || parent.join("cgroup.controllers").exists() {
            continue;
        }
        let value = fs::read_to_string(&source)?;
        if !value.trim().is_empty() {
            fs::write(child.join(file), value.trim())?;
        }
    }
    Ok(())
}

fn write_if_present(folder: &Path, file: &str, value: impl ToString) -> Result<(), CgroupError> {
    let path = folder.join(file);
    if path.exists() {
        fs::write(path, value.to_string())?;
    }
    Ok(())
}

fn apply(folder: &Path, limits: &Limits) -> Result<(), CgroupError> {
    write_if_present(folder, "cpu.shares", limits.cpu_shares)?;
    write_if_present(folder, "cpu.weight", weight(limits.cpu_shares))?;
    write_if_present(folder, "cpu.cfs_period_us", CPU_PERIOD_US)?;
    write_if_present(folder, "cpu.cfs_quota_us", limits.cpu_quota_us.unwrap_or(-1))?;
    let quota = limits.cpu_quota_us.map_or("max".to_owned(), |quota| quota.to_string());
    write_if_present(folder, "cpu.max", format!("{quota} {CPU_PERIOD_US}"))?;
    if let Some(bytes) = limits.memory_bytes {
        write_if_present(folder, "memory.limit_in_bytes", bytes)?;
        write_if_present(folder, "memory.max", bytes)?;
    }
    Ok(())
}

async fn remove_tree(folder: &Path) -> Result<(), CgroupError> {
    for _ in 0..REMOVE_ATTEMPTS {
        if !folder.exists() || remove_folders(folder).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(REMOVE_PAUSE).await;
    }
    Err(CgroupError::Busy { path: folder.to_owned() })
}

fn remove_folders(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_folders(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_cpu() {
        assert_eq!(shares(0), 2);
        assert_eq!(shares(500), 512);
        assert_eq!(quota_us(500), 50_000);
        assert_eq!(quota_us(1), 1000);
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
    }

    #[test]
    fn paths_follow_the_quality_of_service() {
        let cgroups = Cgroups { layout: Layout::Unified, parent: "/kubepods".into() };
        assert_eq!(cgroups.pod_path("u", QosClass::Guaranteed), "/kubepods/podu");
        assert_eq!(cgroups.pod_path("u", QosClass::BestEffort), "/kubepods/besteffort/podu");
    }
}
