//! The inventory's types: names, defaults and documentation of every field. The JSON schema is derived from them.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A cluster: the machines and what runs on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inventory {
    /// Always `naru.dev/v1alpha1`.
    #[schemars(extend("const" = crate::API_VERSION))]
    pub api_version: String,
    /// Always `Cluster`.
    #[schemars(extend("const" = crate::KIND))]
    pub kind: String,
    /// What the cluster is called.
    pub metadata: Metadata,
    /// The machines and what runs on them.
    pub spec: Spec,
    /// The other documents of the file: Kubernetes objects that are applied once the cluster stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub manifests: Vec<serde_json::Value>,
}

/// What the cluster is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The cluster's name: lower-case letters, digits and dashes. It appears in kubeconfigs and journals.
    #[schemars(regex(pattern = DNS_LABEL), extend("examples" = ["prod"]))]
    pub name: String,
}

/// The machines and what runs on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The version of Naru's programs on the hosts. Default: that of this program.
    #[serde(default = "own_version")]
    #[schemars(regex(pattern = r"^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$"))]
    pub version: String,
    /// The API server and what keeps the cluster's state.
    #[serde(default)]
    pub control_plane: ControlPlane,
    /// Addresses of pods and Services, and who connects them.
    #[serde(default)]
    pub network: Network,
    /// The container runtime and where images come from.
    #[serde(default)]
    pub runtime: Runtime,
    /// How hosts are reached; what a host says itself wins.
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

/// A lower-case DNS label.
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

fn number_or_share(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "minimum": 1, "pattern": "^[1-9][0-9]*%?$" })
}

fn reserved(_: &mut SchemaGenerator) -> Schema {
    let quantity = |what: &str| json!({ "type": ["string", "number"], "description": what, "minimum": 0 });
    json_schema!({
        "type": "object",
        "properties": {
            "cpu": quantity("Processor time, as `200m`. Default: nothing."),
            "memory": quantity("Memory, as `512Mi`. Default: nothing."),
            "ephemeral-storage": quantity("Disk, as `1Gi`. Default: nothing."),
        },
        "additionalProperties": false,
    })
}

fn own_version() -> String {
    crate::VERSION.to_owned()
}

/// The API server and what keeps the cluster's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlane {
    /// Where cluster state is kept. Default: embedded.
    #[serde(default)]
    pub store: Store,
    /// A name or address, with port, under which clients reach the API besides the hosts' own addresses. It is put
    /// into the API server's certificate and into kubeconfigs. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["api.example.com:6443"]))]
    pub endpoint: Option<String>,
    /// Settings of the API server.
    #[serde(default)]
    pub api_server: ApiServer,
}

/// Settings of the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiServer {
    /// Flags of the API server by name without dashes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::extra_args::api_server_schema", extend("examples" = [{"event-ttl": "2h"}]))]
    pub extra_args: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Store {
    /// In the control-plane program itself; one control plane.
    #[default]
    Embedded,
    /// In etcd on the control-plane hosts; not supported yet.
    Etcd,
}

/// Addresses of pods and Services, and who connects them.
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
    /// Naru's own: a bridge per node and routes between nodes.
    #[default]
    Naru,
}

/// The container runtime and where images come from.
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
    #[schemars(extend("examples" = [[{"host": "docker.io", "mirrors": ["https://mirror.example.com"]}]]))]
    pub registries: Vec<Registry>,
}

/// How images of one registry are pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Its name as in image references.
    #[schemars(extend("examples" = ["docker.io", "registry.example.com:5000"]))]
    pub host: String,
    /// URLs that are asked first, in this order; then the registry itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^https?://")), extend("examples" = [["https://mirror.example.com"]]))]
    pub mirrors: Vec<String>,
    /// Whether TLS certificates go unchecked. Default: false.
    #[serde(default)]
    pub skip_tls_verification: bool,
    /// Who pulls. Default: nobody, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password of `username`, as a reference. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Text that must not be written down here: `${NAME}` is taken from the environment, `file:PATH` from a file beside
/// the inventory, at the moment that it is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = crate::secret::PATTERN, "examples" = ["${REGISTRY_PASSWORD}", "file:registry.password"]))]
pub struct Secret(pub String);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeType {
    /// containerd, by its CRI.
    #[default]
    Containerd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeSource {
    /// The distribution's package.
    #[default]
    Package,
}

/// How hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ssh {
    /// The login on every host: root, or one that may become root. Default: root, or what `~/.ssh/config` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["admin"]))]
    pub user: Option<String>,
    /// The port of sshd. Default: 22, or what `~/.ssh/config` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The private key, `~/` allowed; its certificate is looked for beside it as `…-cert.pub`. Default: the SSH agent,
    /// then what `~/.ssh/config` says, then the usual files under ~/.ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["~/.ssh/id_ed25519"]))]
    pub key_path: Option<String>,
    /// OpenSSH's configuration of the operator. Default: `~/.ssh/config` if there; `none` reads none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    /// Files of known host keys. Default: `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known_hosts: Vec<String>,
    /// A host through which the others are reached. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{"address": "203.0.113.7", "user": "admin"}]))]
    pub bastion: Option<Bastion>,
    /// How a login that is not root becomes root. Default: sudo or doas, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{"method": "sudo", "password": "${SUDO_PASSWORD}"}]))]
    pub r#become: Option<Become>,
    /// Seconds that opening a connection may take. Default: 10.
    #[schemars(range(min = 1, max = 300))]
    pub connect_timeout_seconds: u32,
    /// Seconds of silence after which a sign of life is asked for; three unanswered ones end the connection.
    /// Default: 15.
    #[schemars(range(min = 1, max = 3600))]
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

/// A host through which others are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bastion {
    /// Its name or IPv4 address.
    #[schemars(extend("examples" = ["203.0.113.7"]))]
    pub address: String,
    /// The login there. Default: `spec.ssh.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port of its sshd. Default: 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The private key that logs in there. Default: `spec.ssh.keyPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// Its public key as in known_hosts (`ssh-ed25519 AAAA…`), or the fingerprint (`SHA256:…`).
    /// Default: looked up in known_hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// A bastion before this one; four at most in a row. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Box<Bastion>>,
}

/// How a login that is not root becomes root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Become {
    /// Which program. Default: sudo where it is, else doas.
    pub method: BecomeMethod,
    /// The login's password, as a reference; given on the command's standard input, never as an argument. Default:
    /// none is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BecomeMethod {
    /// sudo where it is, else doas.
    #[default]
    Auto,
    /// sudo.
    Sudo,
    /// doas.
    Doas,
}

/// Settings of the node program. What is not given here keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubelet {
    /// Pods that may run on a node. Default: 110.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 253))]
    pub max_pods: Option<u32>,
    /// What is kept back for the system, as quantities. Default: nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "reserved", extend("examples" = [{"cpu": "200m", "memory": "512Mi"}]))]
    pub system_reserved: BTreeMap<String, String>,
    /// Flags of the kubelet by name without dashes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        schema_with = "crate::extra_args::kubelet_schema",
        extend("examples" = [{"container-log-max-size": "50Mi"}])
    )]
    pub extra_args: BTreeMap<String, String>,
}

/// How hosts reach the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// The proxy's URL for http. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"), extend("examples" = ["http://proxy.example.com:3128"]))]
    pub http: Option<String>,
    /// The proxy's URL for https. Default: that of `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"))]
    pub https: Option<String>,
    /// Reached without it: names, addresses and networks. The cluster's own networks and hosts always are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [[".example.com", "192.168.0.0/16"]]))]
    pub no_proxy: Vec<String>,
}

/// How changes that disturb pods go over running nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Workers that are changed at the same time: a number, or a share as `10%`. Default: 1.
    #[schemars(schema_with = "number_or_share", extend("examples" = ["10%"]))]
    pub max_unavailable: String,
    /// Workers that may fail before no further one is begun. Default: 0.
    pub max_failures: u32,
    /// Seconds that a drain may take before the host is left as it is. Default: 300.
    #[schemars(range(min = 1, max = 86400))]
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
    #[schemars(regex(pattern = DNS_LABEL), extend("examples" = ["drain-load-balancer"]))]
    pub name: String,
    /// The moment.
    pub when: HookMoment,
    /// Where it runs. Default: host; before a connection there is only the operator's machine.
    #[serde(default)]
    pub on: HookPlace,
    /// Only on or for these hosts. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Only on or for hosts of these roles. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Given to `sh -c`, as root on hosts. NARU_CLUSTER, NARU_HOST, NARU_ADDRESS and NARU_ROLE tell for which host.
    #[schemars(length(min = 1), extend("examples" = ["systemctl is-active chrony"]))]
    pub command: String,
    /// Seconds after which the command is ended and has failed. Default: 60.
    #[serde(default = "hook_seconds")]
    #[schemars(range(min = 1, max = 3600))]
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
    /// Before the first connection to the host.
    BeforeConnect,
    /// Once the host answers.
    AfterConnect,
    /// Before the host's first change.
    BeforeApply,
    /// After the host's last change.
    AfterApply,
    /// Before the host gets another version of Naru's programs.
    BeforeUpgrade,
    /// Once it has it.
    AfterUpgrade,
    /// Before what Naru put on the host is removed.
    BeforeReset,
    /// Once it is removed.
    AfterReset,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookPlace {
    /// The host that it is for.
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
    #[schemars(regex(pattern = "^/"), extend("examples" = ["/etc/motd"]))]
    pub path: String,
    /// Its text. Default: that of `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A text file of at most 1 MiB, its path relative to the inventory's folder; read when the inventory is read.
    /// Default: none; `content` has the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Permissions, in octal. Default: 0644.
    #[serde(default = "file_mode")]
    #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
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

/// A machine that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// The node's name in the cluster.
    #[schemars(regex(pattern = DNS_LABEL), extend("examples" = ["w1"]))]
    pub name: String,
    /// What it is in the cluster.
    pub role: Role,
    /// The IPv4 address by which `naru` and the other hosts reach it.
    #[schemars(extend("format" = "ipv4", "examples" = ["10.0.0.21"]))]
    pub address: String,
    /// The login there. Default: `spec.ssh.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port of its sshd. Default: `spec.ssh.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The private key that logs in. Default: `spec.ssh.keyPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// The host's public key as in known_hosts (`ssh-ed25519 AAAA…`), or its fingerprint (`SHA256:…`).
    /// Default: looked up in known_hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// A host through which this one is reached. Default: `spec.ssh.bastion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bastion: Option<Bastion>,
    /// How the login becomes root here. Default: `spec.ssh.become`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#become: Option<Become>,
    /// Whether the host belongs to the cluster. `absent`: it is drained, taken out of the cluster and cleaned of all
    /// that Naru put there; then this entry can go. Default: present.
    #[serde(default, skip_serializing_if = "HostState::is_present")]
    pub state: HostState,
    /// Labels of the node. Changes restart nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{"disk": "ssd"}]))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the node. Changes restart nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Taints of the node. Changes restart nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [[{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]]))]
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
    /// The host belongs to the cluster.
    #[default]
    Present,
    /// The host is taken out of the cluster and cleaned.
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
    /// It runs pods.
    Worker,
    /// It runs the API server, the scheduler and the controllers.
    ControlPlane,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// By SSH.
    #[default]
    Ssh,
    /// This very machine, without SSH.
    Local,
}

/// What keeps pods away that do not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// The taint's name, as a label's.
    #[schemars(extend("examples" = ["gpu"]))]
    pub key: String,
    /// The taint's value. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What happens to pods that do not tolerate it.
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    /// No new ones come.
    NoSchedule,
    /// New ones come only where there is no other place.
    PreferNoSchedule,
    /// No new ones come, and those that run are ended.
    NoExecute,
}

/// Machines that a provider makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machines {
    /// Who makes them.
    pub provider: Provider,
    /// What they boot. Default: debian-13.
    #[serde(default)]
    pub image: MachineImage,
    /// Whether machines come with the container runtime installed, so that a cluster is up sooner. Default: true.
    #[serde(default = "prepared")]
    pub prepared: bool,
    /// Machines of a kind.
    #[schemars(extend("examples" = [[{"name": "w", "role": "worker", "count": 2}]]))]
    pub groups: Vec<Group>,
}

fn prepared() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// systemd-nspawn machines on this computer.
    Local,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineImage {
    /// Debian 12.
    #[serde(rename = "debian-12")]
    Debian12,
    /// Debian 13.
    #[default]
    #[serde(rename = "debian-13")]
    Debian13,
}

/// Machines of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Machines are called by the group's name and a number: `w1`, `w2`…
    #[schemars(regex(pattern = DNS_LABEL), extend("examples" = ["w"]))]
    pub name: String,
    /// What they are in the cluster.
    pub role: Role,
    /// How many there are.
    #[schemars(range(min = 1, max = 64))]
    pub count: u32,
    /// Labels of their nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of their nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}
