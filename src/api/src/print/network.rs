//! Services, endpoints, ingresses, policies.

use super::{AGE, NAME, NONE, SELECTOR, format_labels, format_selector, scalar, shortened, text, text_or, wide};
use crate::meta;
use crate::resource::Column;
use serde_json::Value;

/// Addresses, hosts or ports shown before the rest is only counted.
const SHOWN: usize = 3;
/// A load balancer's address is cut to this.
const ADDRESS_WIDTH: usize = 16;

pub(crate) const SERVICE: &[Column] = &[
    NAME,
    text("Type", "How the service is exposed.", |service, _| meta::string_at(service, &["spec", "type"]).into()),
    text("Cluster-IP", "The address of the service within the cluster.", |service, _| {
        match meta::list_at(service, &["spec", "clusterIPs"]).first() {
            Some(first) => scalar(first).into(),
            None => text_or(service, &["spec", "clusterIP"], NONE),
        }
    }),
    text("External-IP", "Addresses outside the cluster.", |service, _| external_ip(service).into()),
    text("Port(s)", "Ports of the service.", |service, _| ports(service).into()),
    AGE,
    wide("Selector", SELECTOR, |service, _| format_labels(meta::map_at(service, &["spec", "selector"])).into()),
];

fn external_ip(service: &Value) -> String {
    let listed = meta::list_at(service, &["spec", "externalIPs"]).iter().map(scalar).collect::<Vec<_>>().join(",");
    match meta::string_at(service, &["spec", "type"]) {
        "ClusterIP" | "NodePort" if listed.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => listed,
        "LoadBalancer" => match (load_balancer(service), listed.is_empty()) {
            (address, true) if address.is_empty() => "<pending>".to_owned(),
            (address, true) => address,
            (address, false) if address.is_empty() => listed,
            (address, false) => format!("{address},{listed}"),
        },
        "ExternalName" => meta::string_at(service, &["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn load_balancer(object: &Value) -> String {
    let mut addresses: Vec<&str> = meta::list_at(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|entry| match meta::string_at(entry, &["ip"]) {
            "" => meta::string_at(entry, &["hostname"]),
            address => address,
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

fn ports(service: &Value) -> String {
    let one = |port: &Value| {
        let protocol = meta::string_at(port, &["protocol"]);
        let number = meta::integer_at(port, &["port"]).unwrap_or_default();
        match meta::integer_at(port, &["nodePort"]).filter(|node_port| *node_port > 0) {
            Some(node_port) => format!("{number}:{node_port}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    };
    let all: Vec<String> = meta::list_at(service, &["spec", "ports"]).iter().map(one).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

pub(crate) const ENDPOINTS: &[Column] = &[
    NAME,
    text("Endpoints", "Addresses and ports of the pods behind the service.", |object, _| endpoints(object).into()),
    AGE,
];

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in meta::list_at(object, &["subsets"]) {
        let addresses = meta::list_at(subset, &["addresses"]);
        let ports = meta::list_at(subset, &["ports"]);
        let ip = |address: &Value| meta::string_at(address, &["ip"]).to_owned();
        if ports.is_empty() {
            all.extend(addresses.iter().map(ip));
        }
        for port in ports {
            let number = meta::integer_at(port, &["port"]).unwrap_or_default();
            all.extend(addresses.iter().map(|address| host_port(&ip(address), number)));
        }
    }
    if all.is_empty() { NONE.to_owned() } else { shortened(&all, SHOWN) }
}

fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

pub(crate) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType", "Kind of the addresses.", |slice, _| meta::string_at(slice, &["addressType"]).into()),
    text("Ports", "Ports of each endpoint.", |slice, _| {
        let one = |port: &Value| meta::integer_at(port, &["port"]).map_or("*".to_owned(), |number| number.to_string());
        or_unset(meta::list_at(slice, &["ports"]).iter().map(one).collect()).into()
    }),
    text("Endpoints", "Addresses of the endpoints.", |slice, _| {
        let addresses = meta::list_at(slice, &["endpoints"]).iter().flat_map(|one| meta::list_at(one, &["addresses"]));
        or_unset(addresses.map(scalar).collect()).into()
    }),
    AGE,
];

fn or_unset(items: Vec<String>) -> String {
    if items.is_empty() { "<unset>".to_owned() } else { shortened(&items, SHOWN) }
}

pub(crate) const INGRESS: &[Column] = &[
    NAME,
    text("Class", "The class that serves this ingress.", |ingress, _| {
        let annotation = meta::annotation(ingress, "kubernetes.io/ingress.class");
        annotation.map_or_else(|| text_or(ingress, &["spec", "ingressClassName"], NONE), Into::into)
    }),
    text("Hosts", "Hosts that incoming requests are matched against before the ingress rule", |ingress, _| {
        let rules = meta::list_at(ingress, &["spec", "rules"]).iter();
        let hosts: Vec<String> = rules.map(|rule| meta::string_at(rule, &["host"]).to_owned()).collect();
        let hosts: Vec<String> = hosts.into_iter().filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() { "*".into() } else { shortened(&hosts, SHOWN).into() }
    }),
    text("Address", "Ingress points of the load balancer.", |ingress, _| {
        let address = load_balancer(ingress);
        if address.len() <= ADDRESS_WIDTH {
            return address.into();
        }
        let cut: String = address.chars().take(ADDRESS_WIDTH - 3).collect();
        format!("{cut}...").into()
    }),
    text("Ports", "Ports of TLS configurations that open", |ingress, _| {
        if meta::list_at(ingress, &["spec", "tls"]).is_empty() { "80".into() } else { "80, 443".into() }
    }),
    AGE,
];

pub(crate) const INGRESS_CLASS: &[Column] = &[
    NAME,
    text("Controller", "Controller that is responsible for handling this class", |class, _| {
        meta::string_at(class, &["spec", "controller"]).into()
    }),
    text("Parameters", "A reference to a resource with additional parameters", |class, _| {
        let Some(parameters) = meta::at(class, &["spec", "parameters"]) else { return NONE.into() };
        let kind = meta::string_at(parameters, &["kind"]);
        let name = meta::string_at(parameters, &["name"]);
        match meta::string_at(parameters, &["apiGroup"]) {
            "" => format!("{kind}/{name}").into(),
            group => format!("{kind}.{group}/{name}").into(),
        }
    }),
    AGE,
];

pub(crate) const NETWORK_POLICY: &[Column] = &[
    NAME,
    text("Pod-Selector", "The pods that the policy is about.", |policy, _| {
        format_selector(&policy["spec"]["podSelector"]).into()
    }),
    AGE,
];
