//! What no schema can say: names, duplicates, overlapping networks, how many control planes, what is not supported yet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::cidr::{Cidr, CidrError};
use crate::document::Path;
use crate::names::{is_dns_label, is_dns_name, is_label_key, is_label_value};
use crate::spec::{Group, Host, Inventory, Machines, Network, Role, Ssh, Store, Taint};
use crate::structure::Finding;

const LABEL_GRAMMAR: &str = "lower-case letters, digits and dashes, at most 63, a letter or digit at both ends";
const KEY_GRAMMAR: &str = "letters, digits, `-`, `_`, `.`, at most 63, optionally behind a DNS prefix and `/`";
/// The local provider's machines share one computer.
const MAX_MACHINES: u32 = 64;
/// Prefix length of one node's share of the pod network.
const NODE_PREFIX: u8 = 24;

/// Whether what only the planner knows is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    No,
    Yes,
}

pub(crate) fn check(inventory: &Inventory, ahead: Ahead) -> Vec<Finding> {
    let mut findings = Vec::new();
    let spec = Path::of("spec");
    head(inventory, &mut findings);
    let networks = network(&inventory.spec.network, &spec.key("network"), &mut findings);
    control_plane(inventory, ahead, &spec.key("controlPlane"), &mut findings);
    ssh(&inventory.spec.ssh, &spec.key("ssh"), &mut findings);
    match (&inventory.spec.machines, inventory.spec.hosts.is_empty()) {
        (Some(_), false) => findings.push(
            Finding::new(spec.key("machines"), "both `hosts` and `machines` are given")
                .detail("hosts exist already, machines are made by a provider; a cluster has one or the other")
                .hint("remove one of them")
                .of_key(),
        ),
        (None, true) => findings.push(
            Finding::new(spec.key("hosts"), "no machines: neither `hosts` nor `machines` is given")
                .hint("list machines under `hosts`, or let a provider make them with `machines`"),
        ),
        (Some(machines), true) => groups(machines, &spec.key("machines"), &mut findings),
        (None, false) => hosts(&inventory.spec.hosts, &networks, &spec.key("hosts"), &mut findings),
    }
    counts(inventory, ahead, &spec, &networks, &mut findings);
    findings
}

fn head(inventory: &Inventory, findings: &mut Vec<Finding>) {
    let constant = |path: &str, found: &str, expected: &str| {
        (found != expected).then(|| {
            Finding::new(Path::of(path), format!("`{found}` is not known")).detail(format!("expected `{expected}`"))
        })
    };
    findings.extend(constant("apiVersion", &inventory.api_version, crate::API_VERSION));
    findings.extend(constant("kind", &inventory.kind, crate::KIND));
    if !is_dns_label(&inventory.metadata.name) {
        let primary = format!("`{}` is not a cluster name", inventory.metadata.name);
        findings.push(Finding::new(Path::of("metadata.name"), primary).detail(LABEL_GRAMMAR));
    }
    if inventory.spec.version != crate::VERSION {
        let primary = format!("this program cannot install version {}", inventory.spec.version);
        let detail = format!("it brings its own version, {}; upgrades between versions come later", crate::VERSION);
        findings.push(Finding::new(Path::of("spec.version"), primary).detail(detail).hint("leave `version` out"));
    }
}

#[derive(Default)]
struct Networks {
    pods: Option<Cidr>,
    services: Option<Cidr>,
}

fn network(network: &Network, path: &Path, findings: &mut Vec<Finding>) -> Networks {
    let pods = cidr(&network.pod_cidr, &path.key("podCIDR"), 8..=NODE_PREFIX, findings);
    let services = cidr(&network.service_cidr, &path.key("serviceCIDR"), 8..=24, findings);
    if let (Some(pods), Some(services)) = (pods, services)
        && pods.overlaps(services)
    {
        findings.push(
            Finding::new(path.key("serviceCIDR"), format!("serviceCIDR {services} overlaps podCIDR {pods}"))
                .detail("an address must belong either to a pod or to a Service")
                .hint("the defaults are 10.244.0.0/16 for pods and 10.96.0.0/16 for Services"),
        );
    }
    if !is_dns_name(&network.domain) {
        let primary = format!("`{}` is not a DNS domain", network.domain);
        findings.push(
            Finding::new(path.key("domain"), primary)
                .detail("names of lower-case letters, digits and dashes, joined by dots"),
        );
    }
    Networks { pods, services }
}

fn cidr(text: &str, path: &Path, prefixes: std::ops::RangeInclusive<u8>, findings: &mut Vec<Finding>) -> Option<Cidr> {
    match text.parse::<Cidr>() {
        Ok(cidr) if prefixes.contains(&cidr.prefix()) => Some(cidr),
        Ok(cidr) => {
            let detail = format!("prefix lengths from /{} to /{} are possible", prefixes.start(), prefixes.end());
            findings
                .push(Finding::new(path.clone(), format!("the network {cidr} has an unusable size")).detail(detail));
            None
        }
        Err(error) => {
            let finding = Finding::new(path.clone(), error.to_string());
            findings.push(match error {
                CidrError::HostBits { meant, .. } => finding.hint(format!("did you mean {meant}?")),
                _ => finding,
            });
            None
        }
    }
}

fn control_plane(inventory: &Inventory, ahead: Ahead, path: &Path, findings: &mut Vec<Finding>) {
    if inventory.spec.control_plane.store == Store::Etcd && ahead == Ahead::No {
        findings.push(
            Finding::new(path.key("store"), "the store `etcd` is not supported yet")
                .detail("this version keeps the cluster's state in the store embedded in its one control plane")
                .hint("use `store: embedded`, or leave it out"),
        );
    }
    if let Some(endpoint) = &inventory.spec.control_plane.endpoint {
        let valid = endpoint.rsplit_once(':').is_some_and(|(host, port)| {
            (host.parse::<Ipv4Addr>().is_ok() || is_dns_name(host)) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !valid {
            let primary = format!("`{endpoint}` is not an endpoint");
            findings.push(
                Finding::new(path.key("endpoint"), primary)
                    .detail("expected a name or IPv4 address and a port: api.example.com:6443"),
            );
        }
    }
}

fn ssh(ssh: &Ssh, path: &Path, findings: &mut Vec<Finding>) {
    if let Some(login) = &ssh.user {
        user(login, &path.key("user"), findings);
    }
    if let Some(number) = ssh.port {
        port(number, &path.key("port"), findings);
    }
}

fn user(user: &str, path: &Path, findings: &mut Vec<Finding>) {
    if user.is_empty() || user.chars().any(|character| character.is_whitespace() || character == '@') {
        findings.push(Finding::new(path.clone(), format!("`{user}` is not a login name")));
    }
}

fn port(port: u16, path: &Path, findings: &mut Vec<Finding>) {
    if port == 0 {
        findings.push(Finding::new(path.clone(), "port 0 cannot be reached").detail("allowed are 1 to 65535"));
    }
}

fn hosts(hosts: &[Host], networks: &Networks, path: &Path, findings: &mut Vec<Finding>) {
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
        if let Some(login) = &host.user {
            user(login, &path.key("user"), findings);
        }
        if let Some(number) = host.port {
            port(number, &path.key("port"), findings);
        }
        if let Some(key) = &host.host_key {
            host_key(key, &path.key("hostKey"), findings);
        }
        labels(&host.labels, &path.key("labels"), findings);
        taints(&host.taints, &path.key("taints"), findings);
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

fn host_key(key: &str, path: &Path, findings: &mut Vec<Finding>) {
    let mut words = key.split_whitespace();
    let algorithm = words.next().unwrap_or_default();
    let known = algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-sha2-");
    if !known || !words.next().is_some_and(|body| body.starts_with("AAAA")) {
        findings.push(
            Finding::new(path.clone(), "this is not an SSH public key")
                .detail("expected the algorithm and the key in base64: ssh-ed25519 AAAAC3…")
                .hint("`ssh-keyscan ADDRESS` prints it; compare it with the host's console"),
        );
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

fn groups(machines: &Machines, path: &Path, findings: &mut Vec<Finding>) {
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

fn counts(inventory: &Inventory, ahead: Ahead, spec: &Path, networks: &Networks, findings: &mut Vec<Finding>) {
    let (place, control_planes, total) = match &inventory.spec.machines {
        Some(machines) => {
            let of = |role: Option<Role>| -> u64 {
                let groups = machines.groups.iter().filter(|group| role.is_none_or(|role| group.role == role));
                groups.map(|group| u64::from(group.count)).sum()
            };
            (spec.key("machines").key("groups"), of(Some(Role::ControlPlane)), of(None))
        }
        None if inventory.spec.hosts.is_empty() => return,
        None => (spec.key("hosts"), inventory.control_planes().count() as u64, inventory.spec.hosts.len() as u64),
    };
    match control_planes {
        0 => findings.push(
            Finding::new(place.clone(), "no control plane")
                .detail("a cluster has at least one machine with `role: control-plane`")
                .of_key(),
        ),
        1 => {}
        even if even % 2 == 0 => findings.push(
            Finding::new(place.clone(), format!("{even} control planes: an even number"))
                .detail("a majority must survive a loss; an even number survives no more losses than one fewer")
                .hint("use one control plane")
                .of_key(),
        ),
        _ if ahead == Ahead::Yes => {}
        several => findings.push(
            Finding::new(place.clone(), format!("{several} control planes are not supported yet"))
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
