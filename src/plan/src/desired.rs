//! What a host should look like: its whole state as resources, in the order in which they are applied, each belonging
//! to a stage of the host's way into the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use naru_agent::Facts;
use naru_inventory::{Effect, Host, Inventory, Role, Taint};
use naru_resources::{Authority, Certificate, Content, Resource, Usage};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::labels::{node_labels, node_taints};
use crate::{Artifact, templates};

pub const AUTHORITY_CERTIFICATE: &str = "/etc/naru/pki/ca.crt";
pub const AUTHORITY_KEY: &str = "/etc/naru/pki/ca.key";
pub const NODE_UNIT: &str = "naru-node.service";
pub const CONTROL_PLANE_UNIT: &str = "naru-control-plane.service";

const NODE_PROGRAM: &str = "/opt/naru/bin/naru-node";
const CONTROL_PLANE_PROGRAM: &str = "/opt/naru/bin/naru-control-plane";
const NODE_CONFIG: &str = "/etc/naru/node.yaml";
const CONTROL_PLANE_CONFIG: &str = "/etc/naru/control-plane.yaml";
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
const PAUSE_IMAGE: &str = "naru.dev/pause:1";
const API_PORT: u16 = 6443;
const AUTHORITY_DAYS: u32 = 3_650;
const CERTIFICATE_DAYS: u32 = 365;
/// What the kernel should do before pods run here.
const KERNEL_PARAMETERS: [(&str, &str); 3] = [
    ("net.ipv4.ip_forward", "1"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.inotify.max_user_watches", "524288"),
];

const SECONDS_PER_DAY: u64 = 86_400;

/// The programs that are at hand, by version (`v0.1.0`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    pub versions: BTreeMap<String, ProgramVersion>,
}

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramVersion {
    pub node: Artifact,
    pub control_plane: Artifact,
}

impl Programs {
    /// The programs of one version only.
    #[must_use]
    pub fn of(version: &str, programs: ProgramVersion) -> Self {
        Self { versions: BTreeMap::from([(version.to_owned(), programs)]) }
    }
}

/// The stages of a host, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Directories and kernel settings.
    Prepare,
    /// Container runtime, CNI plugins, pause image.
    Runtime,
    /// Naru's own programs.
    Programs,
    /// The cluster's authority and the service-account keys; only on the control plane.
    Identity,
    Certificates,
    ControlPlane,
    Node,
}

impl Stage {
    pub const ALL: [Self; 7] = [
        Self::Prepare,
        Self::Runtime,
        Self::Programs,
        Self::Identity,
        Self::Certificates,
        Self::ControlPlane,
        Self::Node,
    ];

    /// Last part of a step's id.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Runtime => "runtime",
            Self::Programs => "programs",
            Self::Identity => "identity",
            Self::Certificates => "certificates",
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        }
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Prepare => "prepare folders and kernel",
            Self::Runtime => "set up the container runtime",
            Self::Programs => "install Naru's programs",
            Self::Identity => "make the cluster's authority and keys",
            Self::Certificates => "issue certificates",
            Self::ControlPlane => "run the control plane",
            Self::Node => "run the node",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub stage: Stage,
    pub resource: Resource,
}

/// Everything that a host should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub wanted: Vec<Wanted>,
}

impl Desired {
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        self.wanted.iter().map(|wanted| wanted.resource.clone()).collect()
    }

    fn add(&mut self, stage: Stage, resource: Resource) {
        self.wanted.push(Wanted { stage, resource });
    }

    fn directory(&mut self, stage: Stage, path: &str, mode: u32) {
        self.add(stage, Resource::Directory { path: path.to_owned(), mode });
    }

    fn file(&mut self, stage: Stage, path: &str, mode: u32, text: String) {
        self.add(stage, Resource::File { path: path.to_owned(), mode, content: Content { text, sensitive: false } });
    }

    fn unit(&mut self, stage: Stage, name: &str, text: Option<String>, restart_on: &[&str]) {
        self.add(
            stage,
            Resource::Unit {
                name: name.to_owned(),
                content: text.map(|text| Content { text, sensitive: false }),
                enabled: true,
                restart_on: restart_on.iter().map(|path| (*path).to_owned()).collect(),
            },
        );
    }
}

/// The whole desired state of a host.
///
/// # Errors
/// Why a host with these facts cannot be part of the cluster, as a sentence.
pub fn desired(inventory: &Inventory, host: &Host, facts: &Facts, programs: &Programs) -> Result<Desired, String> {
    supported(facts)?;
    let version = &inventory.spec.version;
    let programs =
        programs.versions.get(version).ok_or_else(|| format!("the programs of {version} are not at hand"))?;
    let mut desired = Desired::default();
    prepare(host, &mut desired);
    runtime(facts, &mut desired);
    desired.add(Stage::Programs, binary(NODE_PROGRAM, &programs.node));
    if host.role == Role::ControlPlane {
        desired.add(Stage::Programs, binary(CONTROL_PLANE_PROGRAM, &programs.control_plane));
        identity(inventory, &mut desired);
    }
    for certificate in certificates(inventory, host) {
        desired.add(Stage::Certificates, Resource::Certificate(certificate));
    }
    if host.role == Role::ControlPlane {
        control_plane(inventory, host, &mut desired);
    }
    node(inventory, host, facts, &mut desired);
    Ok(desired)
}

fn supported(facts: &Facts) -> Result<(), String> {
    if !matches!(facts.os_id.as_str(), "debian" | "ubuntu") {
        let name = if facts.os_pretty_name.is_empty() { "an unknown system" } else { &facts.os_pretty_name };
        return Err(format!("it runs {name}; supported are Debian 12 and 13 and Ubuntu"));
    }
    if facts.architecture != std::env::consts::ARCH {
        let ours = std::env::consts::ARCH;
        return Err(format!("its processor is {}, the programs at hand are for {ours}", facts.architecture));
    }
    if facts.init != "systemd" {
        return Err(format!("its init is {:?}; services need systemd", facts.init));
    }
    Ok(())
}

fn prepare(host: &Host, desired: &mut Desired) {
    let stage = Stage::Prepare;
    for path in ["/etc/naru", "/etc/naru/pki", "/opt/naru", "/opt/naru/bin", "/var/lib/naru"] {
        desired.directory(stage, path, 0o755);
    }
    if host.role == Role::ControlPlane {
        desired.directory(stage, "/var/lib/naru/control-plane", 0o700);
    }
    for (key, value) in KERNEL_PARAMETERS {
        desired.add(stage, Resource::Sysctl { key: key.to_owned(), value: value.to_owned() });
    }
    desired.add(stage, Resource::Swap { enabled: false });
}

fn runtime(facts: &Facts, desired: &mut Desired) {
    let stage = Stage::Runtime;
    // Packages first: dpkg asks no questions about a configuration file that it brings itself.
    let names = ["containerd", "containernetworking-plugins", "nftables", "runc"].map(str::to_owned).to_vec();
    desired.add(stage, Resource::Packages { names });
    desired.directory(stage, "/etc/containerd", 0o755);
    desired.directory(stage, "/etc/cni/net.d", 0o755);
    let values = json!({
        "pause_image": PAUSE_IMAGE,
        "restrict_oom_score_adj": !facts.can_lower_oom_score,
        "cni_bin_directory": "/usr/lib/cni",
    });
    desired.file(stage, CONTAINERD_CONFIG, 0o644, templates::render("containerd.toml", &values));
    desired.unit(stage, "containerd.service", None, &[CONTAINERD_CONFIG]);
    desired.add(stage, Resource::PauseImage { reference: PAUSE_IMAGE.to_owned() });
}

fn binary(path: &str, artifact: &Artifact) -> Resource {
    Resource::Binary { path: path.to_owned(), sha256: artifact.sha256.clone() }
}

fn identity(inventory: &Inventory, desired: &mut Desired) {
    let authority = Authority {
        certificate_path: AUTHORITY_CERTIFICATE.to_owned(),
        key_path: AUTHORITY_KEY.to_owned(),
        common_name: format!("naru-ca-{}", inventory.name()),
        days: AUTHORITY_DAYS,
    };
    desired.add(Stage::Identity, Resource::Authority(authority));
    desired.add(
        Stage::Identity,
        Resource::KeyPair {
            private_path: "/etc/naru/pki/service-account.key".to_owned(),
            public_path: "/etc/naru/pki/service-account.pub".to_owned(),
        },
    );
}

fn certificates(inventory: &Inventory, host: &Host) -> Vec<Certificate> {
    let certificate =
        |file: &str, common_name: &str, organization: Option<&str>, names: Vec<String>, usages| Certificate {
            certificate_path: format!("/etc/naru/pki/{file}.crt"),
            key_path: format!("/etc/naru/pki/{file}.key"),
            authority_path: AUTHORITY_CERTIFICATE.to_owned(),
            common_name: common_name.to_owned(),
            organizations: organization.map(str::to_owned).into_iter().collect(),
            alternative_names: names,
            usages,
            days: CERTIFICATE_DAYS,
            validity_seconds: None,
        };
    let kubelet_name = format!("system:node:{}", host.name);
    let kubelet_names = vec![host.name.clone(), host.address.clone()];
    let both = vec![Usage::ServerAuth, Usage::ClientAuth];
    let mut all = vec![certificate("kubelet", &kubelet_name, Some("system:nodes"), kubelet_names, both)];
    if host.role == Role::ControlPlane {
        let names = api_names(inventory, host);
        all.push(certificate("apiserver", "kube-apiserver", None, names, vec![Usage::ServerAuth]));
        let client = vec![Usage::ClientAuth];
        let name = "kube-apiserver-kubelet-client";
        all.push(certificate("apiserver-kubelet-client", name, Some("system:masters"), Vec::new(), client));
    }
    all
}

/// Names and addresses under which clients reach the API server of a host.
fn api_names(inventory: &Inventory, host: &Host) -> Vec<String> {
    let domain = &inventory.spec.network.domain;
    let mut names: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(str::to_owned).to_vec();
    names.push(format!("kubernetes.default.svc.{domain}"));
    names.push(host.name.clone());
    if let Some((name, _)) = inventory.spec.control_plane.endpoint.as_deref().and_then(|text| text.rsplit_once(':')) {
        names.push(name.to_owned());
    }
    names.extend(["127.0.0.1".to_owned(), host.address.clone(), inventory.kubernetes_service_ip().to_string()]);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The certificate of an administrator who asks for a kubeconfig; its key is made by `naru` itself.
#[must_use]
pub fn administrator_certificate(validity: Duration) -> Certificate {
    Certificate {
        certificate_path: String::new(),
        key_path: String::new(),
        authority_path: AUTHORITY_CERTIFICATE.to_owned(),
        common_name: "naru:admin".to_owned(),
        organizations: vec!["system:masters".to_owned()],
        alternative_names: Vec::new(),
        usages: vec![Usage::ClientAuth],
        days: u32::try_from(validity.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(1),
        validity_seconds: Some(validity.as_secs()),
    }
}

#[derive(Serialize)]
struct ClusterValues {
    name: String,
    address: String,
    control_planes: Vec<String>,
    cluster_domain: String,
    dns_service_ip: String,
    pod_cidr: String,
    service_cidr: String,
    pause_image: &'static str,
    labels: BTreeMap<String, String>,
    taints: Vec<TaintValues>,
}

/// Every field, the empty ones too: a template asks for all of them.
#[derive(Serialize)]
struct TaintValues {
    key: String,
    value: String,
    effect: Effect,
}

impl From<Taint> for TaintValues {
    fn from(taint: Taint) -> Self {
        Self { key: taint.key, value: taint.value, effect: taint.effect }
    }
}

fn values(inventory: &Inventory, host: &Host) -> ClusterValues {
    let network = &inventory.spec.network;
    ClusterValues {
        name: host.name.clone(),
        address: host.address.clone(),
        control_planes: inventory.control_planes().map(|host| format!("{}:{API_PORT}", host.address)).collect(),
        cluster_domain: network.domain.clone(),
        dns_service_ip: inventory.dns_service_ip().to_string(),
        pod_cidr: network.pod_cidr.clone(),
        service_cidr: network.service_cidr.clone(),
        pause_image: PAUSE_IMAGE,
        labels: node_labels(host),
        taints: node_taints(host).into_iter().map(TaintValues::from).collect(),
    }
}

fn control_plane(inventory: &Inventory, host: &Host, desired: &mut Desired) {
    let stage = Stage::ControlPlane;
    let config = templates::render("control-plane.yaml", &values(inventory, host));
    desired.file(stage, CONTROL_PLANE_CONFIG, 0o644, config);
    let unit = json!({"program": CONTROL_PLANE_PROGRAM, "config": CONTROL_PLANE_CONFIG});
    let text = templates::render("naru-control-plane.service", &unit);
    let restart_on = [
        CONTROL_PLANE_PROGRAM,
        CONTROL_PLANE_CONFIG,
        AUTHORITY_CERTIFICATE,
        "/etc/naru/pki/apiserver.crt",
        "/etc/naru/pki/apiserver-kubelet-client.crt",
        "/etc/naru/pki/service-account.pub",
    ];
    desired.unit(stage, CONTROL_PLANE_UNIT, Some(text), &restart_on);
}

/// Labels and taints are read once, at registration; a change of them must not restart the node. So the unit does not
/// look at its configuration file but carries a hash of everything else in it.
fn node(inventory: &Inventory, host: &Host, facts: &Facts, desired: &mut Desired) {
    let stage = Stage::Node;
    let values = values(inventory, host);
    desired.file(stage, NODE_CONFIG, 0o644, templates::render("node.yaml", &values));
    let plain = ClusterValues { labels: BTreeMap::new(), taints: Vec::new(), ..values };
    let settings = hex::encode(Sha256::digest(templates::render("node.yaml", &plain)));
    let unit = json!({
        "program": NODE_PROGRAM,
        "config": NODE_CONFIG,
        "settings": &settings[..16],
        "oom_score_adjust": if facts.can_lower_oom_score { -999 } else { 0 },
    });
    let text = templates::render("naru-node.service", &unit);
    let restart_on = [NODE_PROGRAM, AUTHORITY_CERTIFICATE, "/etc/naru/pki/kubelet.crt"];
    desired.unit(stage, NODE_UNIT, Some(text), &restart_on);
}
