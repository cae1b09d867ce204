//! What this host is: read from files and netlink; programs are asked for nothing but their versions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use futures::TryStreamExt;
use naru_resources::{Host, Program, unit_states};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::LinkAttribute;

use crate::{AGENT_VERSION, Facts, UnitState};

const AUTHORITY: &str = "/etc/naru/pki/ca.crt";
const CAP_SYS_RESOURCE: u64 = 24;
const BYTES_PER_KIB: u64 = 1024;
const UNITS: &[&str] = &["naru-control-plane.service", "naru-node.service", "containerd.service"];
/// Programs whose version matters, with the argument that shows it.
const PROGRAMS: &[(&str, &str)] = &[("containerd", "--version"), ("runc", "--version"), ("nft", "--version")];
/// Interfaces whose addresses are the cluster's own and not the host's.
const INNER_INTERFACES: &[&str] =
    &["lo", "cni", "naru", "veth", "docker", "virbr", "cali", "flannel", "cilium", "kube-"];
/// systemd-resolved hides the real servers behind this one.
const STUB_RESOLVER: &str = "127.0.0.53";

/// Gathers everything in one go; what cannot be known stays empty.
pub async fn gather(host: &Host) -> Facts {
    let addresses = if host.is_local() { addresses().await.unwrap_or_default() } else { Vec::new() };
    let owned = host.clone();
    let facts = tokio::task::spawn_blocking(move || from_files(&owned)).await.unwrap_or_default();
    Facts { addresses, ..facts }
}

fn from_files(host: &Host) -> Facts {
    let text = |path: &str| fs::read_to_string(host.path(path)).unwrap_or_default();
    let line = |path: &str| text(path).trim().to_owned();
    let release = os_release(&text("/etc/os-release"));
    let release = |key: &str| release.get(key).cloned().unwrap_or_default();
    let units = unit_states(host, UNITS);
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
        memory_bytes: memory_bytes(&text("/proc/meminfo")),
        cpus: std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        disk_free_bytes: disk_free_bytes(host),
        addresses: Vec::new(),
        resolvers: resolvers(&text("/etc/resolv.conf"), &text("/run/systemd/resolve/resolv.conf")),
        swap_active: text("/proc/swaps").lines().count() > 1,
        can_lower_oom_score: has_capability(&text("/proc/self/status"), CAP_SYS_RESOURCE),
        unix_time_ms: unix_time_ms(),
        versions: PROGRAMS.iter().filter_map(|(name, flag)| version(host, name, flag)).collect(),
        units: units
            .into_iter()
            .map(|(name, active_state)| UnitState { name, active_state, started_unix_ms: 0 })
            .collect(),
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

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
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

fn version(host: &Host, program: &str, flag: &str) -> Option<(String, String)> {
    let output = Program::new(host, program).arguments([flag]).run().ok()?;
    Some((program.to_owned(), version_in(&output.stdout)?))
}

/// The first word with a digit and a dot: `runc version 1.1.15+ds1`, `nftables v1.1.3 (…)`,
/// `containerd github.com/containerd/containerd 1.7.24~ds1 …`.
fn version_in(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let words = line.split_whitespace().map(|word| word.trim_start_matches('v'));
    let is_version = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.');
    words.into_iter().find(is_version).map(str::to_owned)
}

/// Addresses that other machines can reach this host at.
async fn addresses() -> Result<Vec<String>, rtnetlink::Error> {
    let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return Ok(Vec::new()) };
    let connection = tokio::spawn(connection);
    let mut inner = Vec::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let is_inner = link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::IfName(name) => INNER_INTERFACES.iter().any(|prefix| name.starts_with(prefix)),
            _ => false,
        });
        if is_inner {
            inner.push(link.header.index);
        }
    }
    let mut found = Vec::new();
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let is_ip = matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6);
        if !is_ip || inner.contains(&message.header.index) || message.header.scope != AddressScope::Universe {
            continue;
        }
        let address = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
        // On a point-to-point link `Address` is the other end.
        let local = address(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let any = address(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        found.extend(local.or(any).map(|address| address.to_string()));
    }
    connection.abort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let release = os_release("ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME='Debian GNU/Linux 13 (trixie)'\n");
        assert_eq!((release["ID"].as_str(), release["VERSION_ID"].as_str()), ("debian", "13"));
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2 * 1024 * 1024);
        assert!(has_capability("CapEff:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("CapEff:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
    }

    #[test]
    fn a_stub_resolver_is_looked_behind() {
        assert_eq!(resolvers("# x\nnameserver 10.0.0.2\nsearch x\nnameserver fd00::2\n", ""), ["10.0.0.2", "fd00::2"]);
        assert_eq!(resolvers("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n"), ["192.0.2.1"]);
    }

    #[test]
    fn versions_of_all_three_programs() {
        let of = |text| version_in(text).unwrap();
        assert_eq!(of("containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6"), "1.7.24~ds1");
        assert_eq!(of("runc version 1.1.15+ds1\ncommit: 1.1.15"), "1.1.15+ds1");
        assert_eq!(of("nftables v1.1.3 (Commodore Bullmoose #4)"), "1.1.3");
    }

    #[tokio::test]
    async fn this_machine_has_facts() {
        let facts = gather(&Host::local()).await;
        assert!(facts.memory_bytes > 0 && facts.disk_free_bytes > 0 && facts.cpus > 0, "{facts:?}");
        assert!(!facts.kernel.is_empty() && !facts.os_id.is_empty() && !facts.architecture.is_empty(), "{facts:?}");
        assert!(facts.addresses.iter().all(|address| !address.starts_with("127.")), "{facts:?}");
    }
}
