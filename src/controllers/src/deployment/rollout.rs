//! Moving replicas between sets: rolling update, recreate, scaling, cleaning up history.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::json;

use super::{Controller, View, math, revision, status};
use crate::runtime::{Error, EventKind, ObjectKey, Result, Subject, meta};

impl Controller {
    pub(super) async fn roll(&self, view: &mut View) -> Result<()> {
        self.ensure_new_set(view).await?;
        if self.size_new_set(view).await? || self.shrink_old_sets(view).await? {
            return self.finish(view).await;
        }
        self.clean_up_when_complete(view).await?;
        self.finish(view).await
    }

    pub(super) async fn recreate(&self, view: &mut View) -> Result<()> {
        self.update_new_set(view).await?;
        let mut scaled = false;
        for index in 0..view.old.len() {
            scaled |= self.scale_old(view, index, 0).await?;
        }
        if scaled || self.old_pods_remain(view) {
            return self.finish(view).await;
        }
        self.ensure_new_set(view).await?;
        self.size_new_set(view).await?;
        self.clean_up_when_complete(view).await?;
        self.finish(view).await
    }

    /// Pods of old sets that still run, or are still ending.
    fn old_pods_remain(&self, view: &View) -> bool {
        let namespace = meta::namespace(&view.deployment.metadata);
        let of_old_set =
            |pod: &Pod| view.old.iter().any(|set| meta::is_controlled_by(&pod.metadata, meta::uid(&set.metadata)));
        self.context.pods.in_namespace(namespace).iter().any(|pod| of_old_set(pod) && !meta::pod_is_terminal(pod))
    }

    async fn ensure_new_set(&self, view: &mut View) -> Result<()> {
        if view.new.is_some() {
            return self.update_new_set(view).await;
        }
        let wanted = build_set(&view.deployment, &view.old);
        let api = self.sets(&view.deployment);
        let created = match api.create(&PostParams::default(), &wanted).await.map_err(Error::from) {
            Ok(created) => created,
            Err(error) if error.is_already_exists() => self.adopt_or_rename(view, &wanted).await?,
            Err(error) => return self.creation_failed(view, &wanted, error).await,
        };
        let count = math::size(&created);
        if count > 0 {
            let message = format!("Scaled up replica set {} from 0 to {count}", meta::name(&created.metadata));
            self.recorder.event(Subject::of(&view.deployment), EventKind::Normal, "ScalingReplicaSet", message);
        }
        let number = meta::annotation(&created.metadata, revision::REVISION).map(str::to_owned);
        if status::deadline(&view.deployment).is_some() {
            let message = format!("Created new replica set {:?}", meta::name(&created.metadata));
            let now = Timestamp::now();
            let mut changed = view.deployment.status.clone().unwrap_or_default();
            status::set(
                &mut changed,
                status::condition(status::PROGRESSING, "True", "NewReplicaSetCreated", message, now),
            );
            self.write_status(view, changed).await?;
        }
        view.new = Some(created);
        self.note_revision(view, number).await
    }

    /// The name is taken: by our own set that the cache has not seen yet, or by another template with the same hash.
    async fn adopt_or_rename(&self, view: &mut View, wanted: &ReplicaSet) -> Result<ReplicaSet> {
        let name = meta::name(&wanted.metadata);
        let existing = self.sets(&view.deployment).get(name).await?;
        let ours = meta::is_controlled_by(&existing.metadata, meta::uid(&view.deployment.metadata));
        let template = existing.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let wanted_template = wanted.spec.as_ref().and_then(|spec| spec.template.as_ref());
        if ours && template.zip(wanted_template).is_some_and(|(left, right)| revision::same_template(left, right)) {
            return Ok(existing);
        }
        let mut changed = view.deployment.status.clone().unwrap_or_default();
        changed.collision_count = Some(changed.collision_count.unwrap_or(0).saturating_add(1));
        self.write_status(view, changed).await?;
        Err(Error::Later(format!("the name {name} is taken; trying another hash")))
    }

    async fn creation_failed(&self, view: &mut View, wanted: &ReplicaSet, error: Error) -> Result<()> {
        if error.is_namespace_terminating() {
            return Ok(());
        }
        let message =
            format!("Failed to create new replica set {:?}: {}", meta::name(&wanted.metadata), error.message());
        let subject = Subject::of(&view.deployment);
        self.recorder.event(subject, EventKind::Warning, "ReplicaSetCreateError", message.clone());
        if status::deadline(&view.deployment).is_some() {
            let mut changed = view.deployment.status.clone().unwrap_or_default();
            let failed =
                status::condition(status::PROGRESSING, "False", "ReplicaSetCreateError", message, Timestamp::now());
            status::set(&mut changed, failed);
            self.write_status(view, changed).await?;
        }
        Err(error)
    }

    /// True if it was resized.
    async fn size_new_set(&self, view: &mut View) -> Result<bool> {
        let Some(new) = view.new.as_ref() else { return Ok(false) };
        let (current, wanted) = (math::size(new), math::desired(&view.deployment));
        if current == wanted {
            return Ok(false);
        }
        let target = if current > wanted {
            wanted
        } else {
            let all = math::total(view.old.iter().chain(view.new.as_ref()), math::size);
            math::new_set_size(&view.deployment, all, current)
        };
        self.scale_new(view, target).await
    }

    async fn shrink_old_sets(&self, view: &mut View) -> Result<bool> {
        let old: Vec<&ReplicaSet> = view.old.iter().collect();
        let Some(sizes) = math::old_set_sizes(&view.deployment, view.new.as_ref(), &old) else { return Ok(false) };
        let mut scaled = false;
        for (index, size) in sizes.into_iter().enumerate() {
            scaled |= self.scale_old(view, index, size).await?;
        }
        Ok(scaled)
    }

    /// The deployment was scaled: without touching templates, spread the change over the sets.
    pub(super) async fn scale(&self, view: &mut View) -> Result<()> {
        let wanted = math::desired(&view.deployment);
        let mut active: Vec<usize> = (0..view.old.len()).filter(|index| math::size(&view.old[*index]) > 0).collect();
        let new_is_active = view.new.as_ref().is_some_and(|set| math::size(set) > 0);
        match (active.len(), new_is_active) {
            (0, _) if view.new.is_some() => return self.scale_new(view, wanted).await.map(drop),
            (0, _) => {
                let Some(latest) = view.old.len().checked_sub(1) else { return Ok(()) };
                return self.scale_old(view, latest, wanted).await.map(drop);
            }
            (1, false) => return self.scale_old(view, active[0], wanted).await.map(drop),
            _ => {}
        }
        if math::is_saturated(&view.deployment, view.new.as_ref()) {
            for index in active {
                self.scale_old(view, index, 0).await?;
            }
            return Ok(());
        }
        if !math::is_rolling(&view.deployment) {
            return Ok(());
        }
        let mut sets: Vec<&ReplicaSet> = active.iter().map(|index| &view.old[*index]).collect();
        sets.extend(view.new.as_ref().filter(|_| new_is_active));
        let mut sizes = math::proportional_sizes(&view.deployment, &sets);
        if new_is_active && let Some(size) = sizes.pop() {
            self.scale_new(view, size).await?;
        }
        for (index, size) in active.drain(..).zip(sizes) {
            self.scale_old(view, index, size).await?;
        }
        Ok(())
    }

    async fn scale_new(&self, view: &mut View, size: i32) -> Result<bool> {
        let Some(new) = view.new.as_ref() else { return Ok(false) };
        let scaled = self.scale_set(&view.deployment, new, size).await?;
        let changed = scaled.is_some();
        view.new = scaled.or(view.new.take());
        Ok(changed)
    }

    async fn scale_old(&self, view: &mut View, index: usize, size: i32) -> Result<bool> {
        let scaled = self.scale_set(&view.deployment, &view.old[index], size).await?;
        let changed = scaled.is_some();
        if let Some(set) = scaled {
            view.old[index] = set;
        }
        Ok(changed)
    }

    /// `None` if size and annotations are right already.
    async fn scale_set(&self, deployment: &Deployment, set: &ReplicaSet, size: i32) -> Result<Option<ReplicaSet>> {
        let before = math::size(set);
        let notes = revision::size_annotations(deployment);
        let noted = notes.iter().all(|(key, value)| meta::annotation(&set.metadata, key) == Some(value));
        // An idle set keeps its old annotations, as nothing reads them before it is used again.
        if before == size && (noted || size == 0) {
            return Ok(None);
        }
        let patch = json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": notes},
            "spec": {"replicas": size},
        });
        let scaled = self.patch_set(set, &patch).await?;
        if before != size {
            let direction = if before < size { "up" } else { "down" };
            let name = meta::name(&set.metadata);
            let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
            self.recorder.event(Subject::of(deployment), EventKind::Normal, "ScalingReplicaSet", message);
        }
        Ok(Some(scaled))
    }

    async fn clean_up_when_complete(&self, view: &mut View) -> Result<()> {
        let current = view.deployment.status.clone().unwrap_or_default();
        if status::is_complete(&view.deployment, &current) { self.clean_up(view).await } else { Ok(()) }
    }

    /// Deletes idle sets beyond the history limit, oldest revision first.
    pub(super) async fn clean_up(&self, view: &mut View) -> Result<()> {
        let Some(limit) = view.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit) else {
            return Ok(());
        };
        let alive = |set: &&ReplicaSet| !meta::is_deleting(&set.metadata);
        let mut sets: Vec<&ReplicaSet> = view.old.iter().filter(alive).collect();
        let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        sets.sort_by_key(|set| revision::revision(set));
        for set in sets.into_iter().take(surplus) {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation);
            if math::actual(set) != 0 || math::size(set) != 0 || set.metadata.generation > observed {
                continue;
            }
            let preconditions = Preconditions { uid: set.metadata.uid.clone(), resource_version: None };
            let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            match self.sets(&view.deployment).delete(meta::name(&set.metadata), &how).await.map_err(Error::from) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn finish(&self, view: &mut View) -> Result<()> {
        let now = Timestamp::now();
        let status = status::rollout(&view.deployment, view.new.as_ref(), &view.old, now);
        if let Some(delay) = status::next_look(&view.deployment, &status, now) {
            self.queue.add_after(ObjectKey::of(&view.deployment), delay);
        }
        self.write_status(view, status).await
    }
}

fn build_set(deployment: &Deployment, old: &[ReplicaSet]) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = revision::template_hash(&spec.template, collisions);
    let mut template = spec.template;
    let template_meta = template.metadata.get_or_insert_default();
    template_meta.labels.get_or_insert_default().insert(revision::TEMPLATE_HASH.into(), hash.clone());
    let labels = template_meta.labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(revision::TEMPLATE_HASH.into(), hash.clone());
    let size = math::new_set_size(deployment, math::total(old, math::size), 0);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta::name(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            annotations: Some(revision::new_set_annotations(deployment, None, revision::next_revision(old), false)),
            owner_references: Some(vec![meta::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}
