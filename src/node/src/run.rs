//! Wires the parts of a node together and runs them until a signal comes. Pods outlive this program.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::config::NodeConfiguration;
use crate::notify;

const API_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// systemd is told "ready" at the latest now: boot must not wait for a control plane that is away.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn node(config: NodeConfiguration) -> anyhow::Result<()> {
    let client = api_client(&config)?;
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = oneshot::channel();
    let kubelet = kubelet_config(&config);
    let mut running = tokio::spawn(kubelet.run(client.clone(), stopped.clone(), ready));
    tokio::spawn(async move {
        match tokio::time::timeout(READY_TIMEOUT, is_ready).await {
            // The kubelet failed to start; its error ends the program.
            Ok(Err(_)) => return,
            Ok(Ok(())) | Err(_) => {}
        }
        if let Err(error) = notify::ready() {
            tracing::warn!(%error, "systemd was not told that the node is ready");
        }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = &mut running => return result?.context("the kubelet failed"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; pods go on running");
    stop.send_replace(true);
    running.await?.context("the kubelet failed")
}

fn kubelet_config(config: &NodeConfiguration) -> naru_kubelet::Config {
    naru_kubelet::Config {
        node_name: config.name.clone(),
        address: config.address,
        labels: config.labels.clone(),
        taints: config.taints.iter().cloned().map(Into::into).collect(),
        cluster_domain: config.cluster_domain.clone(),
        dns_service_ip: config.dns_service_ip.to_string(),
        runtime_socket: config.runtime_endpoint.clone(),
        tls: naru_kubelet::TlsFiles {
            certificate_authority: config.pki.certificate_authority.clone(),
            certificate: config.pki.certificate.clone(),
            key: config.pki.key.clone(),
        },
        port: config.paths.kubelet_port,
        folders: naru_kubelet::Folders {
            state: config.paths.state.clone(),
            pod_logs: config.paths.pod_logs.clone(),
            container_logs: config.paths.container_logs.clone(),
        },
        cgroup_parent: config.paths.cgroup_parent.clone(),
    }
}

/// The node's own certificate is its identity; the cluster's authority vouches for the API server.
fn api_client(config: &NodeConfiguration) -> anyhow::Result<kube::Client> {
    let address = &config.paths.api_server;
    let mut client = kube::Config::new(address.parse().with_context(|| format!("bad API address {address}"))?);
    client.root_cert_file = Some(config.pki.certificate_authority.clone());
    client.auth_info.client_certificate = Some(config.pki.certificate.display().to_string());
    client.auth_info.client_key = Some(config.pki.key.display().to_string());
    client.connect_timeout = Some(API_CONNECT_TIMEOUT);
    // Every caller has its own retry with its own pace.
    client.default_retry = false;
    kube::Client::try_from(client).context("cannot set up the API client")
}

pub(crate) fn agent() -> anyhow::Result<()> {
    anyhow::bail!("the agent is not part of this program yet")
}
