//! Services, endpoint slices, ingresses, network policies.

use super::{Checker, label_selector, labels, port_or_name};
use crate::resource::FieldError;
use crate::{meta, names};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const SERVICE_TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(crate) fn service(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut check = Checker::new(spec, "spec");
    check.one_of("type", SERVICE_TYPES, true);
    check.one_of("sessionAffinity", &["ClientIP", "None"], true);
    let kind = check.text("type");
    let headless = check.text("clusterIP") == "None";
    match kind {
        "ExternalName" => {
            let name = check.text("externalName");
            if check.required("externalName") {
                check.problems("externalName", name, names::dns1123_subdomain(name.trim_end_matches('.')));
            }
        }
        _ if !headless => {
            check.required("ports");
        }
        "NodePort" | "LoadBalancer" => {
            check.problems("clusterIPs[0]", "None", vec![format!("may not be set to 'None' for {kind} services")]);
        }
        _ => {}
    }
    for (index, address) in meta::list_at(spec, &["clusterIPs"]).iter().enumerate() {
        let text = address.as_str().unwrap_or_default();
        if text != "None" && text.parse::<IpAddr>().is_err() {
            check.problems(&format!("clusterIPs[{index}]"), text, vec![NOT_AN_ADDRESS.to_owned()]);
        }
    }
    for (index, address) in meta::list_at(spec, &["externalIPs"]).iter().enumerate() {
        let text = address.as_str().unwrap_or_default();
        if text.parse::<IpAddr>().is_err() {
            check.problems(&format!("externalIPs[{index}]"), text, vec![NOT_AN_ADDRESS.to_owned()]);
        }
    }
    labels(&mut check.errors, "spec.selector", &spec["selector"]);
    service_ports(&mut check.errors, spec, kind);
    check.one_of("internalTrafficPolicy", &["Cluster", "Local"], false);
    check.one_of("externalTrafficPolicy", &["Cluster", "Local"], false);
    check.errors
}

fn service_ports(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    let ports = meta::list_at(spec, &["ports"]);
    let (mut seen_names, mut seen) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let mut check = Checker::new(port, format!("spec.ports[{index}]"));
        let name = check.text("name");
        if name.is_empty() {
            if ports.len() > 1 {
                check.required("name");
            }
        } else {
            check.problems("name", name, names::dns1123_label(name));
            if !seen_names.insert(name) {
                let field = check.at("name");
                check.push(FieldError::duplicate(field, &name.into()));
            }
        }
        check.port_number("port");
        check.one_of("protocol", PROTOCOLS, true);
        if let Some(target) = meta::at(port, &["targetPort"]) {
            let field = check.at("targetPort");
            port_or_name(&mut check.errors, &field, target);
        }
        let number = meta::integer_at(port, &["port"]).unwrap_or_default();
        if !seen.insert((number, check.text("protocol"))) {
            let field = check.path.clone();
            check.push(FieldError::duplicate(field, &json!({"port": number, "protocol": port["protocol"]})));
        }
        let has_node_port = meta::integer_at(port, &["nodePort"]).is_some_and(|number| number != 0);
        if has_node_port && matches!(kind, "ClusterIP" | "ExternalName") {
            let field = check.at("nodePort");
            check.push(FieldError::forbidden(field, &format!("may not be used when `type` is '{kind}'")));
        }
        errors.append(&mut check.errors);
    }
}

pub(crate) fn service_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let kind = |service: &Value| meta::string_at(service, &["spec", "type"]).to_owned();
    let address = |service: &Value| meta::string_at(service, &["spec", "clusterIP"]).to_owned();
    // Only a service without an address of its own may get another one.
    let keeps = kind(old) != "ExternalName" && kind(new) != "ExternalName" && !address(old).is_empty();
    if keeps && address(new) != address(old) {
        let shown = new.pointer("/spec/clusterIPs").cloned().unwrap_or_else(|| json!([address(new)]));
        return vec![FieldError::invalid("spec.clusterIPs[0]", &shown, "may not change once set")];
    }
    Vec::new()
}

pub(crate) fn endpoint_slice(object: &Value) -> Vec<FieldError> {
    let mut check = Checker::new(object, "");
    check.one_of("addressType", &["FQDN", "IPv4", "IPv6"], true);
    let kind = check.text("addressType");
    for (index, endpoint) in meta::list_at(object, &["endpoints"]).iter().enumerate() {
        let path = format!("endpoints[{index}].addresses");
        let addresses = meta::list_at(endpoint, &["addresses"]);
        if addresses.is_empty() {
            check.push(FieldError::required(path.clone(), "must contain at least 1 address"));
        }
        for (position, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            let parsed = text.parse::<IpAddr>();
            let wrong = match kind {
                "IPv4" => !parsed.is_ok_and(|address| address.is_ipv4()),
                "IPv6" => !parsed.is_ok_and(|address| address.is_ipv6()),
                _ => false,
            };
            if wrong {
                let text_of = format!("must be a valid {kind} address");
                check.push(FieldError::invalid_text(format!("{path}[{position}]"), text, &text_of));
            }
        }
    }
    let mut seen = HashSet::new();
    for (index, port) in meta::list_at(object, &["ports"]).iter().enumerate() {
        let name = meta::string_at(port, &["name"]);
        if !seen.insert(name) {
            check.push(FieldError::duplicate(format!("ports[{index}].name"), &name.into()));
        }
    }
    check.errors
}

pub(crate) fn ingress(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    let rules = meta::list_at(spec, &["rules"]);
    if rules.is_empty() && meta::at(spec, &["defaultBackend"]).is_none() {
        errors.push(FieldError::invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"));
    }
    for (index, rule) in rules.iter().enumerate() {
        for (position, path) in meta::list_at(rule, &["http", "paths"]).iter().enumerate() {
            let field = format!("spec.rules[{index}].http.paths[{position}].pathType");
            match meta::string_at(path, &["pathType"]) {
                "" => errors.push(FieldError::required(field, "pathType must be specified")),
                "Exact" | "Prefix" | "ImplementationSpecific" => {}
                other => {
                    let known = ["Exact", "ImplementationSpecific", "Prefix"];
                    errors.push(FieldError::not_supported(field, other, &known));
                }
            }
        }
    }
    errors
}

pub(crate) fn network_policy(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    label_selector(&mut errors, "spec.podSelector", &spec["podSelector"]);
    for (index, policy) in meta::list_at(spec, &["policyTypes"]).iter().enumerate() {
        let text = policy.as_str().unwrap_or_default();
        if !matches!(text, "Ingress" | "Egress") {
            errors.push(FieldError::not_supported(format!("spec.policyTypes[{index}]"), text, &["Egress", "Ingress"]));
        }
    }
    errors
}
