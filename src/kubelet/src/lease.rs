//! The node's heartbeat: a Lease renewed every ten seconds in a task of its own, so that no slow pod delays it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};

use crate::Context;

const NAMESPACE: &str = "kube-node-lease";
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const DURATION_SECONDS: i32 = 40;
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(context: Arc<Context>) {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), NAMESPACE);
    let mut held: Option<Lease> = None;
    loop {
        let renewal = tokio::time::timeout(CALL_TIMEOUT, renew(&context, &api, held.take())).await;
        match renewal {
            Ok(Ok(lease)) => {
                held = Some(lease);
                tokio::time::sleep(RENEW_INTERVAL).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = crate::error_chain(&error), "lease not renewed");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}

async fn renew(context: &Context, api: &Api<Lease>, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = &context.config.node_name;
    let current = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let now = Some(MicroTime(jiff::Timestamp::now()));
    match current {
        Some(mut lease) => {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(name.clone());
            spec.lease_duration_seconds = Some(DURATION_SECONDS);
            spec.renew_time = now;
            if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
                lease.metadata.owner_references = owner(context).await?;
            }
            api.replace(name, &PostParams::default(), &lease).await
        }
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(NAMESPACE.into()),
                    owner_references: owner(context).await?,
                    ..Default::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(name.clone()),
                    lease_duration_seconds: Some(DURATION_SECONDS),
                    renew_time: now,
                    ..Default::default()
                }),
            };
            api.create(&PostParams::default(), &lease).await
        }
    }
}

/// Owned by the node, so that it goes when the node goes. `None` until the node is registered.
async fn owner(context: &Context) -> Result<Option<Vec<OwnerReference>>, kube::Error> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let node = nodes.get_opt(&context.config.node_name).await?;
    Ok(node.and_then(|node| node.metadata.uid).map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: context.config.node_name.clone(),
            uid,
            ..Default::default()
        }]
    }))
}
