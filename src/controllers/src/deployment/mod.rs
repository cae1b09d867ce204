//! Deployments: one replica set per template, moved from the old ones to the new one as the strategy says.

mod math;
mod revision;
mod rollout;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::Context;
use crate::runtime::{
    EventKind, ObjectKey, Queue, Recorder, Result, Shutdown, Subject, Tasks, claim, meta, run_workers, selector,
};

const WORKERS: usize = 4;
const NAME: &str = "deployment";

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    recorder: Recorder,
    queue: Arc<Queue<ObjectKey>>,
}

/// One look at one deployment: it and its sets, as they are written during the look.
struct View {
    deployment: Deployment,
    new: Option<ReplicaSet>,
    old: Vec<ReplicaSet>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let recorder = context.recorder.named("deployment-controller");
        let this = Self { context: context.clone(), recorder, queue: Arc::default() };
        let queue = Arc::clone(&this.queue);
        context.deployments.on_change(move |old, new| {
            if let Some(object) = new.or(old) {
                queue.add(ObjectKey::of(&**object));
            }
        });
        let (queue, deployments) = (Arc::clone(&this.queue), context.deployments.clone());
        context.replica_sets.on_change(move |old, new| {
            for set in [old, new].into_iter().flatten() {
                let namespace = meta::namespace(&set.metadata);
                match meta::controller_of(&set.metadata) {
                    Some(owner) if owner.kind == "Deployment" => queue.add(ObjectKey::new(namespace, &owner.name)),
                    Some(_) => {}
                    None => {
                        for deployment in deployments.in_namespace(namespace) {
                            let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
                            if selector::matches(selector, set.metadata.labels.as_ref()) {
                                queue.add(ObjectKey::of(&*deployment));
                            }
                        }
                    }
                }
            }
        });
        this.watch_pods();
        this
    }

    /// Recreate waits until old pods are gone, which no replica set's status says.
    fn watch_pods(&self) {
        let queue = Arc::clone(&self.queue);
        let (sets, deployments) = (self.context.replica_sets.clone(), self.context.deployments.clone());
        self.context.pods.on_change(move |old, new| {
            let (Some(pod), None) = (old, new) else { return };
            let namespace = meta::namespace(&pod.metadata);
            let set = meta::controller_of(&pod.metadata).and_then(|owner| sets.get_named(namespace, &owner.name));
            let owner = set.as_ref().and_then(|set| meta::controller_of(&set.metadata));
            let found = owner.and_then(|owner| deployments.get_named(namespace, &owner.name));
            if let Some(deployment) = found.filter(|deployment| !math::is_rolling(deployment)) {
                queue.add(ObjectKey::of(&*deployment));
            }
        });
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, NAME, WORKERS, &self.queue, shutdown, move |key| {
            let this = this.clone();
            async move { this.reconcile(key).await }
        });
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<()> {
        let Some(cached) = self.context.deployments.get(&key) else { return Ok(()) };
        let Some(spec) = cached.spec.as_ref() else { return Ok(()) };
        if selector::is_empty(&spec.selector) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(Subject::of(&*cached), EventKind::Warning, "SelectingAll", message);
            return Ok(());
        }
        let candidates = self.context.replica_sets.in_namespace(&key.namespace);
        let sets = claim(&self.context.client, &*cached, &spec.selector, candidates).await?;
        let sets: Vec<ReplicaSet> = sets.into_iter().map(|set| (*set).clone()).collect();
        let mut view = self.split((*cached).clone(), sets);
        if meta::is_deleting(&view.deployment.metadata) {
            let status = status::counts(&view.deployment, view.new.as_ref(), &view.old, Timestamp::now());
            return self.write_status(&mut view, status).await;
        }
        if let Some(condition) = status::pause_condition(&view.deployment, Timestamp::now()) {
            let mut status = view.deployment.status.clone().unwrap_or_default();
            status::set(&mut status, condition);
            self.write_status(&mut view, status).await?;
        }
        let paused = view.deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        let all: Vec<&ReplicaSet> = view.old.iter().chain(view.new.as_ref()).collect();
        if paused || math::is_scaling(&view.deployment, &all) {
            self.update_new_set(&mut view).await?;
            self.scale(&mut view).await?;
            if paused {
                self.clean_up(&mut view).await?;
            }
            let status = status::counts(&view.deployment, view.new.as_ref(), &view.old, Timestamp::now());
            return self.write_status(&mut view, status).await;
        }
        if math::is_rolling(&view.deployment) { self.roll(&mut view).await } else { self.recreate(&mut view).await }
    }

    fn split(&self, deployment: Deployment, mut sets: Vec<ReplicaSet>) -> View {
        let new_uid = revision::find_new(&deployment, &sets).and_then(|set| set.metadata.uid.clone());
        let position = sets.iter().position(|set| set.metadata.uid == new_uid && new_uid.is_some());
        let new = position.map(|index| sets.swap_remove(index));
        sets.sort_by(revision::by_creation);
        View { deployment, new, old: sets }
    }

    /// Brings the existing new set's annotations up to date, and the deployment's own revision.
    async fn update_new_set(&self, view: &mut View) -> Result<()> {
        let next = revision::next_revision(&view.old);
        let Some(set) = view.new.as_mut() else { return Ok(()) };
        let wanted = revision::new_set_annotations(&view.deployment, set.metadata.annotations.as_ref(), next, true);
        let min_ready = view.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let has_min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        if set.metadata.annotations.as_ref() != Some(&wanted) || min_ready.unwrap_or(0) != has_min_ready.unwrap_or(0) {
            let patch = json!({
                "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": wanted},
                "spec": {"minReadySeconds": min_ready.unwrap_or(0)},
            });
            *set = self.patch_set(set, &patch).await?;
        }
        let number = meta::annotation(&set.metadata, revision::REVISION).map(str::to_owned);
        self.note_revision(view, number).await
    }

    async fn note_revision(&self, view: &mut View, number: Option<String>) -> Result<()> {
        let deployment = &view.deployment;
        let Some(number) = number else { return Ok(()) };
        if meta::annotation(&deployment.metadata, revision::REVISION) == Some(&number) {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "resourceVersion": deployment.metadata.resource_version, "annotations": {revision::REVISION: number},
        }});
        let name = meta::name(&deployment.metadata);
        view.deployment = self.api(deployment).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    fn api(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), meta::namespace(&deployment.metadata))
    }

    fn sets(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), meta::namespace(&deployment.metadata))
    }

    async fn patch_set(&self, set: &ReplicaSet, patch: &serde_json::Value) -> Result<ReplicaSet> {
        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), meta::namespace(&set.metadata));
        Ok(api.patch(meta::name(&set.metadata), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Writes only what differs.
    async fn write_status(&self, view: &mut View, status: DeploymentStatus) -> Result<()> {
        if view.deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut changed = view.deployment.clone();
        changed.status = Some(status);
        let name = meta::name(&view.deployment.metadata).to_owned();
        view.deployment = self.api(&changed).replace_status(&name, &PostParams::default(), &changed).await?;
        Ok(())
    }
}
