//! What this host is: read from files and netlink in one pass; programs are asked only for what no file tells, at the
//! same time as everything else.

pub(crate) mod certificates;
mod kubernetes;
mod network;
mod ports;
mod settings;
mod versions;

pub(crate) use network::OUR_ROUTES;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use naru_resources::{Host, unit_states};

use crate::{AGENT_VERSION, Facts, UnitState, fence};

const AUTHORITY: &str = "/etc/naru/pki/ca.crt";
const CAP_SYS_RESOURCE: u64 = 24;
const BYTES_PER_KIB: u64 = 1024;
const UNITS: &[&str] =
    &["naru-control-plane.service", "naru-node.service", "naru-etcd.service", "etcd.service", "containerd.service"];
/// systemd-resolved hides the real servers behind this one.
const STUB_RESOLVER: &str = "127.0.0.53";

/// Gathers everything in one go; what cannot be known stays empty.
pub async fn gather(host: &Host) -> Facts {
    let (of_units, of_files) = (host.clone(), host.clone());
    let (network, versions, units, facts) = tokio::join!(
        network::gather(host),
        versions::gather(host),
        tokio::task::spawn_blocking(move || units(&of_units)),
        tokio::task::spawn_blocking(move || from_files(&of_files)),
    );
    Facts {
        addresses: network.addresses,
        links: network.links,
        routes: network.routes,
        versions,
        units: units.unwrap_or_default(),
        ..facts.unwrap_or_default()
    }
}

fn units(host: &Host) -> Vec<UnitState> {
    let states = unit_states(host, UNITS).into_iter();
    let state = states.map(|unit| UnitState {
        name: unit.name,
        active_state: unit.active_state,
        started_unix_ms: unit.started.map_or(0, |started| started.as_millisecond()),
    });
    state.collect()
}

fn from_files(host: &Host) -> Facts {
    let text = |path: &str| fs::read_to_string(host.path(path)).unwrap_or_default();
    let line = |path: &str| text(path).trim().to_owned();
    let release = os_release(&text("/etc/os-release"));
    let release = |key: &str| release.get(key).cloned().unwrap_or_default();
    let memory = text("/proc/meminfo");
    Facts {
        hostname: line("/proc/sys/kernel/hostname"),
        machine_id: line("/etc/machine-id"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        os_id: release("ID"),
        os_version_id: release("VERSION_ID"),
        os_pretty_name: release("PRETTY_NAME"),
        architecture: rustix::system::uname().machine().to_string_lossy().into_owned(),
        kernel: line("/proc/sys/kernel/osrelease"),
        cgroup_version: if host.path("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 },
        init: line("/proc/1/comm"),
        memory_bytes: memory_bytes(&memory, "MemTotal:"),
        memory_available_bytes: memory_bytes(&memory, "MemAvailable:"),
        cpus: std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        disk_free_bytes: disk_free_bytes(host),
        resolvers: resolvers(&text("/etc/resolv.conf"), &text("/run/systemd/resolve/resolv.conf")),
        swap_active: text("/proc/swaps").lines().count() > 1,
        can_lower_oom_score: has_capability(&text("/proc/self/status"), CAP_SYS_RESOURCE),
        unix_time_ms: unix_time_ms(),
        clock_synchronised: settings::clock_synchronised(host),
        listening: ports::listening(host),
        proxy: settings::proxy(host),
        other_kubernetes: kubernetes::others(host),
        certificates: certificates::all(host),
        fence: fence::highest(host).map_or(0, |seen| seen.fence),
        authority: Some(authority(&text(AUTHORITY))),
        agent_version: AGENT_VERSION.to_owned(),
        ..Facts::default()
    }
}

fn authority(pem: &str) -> String {
    naru_pki::CertificateFacts::read(pem).map(|facts| facts.fingerprint).unwrap_or_default()
}

fn os_release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())).collect()
}

fn memory_bytes(meminfo: &str, name: &str) -> u64 {
    let amount = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kib = amount.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or_default() * BYTES_PER_KIB
}

fn disk_free_bytes(host: &Host) -> u64 {
    let candidates = ["/var/lib/naru", "/var/lib", "/"];
    let found = candidates.iter().find_map(|path| rustix::fs::statvfs(host.path(path)).ok());
    found.map_or(0, |status| status.f_bavail * status.f_frsize)
}

fn resolvers(resolv_conf: &str, behind_stub: &str) -> Vec<String> {
    let servers = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        lines.map(|rest| rest.trim().to_owned()).filter(|server| !server.is_empty()).collect()
    };
    let listed = servers(resolv_conf);
    if listed.iter().any(|server| server == STUB_RESOLVER) && !behind_stub.is_empty() {
        return servers(behind_stub);
    }
    listed
}

fn has_capability(status: &str, bit: u64) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|set| set & (1 << bit) != 0)
}

fn unix_time_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let release = os_release("ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME='Debian GNU/Linux 13 (trixie)'\n");
        assert_eq!((release["ID"].as_str(), release["VERSION_ID"].as_str()), ("debian", "13"));
        let memory = "MemFree: 1 kB\nMemTotal:       2048 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory_bytes(memory, "MemTotal:"), 2 * 1024 * 1024);
        assert_eq!(memory_bytes(memory, "MemAvailable:"), 1024 * 1024);
        assert!(has_capability("CapEff:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("CapEff:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
    }

    #[test]
    fn a_stub_resolver_is_looked_behind() {
        assert_eq!(resolvers("# x\nnameserver 10.0.0.2\nsearch x\nnameserver fd00::2\n", ""), ["10.0.0.2", "fd00::2"]);
        assert_eq!(resolvers("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n"), ["192.0.2.1"]);
    }

    #[tokio::test]
    async fn this_machine_has_facts() {
        let facts = gather(&Host::local()).await;
        assert!(facts.memory_bytes > 0 && facts.disk_free_bytes > 0 && facts.cpus > 0, "{facts:?}");
        assert!(!facts.kernel.is_empty() && !facts.os_id.is_empty() && !facts.architecture.is_empty(), "{facts:?}");
        assert!(facts.addresses.iter().all(|address| !address.starts_with("127.")), "{facts:?}");
        assert!(facts.memory_available_bytes > 0, "{facts:?}");
    }
}
