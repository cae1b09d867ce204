//! Deleting a namespace: first its pods, then all else, then the namespace itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::discovery::{self, Kind};
use crate::runtime::{Error, Queue, Result, Shutdown, Tasks, meta, run_workers};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes";
/// While content is ending, look again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PODS_GRACE_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    queue: Arc<Queue<String>>,
}

/// What is left of a namespace's content after one pass.
#[derive(Default)]
struct Remains {
    kinds: Vec<String>,
    finalizers: Vec<String>,
    failures: Vec<String>,
    pods: bool,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self { context: context.clone(), queue: Arc::default() };
        let queue = Arc::clone(&this.queue);
        context.namespaces.on_change(move |_, new| {
            if let Some(namespace) = new.filter(|namespace| meta::is_deleting(&namespace.metadata)) {
                queue.add(meta::name(&namespace.metadata).to_owned());
            }
        });
        this
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "namespace", WORKERS, &self.queue, shutdown, move |name| {
            let this = this.clone();
            async move { this.reconcile(&name).await }
        });
    }

    async fn reconcile(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let Some(namespace) = api.get_opt(name).await? else { return Ok(()) };
        if !meta::is_deleting(&namespace.metadata) || !has_finalizer(&namespace) {
            return Ok(());
        }
        let (kinds, discovery_failure) = match discovery::kinds(&self.context.client).await {
            Ok(kinds) => (kinds, None),
            Err(error) => (Vec::new(), Some(error.message())),
        };
        let remains = self.delete_content(name, &kinds).await;
        let conditions = conditions(&remains, discovery_failure.as_deref(), &namespace, Timestamp::now());
        if namespace.status.as_ref().and_then(|status| status.conditions.as_ref()) != Some(&conditions) {
            let patch = json!({"status": {"phase": "Terminating", "conditions": conditions}});
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        if discovery_failure.is_some() || !remains.failures.is_empty() {
            return Err(Error::Later(format!("content of namespace {name} could not be deleted")));
        }
        if !remains.kinds.is_empty() {
            let delay = if remains.pods { PODS_GRACE_LIMIT.min(LOOK_AGAIN * 2) } else { LOOK_AGAIN };
            self.queue.add_after(name.to_owned(), delay);
            return Ok(());
        }
        self.finalize(&api, name).await
    }

    async fn delete_content(&self, namespace: &str, kinds: &[Kind]) -> Remains {
        let mut remains = Remains::default();
        let deletable = |kind: &&Kind| kind.namespaced && kind.can("delete") && kind.can("list");
        let is_pods = |kind: &Kind| kind.resource.group.is_empty() && kind.resource.plural == "pods";
        if let Some(pods) = kinds.iter().find(|kind| is_pods(kind)) {
            self.delete_kind(namespace, pods, &mut remains).await;
            remains.pods = !remains.kinds.is_empty();
            if remains.pods {
                return remains;
            }
        }
        for kind in kinds.iter().filter(deletable).filter(|kind| !is_pods(kind)) {
            // Two names for the same objects: the newer group is enough.
            if kind.resource.group.is_empty() && kind.resource.plural == "events" && has_new_events(kinds) {
                continue;
            }
            self.delete_kind(namespace, kind, &mut remains).await;
        }
        remains
    }

    async fn delete_kind(&self, namespace: &str, kind: &Kind, remains: &mut Remains) {
        if let Err(error) = self.try_delete_kind(namespace, kind, remains).await
            && !error.is_not_found()
            && error.status().is_none_or(|status| status.code != 405)
        {
            remains.failures.push(format!("{}: {}", kind.resource.plural, error.message()));
        }
    }

    async fn try_delete_kind(&self, namespace: &str, kind: &Kind, remains: &mut Remains) -> Result<()> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource);
        if api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
            return Ok(());
        }
        if kind.can("deletecollection") {
            api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        } else {
            for object in api.list_metadata(&ListParams::default()).await?.items {
                api.delete(meta::name(&object.metadata), &DeleteParams::background()).await?;
            }
        }
        let left = api.list_metadata(&ListParams::default()).await?.items;
        if !left.is_empty() {
            let group = &kind.resource.group;
            let suffix = if group.is_empty() { String::new() } else { format!(".{group}") };
            remains.kinds.push(format!("{}{suffix} has {} resource instances", kind.resource.plural, left.len()));
            for finalizer in left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
                if !remains.finalizers.contains(finalizer) {
                    remains.finalizers.push(finalizer.clone());
                }
            }
        }
        Ok(())
    }

    /// Our finalizer goes, through its own subresource; the server removes the object when none is left.
    async fn finalize(&self, api: &Api<Namespace>, name: &str) -> Result<()> {
        let Some(mut namespace) = api.get_opt(name).await? else { return Ok(()) };
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let outcome = api.replace_subresource("finalize", name, &kube::api::PostParams::default(), &namespace).await;
        match outcome.map_err(Error::from) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn has_new_events(kinds: &[Kind]) -> bool {
    kinds.iter().any(|kind| kind.resource.group == "events.k8s.io" && kind.resource.plural == "events")
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER))
}

fn conditions(
    remains: &Remains,
    discovery_failure: Option<&str>,
    namespace: &Namespace,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let before = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let make = |kind: &str, bad: Option<String>, bad_reason: &str, good_reason: &str, good: &str| {
        let status = if bad.is_some() { "True" } else { "False" };
        let reason = if bad.is_some() { bad_reason } else { good_reason };
        let message = bad.unwrap_or_else(|| good.to_owned());
        let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: same.and_then(|same| same.last_transition_time.clone()).or(Some(Time(now))),
        }
    };
    let listed = |items: &[String], intro: &str| (!items.is_empty()).then(|| format!("{intro}{}", items.join(", ")));
    vec![
        make(
            "NamespaceDeletionDiscoveryFailure",
            discovery_failure.map(|text| format!("Discovery failed for some groups: {text}")),
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        make(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        make(
            "NamespaceDeletionContentFailure",
            listed(&remains.failures, "Failed to delete all resource types: "),
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        make(
            "NamespaceContentRemaining",
            listed(&remains.kinds, "Some resources are remaining: "),
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        make(
            "NamespaceFinalizersRemaining",
            listed(&remains.finalizers, "Some content in the namespace has finalizers remaining: "),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_remains_and_do_not_flap() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let remains = Remains { kinds: vec!["pods has 2 resource instances".into()], ..Remains::default() };
        let mut namespace = Namespace::default();
        let first = conditions(&remains, None, &namespace, now);
        let remaining = first.iter().find(|condition| condition.type_ == "NamespaceContentRemaining").unwrap();
        assert_eq!(remaining.status, "True");
        assert_eq!(remaining.message.as_deref(), Some("Some resources are remaining: pods has 2 resource instances"));
        namespace.status.get_or_insert_default().conditions = Some(first.clone());
        let later = Timestamp::from_second(1_800_000_100).unwrap();
        assert_eq!(conditions(&remains, None, &namespace, later), first);
    }
}
