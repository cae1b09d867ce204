//! Config maps, secrets, services and claims that pods name: fetched on demand, kept a short while,
//! and used stale while the API is away, so that containers restart without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use kube::Client;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// An update reaches a mounted volume within this plus the pod's refresh interval.
const FRESH: Duration = Duration::from_secs(8);
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error("{kind} \"{name}\" not found")]
    NotFound { kind: &'static str, name: String },
    #[error("cannot read {kind} \"{name}\": {message}")]
    Unavailable { kind: &'static str, name: String, message: String },
}

struct Cached<T> {
    fetched: Instant,
    /// `None`: the API said that there is none.
    value: Option<Arc<T>>,
}

type Table<T> = Mutex<HashMap<(String, String), Cached<T>>>;

pub(crate) struct Objects {
    client: Client,
    config_maps: Table<ConfigMap>,
    secrets: Table<Secret>,
    services: Table<Vec<Service>>,
}

impl Objects {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, config_maps: Table::default(), secrets: Table::default(), services: Table::default() }
    }

    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>, ObjectError> {
        let fetch = self.get::<ConfigMap>(namespace, name);
        cached(&self.config_maps, "configmap", namespace, name, fetch).await
    }

    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, ObjectError> {
        cached(&self.secrets, "secret", namespace, name, self.get::<Secret>(namespace, name)).await
    }

    /// Services of one namespace.
    pub(crate) async fn services(&self, namespace: &str) -> Result<Arc<Vec<Service>>, ObjectError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let fetch = async move { Ok(Some(api.list(&ListParams::default()).await?.items)) };
        cached(&self.services, "services", namespace, "", fetch).await
    }

    /// The volume bound to a claim.
    pub(crate) async fn volume_of_claim(&self, namespace: &str, name: &str) -> Result<PersistentVolume, ObjectError> {
        let kind = "persistentvolumeclaim";
        let unavailable = |message: String| ObjectError::Unavailable { kind, name: name.to_owned(), message };
        let claim = self
            .get::<PersistentVolumeClaim>(namespace, name)
            .await
            .map_err(|error| unavailable(crate::error_chain(&error)))?
            .ok_or_else(|| ObjectError::NotFound { kind, name: name.to_owned() })?;
        let volume_name = claim.spec.and_then(|spec| spec.volume_name).filter(|volume| !volume.is_empty());
        let volume_name = volume_name.ok_or_else(|| unavailable("the claim is not bound yet".into()))?;
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        api.get(&volume_name).await.map_err(|error| unavailable(crate::error_chain(&error)))
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, kube::Error>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await
    }
}

async fn cached<T>(
    table: &Table<T>,
    kind: &'static str,
    namespace: &str,
    name: &str,
    fetch: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Arc<T>, ObjectError> {
    let key = (namespace.to_owned(), name.to_owned());
    let not_found = || ObjectError::NotFound { kind, name: name.to_owned() };
    {
        let table = table.lock();
        // A missing object is asked for each time: the pod waits for it to be made.
        if let Some(Cached { fetched, value: Some(value) }) = table.get(&key)
            && fetched.elapsed() < FRESH
        {
            return Ok(value.clone());
        }
    }
    let message = match tokio::time::timeout(FETCH_TIMEOUT, fetch).await {
        Ok(Ok(value)) => {
            let value = value.map(Arc::new);
            let mut table = table.lock();
            table.retain(|_, entry| entry.fetched.elapsed() < FORGET_AFTER);
            table.insert(key, Cached { fetched: Instant::now(), value: value.clone() });
            return value.ok_or_else(not_found);
        }
        Ok(Err(error)) => crate::error_chain(&error),
        Err(_) => "the API did not answer in time".to_owned(),
    };
    match table.lock().get(&key) {
        Some(Cached { value: Some(value), .. }) => Ok(value.clone()),
        _ => Err(ObjectError::Unavailable { kind, name: name.to_owned(), message }),
    }
}
