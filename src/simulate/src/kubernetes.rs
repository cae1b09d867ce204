//! What is known of Kubernetes objects: their paths, a few of their fields, merge patches, what a node reports.

use naru_inventory::Taint;
use serde_json::{Value as Json, json};

/// Group and version, plural, kind, whether it lives in a namespace: the kinds that a test may apply.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("/api/v1", "nodes", "Node", false),
    ("/api/v1", "namespaces", "Namespace", false),
    ("/api/v1", "pods", "Pod", true),
    ("/api/v1", "configmaps", "ConfigMap", true),
    ("/api/v1", "services", "Service", true),
    ("/apis/apps/v1", "deployments", "Deployment", true),
    ("/apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
];

/// A Deployment with, maybe, a disruption budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub name: String,
    pub replicas: u32,
    /// Pods that must stay ready during evictions.
    pub least_ready: Option<u32>,
}

pub(crate) fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map(|time| time.to_string()).unwrap_or_default()
}

/// The kind of a collection's path, namespaced or across all namespaces.
pub(crate) fn kind_of_collection(path: &str) -> Option<&'static str> {
    let (group, rest) = split_group(path)?;
    let plural = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["namespaces", _, plural] | [plural] => *plural,
        _ => return None,
    };
    KINDS.iter().find(|(of, name, ..)| *of == group && *name == plural).map(|(_, _, kind, _)| *kind)
}

fn split_group(path: &str) -> Option<(&'static str, &str)> {
    KINDS.iter().find_map(|(group, ..)| Some((*group, path.strip_prefix(group)?.strip_prefix('/')?)))
}

/// The list of a group's resources.
pub(crate) fn discovery(path: &str) -> Option<Json> {
    let of_group: Vec<Json> = KINDS
        .iter()
        .filter(|(group, ..)| *group == path)
        .map(|(_, plural, kind, namespaced)| {
            json!({"name": plural, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": namespaced,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
        })
        .collect();
    let version = path.trim_start_matches("/apis/").trim_start_matches("/api/");
    (!of_group.is_empty()).then(|| json!({"kind": "APIResourceList", "groupVersion": version, "resources": of_group}))
}

/// Whether an object is meant by a query with a field selector (`spec.nodeName=w1`).
pub(crate) fn is_selected(object: &Json, query: &str) -> bool {
    let selectors = query.split('&').filter_map(|part| part.strip_prefix("fieldSelector="));
    let selectors = selectors.map(|selector| selector.replace("%3D", "=").replace("%3d", "=").replace("%2C", ","));
    selectors.into_iter().all(|selector| {
        selector.split(',').filter_map(|term| term.split_once('=')).all(|(field, value)| {
            let found = field.split('.').fold(object, |object, name| &object[name]);
            found.as_str().unwrap_or_default() == value.trim_start_matches('=')
        })
    })
}

/// RFC 7386.
pub(crate) fn merge(object: &mut Json, patch: &Json) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(object) = object.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut object[name.as_str()], value);
        }
    }
}

pub(crate) fn is_ready(node: &Json) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

pub(crate) fn takes_pods(node: &Json) -> bool {
    let taints = node["spec"]["taints"].as_array();
    let is_closed = taints.into_iter().flatten().any(|taint| taint["effect"] != "PreferNoSchedule");
    is_ready(node) && node["spec"]["unschedulable"] != true && !is_closed
}

pub(crate) fn pod(workload: &str, name: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": workload},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": workload, "controller": true}]},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Running"},
    })
}

/// What a node program brings along when it registers.
pub(crate) struct Registration<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
    pub(crate) labels: Json,
    pub(crate) taints: Vec<Taint>,
    pub(crate) version: &'a str,
    pub(crate) now_ms: i64,
}

pub(crate) fn new_node(registration: &Registration<'_>) -> Json {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": registration.name, "uid": format!("node-{}", registration.name),
            "labels": registration.labels, "annotations": {}, "creationTimestamp": time(registration.now_ms)},
        "spec": {},
        "status": {},
    });
    if !registration.taints.is_empty() {
        node["spec"]["taints"] = json!(registration.taints);
    }
    node
}

/// A node's report of itself.
pub(crate) fn status(
    address: &str,
    version: &str,
    ready: (&str, &str, &str),
    heartbeat_ms: i64,
    since_ms: i64,
) -> Json {
    let (status, reason, message) = ready;
    json!({
        "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time(heartbeat_ms), "lastTransitionTime": time(since_ms)}],
        "addresses": [{"type": "InternalIP", "address": address}],
        "nodeInfo": {"kubeletVersion": version, "osImage": "Debian GNU/Linux", "kernelVersion": "6.12.0",
            "containerRuntimeVersion": "containerd://1.7.24"},
    })
}
