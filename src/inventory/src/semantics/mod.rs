//! What no schema can say: names, duplicates, overlapping networks, how many control planes, what is not supported yet.

mod grammar;
mod hosts;
mod network;
mod node;
mod ssh;
mod tasks;

use crate::document::Path;
use crate::names::is_dns_label;
use crate::spec::{Inventory, Store};
use crate::structure::Finding;

const LABEL_GRAMMAR: &str = "lower-case letters, digits and dashes, at most 63, a letter or digit at both ends";

/// Whether what only the planner knows is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    No,
    Yes,
}

pub(crate) fn check(inventory: &Inventory, ahead: Ahead) -> Vec<Finding> {
    let mut findings = Vec::new();
    let spec = Path::of("spec");
    head(inventory, &mut findings);
    let networks = network::networks(&inventory.spec.network, &spec.key("network"), &mut findings);
    control_plane(inventory, ahead, &spec.key("controlPlane"), &mut findings);
    node::runtime(&inventory.spec.runtime, &spec.key("runtime"), &mut findings);
    node::kubelet(&inventory.spec.kubelet, &spec.key("kubelet"), &mut findings);
    if let Some(proxy) = &inventory.spec.proxy {
        network::proxy(proxy, &spec.key("proxy"), &mut findings);
    }
    ssh::ssh(&inventory.spec.ssh, &spec.key("ssh"), &mut findings);
    tasks::rollout(&inventory.spec.rollout, &spec.key("rollout"), &mut findings);
    tasks::hooks(inventory, &spec.key("hooks"), &mut findings);
    tasks::files(inventory, &spec.key("files"), &mut findings);
    match (&inventory.spec.machines, inventory.spec.hosts.is_empty()) {
        (Some(_), false) => findings.push(
            Finding::new(spec.key("machines"), "both `hosts` and `machines` are given")
                .detail("hosts exist already, machines are made by a provider; a cluster has one or the other")
                .hint("remove one of them")
                .of_key(),
        ),
        (None, true) => findings.push(
            Finding::new(spec.key("hosts"), "no machines: neither `hosts` nor `machines` is given")
                .hint("list machines under `hosts`, or let a provider make them with `machines`"),
        ),
        (Some(machines), true) => hosts::groups(machines, &spec.key("machines"), &mut findings),
        (None, false) => hosts::hosts(&inventory.spec.hosts, &networks, &spec.key("hosts"), &mut findings),
    }
    hosts::counts(inventory, ahead, &spec, &networks, &mut findings);
    findings
}

fn head(inventory: &Inventory, findings: &mut Vec<Finding>) {
    let constant = |path: &str, found: &str, expected: &str| {
        (found != expected).then(|| {
            Finding::new(Path::of(path), format!("`{found}` is not known")).detail(format!("expected `{expected}`"))
        })
    };
    findings.extend(constant("apiVersion", &inventory.api_version, crate::API_VERSION));
    findings.extend(constant("kind", &inventory.kind, crate::KIND));
    if !is_dns_label(&inventory.metadata.name) {
        let primary = format!("`{}` is not a cluster name", inventory.metadata.name);
        findings.push(Finding::new(Path::of("metadata.name"), primary).detail(LABEL_GRAMMAR));
    }
    if !grammar::is_version(&inventory.spec.version) {
        let primary = format!("`{}` is not a version", inventory.spec.version);
        let finding = Finding::new(Path::of("spec.version"), primary).detail("expected three numbers, as v1.2.3");
        findings.push(finding.hint(format!("leave `version` out for that of this program, {}", crate::VERSION)));
    }
}

fn control_plane(inventory: &Inventory, ahead: Ahead, path: &Path, findings: &mut Vec<Finding>) {
    if inventory.spec.control_plane.store == Store::Etcd && ahead == Ahead::No {
        findings.push(
            Finding::new(path.key("store"), "the store `etcd` is not supported yet")
                .detail("this version keeps the cluster's state in the store embedded in its one control plane")
                .hint("use `store: embedded`, or leave it out"),
        );
    }
    if let Some(endpoint) = &inventory.spec.control_plane.endpoint
        && !grammar::is_endpoint(endpoint)
    {
        let finding = Finding::new(path.key("endpoint"), format!("`{endpoint}` is not an endpoint"));
        findings.push(finding.detail("expected a name or IPv4 address and a port: api.example.com:6443"));
    }
    let arguments = path.key("apiServer").key("extraArgs");
    for (name, value) in &inventory.spec.control_plane.api_server.extra_args {
        node::extra_arg(crate::extra_args::api_server_arg(name), name, value, &arguments, findings);
    }
}
