//! What on the hosts is not as it should be, as data: what somebody changed after Naru had put it there, and what the
//! inventory wants otherwise by now.

use std::collections::BTreeMap;

use naru_inventory::{Host, Inventory};
use naru_observe::{HostObservation, Observation, Reached};
use naru_plan::{Action, Plan};
use naru_resources::{Change, Resource};
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Differences {
    pub(crate) cluster: String,
    pub(crate) hosts: Vec<HostDifferences>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostDifferences {
    pub(crate) host: String,
    /// Why nothing can be said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<String>,
    pub(crate) differences: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    pub(crate) origin: Origin,
    /// What apply would do about it, or what it is.
    pub(crate) summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diff: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Origin {
    /// It is not as Naru left it.
    Drift,
    /// It is as Naru left it, and the inventory or the programs say otherwise now.
    Inventory,
}

impl Differences {
    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.iter().all(|host| host.differences.is_empty())
    }

    /// Whether there are hosts about which nothing can be said.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.hosts.iter().any(|host| host.unknown.is_some())
    }
}

/// The differences of these hosts, or of all if none is named. `plan` is of the same observation; `resources` are the
/// host's desired ones.
pub(crate) fn differences(
    inventory: &Inventory,
    observation: &Observation,
    plan: &Plan,
    only: &[String],
    resources: &dyn Fn(&Host, &Reached) -> Vec<Resource>,
) -> Differences {
    let names = inventory.host_names();
    let chosen = names.iter().filter(|name| only.is_empty() || only.contains(name));
    let in_cluster = of_cluster(plan);
    let of_host = |name: &String| {
        let mut host = HostDifferences { host: name.clone(), ..HostDifferences::default() };
        match (observation.hosts.get(name), inventory.host(name)) {
            (Some(HostObservation::Reached(reached)), Some(known)) => match &reached.problem {
                Some(problem) => host.unknown = Some(problem.primary.clone()),
                // What leaves is not compared: nothing is wanted there.
                None if !known.state.is_present() => {}
                None => host.differences = on_host(reached, &resources(known, reached)),
            },
            (Some(HostObservation::Unreachable(problem)), _) => {
                host.unknown = Some(format!("it cannot be reached: {}", problem.primary));
            }
            _ => host.unknown = Some("its machine does not run".to_owned()),
        }
        host.differences.extend(in_cluster.get(name.as_str()).into_iter().flatten().cloned());
        host.differences.sort_by_key(|difference| difference.origin);
        host
    };
    Differences { cluster: inventory.name().to_owned(), hosts: chosen.map(of_host).collect() }
}

/// The name under which the manifest of the host knows a resource.
fn manifest_name(resource: &Resource) -> Option<String> {
    match resource {
        Resource::Directory { path, .. } | Resource::File { path, .. } | Resource::Binary { path, .. } => {
            Some(path.clone())
        }
        Resource::Unit { name, .. } => Some(format!("/etc/systemd/system/{name}")),
        Resource::Sysctl { .. } => Some("/etc/sysctl.d/90-naru.conf".to_owned()),
        Resource::KernelModule { .. } => Some("/etc/modules-load.d/naru.conf".to_owned()),
        Resource::Image { reference, .. } | Resource::PauseImage { reference } => Some(reference.clone()),
        Resource::Authority(authority) => Some(authority.certificate_path.clone()),
        Resource::Certificate(certificate) => Some(certificate.certificate_path.clone()),
        Resource::KeyPair { private_path, .. } => Some(private_path.clone()),
        Resource::Packages { .. } | Resource::Swap { .. } | Resource::Absent { .. } => None,
    }
}

fn on_host(reached: &Reached, resources: &[Resource]) -> Vec<Difference> {
    let name = |change: &Change| resources.get(change.resource).and_then(manifest_name);
    let mut differences: Vec<Difference> = reached
        .changes
        .iter()
        .map(|change| {
            let has_drifted = name(change).is_some_and(|name| reached.drifted.contains(&name));
            let origin = if has_drifted { Origin::Drift } else { Origin::Inventory };
            Difference { origin, summary: change.summary.clone(), diff: change.diff.clone() }
        })
        .collect();
    // What nothing wants any more, or what differs in a way that no resource looks at.
    let told: Vec<String> = reached.changes.iter().filter_map(name).collect();
    for drifted in reached.drifted.iter().filter(|drifted| !told.contains(drifted)) {
        let summary = format!("{drifted} is not as naru left it");
        differences.push(Difference { origin: Origin::Drift, summary, diff: None });
    }
    differences
}

/// What differs in the cluster: labels, taints and annotations of nodes, documents of the inventory.
fn of_cluster(plan: &Plan) -> BTreeMap<&str, Vec<Difference>> {
    let mut by_host: BTreeMap<&str, Vec<Difference>> = BTreeMap::new();
    let steps = plan.steps.iter();
    for step in steps.filter(|step| matches!(step.action, Action::Label { .. } | Action::Manifest { .. })) {
        let differences = step.changes.iter().map(|change| Difference {
            origin: Origin::Inventory,
            summary: change.summary.clone(),
            diff: change.diff.clone(),
        });
        by_host.entry(step.host.as_str()).or_default().extend(differences);
    }
    by_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_told_from_what_the_inventory_wants() {
        let file = |path: &str| Resource::Directory { path: path.to_owned(), mode: 0o755 };
        let change = |resource, summary: &str| Change {
            resource,
            summary: summary.to_owned(),
            diff: Some("-a\n+b\n".to_owned()),
            disruption: None,
        };
        let reached = Reached {
            changes: vec![change(0, "change /etc/a"), change(1, "change /etc/b")],
            drifted: vec!["/etc/a".to_owned(), "/etc/old".to_owned()],
            ..Reached::default()
        };
        let found = on_host(&reached, &[file("/etc/a"), file("/etc/b")]);
        let told: Vec<(Origin, &str)> = found.iter().map(|one| (one.origin, one.summary.as_str())).collect();
        assert_eq!(
            told,
            [
                (Origin::Drift, "change /etc/a"),
                (Origin::Inventory, "change /etc/b"),
                (Origin::Drift, "/etc/old is not as naru left it"),
            ]
        );
    }
}
