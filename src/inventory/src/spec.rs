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
    /// The other documents of the file: Kubernetes objects that are applied once the cluster stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub manifests: Vec<serde_json::Value>,
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
    /// Settings of the node program on every host; a host's own win.
    #[serde(default)]
    pub kubelet: Kubelet,
    /// How hosts reach the internet: for packages and container images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// How changes go over running nodes.
    #[serde(default)]
    pub rollout: Rollout,
    /// Commands that run at certain moments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Files of yours that are kept on hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<HostFile>,
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
    /// Settings of the API server.
    #[serde(default)]
    pub api_server: ApiServer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiServer {
    /// Flags of the API server by name without dashes, as `event-ttl: 2h`. Which ones there are:
    /// docs/reference/inventory.md.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_args: BTreeMap<String, String>,
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
    /// Registries that need a mirror, credentials or an authority of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<Registry>,
}

/// How images of one registry are pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Its name as in image references: `docker.io`, `registry.example.com:5000`.
    pub host: String,
    /// URLs that are asked first, in this order; then the registry itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Whether TLS certificates go unchecked. Default: false.
    #[serde(default)]
    pub skip_tls_verification: bool,
    /// Who pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Text that must not be written down here: `${NAME}` is taken from the environment, `file:PATH` from a file beside
/// the inventory, at the moment that it is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

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
    /// The login on every host: root, or one that may become root. Default: root, or what `~/.ssh/config` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Default: 22, or what `~/.ssh/config` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The private key, `~/` allowed; its certificate is looked for beside it as `…-cert.pub`. Default: the SSH agent,
    /// then what `~/.ssh/config` says, then the usual files under ~/.ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// OpenSSH's configuration of the operator. Default: `~/.ssh/config` if there; `none` reads none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    /// Files of known host keys. Default: `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known_hosts: Vec<String>,
    /// A host through which the others are reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Bastion>,
    /// How a login that is not root becomes root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#become: Option<Become>,
    /// Seconds that opening a connection may take. Default: 10.
    pub connect_timeout_seconds: u32,
    /// Seconds of silence after which a sign of life is asked for; three unanswered ones end the connection. Default: 15.
    pub keepalive_seconds: u32,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            user: None,
            port: None,
            key_path: None,
            config_path: None,
            known_hosts: Vec::new(),
            bastion: None,
            r#become: None,
            connect_timeout_seconds: 10,
            keepalive_seconds: 15,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bastion {
    pub address: String,
    /// Default: `spec.ssh.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Default: 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Default: `spec.ssh.keyPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// Default: looked up in known_hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// A bastion before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Box<Bastion>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Become {
    /// Default: sudo where it is, else doas.
    pub method: BecomeMethod,
    /// Asked of the login; given on the command's standard input, never as an argument. Default: none is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BecomeMethod {
    #[default]
    Auto,
    Sudo,
    Doas,
}

/// Settings of the node program. What is not given here keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubelet {
    /// Pods that may run on a node. Default: 110.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// What is kept back for the system, as quantities: `{cpu: 200m, memory: 512Mi}`. Default: nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub system_reserved: BTreeMap<String, String>,
    /// Flags of the kubelet by name without dashes. Which ones there are: docs/reference/inventory.md.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_args: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// For http: `http://proxy.example.com:3128`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// For https. Default: that of `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// Reached without it: names, addresses and networks. The cluster's own networks and hosts always are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
}

/// How changes that disturb pods go over running nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Workers that are changed at the same time: a number, or a share as `10%`. Default: 1.
    pub max_unavailable: String,
    /// Workers that may fail before no further one is begun. Default: 0.
    pub max_failures: u32,
    /// Seconds that a drain may take before the host is left as it is. Default: 300.
    pub drain_timeout_seconds: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { max_unavailable: "1".to_owned(), max_failures: 0, drain_timeout_seconds: 300 }
    }
}

/// A command at a certain moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// What the plan calls it.
    pub name: String,
    pub when: HookMoment,
    /// Where it runs. Default: on hosts; before a connection there is only the operator's machine.
    #[serde(default)]
    pub on: HookPlace,
    /// Only on or for these hosts. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Only on or for hosts of these roles. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Given to `sh -c`, as root on hosts. NARU_CLUSTER, NARU_HOST, NARU_ADDRESS and NARU_ROLE tell for which host.
    pub command: String,
    /// Default: 60.
    #[serde(default = "hook_seconds")]
    pub timeout_seconds: u32,
}

fn hook_seconds() -> u32 {
    60
}

/// When a hook runs: only if the run does what is named at all; a run with nothing to do runs none but those of the
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookMoment {
    BeforeConnect,
    AfterConnect,
    BeforeApply,
    AfterApply,
    BeforeUpgrade,
    AfterUpgrade,
    BeforeReset,
    AfterReset,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookPlace {
    #[default]
    Host,
    /// The machine that `naru` runs on; once for each host that it is for.
    Operator,
}

/// A text file of yours on hosts: either `content` or `source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostFile {
    /// Where it is kept on the host.
    pub path: String,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A text file beside the inventory, of at most 1 MiB; read when the inventory is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Permissions, in octal. Default: 0644.
    #[serde(default = "file_mode")]
    pub mode: String,
    /// Only on these hosts. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Only on hosts of these roles. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
}

fn file_mode() -> String {
    "0644".to_owned()
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
    /// Default: `spec.ssh.bastion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Bastion>,
    /// Default: `spec.ssh.become`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#become: Option<Become>,
    /// Whether the host belongs to the cluster. `absent`: it is drained, taken out of the cluster and cleaned of all
    /// that Naru put there; then this entry can go. Default: present.
    #[serde(default, skip_serializing_if = "HostState::is_present")]
    pub state: HostState,
    /// Labels of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Taints of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Settings of this host's node program, over those of `spec.kubelet`.
    #[serde(default, skip_serializing_if = "Kubelet::is_default")]
    pub kubelet: Kubelet,
    /// How the host is reached. Default: ssh.
    #[serde(default)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HostState {
    #[default]
    Present,
    Absent,
}

impl HostState {
    #[must_use]
    pub fn is_present(&self) -> bool {
        *self == Self::Present
    }
}

impl Kubelet {
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
}
