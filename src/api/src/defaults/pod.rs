//! Defaults of pods and of everything that carries a pod template.

use super::{canonical_quantities, entries, existing, set, set_number, set_text, spec};
use crate::meta;
use serde_json::{Map, Value, json};

const TOKEN_EXPIRATION_S: i64 = 3600;
const FILE_MODE: i64 = 0o644;

/// A pod, with the status that a new one has.
pub(crate) fn pod(pod: &mut Value) {
    if let Some(spec) = spec(pod) {
        pod_spec(spec);
        set(spec, "enableServiceLinks", true);
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            default_host_ports(spec);
        }
        requests_from_limits(spec);
    }
    let class = qos_class(pod);
    if let Some(status) = meta::map_mut(pod, "status") {
        set_text(status, "phase", "Pending");
        set_text(status, "qosClass", class);
    }
}

pub(crate) fn pod_template(object: &mut Value) {
    if let Some(template) = object.as_object_mut().and_then(|map| existing(map, "template")) {
        template_map(template);
    }
}

/// The `template` of a workload's spec.
pub(super) fn template_of(spec: &mut Map<String, Value>) {
    if let Some(template) = existing(spec, "template") {
        template_map(template);
    }
}

fn template_map(template: &mut Map<String, Value>) {
    if let Some(spec) = existing(template, "spec") {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    set_text(spec, "restartPolicy", "Always");
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "schedulerName", "default-scheduler");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    same_account(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        entries(spec, list).for_each(container);
    }
    entries(spec, "volumes").for_each(volume);
    canonical_quantities(spec, "overhead");
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always written.
fn same_account(spec: &mut Map<String, Value>) {
    let text = |spec: &Map<String, Value>, name: &str| {
        spec.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(account) = text(spec, "serviceAccountName").or_else(|| text(spec, "serviceAccount")) {
        spec.insert("serviceAccount".to_owned(), account.clone().into());
        spec.insert("serviceAccountName".to_owned(), account.into());
    }
}

fn container(container: &mut Map<String, Value>) {
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    if let Some(policy) = container.get("image").and_then(Value::as_str).map(pull_policy) {
        set_text(container, "imagePullPolicy", policy);
    }
    set(container, "resources", json!({}));
    if let Some(resources) = existing(container, "resources") {
        canonical_quantities(resources, "limits");
        canonical_quantities(resources, "requests");
    }
    for port in entries(container, "ports") {
        set_text(port, "protocol", "TCP");
    }
    for variable in entries(container, "env") {
        if let Some(field) = existing(variable, "valueFrom").and_then(|from| existing(from, "fieldRef")) {
            set_text(field, "apiVersion", "v1");
        }
        let from = existing(variable, "valueFrom").and_then(|from| existing(from, "resourceFieldRef"));
        if let Some(field) = from {
            divisor(field);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, name) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(http) = existing(lifecycle, name).and_then(|handler| existing(handler, "httpGet")) {
                http_get(http);
            }
        }
    }
}

/// Images without a tag, or with `latest`, may change under their name.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = match last.split_once('@') {
        Some(_) => return if last.contains(":latest@") { "Always" } else { "IfNotPresent" },
        None => last.split_once(':').map_or("latest", |(_, tag)| tag),
    };
    if tag == "latest" || tag.is_empty() { "Always" } else { "IfNotPresent" }
}

fn default_probe(probe: &mut Map<String, Value>) {
    set_number(probe, "timeoutSeconds", 1);
    set_number(probe, "periodSeconds", 10);
    set_number(probe, "successThreshold", 1);
    set_number(probe, "failureThreshold", 3);
    if let Some(http) = existing(probe, "httpGet") {
        http_get(http);
    }
    if let Some(grpc) = existing(probe, "grpc") {
        set(grpc, "service", "");
    }
}

fn http_get(http: &mut Map<String, Value>) {
    set_text(http, "path", "/");
    set_text(http, "scheme", "HTTP");
}

fn divisor(field: &mut Map<String, Value>) {
    set_text(field, "divisor", "0");
    let canonical = crate::quantity::canonical(&field["divisor"]);
    field.insert("divisor".to_owned(), canonical);
}

/// A container of a host-network pod listens on the host.
fn default_host_ports(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for container in entries(spec, list) {
            for port in entries(container, "ports") {
                if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
                    set_number(port, "hostPort", number);
                }
            }
        }
    }
}

/// Whoever is limited asks for as much, unless it says otherwise. Pods only: a template keeps what was written.
fn requests_from_limits(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for container in entries(spec, list) {
            let Some(resources) = existing(container, "resources") else { continue };
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { continue };
            set(resources, "requests", json!({}));
            if let Some(requests) = existing(resources, "requests") {
                for (name, limit) in limits {
                    set(requests, &name, limit);
                }
            }
        }
    }
}

fn volume(volume: &mut Map<String, Value>) {
    let has_source = volume.iter().any(|(name, value)| name != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for (name, field) in [("configMap", "defaultMode"), ("secret", "defaultMode"), ("downwardAPI", "defaultMode")] {
        if let Some(source) = existing(volume, name) {
            set(source, field, FILE_MODE);
        }
    }
    if let Some(host_path) = existing(volume, "hostPath") {
        set(host_path, "type", "");
    }
    if let Some(empty) = existing(volume, "emptyDir")
        && let Some(limit) = empty.get("sizeLimit").filter(|limit| !limit.is_null()).map(crate::quantity::canonical)
    {
        empty.insert("sizeLimit".to_owned(), limit);
    }
    if let Some(source) = existing(volume, "downwardAPI") {
        entries(source, "items").for_each(downward_item);
    }
    if let Some(projected) = existing(volume, "projected") {
        set(projected, "defaultMode", FILE_MODE);
        entries(projected, "sources").for_each(projection);
    }
    if let Some(template) = existing(volume, "ephemeral").and_then(|source| existing(source, "volumeClaimTemplate"))
        && let Some(spec) = existing(template, "spec")
    {
        set_text(spec, "volumeMode", "Filesystem");
    }
    if let Some(image) = existing(volume, "image") {
        let policy = image.get("reference").and_then(Value::as_str).map(pull_policy);
        set_text(image, "pullPolicy", policy.unwrap_or("IfNotPresent"));
    }
}

fn projection(source: &mut Map<String, Value>) {
    if let Some(token) = existing(source, "serviceAccountToken") {
        set(token, "expirationSeconds", TOKEN_EXPIRATION_S);
    }
    if let Some(downward) = existing(source, "downwardAPI") {
        entries(downward, "items").for_each(downward_item);
    }
}

fn downward_item(item: &mut Map<String, Value>) {
    if let Some(field) = existing(item, "fieldRef") {
        set_text(field, "apiVersion", "v1");
    }
    if let Some(field) = existing(item, "resourceFieldRef") {
        divisor(field);
    }
}

/// Guaranteed: every container limits CPU and memory and asks for just that. BestEffort: nobody asks for anything.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let containers = || {
        let ordinary = meta::list_at(pod, &["spec", "containers"]).iter();
        ordinary.chain(meta::list_at(pod, &["spec", "initContainers"]))
    };
    let amount = |container: &Value, kind: &str, name: &str| {
        let value = container.get("resources")?.get(kind)?.get(name)?;
        crate::quantity::Quantity::from_json(value).ok().filter(|quantity| !quantity.is_zero())
    };
    let compute = ["cpu", "memory"];
    let asks = |container: &Value| {
        compute.iter().any(|name| amount(container, "requests", name).or(amount(container, "limits", name)).is_some())
    };
    let guaranteed = |container: &Value| {
        compute.iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && amount(container, "requests", name).or(limit) == limit
        })
    };
    match () {
        () if !containers().any(asks) => "BestEffort",
        () if containers().all(guaranteed) => "Guaranteed",
        () => "Burstable",
    }
}
