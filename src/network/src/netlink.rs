//! The few things asked of the kernel's routing tables.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder, new_connection};

use crate::Error;

/// Marks routes as ours (`ip route show proto 155`); the kernel gives numbers from 5 up no meaning of its own.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(155);
const EEXIST: i32 = -17;
const LOOPBACK_INDEX: u32 = 1;

pub(crate) struct Netlink {
    handle: Handle,
}

/// Destination network to gateway.
pub(crate) type Routes = BTreeMap<(Ipv4Addr, u8), Ipv4Addr>;

impl Netlink {
    pub(crate) fn open() -> Result<Self, Error> {
        let (connection, handle, _) =
            new_connection().map_err(|source| Error::Io { action: "open a netlink socket".to_owned(), source })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub(crate) async fn add_loopback_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        match self.handle.address().add(LOOPBACK_INDEX, address.into(), 32).execute().await {
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == EEXIST => Ok(()),
            result => result.map_err(Error::Netlink),
        }
    }

    /// The MTU of the link that has this address.
    pub(crate) async fn mtu_bytes(&self, address: Ipv4Addr) -> Result<Option<u32>, Error> {
        let mut addresses = std::pin::pin!(self.handle.address().get().set_address_filter(address.into()).execute());
        let Some(found) = addresses.try_next().await.map_err(Error::Netlink)? else { return Ok(None) };
        let mut links = std::pin::pin!(self.handle.link().get().match_index(found.header.index).execute());
        let Some(link) = links.try_next().await.map_err(Error::Netlink)? else { return Ok(None) };
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(bytes) => Some(*bytes),
            _ => None,
        }))
    }

    /// The routes that carry our mark.
    pub(crate) async fn routes(&self) -> Result<Routes, Error> {
        let mut found = Routes::new();
        let mut messages =
            std::pin::pin!(self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute());
        while let Some(message) = messages.try_next().await.map_err(Error::Netlink)? {
            if message.header.protocol != PROTOCOL {
                continue;
            }
            let (mut destination, mut gateway) = (None, None);
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
                    RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
                    _ => {}
                }
            }
            if let (Some(destination), Some(gateway)) = (destination, gateway) {
                found.insert((destination, message.header.destination_prefix_length), gateway);
            }
        }
        Ok(found)
    }

    pub(crate) async fn set_route(&self, (network, prefix): (Ipv4Addr, u8), gateway: Ipv4Addr) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network, prefix)
            .gateway(gateway)
            .protocol(PROTOCOL)
            .build();
        self.handle.route().add(route).replace().execute().await.map_err(Error::Netlink)
    }

    pub(crate) async fn delete_route(&self, (network, prefix): (Ipv4Addr, u8)) -> Result<(), Error> {
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network, prefix).protocol(PROTOCOL).build();
        self.handle.route().del(route).execute().await.map_err(Error::Netlink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_link_has_an_mtu() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.mtu_bytes(Ipv4Addr::LOCALHOST).await.unwrap(), Some(65_536));
    }
}
