//! What `pods/resize` and `pods/ephemeralcontainers` may change: a right to one of them is no right to the whole pod.

use std::collections::BTreeSet;

use naru_api::{FieldError, meta, names};
use serde_json::Value;

use crate::registry::metadata::is_empty;

const CONTAINER_LISTS: [&str; 2] = ["containers", "initContainers"];
/// Fields that only containers with a life of their own have.
const NOT_EPHEMERAL: [&str; 7] =
    ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy"];

/// Errors of a changed pod, by subresource.
pub(super) fn judge(subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    match subresource {
        "resize" if without_resources(new) != without_resources(old) => {
            vec![FieldError::forbidden("spec", "only cpu and memory resources are mutable")]
        }
        "ephemeralcontainers" => ephemeral(new, old),
        _ => Vec::new(),
    }
}

fn without_resources(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for list in CONTAINER_LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().map(|container| container.remove("resources"));
        }
    }
    spec
}

fn ephemeral(new: &Value, old: &Value) -> Vec<FieldError> {
    let list = |pod| meta::list_at(pod, &["spec", "ephemeralContainers"]);
    let name_of = |container| meta::string_at(container, &["name"]);
    let mut errors = Vec::new();
    for before in list(old) {
        let name = name_of(before);
        let text = match list(new).iter().find(|after| name_of(after) == name) {
            None => format!("existing ephemeral containers {name:?} may not be removed"),
            Some(after) if after != before => format!("existing ephemeral containers {name:?} may not be changed"),
            Some(_) => continue,
        };
        errors.push(FieldError::forbidden("spec.ephemeralContainers", &text));
    }
    let mut taken: BTreeSet<&str> =
        CONTAINER_LISTS.iter().flat_map(|field| meta::list_at(new, &["spec", field])).map(name_of).collect();
    let targets = taken.clone();
    for (index, container) in list(new).iter().enumerate() {
        let path = format!("spec.ephemeralContainers[{index}]");
        let name = name_of(container);
        for problem in names::dns1123_label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), &problem));
        }
        if !taken.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        if meta::string_at(container, &["image"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
        for field in NOT_EPHEMERAL.into_iter().filter(|field| !is_empty(&container[*field])) {
            let text = "cannot be set for an Ephemeral Container";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), text));
        }
        let target = meta::string_at(container, &["targetContainerName"]);
        if !target.is_empty() && !targets.contains(target) {
            let text = "no container of the pod has this name";
            errors.push(FieldError::invalid(format!("{path}.targetContainerName"), &target.into(), text));
        }
    }
    errors
}
