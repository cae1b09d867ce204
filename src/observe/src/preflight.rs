//! Whether hosts that are going to be set up can reach the others, and be reached, on the ports that a cluster needs,
//! and whether they can resolve the names that they will need. Asked before anything changes; where nothing is set up,
//! nothing is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use naru_agent::{Request, Response, Target};
use naru_inventory::{Host, Inventory, Role, Store};

use crate::probe::is_fresh;
use crate::{Fleet, HostAgent, HostObservation, Observation, Preflight, Unreachable};

/// A port that one kind of host must be able to reach on another.
struct Need {
    purpose: &'static str,
    port: u16,
    from: fn(&Host) -> bool,
    to: fn(&Host) -> bool,
    only_with_etcd: bool,
    reach: Reach,
}

enum Reach {
    All,
    /// Each only the next one in the list: enough to see that hosts reach each other at all.
    Next,
}

const NEEDS: [Need; 5] = [
    Need {
        purpose: "API server",
        port: 6443,
        from: any,
        to: is_control_plane,
        only_with_etcd: false,
        reach: Reach::All,
    },
    Need { purpose: "kubelet", port: 10250, from: is_control_plane, to: any, only_with_etcd: false, reach: Reach::All },
    Need {
        purpose: "etcd clients",
        port: 2379,
        from: is_control_plane,
        to: is_control_plane,
        only_with_etcd: true,
        reach: Reach::All,
    },
    Need {
        purpose: "etcd peers",
        port: 2380,
        from: is_control_plane,
        to: is_control_plane,
        only_with_etcd: true,
        reach: Reach::All,
    },
    Need { purpose: "pods of other nodes", port: 10250, from: any, to: any, only_with_etcd: false, reach: Reach::Next },
];

const CONNECT_TIMEOUT_MS: u64 = 3_000;
/// Connections that one request asks for.
const TARGETS_PER_PROBE: usize = 1_000;

fn any(_: &Host) -> bool {
    true
}

fn is_control_plane(host: &Host) -> bool {
    host.role == Role::ControlPlane
}

/// The connection over which a host listens, and the ports that answer there.
type Listener = (Arc<dyn HostAgent>, BTreeSet<u16>);

/// A connection to try, by the places of its ends in the list of hosts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    to: usize,
    port: u16,
    purpose: &'static str,
}

pub(crate) async fn preflight(
    inventory: &Inventory,
    fleet: &dyn Fleet,
    observation: &Observation,
    parallelism: usize,
) -> Option<Preflight> {
    let usable = |host: &&Host| observation.reached(&host.name).is_some_and(|reached| reached.problem.is_none());
    let hosts: Vec<&Host> = inventory.present_hosts().filter(usable).collect();
    let fresh: BTreeSet<usize> = (0..hosts.len()).filter(|place| is_new(observation, hosts[*place])).collect();
    if fresh.is_empty() {
        return None;
    }
    let attempts = attempts(inventory, &hosts, &fresh);
    let listeners = listen(fleet, observation, &hosts, &fresh, &attempts, parallelism).await;
    let open = open_ports(observation, &hosts, &fresh, &listeners);
    let names = names(inventory);
    let probes = attempts.iter().map(|(from, attempts)| {
        let names: &[String] = if fresh.contains(from) { &names } else { &[] };
        probe(fleet, &hosts, *from, attempts, &open, names)
    });
    let found = stream::iter(probes.collect::<Vec<_>>()).buffer_unordered(parallelism);
    let found: Vec<Preflight> = found.collect().await;
    let mut preflight = Preflight::default();
    for part in found {
        preflight.tried += part.tried;
        preflight.unreachable.extend(part.unreachable);
        preflight.unresolved.extend(part.unresolved);
    }
    preflight.unreachable.sort();
    // Listening ends with these connections; nothing that is set up later finds its port taken.
    drop(listeners);
    Some(preflight)
}

fn is_new(observation: &Observation, host: &Host) -> bool {
    matches!(observation.hosts.get(&host.name), Some(HostObservation::Reached(reached)) if is_fresh(&reached.facts))
}

/// What each host tries. Only what is new can be wrong: one of the two ends is.
fn attempts(inventory: &Inventory, hosts: &[&Host], fresh: &BTreeSet<usize>) -> BTreeMap<usize, BTreeSet<Attempt>> {
    let has_etcd = inventory.spec.control_plane.store == Store::Etcd;
    // A host without anything to reach still has names to resolve.
    let mut attempts: BTreeMap<usize, BTreeSet<Attempt>> = fresh.iter().map(|from| (*from, BTreeSet::new())).collect();
    for need in NEEDS.iter().filter(|need| has_etcd || !need.only_with_etcd) {
        let targets: Vec<usize> = (0..hosts.len()).filter(|to| (need.to)(hosts[*to])).collect();
        for from in (0..hosts.len()).filter(|from| (need.from)(hosts[*from])) {
            let next = [(from + 1) % hosts.len()];
            let targets: &[usize] = match need.reach {
                Reach::All => &targets,
                Reach::Next => &next,
            };
            for to in targets.iter().copied().filter(|to| *to != from) {
                if !fresh.contains(&from) && !fresh.contains(&to) {
                    continue;
                }
                let of_host = attempts.entry(from).or_default();
                // The sample asks for nothing that is asked for already.
                if !of_host.iter().any(|known| known.to == to && known.port == need.port) {
                    of_host.insert(Attempt { to, port: need.port, purpose: need.purpose });
                }
            }
        }
    }
    attempts
}

/// New hosts listen where others are going to knock. They do so over connections of their own, which answers too.
async fn listen(
    fleet: &dyn Fleet,
    observation: &Observation,
    hosts: &[&Host],
    fresh: &BTreeSet<usize>,
    attempts: &BTreeMap<usize, BTreeSet<Attempt>>,
    parallelism: usize,
) -> BTreeMap<usize, Listener> {
    let mut ports: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
    for attempt in attempts.values().flatten().filter(|attempt| fresh.contains(&attempt.to)) {
        ports.entry(attempt.to).or_default().insert(attempt.port);
    }
    let opening = ports.into_iter().map(|(place, ports)| async move {
        let host = hosts[place];
        let taken = listening(observation, host);
        let (taken, free): (BTreeSet<u16>, BTreeSet<u16>) = ports.into_iter().partition(|port| taken.contains(port));
        let agent = fleet.connect_anew(host).await.ok()?;
        let ports = free.into_iter().collect();
        match agent.call(Request::Listen { ports }).await {
            // What somebody else listens on can be reached as well as what we do.
            Ok(Response::Listening { opened, occupied }) => {
                Some((place, (agent, opened.into_iter().chain(occupied).chain(taken).collect())))
            }
            _ => None,
        }
    });
    let opened = stream::iter(opening.collect::<Vec<_>>()).buffer_unordered(parallelism);
    opened.filter_map(|opened| async move { opened }).collect().await
}

/// TCP ports that somebody listens on, by host.
fn open_ports(
    observation: &Observation,
    hosts: &[&Host],
    fresh: &BTreeSet<usize>,
    listeners: &BTreeMap<usize, Listener>,
) -> BTreeMap<usize, BTreeSet<u16>> {
    let ports = |place: usize| match listeners.get(&place) {
        Some((_, ports)) => ports.clone(),
        None if fresh.contains(&place) => BTreeSet::new(),
        None => listening(observation, hosts[place]),
    };
    (0..hosts.len()).map(|place| (place, ports(place))).collect()
}

fn listening(observation: &Observation, host: &Host) -> BTreeSet<u16> {
    let facts = observation.reached(&host.name).map(|reached| &reached.facts);
    let all = facts.into_iter().flat_map(|facts| &facts.listening);
    all.filter(|one| one.protocol == "tcp").map(|one| one.port).collect()
}

async fn probe(
    fleet: &dyn Fleet,
    hosts: &[&Host],
    from: usize,
    attempts: &BTreeSet<Attempt>,
    open: &BTreeMap<usize, BTreeSet<u16>>,
    names: &[String],
) -> Preflight {
    let mut preflight = Preflight::default();
    // Where nobody listens, a refusal says nothing about the network between.
    let is_open = |attempt: &&Attempt| open.get(&attempt.to).is_some_and(|ports| ports.contains(&attempt.port));
    let attempts: Vec<&Attempt> = attempts.iter().filter(is_open).collect();
    if attempts.is_empty() && names.is_empty() {
        return preflight;
    }
    let host = hosts[from];
    let Ok(agent) = fleet.connect(host).await else { return preflight };
    let mut names = names;
    let mut chunks: Vec<&[&Attempt]> = attempts.chunks(TARGETS_PER_PROBE).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    for chunk in chunks {
        let target = |attempt: &&Attempt| Target { address: hosts[attempt.to].address.clone(), port: attempt.port };
        let reach = chunk.iter().map(target).collect();
        let request = Request::Probe { reach, resolve: names.to_vec(), timeout_ms: CONNECT_TIMEOUT_MS };
        // A host that cannot try has said nothing about the network.
        let Ok(Response::Probed { reach, resolve }) = agent.call(request).await else { return preflight };
        preflight.tried += reach.len();
        for (attempt, reason) in chunk.iter().zip(reach) {
            let Some(reason) = reason else { continue };
            preflight.unreachable.push(Unreachable {
                from: host.name.clone(),
                to: hosts[attempt.to].name.clone(),
                port: attempt.port,
                purpose: attempt.purpose.to_owned(),
                reason,
            });
        }
        let unresolved = names.iter().zip(resolve).filter(|(_, reason)| reason.is_some());
        let unresolved: Vec<String> = unresolved.map(|(name, _)| name.clone()).collect();
        if !unresolved.is_empty() {
            preflight.unresolved.insert(host.name.clone(), unresolved);
        }
        names = &[];
    }
    preflight
}

/// Names that a new host will have to resolve; with a proxy that resolves for it, only the proxy's own.
fn names(inventory: &Inventory) -> Vec<String> {
    let spec = &inventory.spec;
    let proxies = spec.proxy.iter().flat_map(|proxy| [&proxy.http, &proxy.https]).flatten();
    let mut found: BTreeSet<String> = proxies.filter_map(|url| name_of(url)).collect();
    if found.is_empty() {
        let registries = &spec.runtime.registries;
        found.extend(registries.iter().flat_map(|registry| &registry.mirrors).filter_map(|url| name_of(url)));
        found.extend(registries.iter().filter_map(|registry| name_of(&registry.host)));
    }
    found.extend(spec.control_plane.endpoint.as_deref().and_then(name_of));
    found.into_iter().collect()
}

/// The host of a URL or of `HOST:PORT`, if it is a name.
fn name_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return None;
    }
    let name = host.split(':').next().unwrap_or_default();
    (!name.is_empty() && name.parse::<IpAddr>().is_err()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_resolved() {
        assert_eq!(name_of("https://user:secret@mirror.example.com:5000/v2"), Some("mirror.example.com".to_owned()));
        assert_eq!(name_of("api.example.com:6443"), Some("api.example.com".to_owned()));
        assert_eq!(name_of("http://10.0.0.1:3128"), None);
        assert_eq!(name_of("[fd00::1]:6443"), None);
    }

    fn inventory(workers: usize) -> Inventory {
        let mut text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: x}\nspec:\n  hosts:\n  \
            - {name: cp1, role: control-plane, address: 10.0.0.11}\n"
            .to_owned();
        for number in 1..=workers {
            text += &format!("  - {{name: w{number}, role: worker, address: 10.0.1.{number}}}\n");
        }
        naru_inventory::parse("x", &text).unwrap()
    }

    #[test]
    fn attempts_grow_with_the_fleet_and_not_with_its_square() {
        let inventory = inventory(100);
        let hosts: Vec<&Host> = inventory.spec.hosts.iter().collect();
        let all = attempts(&inventory, &hosts, &(0..hosts.len()).collect());
        // Each worker the API server and its neighbour, the control plane every kubelet.
        let count: usize = all.values().map(BTreeSet::len).sum();
        assert_eq!(count, 100 + 100 + 100);
        let one = attempts(&inventory, &hosts, &[7].into());
        assert_eq!(one[&7].len(), 2, "the API server and the next host");
        assert_eq!(one[&0].iter().map(|attempt| attempt.to).collect::<Vec<_>>(), [7]);
        assert_eq!(one[&6].iter().map(|attempt| attempt.to).collect::<Vec<_>>(), [7]);
        assert_eq!(one.len(), 3);
    }
}
