//! Hosts and groups of machines: names, addresses, labels, how many control planes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::{NODE_PREFIX, Networks};
use super::{Ahead, LABEL_GRAMMAR, node, ssh};
use crate::document::Path;
use crate::names::{is_dns_label, is_label_key, is_label_value};
use crate::spec::{Group, Host, Inventory, Machines, Role, Taint};
use crate::structure::Finding;

const KEY_GRAMMAR: &str = "letters, digits, `-`, `_`, `.`, at most 63, optionally behind a DNS prefix and `/`";
/// The local provider's machines share one computer.
const MAX_MACHINES: u32 = 64;
/// All annotations of an object together, as the API server has it.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;
/// Annotations that Naru writes itself.
const OWN_PREFIX: &str = "naru.dev/";

pub(super) fn hosts(hosts: &[Host], networks: &Networks, path: &Path, findings: &mut Vec<Finding>) {
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        let path = path.index(index);
        name(&host.name, "host", &path.key("name"), findings);
        if let Some(earlier) = names.insert(host.name.clone(), index) {
            let primary = format!("the name `{}` is taken", host.name);
            findings.push(
                Finding::new(path.key("name"), primary).detail(format!("host number {} has it too", earlier + 1)),
            );
        }
        if let Some(earlier) = addresses.insert((host.address.clone(), host.port), host.name.clone()) {
            let primary = format!("the address {} is taken", host.address);
            findings.push(Finding::new(path.key("address"), primary).detail(format!("host `{earlier}` has it too")));
        }
        address(host, networks, &path.key("address"), findings);
        ssh::host(host, &path, findings);
        labels(&host.labels, &path.key("labels"), findings);
        annotations(&host.annotations, &path.key("annotations"), findings);
        taints(&host.taints, &path.key("taints"), findings);
        node::kubelet(&host.kubelet, &path.key("kubelet"), findings);
    }
}

fn name(name: &str, of: &str, path: &Path, findings: &mut Vec<Finding>) {
    if !is_dns_label(name) {
        findings.push(Finding::new(path.clone(), format!("`{name}` is not a {of} name")).detail(LABEL_GRAMMAR));
    }
}

fn address(host: &Host, networks: &Networks, path: &Path, findings: &mut Vec<Finding>) {
    let address = match host.address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address,
        Ok(IpAddr::V6(_)) => {
            return findings.push(Finding::new(path.clone(), "IPv6 addresses are not supported yet"));
        }
        Err(_) => {
            let finding = Finding::new(path.clone(), format!("`{}` is not an IP address", host.address))
                .detail("other hosts and pods reach this host by it, so a name is not enough");
            return findings.push(finding.hint("write its IPv4 address, such as 10.0.0.11"));
        }
    };
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast() {
        let finding = Finding::new(path.clone(), format!("{address} is no address of a host"));
        return findings.push(finding.detail("other hosts must be able to reach it"));
    }
    for (cidr, of) in [(networks.pods, "podCIDR"), (networks.services, "serviceCIDR")] {
        if let Some(cidr) = cidr.filter(|cidr| cidr.contains(address)) {
            findings.push(
                Finding::new(path.clone(), format!("the address {address} lies in {of} {cidr}"))
                    .hint(format!("choose another `spec.network.{of}`")),
            );
        }
    }
}

fn labels(labels: &BTreeMap<String, String>, path: &Path, findings: &mut Vec<Finding>) {
    for (key, value) in labels {
        if !is_label_key(key) {
            let finding = Finding::new(path.key(key), format!("`{key}` is not a label key"));
            findings.push(finding.detail(KEY_GRAMMAR).of_key());
        }
        if !is_label_value(value) {
            findings.push(
                Finding::new(path.key(key), format!("`{value}` is not a label value"))
                    .detail("letters, digits, `-`, `_`, `.`, at most 63, a letter or digit at both ends; or empty"),
            );
        }
    }
}

fn annotations(annotations: &BTreeMap<String, String>, path: &Path, findings: &mut Vec<Finding>) {
    for key in annotations.keys() {
        if !is_label_key(key) {
            let finding = Finding::new(path.key(key), format!("`{key}` is not an annotation key"));
            findings.push(finding.detail(KEY_GRAMMAR).of_key());
        } else if key.starts_with(OWN_PREFIX) {
            let finding = Finding::new(path.key(key), format!("the annotation `{key}` is Naru's own"));
            findings.push(finding.hint("choose another prefix").of_key());
        }
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_ANNOTATION_BYTES {
        let finding = Finding::new(path.clone(), format!("the annotations have {bytes} bytes")).of_key();
        findings.push(finding.detail(format!("at most {MAX_ANNOTATION_BYTES} are possible")));
    }
}

fn taints(taints: &[Taint], path: &Path, findings: &mut Vec<Finding>) {
    let mut seen = BTreeMap::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        if !is_label_key(&taint.key) {
            let finding = Finding::new(path.key("key"), format!("`{}` is not a taint key", taint.key));
            findings.push(finding.detail(KEY_GRAMMAR));
        }
        if !is_label_value(&taint.value) {
            findings.push(Finding::new(path.key("value"), format!("`{}` is not a taint value", taint.value)));
        }
        if seen.insert((&taint.key, taint.effect), index).is_some() {
            let primary = format!("the taint `{}` with this effect is given twice", taint.key);
            findings.push(Finding::new(path.key("key"), primary));
        }
    }
}

pub(super) fn groups(machines: &Machines, path: &Path, findings: &mut Vec<Finding>) {
    let path = path.key("groups");
    let mut names: BTreeMap<String, &Group> = BTreeMap::new();
    for (index, group) in machines.groups.iter().enumerate() {
        let path = path.index(index);
        name(&group.name, "group", &path.key("name"), findings);
        if group.count == 0 || group.count > MAX_MACHINES {
            let finding = Finding::new(path.key("count"), format!("a group cannot have {} machines", group.count));
            findings.push(finding.detail(format!("allowed are 1 to {MAX_MACHINES}")));
        } else {
            for machine in group.machine_names() {
                if let Some(other) = names.insert(machine.clone(), group) {
                    let primary = format!("two machines would be called `{machine}`");
                    let detail = format!("groups `{}` and `{}` both make it", other.name, group.name);
                    findings.push(Finding::new(path.key("name"), primary).detail(detail));
                    break;
                }
            }
        }
        labels(&group.labels, &path.key("labels"), findings);
        taints(&group.taints, &path.key("taints"), findings);
    }
}

pub(super) fn counts(
    inventory: &Inventory,
    ahead: Ahead,
    spec: &Path,
    networks: &Networks,
    findings: &mut Vec<Finding>,
) {
    let (place, control_planes, total) = match &inventory.spec.machines {
        Some(machines) => {
            let of = |role: Option<Role>| -> u64 {
                let groups = machines.groups.iter().filter(|group| role.is_none_or(|role| group.role == role));
                groups.map(|group| u64::from(group.count)).sum()
            };
            (spec.key("machines").key("groups"), of(Some(Role::ControlPlane)), of(None))
        }
        None if inventory.spec.hosts.is_empty() => return,
        None => {
            let present = inventory.present_hosts().count() as u64;
            (spec.key("hosts"), inventory.control_planes().count() as u64, present)
        }
    };
    let leaving = inventory.spec.hosts.iter().rposition(|host| host.role == Role::ControlPlane);
    match (control_planes, leaving) {
        (0, Some(last)) => findings.push(
            Finding::new(place.index(last).key("state"), "no control plane would be left")
                .detail("a cluster keeps at least one host with `role: control-plane`")
                .hint("`naru reset` takes a whole cluster down"),
        ),
        (0, None) => findings.push(
            Finding::new(place, "no control plane")
                .detail("a cluster has at least one machine with `role: control-plane`")
                .of_key(),
        ),
        (1, _) => {}
        // On the way from one odd number to another there is an even one.
        (even, _) if even % 2 == 0 && !(ahead == Ahead::Yes && has_leaving_control_plane(inventory)) => findings.push(
            Finding::new(place, format!("{even} control planes: an even number"))
                .detail("a majority must survive a loss; an even number survives no more losses than one fewer")
                .hint("use one control plane")
                .of_key(),
        ),
        _ if ahead == Ahead::Yes => {}
        (several, _) => findings.push(
            Finding::new(place, format!("{several} control planes are not supported yet"))
                .detail("several control planes share a store, `store: etcd`, which comes later")
                .hint("use one control plane")
                .of_key(),
        ),
    }
    if let Some(pods) = networks.pods {
        let room = 1_u64 << (NODE_PREFIX - pods.prefix());
        if total > room {
            let primary = format!("podCIDR {pods} has room for {room} nodes, {total} are listed");
            let finding = Finding::new(spec.key("network").key("podCIDR"), primary);
            findings.push(finding.detail(format!("each node gets a /{NODE_PREFIX} of it")));
        }
    }
}

fn has_leaving_control_plane(inventory: &Inventory) -> bool {
    inventory.spec.hosts.iter().any(|host| host.role == Role::ControlPlane && !host.state.is_present())
}
