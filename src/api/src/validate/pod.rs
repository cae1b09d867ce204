//! Pods, pod templates, and nodes (which share taints with them).

use super::{Checker, NOT_NEGATIVE, labels, port_or_name, quantities, unchanged};
use crate::quantity::Quantity;
use crate::resource::FieldError;
use crate::{meta, names};
use serde_json::{Map, Value};
use std::collections::HashSet;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];

pub(crate) fn pod(pod: &Value) -> Vec<FieldError> {
    pod_spec(pod.get("spec").unwrap_or(&Value::Null), "spec")
}

pub(crate) fn pod_template(object: &Value) -> Vec<FieldError> {
    template(&object["template"], "template")
}

/// A pod template at a path.
pub(super) fn template(template: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    labels(&mut errors, &format!("{path}.labels"), template.pointer("/metadata/labels").unwrap_or(&Value::Null));
    errors.extend(pod_spec(template.get("spec").unwrap_or(&Value::Null), &format!("{path}.spec")));
    errors
}

fn pod_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut check = Checker::new(spec, path);
    check.required("containers");
    check.one_of("restartPolicy", RESTART_POLICIES, true);
    check.one_of("dnsPolicy", DNS_POLICIES, true);
    check.not_negative("terminationGracePeriodSeconds");
    check.at_least("activeDeadlineSeconds", 1, "must be between 1 and 2147483647, inclusive");
    for (field, rule) in [
        ("serviceAccountName", names::dns1123_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
    ] {
        let text = check.text(field);
        if !text.is_empty() {
            check.problems(field, text, rule(text));
        }
    }
    labels(&mut check.errors, &format!("{path}.nodeSelector"), &spec["nodeSelector"]);
    let volumes = volumes(&mut check.errors, spec, path);
    let mut names = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (index, entry) in meta::list_at(spec, &[list]).iter().enumerate() {
            let path = format!("{path}.{list}[{index}]");
            let name = meta::string_at(entry, &["name"]);
            if !name.is_empty() && !names.insert(name) {
                check.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            container(&mut check.errors, entry, &path, &volumes);
        }
    }
    tolerations(&mut check.errors, spec, path);
    host_ports(&mut check.errors, spec, path);
    check.errors
}

/// Checks the volumes and gives their names.
fn volumes<'a>(errors: &mut Vec<FieldError>, spec: &'a Value, path: &str) -> HashSet<&'a str> {
    let mut known = HashSet::new();
    for (index, volume) in meta::list_at(spec, &["volumes"]).iter().enumerate() {
        let mut check = Checker::new(volume, format!("{path}.volumes[{index}]"));
        let name = check.text("name");
        if check.required("name") {
            check.problems("name", name, names::dns1123_label(name));
            if !known.insert(name) {
                let field = check.at("name");
                check.push(FieldError::duplicate(field, &name.into()));
            }
        }
        let empty = Map::new();
        let sources: Vec<&String> = volume
            .as_object()
            .unwrap_or(&empty)
            .iter()
            .filter(|(key, value)| *key != "name" && !value.is_null())
            .map(|(key, _)| key)
            .collect();
        for source in sources.iter().skip(1) {
            let field = check.at(source);
            check.push(FieldError::forbidden(field, "may not specify more than 1 volume type"));
        }
        if sources.is_empty() {
            let field = check.path.clone();
            check.push(FieldError::required(field, "must specify a volume type"));
        }
        for (source, field) in [
            ("hostPath", "path"),
            ("secret", "secretName"),
            ("configMap", "name"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if let Some(found) = meta::at(volume, &[source]) {
                let mut inner = Checker::new(found, check.at(source));
                inner.required(field);
                check.errors.append(&mut inner.errors);
            }
        }
        errors.append(&mut check.errors);
    }
    known
}

fn container(errors: &mut Vec<FieldError>, container: &Value, path: &str, volumes: &HashSet<&str>) {
    let mut check = Checker::new(container, path);
    let name = check.text("name");
    if check.required("name") {
        check.problems("name", name, names::dns1123_label(name));
    }
    let image = check.text("image");
    if check.required("image") && image != image.trim() {
        check.problems("image", image, vec!["must not have leading or trailing whitespace".to_owned()]);
    }
    check.one_of("imagePullPolicy", PULL_POLICIES, true);
    check.one_of("terminationMessagePolicy", &["FallbackToLogsOnError", "File"], true);
    ports(&mut check.errors, container, path);
    environment(&mut check.errors, container, path);
    mounts(&mut check.errors, container, path, volumes);
    resources(&mut check.errors, &container["resources"], &format!("{path}.resources"));
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = meta::at(container, &[field]) {
            probe(&mut check.errors, found, &format!("{path}.{field}"), field != "readinessProbe");
        }
    }
    for field in ["postStart", "preStop"] {
        if let Some(found) = meta::at(container, &["lifecycle", field]) {
            handler(
                &mut check.errors,
                found,
                &format!("{path}.lifecycle.{field}"),
                &["exec", "httpGet", "tcpSocket", "sleep"],
            );
        }
    }
    errors.append(&mut check.errors);
}

fn ports(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    let mut seen = HashSet::new();
    for (index, port) in meta::list_at(container, &["ports"]).iter().enumerate() {
        let mut check = Checker::new(port, format!("{path}.ports[{index}]"));
        let name = check.text("name");
        if !name.is_empty() {
            check.problems("name", name, names::port_name(name));
            if !seen.insert(name) {
                let field = check.at("name");
                check.push(FieldError::duplicate(field, &name.into()));
            }
        }
        match meta::integer_at(port, &["containerPort"]) {
            None | Some(0) => {
                let field = check.at("containerPort");
                check.push(FieldError::required(field, ""));
            }
            Some(_) => check.port_number("containerPort"),
        }
        if meta::integer_at(port, &["hostPort"]).is_some_and(|number| number != 0) {
            check.port_number("hostPort");
        }
        check.one_of("protocol", PROTOCOLS, true);
        errors.append(&mut check.errors);
    }
}

/// Two containers of a pod cannot have the same port of the host.
fn host_ports(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let mut taken = HashSet::new();
    for (container, entry) in meta::list_at(spec, &["containers"]).iter().enumerate() {
        for (index, port) in meta::list_at(entry, &["ports"]).iter().enumerate() {
            let Some(number) = meta::integer_at(port, &["hostPort"]).filter(|number| *number != 0) else { continue };
            let key =
                format!("{}/{}/{number}", meta::string_at(port, &["protocol"]), meta::string_at(port, &["hostIP"]));
            if !taken.insert(key.clone()) {
                let field = format!("{path}.containers[{container}].ports[{index}].hostPort");
                errors.push(FieldError::duplicate(field, &key.into()));
            }
        }
    }
}

fn environment(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    for (index, variable) in meta::list_at(container, &["env"]).iter().enumerate() {
        let mut check = Checker::new(variable, format!("{path}.env[{index}]"));
        let name = check.text("name");
        let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
        if check.required("name") && !name.bytes().all(printable) {
            let text =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            check.problems("name", name, vec![text.to_owned()]);
        }
        if let Value::Object(source) = check.value("valueFrom") {
            let kinds = source.iter().filter(|(_, value)| !value.is_null()).count();
            let field = check.at("valueFrom");
            if kinds == 0 {
                let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
                `secretKeyRef` or `fileKeyRef`";
                check.push(FieldError::invalid_text(field, "", text));
            } else if kinds > 1 {
                check.push(FieldError::invalid_text(field, "", "may not have more than one field specified at a time"));
            } else if !check.text("value").is_empty() {
                check.push(FieldError::invalid_text(field, "", "may not be specified when `value` is not empty"));
            }
        }
        match check.value("value") {
            Value::Null | Value::String(_) => {}
            other => {
                let field = check.at("value");
                check.push(FieldError::invalid(field, other, "must be a string"));
            }
        }
        errors.append(&mut check.errors);
    }
}

fn mounts(errors: &mut Vec<FieldError>, container: &Value, path: &str, volumes: &HashSet<&str>) {
    let mut points = HashSet::new();
    for (index, mount) in meta::list_at(container, &["volumeMounts"]).iter().enumerate() {
        let mut check = Checker::new(mount, format!("{path}.volumeMounts[{index}]"));
        let (name, point) = (check.text("name"), check.text("mountPath"));
        if check.required("name") && !volumes.contains(name) {
            let field = check.at("name");
            check.push(FieldError::not_found(field, name));
        }
        if check.required("mountPath") && !points.insert(point) {
            check.problems("mountPath", point, vec!["must be unique".to_owned()]);
        }
        let sub = check.text("subPath");
        if sub.starts_with('/') {
            check.problems("subPath", sub, vec!["must be a relative path".to_owned()]);
        }
        if sub.split('/').any(|part| part == "..") {
            check.problems("subPath", sub, vec!["must not contain '..'".to_owned()]);
        }
        errors.append(&mut check.errors);
    }
}

fn resources(errors: &mut Vec<FieldError>, resources: &Value, path: &str) {
    for kind in ["limits", "requests"] {
        quantities(errors, &format!("{path}.{kind}"), &resources[kind]);
    }
    for (name, request) in meta::map_at(resources, &["requests"]) {
        let Some(limit) = meta::map_at(resources, &["limits"]).get(name) else { continue };
        if let (Ok(asked), Ok(allowed)) = (Quantity::from_json(request), Quantity::from_json(limit))
            && asked > allowed
        {
            let text = format!("must be less than or equal to {name} limit of {allowed}");
            errors.push(FieldError::invalid(format!("{path}.requests"), request, &text));
        }
    }
}

fn probe(errors: &mut Vec<FieldError>, probe: &Value, path: &str, succeeds_once: bool) {
    handler(errors, probe, path, HANDLERS);
    let mut check = Checker::new(probe, path);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        check.at_least(field, 0, NOT_NEGATIVE);
    }
    if succeeds_once && meta::integer_at(probe, &["successThreshold"]).is_some_and(|number| number != 1) {
        let field = check.at("successThreshold");
        check.push(FieldError::invalid(field, &probe["successThreshold"], "must be 1"));
    }
    check.at_least("terminationGracePeriodSeconds", 1, "must be greater than 0");
    errors.append(&mut check.errors);
}

fn handler(errors: &mut Vec<FieldError>, handler: &Value, path: &str, kinds: &[&str]) {
    let found: Vec<&&str> = kinds.iter().filter(|kind| meta::at(handler, &[**kind]).is_some()).collect();
    if found.is_empty() {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    for extra in found.iter().skip(1) {
        errors.push(FieldError::forbidden(format!("{path}.{extra}"), "may not specify more than 1 handler type"));
    }
    if let Some(exec) = meta::at(handler, &["exec"])
        && meta::list_at(exec, &["command"]).is_empty()
    {
        errors.push(FieldError::required(format!("{path}.exec.command"), ""));
    }
    for kind in ["httpGet", "tcpSocket"] {
        if let Some(found) = meta::at(handler, &[kind]) {
            port_or_name(errors, &format!("{path}.{kind}.port"), found.get("port").unwrap_or(&Value::Null));
        }
    }
    if let Some(http) = meta::at(handler, &["httpGet"]) {
        let mut check = Checker::new(http, format!("{path}.httpGet"));
        check.required("path");
        check.one_of("scheme", &["HTTP", "HTTPS"], true);
        errors.append(&mut check.errors);
    }
}

fn tolerations(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    for (index, toleration) in meta::list_at(spec, &["tolerations"]).iter().enumerate() {
        let mut check = Checker::new(toleration, format!("{path}.tolerations[{index}]"));
        let (key, operator) = (check.text("key"), check.text("operator"));
        if !key.is_empty() {
            check.problems("key", key, names::qualified_name(key));
        } else if operator != "Exists" {
            let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            check.problems("operator", operator, vec![text.to_owned()]);
        }
        check.one_of("operator", &["Equal", "Exists"], false);
        let value = check.text("value");
        if operator == "Exists" && !value.is_empty() {
            check.problems("operator", operator, vec!["value must be empty when `operator` is 'Exists'".to_owned()]);
        }
        check.one_of("effect", TAINT_EFFECTS, false);
        let effect = check.text("effect");
        if !check.value("tolerationSeconds").is_null() && effect != "NoExecute" {
            check.problems(
                "effect",
                effect,
                vec!["effect must be 'NoExecute' when `tolerationSeconds` is set".to_owned()],
            );
        }
        errors.append(&mut check.errors);
    }
}

const POD_UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn pod_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["containers", "initContainers"] {
        if meta::list_at(new, &["spec", list]).len() != meta::list_at(old, &["spec", list]).len() {
            let text = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{list}"), text));
            return errors;
        }
    }
    let deadline = |pod: &Value| meta::integer_at(pod, &["spec", "activeDeadlineSeconds"]);
    match (deadline(new), deadline(old)) {
        (Some(after), Some(before)) if after > before => {
            let text = "must be less than or equal to previous value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", &after.into(), text));
        }
        (None, Some(_)) => {
            let text = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", &Value::Null, text));
        }
        _ => {}
    }
    let before = meta::list_at(old, &["spec", "tolerations"]);
    let after = meta::list_at(new, &["spec", "tolerations"]);
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.as_object_mut().map(|map| map.remove("tolerationSeconds"));
        toleration
    };
    let kept: Vec<Value> = after.iter().map(without_seconds).collect();
    if !before.iter().all(|toleration| kept.contains(&without_seconds(toleration))) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", text));
    }
    if fixed_part(new, old) != fixed_part(old, old) {
        errors.push(FieldError::forbidden("spec", POD_UPDATE));
    }
    errors
}

/// The spec without what an update may change.
fn fixed_part(pod: &Value, old: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    let Some(map) = spec.as_object_mut() else { return spec };
    let grace = meta::integer_at(old, &["spec", "terminationGracePeriodSeconds"]).unwrap_or_default();
    if grace < 0 {
        map.remove("terminationGracePeriodSeconds");
    }
    let gated = !meta::list_at(old, &["spec", "schedulingGates"]).is_empty();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        map.remove(field);
    }
    if gated {
        map.remove("nodeSelector");
        map.remove("affinity");
    }
    for list in ["containers", "initContainers"] {
        for container in map.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().map(|container| container.remove("image"));
        }
    }
    spec
}

pub(crate) fn node(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for (index, taint) in meta::list_at(node, &["spec", "taints"]).iter().enumerate() {
        let mut check = Checker::new(taint, format!("spec.taints[{index}]"));
        let (key, value) = (check.text("key"), check.text("value"));
        if check.required("key") {
            check.problems("key", key, names::qualified_name(key));
        }
        check.problems("value", value, names::label_value(value));
        check.one_of("effect", TAINT_EFFECTS, true);
        if !seen.insert((key, check.text("effect"))) {
            let field = check.path.clone();
            let mut error = FieldError::duplicate(field, taint);
            error.message.push_str(": taints must be unique by key and effect pair");
            check.push(error);
        }
        errors.append(&mut check.errors);
    }
    for field in ["capacity", "allocatable"] {
        quantities(
            &mut errors,
            &format!("status.{field}"),
            node.pointer(&format!("/status/{field}")).unwrap_or(&Value::Null),
        );
    }
    errors
}

pub(crate) fn node_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Both spell the same network, and routes are made from either.
    let changed = |pointer| new.pointer(pointer) != old.pointer(pointer);
    if !meta::list_at(old, &["spec", "podCIDRs"]).is_empty() && (changed("/spec/podCIDRs") || changed("/spec/podCIDR"))
    {
        let text = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", text));
    }
    if !meta::string_at(old, &["spec", "providerID"]).is_empty() {
        let mut changed = Vec::new();
        unchanged(&mut changed, "spec.providerID", new, old);
        let text = "node updates may not change providerID except from \"\" to valid";
        errors.extend(changed.iter().map(|error| FieldError::forbidden(error.field.clone(), text)));
    }
    errors
}
