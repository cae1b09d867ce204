//! Wires the parts of a node together and runs them until a signal comes. Pods outlive this program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, bail};
use naru_network::load_balancer::LoadBalancer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::config::NodeConfiguration;
use crate::notify;

const API_LOAD_BALANCER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6444));
const API_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// systemd is told "ready" at the latest now: boot must not wait for a control plane that is away.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn node(config: NodeConfiguration) -> anyhow::Result<()> {
    // First of all: everything else on this host finds the API here.
    let api = LoadBalancer::bind(API_LOAD_BALANCER, config.control_planes.clone()).await?;
    tokio::spawn(api.run());
    let client = api_client(&config)?;
    let (stop, stopped) = watch::channel(false);
    let mut network = tokio::spawn(naru_network::run(network_config(&config)?, client.clone(), stopped.clone()));
    let (ready, is_ready) = oneshot::channel();
    let kubelet = kubelet_config(&config);
    let mut running = tokio::spawn(kubelet.run(client.clone(), stopped.clone(), ready));
    tokio::spawn(async move {
        // The kubelet failed to start; its error ends the program.
        if let Ok(Err(_)) = tokio::time::timeout(READY_TIMEOUT, is_ready).await {
            return;
        }
        if let Err(error) = notify::ready() {
            tracing::warn!(%error, "systemd was not told that the node is ready");
        }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = &mut running => return result?.context("the kubelet failed"),
        result = &mut network => return result?.context("the network failed"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; pods go on running");
    stop.send_replace(true);
    running.await?.context("the kubelet failed")
}

fn network_config(config: &NodeConfiguration) -> anyhow::Result<naru_network::Config> {
    let version_4 = |address: IpAddr| match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => bail!("{address}: the pod network speaks IPv4 only"),
    };
    Ok(naru_network::Config {
        node_name: config.name.clone(),
        node_address: version_4(config.address)?,
        pod_cidr: config.pod_cidr.clone(),
        cluster_domain: config.cluster_domain.clone(),
        dns_service_address: version_4(config.dns_service_ip)?,
        cni: naru_network::CniPaths::default(),
    })
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
        settings: config.kubelet.settings(),
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

/// Serves `naru` over standard input and output until it hangs up.
pub(crate) async fn agent() -> anyhow::Result<()> {
    naru_agent::serve_stdio().await.context("the connection to naru broke")
}
