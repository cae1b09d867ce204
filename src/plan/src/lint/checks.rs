//! The rules, each a function of one host.

use naru_agent::Route;
use naru_inventory::{Cidr, Host, Inventory, Role, Store};
use naru_observe::Reached;

use super::Found;
use super::fleet::{Fleet, View, mtu};
use crate::desired::{AUTHORITY_KEY, CONTROL_PLANE_CONFIG, CONTROL_PLANE_UNIT, NODE_CONFIG, NODE_UNIT, supported};

const CLOCK_SKEW_WARNING_SECONDS: i64 = 2;
/// Certificates made now would not be valid yet over there.
const CLOCK_SKEW_ERROR_SECONDS: i64 = 30;
const BYTES_PER_MEGABYTE: u64 = 1_000_000;
const MEMORY_WARNING_BYTES: u64 = 900 * BYTES_PER_MEGABYTE;
const MEMORY_ERROR_BYTES: u64 = 512 * BYTES_PER_MEGABYTE;
const DISK_WARNING_BYTES: u64 = 5_000 * BYTES_PER_MEGABYTE;
const DISK_ERROR_BYTES: u64 = 2_000 * BYTES_PER_MEGABYTE;
const KERNEL_WARNING: (u32, u32) = (5, 10);
/// Without it there are no maps of nftables as the service rules need them.
const KERNEL_ERROR: (u32, u32) = (4, 19);
const CERTIFICATE_WARNING_DAYS: i64 = 30;
const MILLISECONDS_PER_DAY: i64 = 86_400_000;
/// Files that are named one by one; more of them are counted.
const MAX_NAMED: usize = 3;
/// Ports of ours by role: number, whether only control planes need it, whether only with etcd, what for.
const PORTS: [(u16, bool, bool, &str); 5] = [
    (10_250, false, false, "kubelet"),
    (6_444, false, false, "local API load balancer"),
    (6_443, true, false, "API server"),
    (2_379, true, true, "etcd clients"),
    (2_380, true, true, "etcd peers"),
];
/// Without these a host cannot be part of the cluster.
const VITAL_PORTS: [u16; 3] = [6_443, 2_379, 2_380];

pub(super) fn duplicate_machine_id(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let id = view.reached.facts.machine_id.as_str();
    let others: Vec<&str> = match fleet.machine_ids.get(id) {
        Some(hosts) if !id.is_empty() => hosts.iter().copied().filter(|host| *host != view.host.name).collect(),
        _ => return Vec::new(),
    };
    if others.is_empty() {
        return Vec::new();
    }
    let text = format!("has the same machine-id as {}: one is a copy of the other's disk", named(&others));
    let hint = "on the copy: rm /etc/machine-id && systemd-machine-id-setup, then reboot";
    // Where a cluster runs on it already, taking the host out would do more harm.
    vec![if view.is_fresh { Found::error(text) } else { Found::warning(text) }.hint(hint)]
}

pub(super) fn duplicate_address(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let addresses = view.reached.facts.addresses.iter();
    let theirs = addresses.filter_map(|address| {
        let address = address.split('/').next()?;
        let other = fleet.by_address.get(address).filter(|other| **other != view.host.name)?;
        Some(Found::warning(format!("has the address {address}, which the inventory gives to {other}")))
    });
    theirs.collect()
}

pub(super) fn clock_skew(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let skew = view.reached.clock_skew_seconds;
    if skew.abs() <= CLOCK_SKEW_WARNING_SECONDS {
        return Vec::new();
    }
    let side = if skew > 0 { "ahead" } else { "behind" };
    let text = format!("its clock is {} s {side}", skew.abs());
    let hint = match view.reached.facts.clock_synchronised {
        Some(false) => "nothing keeps it in step: apt install systemd-timesyncd",
        _ => "timedatectl tells whether it is kept in step",
    };
    let is_error = skew.abs() > CLOCK_SKEW_ERROR_SECONDS;
    vec![if is_error { Found::error(text) } else { Found::warning(text) }.hint(hint)]
}

pub(super) fn little_memory(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let bytes = view.reached.facts.memory_bytes;
    let text = || format!("has {} of memory", size(bytes));
    match bytes {
        0 => Vec::new(),
        1..MEMORY_ERROR_BYTES => vec![Found::error(text()).hint(format!("at least {}", size(MEMORY_ERROR_BYTES)))],
        MEMORY_ERROR_BYTES..MEMORY_WARNING_BYTES => vec![Found::warning(text())],
        _ => Vec::new(),
    }
}

pub(super) fn little_disk(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let bytes = view.reached.facts.disk_free_bytes;
    let text = || format!("has {} of disk free", size(bytes));
    match bytes {
        0 => Vec::new(),
        1..DISK_ERROR_BYTES if view.is_fresh => {
            vec![Found::error(text()).hint(format!("at least {}", size(DISK_ERROR_BYTES)))]
        }
        1..DISK_WARNING_BYTES => vec![Found::warning(text())],
        _ => Vec::new(),
    }
}

pub(super) fn port_in_use(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let is_control_plane = view.host.role == Role::ControlPlane;
    let has_etcd = fleet.inventory.spec.control_plane.store == Store::Etcd;
    let needed = PORTS
        .iter()
        .filter(|(_, of_control_plane, of_etcd, _)| (is_control_plane || !of_control_plane) && (has_etcd || !of_etcd));
    let taken = needed.filter_map(|(port, _, _, purpose)| {
        let mut listening = view.reached.facts.listening.iter();
        let by = listening.find(|by| by.port == *port && by.protocol == "tcp" && !by.program.starts_with("naru"))?;
        let program = if by.program.is_empty() { "another program" } else { &by.program };
        Some(
            Found::error(format!("port {port} ({purpose}) is taken by {program}"))
                .hint(format!("ss -ltnp 'sport = :{port}'")),
        )
    });
    taken.collect()
}

pub(super) fn port_unreachable(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let failed = fleet.unreachable.get(view.host.name.as_str()).into_iter().flatten();
    let mut found: Vec<Found> = Vec::new();
    for (index, failure) in failed.enumerate() {
        if index == MAX_NAMED {
            found.push(Found::warning("cannot reach further ports of further hosts"));
            break;
        }
        let text = format!("cannot reach {}:{} ({}): {}", failure.to, failure.port, failure.purpose, failure.reason);
        let is_error = view.is_fresh && VITAL_PORTS.contains(&failure.port);
        let hint = format!("is port {} open on {} and on the way there?", failure.port, failure.to);
        found.push(if is_error { Found::error(text) } else { Found::warning(text) }.hint(hint));
    }
    found
}

pub(super) fn mtu_mismatch(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    match (mtu(view.host, view.reached), fleet.usual_mtu) {
        (Some(own), Some(usual)) if own != usual => {
            let text = format!("its MTU is {own}, that of the other hosts is {usual}: large packets may get lost");
            vec![Found::warning(text)]
        }
        _ => Vec::new(),
    }
}

pub(super) fn no_resolver(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    if view.reached.facts.resolvers.is_empty() {
        let text = "has no DNS server: pods on it resolve only names of the cluster";
        return vec![Found::warning(text).hint("cat /etc/resolv.conf")];
    }
    Vec::new()
}

pub(super) fn name_unresolved(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let names = fleet.preflight.and_then(|preflight| preflight.unresolved.get(&view.host.name));
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    if names.is_empty() { Vec::new() } else { vec![Found::warning(format!("cannot resolve {}", named(&names)))] }
}

pub(super) fn network_clash(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for Route { destination, interface } in &view.reached.facts.routes {
        let Ok(route) = destination.parse::<Cidr>() else { continue };
        if route.prefix() == 0 {
            continue;
        }
        for (name, network) in &fleet.networks {
            if network.overlaps(route) {
                let text = format!("its route to {destination} (by {interface}) lies in {name} {network}");
                found.push(Found::error(text).hint(format!("choose another `spec.network.{name}`")));
            }
        }
    }
    found
}

pub(super) fn other_kubernetes(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let facts = &view.reached.facts;
    let mut found = Vec::new();
    if !facts.other_kubernetes.is_empty() {
        let text = format!("other Kubernetes lives there: {}", facts.other_kubernetes.join(", "));
        found.push(Found::error(text).hint("remove it with its own tool first"));
    }
    let own = facts.authority.as_deref().filter(|own| !own.is_empty());
    if view.host.role == Role::ControlPlane
        && let (Some(own), Some(usual)) = (own, fleet.authority)
        && own != usual
    {
        let text = "is a control plane of another cluster: it has another authority than the other control planes";
        found.push(Found::error(text).hint(format!("naru reset --host {}", view.host.name)));
    }
    found
}

pub(super) fn unsupported_system(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    supported(&view.reached.facts).err().map(Found::error).into_iter().collect()
}

pub(super) fn old_kernel(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let kernel = view.reached.facts.kernel.as_str();
    let mut numbers = kernel.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return Vec::new() };
    let text = format!("its kernel is {kernel}");
    match (major, minor) {
        version if version < KERNEL_ERROR => {
            vec![Found::error(text).hint(format!("at least {}.{}", KERNEL_ERROR.0, KERNEL_ERROR.1))]
        }
        version if version < KERNEL_WARNING => vec![Found::warning(text)],
        _ => Vec::new(),
    }
}

pub(super) fn swap_in_use(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    if view.reached.facts.swap_active {
        return vec![Found::warning("uses swap, which is turned off: is there memory enough without it?")];
    }
    Vec::new()
}

pub(super) fn certificate_expires(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let facts = &view.reached.facts;
    let left = |end: i64| (end - facts.unix_time_ms).div_euclid(MILLISECONDS_PER_DAY);
    let soon = facts.certificates.iter().filter(|one| left(one.not_after_unix_ms) < CERTIFICATE_WARNING_DAYS);
    let renews = |path: &str| view.reached.changes.iter().any(|change| change.summary.contains(path));
    let told = soon.filter(|one| !renews(&one.path)).map(|one| {
        let days = left(one.not_after_unix_ms);
        let when = if days < 0 { format!("{} days ago", -days) } else { format!("in {days} days") };
        Found::warning(format!("{} ends {when}", one.path)).hint("`naru apply` issues a new one")
    });
    told.collect()
}

pub(super) fn proxy_missing(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let variables: Vec<&str> =
        view.reached.facts.proxy.keys().map(String::as_str).filter(|name| *name != "no_proxy").collect();
    if variables.is_empty() || fleet.inventory.spec.proxy.is_some() {
        return Vec::new();
    }
    let text = format!("has a proxy in its environment ({}), but containerd is told of none", variables.join(", "));
    vec![Found::warning(text).hint("write it as `spec.proxy`")]
}

pub(super) fn role_change(fleet: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let refused = refused_role(fleet.inventory, view.host, view.reached);
    refused.map(|(text, hint)| Found::error(text).hint(hint)).into_iter().collect()
}

/// Why a host cannot become what the inventory calls it, and what to do. Only what the host itself shows counts: what
/// was put there in another role. An API that gives no answer makes no difference.
pub(crate) fn refused_role(inventory: &Inventory, host: &Host, reached: &Reached) -> Option<(&'static str, String)> {
    let was_control_plane = carries_control_plane(reached);
    let believes = reached.facts.authority.as_ref().is_some_and(|own| !own.is_empty());
    let has_node = reached.manifest.contains_key(NODE_CONFIG) || has_unit(reached, NODE_UNIT) && believes;
    let was_worker = !was_control_plane && has_node;
    let has_embedded = inventory.spec.control_plane.store == Store::Embedded;
    let name = &host.name;
    let is_present = host.state.is_present();
    match host.role {
        Role::Worker if was_control_plane && is_present && has_embedded => Some((
            "is the control plane and holds the cluster's state; as a worker it would lose it",
            format!("write `role: control-plane` for {name} again"),
        )),
        _ if was_control_plane && !is_present && has_embedded => Some((
            "holds the cluster's state; without it there is no cluster",
            "`naru reset` takes the whole cluster down".to_owned(),
        )),
        Role::ControlPlane if was_worker && is_present && has_embedded => Some((
            "is a worker; as the control plane it would start an empty cluster",
            format!("write `role: worker` for {name} again"),
        )),
        Role::Worker if was_control_plane && is_present => Some((
            "is a control plane; a host does not change its role in place",
            format!("`state: absent` for {name} first; once that is applied, enter it as a worker"),
        )),
        Role::ControlPlane if was_worker && is_present => Some((
            "is a worker; a host does not change its role in place",
            format!("`state: absent` for {name} first; once that is applied, enter it as a control plane"),
        )),
        _ => None,
    }
}

/// Whether a control plane of ours was set up there, whatever the inventory calls the host now. A host that could not
/// be compared tells no manifest, but its units.
pub(crate) fn carries_control_plane(reached: &Reached) -> bool {
    let manifest = &reached.manifest;
    manifest.contains_key(AUTHORITY_KEY)
        || manifest.contains_key(CONTROL_PLANE_CONFIG)
        || has_unit(reached, CONTROL_PLANE_UNIT)
}

fn has_unit(reached: &Reached, name: &str) -> bool {
    reached.facts.units.iter().any(|unit| unit.name == name)
}

pub(super) fn drift(_: &Fleet<'_>, view: &View<'_>) -> Vec<Found> {
    let drifted: Vec<&str> = view.reached.drifted.iter().map(String::as_str).collect();
    if drifted.is_empty() {
        return Vec::new();
    }
    vec![
        Found::warning(format!("changed by somebody else: {}", named(&drifted)))
            .hint("apply puts back what is still wanted"),
    ]
}

fn named(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn size(bytes: u64) -> String {
    let megabytes = bytes / BYTES_PER_MEGABYTE;
    match megabytes {
        0..1_000 => format!("{megabytes} MB"),
        _ => format!("{}.{} GB", megabytes / 1_000, megabytes % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_short() {
        assert_eq!((size(900_000_000), size(5_250_000_000)), ("900 MB".to_owned(), "5.2 GB".to_owned()));
        assert_eq!(named(&["a", "b", "c", "d"]), "a, b, c and 1 more");
    }
}
