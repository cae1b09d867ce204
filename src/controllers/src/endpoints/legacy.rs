//! The older Endpoints object, which older kubectl prints. Deprecated in its API, so written by this one file only.
#![allow(deprecated)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};

use super::build::Group;
use crate::runtime::{Error, ObjectKey, Result, meta};

/// Beyond this an Endpoints object is cut short and says so.
const ADDRESS_LIMIT: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    /// False once the server has said that it does not know the kind.
    served: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, served: Arc::new(AtomicBool::new(true)) }
    }

    fn api(&self, namespace: &str) -> Option<Api<Endpoints>> {
        self.served.load(Ordering::Relaxed).then(|| Api::namespaced(self.client.clone(), namespace))
    }

    /// The service is gone: so is its object.
    pub(super) async fn remove(&self, key: &ObjectKey) -> Result<()> {
        let Some(api) = self.api(&key.namespace) else { return Ok(()) };
        match api.delete(&key.name, &kube::api::DeleteParams::default()).await.map_err(Error::from) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write(&self, service: &Service, groups: &[Group]) -> Result<()> {
        let Some(api) = self.api(meta::namespace(&service.metadata)) else { return Ok(()) };
        let name = meta::name(&service.metadata);
        let mut wanted = build(service, groups);
        let outcome = match api.get_opt(name).await? {
            Some(current) => {
                if current.subsets == wanted.subsets && current.metadata.labels == wanted.metadata.labels {
                    return Ok(());
                }
                wanted.metadata.resource_version = current.metadata.resource_version;
                api.replace(name, &PostParams::default(), &wanted).await
            }
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match outcome.map_err(Error::from) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                self.served.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn build(service: &Service, groups: &[Group]) -> Endpoints {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), "endpoint-controller".into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let mut left = ADDRESS_LIMIT;
    let mut cut = false;
    let mut subsets = Vec::new();
    for group in groups {
        let (mut ready, mut unready) = (Vec::new(), Vec::new());
        for endpoint in &group.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let is_ready = conditions.ready == Some(true);
            if conditions.terminating == Some(true) && !is_ready {
                continue;
            }
            if left == 0 {
                cut = true;
                break;
            }
            left -= 1;
            let address = EndpointAddress {
                ip: endpoint.addresses.first().cloned().unwrap_or_default(),
                hostname: endpoint.hostname.clone(),
                node_name: endpoint.node_name.clone(),
                target_ref: endpoint.target_ref.clone(),
            };
            if is_ready { ready.push(address) } else { unready.push(address) }
        }
        if ready.is_empty() && unready.is_empty() {
            continue;
        }
        let ports = group.ports.iter().map(|port| EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port.unwrap_or(0),
            protocol: port.protocol.clone(),
            app_protocol: port.app_protocol.clone(),
        });
        ready.sort_by(|left: &EndpointAddress, right| left.ip.cmp(&right.ip));
        unready.sort_by(|left: &EndpointAddress, right| left.ip.cmp(&right.ip));
        subsets.push(EndpointSubset {
            addresses: (!ready.is_empty()).then_some(ready),
            not_ready_addresses: (!unready.is_empty()).then_some(unready),
            ports: Some(ports.collect()).filter(|ports: &Vec<_>| !ports.is_empty()),
        });
    }
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: cut.then(|| [(OVER_CAPACITY.to_owned(), "truncated".to_owned())].into()),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}
