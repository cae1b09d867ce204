//! The few rules of single kinds that rows do not express.

use naru_api::Resource;
use serde_json::{Value, json};

use crate::registry::metadata::is_empty;

/// What a deleted object still waits for, in `spec.finalizers`.
const NAMESPACE_FINALIZER: &str = "kubernetes";

pub(crate) fn is_namespace(row: &Resource) -> bool {
    row.group.is_empty() && row.plural == "namespaces"
}

pub(crate) fn is_pod(row: &Resource) -> bool {
    row.group.is_empty() && row.plural == "pods"
}

/// Kubelets register their node together with its status; everybody else's status begins empty.
pub(crate) fn keeps_status_on_create(row: &Resource) -> bool {
    row.group.is_empty() && row.plural == "nodes"
}

/// Kinds whose deletion is answered with the object instead of a Status.
pub(crate) fn returns_deleted_object(row: &Resource) -> bool {
    const PLURALS: [&str; 6] =
        ["pods", "podtemplates", "persistentvolumes", "persistentvolumeclaims", "resourcequotas", "serviceaccounts"];
    row.group.is_empty() && PLURALS.contains(&row.plural)
}

/// What a new object gets beyond its kind's defaults.
pub(crate) fn prepare_create(row: &Resource, object: &mut Value) {
    if is_namespace(row) {
        let finalizers = &mut object["spec"]["finalizers"];
        let named = finalizers.as_array().is_some_and(|list| list.iter().any(|one| one == NAMESPACE_FINALIZER));
        if !named {
            match finalizers.as_array_mut() {
                Some(list) => list.push(json!(NAMESPACE_FINALIZER)),
                None => *finalizers = json!([NAMESPACE_FINALIZER]),
            }
        }
        object["status"] = json!({"phase": "Active"});
        let name = object["metadata"]["name"].clone();
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
    if is_pod(row) && object["status"]["phase"].as_str().is_none() {
        object["status"]["phase"] = json!("Pending");
    }
}

/// What an update of the main resource must leave as it was, beyond status.
pub(crate) fn keep_on_update(row: &Resource, old: &Value, new: &mut Value) {
    if is_namespace(row) {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    }
}

/// Changes that come with being marked for deletion.
pub(crate) fn mark_deleted(row: &Resource, object: &mut Value) {
    if is_namespace(row) {
        object["status"]["phase"] = json!("Terminating");
    }
}

/// Whether a deleted object still has to be kept.
pub(crate) fn has_finalizers(row: &Resource, object: &Value) -> bool {
    !is_empty(&object["metadata"]["finalizers"]) || (is_namespace(row) && !is_empty(&object["spec"]["finalizers"]))
}

/// Seconds that a deletion with grace gives: asked for, or the pod's own; none for pods that nobody runs.
pub(crate) fn grace_seconds(object: &Value, asked: Option<i64>) -> i64 {
    let unscheduled = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || finished {
        return 0;
    }
    asked.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}
