//! Namespaces, priority classes, and the two Services by which pods find the API and the cluster's DNS.

use serde_json::{Value, json};

use super::{BootstrapConfig, Target};

pub(super) fn namespaces() -> Vec<Target> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    let object = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        })
    };
    names.into_iter().map(|name| core("namespaces", object(name))).collect()
}

pub(super) fn priority_classes() -> Vec<Target> {
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, \
             but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    let object = |(name, value, description): (&str, i64, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    let target =
        |class| Target { group: "scheduling.k8s.io", version: "v1", plural: "priorityclasses", object: object(class) };
    classes.into_iter().map(target).collect()
}

pub(super) fn services(config: &BootstrapConfig) -> Vec<Target> {
    let api = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": config.service_range.nth(0), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.port}],
        },
    });
    let dns = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "KubeDNS",
            },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": config.dns_service_address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    });
    vec![core("services", api), core("services", dns)]
}

/// Where extension API servers find the authority that signs client certificates.
pub(super) fn configuration(config: &BootstrapConfig) -> Vec<Target> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": config.certificate_authority_pem},
    });
    vec![core("configmaps", object)]
}

pub(super) fn endpoints(config: &BootstrapConfig) -> Vec<Target> {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [config.advertise_address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": config.advertise_address}],
            "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
        }],
    });
    let slice = Target { group: "discovery.k8s.io", version: "v1", plural: "endpointslices", object: slice };
    vec![slice, core("endpoints", endpoints)]
}

fn core(plural: &'static str, object: Value) -> Target {
    Target { group: "", version: "v1", plural, object }
}
