//! Names to addresses without the C library: /etc/hosts and the name servers of /etc/resolv.conf, asked by hickory.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;

use crate::{HostAddress, HostError};

pub(crate) async fn addresses(host: &HostAddress) -> Result<Vec<IpAddr>, HostError> {
    let literal = host.address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let failed = |error: &dyn std::error::Error| HostError::Resolve {
        host: host.name.clone(),
        address: host.address.clone(),
        reason: crate::error::chain(error),
    };
    let resolver =
        TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|error| failed(&error))?;
    let found = resolver.lookup_ip(host.address.as_str()).await.map_err(|error| failed(&error))?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str) -> HostAddress {
        HostAddress { name: "w1".to_owned(), address: address.to_owned(), port: 22, user: "root".to_owned() }
    }

    #[tokio::test]
    async fn addresses_and_the_hosts_file_need_no_server() {
        assert_eq!(addresses(&host("10.0.0.1")).await.unwrap(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses(&host("[fd00::1]")).await.unwrap(), ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert!(addresses(&host("localhost")).await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
