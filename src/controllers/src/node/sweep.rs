//! Pods that nobody ends any more: those of nodes that are gone, those that ended unscheduled, and old finished ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;

use crate::context::Context;
use crate::runtime::{Error, Queue, Result, Shutdown, Tasks, meta, run_workers};

const LOOK_EVERY: Duration = Duration::from_secs(20);
/// A node that was deleted by mistake may come back within this time.
const QUARANTINE: Duration = Duration::from_secs(40);
const FINISHED_LIMIT: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    queue: Arc<Queue<()>>,
    missing_since: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self { context: context.clone(), queue: Arc::default(), missing_since: Arc::default() };
        let queue = Arc::clone(&this.queue);
        context.nodes.on_change(move |_, new| {
            if new.is_none() {
                queue.add(());
            }
        });
        let queue = Arc::clone(&this.queue);
        context.pods.on_change(move |_, new| {
            if new.is_some_and(|pod| meta::is_deleting(&pod.metadata) && meta::node_name(pod).is_empty()) {
                queue.add(());
            }
        });
        this.queue.add(());
        this
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "pod-sweep", 1, &self.queue, shutdown, move |()| {
            let this = this.clone();
            async move { this.reconcile().await }
        });
    }

    async fn reconcile(&self) -> Result<()> {
        self.queue.add_after((), LOOK_EVERY);
        let pods = self.context.pods.all();
        self.sweep_finished(&pods).await?;
        self.sweep_orphans(&pods).await?;
        for pod in pods.iter().filter(|pod| meta::is_deleting(&pod.metadata)) {
            let unscheduled = meta::node_name(pod).is_empty();
            if unscheduled || self.is_out_of_service(meta::node_name(pod)) {
                self.force_delete(pod, None).await?;
            }
        }
        Ok(())
    }

    async fn sweep_finished(&self, pods: &[Arc<Pod>]) -> Result<()> {
        let mut finished: Vec<&Arc<Pod>> = pods.iter().filter(|pod| meta::pod_is_terminal(pod)).collect();
        let surplus = finished.len().saturating_sub(FINISHED_LIMIT);
        if surplus > 0 {
            finished.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
            for pod in finished.into_iter().take(surplus) {
                self.force_delete(pod, None).await?;
            }
        }
        Ok(())
    }

    async fn sweep_orphans(&self, pods: &[Arc<Pod>]) -> Result<()> {
        let mut by_missing: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
        for pod in pods.iter().filter(|pod| !meta::node_name(pod).is_empty()) {
            if self.context.nodes.get_named("", meta::node_name(pod)).is_none() {
                by_missing.entry(meta::node_name(pod)).or_default().push(pod);
            }
        }
        let due: Vec<String> = {
            let mut missing = self.missing_since.lock();
            missing.retain(|node, _| by_missing.contains_key(node.as_str()));
            for node in by_missing.keys() {
                missing.entry((*node).to_owned()).or_insert_with(Instant::now);
            }
            missing.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE).map(|(node, _)| node.clone()).collect()
        };
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        for node in due {
            // The cache is not proof enough to kill pods.
            if nodes.get_metadata_opt(&node).await?.is_some() {
                continue;
            }
            for pod in by_missing.get(node.as_str()).into_iter().flatten() {
                self.force_delete(pod, Some("PodGC: node no longer exists")).await?;
            }
        }
        Ok(())
    }

    fn is_out_of_service(&self, node: &str) -> bool {
        let node = self.context.nodes.get_named("", node);
        let taints = node.as_ref().and_then(|node| node.spec.as_ref()).and_then(|spec| spec.taints.as_ref());
        taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE))
    }

    async fn force_delete(&self, pod: &Pod, disrupted: Option<&str>) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), meta::namespace(&pod.metadata));
        let name = meta::name(&pod.metadata);
        if !meta::pod_is_terminal(pod) && !meta::node_name(pod).is_empty() {
            let mut status = json!({"phase": "Failed"});
            if let Some(message) = disrupted {
                status["conditions"] = json!([{
                    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message,
                    "lastTransitionTime": meta::now(),
                }]);
            }
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map_err(Error::from) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let how = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(name, &how).await.map_err(Error::from) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
