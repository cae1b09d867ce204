//! Metadata-only watches of every kind that can be deleted, kept in step with discovery.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::graph::Object;
use super::{Collector, Shared};
use crate::discovery::{self, Kind};
use crate::runtime::{Result, Shutdown, error_chain, meta};

const WATCH_TIMEOUT_S: u32 = 290;
/// Kinds at once; more are left to the server's own limits with a warning.
const KIND_LIMIT: usize = 2000;

/// One kind that is watched. Indices are never reused: graph entries refer to them.
pub(super) struct Watched {
    pub kind: Kind,
    synced: watch::Receiver<bool>,
    task: Option<AbortHandle>,
}

fn is_collected(kind: &Kind) -> bool {
    let is_event = kind.resource.plural == "events" && matches!(kind.resource.group.as_str(), "" | "events.k8s.io");
    !is_event && ["list", "watch", "delete"].iter().all(|verb| kind.can(verb))
}

impl Collector {
    /// Starts watches for kinds that are new, ends those of kinds that are gone.
    pub(super) async fn follow_discovery(&self, shutdown: &Shutdown) -> Result<()> {
        let mut found: Vec<Kind> = discovery::kinds(&self.context.client).await?;
        found.retain(is_collected);
        let same = |left: &Kind, right: &Kind| left.resource == right.resource && left.namespaced == right.namespaced;
        let mut watched = self.shared.watched.lock();
        for known in watched.iter_mut() {
            if !found.iter().any(|kind| same(kind, &known.kind))
                && let Some(task) = known.task.take()
            {
                task.abort();
            }
        }
        for kind in found {
            if watched.iter().any(|known| known.task.is_some() && same(&known.kind, &kind)) {
                continue;
            }
            if watched.len() >= KIND_LIMIT {
                tracing::warn!(kind = kind.resource.plural, "too many kinds: its objects are not collected");
                continue;
            }
            let (synced, is_synced) = watch::channel(false);
            let task = self.follow(watched.len(), &kind, synced, shutdown.clone());
            watched.push(Watched { kind, synced: is_synced, task: Some(task) });
        }
        Ok(())
    }

    /// Deciding that nothing depends on an object needs all lists.
    pub(super) async fn all_synced(&self) {
        let waits: Vec<watch::Receiver<bool>> = {
            let watched = self.shared.watched.lock();
            watched.iter().filter(|known| known.task.is_some()).map(|known| known.synced.clone()).collect()
        };
        for mut wait in waits {
            let _ = wait.wait_for(|done| *done).await;
        }
    }

    fn follow(&self, index: usize, kind: &Kind, synced: watch::Sender<bool>, mut shutdown: Shutdown) -> AbortHandle {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(self.context.client.clone(), &kind.resource);
        let shared = Arc::clone(&self.shared);
        let plural = kind.resource.plural.clone();
        let task = tokio::spawn(async move {
            let config = watcher::Config::default().timeout(WATCH_TIMEOUT_S);
            let mut events = watcher::watcher(api, config).default_backoff().boxed();
            let mut listed = HashSet::new();
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = crate::runtime::stopped(&mut shutdown) => return,
                };
                match event {
                    Some(Ok(event)) => {
                        if apply(&shared, index, event, &mut listed) {
                            synced.send_replace(true);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(kind = plural, error = %error_chain(&error), "metadata watch interrupted");
                    }
                    None => return,
                }
            }
        });
        task.abort_handle()
    }
}

/// True when a complete list was taken over.
fn apply(
    shared: &Shared,
    kind: usize,
    event: Event<PartialObjectMeta<DynamicObject>>,
    listed: &mut HashSet<String>,
) -> bool {
    let put = |object: &PartialObjectMeta<DynamicObject>| {
        let uid = meta::uid(&object.metadata);
        let work = shared.graph.lock().put(uid, Object::new(kind, &object.metadata));
        work.into_iter().for_each(|uid| shared.queue.add(uid));
    };
    let remove = |uid: &str| {
        let work = shared.graph.lock().remove(uid);
        work.into_iter().for_each(|uid| shared.queue.add(uid));
    };
    match event {
        Event::Apply(object) => put(&object),
        Event::Delete(object) => remove(meta::uid(&object.metadata)),
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(meta::uid(&object.metadata).to_owned());
            put(&object);
        }
        Event::InitDone => {
            let gone = shared.graph.lock().missing(kind, &std::mem::take(listed));
            gone.iter().for_each(|uid| remove(uid));
            return true;
        }
    }
    false
}

/// Kinds by what an owner reference says: API group and kind, whatever the version.
pub(super) fn find_kind(watched: &[Watched], api_version: &str, kind: &str) -> Option<Kind> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let fits = |known: &&Watched| {
        known.task.is_some() && known.kind.resource.group == group && known.kind.resource.kind == kind
    };
    watched.iter().find(fits).map(|known| known.kind.clone())
}

/// How many objects of each kind the graph holds, for a debug line.
pub(super) fn summary(shared: &Shared) -> HashMap<&'static str, usize> {
    HashMap::from([("objects", shared.graph.lock().len()), ("kinds", shared.watched.lock().len())])
}
