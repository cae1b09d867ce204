//! Replica sets: as many active pods as wanted, no more, no fewer.

mod rank;
mod status;

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use crate::context::Context;
use crate::runtime::{
    Error, EventKind, Expectations, ObjectKey, Queue, Recorder, Result, Shutdown, Subject, Tasks, claim, meta,
    run_workers, selector,
};

const WORKERS: usize = 4;
/// Pods made or deleted in one go; the rest follows when these were seen.
const BURST: usize = 500;
const FIRST_BATCH: usize = 1;
/// Requests of one batch that are under way at once.
const PARALLEL: usize = 32;

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    recorder: Recorder,
    queue: Arc<Queue<ObjectKey>>,
    expectations: Arc<Expectations>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self {
            context: context.clone(),
            recorder: context.recorder.named("replicaset-controller"),
            queue: Arc::default(),
            expectations: Arc::default(),
        };
        let (queue, expectations) = (Arc::clone(&this.queue), Arc::clone(&this.expectations));
        context.replica_sets.on_change(move |old, new| {
            if let Some(set) = new.or(old) {
                let key = ObjectKey::of(&**set);
                if new.is_none() || old.is_some_and(|old| old.metadata.uid != set.metadata.uid) {
                    expectations.forget(&key);
                }
                queue.add(key);
            }
        });
        this.watch_pods();
        this
    }

    fn watch_pods(&self) {
        let (queue, expectations) = (Arc::clone(&self.queue), Arc::clone(&self.expectations));
        let sets = self.context.replica_sets.clone();
        let owner_key = |pod: &Pod| {
            let owner = meta::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
            Some(ObjectKey::new(meta::namespace(&pod.metadata), &owner.name))
        };
        self.context.pods.on_change(move |old, new| {
            let (old_key, new_key) = (old.and_then(|pod| owner_key(pod)), new.and_then(|pod| owner_key(pod)));
            if let (None, Some(key)) = (old, &new_key) {
                expectations.creation_observed(key);
            }
            let gone = new.is_none_or(|pod| meta::is_deleting(&pod.metadata));
            if let (true, Some(key), Some(pod)) = (gone, old_key.as_ref().or(new_key.as_ref()), old.or(new)) {
                expectations.deletion_observed(key, meta::uid(&pod.metadata));
            }
            if let (None, Some(pod)) = (&new_key, new.filter(|pod| meta::controller_of(&pod.metadata).is_none())) {
                for set in sets.in_namespace(meta::namespace(&pod.metadata)) {
                    let selector = set.spec.as_ref().map(|spec| &spec.selector);
                    if selector::matches(selector, pod.metadata.labels.as_ref()) {
                        queue.add(ObjectKey::of(&*set));
                    }
                }
            }
            if old_key != new_key
                && let Some(key) = old_key
            {
                queue.add(key);
            }
            if let Some(key) = new_key {
                queue.add(key);
            }
        });
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "replicaset", WORKERS, &self.queue, shutdown, move |key| {
            let this = this.clone();
            async move { this.reconcile(key).await }
        });
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<()> {
        let Some(set) = self.context.replica_sets.get(&key) else {
            self.expectations.forget(&key);
            return Ok(());
        };
        let Some(spec) = set.spec.as_ref() else { return Ok(()) };
        let may_act = self.expectations.satisfied(&key);
        let candidates = self.context.pods.in_namespace(&key.namespace);
        let pods = claim(&self.context.client, &*set, &spec.selector, candidates).await?;
        let (active, others): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| meta::pod_is_active(pod));
        let mut failure = None;
        if may_act && !meta::is_deleting(&set.metadata) {
            failure = self.manage(&set, &key, &active).await.err();
        }
        let now = Timestamp::now();
        let failed = failure.as_ref().map(|error| {
            let reason = if active.len() < wanted(&set) { "FailedCreate" } else { "FailedDelete" };
            (reason, error.message())
        });
        // Only a look that acted knows whether acting works: otherwise the condition stays.
        let keep_failure = !may_act;
        let status = status::calculate(&set, &active, &others, failed, keep_failure, now);
        self.write_status(&set, status).await?;
        let min_ready_s = spec.min_ready_seconds.unwrap_or(0);
        let waits = active.iter().filter_map(|pod| meta::time_to_available(pod, min_ready_s, now));
        if let Some(wait) = waits.filter(|wait| !wait.is_zero()).min() {
            self.queue.add_after(key, wait);
        }
        failure.map_or(Ok(()), Err)
    }

    async fn manage(&self, set: &ReplicaSet, key: &ObjectKey, active: &[Arc<Pod>]) -> Result<()> {
        let wanted = wanted(set);
        if active.len() < wanted {
            self.create(set, key, (wanted - active.len()).min(BURST)).await
        } else if active.len() > wanted {
            self.remove(set, key, active, (active.len() - wanted).min(BURST)).await
        } else {
            Ok(())
        }
    }

    /// In batches of 1, 2, 4…: if pods are refused (quota), one request shows it and not five hundred.
    async fn create(&self, set: &ReplicaSet, key: &ObjectKey, count: usize) -> Result<()> {
        let Some(pod) = build_pod(set) else { return Ok(()) };
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        self.expectations.expect_creations(key, count);
        let (mut left, mut batch) = (count, FIRST_BATCH);
        while left > 0 {
            let now = batch.min(left).min(PARALLEL);
            let parameters = PostParams::default();
            let outcomes = join_all((0..now).map(|_| api.create(&parameters, &pod))).await;
            let mut failure = None;
            for outcome in outcomes {
                match outcome {
                    Ok(created) => {
                        let message = format!("Created pod: {}", meta::name(&created.metadata));
                        self.recorder.event(Subject::of(set), EventKind::Normal, "SuccessfulCreate", message);
                    }
                    Err(error) => {
                        self.expectations.creation_observed(key);
                        failure = Some(Error::from(error));
                    }
                }
            }
            left -= now;
            if let Some(error) = failure {
                (0..left).for_each(|_| self.expectations.creation_observed(key));
                if error.is_namespace_terminating() {
                    return Ok(());
                }
                let message = format!("Error creating: {}", error.message());
                self.recorder.event(Subject::of(set), EventKind::Warning, "FailedCreate", message);
                return Err(error);
            }
            batch *= 2;
        }
        Ok(())
    }

    async fn remove(&self, set: &ReplicaSet, key: &ObjectKey, active: &[Arc<Pod>], count: usize) -> Result<()> {
        let doomed = rank::first_to_go(active, &self.neighbours(set), count, Timestamp::now());
        let uids: HashSet<String> = doomed.iter().map(|pod| meta::uid(&pod.metadata).to_owned()).collect();
        self.expectations.expect_deletions(key, uids);
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let api = &api;
        let mut failure = None;
        for chunk in doomed.chunks(PARALLEL) {
            let outcomes = join_all(chunk.iter().map(|pod| async move {
                let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
                let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                (pod, api.delete(meta::name(&pod.metadata), &how).await.map_err(Error::from))
            }));
            for (pod, outcome) in outcomes.await {
                let name = meta::name(&pod.metadata);
                match outcome {
                    Ok(_) => {
                        let message = format!("Deleted pod: {name}");
                        self.recorder.event(Subject::of(set), EventKind::Normal, "SuccessfulDelete", message);
                    }
                    Err(error) => {
                        self.expectations.deletion_observed(key, meta::uid(&pod.metadata));
                        if !error.is_not_found() {
                            let message = format!("Error deleting: {}", error.message());
                            self.recorder.event(Subject::of(set), EventKind::Warning, "FailedDelete", message);
                            failure = Some(error);
                        }
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Active pods of all sets of the same owner: a node that has two of them can give one away.
    fn neighbours(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let namespace = meta::namespace(&set.metadata);
        let owner = meta::controller_of(&set.metadata).map(|owner| owner.uid.clone());
        let related: HashSet<String> = self
            .context
            .replica_sets
            .in_namespace(namespace)
            .iter()
            .filter(|other| match &owner {
                Some(owner) => meta::is_controlled_by(&other.metadata, owner),
                None => other.metadata.uid == set.metadata.uid,
            })
            .map(|other| meta::uid(&other.metadata).to_owned())
            .collect();
        let mut pods = self.context.pods.in_namespace(namespace);
        pods.retain(|pod| {
            let owned = meta::controller_of(&pod.metadata).is_some_and(|owner| related.contains(&owner.uid));
            owned && meta::pod_is_active(pod)
        });
        pods
    }

    async fn write_status(&self, set: &ReplicaSet, status: k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut changed = set.clone();
        changed.status = Some(status);
        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), meta::namespace(&set.metadata));
        match api.replace_status(meta::name(&set.metadata), &PostParams::default(), &changed).await.map_err(Error::from)
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn build_pod(set: &ReplicaSet) -> Option<Pod> {
    let template = set.spec.as_ref()?.template.as_ref()?;
    let template_meta = template.metadata.clone().unwrap_or_default();
    Some(Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", meta::name(&set.metadata))),
            namespace: set.metadata.namespace.clone(),
            labels: template_meta.labels,
            annotations: template_meta.annotations,
            finalizers: template_meta.finalizers,
            owner_references: Some(vec![meta::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    })
}
