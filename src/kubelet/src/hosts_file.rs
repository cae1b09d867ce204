//! The /etc/hosts that containers of a pod share.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::{PodExt, spec};

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                     fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// `host_hosts` is the host's own file, which pods in the host's network see.
pub(crate) fn render(pod: &Pod, pod_ips: &[String], cluster_domain: &str, host_hosts: &str) -> String {
    let mut text = String::new();
    if pod.host_network() {
        text.push_str(HEADER_HOST_NETWORK);
        text.push_str(host_hosts);
    } else {
        text.push_str(HEADER);
        text.push_str(LOCAL);
        for ip in pod_ips {
            let names = match pod.fqdn(cluster_domain) {
                Some(full) => format!("{full}\t{}", pod.hostname()),
                None => pod.hostname(),
            };
            writeln!(text, "{ip}\t{names}").expect("a String takes everything");
        }
    }
    let aliases = spec(pod).host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            writeln!(text, "{}\t{names}", alias.ip).expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_pod() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": {"containers": [], "subdomain": "web", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}
        }))
        .unwrap();
        let text = render(&pod, &["10.244.1.2".into()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.244.1.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }
}
