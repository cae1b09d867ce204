//! IPv4 networks in the notation `10.244.0.0/16`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network; bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("`{text}` is not a network in the form 10.244.0.0/16")]
    Form { text: String },
    #[error("IPv6 networks are not supported yet: `{text}`")]
    Version6 { text: String },
    #[error("the prefix length /{prefix} is above 32")]
    Prefix { prefix: u32 },
    #[error("`{text}` has address bits behind its prefix")]
    HostBits { text: String, meant: String },
}

impl Cidr {
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.network
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.network & mask(shorter) == other.network & mask(shorter)
    }

    /// The address at this offset from the network's first.
    #[must_use]
    pub fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network.wrapping_add(offset))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        if address.contains(':') {
            return Err(CidrError::Version6 { text: text.to_owned() });
        }
        let address: Ipv4Addr = address.parse().map_err(|_| form())?;
        let prefix: u32 = prefix.parse().map_err(|_| form())?;
        let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix <= 32).ok_or(CidrError::Prefix { prefix })?;
        let network = u32::from(address) & mask(prefix);
        let cidr = Self { network, prefix };
        if network == u32::from(address) {
            Ok(cidr)
        } else {
            Err(CidrError::HostBits { text: text.to_owned(), meant: cidr.to_string() })
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_contains_and_overlaps() {
        let pods: Cidr = "10.244.0.0/16".parse().unwrap();
        assert!(pods.contains("10.244.255.1".parse().unwrap()));
        assert!(!pods.contains("10.245.0.1".parse().unwrap()));
        assert!(pods.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(!pods.overlaps("10.96.0.0/16".parse().unwrap()));
        assert_eq!(pods.nth(10).to_string(), "10.244.0.10");
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().overlaps(pods));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(
            matches!("10.244.1.0/16".parse::<Cidr>(), Err(CidrError::HostBits { meant, .. }) if meant == "10.244.0.0/16")
        );
        assert!(matches!("10.244.0.0/33".parse::<Cidr>(), Err(CidrError::Prefix { prefix: 33 })));
        assert!(matches!("10.244.0.0".parse::<Cidr>(), Err(CidrError::Form { .. })));
        assert!(matches!("fd00::/64".parse::<Cidr>(), Err(CidrError::Version6 { .. })));
    }
}
