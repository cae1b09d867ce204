//! What happens by itself as time goes on: hosts come up, control planes begin to serve, nodes register and report.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::State;
use super::etcd::ETCD_UNIT;
use crate::cluster::Cluster;
use crate::kubernetes::{self, Registration};
use crate::machine::{Body, Machine};

pub(crate) const NODE_UNIT: &str = "naru-node.service";
pub(crate) const CONTROL_PLANE_UNIT: &str = "naru-control-plane.service";
const NODE_CONFIG: &str = "/etc/naru/node.yaml";
const CONTROL_PLANE_CONFIG: &str = "/etc/naru/control-plane.yaml";
const NODE_PROGRAM: &str = "/opt/naru/bin/naru-node";
const NODE_CERTIFICATE: &str = "/etc/naru/pki/kubelet.crt";
const AUTHORITY: &str = "/etc/naru/pki/ca.crt";
/// Where a control plane with an embedded store keeps it.
const STORE: &str = "/var/lib/naru/control-plane/store";
/// From the start of its program until an API server answers.
const API_START_MS: i64 = 1_500;
/// From the start of its program until a node registers, and until it is ready.
const NODE_REGISTERS_MS: i64 = 800;
const NODE_READY_MS: i64 = 1_800;
const HEARTBEAT_MS: i64 = 10_000;
/// A node that has not reported for so long is not ready any more.
const SILENCE_MS: i64 = 40_000;

/// What a node said of itself last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    number: u64,
    started_ms: i64,
    status: &'static str,
    reason: &'static str,
    heartbeat_ms: i64,
}

impl State {
    pub(crate) fn settle(&mut self) {
        if self.settled.replace((self.now_ms, self.changes)) == Some((self.now_ms, self.changes)) {
            return;
        }
        let unix_ms = self.unix_ms();
        for machine in self.machines.values_mut() {
            machine.clock_unix_ms = unix_ms + machine.skew_ms;
        }
        let due: Vec<String> =
            self.boots_at.iter().filter(|(_, at)| **at <= self.now_ms).map(|(host, _)| host.clone()).collect();
        for host in due {
            self.boots_at.remove(&host);
            if let Some(machine) = self.machines.get_mut(&host) {
                machine.is_on = true;
                machine.start_enabled_units();
            }
            if self.machines[&host].runs(ETCD_UNIT)
                && self.etcd_started(&host).is_err()
                && let Some(unit) = self.machines.get_mut(&host).and_then(|machine| machine.units.get_mut(ETCD_UNIT))
            {
                unit.stop();
            }
            if self.machines[&host].runs(CONTROL_PLANE_UNIT) {
                self.control_plane_started(&host);
            }
            self.note(|| format!("{host} is up"));
        }
        self.sweep_sessions();
        self.settle_etcd();
        let hosts: Vec<String> = self.machines.keys().cloned().collect();
        for host in &hosts {
            self.report(host);
        }
        let serving: BTreeSet<u64> = hosts.iter().filter_map(|host| self.api_at(host)).collect();
        for (number, cluster) in &mut self.clusters {
            if serving.contains(number) {
                for host in silence(cluster, unix_ms) {
                    self.reports.remove(&host);
                }
                cluster.settle_pods(unix_ms);
            }
        }
    }

    /// The cluster that the API server on this host serves, if it does.
    #[must_use]
    pub fn api_at(&self, host: &str) -> Option<u64> {
        let machine = self.machines.get(host)?;
        let unit = machine.units.get(CONTROL_PLANE_UNIT)?;
        let age_ms = machine.clock_unix_ms - unit.started_unix_ms;
        if !machine.is_on || !unit.is_active || age_ms < API_START_MS {
            return None;
        }
        if uses_etcd(machine) { self.etcd_of(host) } else { machine.text(STORE).parse().ok() }
    }

    /// The control plane on this host has started: a new one without a store makes one.
    pub(crate) fn control_plane_started(&mut self, host: &str) {
        let Some(machine) = self.machines.get_mut(host) else { return };
        let authority = machine.authority(AUTHORITY).map(|signer| signer.key).unwrap_or_default();
        if uses_etcd(machine) {
            return;
        }
        if !machine.files.contains_key(STORE) {
            let number = self.clusters.keys().last().copied().unwrap_or_default() + 1;
            machine.put(STORE, Body::text(&number.to_string()), 0o600);
        }
        let number: u64 = machine.text(STORE).parse().unwrap_or_default();
        let cluster = self.clusters.entry(number).or_insert_with(|| Cluster::new(""));
        cluster.authority = authority;
    }

    /// What a node program does: registers its node, and reports how it is.
    fn report(&mut self, host: &str) {
        if !self.machines[host].runs(NODE_UNIT) {
            return;
        }
        let config = self.node_config(host);
        let machine = &self.machines[host];
        let unit = &machine.units[NODE_UNIT];
        let age_ms = machine.clock_unix_ms - unit.started_unix_ms;
        if age_ms < NODE_REGISTERS_MS {
            return;
        }
        let Some(number) = self.api_for(machine, &config) else { return };
        let runs_pods = machine.runs("containerd.service");
        let is_held_back = self.not_ready_until.get(host).is_some_and(|until| self.now_ms < *until);
        let ready = match (age_ms >= NODE_READY_MS && !is_held_back, runs_pods) {
            (true, true) => ("True", "KubeletReady", "the node is ready"),
            (_, false) => ("False", "RuntimeDown", "containerd does not run"),
            _ => ("False", "Starting", "the network is not set up yet"),
        };
        let reported_ms = unit.started_unix_ms + age_ms / HEARTBEAT_MS * HEARTBEAT_MS;
        let heartbeat_ms = reported_ms.max(unit.started_unix_ms + if ready.0 == "True" { NODE_READY_MS } else { 0 });
        // The same report as last time changes nothing.
        let knows_it = self.clusters.get(&number).is_some_and(|cluster| cluster.node(host).is_some());
        let report =
            Report { number, started_ms: unit.started_unix_ms, status: ready.0, reason: ready.1, heartbeat_ms };
        if knows_it && self.reports.get(host) == Some(&report) {
            return;
        }
        let program = machine.files.get(NODE_PROGRAM).map(|file| file.body.sha256()).unwrap_or_default();
        let version = self.versions.get(&program).cloned().unwrap_or_default();
        let registration = Registration {
            name: host,
            address: &machine.address,
            labels: if config["labels"].is_object() { config["labels"].clone() } else { json!({}) },
            taints: serde_json::from_value(config["taints"].clone()).unwrap_or_default(),
            version: &version,
            now_ms: machine.clock_unix_ms,
        };
        let Some(cluster) = self.clusters.get_mut(&number) else { return };
        register(cluster, &registration, ready, heartbeat_ms);
        self.reports.insert(host.to_owned(), report);
    }

    /// The node's configuration; read again only when it is another text.
    fn node_config(&mut self, host: &str) -> Arc<Json> {
        let Some(Body::Text(text)) = self.machines[host].files.get(NODE_CONFIG).map(|file| &file.body) else {
            return Arc::default();
        };
        match self.configs.get(host) {
            Some((known, config)) if Arc::ptr_eq(known, text) => config.clone(),
            _ => {
                let config: Arc<Json> = Arc::new(serde_saphyr::from_str(text).unwrap_or_default());
                self.configs.insert(host.to_owned(), (text.clone(), config.clone()));
                config
            }
        }
    }

    /// A cluster whose API this node reaches and is believed by.
    fn api_for(&self, machine: &Machine, config: &Json) -> Option<u64> {
        let certificate = machine.certificate(NODE_CERTIFICATE)?;
        let addresses = config["controlPlanes"].as_array()?;
        addresses.iter().find_map(|address| {
            let address = address.as_str()?.rsplit_once(':')?.0;
            let host = self.host_at(address)?;
            let number = self.api_at(&host).filter(|_| self.reaches(&machine.name, &host))?;
            let believed = self.clusters.get(&number)?.authority == certificate.signer.key;
            let ours = machine.authority(AUTHORITY).is_some_and(|signer| signer == certificate.signer);
            (believed && ours).then_some(number)
        })
    }
}

pub(crate) fn uses_etcd(machine: &Machine) -> bool {
    machine.text(CONTROL_PLANE_CONFIG).contains("etcd")
}

fn register(cluster: &mut Cluster, registration: &Registration<'_>, ready: (&str, &str, &str), heartbeat_ms: i64) {
    let path = format!("{}/{}", crate::cluster::NODES, registration.name);
    let before = cluster.objects.get(&path).cloned();
    let mut node = before.clone().unwrap_or_else(|| kubernetes::new_node(registration));
    let condition = &node["status"]["conditions"][0];
    let same = condition["status"] == ready.0 && condition["reason"] == ready.1;
    let since_ms = match condition["lastTransitionTime"].as_str().and_then(|time| time.parse().ok()) {
        Some(since) if same => jiff::Timestamp::as_millisecond(since),
        _ => registration.now_ms,
    };
    node["status"] = kubernetes::status(registration.address, registration.version, ready, heartbeat_ms, since_ms);
    if before.as_ref() != Some(&node) {
        cluster.put(&path, node);
    }
}

/// Nodes that have not reported for long are not ready any more.
fn silence(cluster: &mut Cluster, unix_ms: i64) -> Vec<String> {
    let silent: Vec<String> = cluster
        .nodes()
        .filter(|(_, node)| {
            let condition = &node["status"]["conditions"][0];
            let last: Option<jiff::Timestamp> =
                condition["lastHeartbeatTime"].as_str().and_then(|time| time.parse().ok());
            condition["status"] != "Unknown" && last.is_some_and(|last| unix_ms - last.as_millisecond() > SILENCE_MS)
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in &silent {
        let path = format!("{}/{name}", crate::cluster::NODES);
        let mut node = cluster.objects[&path].clone();
        let condition = &mut node["status"]["conditions"][0];
        condition["status"] = json!("Unknown");
        condition["reason"] = json!("NodeStatusUnknown");
        condition["message"] = json!("the node does not report");
        cluster.put(&path, node);
    }
    silent
}
