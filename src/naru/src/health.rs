//! How a cluster is, as data: one entry per host and the cluster as a whole, from one observation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use naru_inventory::{Inventory, Role};
use naru_observe::{ApiState, HostObservation, NodeObservation, Observation, Reached};
use naru_plan::{Finding, Plan};
use serde::Serialize;

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    pub(crate) cluster: String,
    /// Nothing is left to do and nobody has to look at anything.
    pub(crate) is_well: bool,
    pub(crate) api: ApiState,
    pub(crate) control_planes: Share,
    /// Voters; absent where the state is kept in the control-plane program itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etcd: Option<Share>,
    /// Nodes by the version that they report.
    pub(crate) versions: BTreeMap<String, usize>,
    pub(crate) hosts: Vec<HostHealth>,
    /// Nodes of the cluster that are no hosts of the inventory.
    pub(crate) strangers: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) healthy: usize,
    pub(crate) of: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostHealth {
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
    pub(crate) state: HostStanding,
    /// Why it cannot be reached or used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// Differences from the inventory.
    pub(crate) changes: usize,
    /// Things of Naru's that somebody else changed or removed.
    pub(crate) drifted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<NodeHealth>,
    /// Days until the first of its certificates ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_days_left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_free_bytes: Option<u64>,
    /// Whether a finding is about it.
    pub(crate) has_finding: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HostStanding {
    AsWanted,
    Differs,
    /// It is on its way out of the cluster.
    Leaving,
    Unusable,
    Unreachable,
    Off,
    NotMade,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeHealth {
    pub(crate) ready: bool,
    pub(crate) unschedulable: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    pub(crate) version: String,
}

impl HostHealth {
    /// Whether somebody who looks after the cluster wants to read about it.
    pub(crate) fn has_something_to_say(&self) -> bool {
        !self.is_well() || self.has_finding || self.node.as_ref().is_some_and(|node| node.unschedulable)
    }

    fn is_well(&self) -> bool {
        self.state == HostStanding::AsWanted && self.drifted == 0 && self.node.as_ref().is_some_and(|node| node.ready)
    }
}

/// Puts together what is known; `plan` is of the same observation.
pub(crate) fn health(inventory: &Inventory, observation: &Observation, plan: &Plan, now: Timestamp) -> Health {
    let with_finding: BTreeSet<&str> = plan.findings.iter().filter_map(|finding| finding.host.as_deref()).collect();
    let nodes = observation.cluster.nodes.as_ref();
    let hosts: Vec<HostHealth> = roles(inventory)
        .into_iter()
        .map(|(name, role)| {
            let node = nodes.and_then(|nodes| nodes.get(&name)).map(node_health);
            let has_finding = with_finding.contains(name.as_str());
            let mut host = host_health(inventory, observation, &name, role, now);
            (host.node, host.has_finding) = (node, has_finding);
            host
        })
        .collect();
    let mut versions = BTreeMap::new();
    for node in nodes.iter().flat_map(|nodes| nodes.values()) {
        *versions.entry(node.version.clone()).or_default() += 1;
    }
    let known: BTreeSet<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let strangers = nodes.iter().flat_map(|nodes| nodes.keys()).filter(|name| !known.contains(name.as_str()));
    Health {
        cluster: inventory.name().to_owned(),
        is_well: observation.cluster.api == ApiState::Ready && hosts.iter().all(HostHealth::is_well),
        api: observation.cluster.api,
        control_planes: control_planes(inventory, observation),
        etcd: observation.cluster.etcd.as_ref().map(|members| {
            let voters = members.iter().filter(|member| !member.is_learner);
            Share { healthy: voters.clone().filter(|member| member.is_healthy).count(), of: voters.count() }
        }),
        versions,
        strangers: strangers.cloned().collect(),
        hosts,
        findings: plan.findings.clone(),
    }
}

/// All hosts with their roles, those of machines that do not run included.
fn roles(inventory: &Inventory) -> Vec<(String, Role)> {
    match &inventory.spec.machines {
        Some(machines) => {
            let groups = machines.groups.iter();
            groups.flat_map(|group| group.machine_names().map(|name| (name, group.role))).collect()
        }
        None => inventory.spec.hosts.iter().map(|host| (host.name.clone(), host.role)).collect(),
    }
}

fn control_planes(inventory: &Inventory, observation: &Observation) -> Share {
    let all: Vec<String> =
        roles(inventory).into_iter().filter(|(_, role)| *role == Role::ControlPlane).map(|(name, _)| name).collect();
    let runs = |reached: &Reached| {
        let units = reached.facts.units.iter();
        units.filter(|unit| unit.name == naru_plan::CONTROL_PLANE_UNIT).any(|unit| unit.active_state == "active")
    };
    let healthy = all.iter().filter(|name| observation.reached(name).is_some_and(runs)).count();
    Share { healthy, of: all.len() }
}

fn node_health(node: &NodeObservation) -> NodeHealth {
    NodeHealth {
        ready: node.ready,
        unschedulable: node.unschedulable,
        reason: node.reason.clone(),
        version: node.version.clone(),
    }
}

fn host_health(inventory: &Inventory, observation: &Observation, name: &str, role: Role, now: Timestamp) -> HostHealth {
    let host = inventory.host(name);
    let mut health = HostHealth {
        name: name.to_owned(),
        role,
        address: host.map(|host| host.address.clone()).unwrap_or_default(),
        state: HostStanding::NotMade,
        problem: None,
        changes: 0,
        drifted: 0,
        node: None,
        certificate_days_left: None,
        disk_free_bytes: None,
        has_finding: false,
    };
    match observation.hosts.get(name) {
        None | Some(HostObservation::Missing { is_off: false }) => {}
        Some(HostObservation::Missing { is_off: true }) => health.state = HostStanding::Off,
        Some(HostObservation::Unreachable(problem)) => {
            (health.state, health.problem) = (HostStanding::Unreachable, Some(problem.primary.clone()));
        }
        Some(HostObservation::Reached(reached)) => {
            health.problem = reached.problem.as_ref().map(|problem| problem.primary.clone());
            health.state = match (&reached.problem, host.is_some_and(|host| !host.state.is_present())) {
                (Some(_), _) => HostStanding::Unusable,
                (None, true) => HostStanding::Leaving,
                (None, false) if reached.changes.is_empty() => HostStanding::AsWanted,
                (None, false) => HostStanding::Differs,
            };
            (health.changes, health.drifted) = (reached.changes.len(), reached.drifted.len());
            let ends = reached.facts.certificates.iter().map(|certificate| certificate.not_after_unix_ms).min();
            health.certificate_days_left =
                ends.map(|ends| (ends - now.as_millisecond()).div_euclid(MILLISECONDS_PER_DAY));
            health.disk_free_bytes = Some(reached.facts.disk_free_bytes).filter(|bytes| *bytes > 0);
        }
    }
    health
}
