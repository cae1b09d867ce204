//! Health of nodes: whoever does not renew its lease in time is unknown, then tainted, and its pods are not ready.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::taints;
use crate::context::{Context, NODE_LEASE_NAMESPACE};
use crate::runtime::{Error, EventKind, Queue, Recorder, Result, Shutdown, Subject, Tasks, meta, run_workers};

const WORKERS: usize = 2;
const WATCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What a node last said, and when this process heard it by its own clock: clocks of other machines are not compared.
struct Heard {
    lease: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    at: Instant,
}

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    recorder: Recorder,
    queue: Arc<Queue<String>>,
    heard: Arc<Mutex<HashMap<String, Heard>>>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self {
            context: context.clone(),
            recorder: context.recorder.named("node-controller"),
            queue: Arc::default(),
            heard: Arc::default(),
        };
        let controller = this.clone();
        context.nodes.on_change(move |old, new| controller.node_changed(old, new));
        let controller = this.clone();
        context.leases.on_change(move |_, new| {
            let Some(lease) = new.filter(|lease| meta::namespace(&lease.metadata) == NODE_LEASE_NAMESPACE) else {
                return;
            };
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
            controller.hear(meta::name(&lease.metadata), |heard| {
                let is_new = heard.lease != renewed;
                heard.lease = renewed;
                is_new
            });
        });
        this
    }

    fn node_changed(&self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        match (old, new) {
            (_, Some(node)) => {
                let beat = ready_heartbeat(node);
                self.hear(meta::name(&node.metadata), |heard| {
                    let is_new = heard.heartbeat != beat;
                    heard.heartbeat = beat;
                    is_new && taints::condition_status(node, "Ready") != Some("Unknown")
                });
                self.queue.add(meta::name(&node.metadata).to_owned());
                // Whether anybody may be evicted depends on all nodes together.
                let ready = |node: &Node| taints::condition_status(node, "Ready") == Some("True");
                if old.is_some_and(|old| ready(old) != ready(node)) {
                    for other in self.context.nodes.all() {
                        self.queue.add(meta::name(&other.metadata).to_owned());
                    }
                }
            }
            (Some(gone), None) => {
                let name = meta::name(&gone.metadata);
                self.heard.lock().remove(name);
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                self.recorder.event(Subject::node(name), EventKind::Normal, "RemovingNode", message);
            }
            (None, None) => {}
        }
    }

    fn hear(&self, name: &str, update: impl FnOnce(&mut Heard) -> bool) {
        let mut heard = self.heard.lock();
        let entry = heard.entry(name.to_owned()).or_insert(Heard { lease: None, heartbeat: None, at: Instant::now() });
        if update(entry) {
            entry.at = Instant::now();
        }
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "node-lifecycle", WORKERS, &self.queue, shutdown, move |name| {
            let this = this.clone();
            async move { this.reconcile(name).await }
        });
    }

    async fn reconcile(&self, name: String) -> Result<()> {
        let Some(node) = self.context.nodes.get_named("", &name) else { return Ok(()) };
        let silent_for = self.heard.lock().get(&name).map_or(Duration::ZERO, |heard| heard.at.elapsed());
        let ready = taints::condition_status(&node, "Ready");
        let config = &self.context.config;
        let grace = if ready.is_none() { config.node_startup_grace } else { config.node_monitor_grace };
        if silent_for < grace {
            self.queue.add_after(name.clone(), grace - silent_for);
        } else if ready != Some("Unknown") {
            // The watch event of this write brings the node back here for its taints.
            return self.mark_unknown(&node).await;
        }
        let anybody_ready =
            self.context.nodes.all().iter().any(|node| taints::condition_status(node, "Ready") == Some("True"));
        if let Some(taints) = taints::wanted(&node, anybody_ready, Timestamp::now()) {
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints},
            });
            self.nodes().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        if ready.is_some_and(|ready| ready != "True") {
            self.mark_pods_not_ready(&name).await?;
        }
        Ok(())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.context.client.clone())
    }

    async fn mark_unknown(&self, node: &Node) -> Result<()> {
        let name = meta::name(&node.metadata);
        let existing = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let now = Timestamp::now();
        let conditions: Vec<Value> = WATCHED
            .iter()
            .map(|kind| {
                let before = existing.into_iter().flatten().find(|condition| condition.type_ == *kind);
                let (reason, message) = if before.is_some() {
                    ("NodeStatusUnknown", "Kubelet stopped posting node status.")
                } else {
                    ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
                };
                let heartbeat = before.and_then(|condition| condition.last_heartbeat_time.clone());
                let heartbeat = heartbeat.or_else(|| node.metadata.creation_timestamp.clone());
                json!({"type": kind, "status": "Unknown", "reason": reason, "message": message,
                    "lastHeartbeatTime": heartbeat, "lastTransitionTime": Time(now)})
            })
            .collect();
        tracing::info!(node = name, "node is silent: its state is unknown");
        let patch = json!({"status": {"conditions": conditions}});
        self.nodes().patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        let message = format!("Node {name} status is now: NodeNotReady");
        self.recorder.event(Subject::node(name), EventKind::Normal, "NodeNotReady", message);
        Ok(())
    }

    /// Nobody else can: their kubelet is the one that is not heard.
    async fn mark_pods_not_ready(&self, node: &str) -> Result<()> {
        let on_node = |pod: &Arc<Pod>| meta::node_name(pod) == node && meta::pod_is_ready(pod);
        for pod in self.context.pods.all().into_iter().filter(on_node) {
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), meta::namespace(&pod.metadata));
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": meta::now()}
            ]}});
            let name = meta::name(&pod.metadata);
            match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map_err(Error::from) {
                Ok(_) => {
                    self.recorder.event(Subject::of(&*pod), EventKind::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn ready_heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}
