//! Follows the pods bound to this node and keeps one worker for each; turns runtime changes into wake-ups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::Context;
use crate::cri::{CriError, POD_UID_LABEL};
use crate::pod::PodExt;
use crate::worker::{Order, Worker};

const WATCH_RETRY: Duration = Duration::from_secs(1);
/// Runtimes without events (containerd 1.6) are asked this often.
const RELIST_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// Events are hints that can be lost; this makes up for it.
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(8);
const EVENTS_RETRY: Duration = Duration::from_secs(5);

struct Entry {
    orders: watch::Sender<Order>,
    wake: Arc<Notify>,
}

/// The pods that have a worker, by UID.
#[derive(Default)]
pub(crate) struct PodTable {
    entries: Mutex<HashMap<String, Entry>>,
    /// The first complete list has come: what is not in the table is not ours.
    complete: std::sync::atomic::AtomicBool,
}

impl PodTable {
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.entries.lock().values().map(|entry| entry.orders.borrow().pod.clone()).collect()
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let mut found: Vec<Arc<Pod>> =
            self.pods().into_iter().filter(|pod| pod.name() == name && pod.namespace() == namespace).collect();
        // A pod on its way out and its successor can share the name for a moment.
        found.sort_by_key(|pod| pod.is_deleted());
        found.into_iter().next()
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.entries.lock().contains_key(uid)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(std::sync::atomic::Ordering::Acquire)
    }

    fn wake(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get(uid) {
            entry.wake.notify_one();
        }
    }
}

pub(crate) async fn run(context: Arc<Context>) {
    tokio::join!(follow_pods(&context), relist(&context), crate::orphans::run(&context));
}

async fn follow_pods(context: &Arc<Context>) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let selector = format!("spec.nodeName={}", context.config.node_name);
    let mut stream = watcher(api, watcher::Config::default().fields(&selector)).boxed();
    let mut listed: HashSet<String> = HashSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.insert(pod.uid().to_owned());
                apply(context, pod);
            }
            Ok(Event::InitDone) => {
                let absent: Vec<Arc<Pod>> =
                    context.pods.pods().into_iter().filter(|pod| !listed.contains(pod.uid())).collect();
                for pod in absent {
                    remove(context, pod.uid(), &pod);
                }
                context.pods.complete.store(true, std::sync::atomic::Ordering::Release);
            }
            Ok(Event::Apply(pod)) => apply(context, pod),
            Ok(Event::Delete(pod)) => {
                let uid = pod.uid().to_owned();
                remove(context, &uid, &Arc::new(pod));
            }
            Err(error) => {
                tracing::debug!(error = crate::error_chain(&error), "pods not watched");
                tokio::time::sleep(WATCH_RETRY).await;
            }
        }
    }
}

fn apply(context: &Arc<Context>, mut pod: Pod) {
    // The largest part of many objects, and nothing here reads it.
    pod.metadata.managed_fields = None;
    let uid = pod.uid().to_owned();
    let order = Order { pod: Arc::new(pod), removed: false };
    let mut entries = context.pods.entries.lock();
    if let Some(entry) = entries.get(&uid) {
        entry.orders.send_replace(order);
        return;
    }
    let (orders, receiver) = watch::channel(order);
    let wake = Arc::new(Notify::new());
    let worker = Worker::new(context.clone(), receiver, wake.clone());
    entries.insert(uid.clone(), Entry { orders, wake });
    drop(entries);
    let context = context.clone();
    tokio::spawn(async move {
        worker.run().await;
        context.pods.entries.lock().remove(&uid);
    });
}

fn remove(context: &Context, uid: &str, last: &Arc<Pod>) {
    if let Some(entry) = context.pods.entries.lock().get(uid) {
        entry.orders.send_replace(Order { pod: last.clone(), removed: true });
    }
}

/// IDs and states of a pod's sandboxes and containers.
type Digest = BTreeMap<String, i32>;

async fn relist(context: &Arc<Context>) {
    let mut known: HashMap<String, Digest> = HashMap::new();
    let hint = Arc::new(Notify::new());
    let has_events = Arc::new(std::sync::atomic::AtomicBool::new(false));
    tokio::join!(follow_events(context, &hint, &has_events), async {
        loop {
            match digests(context).await {
                Ok(now) => {
                    let uids: HashSet<&String> = known.keys().chain(now.keys()).collect();
                    for uid in uids.into_iter().filter(|uid| known.get(*uid) != now.get(*uid)) {
                        context.pods.wake(uid);
                    }
                    known = now;
                }
                Err(error) => tracing::debug!(%error, "runtime not listed"),
            }
            let events = has_events.load(std::sync::atomic::Ordering::Relaxed);
            let pause = if events { RELIST_WITH_EVENTS } else { RELIST_WITHOUT_EVENTS };
            tokio::select! {
                () = hint.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

async fn digests(context: &Context) -> Result<HashMap<String, Digest>, CriError> {
    let mut all: HashMap<String, Digest> = HashMap::new();
    for sandbox in context.runtime.sandboxes(None).await? {
        if let Some(uid) = sandbox.labels.get(POD_UID_LABEL) {
            all.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
        }
    }
    for container in context.runtime.containers(None).await? {
        if let Some(uid) = container.labels.get(POD_UID_LABEL) {
            all.entry(uid.clone()).or_default().insert(container.id, container.state);
        }
    }
    Ok(all)
}

async fn follow_events(context: &Arc<Context>, hint: &Notify, has_events: &std::sync::atomic::AtomicBool) {
    loop {
        match context.runtime.events().await {
            Ok(mut stream) => {
                has_events.store(true, std::sync::atomic::Ordering::Relaxed);
                while let Ok(Some(event)) = stream.message().await {
                    let uid = event.pod_sandbox_status.and_then(|status| status.metadata).map(|metadata| metadata.uid);
                    match uid {
                        Some(uid) => context.pods.wake(&uid),
                        None => hint.notify_one(),
                    }
                }
            }
            Err(error) if error.is_unimplemented() => {
                // Until the runtime is upgraded under us, which restarts this program too.
                return;
            }
            Err(error) => tracing::debug!(%error, "no runtime events"),
        }
        has_events.store(false, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}
