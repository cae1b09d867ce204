//! A shared informer: one watch per kind, a store of the newest objects, and handlers that are told old and new.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{HasSynced, Shutdown, Tasks, error_chain, stopped};

/// Namespace (empty for cluster-wide kinds) and name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Told the state before (none: added) and after (none: deleted). Must be quick: it runs between two watch events.
type Handler<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;

struct Shared<K> {
    kind: &'static str,
    store: RwLock<BTreeMap<ObjectKey, Arc<K>>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    pub fn new(kind: &'static str) -> Self {
        let shared = Shared {
            kind,
            store: RwLock::new(BTreeMap::new()),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Must be called before `start`: later handlers would miss the first objects.
    pub fn on_change(&self, handler: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static) {
        self.shared.handlers.lock().push(Box::new(handler));
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.store.read().get(key).cloned()
    }

    pub fn get_named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    pub fn all(&self) -> Vec<Arc<K>> {
        self.shared.store.read().values().cloned().collect()
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let store = self.shared.store.read();
        let from = ObjectKey::new(namespace, "");
        store
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Watches until shutdown. `trim` drops the fields that nobody here reads.
    pub fn start(
        &self,
        tasks: &mut Tasks,
        shutdown: &Shutdown,
        api: Api<K>,
        config: watcher::Config,
        trim: fn(&mut K),
    ) {
        let this = self.clone();
        let mut shutdown = shutdown.clone();
        tasks.spawn(async move {
            let mut events = watcher::watcher(api, config).default_backoff().boxed();
            let mut listing = BTreeMap::new();
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = stopped(&mut shutdown) => return,
                };
                match event {
                    Some(Ok(event)) => this.apply(event, &mut listing, trim),
                    Some(Err(error)) => {
                        tracing::debug!(kind = this.shared.kind, error = %error_chain(&error), "watch interrupted");
                    }
                    None => return,
                }
            }
        });
    }

    fn apply(&self, event: Event<K>, listing: &mut BTreeMap<ObjectKey, Arc<K>>, trim: fn(&mut K)) {
        match event {
            Event::Apply(mut object) => {
                strip(&mut object, trim);
                let object = Arc::new(object);
                let old = self.shared.store.write().insert(ObjectKey::of(&*object), object.clone());
                self.tell(old.as_ref(), Some(&object));
            }
            Event::Delete(object) => {
                let old = self.shared.store.write().remove(&ObjectKey::of(&object));
                if old.is_some() {
                    self.tell(old.as_ref(), None);
                }
            }
            Event::Init => listing.clear(),
            Event::InitApply(mut object) => {
                strip(&mut object, trim);
                listing.insert(ObjectKey::of(&object), Arc::new(object));
            }
            Event::InitDone => self.replace(std::mem::take(listing)),
        }
    }

    fn replace(&self, listing: BTreeMap<ObjectKey, Arc<K>>) {
        let old = std::mem::replace(&mut *self.shared.store.write(), listing.clone());
        for (key, object) in &listing {
            let before = old.get(key);
            if before.is_none_or(|before| before.resource_version() != object.resource_version()) {
                self.tell(before, Some(object));
            }
        }
        for (_, object) in old.iter().filter(|(key, _)| !listing.contains_key(key)) {
            self.tell(Some(object), None);
        }
        self.shared.synced.send_replace(true);
    }

    fn tell(&self, old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
        for handler in self.shared.handlers.lock().iter() {
            handler(old, new);
        }
    }

    /// For tests and for controllers that must see their own write at once.
    #[cfg(test)]
    pub(crate) fn insert(&self, object: K) {
        self.apply(Event::Apply(object), &mut BTreeMap::new(), |_| {});
    }
}

fn strip<K: Resource>(object: &mut K, trim: fn(&mut K)) {
    object.meta_mut().managed_fields = None;
    trim(object);
}

impl<K: Send + Sync + 'static> HasSynced for Informer<K> {
    fn wait(&self) -> BoxFuture<'_, ()> {
        let mut synced = self.shared.synced.subscribe();
        Box::pin(async move {
            let _ = synced.wait_for(|done| *done).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(namespace: &str, name: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.into());
        object.metadata.name = Some(name.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    #[test]
    fn a_new_list_tells_only_differences() {
        let informer = Informer::<ConfigMap>::new("configmaps");
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        informer.on_change(move |old, new| {
            let name = new.or(old).map(|object| object.name_any()).unwrap_or_default();
            sink.lock().push((name, old.is_some(), new.is_some()));
        });
        let mut listing = BTreeMap::new();
        for event in [Event::Init, Event::InitApply(object("n", "a", "1")), Event::InitApply(object("n", "b", "2"))] {
            informer.apply(event, &mut listing, |_| {});
        }
        assert!(told.lock().is_empty() && !informer.has_synced(), "nothing before the list is complete");
        informer.apply(Event::InitDone, &mut listing, |_| {});
        assert!(informer.has_synced());
        told.lock().clear();
        for event in [Event::Init, Event::InitApply(object("n", "b", "2")), Event::InitApply(object("n", "c", "3"))] {
            informer.apply(event, &mut listing, |_| {});
        }
        informer.apply(Event::InitDone, &mut listing, |_| {});
        assert_eq!(*told.lock(), vec![("c".into(), false, true), ("a".into(), true, false)]);
    }

    #[test]
    fn a_namespace_listing_has_no_neighbours() {
        let informer = Informer::<ConfigMap>::new("configmaps");
        for (namespace, name) in [("a", "x"), ("ab", "y"), ("a", "z"), ("b", "w")] {
            informer.insert(object(namespace, name, "1"));
        }
        let names: Vec<_> = informer.in_namespace("a").iter().map(|object| object.name_any()).collect();
        assert_eq!(names, ["x", "z"]);
    }
}
