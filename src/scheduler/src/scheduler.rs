//! The one task that owns the queue and the cluster, and decides pod by pod. Requests run beside it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use naru_controllers::runtime::{Error, EventKind, Recorder, Shutdown, Subject, meta, stopped};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cluster::{Cluster, Decision};
use crate::feed::Change;
use crate::model::PodInfo;
use crate::preempt::Choice;
use crate::queue::Queue;

const IDLE: Duration = Duration::from_secs(3600);

pub(crate) struct Scheduler {
    pub client: Client,
    pub name: String,
    pub recorder: Recorder,
    pub changes: mpsc::Sender<Change>,
    pub queue: Queue,
    pub cluster: Cluster,
    pub pods_listed: bool,
    pub nodes_listed: bool,
}

impl Scheduler {
    pub(crate) async fn run(mut self, mut changes: mpsc::Receiver<Change>, mut shutdown: Shutdown) {
        loop {
            let wake = self.queue.next_wake().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.apply(change),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => {}
                () = stopped(&mut shutdown) => return,
            }
            while let Ok(change) = changes.try_recv() {
                self.apply(change);
            }
            // Half a list would put pods on nodes that are full already.
            if self.pods_listed && self.nodes_listed {
                self.schedule_ready(&mut changes).await;
            }
        }
    }

    async fn schedule_ready(&mut self, changes: &mut mpsc::Receiver<Change>) {
        while let Some(pod) = self.queue.pop() {
            self.schedule(&pod);
            while let Ok(change) = changes.try_recv() {
                self.apply(change);
            }
            tokio::task::yield_now().await;
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Pod(pod) => self.pod_changed(Arc::new(*pod)),
            Change::PodGone(uid) => self.pod_gone(&uid),
            Change::Pods(uids) => {
                let mut known = self.cluster.placed_uids();
                known.extend(self.queue.uids());
                known.retain(|uid| !uids.contains(uid));
                known.iter().for_each(|uid| self.pod_gone(uid));
                self.pods_listed = true;
            }
            Change::Node(node) => {
                if self.cluster.update_node(*node) {
                    self.queue.wake_parked(|_| true);
                }
            }
            Change::NodeGone(name) => {
                self.cluster.remove_node(&name);
                self.queue.wake_parked(|pod| !pod.spread.is_empty());
            }
            Change::Nodes(names) => {
                for name in self.cluster.node_names().iter().filter(|name| !names.contains(*name)) {
                    self.cluster.remove_node(name);
                }
                self.nodes_listed = true;
            }
            Change::Namespace(name, labels) => {
                self.cluster.namespaces.insert(name, labels);
            }
            Change::NamespaceGone(name) => {
                self.cluster.namespaces.remove(&name);
            }
            Change::Bound { uid, failure } => self.bound(&uid, failure),
        }
    }

    fn pod_changed(&mut self, pod: Arc<PodInfo>) {
        if pod.occupies() {
            self.queue.remove(&pod.uid);
            self.cluster.place(pod);
            // A pod that came may be what others want to be near to.
            self.queue.wake_parked(|waiting| waiting.affinity.is_some() || !waiting.spread.is_empty());
        } else if !pod.waits() {
            self.pod_gone(&pod.uid);
        } else if pod.scheduler == self.name && !self.cluster.is_assumed(&pod.uid) {
            let known = self.queue.get(&pod.uid);
            if known.is_some_and(|known| same_demands(known, &pod)) {
                return self.queue.refresh(pod);
            }
            self.queue.put(pod.clone());
            if pod.gated {
                self.report_gated(&pod);
            }
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        self.queue.remove(uid);
        if self.cluster.displace(uid) {
            self.queue.wake_parked(|_| true);
        }
    }

    fn schedule(&mut self, pod: &Arc<PodInfo>) {
        match self.cluster.decide(pod) {
            Decision::Node(node) => {
                tracing::debug!(pod = %pod.key, node, "chosen");
                self.cluster.assume(pod, &node);
                self.bind(pod.clone(), node);
            }
            Decision::Nowhere { message, preemption } => {
                self.queue.park(&pod.uid);
                let nominated = preemption.as_ref().map(|choice| choice.node.clone());
                if let Some(choice) = preemption {
                    self.preempt(pod, choice);
                }
                self.report_failure(pod, "Unschedulable", message, nominated);
            }
        }
    }

    fn bound(&mut self, uid: &str, failure: Option<String>) {
        let Some(message) = failure else {
            self.queue.remove(uid);
            return;
        };
        let pod = self.queue.get(uid).cloned();
        self.cluster.displace(uid);
        self.queue.retry(uid);
        self.queue.wake_parked(|_| true);
        if let Some(pod) = pod {
            self.report_failure(&pod, "SchedulerError", message, None);
        }
    }

    fn bind(&self, pod: Arc<PodInfo>, node: String) {
        let (client, changes, recorder) = (self.client.clone(), self.changes.clone(), self.recorder.clone());
        tokio::spawn(async move {
            let api: Api<Pod> = Api::namespaced(client, &pod.key.namespace);
            let binding = Binding {
                metadata: ObjectMeta {
                    name: Some(pod.key.name.clone()),
                    namespace: Some(pod.key.namespace.clone()),
                    uid: Some(pod.uid.clone()),
                    ..ObjectMeta::default()
                },
                target: ObjectReference {
                    kind: Some("Node".into()),
                    name: Some(node.clone()),
                    ..ObjectReference::default()
                },
            };
            let outcome: Result<Value, _> =
                api.create_subresource("binding", &pod.key.name, &PostParams::default(), &binding).await;
            let failure = match outcome {
                Ok(_) => {
                    let message = format!("Successfully assigned {} to {node}", pod.key);
                    recorder.event(subject(&pod), EventKind::Normal, "Scheduled", message);
                    None
                }
                Err(error) => Some(format!("binding rejected: {}", Error::from(error).message())),
            };
            // The receiver is gone only when everything stops.
            let _ = changes.send(Change::Bound { uid: pod.uid.clone(), failure }).await;
        });
    }

    fn preempt(&mut self, pod: &Arc<PodInfo>, choice: Choice) {
        self.cluster.nominate(pod.clone(), choice.node.clone());
        for victim in choice.victims.into_iter().filter(|victim| !victim.deleting) {
            let message = format!("Preempted by pod {} on node {}", pod.uid, choice.node);
            self.recorder.event(subject(&victim), EventKind::Normal, "Preempted", message);
            let (client, by) = (self.client.clone(), self.name.clone());
            tokio::spawn(async move {
                let api: Api<Pod> = Api::namespaced(client, &victim.key.namespace);
                let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [{
                    "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                    "message": format!("{by}: preempting to accommodate a higher priority pod"),
                    "lastTransitionTime": meta::now(),
                }]}});
                let name = &victim.key.name;
                let noted = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
                let preconditions = Preconditions { uid: Some(victim.uid.clone()), resource_version: None };
                let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                if let Err(error) = noted.map(drop).and(api.delete(name, &how).await.map(drop)) {
                    tracing::warn!(pod = %victim.key, %error, "victim not deleted");
                }
            });
        }
    }

    fn report_gated(&self, pod: &PodInfo) {
        let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
        self.write_condition(pod, "SchedulingGated", message, None);
    }

    fn report_failure(&self, pod: &PodInfo, reason: &'static str, message: String, nominated: Option<String>) {
        self.recorder.event(subject(pod), EventKind::Warning, "FailedScheduling", message.clone());
        self.write_condition(pod, reason, message, nominated);
    }

    fn write_condition(&self, pod: &PodInfo, reason: &'static str, message: String, nominated: Option<String>) {
        let wanted = ("False".to_owned(), reason.to_owned(), message.clone());
        if pod.scheduled_condition.as_ref() == Some(&wanted) && (nominated.is_none() || nominated == pod.nominated_node)
        {
            return;
        }
        let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        if pod.scheduled_condition.as_ref().is_none_or(|(status, _, _)| status != "False") {
            condition["lastTransitionTime"] = json!(meta::now());
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(node) = nominated {
            status["nominatedNodeName"] = json!(node);
        }
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        let (client, key) = (self.client.clone(), pod.key.clone());
        tokio::spawn(async move {
            let api: Api<Pod> = Api::namespaced(client, &key.namespace);
            if let Err(error) = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                tracing::debug!(pod = %key, %error, "condition not written");
            }
        });
    }
}

/// Nothing changed that could make the pod fit where it did not.
fn same_demands(old: &PodInfo, new: &PodInfo) -> bool {
    old.gated == new.gated
        && old.labels == new.labels
        && old.priority == new.priority
        && old.requests == new.requests
        && old.tolerations == new.tolerations
        && old.node_selector == new.node_selector
        && old.affinity == new.affinity
        && old.spread == new.spread
}

fn subject(pod: &PodInfo) -> Subject {
    let metadata = ObjectMeta {
        name: Some(pod.key.name.clone()),
        namespace: Some(pod.key.namespace.clone()),
        uid: Some(pod.uid.clone()),
        resource_version: Some(pod.resource_version.clone()),
        ..ObjectMeta::default()
    };
    Subject::of(&Pod { metadata, ..Pod::default() })
}
