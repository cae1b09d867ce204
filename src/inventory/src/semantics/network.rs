//! Networks of pods and Services, and proxies.

use super::grammar::{self, UrlProblem};
use crate::cidr::{Cidr, CidrError};
use crate::document::Path;
use crate::names::is_dns_name;
use crate::spec::{Network, Proxy};
use crate::structure::Finding;

/// Prefix length of one node's share of the pod network.
pub(super) const NODE_PREFIX: u8 = 24;

#[derive(Default)]
pub(super) struct Networks {
    pub(super) pods: Option<Cidr>,
    pub(super) services: Option<Cidr>,
}

pub(super) fn networks(network: &Network, path: &Path, findings: &mut Vec<Finding>) -> Networks {
    let pods = cidr(&network.pod_cidr, &path.key("podCIDR"), 8..=NODE_PREFIX, findings);
    let services = cidr(&network.service_cidr, &path.key("serviceCIDR"), 8..=24, findings);
    if let (Some(pods), Some(services)) = (pods, services)
        && pods.overlaps(services)
    {
        findings.push(
            Finding::new(path.key("serviceCIDR"), format!("serviceCIDR {services} overlaps podCIDR {pods}"))
                .detail("an address must belong either to a pod or to a Service")
                .hint("the defaults are 10.244.0.0/16 for pods and 10.96.0.0/16 for Services"),
        );
    }
    if !is_dns_name(&network.domain) {
        let primary = format!("`{}` is not a DNS domain", network.domain);
        findings.push(
            Finding::new(path.key("domain"), primary)
                .detail("names of lower-case letters, digits and dashes, joined by dots"),
        );
    }
    Networks { pods, services }
}

fn cidr(text: &str, path: &Path, prefixes: std::ops::RangeInclusive<u8>, findings: &mut Vec<Finding>) -> Option<Cidr> {
    match text.parse::<Cidr>() {
        Ok(cidr) if prefixes.contains(&cidr.prefix()) => Some(cidr),
        Ok(cidr) => {
            let detail = format!("prefix lengths from /{} to /{} are possible", prefixes.start(), prefixes.end());
            findings
                .push(Finding::new(path.clone(), format!("the network {cidr} has an unusable size")).detail(detail));
            None
        }
        Err(error) => {
            let finding = Finding::new(path.clone(), error.to_string());
            findings.push(match error {
                CidrError::HostBits { meant, .. } => finding.hint(format!("did you mean {meant}?")),
                _ => finding,
            });
            None
        }
    }
}

pub(super) fn proxy(proxy: &Proxy, path: &Path, findings: &mut Vec<Finding>) {
    if proxy.http.is_none() && proxy.https.is_none() {
        let finding = Finding::new(path.clone(), "a proxy without a URL").of_key();
        findings.push(finding.hint("give `http` or `https`, or remove `proxy`"));
    }
    for (key, url) in [("http", &proxy.http), ("https", &proxy.https)] {
        if let Some(Err(problem)) = url.as_ref().map(|url| grammar::url(url, false)) {
            findings.push(url_finding(path.key(key), &problem, "http://proxy.example.com:3128"));
        }
    }
    for (index, entry) in proxy.no_proxy.iter().enumerate() {
        let name = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')).unwrap_or(entry);
        let is_fine = name.parse::<std::net::IpAddr>().is_ok()
            || name.parse::<Cidr>().is_ok()
            || grammar::is_host_and_port(name)
            || entry == "*";
        if !is_fine {
            let primary = format!("`{entry}` names nothing that could be reached");
            let detail = "expected a name, a domain as .example.com, an address or a network";
            findings.push(Finding::new(path.key("noProxy").index(index), primary).detail(detail));
        }
    }
}

/// A URL with a login is never repeated.
pub(super) fn url_finding(path: Path, problem: &UrlProblem, example: &str) -> Finding {
    match problem {
        UrlProblem::Login => Finding::new(path, "a URL with a login in it")
            .detail("secrets do not belong into the inventory; the value is not shown here"),
        UrlProblem::Form(text) => Finding::new(path, format!("`{text}` is not a URL that can be used here"))
            .detail(format!("expected {example}")),
    }
}
