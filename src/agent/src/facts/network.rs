//! Links, addresses and routes, from the kernel itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use naru_resources::Host;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::{NetworkLink, Route};

/// Interfaces whose addresses are the cluster's own and not the host's.
const INNER_INTERFACES: &[&str] =
    &["lo", "cni", "naru", "veth", "docker", "virbr", "cali", "flannel", "cilium", "kube-"];
/// Of these there is one for each pod, and their addresses and routes are the pods'.
const POD_INTERFACES: &[&str] = &["veth", "cali", "lxc"];
/// Routes to other hosts' pods carry this mark of the node program's.
pub(crate) const OUR_ROUTES: RouteProtocol = RouteProtocol::Other(155);
/// A host with more is a router; the first are told.
const MAX_LINKS: usize = 256;
const MAX_ROUTES: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Network {
    /// Addresses that other machines can reach this host at.
    pub(super) addresses: Vec<String>,
    pub(super) links: Vec<NetworkLink>,
    pub(super) routes: Vec<Route>,
}

pub(super) async fn gather(host: &Host) -> Network {
    if !host.is_local() {
        return Network::default();
    }
    let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return Network::default() };
    let connection = tokio::spawn(connection);
    let network = ask(&handle).await.unwrap_or_default();
    connection.abort();
    network
}

async fn ask(handle: &Handle) -> Result<Network, rtnetlink::Error> {
    let mut links = BTreeMap::new();
    let mut messages = handle.link().get().execute();
    while let Some(message) = messages.try_next().await? {
        let mut link = NetworkLink::default();
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                _ => {}
            }
        }
        links.insert(message.header.index, link);
    }
    let mut reachable = Vec::new();
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        let Some(link) = links.get_mut(&message.header.index) else { continue };
        let Some(address) = address(&message) else { continue };
        if message.header.scope == AddressScope::Universe && !has_prefix(&link.name, INNER_INTERFACES) {
            reachable.push(address.to_string());
        }
        link.addresses.push(format!("{address}/{}", message.header.prefix_len));
    }
    let mut routes = routes(handle, RouteMessageBuilder::<Ipv4Addr>::new().build(), &links).await?;
    routes.extend(self::routes(handle, RouteMessageBuilder::<Ipv6Addr>::new().build(), &links).await?);
    routes.truncate(MAX_ROUTES);
    let mut links: Vec<NetworkLink> =
        links.into_values().filter(|link| link.name != "lo" && !has_prefix(&link.name, POD_INTERFACES)).collect();
    links.truncate(MAX_LINKS);
    Ok(Network { addresses: reachable, links, routes })
}

/// On a point-to-point link `Address` is the other end.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or(find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    }))
}

/// The host's own routes: those to pods, here or elsewhere, are the cluster's.
async fn routes(
    handle: &Handle,
    family: RouteMessage,
    links: &BTreeMap<u32, NetworkLink>,
) -> Result<Vec<Route>, rtnetlink::Error> {
    let mut found = Vec::new();
    let mut messages = std::pin::pin!(handle.route().get(family).execute());
    while let Some(message) = messages.try_next().await? {
        let header = &message.header;
        let is_main = header.table == RouteHeader::RT_TABLE_MAIN && header.kind == RouteType::Unicast;
        if !is_main || header.protocol == OUR_ROUTES || header.scope == RouteScope::Host {
            continue;
        }
        let (mut destination, mut interface) = (None, String::new());
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(IpAddr::V4(*address)),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = Some(IpAddr::V6(*address)),
                RouteAttribute::Oif(index) => {
                    interface = links.get(index).map(|link| link.name.clone()).unwrap_or_default();
                }
                _ => {}
            }
        }
        let is_local = matches!(destination, Some(IpAddr::V6(address)) if address.is_unicast_link_local());
        if is_local || has_prefix(&interface, POD_INTERFACES) {
            continue;
        }
        let everywhere = match header.address_family {
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let destination = format!("{}/{}", destination.unwrap_or(everywhere), header.destination_prefix_length);
        found.push(Route { destination, interface });
    }
    Ok(found)
}

fn has_prefix(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}
