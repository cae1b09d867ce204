//! From Services and EndpointSlices to a `Ruleset`: which endpoints a packet may go to, by the service's traffic
//! policies and the endpoints' conditions (KEP-1669: serving ones that terminate are used when none is ready).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use sha2::{Digest, Sha256};

use super::ruleset::{MASQUERADE_MARK, Ruleset};
use crate::Config;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const AFFINITY_SECONDS: i32 = 10_800;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    address: String,
    port: i32,
    ready: bool,
    local: bool,
}

/// Port name → endpoints.
type Ports = BTreeMap<String, BTreeSet<Endpoint>>;

pub(super) fn ruleset(config: &Config, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Ruleset {
    let mut by_service: BTreeMap<(String, String), Ports> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) else { continue };
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        add_slice(config, slice, by_service.entry((namespace, service.clone())).or_default());
    }
    let mut ruleset = Ruleset { pod_network: config.pod_cidr.clone(), ..Ruleset::default() };
    for service in services {
        let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
        let key = (namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default());
        let Some(spec) = &service.spec else { continue };
        let cluster_address = spec.cluster_ip.as_deref().unwrap_or_default();
        let served_here = cluster_address == config.dns_service_address.to_string();
        if matches!(cluster_address, "" | "None") || served_here {
            continue;
        }
        let ports = by_service.remove(&key).unwrap_or_default();
        for port in spec.ports.iter().flatten() {
            let endpoints = ports.get(port.name.as_deref().unwrap_or_default());
            add_port(&mut ruleset, &key, spec, port, endpoints.unwrap_or(&BTreeSet::new()));
        }
    }
    ruleset
}

fn add_slice(config: &Config, slice: &EndpointSlice, ports: &mut Ports) {
    if slice.address_type != "IPv4" {
        return;
    }
    for port in slice.ports.iter().flatten() {
        let Some(number) = port.port else { continue };
        let endpoints = ports.entry(port.name.clone().unwrap_or_default()).or_default();
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
            if let Some(address) = endpoint.addresses.first().filter(|_| ready || serving) {
                let local = endpoint.node_name.as_deref() == Some(&config.node_name);
                endpoints.insert(Endpoint { address: address.clone(), port: number, ready, local });
            }
        }
    }
}

fn add_port(
    ruleset: &mut Ruleset,
    (namespace, name): &(String, String),
    spec: &ServiceSpec,
    port: &ServicePort,
    endpoints: &BTreeSet<Endpoint>,
) {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
    let identity = format!("{namespace}/{name}:{}/{protocol}", port.port);
    let hash = hex::encode(&Sha256::digest(&identity)[..6]);
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let configured = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        configured.and_then(|client| client.timeout_seconds).unwrap_or(AFFINITY_SECONDS).unsigned_abs()
    });
    let local_only = |policy: &Option<String>| policy.as_deref() == Some("Local");

    let inside = usable(endpoints, local_only(&spec.internal_traffic_policy));
    let inside_chain = format!("svc-{hash}");
    let addresses = spec.external_ips.iter().flatten().chain(&spec.cluster_ip);
    let keys: Vec<String> = addresses.map(|address| format!("{address} . {protocol} . {}", port.port)).collect();
    if inside.is_empty() {
        ruleset.refused.extend(keys);
    } else {
        ruleset.services.extend(keys.into_iter().map(|key| (key, inside_chain.clone())));
        add_chain(ruleset, &inside_chain, (&hash, &protocol), &inside, affinity);
    }

    let Some(node_port) = port.node_port.filter(|number| *number > 0) else { return };
    let key = format!("{protocol} . {node_port}");
    let outside_local = local_only(&spec.external_traffic_policy);
    let outside = usable(endpoints, outside_local);
    if outside.is_empty() {
        ruleset.refused_node_ports.insert(key);
        return;
    }
    let outside_chain = format!("ext-{hash}");
    if outside_local {
        add_chain(ruleset, &outside_chain, (&format!("{hash}-l"), &protocol), &outside, affinity);
    } else {
        // Any host may have answered: the reply must come back through this one.
        let mut rules = vec![format!("meta mark set meta mark or {MASQUERADE_MARK}")];
        if inside == outside {
            rules.push(format!("goto {inside_chain}"));
            ruleset.chains.insert(outside_chain.clone(), rules);
        } else {
            add_chain(ruleset, &outside_chain, (&format!("{hash}-x"), &protocol), &outside, affinity);
            let chain = ruleset.chains.get_mut(&outside_chain).expect("just added");
            chain.insert(0, rules.remove(0));
        }
    }
    ruleset.node_ports.insert(key, outside_chain);
}

fn usable(endpoints: &BTreeSet<Endpoint>, local_only: bool) -> Vec<&Endpoint> {
    let candidates = || endpoints.iter().filter(|endpoint| endpoint.local || !local_only);
    let ready: Vec<&Endpoint> = candidates().filter(|endpoint| endpoint.ready).collect();
    if ready.is_empty() { candidates().collect() } else { ready }
}

fn add_chain(
    ruleset: &mut Ruleset,
    chain: &str,
    (hash, protocol): (&str, &str),
    endpoints: &[&Endpoint],
    affinity: Option<u32>,
) {
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.local) {
        ruleset.hairpins.insert(format!("{0} . {0}", endpoint.address));
    }
    let count = endpoints.len();
    let Some(seconds) = affinity else {
        let choices = choices(endpoints.iter().map(|endpoint| format!("{} . {}", endpoint.address, endpoint.port)));
        let rule =
            format!("meta l4proto {protocol} dnat ip addr . port to numgen random mod {count} map {{ {choices} }}");
        ruleset.chains.insert(chain.to_owned(), vec![rule]);
        return;
    };
    let mut rules = Vec::new();
    let mut names = Vec::new();
    for endpoint in endpoints {
        let name = format!("ep-{hash}-{}-{}", endpoint.address.replace('.', "-"), endpoint.port);
        let set = format!("aff-{}", &name[3..]);
        ruleset.affinities.insert(set.clone(), seconds);
        rules.push(format!("ip saddr @{set} goto {name}"));
        let to_endpoint = vec![
            format!("update @{set} {{ ip saddr }}"),
            format!("meta l4proto {protocol} dnat to {}:{}", endpoint.address, endpoint.port),
        ];
        ruleset.chains.insert(name.clone(), to_endpoint);
        names.push(name);
    }
    let choices = choices(names.iter().map(|name| format!("goto {name}")));
    rules.push(format!("numgen random mod {count} vmap {{ {choices} }}"));
    ruleset.chains.insert(chain.to_owned(), rules);
}

fn choices(values: impl Iterator<Item = String>) -> String {
    values.enumerate().map(|(index, value)| format!("{index} : {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(extra: serde_json::Value) -> Arc<Service> {
        let mut service = json!({"metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.20", "ports": [{"port": 80, "nodePort": 30080, "targetPort": 8080}]}});
        service["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(service).unwrap())
    }

    fn slice(endpoints: serde_json::Value) -> Arc<EndpointSlice> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "default",
                "labels": {SERVICE_NAME_LABEL: "web"}}, "addressType": "IPv4",
                "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": endpoints}))
            .unwrap(),
        )
    }

    fn chain_of<'a>(ruleset: &'a Ruleset, key: &str) -> &'a [String] {
        &ruleset.chains[&ruleset.services[key]]
    }

    #[test]
    fn one_rule_picks_among_ready_endpoints() {
        let slices = [slice(json!([
            {"addresses": ["10.244.1.2"], "nodeName": "w1"},
            {"addresses": ["10.244.2.2"], "nodeName": "w2", "conditions": {"ready": true}},
            {"addresses": ["10.244.2.3"], "nodeName": "w2", "conditions": {"ready": false, "serving": true}},
        ]))];
        let ruleset = ruleset(&crate::tests::config(), &[service(json!({}))], &slices);
        let expected = "meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.2 . 8080 }";
        assert_eq!(chain_of(&ruleset, "10.96.0.20 . tcp . 80"), [expected]);
        assert!(ruleset.hairpins.contains("10.244.1.2 . 10.244.1.2"));
        assert!(ruleset.chains[&ruleset.node_ports["tcp . 30080"]][0].contains("mark"));
    }

    #[test]
    fn terminating_endpoints_serve_when_there_is_nothing_better() {
        let slices = [slice(json!([
            {"addresses": ["10.244.2.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ]))];
        let ruleset = ruleset(&crate::tests::config(), &[service(json!({}))], &slices);
        assert!(chain_of(&ruleset, "10.96.0.20 . tcp . 80")[0].contains("10.244.2.3"));
    }

    #[test]
    fn without_endpoints_the_service_refuses() {
        let ruleset = ruleset(&crate::tests::config(), &[service(json!({}))], &[]);
        assert!(ruleset.refused.contains("10.96.0.20 . tcp . 80") && ruleset.services.is_empty());
        assert!(ruleset.refused_node_ports.contains("tcp . 30080"));
    }

    #[test]
    fn local_policy_keeps_the_client_address() {
        let slices = [slice(json!([
            {"addresses": ["10.244.1.2"], "nodeName": "w1"}, {"addresses": ["10.244.2.2"], "nodeName": "w2"},
        ]))];
        let ruleset = ruleset(&crate::tests::config(), &[service(json!({"externalTrafficPolicy": "Local"}))], &slices);
        let rules = &ruleset.chains[&ruleset.node_ports["tcp . 30080"]];
        assert!(rules.len() == 1 && rules[0].contains("10.244.1.2") && !rules[0].contains("10.244.2.2"), "{rules:?}");
    }

    #[test]
    fn headless_services_and_cluster_dns_have_no_rules() {
        let services = [service(json!({"clusterIP": "None"})), service(json!({"clusterIP": "10.96.0.10"}))];
        let ruleset = ruleset(&crate::tests::config(), &services, &[]);
        assert!(ruleset.services.is_empty() && ruleset.refused.is_empty() && ruleset.node_ports.is_empty());
    }

    #[test]
    fn affinity_remembers_each_client() {
        let slices = [slice(json!([{"addresses": ["10.244.1.2"]}, {"addresses": ["10.244.2.2"]}]))];
        let ruleset = ruleset(&crate::tests::config(), &[service(json!({"sessionAffinity": "ClientIP"}))], &slices);
        assert_eq!(ruleset.affinities.len(), 2);
        assert!(chain_of(&ruleset, "10.96.0.20 . tcp . 80")[0].starts_with("ip saddr @aff-"));
    }

    /// The kernel's own judgement, in a network namespace that ends with the command.
    #[test]
    fn the_kernel_takes_every_step() {
        let one = [slice(json!([{"addresses": ["10.244.1.2"], "nodeName": "w1"}]))];
        let two = [slice(json!([{"addresses": ["10.244.1.2"], "nodeName": "w1"}, {"addresses": ["10.244.2.2"]}]))];
        let sticky = [service(json!({"sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.7"]}))];
        let config = crate::tests::config();
        let steps = [
            ruleset(&config, &[service(json!({}))], &[]),
            ruleset(&config, &[service(json!({}))], &one),
            ruleset(&config, &[service(json!({"externalTrafficPolicy": "Local"}))], &two),
            ruleset(&config, &sticky, &two),
            ruleset(&config, &[], &[]),
        ];
        let directory = tempfile::tempdir().unwrap();
        let mut commands = String::from("set -e\n");
        let mut before: Option<&Ruleset> = None;
        for (index, step) in steps.iter().enumerate() {
            let script = before.map_or_else(|| Some(step.whole()), |before| step.difference(before)).unwrap();
            let path = directory.path().join(index.to_string());
            fs_err::write(&path, script).unwrap();
            commands += &format!("nft -f {}\n", path.display());
            if index == 2 {
                commands += &format!("nft list table ip {} | grep -q 10.244.2.2\n", super::super::ruleset::TABLE);
            }
            before = Some(step);
        }
        commands += &format!("! nft list table ip {} | grep -q 10.244\\.[12]\n", super::super::ruleset::TABLE);
        let output = std::process::Command::new("unshare").args(["--net", "sh", "-c", &commands]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
