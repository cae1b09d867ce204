//! The three watches that everything here follows (Services, EndpointSlices, Nodes), shared by all parts.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

/// Changes that come closer together than this are acted upon once.
const COALESCE: Duration = Duration::from_millis(15);

/// Readers over the shared caches and the signal that one of them changed.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) services: Store<Service>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) nodes: Store<Node>,
    changed: watch::Receiver<u64>,
    filled: watch::Receiver<bool>,
}

impl Watched {
    pub(crate) fn start(client: &Client) -> Self {
        let (signal, changed) = watch::channel(0);
        let signal = Arc::new(signal);
        let (fill, filled) = watch::channel(false);
        let services: Store<Service> = follow(Api::all(client.clone()), Arc::clone(&signal));
        let slices: Store<EndpointSlice> = follow(Api::all(client.clone()), Arc::clone(&signal));
        let nodes: Store<Node> = follow(Api::all(client.clone()), signal);
        let watched = Self { services, slices, nodes, changed, filled };
        // One task waits for the stores: of several that wait for the same one, it wakes only the last.
        let waiting = watched.clone();
        tokio::spawn(async move {
            // The writers live as long as the process, so waiting cannot fail.
            let _ = waiting.services.wait_until_ready().await;
            let _ = waiting.slices.wait_until_ready().await;
            let _ = waiting.nodes.wait_until_ready().await;
            fill.send_replace(true);
        });
        watched
    }

    pub(crate) fn subscribe(&self) -> Self {
        self.clone()
    }

    /// Waits until all caches are filled for the first time.
    pub(crate) async fn ready(&self) {
        if self.filled.clone().wait_for(|filled| *filled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the next change and a moment longer, for those that come with it.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(COALESCE).await;
        self.changed.mark_unchanged();
    }
}

fn follow<K>(api: Api<K>, signal: Arc<watch::Sender<u64>>) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer) = reflector::store();
    tokio::spawn(async move {
        let stream = watcher(api, watcher::Config::default()).default_backoff().modify(|object: &mut K| {
            object.meta_mut().managed_fields = None;
        });
        let mut events = std::pin::pin!(stream.reflect(writer));
        while let Some(event) = events.next().await {
            match event {
                // During a relist the cache is swapped at its end; before that nothing has changed.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => signal.send_modify(|count| *count += 1),
                Err(error) => warn!(error = %error, "a watch was interrupted and is taken up again"),
            }
        }
    });
    store
}
