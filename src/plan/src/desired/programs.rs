//! Naru's own programs on a host, with their configuration and units.

use std::collections::BTreeMap;

use naru_inventory::{Effect, Host, Taint};
use naru_resources::Resource;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::etcd::CLIENT_PORT;
use super::runtime::PAUSE_IMAGE;
use super::{AUTHORITY_CERTIFICATE, Blueprint, Desired, ETCD_JOIN_FILE, ProgramVersion, Stage};
use crate::labels::{node_labels, node_taints};
use crate::{Artifact, settings, templates};

pub const NODE_UNIT: &str = "naru-node.service";
pub const CONTROL_PLANE_UNIT: &str = "naru-control-plane.service";
pub(crate) const NODE_PROGRAM: &str = "/opt/naru/bin/naru-node";
pub(crate) const CONTROL_PLANE_PROGRAM: &str = "/opt/naru/bin/naru-control-plane";
pub(crate) const NODE_CONFIG: &str = "/etc/naru/node.yaml";
pub(crate) const CONTROL_PLANE_CONFIG: &str = "/etc/naru/control-plane.yaml";
const API_PORT: u16 = 6443;
/// Hexadecimal digits of a hash that are enough to tell settings apart.
const SETTINGS_DIGITS: usize = 16;

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
    /// Lines of the section `kubelet` or `apiServer`: names with values as YAML.
    settings: BTreeMap<String, String>,
    etcd: Option<String>,
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

fn binary(path: &str, artifact: &Artifact) -> Resource {
    Resource::Binary { path: path.to_owned(), sha256: artifact.sha256.clone() }
}

impl Blueprint<'_> {
    fn values(&self, host: &Host) -> ClusterValues {
        let network = &self.inventory.spec.network;
        ClusterValues {
            name: host.name.clone(),
            address: host.address.clone(),
            control_planes: self.control_planes.iter().map(|host| format!("{}:{API_PORT}", host.address)).collect(),
            cluster_domain: network.domain.clone(),
            dns_service_ip: self.inventory.dns_service_ip().to_string(),
            pod_cidr: network.pod_cidr.clone(),
            service_cidr: network.service_cidr.clone(),
            pause_image: PAUSE_IMAGE,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            settings: BTreeMap::new(),
            etcd: self.has_etcd().then(|| format!("https://127.0.0.1:{CLIENT_PORT}")),
        }
    }

    pub(super) fn control_plane(&self, host: &Host, programs: &ProgramVersion, desired: &mut Desired) {
        let stage = Stage::ControlPlane;
        desired.add(stage, binary(CONTROL_PLANE_PROGRAM, &programs.control_plane));
        let settings = settings::api_server(&self.inventory.spec.control_plane.api_server);
        let values = ClusterValues { settings, ..self.values(host) };
        desired.file(stage, CONTROL_PLANE_CONFIG, 0o644, templates::render("control-plane.yaml", &values));
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
        if self.has_etcd() {
            // By now etcd has its data. Left behind, the file of the first member would found a second cluster if
            // the data were ever lost.
            desired.add(stage, Resource::Absent { path: ETCD_JOIN_FILE.to_owned() });
        }
        desired.unit(stage, CONTROL_PLANE_UNIT, Some(text), &restart_on);
    }

    /// Labels and taints are read once, at registration; a change of them must not restart the node. So the unit does
    /// not look at its configuration file but carries a hash of everything else in it.
    pub(super) fn node(
        &self,
        host: &Host,
        facts: &naru_agent::Facts,
        programs: &ProgramVersion,
        desired: &mut Desired,
    ) {
        let stage = Stage::Node;
        desired.add(stage, binary(NODE_PROGRAM, &programs.node));
        let mut values = ClusterValues { settings: settings::kubelet(self.inventory, host), ..self.values(host) };
        let hash = hex::encode(Sha256::digest(templates::render("node.yaml", &values)));
        values.labels = node_labels(host);
        values.taints = node_taints(host).into_iter().map(TaintValues::from).collect();
        desired.file(stage, NODE_CONFIG, 0o644, templates::render("node.yaml", &values));
        let unit = json!({
            "program": NODE_PROGRAM,
            "config": NODE_CONFIG,
            "settings": &hash[..SETTINGS_DIGITS],
            "oom_score_adjust": if facts.can_lower_oom_score { -999 } else { 0 },
        });
        let text = templates::render("naru-node.service", &unit);
        let restart_on = [NODE_PROGRAM, AUTHORITY_CERTIFICATE, "/etc/naru/pki/kubelet.crt"];
        desired.unit(stage, NODE_UNIT, Some(text), &restart_on);
    }
}
