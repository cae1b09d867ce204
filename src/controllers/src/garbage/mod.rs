//! Garbage collection: an object whose owners are all gone goes too. Background, foreground and orphaning deletion.

mod graph;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::Mutex;
use serde_json::json;

use crate::context::Context;
use crate::discovery::Kind;
use crate::runtime::{Error, Queue, Result, Shutdown, Tasks, error_chain, meta, run_workers, stopped};
use graph::{FOREGROUND, Graph, ORPHAN, Object, OwnerState, Verdict, judge};
use watch::{Watched, find_kind, summary};

const WORKERS: usize = 8;
const REDISCOVER_EVERY: Duration = Duration::from_secs(30);
const DISCOVERY_RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Shared {
    graph: Mutex<Graph>,
    /// What the watches found; goes on to the workers once the graph is complete.
    queue: Queue<String>,
    watched: Mutex<Vec<Watched>>,
}

#[derive(Clone)]
pub(crate) struct Collector {
    context: Context,
    shared: Arc<Shared>,
    queue: Arc<Queue<String>>,
}

impl Collector {
    pub(crate) fn new(context: &Context) -> Self {
        let shared = Shared { graph: Mutex::default(), queue: Queue::default(), watched: Mutex::default() };
        Self { context: context.clone(), shared: Arc::new(shared), queue: Arc::default() }
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        let mut stop = shutdown.clone();
        let watching = shutdown.clone();
        tasks.spawn(async move {
            loop {
                let delay = match this.follow_discovery(&watching).await {
                    Ok(()) => REDISCOVER_EVERY,
                    Err(error) => {
                        tracing::warn!(error = %error_chain(&error), "discovery for garbage collection failed");
                        DISCOVERY_RETRY
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stopped(&mut stop) => return,
                }
            }
        });
        let this = self.clone();
        let mut stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = this.forward() => {}
                () = stopped(&mut stop) => {}
            }
        });
        let this = self.clone();
        run_workers(tasks, "garbage-collector", WORKERS, &self.queue, shutdown, move |uid| {
            let this = this.clone();
            async move { this.attempt(&uid).await }
        });
    }

    /// Work waits in the graph's own queue until all lists are complete.
    async fn forward(&self) {
        while self.shared.watched.lock().is_empty() {
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
        self.all_synced().await;
        tracing::debug!(graph = ?summary(&self.shared), "garbage collector is in step");
        loop {
            let uid = self.shared.queue.next().await;
            self.shared.queue.done(&uid);
            self.queue.add(uid);
        }
    }

    fn kind_at(&self, index: usize) -> Option<Kind> {
        self.shared.watched.lock().get(index).map(|watched| watched.kind.clone())
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        if kind.namespaced {
            Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource)
        } else {
            Api::all_with(self.context.client.clone(), &kind.resource)
        }
    }

    async fn attempt(&self, uid: &str) -> Result<()> {
        let Some(object) = self.shared.graph.lock().get(uid).cloned() else { return Ok(()) };
        let Some(kind) = self.kind_at(object.place.kind) else { return Ok(()) };
        let api = self.api(&kind, &object.place.namespace);
        if object.deleting {
            return match (object.foreground, object.orphan) {
                (_, true) => self.let_go(uid, &api, &object).await,
                (true, false) => self.wait_for_dependents(uid, &api, &object).await,
                (false, false) => Ok(()),
            };
        }
        // The graph may be behind: what is written next rests on the live object.
        let live = match api.get_metadata_opt(&object.place.name).await? {
            Some(live) if meta::uid(&live.metadata) == uid => live.metadata,
            _ => return Ok(()),
        };
        if meta::is_deleting(&live) {
            return Ok(());
        }
        let owners = live.owner_references.clone().unwrap_or_default();
        let mut states = Vec::with_capacity(owners.len());
        for owner in owners {
            let state = self.state_of(&owner, &kind, &object.place.namespace).await?;
            states.push((owner, state));
        }
        let has_dependents = !self.shared.graph.lock().dependents_of(uid).is_empty();
        let policy = match judge(&states, has_dependents) {
            Verdict::Keep => return Ok(()),
            Verdict::DropOwners(gone) => return self.drop_owners(&api, &live, &gone).await,
            Verdict::DeleteForeground => PropagationPolicy::Foreground,
            Verdict::Delete => {
                let has = |finalizer: &str| live.finalizers.iter().flatten().any(|present| present == finalizer);
                if has(ORPHAN) {
                    PropagationPolicy::Orphan
                } else if has(FOREGROUND) {
                    PropagationPolicy::Foreground
                } else {
                    PropagationPolicy::Background
                }
            }
        };
        tracing::debug!(
            kind = kind.resource.kind,
            namespace = object.place.namespace,
            name = object.place.name,
            "collected"
        );
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: live.resource_version };
        let how = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        gone_is_fine(api.delete(&object.place.name, &how).await)
    }

    /// Absent only if the server itself says so: a wrong guess here deletes somebody's data.
    async fn state_of(&self, owner: &OwnerReference, dependent: &Kind, namespace: &str) -> Result<OwnerState> {
        {
            let graph = self.shared.graph.lock();
            if let Some(known) = graph.get(&owner.uid) {
                let same_place = known.place.name == owner.name
                    && (known.place.namespace == namespace || known.place.namespace.is_empty());
                if same_place {
                    let waits = graph.is_waiting(&owner.uid);
                    return Ok(if waits { OwnerState::Waiting } else { OwnerState::Solid });
                }
            }
        }
        let found = find_kind(&self.shared.watched.lock(), &owner.api_version, &owner.kind);
        let Some(kind) = found else {
            tracing::debug!(
                kind = owner.kind,
                version = owner.api_version,
                "owner of an unknown kind: nobody can tell"
            );
            return Ok(OwnerState::Solid);
        };
        if kind.namespaced && !dependent.namespaced {
            return Ok(OwnerState::Solid);
        }
        match self.api(&kind, namespace).get_metadata_opt(&owner.name).await? {
            Some(live) if meta::uid(&live.metadata) == owner.uid => {
                let waits = meta::is_deleting(&live.metadata)
                    && live.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND);
                Ok(if waits { OwnerState::Waiting } else { OwnerState::Solid })
            }
            _ => Ok(OwnerState::Absent),
        }
    }

    async fn wait_for_dependents(&self, uid: &str, api: &Api<DynamicObject>, object: &Object) -> Result<()> {
        let blocking = self.shared.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(uid, api, object, FOREGROUND).await;
        }
        blocking.into_iter().for_each(|dependent| self.queue.add(dependent));
        Ok(())
    }

    /// All dependents lose the reference before the finalizer goes: one that kept it would be collected after all.
    async fn let_go(&self, uid: &str, api: &Api<DynamicObject>, object: &Object) -> Result<()> {
        let dependents = self.shared.graph.lock().dependents_of(uid);
        for dependent in dependents {
            let Some(known) = self.shared.graph.lock().get(&dependent).cloned() else { continue };
            let Some(kind) = self.kind_at(known.place.kind) else { continue };
            let their_api = self.api(&kind, &known.place.namespace);
            let Some(live) = their_api.get_metadata_opt(&known.place.name).await? else { continue };
            if meta::uid(&live.metadata) == dependent {
                self.drop_owners(&their_api, &live.metadata, &[uid.to_owned()]).await?;
            }
        }
        self.remove_finalizer(uid, api, object, ORPHAN).await
    }

    async fn drop_owners(&self, api: &Api<DynamicObject>, live: &ObjectMeta, gone: &[String]) -> Result<()> {
        let mut owners = live.owner_references.clone().unwrap_or_default();
        owners.retain(|owner| !gone.contains(&owner.uid));
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": owners,
        }});
        gone_is_fine(api.patch_metadata(meta::name(live), &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    async fn remove_finalizer(
        &self,
        uid: &str,
        api: &Api<DynamicObject>,
        object: &Object,
        finalizer: &str,
    ) -> Result<()> {
        let Some(live) = api.get_metadata_opt(&object.place.name).await? else { return Ok(()) };
        if meta::uid(&live.metadata) != uid {
            return Ok(());
        }
        let mut finalizers = live.metadata.finalizers.clone().unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|present| present != finalizer);
        if finalizers.len() == before {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": uid, "resourceVersion": live.metadata.resource_version, "finalizers": finalizers,
        }});
        gone_is_fine(api.patch_metadata(&object.place.name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }
}

fn gone_is_fine<T>(outcome: kube::Result<T>) -> Result<()> {
    match outcome.map_err(Error::from) {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
