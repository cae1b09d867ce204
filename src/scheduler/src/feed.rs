//! Watches, reduced at once to what the scheduler keeps. One bounded channel brings all changes, in order, to one task.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use naru_controllers::runtime::{Shutdown, Tasks, error_chain, meta, stopped};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::model::PodInfo;

/// Watches wait when the scheduler is this far behind.
pub(crate) const PENDING_LIMIT: usize = 1024;
const WATCH_TIMEOUT_S: u32 = 290;

/// What may change the scheduler's mind.
#[derive(Debug)]
pub(crate) enum Change {
    Pod(Box<PodInfo>),
    PodGone(String),
    /// A complete list: whatever is not in it is gone.
    Pods(HashSet<String>),
    Node(Box<Node>),
    NodeGone(String),
    Nodes(HashSet<String>),
    Namespace(String, BTreeMap<String, String>),
    NamespaceGone(String),
    /// A binding is done, or failed with this message. `gone`: the pod is.
    Bound {
        uid: String,
        failure: Option<String>,
    },
}

/// How one kind of object becomes changes.
struct Adapter<K> {
    name: fn(&K) -> String,
    changed: fn(K) -> Change,
    gone: fn(String) -> Change,
    listed: fn(HashSet<String>) -> Option<Change>,
}

pub(crate) fn start(client: &Client, tasks: &mut Tasks, shutdown: &Shutdown, changes: &mpsc::Sender<Change>) {
    let pods = Adapter::<Pod> {
        name: |pod| meta::uid(&pod.metadata).to_owned(),
        changed: |pod| Change::Pod(Box::new(PodInfo::from_pod(pod))),
        gone: Change::PodGone,
        listed: |uids| Some(Change::Pods(uids)),
    };
    let nodes = Adapter::<Node> {
        name: |node| meta::name(&node.metadata).to_owned(),
        changed: |node| Change::Node(Box::new(node)),
        gone: Change::NodeGone,
        listed: |names| Some(Change::Nodes(names)),
    };
    let namespaces = Adapter::<Namespace> {
        name: |namespace| meta::name(&namespace.metadata).to_owned(),
        changed: |namespace| {
            let labels = namespace.metadata.labels.unwrap_or_default();
            Change::Namespace(namespace.metadata.name.unwrap_or_default(), labels)
        },
        gone: Change::NamespaceGone,
        listed: |_| None,
    };
    follow(Api::all(client.clone()), tasks, shutdown, changes.clone(), pods);
    follow(Api::all(client.clone()), tasks, shutdown, changes.clone(), nodes);
    follow(Api::all(client.clone()), tasks, shutdown, changes.clone(), namespaces);
}

fn follow<K>(api: Api<K>, tasks: &mut Tasks, shutdown: &Shutdown, changes: mpsc::Sender<Change>, adapter: Adapter<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut shutdown = shutdown.clone();
    tasks.spawn(async move {
        let config = watcher::Config::default().timeout(WATCH_TIMEOUT_S);
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let mut listed = HashSet::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = stopped(&mut shutdown) => return,
            };
            let change = match event {
                Some(Ok(Event::Apply(object))) => Some((adapter.changed)(object)),
                Some(Ok(Event::Delete(object))) => Some((adapter.gone)((adapter.name)(&object))),
                Some(Ok(Event::Init)) => {
                    listed.clear();
                    None
                }
                Some(Ok(Event::InitApply(object))) => {
                    listed.insert((adapter.name)(&object));
                    Some((adapter.changed)(object))
                }
                Some(Ok(Event::InitDone)) => (adapter.listed)(std::mem::take(&mut listed)),
                Some(Err(error)) => {
                    tracing::debug!(error = %error_chain(&error), "watch interrupted");
                    None
                }
                None => return,
            };
            if let Some(change) = change
                && changes.send(change).await.is_err()
            {
                return;
            }
        }
    });
}
