//! What all controllers share: the client, the configuration, one informer per kind.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher;
use kube::{Client, Resource};

use crate::Config;
use crate::runtime::{HasSynced, Informer, Recorder, Shutdown, Tasks};

pub(crate) const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";
pub(crate) const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
pub(crate) const SLICE_MANAGER: &str = "endpointslice-controller.k8s.io";

/// Servers end watches at their own time; this only finds dead connections.
const WATCH_TIMEOUT_S: u32 = 290;

#[derive(Clone)]
pub(crate) struct Context {
    pub client: Client,
    pub config: Arc<Config>,
    pub recorder: Recorder,
    pub pods: Informer<Pod>,
    pub nodes: Informer<Node>,
    pub services: Informer<Service>,
    pub namespaces: Informer<Namespace>,
    pub deployments: Informer<Deployment>,
    pub replica_sets: Informer<ReplicaSet>,
    pub endpoint_slices: Informer<EndpointSlice>,
    pub leases: Informer<Lease>,
    pub default_accounts: Informer<ServiceAccount>,
    pub root_ca_maps: Informer<ConfigMap>,
}

impl Context {
    pub(crate) fn new(client: Client, config: Arc<Config>, recorder: Recorder) -> Self {
        Self {
            client,
            config,
            recorder,
            pods: Informer::new("pods"),
            nodes: Informer::new("nodes"),
            services: Informer::new("services"),
            namespaces: Informer::new("namespaces"),
            deployments: Informer::new("deployments"),
            replica_sets: Informer::new("replicasets"),
            endpoint_slices: Informer::new("endpointslices"),
            leases: Informer::new("leases"),
            default_accounts: Informer::new("serviceaccounts"),
            root_ca_maps: Informer::new("configmaps"),
        }
    }

    /// Starts all watches; handlers must be registered before.
    pub(crate) fn start(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let all = || watcher::Config::default().timeout(WATCH_TIMEOUT_S);
        self.pods.start(tasks, shutdown, self.cluster(), all(), trim_pod);
        self.nodes.start(tasks, shutdown, self.cluster(), all(), trim_node);
        self.services.start(tasks, shutdown, self.cluster(), all(), |_| {});
        self.namespaces.start(tasks, shutdown, self.cluster(), all(), |_| {});
        self.deployments.start(tasks, shutdown, self.cluster(), all(), |_| {});
        self.replica_sets.start(tasks, shutdown, self.cluster(), all(), |_| {});
        let slices = all().labels(&format!("endpointslice.kubernetes.io/managed-by={SLICE_MANAGER}"));
        self.endpoint_slices.start(tasks, shutdown, self.cluster(), slices, |_| {});
        let leases = Api::namespaced(self.client.clone(), NODE_LEASE_NAMESPACE);
        self.leases.start(tasks, shutdown, leases, all(), |_| {});
        let accounts = all().fields("metadata.name=default");
        self.default_accounts.start(tasks, shutdown, self.cluster(), accounts, |_| {});
        let maps = all().fields(&format!("metadata.name={ROOT_CA_CONFIG_MAP}"));
        self.root_ca_maps.start(tasks, shutdown, self.cluster(), maps, |_| {});
    }

    fn cluster<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// What must be complete before anybody acts: acting on half a list would delete or create too much.
    pub(crate) fn waits(&self) -> Vec<Arc<dyn HasSynced>> {
        vec![
            Arc::new(self.pods.clone()),
            Arc::new(self.nodes.clone()),
            Arc::new(self.services.clone()),
            Arc::new(self.namespaces.clone()),
            Arc::new(self.deployments.clone()),
            Arc::new(self.replica_sets.clone()),
            Arc::new(self.endpoint_slices.clone()),
            Arc::new(self.leases.clone()),
            Arc::new(self.default_accounts.clone()),
            Arc::new(self.root_ca_maps.clone()),
        ]
    }
}

/// Controllers read a pod's place, ports, tolerations and state; all else is most of its memory.
fn trim_pod(pod: &mut Pod) {
    if let Some(spec) = pod.spec.take() {
        let containers = spec.containers.into_iter().map(|container| k8s_openapi::api::core::v1::Container {
            name: container.name,
            ports: container.ports,
            ..Default::default()
        });
        let sidecars = spec.init_containers.into_iter().flatten();
        let sidecars =
            sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always")).map(|container| {
                k8s_openapi::api::core::v1::Container {
                    name: container.name,
                    ports: container.ports,
                    restart_policy: container.restart_policy,
                    ..Default::default()
                }
            });
        let sidecars: Vec<_> = sidecars.collect();
        pod.spec = Some(k8s_openapi::api::core::v1::PodSpec {
            containers: containers.collect(),
            init_containers: (!sidecars.is_empty()).then_some(sidecars),
            node_name: spec.node_name,
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            tolerations: spec.tolerations,
            ..Default::default()
        });
    }
    if let Some(status) = pod.status.take() {
        let statuses = status.container_statuses.map(|statuses| {
            let short = statuses.into_iter().map(|container| k8s_openapi::api::core::v1::ContainerStatus {
                name: container.name,
                restart_count: container.restart_count,
                ..Default::default()
            });
            short.collect()
        });
        pod.status = Some(k8s_openapi::api::core::v1::PodStatus {
            phase: status.phase,
            conditions: status.conditions,
            pod_ip: status.pod_ip,
            pod_ips: status.pod_ips,
            start_time: status.start_time,
            container_statuses: statuses,
            ..Default::default()
        });
    }
}

/// The image list is most of a node object, and only the scheduler reads it.
fn trim_node(node: &mut Node) {
    if let Some(status) = node.status.as_mut() {
        status.images = None;
        status.node_info = None;
    }
}
