//! What every namespace gets: the service account `default` and the config map with the cluster's root certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::{Context, ROOT_CA_CONFIG_MAP};
use crate::runtime::{Error, Queue, Result, Shutdown, Tasks, meta, run_workers};

const WORKERS: usize = 2;
const DEFAULT_ACCOUNT: &str = "default";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    queue: Arc<Queue<String>>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let this = Self { context: context.clone(), queue: Arc::default() };
        let queue = Arc::clone(&this.queue);
        context.namespaces.on_change(move |_, new| {
            if let Some(namespace) = new {
                queue.add(meta::name(&namespace.metadata).to_owned());
            }
        });
        let queue = Arc::clone(&this.queue);
        context.default_accounts.on_change(move |old, new| {
            if let (Some(gone), None) = (old, new) {
                queue.add(meta::namespace(&gone.metadata).to_owned());
            }
        });
        let queue = Arc::clone(&this.queue);
        context.root_ca_maps.on_change(move |old, new| {
            if let Some(map) = new.or(old) {
                queue.add(meta::namespace(&map.metadata).to_owned());
            }
        });
        this
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "namespace-defaults", WORKERS, &self.queue, shutdown, move |name| {
            let this = this.clone();
            async move { this.reconcile(&name).await }
        });
    }

    async fn reconcile(&self, namespace: &str) -> Result<()> {
        let Some(object) = self.context.namespaces.get_named("", namespace) else { return Ok(()) };
        if meta::is_deleting(&object.metadata) {
            return Ok(());
        }
        self.ensure_account(namespace).await?;
        self.ensure_root_ca(namespace).await
    }

    async fn ensure_account(&self, namespace: &str) -> Result<()> {
        if self.context.default_accounts.get_named(namespace, DEFAULT_ACCOUNT).is_some() {
            return Ok(());
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(DEFAULT_ACCOUNT.into()),
                namespace: Some(namespace.into()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), namespace);
        created(api.create(&PostParams::default(), &account).await)
    }

    async fn ensure_root_ca(&self, namespace: &str) -> Result<()> {
        let Some(bundle) = self.context.config.root_ca_pem.clone() else { return Ok(()) };
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), namespace);
        let wanted = BTreeMap::from([(DATA_KEY.to_owned(), bundle)]);
        match self.context.root_ca_maps.get_named(namespace, ROOT_CA_CONFIG_MAP) {
            Some(map) if map.data.as_ref() == Some(&wanted) => Ok(()),
            Some(map) => {
                // Keys that somebody added are null in the patch: they go.
                let mut data: BTreeMap<&str, Option<&str>> =
                    map.data.iter().flatten().map(|(key, _)| (key.as_str(), None)).collect();
                data.extend(wanted.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))));
                let patch = json!({"data": data});
                api.patch(ROOT_CA_CONFIG_MAP, &PatchParams::default(), &Patch::Merge(patch)).await?;
                Ok(())
            }
            None => {
                let map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some(ROOT_CA_CONFIG_MAP.into()),
                        annotations: Some([("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned())].into()),
                        ..ObjectMeta::default()
                    },
                    data: Some(wanted),
                    ..ConfigMap::default()
                };
                created(api.create(&PostParams::default(), &map).await)
            }
        }
    }
}

/// That somebody was faster is as good, and a namespace that ends needs nothing.
fn created<K>(outcome: kube::Result<K>) -> Result<()> {
    match outcome.map_err(Error::from) {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(()),
        Err(error) => Err(error),
    }
}
