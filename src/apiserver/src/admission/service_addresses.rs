//! Which cluster addresses and node ports are taken: derived from the stored services, plus what writes in flight
//! have reserved. Nothing is persisted, so a crash leaks nothing.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt;
use serde_json::Value;

use super::fields::{items, text};
use crate::chain::ObjectReader;

/// A write that has not been settled by then never will be.
const RESERVATION_LIFE: Duration = Duration::from_secs(60);
/// The part of the node ports' range, as a divisor, that is left to those who choose by hand as long as others are
/// free; with upstream's bounds.
const NODE_PORTS_BY_HAND: u16 = 32;
const NODE_PORTS_BY_HAND_MIN: u16 = 16;
const NODE_PORTS_BY_HAND_MAX: u16 = 128;
const MIN_PREFIX: u8 = 12;
const MAX_PREFIX: u8 = 30;

/// Ports that Services get on all nodes; at least a hundred, as the configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    pub first: u16,
    pub last: u16,
}

impl Default for NodePorts {
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("service range {0:?} is not an IPv4 network such as 10.96.0.0/16")]
    Syntax(String),
    #[error("service range {0:?} must have a prefix of /{MIN_PREFIX} to /{MAX_PREFIX}")]
    Size(String),
}

/// The IPv4 network that cluster addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    network: u32,
    prefix: u8,
}

impl std::str::FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(cidr: &str) -> Result<Self, RangeError> {
        let syntax = || RangeError::Syntax(cidr.to_owned());
        let (address, prefix) = cidr.split_once('/').ok_or_else(syntax)?;
        let address: Ipv4Addr = address.parse().map_err(|_| syntax())?;
        let prefix: u8 = prefix.parse().map_err(|_| syntax())?;
        if !(MIN_PREFIX..=MAX_PREFIX).contains(&prefix) {
            return Err(RangeError::Size(cidr.to_owned()));
        }
        let network = u32::from(address) & (u32::MAX << (32 - prefix));
        Ok(Self { network, prefix })
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

impl AddressRange {
    /// Addresses that can be given: without the network's own and the broadcast address.
    fn usable(self) -> u32 {
        (1_u32 << (32 - self.prefix)) - 2
    }

    /// The `offset`-th usable address, from 0.
    pub fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1 + offset)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address > self.network && address <= self.network + self.usable()
    }

    /// Usable addresses below this offset are left to those who choose them by hand.
    fn first_dynamic(self) -> u32 {
        let size = self.usable();
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }
}

#[derive(Default)]
struct Reservation {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<u16>,
    made: Option<Instant>,
}

#[derive(Default)]
struct Taken {
    revision: Option<u64>,
    /// Who holds what, by `namespace/name`.
    addresses: HashMap<Ipv4Addr, String>,
    ports: HashMap<u16, String>,
    reserved: HashMap<String, Reservation>,
}

/// Gives out cluster addresses and node ports.
pub struct ServiceAddresses {
    pub(super) node_ports: NodePorts,
    pub(super) range: AddressRange,
    reader: Arc<dyn ObjectReader>,
    taken: Mutex<Taken>,
}

/// What one service asks for and gets. Given back by `ServiceAddresses::release`.
pub(super) struct Claim<'a> {
    pub(super) owner: &'a str,
    pub(super) dry_run: bool,
}

impl ServiceAddresses {
    pub fn new(range: AddressRange, reader: Arc<dyn ObjectReader>) -> Self {
        Self { range, node_ports: NodePorts::default(), reader, taken: Mutex::default() }
    }

    /// False when another service has it.
    pub(super) fn claim_address(&self, claim: &Claim<'_>, address: Ipv4Addr) -> bool {
        let mut taken = self.taken.lock();
        self.refresh(&mut taken);
        let free = taken.address_free(claim.owner, address);
        if free && !claim.dry_run {
            taken.reservation(claim.owner).addresses.insert(address);
        }
        free
    }

    pub(super) fn claim_any_address(&self, claim: &Claim<'_>) -> Option<Ipv4Addr> {
        let mut taken = self.taken.lock();
        self.refresh(&mut taken);
        let (low, size) = (self.range.first_dynamic(), self.range.usable());
        let found = scan(low, size).chain(scan(0, low)).map(|offset| self.range.nth(offset));
        let address = found.into_iter().find(|address| taken.address_free(claim.owner, *address))?;
        if !claim.dry_run {
            taken.reservation(claim.owner).addresses.insert(address);
        }
        Some(address)
    }

    pub(super) fn claim_port(&self, claim: &Claim<'_>, port: u16) -> bool {
        let mut taken = self.taken.lock();
        self.refresh(&mut taken);
        let free = taken.port_free(claim.owner, port);
        if free && !claim.dry_run {
            taken.reservation(claim.owner).ports.insert(port);
        }
        free
    }

    /// `avoid` holds ports that the same service uses already.
    pub(super) fn claim_any_port(&self, claim: &Claim<'_>, avoid: &HashSet<u16>) -> Option<u16> {
        let mut taken = self.taken.lock();
        self.refresh(&mut taken);
        let NodePorts { first, last } = self.node_ports;
        let by_hand = ((last - first + 1) / NODE_PORTS_BY_HAND).clamp(NODE_PORTS_BY_HAND_MIN, NODE_PORTS_BY_HAND_MAX);
        let (first, middle, end) = (u32::from(first), u32::from(first + by_hand), u32::from(last) + 1);
        let ports = scan(middle, end).chain(scan(first, middle)).filter_map(|port| u16::try_from(port).ok());
        let port = ports.into_iter().find(|port| !avoid.contains(port) && taken.port_free(claim.owner, *port))?;
        if !claim.dry_run {
            taken.reservation(claim.owner).ports.insert(port);
        }
        Some(port)
    }

    /// The write of this service has ended, well or badly: from now on the store tells.
    pub(super) fn release(&self, owner: &str) {
        self.taken.lock().reserved.remove(owner);
    }

    fn refresh(&self, taken: &mut Taken) {
        taken.reserved.retain(|_, reservation| reservation.made.is_some_and(|made| made.elapsed() < RESERVATION_LIFE));
        let revision = self.reader.revision_of("", "services");
        if taken.revision == Some(revision) {
            return;
        }
        taken.revision = Some(revision);
        taken.addresses.clear();
        taken.ports.clear();
        for service in self.reader.list("", "services", None) {
            let owner = owner_of(&service);
            for address in addresses_of(&service) {
                taken.addresses.insert(address, owner.clone());
            }
            for port in ports_of(&service) {
                taken.ports.insert(port, owner.clone());
            }
        }
    }
}

impl Taken {
    fn address_free(&self, owner: &str, address: Ipv4Addr) -> bool {
        self.addresses.get(&address).is_none_or(|holder| holder == owner)
            && !self.reserved.iter().any(|(other, held)| other != owner && held.addresses.contains(&address))
    }

    fn port_free(&self, owner: &str, port: u16) -> bool {
        self.ports.get(&port).is_none_or(|holder| holder == owner)
            && !self.reserved.iter().any(|(other, held)| other != owner && held.ports.contains(&port))
    }

    fn reservation(&mut self, owner: &str) -> &mut Reservation {
        let reservation = self.reserved.entry(owner.to_owned()).or_default();
        reservation.made = Some(Instant::now());
        reservation
    }
}

pub(super) fn owner_of(service: &Value) -> String {
    format!("{}/{}", text(service, "/metadata/namespace"), text(service, "/metadata/name"))
}

pub(super) fn addresses_of(service: &Value) -> Vec<Ipv4Addr> {
    let listed = items(service, "/spec/clusterIPs").iter().filter_map(Value::as_str);
    let mut addresses: Vec<Ipv4Addr> = listed.filter_map(|address| address.parse().ok()).collect();
    if let Ok(single) = text(service, "/spec/clusterIP").parse()
        && !addresses.contains(&single)
    {
        addresses.push(single);
    }
    addresses
}

pub(super) fn ports_of(service: &Value) -> Vec<u16> {
    let of_ports = items(service, "/spec/ports").iter().filter_map(|port| port.get("nodePort"));
    let health = service.pointer("/spec/healthCheckNodePort");
    let numbers = of_ports.chain(health).filter_map(Value::as_u64);
    numbers.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect()
}

/// `low..high` from a random place on, round the end.
fn scan(low: u32, high: u32) -> impl Iterator<Item = u32> {
    let start = if low < high { rand::rng().random_range(low..high) } else { low };
    (start..high).chain(low..start)
}
