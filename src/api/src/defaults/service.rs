//! Defaults of services, endpoints and policies between pods.

use super::{entries, existing, set, set_text, spec};
use serde_json::{Map, Value, json};

/// A client sticks to its pod for three hours.
const AFFINITY_TIMEOUT_S: i64 = 10_800;

/// Addresses and node ports come from the allocators, not from here.
pub(crate) fn service(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set_text(spec, "sessionAffinity", "None");
    set_text(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    } else {
        set(spec, "sessionAffinityConfig", json!({}));
        if let Some(config) = existing(spec, "sessionAffinityConfig") {
            set(config, "clientIP", json!({}));
            if let Some(client) = existing(config, "clientIP") {
                set(client, "timeoutSeconds", AFFINITY_TIMEOUT_S);
            }
        }
    }
    for port in entries(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.is_null() || *target == 0 || target == "") {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    policies(spec, &kind);
    if let Some(object) = object.as_object_mut() {
        set(object, "status", json!({"loadBalancer": {}}));
    }
}

/// An update that leaves out what the server had allocated keeps it.
pub(crate) fn keep_allocated(new: &mut Value, old: &Value) {
    let kind = crate::meta::string_at(new, &["spec", "type"]).to_owned();
    let old_ports = crate::meta::list_at(old, &["spec", "ports"]).to_vec();
    let Some(spec) = spec(new) else { return };
    if kind == "ExternalName" {
        return;
    }
    for name in ["clusterIP", "clusterIPs"] {
        let unsaid = spec.get(name).is_none_or(|value| value.is_null() || value == "" || *value == json!([]));
        if let Some(kept) = old.pointer(&format!("/spec/{name}")).filter(|_| unsaid) {
            spec.insert(name.to_owned(), kept.clone());
        }
    }
    if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        return;
    }
    let key = |port: &Map<String, Value>| (port.get("port").cloned(), port.get("protocol").cloned());
    for port in entries(spec, "ports") {
        let wanted = key(port);
        let same = old_ports.iter().filter_map(Value::as_object).find(|old_port| key(old_port) == wanted);
        if let Some(kept) = same.and_then(|old_port| old_port.get("nodePort")).filter(|number| **number != 0) {
            super::set_number(port, "nodePort", kept.as_i64().unwrap_or_default());
        }
    }
}

fn policies(spec: &mut Map<String, Value>, kind: &str) {
    if matches!(kind, "NodePort" | "LoadBalancer") {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    if kind != "ExternalName" {
        address_families(spec);
    }
}

/// One family: the cluster has IPv4 only. `clusterIP` and `clusterIPs` say the same.
fn address_families(spec: &mut Map<String, Value>) {
    set(spec, "ipFamilies", json!(["IPv4"]));
    set_text(spec, "ipFamilyPolicy", "SingleStack");
    let single = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let listed = spec.get("clusterIPs").and_then(|list| list.get(0)).and_then(Value::as_str).map(str::to_owned);
    match listed {
        None if !single.is_empty() => {
            spec.insert("clusterIPs".to_owned(), json!([single]));
        }
        Some(listed) if single.is_empty() && !listed.is_empty() => {
            spec.insert("clusterIP".to_owned(), listed.into());
        }
        _ => {}
    }
}

pub(crate) fn endpoints(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    for subset in entries(object, "subsets") {
        for port in entries(subset, "ports") {
            set_text(port, "protocol", "TCP");
        }
    }
}

pub(crate) fn endpoint_slice(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    set(object, "endpoints", json!([]));
    set(object, "ports", json!([]));
    for port in entries(object, "ports") {
        set(port, "name", "");
        set_text(port, "protocol", "TCP");
    }
    for endpoint in entries(object, "endpoints") {
        set(endpoint, "conditions", json!({}));
    }
}

pub(crate) fn network_policy(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    set(spec, "podSelector", json!({}));
    for direction in ["ingress", "egress"] {
        for rule in entries(spec, direction) {
            for port in entries(rule, "ports") {
                set_text(port, "protocol", "TCP");
            }
        }
    }
    if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

pub(crate) fn ingress_class(object: &mut Value) {
    if let Some(parameters) = spec(object).and_then(|spec| existing(spec, "parameters")) {
        set_text(parameters, "scope", "Cluster");
    }
}
