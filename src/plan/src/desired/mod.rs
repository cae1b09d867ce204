//! What a host should look like: its whole state as resources, in the order in which they are applied, each belonging
//! to a stage of the host's way into the cluster.

mod etcd;
mod files;
mod identity;
mod programs;
mod runtime;

use std::collections::BTreeMap;

use naru_agent::Facts;
use naru_inventory::{Host, Inventory, Role, Store};
use naru_resources::{Content, Resource};

use crate::Artifact;

pub(crate) use etcd::join_file;
pub use etcd::{ETCD_AUTHORITY_CERTIFICATE, ETCD_AUTHORITY_KEY, ETCD_JOIN_FILE, ETCD_UNIT, peer_url};
pub(crate) use files::cuts_ssh;
pub(crate) use identity::shared_files;
pub use identity::{AUTHORITY_CERTIFICATE, AUTHORITY_KEY, administrator_certificate};
pub(crate) use programs::{CONTROL_PLANE_CONFIG, CONTROL_PLANE_PROGRAM, NODE_CONFIG, NODE_PROGRAM};
pub use programs::{CONTROL_PLANE_UNIT, NODE_UNIT};
pub(crate) use runtime::{CONTAINERD_UNIT, is_read_at_each_pull};

/// What the kernel should do before pods run here.
const KERNEL_PARAMETERS: [(&str, &str); 3] = [
    ("net.ipv4.ip_forward", "1"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.inotify.max_user_watches", "524288"),
];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Directories, kernel settings, the package manager's proxy.
    Prepare,
    /// The operator's files.
    Files,
    /// What SSH hangs on: put back by the host itself unless a new connection confirms it.
    Network,
    /// Container runtime, CNI plugins, pause image.
    Runtime,
    /// The cluster's authorities and the service-account keys; only on control planes.
    Identity,
    Certificates,
    EtcdCertificates,
    Etcd,
    ControlPlane,
    Node,
}

/// Stages with the last part of their steps' ids and their titles.
const STAGES: [(Stage, &str, &str); 10] = [
    (Stage::Prepare, "prepare", "prepare folders and kernel"),
    (Stage::Files, "files", "put files of the inventory there"),
    (Stage::Network, "network", "change what SSH depends on, and confirm that it still works"),
    (Stage::Runtime, "runtime", "set up the container runtime"),
    (Stage::Identity, "identity", "make the cluster's authority and keys"),
    (Stage::Certificates, "certificates", "issue certificates"),
    (Stage::EtcdCertificates, "etcd-certificates", "issue certificates of etcd"),
    (Stage::Etcd, "etcd", "run etcd"),
    (Stage::ControlPlane, "control-plane", "run the control plane"),
    (Stage::Node, "node", "run the node"),
];

impl Stage {
    pub const ALL: [Self; 10] = {
        let mut all = [Self::Prepare; 10];
        let mut index = 0;
        while index < all.len() {
            all[index] = STAGES[index].0;
            index += 1;
        }
        all
    };

    /// Last part of a step's id.
    #[must_use]
    pub fn name(self) -> &'static str {
        STAGES[self as usize].1
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        STAGES[self as usize].2
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

/// What the desired states of all hosts share, worked out once: with thousands of hosts nothing may look at all of
/// them for each of them.
pub(crate) struct Blueprint<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) programs: &'a Programs,
    pub(crate) control_planes: Vec<&'a Host>,
}

impl<'a> Blueprint<'a> {
    pub(crate) fn new(inventory: &'a Inventory, programs: &'a Programs) -> Self {
        Self { inventory, programs, control_planes: inventory.control_planes().collect() }
    }

    pub(crate) fn has_etcd(&self) -> bool {
        self.inventory.spec.control_plane.store == Store::Etcd
    }

    /// The whole desired state of a host, or why a host with these facts cannot be part of the cluster.
    pub(crate) fn desired(&self, host: &Host, facts: &Facts) -> Result<Desired, String> {
        supported(facts)?;
        let version = &self.inventory.spec.version;
        let programs =
            self.programs.versions.get(version).ok_or_else(|| format!("the programs of {version} are not at hand"))?;
        let is_control_plane = host.role == Role::ControlPlane;
        let mut desired = Desired::default();
        self.prepare(host, &mut desired);
        self.files(host, &mut desired);
        self.runtime(host, facts, &mut desired);
        if is_control_plane {
            self.identity(&mut desired);
        }
        self.certificates(host, &mut desired);
        if is_control_plane && self.has_etcd() {
            self.etcd_certificates(host, &mut desired);
            self.etcd(host, &mut desired);
        }
        if is_control_plane {
            self.control_plane(host, programs, &mut desired);
        }
        self.node(host, facts, programs, &mut desired);
        Ok(desired)
    }

    fn prepare(&self, host: &Host, desired: &mut Desired) {
        let stage = Stage::Prepare;
        for path in ["/etc/naru", "/etc/naru/pki", "/opt/naru", "/opt/naru/bin", "/var/lib/naru"] {
            desired.directory(stage, path, 0o755);
        }
        if host.role == Role::ControlPlane {
            desired.directory(stage, "/var/lib/naru/control-plane", 0o700);
            if self.has_etcd() {
                desired.directory(stage, etcd::PKI_FOLDER, 0o755);
            }
        }
        for (key, value) in KERNEL_PARAMETERS {
            let stage = if cuts_ssh(key) { Stage::Network } else { stage };
            desired.add(stage, Resource::Sysctl { key: key.to_owned(), value: value.to_owned() });
        }
        desired.add(stage, Resource::Swap { enabled: false });
        self.package_proxy(desired);
    }
}

/// The whole desired state of a host.
///
/// # Errors
/// Why a host with these facts cannot be part of the cluster, as a sentence.
pub fn desired(inventory: &Inventory, host: &Host, facts: &Facts, programs: &Programs) -> Result<Desired, String> {
    Blueprint::new(inventory, programs).desired(host, facts)
}

pub(crate) fn supported(facts: &Facts) -> Result<(), String> {
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
