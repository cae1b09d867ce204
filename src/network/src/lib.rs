//! A host's part of the cluster network: Services in nftables, routes to the other hosts' pods, the pod interface's
//! CNI configuration, cluster DNS, and a local TCP load balancer that makes every host's API endpoint survive the
//! loss of a control plane. All of it follows watches; nothing polls.

mod cni;
mod dns;
pub mod load_balancer;
mod netlink;
mod proxy;
mod routes;
mod watch;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use kube::Client;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

/// What this host must know to take part.
#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    pub node_address: Ipv4Addr,
    /// Pod addresses of the whole cluster, `10.244.0.0/16`; what leaves it is masqueraded.
    pub pod_cidr: String,
    pub cluster_domain: String,
    /// Put on `lo`; every host answers DNS on it itself.
    pub dns_service_address: Ipv4Addr,
    pub cni: CniPaths,
}

#[derive(Debug, Clone)]
pub struct CniPaths {
    pub configuration: PathBuf,
}

impl Default for CniPaths {
    fn default() -> Self {
        Self { configuration: PathBuf::from("/etc/cni/net.d/10-naru.conflist") }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot speak netlink")]
    Netlink(#[source] rtnetlink::Error),
    #[error("cannot {action}")]
    Io { action: String, source: std::io::Error },
    #[error("nft refused the rules: {message}")]
    Nft { message: String },
}

/// Runs everything until `shutdown` turns true. Parts that fail are started again; the first error of the set-up
/// (no netlink, no `nft`) is returned.
///
/// # Errors
/// When the host lacks what the network is made of.
pub async fn run(config: Config, client: Client, mut shutdown: Receiver<bool>) -> Result<(), Error> {
    let netlink = netlink::Netlink::open()?;
    netlink.add_loopback_address(config.dns_service_address).await?;
    let watched = watch::Watched::start(&client);
    let mut parts = JoinSet::new();
    parts.spawn(dns::run(config.clone(), watched.subscribe()));
    parts.spawn(proxy::run(config.clone(), watched.subscribe()));
    // Each its own socket: the kernel refuses a second dump on a socket that has one under way.
    parts.spawn(cni::run(config.clone(), netlink::Netlink::open()?, watched.subscribe()));
    parts.spawn(routes::run(config, netlink, watched.subscribe()));
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
        Some(ended) = parts.join_next() => ended.unwrap_or(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worker w1 of the design's example.
    pub(crate) fn config() -> Config {
        Config {
            node_name: "w1".to_owned(),
            node_address: Ipv4Addr::new(10, 1, 0, 21),
            pod_cidr: "10.244.0.0/16".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            dns_service_address: Ipv4Addr::new(10, 96, 0, 10),
            cni: CniPaths::default(),
        }
    }
}
