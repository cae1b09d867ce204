//! The resolver configuration of a pod, by its dnsPolicy.

use fs_err as fs;
use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

use crate::Config;
use crate::pod::{PodExt, spec};

/// systemd-resolved's stub on 127.0.0.53 cannot be reached from a pod; this file has its real servers.
const RESOLVED_FILE: &str = "/run/systemd/resolve/resolv.conf";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

pub(crate) fn of_pod(pod: &Pod, config: &Config) -> DnsConfig {
    let host = host_config();
    let policy = spec(pod).dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster_first = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let mut dns = if policy == "None" {
        DnsConfig::default()
    } else if cluster_first {
        let domain = &config.cluster_domain;
        let mut searches =
            vec![format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
        searches.extend(host.searches);
        DnsConfig { servers: vec![config.dns_service_ip.clone()], searches, options: vec!["ndots:5".into()] }
    } else {
        host
    };
    if let Some(extra) = &spec(pod).dns_config {
        dns.servers.extend(extra.nameservers.iter().flatten().cloned());
        dns.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            dns.options.retain(|text| text.split(':').next() != Some(name));
            dns.options.push(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    deduplicate(&mut dns.servers, MAX_SERVERS);
    deduplicate(&mut dns.searches, MAX_SEARCHES);
    dns
}

fn deduplicate(list: &mut Vec<String>, most: usize) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
    list.truncate(most);
}

fn host_config() -> DnsConfig {
    let text = fs::read_to_string(RESOLVED_FILE).or_else(|_| fs::read_to_string(RESOLV_CONF)).unwrap_or_default();
    parse(&text)
}

fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => {
                dns.searches = words.map(|word| word.trim_end_matches('.').to_owned()).filter(|w| !w.is_empty()).collect();
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_resolv_conf() {
        let dns = parse("# a\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example b.example.\noptions edns0\n");
        assert_eq!(dns.servers, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(dns.searches, ["a.example", "b.example"]);
        assert_eq!(dns.options, ["edns0"]);
    }
}
