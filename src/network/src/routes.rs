//! Routes to the pods of the other hosts: each host's pod network by way of that host's address. The hosts must share
//! a link for that; a host that cannot be reached directly is reported, and the others are routed all the same.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tracing::{info, warn};

use crate::netlink::{Netlink, Routes};
use crate::watch::Watched;
use crate::{Config, Error};

/// Somebody else may have taken routes away; they are looked at this often without a change in the cluster.
const RESYNC: Duration = Duration::from_secs(300);

pub(crate) async fn run(config: Config, netlink: Netlink, mut watched: Watched) -> Result<(), Error> {
    watched.ready().await;
    loop {
        let wanted: Routes = watched.nodes.state().iter().filter_map(|node| route(&config, node)).collect();
        if let Err(error) = converge(&netlink, &wanted).await {
            warn!(error = %error, "cannot read the routing table");
        }
        tokio::select! {
            () = watched.changed() => {}
            () = tokio::time::sleep(RESYNC) => {}
        }
    }
}

async fn converge(netlink: &Netlink, wanted: &Routes) -> Result<(), Error> {
    let present = netlink.routes().await?;
    for (network, gateway) in wanted.iter().filter(|(network, gateway)| present.get(network) != Some(gateway)) {
        match netlink.set_route(*network, *gateway).await {
            Ok(()) => info!(network = %network.0, %gateway, "route to a host's pods"),
            Err(error) => warn!(network = %network.0, %gateway, error = %error, "cannot route to a host's pods"),
        }
    }
    for network in present.keys().filter(|network| !wanted.contains_key(network)) {
        if let Err(error) = netlink.delete_route(*network).await {
            warn!(network = %network.0, error = %error, "cannot remove a route");
        }
    }
    Ok(())
}

/// How to reach this node's pods, unless they are our own.
fn route(config: &Config, node: &Node) -> Option<((Ipv4Addr, u8), Ipv4Addr)> {
    if node.metadata.name.as_deref() == Some(&config.node_name) {
        return None;
    }
    let (network, prefix) = node.spec.as_ref()?.pod_cidr.as_deref()?.split_once('/')?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let gateway = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    Some(((network.parse().ok()?, prefix.parse().ok()?), gateway.address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podCIDR": "10.244.2.0/24"},
            "status": {"addresses": [{"type": "Hostname", "address": name},
                                     {"type": "InternalIP", "address": "10.1.0.22"}]}}))
        .unwrap()
    }

    #[test]
    fn other_hosts_are_gateways_to_their_pods() {
        let expected = ((Ipv4Addr::new(10, 244, 2, 0), 24), Ipv4Addr::new(10, 1, 0, 22));
        assert_eq!(route(&crate::tests::config(), &node("w2")), Some(expected));
    }

    #[test]
    fn no_route_to_ourselves_or_without_a_network() {
        assert_eq!(route(&crate::tests::config(), &node("w1")), None);
        assert_eq!(route(&crate::tests::config(), &Node::default()), None);
    }
}
