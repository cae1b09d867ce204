//! What a node may read: of secrets, config maps and claims only those that a pod bound to it names (KEP-279's Node
//! authorizer). Everything else about nodes stands in the role `system:node`.

use serde_json::Value;

use super::Decision;
use crate::admission::fields::text;
use crate::chain::{ObjectReader, RequestInfo, UserInfo};

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
/// Pod specs nest about ten levels deep.
const MAX_DEPTH: usize = 24;
/// By the key under which a pod spec refers to an object: its resource, and the field that names it.
const REFERENCES: [(&str, &str, &str); 10] = [
    ("secret", "secrets", "secretName"),
    // A projected volume's source says `name` where a volume says `secretName`.
    ("secret", "secrets", "name"),
    ("secretRef", "secrets", "name"),
    ("secretKeyRef", "secrets", "name"),
    ("nodePublishSecretRef", "secrets", "name"),
    ("imagePullSecrets", "secrets", "name"),
    ("configMap", "configmaps", "name"),
    ("configMapRef", "configmaps", "name"),
    ("configMapKeyRef", "configmaps", "name"),
    ("persistentVolumeClaim", "persistentvolumeclaims", "claimName"),
];

/// The decision about a node's request for something that is only its business if a pod of its own needs it; nothing
/// where the roles decide.
pub(super) fn decide(reader: &dyn ObjectReader, user: &UserInfo, info: &RequestInfo) -> Option<Decision> {
    let node = user.username.strip_prefix(PREFIX)?;
    let is_guarded = info.is_resource
        && info.api_group.is_empty()
        && REFERENCES.iter().any(|(_, resource, _)| *resource == info.resource);
    if !is_guarded || !user.groups.iter().any(|group| group == GROUP) {
        return None;
    }
    let refused = |reason: String| Some(Decision { allowed: false, reason });
    if !matches!(info.verb.as_str(), "get" | "list" | "watch") || !info.subresource.is_empty() {
        return refused("can only read resources of this type".to_owned());
    }
    if info.name.is_empty() {
        return refused("can only read namespaced object of this type".to_owned());
    }
    let pods = reader.list_by_field("", "pods", Some(&info.namespace), "spec.nodeName", node);
    if pods.iter().any(|pod| names(&pod["spec"], &info.resource, &info.name, 0)) {
        return Some(Decision { allowed: true, reason: String::new() });
    }
    refused(format!("no relationship found between node '{node}' and this object"))
}

/// Whether this part of a pod spec refers to the object.
fn names(part: &Value, resource: &str, name: &str, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match part {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let refers = |value: &Value| {
                REFERENCES.iter().any(|(place, of, field)| {
                    place == key && *of == resource && text(value, &format!("/{field}")) == name
                })
            };
            refers(value)
                || value.as_array().is_some_and(|values| values.iter().any(refers))
                || names(value, resource, name, depth + 1)
        }),
        Value::Array(values) => values.iter().any(|value| names(value, resource, name, depth + 1)),
        _ => false,
    }
}
