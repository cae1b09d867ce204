//! Configuration, access, storage, certificates, leases.

use super::{Checker, IMMUTABLE, quantities};
use crate::resource::FieldError;
use crate::{meta, names};
use base64::Engine;
use serde_json::Value;

const DATA_MAX_BYTES: usize = 1 << 20;
const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_PRIORITIES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(crate) fn config_map(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size_bytes = 0;
    let plain = meta::map_at(object, &["data"]);
    for (field, base64) in [("data", false), ("binaryData", true)] {
        for (key, value) in meta::map_at(object, &[field]) {
            errors.extend(key_problems(field, key));
            size_bytes += entry_size(&mut errors, &format!("{field}[{key}]"), value, base64);
            if base64 && plain.contains_key(key) {
                let text = "duplicate of key present in data";
                errors.push(FieldError::invalid_text(format!("binaryData[{key}]"), key, text));
            }
        }
    }
    if size_bytes > DATA_MAX_BYTES {
        errors.push(FieldError::too_long("", DATA_MAX_BYTES));
    }
    errors
}

fn key_problems(field: &str, key: &str) -> Vec<FieldError> {
    let path = format!("{field}[{key}]");
    names::config_map_key(key).iter().map(|text| FieldError::invalid_text(path.clone(), key, text)).collect()
}

fn entry_size(errors: &mut Vec<FieldError>, path: &str, value: &Value, base64: bool) -> usize {
    let Some(text) = value.as_str() else {
        errors.push(FieldError::invalid(path, value, "must be a string"));
        return 0;
    };
    if !base64 {
        return text.len();
    }
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            errors.push(FieldError::invalid_text(path, "", &format!("illegal base64 data: {error}")));
            0
        }
    }
}

/// What `immutable: true` holds fast.
fn immutable_update(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !meta::bool_at(old, &["immutable"]) {
        return errors;
    }
    if !meta::bool_at(new, &["immutable"]) {
        errors.push(FieldError::forbidden("immutable", IMMUTABLE_SET));
    }
    for field in fields {
        if meta::map_at(new, &[field]) != meta::map_at(old, &[field]) {
            errors.push(FieldError::forbidden(*field, IMMUTABLE_SET));
        }
    }
    errors
}

pub(crate) fn config_map_update(new: &Value, old: &Value) -> Vec<FieldError> {
    immutable_update(new, old, &["data", "binaryData"])
}

pub(crate) fn secret(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size_bytes = 0;
    for (key, value) in meta::map_at(object, &["data"]) {
        errors.extend(key_problems("data", key));
        size_bytes += entry_size(&mut errors, &format!("data[{key}]"), value, true);
    }
    if size_bytes > DATA_MAX_BYTES {
        errors.push(FieldError::too_long("data", DATA_MAX_BYTES));
    }
    let needed: &[&str] = match meta::string_at(object, &["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| !meta::map_at(object, &["data"]).contains_key(**key)) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    if meta::string_at(object, &["type"]) == "kubernetes.io/service-account-token"
        && meta::annotation(object, "kubernetes.io/service-account.name").is_none_or(str::is_empty)
    {
        errors.push(FieldError::required("metadata.annotations[kubernetes.io/service-account.name]", ""));
    }
    errors
}

pub(crate) fn secret_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = immutable_update(new, old, &["data"]);
    let kind = meta::string_at(new, &["type"]);
    if kind != meta::string_at(old, &["type"]) {
        errors.push(FieldError::invalid_text("type", kind, IMMUTABLE));
    }
    errors
}

pub(crate) fn namespace(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, finalizer) in meta::list_at(object, &["spec", "finalizers"]).iter().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        let problems = names::qualified_name(text);
        errors.extend(
            problems.iter().map(|one| FieldError::invalid_text(format!("spec.finalizers[{index}]"), text, one)),
        );
    }
    errors
}

pub(crate) fn service_account(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["secrets", "imagePullSecrets"] {
        if !object.get(list).is_none_or(|value| value.is_null() || value.is_array()) {
            errors.push(FieldError::invalid(list, &object[list], "must be a list"));
        }
    }
    errors
}

pub(crate) fn persistent_volume(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    if meta::list_at(spec, &["accessModes"]).is_empty() {
        check.push(FieldError::required("spec.accessModes", ""));
    }
    if meta::map_at(spec, &["capacity"]).is_empty() {
        check.push(FieldError::required("spec.capacity", ""));
    }
    quantities(&mut check.errors, "spec.capacity", &spec["capacity"]);
    let other = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let is_source = |(field, value): (&String, &Value)| !other.contains(&field.as_str()) && !value.is_null();
    if !meta::map_at(object, &["spec"]).iter().any(is_source) {
        check.push(FieldError::required("spec", "must specify a volume type"));
    }
    check.errors
}

pub(crate) fn persistent_volume_claim(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    if meta::list_at(spec, &["accessModes"]).is_empty() {
        check.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    let requests = spec.pointer("/resources/requests").unwrap_or(&Value::Null);
    if requests.get("storage").is_none() {
        check.push(FieldError::required("spec.resources[storage]", ""));
    }
    quantities(&mut check.errors, "spec.resources.requests", requests);
    check.errors
}

pub(crate) fn persistent_volume_claim_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let bound = !meta::string_at(old, &["spec", "volumeName"]).is_empty();
    let fixed = |claim: &Value| {
        let mut spec = meta::map_at(claim, &["spec"]).clone();
        if !bound {
            spec.remove("volumeName");
        }
        for field in ["resources", "volumeAttributesClassName"] {
            spec.remove(field);
        }
        spec
    };
    if fixed(new) == fixed(old) {
        return Vec::new();
    }
    let text =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    vec![FieldError::forbidden("spec", text)]
}

pub(crate) fn storage_class(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(object, "");
    check.required("provisioner");
    check.one_of("reclaimPolicy", &["Delete", "Retain"], false);
    check.one_of("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], true);
    check.errors
}

pub(crate) fn role(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespaced = !meta::namespace(object).is_empty();
    for (index, rule) in meta::list_at(object, &["rules"]).iter().enumerate() {
        let mut check = Checker::new(rule, format!("rules[{index}]"));
        let mut needs = |field: &str, text: &str| {
            if meta::list_at(rule, &[field]).is_empty() {
                let path = check.at(field);
                check.push(FieldError::required(path, text));
            }
        };
        needs("verbs", "verbs must contain at least one value");
        if meta::list_at(rule, &["nonResourceURLs"]).is_empty() {
            needs("apiGroups", "resource rules must supply at least one api group");
            needs("resources", "resource rules must supply at least one resource");
        } else if namespaced {
            let (path, value) = (check.at("nonResourceURLs"), &rule["nonResourceURLs"]);
            check.push(FieldError::invalid(path, value, "namespaced rules cannot apply to non-resource URLs"));
        }
        errors.append(&mut check.errors);
    }
    errors
}

pub(crate) fn role_binding(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(&object["roleRef"], "roleRef");
    let kinds: &[&str] = if meta::namespace(object).is_empty() { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
    check.one_of("apiGroup", &["rbac.authorization.k8s.io"], true);
    check.one_of("kind", kinds, true);
    check.required("name");
    let mut errors = check.errors;
    for (index, subject) in meta::list_at(object, &["subjects"]).iter().enumerate() {
        let mut check = Checker::new(subject, format!("subjects[{index}]"));
        check.one_of("kind", &["ServiceAccount", "User", "Group"], true);
        check.required("name");
        if check.text("kind") == "ServiceAccount" && meta::namespace(object).is_empty() {
            check.required("namespace");
        }
        errors.append(&mut check.errors);
    }
    errors
}

pub(crate) fn role_binding_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new.get("roleRef") == old.get("roleRef") {
        return Vec::new();
    }
    vec![FieldError::invalid("roleRef", &new["roleRef"], "cannot change roleRef")]
}

pub(crate) fn priority_class(object: &Value) -> Vec<FieldError> {
    let (name, value) = (meta::name(object), meta::integer_at(object, &["value"]).unwrap_or_default());
    let mut errors = Vec::new();
    if name.starts_with("system-") {
        if !SYSTEM_PRIORITIES.contains(&(name, value)) {
            let text = "priority class names with 'system-' prefix are reserved for system use only. error: \
                        only the built-in system priority classes may have this prefix";
            errors.push(FieldError::forbidden("metadata.name", text));
        }
    } else if value > USER_PRIORITY_MAX {
        let text = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        errors.push(FieldError::forbidden("value", &text));
    }
    let mut check = Checker::new(object, "");
    check.one_of("preemptionPolicy", &["Never", "PreemptLowerPriority"], false);
    errors.append(&mut check.errors);
    errors
}

pub(crate) fn priority_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if meta::integer_at(new, &["value"]) == meta::integer_at(old, &["value"]) {
        return Vec::new();
    }
    vec![FieldError::forbidden("value", "may not be changed in an update.")]
}

pub(crate) fn lease(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(object.get("spec").unwrap_or(&Value::Null), "spec");
    check.at_least("leaseDurationSeconds", 1, "must be greater than 0");
    check.at_least("leaseTransitions", 0, "must be greater than or equal to 0");
    check.errors
}

pub(crate) fn certificate_signing_request(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(object.get("spec").unwrap_or(&Value::Null), "spec");
    for field in ["request", "signerName", "usages"] {
        check.required(field);
    }
    check.at_least("expirationSeconds", 600, "may not specify a duration less than 600 seconds (10 minutes)");
    check.errors
}

pub(crate) fn event_v1(object: &Value) -> Vec<FieldError> {
    // Objects of the older form, seen through this one, carry no event time.
    if meta::at(object, &["eventTime"]).is_none() {
        return Vec::new();
    }
    let mut check = Checker::new(object, "");
    for field in ["reportingController", "reportingInstance", "action", "reason"] {
        check.required(field);
    }
    check.one_of("type", &["Normal", "Warning"], true);
    check.errors
}
