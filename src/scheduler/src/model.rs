//! What the scheduler keeps of pods and nodes: the few numbers and terms that decide, not the objects.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Affinity, Container, Node, Pod, ResourceRequirements, Taint, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use naru_controllers::runtime::{ObjectKey, meta};

use crate::quantity;

pub(crate) const DEFAULT_SCHEDULER: &str = "default-scheduler";
const DEFAULT_POD_LIMIT: i64 = 110;
/// What a container without requests counts as when nodes are compared.
const UNSTATED_CPU_MILLI: i64 = 100;
const UNSTATED_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources. CPU in thousandths, all else in units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub cpu_milli: i64,
    pub memory: i64,
    pub ephemeral: i64,
    pub extended: BTreeMap<String, i64>,
}

impl Amounts {
    fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            match name.as_str() {
                "cpu" => amounts.cpu_milli = quantity::milli(&quantity.0),
                "memory" => amounts.memory = quantity::whole(&quantity.0),
                "ephemeral-storage" => amounts.ephemeral = quantity::whole(&quantity.0),
                "pods" => {}
                _ => {
                    amounts.extended.insert(name.clone(), quantity::whole(&quantity.0));
                }
            }
        }
        amounts
    }

    fn combine(&mut self, other: &Self, combine: fn(i64, i64) -> i64) {
        self.cpu_milli = combine(self.cpu_milli, other.cpu_milli);
        self.memory = combine(self.memory, other.memory);
        self.ephemeral = combine(self.ephemeral, other.ephemeral);
        for (name, amount) in &other.extended {
            let entry = self.extended.entry(name.clone()).or_default();
            *entry = combine(*entry, *amount);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, |left, right| left.saturating_add(right));
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.combine(other, |left, right| left.saturating_sub(right));
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, std::cmp::max);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub address: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

/// A pod, waiting or placed.
#[derive(Debug, Clone)]
pub(crate) struct PodInfo {
    pub key: ObjectKey,
    pub uid: String,
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
    pub node: String,
    pub deleting: bool,
    pub terminal: bool,
    pub priority: i32,
    pub created: Option<Timestamp>,
    pub started: Option<Timestamp>,
    pub scheduler: String,
    pub gated: bool,
    pub never_preempts: bool,
    pub owner_uid: Option<String>,
    pub requests: Amounts,
    /// Requests with assumed amounts where none are stated, for comparing nodes.
    pub load: (i64, i64),
    pub ports: Vec<HostPort>,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Option<Box<Affinity>>,
    pub tolerations: Vec<Toleration>,
    pub spread: Vec<TopologySpreadConstraint>,
    pub images: Vec<String>,
    /// The PodScheduled condition: status, reason, message.
    pub scheduled_condition: Option<(String, String, String)>,
    pub nominated_node: Option<String>,
}

impl PodInfo {
    pub(crate) fn from_pod(pod: Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let condition = meta::pod_condition(&pod, "PodScheduled").map(|condition| {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            (condition.status.clone(), text(&condition.reason), text(&condition.message))
        });
        let init = spec.init_containers.unwrap_or_default();
        let overhead = Amounts::of(spec.overhead.as_ref());
        let (requests, load) = requests(&spec.containers, &init, spec.resources.as_ref(), &overhead);
        let status = pod.status.as_ref();
        Self {
            key: ObjectKey::of(&pod),
            uid: meta::uid(&pod.metadata).to_owned(),
            resource_version: pod.metadata.resource_version.clone().unwrap_or_default(),
            node: spec.node_name.unwrap_or_default(),
            deleting: meta::is_deleting(&pod.metadata),
            terminal: meta::pod_is_terminal(&pod),
            priority: spec.priority.unwrap_or(0),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            nominated_node: status
                .and_then(|status| status.nominated_node_name.clone())
                .filter(|name| !name.is_empty()),
            scheduler: spec.scheduler_name.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_SCHEDULER.into()),
            gated: spec.scheduling_gates.is_some_and(|gates| !gates.is_empty()),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            owner_uid: meta::controller_of(&pod.metadata).map(|owner| owner.uid.clone()),
            ports: host_ports(spec.containers.iter().chain(&init)),
            images: spec.containers.into_iter().filter_map(|container| container.image).collect(),
            requests,
            load,
            node_selector: spec.node_selector.unwrap_or_default(),
            affinity: spec.affinity.map(Box::new),
            tolerations: spec.tolerations.unwrap_or_default(),
            spread: spec.topology_spread_constraints.unwrap_or_default(),
            scheduled_condition: condition,
            labels: pod.metadata.labels.unwrap_or_default(),
        }
    }

    /// Counts against a node.
    pub(crate) fn occupies(&self) -> bool {
        !self.node.is_empty() && !self.terminal
    }

    pub(crate) fn waits(&self) -> bool {
        self.node.is_empty() && !self.deleting && !self.terminal
    }

    pub(crate) fn required_terms(&self, anti: bool) -> &[k8s_openapi::api::core::v1::PodAffinityTerm] {
        let affinity = self.affinity.as_ref();
        let terms = if anti {
            affinity
                .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
                .and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_deref())
        } else {
            affinity
                .and_then(|affinity| affinity.pod_affinity.as_ref())
                .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref())
        };
        terms.unwrap_or_default()
    }
}

fn request_of(resources: Option<&ResourceRequirements>) -> Amounts {
    let mut amounts = Amounts::of(resources.and_then(|resources| resources.limits.as_ref()));
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let stated = Amounts::of(requests);
    let has = |name: &str| requests.is_some_and(|requests| requests.contains_key(name));
    if has("cpu") {
        amounts.cpu_milli = stated.cpu_milli;
    }
    if has("memory") {
        amounts.memory = stated.memory;
    }
    if has("ephemeral-storage") {
        amounts.ephemeral = stated.ephemeral;
    }
    amounts.extended.extend(stated.extended);
    amounts
}

/// max(sum of containers and sidecars, each init container with the sidecars started before it) + overhead.
fn requests(
    containers: &[Container],
    init: &[Container],
    whole_pod: Option<&ResourceRequirements>,
    overhead: &Amounts,
) -> (Amounts, (i64, i64)) {
    let mut total = Amounts::default();
    let mut load = (0, 0);
    for container in containers {
        let request = request_of(container.resources.as_ref());
        load.0 += if request.cpu_milli == 0 { UNSTATED_CPU_MILLI } else { request.cpu_milli };
        load.1 += if request.memory == 0 { UNSTATED_MEMORY } else { request.memory };
        total.add(&request);
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in init {
        let request = request_of(container.resources.as_ref());
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&request);
            sidecars.add(&request);
            peak.raise_to(&sidecars);
        } else {
            let mut during = sidecars.clone();
            during.add(&request);
            peak.raise_to(&during);
        }
    }
    total.raise_to(&peak);
    if whole_pod.is_some() {
        let stated = request_of(whole_pod);
        if stated.cpu_milli > 0 {
            total.cpu_milli = stated.cpu_milli;
        }
        if stated.memory > 0 {
            total.memory = stated.memory;
        }
    }
    total.add(overhead);
    load = (load.0.max(total.cpu_milli), load.1.max(total.memory));
    (total, load)
}

fn host_ports<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<HostPort> {
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        Some(HostPort {
            address: port.host_ip.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: number,
        })
    });
    used.collect()
}

/// A node and what is placed on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeInfo {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    pub pod_limit: i64,
    /// Image name to size in bytes.
    pub images: HashMap<String, i64>,
    pub requested: Amounts,
    pub load: (i64, i64),
    pub pods: HashMap<String, Arc<PodInfo>>,
    /// False: the pods are known, the node object is not.
    pub exists: bool,
}

impl NodeInfo {
    /// Takes over what the object says, keeps what is placed.
    pub(crate) fn update(&mut self, node: Node) {
        let status = node.status.unwrap_or_default();
        let spec = node.spec.unwrap_or_default();
        self.exists = true;
        self.name = node.metadata.name.unwrap_or_default();
        self.labels = node.metadata.labels.unwrap_or_default();
        self.taints = spec.taints.unwrap_or_default();
        self.unschedulable = spec.unschedulable.unwrap_or(false);
        let listed = status.allocatable.or(status.capacity);
        self.allocatable = Amounts::of(listed.as_ref());
        let limit = listed.as_ref().and_then(|listed| listed.get("pods")).map(|quantity| quantity::whole(&quantity.0));
        self.pod_limit = limit.unwrap_or(DEFAULT_POD_LIMIT);
        self.images = status
            .images
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.into_iter().flatten().map(move |name| (name, size))
            })
            .collect();
    }

    pub(crate) fn place(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.uid);
        self.requested.add(&pod.requests);
        self.load = (self.load.0 + pod.load.0, self.load.1 + pod.load.1);
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests);
        self.load = (self.load.0 - pod.load.0, self.load.1 - pod.load.1);
        Some(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> PodInfo {
        PodInfo::from_pod(serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap())
    }

    fn container(cpu: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "10Mi", "example.com/gpu": "1"}}})
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_always() {
        let mut sidecar = container("200m");
        sidecar["restartPolicy"] = json!("Always");
        let plain =
            pod(json!({"containers": [container("100m"), container("100m")], "initContainers": [container("1")]}));
        assert_eq!(plain.requests.cpu_milli, 1000);
        assert_eq!(plain.requests.extended["example.com/gpu"], 2);
        let with = pod(json!({"containers": [container("100m")], "initContainers": [sidecar, container("1")],
            "overhead": {"cpu": "50m"}}));
        assert_eq!(with.requests.cpu_milli, 1250);
    }

    #[test]
    fn limits_stand_in_for_requests() {
        let pod = pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "300m"}}}]}));
        assert_eq!(pod.requests.cpu_milli, 300);
        assert_eq!(pod.load, (300, UNSTATED_MEMORY));
        assert_eq!(pod.scheduler, DEFAULT_SCHEDULER);
    }

    #[test]
    fn placing_twice_counts_once() {
        let mut node = NodeInfo::default();
        let pod = Arc::new(pod(json!({"containers": [container("100m")]})));
        node.place(pod.clone());
        node.place(pod.clone());
        assert_eq!(node.requested.cpu_milli, 100);
        node.remove(&pod.uid);
        assert_eq!((node.requested.cpu_milli, node.load), (0, (0, 0)));
    }

    #[test]
    fn host_ports_conflict_by_address_and_protocol() {
        let port =
            |address: &str, protocol: &str, port| HostPort { address: address.into(), protocol: protocol.into(), port };
        assert!(port("", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.2", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("", "UDP", 80).conflicts(&port("", "TCP", 80)));
    }
}
