//! The inventory's types: names, defaults and documentation of every field. The JSON schema is derived from them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster: the machines and what runs on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inventory {
    /// Always `naru.dev/v1alpha1`.
    pub api_version: String,
    /// Always `Cluster`.
    pub kind: String,
    pub metadata: Metadata,
    pub spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The cluster's name: lower-case letters, digits and dashes. It appears in kubeconfigs and journals.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The version of Naru's programs on the hosts. Default: that of this program.
    #[serde(default = "own_version")]
    pub version: String,
    #[serde(default)]
    pub control_plane: ControlPlane,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub runtime: Runtime,
    #[serde(default)]
    pub ssh: Ssh,
    /// Machines that exist already. Either these or `machines`.
    #[serde(default)]
    pub hosts: Vec<Host>,
    /// Machines that a provider makes. Either these or `hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Machines>,
}

fn own_version() -> String {
    crate::VERSION.to_owned()
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlane {
    /// Where cluster state is kept. Default: embedded in the control-plane program.
    #[serde(default)]
    pub store: Store,
    /// A name or address, with port, under which clients reach the API besides the hosts' own addresses. It is put
    /// into the API server's certificate and into kubeconfigs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Store {
    #[default]
    Embedded,
    Etcd,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// Addresses of pods; each node gets a /24 of it. Default: 10.244.0.0/16.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// Addresses of Services. Default: 10.96.0.0/16.
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: String,
    /// Who connects pods. Default: naru.
    pub plugin: Plugin,
    /// The cluster's DNS domain. Default: cluster.local.
    pub domain: String,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            pod_cidr: "10.244.0.0/16".to_owned(),
            service_cidr: "10.96.0.0/16".to_owned(),
            plugin: Plugin::Naru,
            domain: "cluster.local".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Plugin {
    #[default]
    Naru,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Runtime {
    /// The container runtime. Default: containerd.
    #[serde(rename = "type")]
    pub runtime_type: RuntimeType,
    /// Where it comes from. Default: the distribution's package.
    pub source: RuntimeSource,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeType {
    #[default]
    Containerd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeSource {
    #[default]
    Package,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ssh {
    /// The login on every host; must be root or may use sudo without a password. Default: root.
    pub user: String,
    /// Default: 22.
    pub port: u16,
    /// The private key, `~/` allowed. Default: the SSH agent, then the usual files under ~/.ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// A host through which the others are reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Bastion>,
}

impl Default for Ssh {
    fn default() -> Self {
        Self { user: "root".to_owned(), port: 22, key_path: None, bastion: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bastion {
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// The node's name in the cluster.
    pub name: String,
    pub role: Role,
    /// The IPv4 address by which `naru` and the other hosts reach it.
    pub address: String,
    /// Default: `spec.ssh.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Default: `spec.ssh.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The private key that logs in. Default: `spec.ssh.keyPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// The host's public key as in known_hosts (`ssh-ed25519 AAAA…`). Default: looked up in known_hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// Labels of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// How the host is reached. Default: ssh.
    #[serde(default)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Worker,
    ControlPlane,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    #[default]
    Ssh,
    /// This very machine, without SSH.
    Local,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machines {
    /// Who makes them. `local`: systemd-nspawn machines on this computer.
    pub provider: Provider,
    /// What they boot. Default: debian-13.
    #[serde(default)]
    pub image: MachineImage,
    /// Whether machines come with the container runtime installed, so that a cluster is up sooner. Default: true.
    #[serde(default = "prepared")]
    pub prepared: bool,
    pub groups: Vec<Group>,
}

fn prepared() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    Local,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineImage {
    #[serde(rename = "debian-12")]
    Debian12,
    #[default]
    #[serde(rename = "debian-13")]
    Debian13,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Machines are called by the group's name and a number: `w1`, `w2`…
    pub name: String,
    pub role: Role,
    pub count: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

impl Group {
    /// Names of this group's machines.
    pub fn machine_names(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| format!("{}{number}", self.name))
    }
}

impl Inventory {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    pub fn control_planes(&self) -> impl Iterator<Item = &Host> {
        self.spec.hosts.iter().filter(|host| host.role == Role::ControlPlane)
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
}
