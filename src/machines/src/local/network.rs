//! The network of a cluster of local machines: a bridge, a table of address translation, and for each machine a
//! namespace with a cable to the bridge. Everything is named after the cluster's subnet, which nobody else uses.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::record::{ClusterRecord, MachineRecord, SUBNETS, bridge_name, subnet_address};
use crate::command::{ip, run, run_with_input};
use crate::{Error, Result};

/// What Ethernet has when the default route says nothing else.
const ORDINARY_MTU: u32 = 1500;
const NAMESPACES: &str = "/run/netns";

/// A line of `ip -json route show`.
#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

/// Where a machine's network namespace is pinned.
pub(super) fn namespace_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(namespace(name))
}

fn namespace(name: &str) -> String {
    format!("naru-{name}")
}

/// A subnet that overlaps with no route, no resolver and no other cluster of this computer.
pub(super) fn choose_subnet(reserved: &[u16]) -> Result<u16> {
    let command = "ip -json -4 route show table all";
    let text = run(Command::new("ip").args(["-json", "-4", "route", "show", "table", "all"]))?;
    let routes: Vec<Route> =
        serde_json::from_str(&text).map_err(|source| Error::Output { command: command.to_owned(), source })?;
    let mut used: Vec<(Ipv4Addr, u8)> = routes.iter().filter_map(|route| parse_destination(&route.dst)).collect();
    used.extend(resolvers()?.into_iter().filter_map(|resolver| resolver.parse().ok()).map(|address| (address, 32)));
    let interface_exists = |subnet| Path::new("/sys/class/net").join(bridge_name(subnet)).exists();
    first_free(&used, |subnet| reserved.contains(&subnet) || interface_exists(subnet)).ok_or(Error::NoFreeNetwork)
}

fn first_free(used: &[(Ipv4Addr, u8)], taken: impl Fn(u16) -> bool) -> Option<u16> {
    (0..SUBNETS).find(|subnet| {
        let address = subnet_address(*subnet, 0);
        !taken(*subnet) && !used.iter().any(|(other, length)| overlaps(address, 24, *other, *length))
    })
}

fn overlaps(a: Ipv4Addr, a_length: u8, b: Ipv4Addr, b_length: u8) -> bool {
    let length = u32::from(a_length.min(b_length)).min(32);
    length == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - length) == 0
}

/// Destinations other than the default route.
fn parse_destination(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    Some((address.parse().ok()?, length.parse().ok()?))
}

/// Resolvers of this computer that a machine can reach too: those on loopback are its own business.
pub(super) fn resolvers() -> Result<Vec<String>> {
    let systemd = Path::new("/run/systemd/resolve/resolv.conf");
    let file = if systemd.exists() { systemd } else { Path::new("/etc/resolv.conf") };
    Ok(parse_resolvers(&fs_err::read_to_string(file)?))
}

fn parse_resolvers(text: &str) -> Vec<String> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let outside = |address: &&str| !address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    servers.map(str::trim).filter(outside).map(str::to_owned).collect()
}

/// The size of packets that gets out of this computer.
fn uplink_mtu() -> u32 {
    let routes = run(Command::new("ip").args(["-json", "-4", "route", "show", "default"])).unwrap_or_default();
    let routes: Vec<Route> = serde_json::from_str(&routes).unwrap_or_default();
    let device = routes.first().map(|route| Path::new("/sys/class/net").join(&route.dev).join("mtu"));
    let text = device.and_then(|path| fs_err::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(ORDINARY_MTU)
}

/// Makes the bridge and the address translation of a cluster, or puts them right.
pub(super) fn ensure_bridge(cluster: &ClusterRecord) -> Result<()> {
    let bridge = cluster.bridge();
    let mtu = uplink_mtu().to_string();
    if !Path::new("/sys/class/net").join(&bridge).exists() {
        // Without an address of its own a bridge takes one of its ports', and changes it when machines go.
        let hardware = cluster.bridge_hardware_address();
        let kind = ["type", "bridge", "stp_state", "0", "forward_delay", "0"];
        ip(&[&["link", "add", &bridge, "address", &hardware, "mtu", &mtu][..], &kind].concat())?;
    }
    ip(&["address", "replace", &format!("{}/24", cluster.gateway()), "dev", &bridge])?;
    ip(&["link", "set", &bridge, "up"])?;
    // Stays on when clusters go: others on this computer may have come to rely on it.
    fs_err::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let rules = translation(&cluster.table(), &bridge, &format!("{}/24", cluster.address(0)));
    run_with_input(Command::new("nft").args(["-f", "-"]), &rules).map(drop)
}

/// Adding the table before deleting it makes the replacement work, in one step, whether it exists or not.
fn translation(table: &str, bridge: &str, subnet: &str) -> String {
    format!(
        "table ip {table} {{}}
delete table ip {table}
table ip {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} ip daddr != {subnet} oifname != \"{bridge}\" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname \"{bridge}\" accept
        oifname \"{bridge}\" accept
    }}
}}
"
    )
}

/// Removes what [`ensure_bridge`] made.
pub(super) fn remove_bridge(cluster: &ClusterRecord) -> Result<()> {
    let table = cluster.table();
    run_with_input(
        Command::new("nft").args(["-f", "-"]),
        &format!("table ip {table} {{}}\ndelete table ip {table}\n"),
    )?;
    remove_interface(&cluster.bridge())
}

/// Gives a machine that does not run a fresh namespace and a cable.
pub(super) fn plug_in(cluster: &ClusterRecord, machine: &MachineRecord) -> Result<()> {
    unplug(cluster, machine)?;
    let namespace = namespace(&cluster.machine_name(machine));
    let mtu = uplink_mtu().to_string();
    let interface = cluster.interface(machine);
    ip(&["netns", "add", &namespace])?;
    let hardware = cluster.hardware_address(machine);
    let (near, far) = (["link", "add", &interface, "mtu", &mtu, "type", "veth"], ["peer", "name", "eth0"]);
    ip(&[&near[..], &far[..], &["address", &hardware, "mtu", &mtu, "netns", &namespace]].concat())?;
    ip(&["link", "set", &interface, "master", &cluster.bridge(), "up"])?;
    Ok(())
}

/// Pulls the cable and unpins the namespace; from the outside the machine is silent at once.
pub(super) fn unplug(cluster: &ClusterRecord, machine: &MachineRecord) -> Result<()> {
    remove_interface(&cluster.interface(machine))?;
    let name = cluster.machine_name(machine);
    if namespace_path(&name).exists() {
        ip(&["netns", "delete", &namespace(&name)])?;
    }
    Ok(())
}

fn remove_interface(name: &str) -> Result<()> {
    if Path::new("/sys/class/net").join(name).exists() {
        ip(&["link", "delete", name])?;
    }
    Ok(())
}

/// `ip netns add` mounts [`NAMESPACES`] on itself the first time; taken back once nobody has a namespace there.
pub(super) fn remove_empty_mount() {
    let empty = fs_err::read_dir(NAMESPACES).is_ok_and(|mut entries| entries.next().is_none());
    if empty && rustix::mount::unmount(NAMESPACES, rustix::mount::UnmountFlags::empty()).is_ok() {
        let _ = fs_err::remove_dir(NAMESPACES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(texts: &[&str]) -> Vec<(Ipv4Addr, u8)> {
        texts.iter().filter_map(|text| parse_destination(text)).collect()
    }

    #[test]
    fn subnets_in_use_are_passed_over() {
        assert_eq!(first_free(&used(&["default", "192.0.2.0/24"]), |_| false), Some(0));
        assert_eq!(first_free(&used(&["10.201.0.128/25", "10.201.1.7"]), |_| false), Some(2));
        assert_eq!(first_free(&used(&["10.0.0.0/8"]), |_| false), Some(256));
        assert_eq!(first_free(&used(&["10.0.0.0/8"]), |subnet| subnet < 300), Some(300));
        assert_eq!(first_free(&used(&["0.0.0.0/1", "128.0.0.0/1"]), |_| false), None);
    }

    #[test]
    fn resolvers_on_loopback_are_left_out() {
        let text = "# made\nnameserver 127.0.0.53\nnameserver 10.255.255.53\nnameserver ::1\nsearch example.com\n";
        assert_eq!(parse_resolvers(text), ["10.255.255.53"]);
    }

    #[test]
    fn the_table_is_replaced_in_one_step() {
        let rules = translation("naru_machines_7", "naru-br7", "10.201.7.0/24");
        assert!(rules.starts_with("table ip naru_machines_7 {}\ndelete table ip naru_machines_7\n"));
        assert!(rules.contains("ip saddr 10.201.7.0/24 ip daddr != 10.201.7.0/24"));
    }
}
