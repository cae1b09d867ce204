//! Pods leave nodes with NoExecute taints: at once, after their toleration's seconds, or never.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;

use super::taints;
use crate::context::Context;
use crate::runtime::{
    Error, EventKind, ObjectKey, Queue, Recorder, Result, Shutdown, Subject, Tasks, meta, run_workers,
};

const WORKERS: usize = 4;

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    recorder: Recorder,
    queue: Arc<Queue<ObjectKey>>,
    /// When each waiting pod (by UID) leaves: the first answer counts.
    waiting: Arc<Mutex<HashMap<ObjectKey, (String, Timestamp)>>>,
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self {
            context: context.clone(),
            recorder: context.recorder.named("taint-eviction-controller"),
            queue: Arc::default(),
            waiting: Arc::default(),
        };
        let (queue, pods) = (Arc::clone(&this.queue), context.pods.clone());
        context.nodes.on_change(move |old, new| {
            let Some(node) = new else { return };
            if no_execute(node) != old.map(|old| no_execute(old)).unwrap_or_default() {
                let name = meta::name(&node.metadata);
                for pod in pods.all().into_iter().filter(|pod| meta::node_name(pod) == name) {
                    queue.add(ObjectKey::of(&*pod));
                }
            }
        });
        let (queue, nodes, waiting) = (Arc::clone(&this.queue), context.nodes.clone(), Arc::clone(&this.waiting));
        context.pods.on_change(move |old, new| {
            let key = new.or(old).map(|pod| ObjectKey::of(&**pod));
            let (Some(key), Some(pod)) = (key, new.or(old)) else { return };
            if new.is_none() {
                waiting.lock().remove(&key);
                return;
            }
            let tainted = nodes.get_named("", meta::node_name(pod)).is_some_and(|node| !no_execute(&node).is_empty());
            let same_place = old.is_some_and(|old| {
                meta::node_name(old) == meta::node_name(pod)
                    && old.spec.as_ref().map(|spec| &spec.tolerations)
                        == pod.spec.as_ref().map(|spec| &spec.tolerations)
            });
            if tainted && !same_place {
                queue.add(key);
            }
        });
        this
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "taint-eviction", WORKERS, &self.queue, shutdown, move |key| {
            let this = this.clone();
            async move { this.reconcile(key).await }
        });
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<()> {
        let pod = self.context.pods.get(&key).filter(|pod| !meta::is_deleting(&pod.metadata));
        let node = pod.as_ref().and_then(|pod| self.context.nodes.get_named("", meta::node_name(pod)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.waiting.lock().remove(&key);
            return Ok(());
        };
        let now = Timestamp::now();
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let Some(at) = taints::leave_at(&no_execute(&node), &tolerations, now) else {
            if self.waiting.lock().remove(&key).is_some() {
                let message = format!("Cancelling deletion of Pod {key}");
                self.recorder.event(Subject::of(&*pod), EventKind::Normal, "TaintManagerEviction", message);
            }
            return Ok(());
        };
        let at = self.first_answer(&key, meta::uid(&pod.metadata), at);
        let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
        if !left.is_zero() {
            self.queue.add_after(key, left);
            return Ok(());
        }
        self.evict(&key, &pod).await
    }

    /// A later taint may shorten the wait, never lengthen it.
    fn first_answer(&self, key: &ObjectKey, uid: &str, at: Timestamp) -> Timestamp {
        let mut waiting = self.waiting.lock();
        let entry = waiting.entry(key.clone()).or_insert_with(|| (uid.to_owned(), at));
        if entry.0 != uid {
            *entry = (uid.to_owned(), at);
        }
        entry.1 = entry.1.min(at);
        entry.1
    }

    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(Subject::of(pod), EventKind::Normal, "TaintManagerEviction", message);
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": meta::now(),
        }]}});
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await.map_err(Error::from)
        {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&key.name, &how).await.map_err(Error::from) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        self.waiting.lock().remove(key);
        Ok(())
    }
}
