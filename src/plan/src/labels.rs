//! Labels, annotations and taints that the inventory gives to nodes. Those of other origin are never touched: an
//! annotation keeps the list of ours, so that one that vanishes from the inventory vanishes from the node.

use std::collections::BTreeMap;

use naru_inventory::{Effect, Host, Role, Taint};
use naru_observe::{Managed, NodeObservation};
use serde::{Deserialize, Serialize};

const CONTROL_PLANE_KEY: &str = "node-role.kubernetes.io/control-plane";

/// What to change on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelChange {
    pub set_labels: BTreeMap<String, String>,
    pub remove_labels: Vec<String>,
    pub set_taints: Vec<Taint>,
    /// `key:Effect`.
    pub remove_taints: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_annotations: Vec<String>,
    /// The new list of ours.
    pub managed: Managed,
}

pub(crate) fn node_labels(host: &Host) -> BTreeMap<String, String> {
    let mut labels = host.labels.clone();
    if host.role == Role::ControlPlane {
        labels.insert(CONTROL_PLANE_KEY.to_owned(), String::new());
    }
    labels
}

pub(crate) fn node_taints(host: &Host) -> Vec<Taint> {
    let mut taints = host.taints.clone();
    let of_role = Taint { key: CONTROL_PLANE_KEY.to_owned(), value: String::new(), effect: Effect::NoSchedule };
    if host.role == Role::ControlPlane && !taints.iter().any(|taint| identity(taint) == identity(&of_role)) {
        taints.push(of_role);
    }
    taints.sort();
    taints
}

/// What makes two taints the same one: `key:Effect`.
pub(crate) fn identity(taint: &Taint) -> String {
    let effect = match taint.effect {
        Effect::NoSchedule => "NoSchedule",
        Effect::PreferNoSchedule => "PreferNoSchedule",
        Effect::NoExecute => "NoExecute",
    };
    format!("{}:{effect}", taint.key)
}

/// What is to be done so that the node is labelled and tainted as the inventory says; nothing if it is. A node that
/// has not registered yet gets everything: whatever it brings along itself, the outcome is the same.
pub(crate) fn change(host: &Host, node: Option<&NodeObservation>) -> Option<LabelChange> {
    let (labels, taints) = (node_labels(host), node_taints(host));
    let managed = Managed {
        labels: labels.keys().cloned().collect(),
        taints: taints.iter().map(identity).collect(),
        annotations: host.annotations.keys().cloned().collect(),
    };
    let unknown = NodeObservation::default();
    let node = node.unwrap_or(&unknown);
    let gone = |old: &[String], new: &[String]| -> Vec<String> {
        old.iter().filter(|name| !new.contains(name)).cloned().collect()
    };
    let change = LabelChange {
        set_labels: labels.into_iter().filter(|(key, value)| node.labels.get(key) != Some(value)).collect(),
        remove_labels: gone(&node.managed.labels, &managed.labels),
        set_taints: taints.into_iter().filter(|taint| !node.taints.contains(taint)).collect(),
        remove_taints: gone(&node.managed.taints, &managed.taints),
        set_annotations: wanted_annotations(host, node),
        remove_annotations: gone(&node.managed.annotations, &managed.annotations),
        managed,
    };
    (!change.is_empty() || change.managed != node.managed).then_some(change)
}

fn wanted_annotations(host: &Host, node: &NodeObservation) -> BTreeMap<String, String> {
    let differs = |(key, value): &(&String, &String)| node.annotations.get(*key) != Some(*value);
    host.annotations.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl LabelChange {
    fn is_empty(&self) -> bool {
        self.set_labels.is_empty()
            && self.remove_labels.is_empty()
            && self.set_taints.is_empty()
            && self.remove_taints.is_empty()
            && self.set_annotations.is_empty()
            && self.remove_annotations.is_empty()
    }

    /// One line per label, taint and annotation.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.set_labels.iter().map(|(key, value)| format!("set label {key}={value}")));
        lines.extend(self.remove_labels.iter().map(|key| format!("remove label {key}")));
        lines.extend(self.set_taints.iter().map(|taint| format!("set taint {}={}", identity(taint), taint.value)));
        lines.extend(self.remove_taints.iter().map(|taint| format!("remove taint {taint}")));
        lines.extend(self.set_annotations.iter().map(|(key, value)| format!("set annotation {key}={value}")));
        lines.extend(self.remove_annotations.iter().map(|key| format!("remove annotation {key}")));
        if lines.is_empty() {
            lines.push("record which labels and taints are the inventory's".to_owned());
        }
        lines
    }
}
