//! Defaults of cluster objects, configuration, access and storage.

use super::{canonical_quantities, entries, existing, set, set_text, spec};
use crate::meta;
use base64::Engine;
use serde_json::{Map, Value, json};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn namespace(object: &mut Value) {
    let name = meta::name(object).to_owned();
    if !name.is_empty() {
        meta::set_label(object, NAME_LABEL, &name);
    }
    // Only while it lives: a namespace without finalizers is one whose content is gone.
    if meta::deletion_timestamp(object).is_none()
        && let Some(spec) = spec(object)
    {
        set(spec, "finalizers", json!(["kubernetes"]));
    }
    if let Some(status) = meta::map_mut(object, "status") {
        set_text(status, "phase", "Active");
    }
}

pub(crate) fn node(object: &mut Value) {
    if let Some(spec) = spec(object)
        && spec.get("podCIDRs").is_none_or(Value::is_null)
        && let Some(range) = spec.get("podCIDR").filter(|range| range.as_str().is_some_and(|text| !text.is_empty()))
    {
        let range = range.clone();
        spec.insert("podCIDRs".to_owned(), json!([range]));
    }
    let Some(status) = object.as_object_mut().and_then(|object| existing(object, "status")) else { return };
    canonical_quantities(status, "capacity");
    canonical_quantities(status, "allocatable");
    let Some(capacity) = status.get("capacity").and_then(Value::as_object).cloned() else { return };
    set(status, "allocatable", json!({}));
    if let Some(allocatable) = existing(status, "allocatable").filter(|allocatable| allocatable.is_empty()) {
        *allocatable = capacity;
    }
}

/// `stringData` is write-only: its values go into `data`, as base64.
pub(crate) fn secret(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    set_text(object, "type", "Opaque");
    let Some(Value::Object(plain)) = object.remove("stringData") else { return };
    set(object, "data", json!({}));
    if let Some(data) = existing(object, "data") {
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(text).into());
        }
    }
}

pub(crate) fn event(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    set(object, "involvedObject", json!({}));
    set(object, "source", json!({}));
    set(object, "reportingComponent", "");
    set(object, "reportingInstance", "");
}

pub(crate) fn limit_range(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    for limit in entries(spec, "limits") {
        for name in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            canonical_quantities(limit, name);
        }
        if limit.get("type") == Some(&json!("Container")) {
            container_limits(limit);
        }
    }
}

/// The default limit is the maximum; the default request is the default limit, else the minimum.
fn container_limits(limit: &mut Map<String, Value>) {
    let copy = |limit: &Map<String, Value>, name: &str| {
        limit.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    for (target, sources) in [("default", ["max"].as_slice()), ("defaultRequest", &["default", "min"])] {
        for source in sources {
            for (name, value) in copy(limit, source) {
                set(limit, target, json!({}));
                if let Some(map) = existing(limit, target) {
                    set(map, &name, value);
                }
            }
        }
    }
}

pub(crate) fn resource_quota(object: &mut Value) {
    if let Some(spec) = spec(object) {
        canonical_quantities(spec, "hard");
    }
}

pub(crate) fn role_binding(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    if let Some(role) = existing(object, "roleRef") {
        set_text(role, "apiGroup", RBAC_GROUP);
    }
    for subject in entries(object, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set_text(subject, "apiGroup", RBAC_GROUP);
        }
    }
}

pub(crate) fn priority_class(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        set_text(object, "preemptionPolicy", "PreemptLowerPriority");
        set(object, "value", 0);
    }
}

pub(crate) fn persistent_volume(object: &mut Value) {
    if let Some(spec) = spec(object) {
        set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_text(spec, "volumeMode", "Filesystem");
        canonical_quantities(spec, "capacity");
        if let Some(host_path) = existing(spec, "hostPath") {
            set(host_path, "type", "");
        }
    }
    if let Some(status) = meta::map_mut(object, "status") {
        set_text(status, "phase", "Pending");
    }
}

pub(crate) fn persistent_volume_claim(object: &mut Value) {
    if let Some(spec) = spec(object) {
        set_text(spec, "volumeMode", "Filesystem");
        if let Some(resources) = existing(spec, "resources") {
            canonical_quantities(resources, "requests");
            canonical_quantities(resources, "limits");
        }
    }
    if let Some(status) = meta::map_mut(object, "status") {
        set_text(status, "phase", "Pending");
    }
}

pub(crate) fn storage_class(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        set_text(object, "reclaimPolicy", "Delete");
        set_text(object, "volumeBindingMode", "Immediate");
    }
}

pub(crate) fn csi_driver(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
    set_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set(spec, "volumeLifecycleModes", json!(["Persistent"]));
}
