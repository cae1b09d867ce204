//! What the identity of a node may write: its own Node, its Lease, and the pods that are bound to it.

use serde_json::{Map, Value, json};

use super::fields::{is_main, items, list_mut, refused, text};
use crate::chain::{AdmissionRequest, ObjectReader, Operation};
use crate::status::ApiError;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Labels of Kubernetes' own domains that a node may give itself.
const OWN_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Roles come from the inventory by way of the node's own configuration, so a new node may bring them along.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

/// A new node takes no pods before something has found it ready.
pub(super) fn taint_new(request: &mut AdmissionRequest<'_>) {
    if !is_main(request, "", "nodes", Operation::Create) {
        return;
    }
    let taints = list_mut(&mut request.object["spec"], "taints");
    if !taints.iter().any(|taint| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule") {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}

pub(super) fn admit(reader: &dyn ObjectReader, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    let Some(node) = request.user.username.strip_prefix(PREFIX) else { return Ok(()) };
    if !request.user.groups.iter().any(|group| group == GROUP) {
        return Ok(());
    }
    let refusal = match (request.resource.group, request.resource.plural, request.info.subresource.as_str()) {
        ("", "pods", "") => pod(node, request),
        ("", "pods", "status") => of_own_pod(reader, node, request, "only update pod status for pods")
            .or_else(|| relabelled(request).then(|| format!("node {node:?} cannot update labels through pod status"))),
        ("", "pods", "eviction") => of_own_pod(reader, node, request, "only evict pods"),
        ("", "pods", other) => {
            Some(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => own_node(node, request),
        ("coordination.k8s.io", "leases", _) => lease(node, request),
        ("storage.k8s.io", "csinodes", _) if target_name(request) != node => {
            Some("can only access CSINode with the same name as the requesting node".to_owned())
        }
        _ => None,
    };
    refusal.map_or(Ok(()), |why| Err(refused(request, &why)))
}

fn target_name<'a>(request: &'a AdmissionRequest<'_>) -> &'a str {
    match request.info.name.as_str() {
        "" => text(request.object, "/metadata/name"),
        name => name,
    }
}

fn pod(node: &str, request: &AdmissionRequest<'_>) -> Option<String> {
    match request.operation {
        Operation::Create if request.object.pointer(MIRROR).is_none() => Some(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        )),
        Operation::Create if text(request.object, "/spec/nodeName") != node => {
            Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"))
        }
        Operation::Create => None,
        Operation::Update => {
            Some(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        Operation::Delete => {
            let bound = request.old_object.map(|pod| text(pod, "/spec/nodeName")).unwrap_or_default();
            (bound != node).then(|| format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
    }
}

fn of_own_pod(reader: &dyn ObjectReader, node: &str, request: &AdmissionRequest<'_>, what: &str) -> Option<String> {
    let stored = match request.old_object {
        Some(_) => None,
        None => reader.get("", "pods", &request.info.namespace, &request.info.name),
    };
    let pod = request.old_object.or(stored.as_deref());
    let bound = pod.map(|pod| text(pod, "/spec/nodeName")).unwrap_or_default();
    (bound != node).then(|| format!("node {node:?} can {what} with spec.nodeName set to itself"))
}

fn own_node(node: &str, request: &AdmissionRequest<'_>) -> Option<String> {
    if target_name(request) != node {
        return Some(format!("node {node:?} is not allowed to modify node {:?}", target_name(request)));
    }
    let empty = Map::new();
    let labels = |object: &Value| object.pointer("/metadata/labels").and_then(Value::as_object).cloned();
    let new = labels(request.object).unwrap_or_default();
    match request.operation {
        Operation::Delete => None,
        Operation::Create => forbidden_labels(&new, &empty, true),
        Operation::Update => {
            let old = request.old_object?;
            if items(old, "/spec/taints") != items(request.object, "/spec/taints") {
                return Some(format!("node {node:?} is not allowed to modify taints"));
            }
            // Garbage collection would delete the node, and a new one could come with labels of its own choice.
            if items(old, "/metadata/ownerReferences") != items(request.object, "/metadata/ownerReferences") {
                return Some(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            forbidden_labels(&new, &labels(old).unwrap_or_default(), false)
        }
    }
}

/// Labels decide which Services and budgets count a pod: not for its node to choose.
fn relabelled(request: &AdmissionRequest<'_>) -> bool {
    let Some(old) = request.old_object else { return false };
    let labels = |object: &Value| object.pointer("/metadata/labels").and_then(Value::as_object).cloned();
    labels(old).unwrap_or_default() != labels(request.object).unwrap_or_default()
}

fn forbidden_labels(new: &Map<String, Value>, old: &Map<String, Value>, creating: bool) -> Option<String> {
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value)).map(|(key, _)| key);
    let removed = old.keys().filter(|key| !new.contains_key(*key));
    let mut refused: Vec<&str> = changed
        .chain(removed)
        .map(String::as_str)
        .filter(|key| !(own_label(key) || creating && key.starts_with(ROLE_PREFIX)))
        .collect();
    refused.sort_unstable();
    let verb = if creating { "set the following" } else { "modify" };
    (!refused.is_empty()).then(|| format!("is not allowed to {verb} labels: {}", refused.join(", ")))
}

fn own_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    !(within("kubernetes.io") || within("k8s.io"))
        || OWN_LABELS.contains(&key)
        || OWN_LABEL_DOMAINS.iter().any(|domain| within(domain))
}

fn lease(node: &str, request: &AdmissionRequest<'_>) -> Option<String> {
    if request.info.namespace != LEASE_NAMESPACE {
        return Some(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    (target_name(request) != node)
        .then(|| "can only access node lease with the same name as the requesting node".to_owned())
}
