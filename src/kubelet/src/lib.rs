//! Pods on this host: registers the node, follows the pods bound to it, runs them by CRI, reports their status,
//! and serves their logs and streams on port 10250.

mod cgroup;
mod cri;
mod dns;
mod env;
mod events;
mod hosts_file;
mod images;
mod lease;
mod log_rotation;
mod machine;
mod manager;
mod node;
mod objects;
mod orphans;
mod pod;
mod probe_action;
mod probes;
mod qos;
mod quantity;
mod server;
mod settings;
mod status;
mod termination_message;
mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::api::core::v1::Taint;
use tokio::sync::{oneshot, watch};

pub use crate::cgroup::CgroupError;
pub use crate::cri::CriError;
pub use crate::server::ServerError;
pub use crate::settings::{Reserved, Settings};

/// What nodes report as their kubelet version.
pub const KUBELET_VERSION: &str = concat!("v1.36.0+naru", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot learn about this machine")]
    Machine(#[source] std::io::Error),
    #[error("cannot find the cgroup hierarchies")]
    Cgroup(#[source] CgroupError),
    #[error("cannot serve on port {port}")]
    Server {
        port: u16,
        #[source]
        source: ServerError,
    },
}

/// Certificate authority, certificate and key, all PEM. One pair is both client identity and serving certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate_authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    pub address: IpAddr,
    /// Set when the node is created and kept in sync afterwards.
    pub labels: BTreeMap<String, String>,
    /// Set only when the node is created.
    pub taints: Vec<Taint>,
    pub cluster_domain: String,
    pub dns_service_ip: String,
    pub runtime_socket: PathBuf,
    pub tls: TlsFiles,
    /// 10250 everywhere but in tests.
    pub port: u16,
    pub folders: Folders,
    /// `/kubepods` everywhere but in tests.
    pub cgroup_parent: String,
    pub settings: Settings,
}

/// Where the kubelet keeps things; the defaults are upstream's.
#[derive(Debug, Clone)]
pub struct Folders {
    pub state: PathBuf,
    pub pod_logs: PathBuf,
    pub container_logs: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            state: "/var/lib/kubelet".into(),
            pod_logs: "/var/log/pods".into(),
            container_logs: "/var/log/containers".into(),
        }
    }
}

/// What every part of the kubelet shares.
pub(crate) struct Context {
    pub config: Config,
    pub client: kube::Client,
    pub runtime: cri::Runtime,
    pub cgroups: cgroup::Cgroups,
    pub machine: machine::Machine,
    pub events: events::Recorder,
    pub objects: objects::Objects,
    pub pods: manager::PodTable,
    /// As the runtime last said; pods with their own network wait for it.
    pub network_ready: AtomicBool,
}

impl Config {
    /// Runs until `shutdown` turns true. Pods go on running. `ready` fires once the server listens and the
    /// registration was attempted, whether or not the API answered: a node must boot without its control plane.
    pub async fn run(
        self,
        client: kube::Client,
        mut shutdown: watch::Receiver<bool>,
        ready: oneshot::Sender<()>,
    ) -> Result<(), Error> {
        let context = Arc::new(Context {
            runtime: cri::Runtime::new(&self.runtime_socket, self.settings.runtime_request_timeout),
            cgroups: cgroup::Cgroups::detect(&self.cgroup_parent).map_err(Error::Cgroup)?,
            machine: machine::Machine::probe(&self.folders.state).map_err(Error::Machine)?,
            events: events::Recorder::start(client.clone(), &self.node_name),
            objects: objects::Objects::new(client.clone()),
            pods: manager::PodTable::default(),
            network_ready: AtomicBool::new(false),
            client,
            config: self,
        });
        let port = context.config.port;
        let listener = server::bind(&context).await.map_err(|source| Error::Server { port, source })?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(server::serve(context.clone(), listener));
        let node = node::Reporter::new(context.clone());
        tasks.spawn(node.run(ready));
        tasks.spawn(lease::run(context.clone()));
        tasks.spawn(manager::run(context.clone()));
        tasks.spawn(log_rotation::run(context.clone()));
        // A sender that is gone means the program ends as well.
        let _ = shutdown.wait_for(|stop| *stop).await;
        tasks.shutdown().await;
        Ok(())
    }
}

/// An error with all its causes in one line, as logs and events want it.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
