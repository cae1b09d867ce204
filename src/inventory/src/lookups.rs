//! Questions to an inventory that several parts ask: which hosts, which addresses, which settings hold for a host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::spec::{Connection, Group, Hook, Host, HostFile, HostState, Inventory, Kubelet, Role};

impl Group {
    /// Names of this group's machines.
    pub fn machine_names(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| format!("{}{number}", self.name))
    }
}

impl Host {
    /// A host of which only this is said.
    #[must_use]
    pub fn new(name: &str, role: Role, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            address: address.to_owned(),
            user: None,
            port: None,
            key_path: None,
            host_key: None,
            bastion: None,
            r#become: None,
            state: HostState::Present,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            kubelet: Kubelet::default(),
            connection: Connection::Ssh,
        }
    }
}

impl Inventory {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Hosts that are to be control planes.
    pub fn control_planes(&self) -> impl Iterator<Item = &Host> {
        self.present_hosts().filter(|host| host.role == Role::ControlPlane)
    }

    /// Hosts that belong to the cluster, those on their way out not included.
    pub fn present_hosts(&self) -> impl Iterator<Item = &Host> {
        self.spec.hosts.iter().filter(|host| host.state.is_present())
    }

    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.spec.hosts.iter().find(|host| host.name == name)
    }

    #[must_use]
    pub fn pod_cidr(&self) -> crate::Cidr {
        self.spec.network.pod_cidr.parse().expect("checked when the inventory was read")
    }

    #[must_use]
    pub fn service_cidr(&self) -> crate::Cidr {
        self.spec.network.service_cidr.parse().expect("checked when the inventory was read")
    }

    /// Address of the cluster's DNS Service: the tenth of the Service network, as everywhere.
    #[must_use]
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        self.service_cidr().nth(10)
    }

    /// Address of `default/kubernetes`: the first of the Service network.
    #[must_use]
    pub fn kubernetes_service_ip(&self) -> Ipv4Addr {
        self.service_cidr().nth(1)
    }

    /// Names of all hosts, those of machines that do not exist yet included.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        match &self.spec.machines {
            Some(machines) => machines.groups.iter().flat_map(Group::machine_names).collect(),
            None => self.spec.hosts.iter().map(|host| host.name.clone()).collect(),
        }
    }

    /// Settings of a host's node program: its own over those of all hosts, maps merged key by key.
    #[must_use]
    pub fn kubelet_of(&self, host: &Host) -> Kubelet {
        let (all, own) = (&self.spec.kubelet, &host.kubelet);
        let merged = |all: &BTreeMap<String, String>, own: &BTreeMap<String, String>| {
            let mut merged = all.clone();
            merged.extend(own.clone());
            merged
        };
        Kubelet {
            max_pods: own.max_pods.or(all.max_pods),
            system_reserved: merged(&all.system_reserved, &own.system_reserved),
            extra_args: merged(&all.extra_args, &own.extra_args),
        }
    }
}

fn selects(hosts: &[String], roles: &[Role], host: &Host) -> bool {
    (hosts.is_empty() || hosts.contains(&host.name)) && (roles.is_empty() || roles.contains(&host.role))
}

impl Hook {
    /// Whether it is for this host.
    #[must_use]
    pub fn is_for(&self, host: &Host) -> bool {
        selects(&self.hosts, &self.roles, host)
    }
}

impl HostFile {
    /// Whether it belongs on this host.
    #[must_use]
    pub fn is_for(&self, host: &Host) -> bool {
        selects(&self.hosts, &self.roles, host)
    }

    /// Its permissions as a number.
    #[must_use]
    pub fn mode_bits(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).expect("checked when the inventory was read")
    }
}
