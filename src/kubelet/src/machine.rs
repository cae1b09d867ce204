//! Facts about this machine: processors, memory, disk, identifiers, pressure.

use std::path::{Path, PathBuf};

use fs_err as fs;
use k8s_openapi::api::core::v1::NodeSystemInfo;

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub hugepages: Vec<(String, i64)>,
    pub info: NodeSystemInfo,
    disk: PathBuf,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub capacity_bytes: i64,
    pub available_bytes: i64,
    pub free_inodes_percent: i64,
}

impl Machine {
    pub(crate) fn probe(state_folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(state_folder)?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let cpus = std::thread::available_parallelism()?.get();
        let uname = rustix::system::uname();
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let machine_id = Some(read("/etc/machine-id")).filter(|id| !id.is_empty() && id != "uninitialized");
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let system_uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty());
        let machine_id = machine_id.unwrap_or_else(|| boot_id.replace('-', ""));
        Ok(Self {
            cpus: i64::try_from(cpus).unwrap_or(1),
            memory_bytes: memory_field(&memory, "MemTotal:").unwrap_or(0),
            hugepages: hugepages(),
            disk: state_folder.to_owned(),
            info: NodeSystemInfo {
                architecture: architecture().into(),
                boot_id,
                kernel_version: uname.release().to_string_lossy().into_owned(),
                kubelet_version: crate::KUBELET_VERSION.into(),
                kube_proxy_version: String::new(),
                system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
                machine_id,
                operating_system: "linux".into(),
                os_image: os_image(),
                container_runtime_version: "containerd://Unknown".into(),
                swap: memory_field(&memory, "SwapTotal:")
                    .map(|bytes| k8s_openapi::api::core::v1::NodeSwapStatus { capacity: Some(bytes) }),
            },
        })
    }

    pub(crate) fn disk(&self) -> std::io::Result<Disk> {
        let stat = rustix::fs::statvfs(&self.disk)?;
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
        let inodes = stat.f_favail.saturating_mul(100).checked_div(stat.f_files).unwrap_or(100);
        Ok(Disk {
            capacity_bytes: bytes(stat.f_blocks),
            available_bytes: bytes(stat.f_bavail),
            free_inodes_percent: i64::try_from(inodes).unwrap_or(100),
        })
    }

    pub(crate) fn available_memory_bytes() -> Option<i64> {
        memory_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
    }

    /// Processes now, and the most that the kernel allows.
    pub(crate) fn processes() -> Option<(i64, i64)> {
        let load = fs::read_to_string("/proc/loadavg").ok()?;
        let running = load.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()?;
        let maximum = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
        Some((running, maximum))
    }
}

fn memory_field(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kibibytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn hugepages() -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB")).and_then(|n| n.parse().ok());
        let Some(kibibytes): Option<i64> = size else { continue };
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        let count: i64 = count.trim().parse().unwrap_or(0);
        let label = if kibibytes >= 1 << 20 {
            format!("hugepages-{}Gi", kibibytes >> 20)
        } else {
            format!("hugepages-{}Mi", kibibytes >> 10)
        };
        found.push((label, count * kibibytes * 1024));
    }
    found.sort();
    found
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_this_machine() {
        let folder = std::env::temp_dir();
        let machine = Machine::probe(&folder).unwrap();
        assert!(machine.cpus >= 1);
        assert!(machine.memory_bytes > 64 << 20);
        assert!(!machine.info.kernel_version.is_empty());
        assert!(machine.disk().unwrap().capacity_bytes > 0);
        assert_eq!(memory_field("MemTotal:   16 kB\n", "MemTotal:"), Some(16384));
    }
}
