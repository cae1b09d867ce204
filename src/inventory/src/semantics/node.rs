//! What runs on a node: the container runtime's registries and the kubelet's settings.

use std::collections::BTreeMap;

use naru_api::quantity::Quantity;

use super::{grammar, network};
use crate::document::Path;
use crate::extra_args::{self, ExtraArg};
use crate::spec::{Kubelet, Runtime};
use crate::structure::Finding;

pub(super) fn runtime(runtime: &Runtime, path: &Path, findings: &mut Vec<Finding>) {
    let mut seen = BTreeMap::new();
    for (index, registry) in runtime.registries.iter().enumerate() {
        let path = path.key("registries").index(index);
        if !grammar::is_host_and_port(&registry.host) || registry.host != registry.host.to_lowercase() {
            // A URL may carry a login.
            let shown = if registry.host.contains('@') { "this" } else { &format!("`{}`", registry.host) };
            let finding = Finding::new(path.key("host"), format!("{shown} is not a registry's name"))
                .detail("expected a name with or without a port, as docker.io or registry.example.com:5000");
            findings.push(match registry.host.contains("//") {
                true => finding.hint("without https://; URLs belong under `mirrors`"),
                false => finding,
            });
        }
        if let Some(earlier) = seen.insert(registry.host.as_str(), index) {
            let finding = Finding::new(path.key("host"), format!("the registry `{}` is given twice", registry.host));
            findings.push(finding.detail(format!("registry number {} is the same", earlier + 1)));
        }
        for (index, mirror) in registry.mirrors.iter().enumerate() {
            let path = path.key("mirrors").index(index);
            if let Err(problem) = grammar::url(mirror, true) {
                findings.push(network::url_finding(path, &problem, "https://mirror.example.com"));
            } else if registry.mirrors[..index].contains(mirror) {
                findings.push(Finding::new(path, format!("the mirror {mirror} is given twice")));
            }
        }
        match (&registry.username, &registry.password) {
            (Some(_), None) => {
                let finding = Finding::new(path.key("username"), "a username without a password").of_key();
                findings.push(finding.hint("add `password: ${NAME}` or `password: file:PATH`"));
            }
            (None, Some(_)) => {
                findings.push(Finding::new(path.key("password"), "a password without a username").of_key());
            }
            (Some(username), Some(_)) if username.is_empty() || username.contains(':') => {
                findings.push(Finding::new(path.key("username"), format!("`{username}` is not a username")));
            }
            _ => {}
        }
    }
}

pub(super) fn kubelet(kubelet: &Kubelet, path: &Path, findings: &mut Vec<Finding>) {
    for (resource, quantity) in &kubelet.system_reserved {
        let is_fine = Quantity::parse(quantity).is_ok_and(|quantity| !quantity.is_negative());
        if !is_fine {
            let finding =
                Finding::new(path.key("systemReserved").key(resource), format!("`{quantity}` is not a quantity"));
            findings.push(finding.detail("expected a number with or without a unit, as 200m, 1.5 or 512Mi"));
        }
    }
    for (name, value) in &kubelet.extra_args {
        extra_arg(extra_args::kubelet_arg(name), name, value, &path.key("extraArgs"), findings);
    }
}

/// A flag that is not in the table was told by the schema already.
pub(super) fn extra_arg(
    known: Option<&'static ExtraArg>,
    name: &str,
    value: &str,
    path: &Path,
    findings: &mut Vec<Finding>,
) {
    if let Some(Err(expected)) = known.map(|arg| arg.parse(value)) {
        let finding = Finding::new(path.key(name), format!("`{value}` cannot be the value of {name}"));
        findings.push(finding.detail(format!("expected {expected}")));
    }
}
