//! The Node object: registration, labels, and a status sent on change and every five minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::oneshot;

use crate::Context;
use crate::events::Kind;
use crate::machine::{Machine, architecture};

/// While the node is not ready yet, changes are wanted quickly.
const UNREADY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const MEMORY_PRESSURE_BYTES: i64 = 100 << 20;
const DISK_PRESSURE_PERCENT: i64 = 10;
const INODE_PRESSURE_PERCENT: i64 = 5;
const MAX_IMAGES: usize = 50;

pub(crate) struct Reporter {
    context: Arc<Context>,
    api: Api<Node>,
    last: Option<(NodeStatus, Instant)>,
}

/// What the runtime says of itself.
struct RuntimeState {
    version: String,
    /// Why the node cannot take pods yet.
    problem: Option<String>,
}

impl Reporter {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let api = Api::all(context.client.clone());
        Self { context, api, last: None }
    }

    pub(crate) async fn run(mut self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut problem = None;
        loop {
            let result = match tokio::time::timeout(CALL_TIMEOUT, self.report()).await {
                Ok(Ok(is_ready)) => Ok(is_ready),
                Ok(Err(error)) => Err(crate::error_chain(&error)),
                Err(_) => Err("the API did not answer in time".to_owned()),
            };
            // Once per problem: an API that is away for an hour must not fill the log.
            let new_problem = result.as_ref().err().cloned();
            if new_problem != problem {
                match &new_problem {
                    Some(error) => tracing::warn!(error, "node status not reported"),
                    None => tracing::info!("node status reported"),
                }
                problem = new_problem;
            }
            let is_ready = result.unwrap_or(false);
            if let Some(ready) = ready.take() {
                // Nobody waits any more if the program is about to end.
                let _ = ready.send(());
            }
            tokio::time::sleep(if is_ready {
                self.context.config.settings.node_status_update
            } else {
                UNREADY_CHECK_INTERVAL
            })
            .await;
        }
    }

    async fn report(&mut self) -> Result<bool, kube::Error> {
        let name = self.context.config.node_name.clone();
        let runtime = self.runtime_state().await;
        self.context.network_ready.store(runtime.problem.is_none(), Ordering::Relaxed);
        let node = match self.api.get_opt(&name).await? {
            Some(node) => self.sync_labels(node).await?,
            None => {
                self.last = None;
                self.register().await?
            }
        };
        let old = node.status.unwrap_or_default();
        let status = self.status(&old, &runtime).await;
        let ready = runtime.problem.is_none();
        let due = self.last.as_ref().is_none_or(|(sent, at)| {
            at.elapsed() >= self.context.config.settings.node_status_report
                || without_heartbeat(sent) != without_heartbeat(&status)
        });
        if due || conditions_lost(&old, &status) {
            let patch = serde_json::json!({"status": status});
            self.api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            if ready && condition_status(&old, "Ready") != Some("True") {
                let message = format!("Node {name} status is now: NodeReady");
                self.context.events.node(&name, Kind::Normal, "NodeReady", message);
            }
            self.last = Some((status, Instant::now()));
        }
        Ok(ready)
    }

    async fn runtime_state(&self) -> RuntimeState {
        let version = match self.context.runtime.version().await {
            Ok(version) => format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v')),
            Err(error) => {
                return RuntimeState {
                    version: self.context.machine.info.container_runtime_version.clone(),
                    problem: Some(format!("container runtime is down: {}", error.message())),
                };
            }
        };
        let problem = match self.context.runtime.status().await {
            Ok(status) => {
                let problems: Vec<String> = status
                    .conditions
                    .iter()
                    .filter(|condition| !condition.status && condition.r#type.ends_with("Ready"))
                    .map(|c| {
                        format!("container runtime {} not ready: reason:{} message:{}", c.r#type, c.reason, c.message)
                    })
                    .collect();
                Some(problems.join("; ")).filter(|text| !text.is_empty())
            }
            Err(error) => Some(format!("container runtime is down: {}", error.message())),
        };
        RuntimeState { version, problem }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let name = &self.context.config.node_name;
        let mut labels = self.context.config.labels.clone();
        for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
            labels.insert(format!("{prefix}/os"), "linux".into());
            labels.insert(format!("{prefix}/arch"), architecture().into());
        }
        labels.insert("kubernetes.io/hostname".into(), name.clone());
        labels
    }

    async fn register(&self) -> Result<Node, kube::Error> {
        let config = &self.context.config;
        let node = Node {
            metadata: ObjectMeta {
                name: Some(config.node_name.clone()),
                labels: Some(self.labels()),
                annotations: Some(
                    [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())].into(),
                ),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let node = self.api.create(&PostParams::default(), &node).await?;
        tracing::info!(node = config.node_name, "registered");
        let message = format!("Node {} registered itself", config.node_name);
        self.context.events.node(&config.node_name, Kind::Normal, "Starting", message);
        Ok(node)
    }

    /// Labels of the configuration are put back when they differ; labels of others stay.
    async fn sync_labels(&self, node: Node) -> Result<Node, kube::Error> {
        let current = node.metadata.labels.as_ref();
        let mut wanted = self.labels();
        wanted.retain(|key, value| current.and_then(|labels| labels.get(key)) != Some(value));
        if wanted.is_empty() {
            return Ok(node);
        }
        let patch = serde_json::json!({"metadata": {"labels": wanted}});
        self.api.patch(&self.context.config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    async fn status(&self, old: &NodeStatus, runtime: &RuntimeState) -> NodeStatus {
        let machine = &self.context.machine;
        let config = &self.context.config;
        let mut info = machine.info.clone();
        info.container_runtime_version.clone_from(&runtime.version);
        let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
        let capacity = capacity(machine, config.settings.max_pods);
        let mut allocatable = capacity.clone();
        let reserved = &config.settings.system_reserved;
        let left = |bytes: i64, kept: u64| (bytes - i64::try_from(kept).unwrap_or(i64::MAX)).max(0);
        if reserved.cpu_milli > 0 {
            let milli = left(machine.cpus * 1_000, reserved.cpu_milli);
            allocatable.insert("cpu".into(), Quantity(format!("{milli}m")));
        }
        let memory = left(machine.memory_bytes - MEMORY_PRESSURE_BYTES, reserved.memory_bytes);
        allocatable.insert("memory".into(), Quantity(format!("{}Ki", memory / 1024)));
        if let Ok(disk) = machine.disk() {
            // What the hard eviction threshold keeps back.
            allocatable.insert(
                "ephemeral-storage".into(),
                Quantity(left(disk.capacity_bytes / 10 * 9, reserved.ephemeral_storage_bytes).to_string()),
            );
        }
        NodeStatus {
            addresses: Some(vec![
                address("InternalIP", config.address.to_string()),
                address("Hostname", config.node_name.clone()),
            ]),
            allocatable: Some(allocatable),
            capacity: Some(capacity),
            conditions: Some(conditions(machine, old, runtime)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
            }),
            images: Some(self.images().await),
            node_info: Some(info),
            ..Default::default()
        }
    }

    async fn images(&self) -> Vec<ContainerImage> {
        let mut images = self.context.runtime.images().await.unwrap_or_default();
        images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        images.truncate(MAX_IMAGES);
        let names = |image: k8s_cri::v1::Image| ContainerImage {
            size_bytes: i64::try_from(image.size).ok(),
            names: Some(image.repo_digests.into_iter().chain(image.repo_tags).collect()),
        };
        images.into_iter().map(names).collect()
    }
}

fn capacity(machine: &Machine, max_pods: u32) -> BTreeMap<String, Quantity> {
    let mut list = BTreeMap::new();
    list.insert("cpu".to_owned(), Quantity(machine.cpus.to_string()));
    list.insert("memory".to_owned(), Quantity(format!("{}Ki", machine.memory_bytes / 1024)));
    list.insert("pods".to_owned(), Quantity(max_pods.to_string()));
    if let Ok(disk) = machine.disk() {
        list.insert("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", disk.capacity_bytes / 1024)));
    }
    for (name, bytes) in &machine.hugepages {
        let text = if *bytes == 0 { "0".to_owned() } else { format!("{}Mi", bytes >> 20) };
        list.insert(name.clone(), Quantity(text));
    }
    list
}

fn conditions(machine: &Machine, old: &NodeStatus, runtime: &RuntimeState) -> Vec<NodeCondition> {
    let memory = Machine::available_memory_bytes().is_some_and(|bytes| bytes < MEMORY_PRESSURE_BYTES);
    let disk = machine.disk().is_ok_and(|disk| {
        disk.available_bytes < disk.capacity_bytes / 100 * DISK_PRESSURE_PERCENT
            || disk.free_inodes_percent < INODE_PRESSURE_PERCENT
    });
    let processes = Machine::processes().is_some_and(|(now, most)| now * 10 > most * 9);
    let pressure = |yes: bool, name: &str, good: &str| {
        let (status, reason) = if yes { ("True", format!("KubeletHas{name}")) } else { ("False", good.to_owned()) };
        let message = if yes {
            format!("kubelet has {}", good_words(name))
        } else {
            format!("kubelet has {}", good_words(good.trim_start_matches("KubeletHas")))
        };
        (name.to_owned(), status, reason, message)
    };
    let ready = match &runtime.problem {
        None => ("Ready".to_owned(), "True", "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        Some(problem) => ("Ready".to_owned(), "False", "KubeletNotReady".to_owned(), problem.clone()),
    };
    let wanted = [
        pressure(memory, "MemoryPressure", "KubeletHasSufficientMemory"),
        pressure(disk, "DiskPressure", "KubeletHasNoDiskPressure"),
        pressure(processes, "PIDPressure", "KubeletHasSufficientPID"),
        ready,
    ];
    let now = Time(jiff::Timestamp::now());
    wanted
        .into_iter()
        .map(|(type_, status, reason, message)| {
            let before = old.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == status);
            let transition = before.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(|| now.clone());
            NodeCondition {
                type_,
                status: status.into(),
                reason: Some(reason),
                message: Some(message),
                last_heartbeat_time: Some(now.clone()),
                last_transition_time: Some(transition),
            }
        })
        .collect()
}

/// "SufficientMemory" → "sufficient memory available", "NoDiskPressure" → "no disk pressure".
fn good_words(name: &str) -> String {
    match name {
        "SufficientMemory" => "sufficient memory available".into(),
        "NoDiskPressure" => "no disk pressure".into(),
        "SufficientPID" => "sufficient PID available".into(),
        "MemoryPressure" => "insufficient memory available".into(),
        "DiskPressure" => "disk pressure".into(),
        _ => "insufficient PID available".into(),
    }
}

fn condition_status<'a>(status: &'a NodeStatus, kind: &str) -> Option<&'a str> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind).map(|c| c.status.as_str())
}

/// Somebody else (the node lifecycle controller, after an absence) set our conditions to something else.
fn conditions_lost(seen: &NodeStatus, ours: &NodeStatus) -> bool {
    ours.conditions
        .iter()
        .flatten()
        .any(|condition| condition_status(seen, &condition.type_) != Some(condition.status.as_str()))
}

fn without_heartbeat(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
        condition.last_transition_time = None;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_follows_the_runtime_and_keeps_its_transition_time() {
        let machine = Machine::probe(&std::env::temp_dir()).unwrap();
        let down = RuntimeState { version: String::new(), problem: Some("no network".into()) };
        let first = conditions(&machine, &NodeStatus::default(), &down);
        let ready = first.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
        let past = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut old = NodeStatus { conditions: Some(first), ..Default::default() };
        for condition in old.conditions.iter_mut().flatten() {
            condition.last_transition_time = Some(past.clone());
        }
        let up = RuntimeState { version: String::new(), problem: None };
        let second = conditions(&machine, &old, &up);
        let find = |kind: &str| second.iter().find(|c| c.type_ == kind).unwrap();
        assert_ne!(find("Ready").last_transition_time, Some(past.clone()));
        assert_eq!(find("PIDPressure").last_transition_time, Some(past));
        assert!(conditions_lost(&old, &NodeStatus { conditions: Some(second), ..Default::default() }));
    }
}
