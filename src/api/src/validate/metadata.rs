//! Names, labels, annotations, owners: the same for all kinds.

use super::IMMUTABLE;
use crate::resource::{FieldError, Resource};
use crate::{meta, names};
use serde_json::Value;

const ANNOTATIONS_MAX_BYTES: usize = 256 << 10;

pub(crate) fn metadata(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rule = name_rule(resource);
    let name = meta::name(object);
    let generate = meta::generate_name(object);
    if !generate.is_empty() {
        // What is appended may make good a trailing hyphen.
        let problems = rule(generate.strip_suffix('-').unwrap_or(generate));
        errors.extend(problems.iter().map(|text| FieldError::invalid_text("metadata.generateName", generate, text)));
    }
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(rule(name).iter().map(|text| FieldError::invalid_text("metadata.name", name, text)));
    }
    let namespace = meta::namespace(object);
    match (resource.is_namespaced(), namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required("metadata.namespace", "")),
        (true, false) => {
            let problems = names::dns1123_label(namespace);
            errors.extend(problems.iter().map(|text| FieldError::invalid_text("metadata.namespace", namespace, text)));
        }
        (false, false) => errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type")),
        (false, true) => {}
    }
    super::labels(&mut errors, "metadata.labels", object.pointer("/metadata/labels").unwrap_or(&Value::Null));
    annotations(&mut errors, object);
    finalizers(&mut errors, object);
    owners(&mut errors, object);
    errors
}

/// What names of the kind may look like.
fn name_rule(resource: &Resource) -> fn(&str) -> Vec<String> {
    match (resource.group, resource.kind) {
        ("", "Namespace") => names::dns1123_label,
        ("", "Service") => names::dns1035_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        _ => names::dns1123_subdomain,
    }
}

fn annotations(errors: &mut Vec<FieldError>, object: &Value) {
    let mut size_bytes = 0;
    for (key, value) in meta::annotations(object) {
        let problems = names::qualified_name(&key.to_lowercase());
        errors.extend(problems.iter().map(|text| FieldError::invalid_text("metadata.annotations", key, text)));
        match value.as_str() {
            Some(text) => size_bytes += key.len() + text.len(),
            None => errors.push(FieldError::invalid(format!("metadata.annotations.{key}"), value, "must be a string")),
        }
    }
    if size_bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_MAX_BYTES));
    }
}

fn finalizers(errors: &mut Vec<FieldError>, object: &Value) {
    for finalizer in meta::finalizers(object) {
        let field = "metadata.finalizers";
        let problems = names::qualified_name(finalizer);
        errors.extend(problems.iter().map(|text| FieldError::invalid_text(field, finalizer, text)));
        if problems.is_empty()
            && !finalizer.contains('/')
            && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion")
        {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_text(field, finalizer, text));
        }
    }
}

fn owners(errors: &mut Vec<FieldError>, object: &Value) {
    let mut controller: Option<&str> = None;
    for owner in meta::owner_references(object) {
        let parts = [("apiVersion", owner.api_version), ("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)];
        for (field, _) in parts.iter().filter(|(_, text)| text.is_empty()) {
            let path = format!("metadata.ownerReferences.{field}");
            errors.push(FieldError::invalid_text(path, "", "must not be empty"));
        }
        if !owner.controller {
            continue;
        }
        if let Some(first) = controller {
            let text = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                owner.name
            );
            let all = object.pointer("/metadata/ownerReferences").unwrap_or(&Value::Null);
            errors.push(FieldError::invalid("metadata.ownerReferences", all, &text));
        }
        controller = Some(owner.name);
    }
}

/// What of the metadata no update may touch.
pub(crate) fn metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let (new, old) = (meta::string_at(new, &["metadata", field]), meta::string_at(old, &["metadata", field]));
        if new != old {
            errors.push(FieldError::invalid_text(format!("metadata.{field}"), new, IMMUTABLE));
        }
    }
    if meta::deletion_timestamp(old).is_some() {
        let before = meta::finalizers(old);
        let added: Vec<&str> = meta::finalizers(new).into_iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let text = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &text));
        }
    }
    errors
}
