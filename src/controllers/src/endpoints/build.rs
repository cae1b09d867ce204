//! From a service and its pods to endpoints, grouped by the ports they have in common. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::runtime::meta;

/// Endpoints with the same ports and address family share slices.
pub(super) struct Group {
    pub ports: Vec<EndpointPort>,
    pub family: &'static str,
    pub endpoints: Vec<Endpoint>,
}

/// Nothing that a service can see has changed.
pub(super) fn same_for_services(old: &Pod, new: &Pod) -> bool {
    let place = |pod: &Pod| (meta::node_name(pod).to_owned(), meta::pod_is_terminal(pod), meta::pod_is_ready(pod));
    let address = |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
    old.metadata.uid == new.metadata.uid
        && old.metadata.labels == new.metadata.labels
        && meta::is_deleting(&old.metadata) == meta::is_deleting(&new.metadata)
        && place(old) == place(new)
        && address(old) == address(new)
}

pub(super) fn groups(service: &Service, pods: &[Arc<Pod>], zone_of: impl Fn(&str) -> Option<String>) -> Vec<Group> {
    let spec = service.spec.clone().unwrap_or_default();
    let families = spec.ip_families.filter(|families| !families.is_empty()).unwrap_or_else(|| vec!["IPv4".into()]);
    let service_ports = spec.ports.unwrap_or_default();
    let publish_unready = spec.publish_not_ready_addresses.unwrap_or(false);
    let mut groups = Vec::new();
    for family in families {
        let family = if family == "IPv6" { "IPv6" } else { "IPv4" };
        let mut by_ports: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !meta::pod_is_terminal(pod)) {
            let Some(address) = address(pod, family) else { continue };
            let ports = pod_ports(&service_ports, Some(pod));
            let key = serde_json::to_string(&ports).unwrap_or_default();
            let endpoint = endpoint(service, pod, address, publish_unready, &zone_of);
            by_ports.entry(key).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
        }
        if by_ports.is_empty() {
            let ports = pod_ports(&service_ports, None);
            by_ports.insert(String::new(), (ports, Vec::new()));
        }
        groups.extend(by_ports.into_values().map(|(ports, endpoints)| Group { ports, family, endpoints }));
    }
    groups
}

fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|entry| entry.ip.as_str()).chain(status.pod_ip.as_deref());
    let mut fitting = all.filter(|text| !text.is_empty() && text.contains(':') == (family == "IPv6"));
    fitting.next().map(str::to_owned)
}

/// The service's ports as this pod has them. A named port that the pod lacks is left out. Without a pod only numbers
/// are known.
fn pod_ports(service_ports: &[ServicePort], pod: Option<&Pod>) -> Vec<EndpointPort> {
    let resolved = service_ports.iter().filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        let number = match &port.target_port {
            None | Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) if name.is_empty() => port.port,
            Some(IntOrString::String(name)) => named_port(pod?, name, &protocol)?,
        };
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number),
            protocol: Some(protocol),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let found = ports
        .find(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol)?;
    Some(found.container_port)
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: String,
    publish_unready: bool,
    zone_of: &impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let serving = meta::pod_is_ready(pod);
    let terminating = meta::is_deleting(&pod.metadata);
    let spec = pod.spec.as_ref();
    let node_name = spec.and_then(|spec| spec.node_name.clone());
    let in_subdomain = spec.and_then(|spec| spec.subdomain.as_deref()) == Some(meta::name(&service.metadata));
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish_unready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: spec.and_then(|spec| spec.hostname.clone()).filter(|name| in_subdomain && !name.is_empty()),
        zone: node_name.as_deref().and_then(zone_of),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn named_ports_are_each_pods_own() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"name": "raw", "port": 9}]}
        }))
        .unwrap();
        let pod = |ip: &str, port: i32, phase: &str| {
            Arc::new(
                serde_json::from_value::<Pod>(json!({
                    "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
                    "status": {"podIP": ip, "phase": phase}
                }))
                .unwrap(),
            )
        };
        let pods = [pod("10.0.0.1", 8080, "Running"), pod("10.0.0.2", 9090, "Running"), pod("10.0.0.3", 1, "Failed")];
        let groups = groups(&service, &pods, |_| None);
        let seen: Vec<_> = groups.iter().map(|group| (group.ports[0].port, group.endpoints.len())).collect();
        assert_eq!(seen, [(Some(8080), 1), (Some(9090), 1)]);
        assert_eq!(groups[0].ports[0].name.as_deref(), Some(""), "an unnamed port has the empty name");
        assert_eq!(groups[0].ports[1].port, Some(9));
    }

    #[test]
    fn unready_pods_can_be_published() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "db"}, "spec": {"publishNotReadyAddresses": true, "ports": []}
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"hostname": "db-0", "subdomain": "db", "containers": []}, "status": {"podIP": "10.0.0.1"}
        }))
        .unwrap();
        let groups = groups(&service, &[Arc::new(pod)], |_| None);
        let endpoint = &groups[0].endpoints[0];
        assert_eq!(endpoint.conditions.as_ref().unwrap().ready, Some(true));
        assert_eq!(endpoint.conditions.as_ref().unwrap().serving, Some(false));
        assert_eq!(endpoint.hostname.as_deref(), Some("db-0"));
    }
}
