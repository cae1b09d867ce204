//! The container runtime: packages, its configuration, how registries are reached.
//!
//! Two kinds of settings on purpose: mirrors stand in one `hosts.toml` per registry, which containerd (1.6, 1.7 and 2)
//! reads at each pull; credentials and the proxy are read only when containerd starts.

use std::net::Ipv4Addr;

use naru_agent::Facts;
use naru_inventory::{Host, Proxy, Registry};
use naru_resources::secret::{Notation, marker};
use naru_resources::{Content, Resource};
use serde_json::{Value as Json, json};

use super::{Blueprint, Desired, Stage};
use crate::templates;

pub(crate) const CONTAINERD_UNIT: &str = "containerd.service";
pub(crate) const PAUSE_IMAGE: &str = "naru.dev/pause:1";
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
const REGISTRIES: &str = "/etc/containerd/certs.d";
const PROXY_FOLDER: &str = "/etc/systemd/system/containerd.service.d";
const PROXY_DROP_IN: &str = "/etc/systemd/system/containerd.service.d/10-naru-proxy.conf";
const PACKAGE_PROXY: &str = "/etc/apt/apt.conf.d/90naru-proxy";
const PACKAGES: [&str; 4] = ["containerd", "containernetworking-plugins", "nftables", "runc"];
/// The name in image references and the host that really answers.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Whether containerd looks at this file at each pull, so that no restart is needed.
pub(crate) fn is_read_at_each_pull(path: &str) -> bool {
    path.starts_with(REGISTRIES)
}

/// The host that is asked for images of this registry.
fn server(registry: &Registry) -> &str {
    if registry.host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { &registry.host }
}

impl Blueprint<'_> {
    pub(super) fn runtime(&self, host: &Host, facts: &Facts, desired: &mut Desired) {
        let stage = Stage::Runtime;
        // Packages first: dpkg asks no questions about a configuration file that it brings itself.
        desired.add(stage, Resource::Packages { names: PACKAGES.map(str::to_owned).to_vec() });
        desired.directory(stage, "/etc/containerd", 0o755);
        desired.directory(stage, "/etc/cni/net.d", 0o755);
        let registries = &self.inventory.spec.runtime.registries;
        let credentials: Vec<Json> = registries.iter().filter_map(credentials).collect();
        let sensitive = !credentials.is_empty();
        let values = json!({
            "pause_image": PAUSE_IMAGE,
            "restrict_oom_score_adj": !facts.can_lower_oom_score,
            "cni_bin_directory": "/usr/lib/cni",
            "registries": REGISTRIES,
            "credentials": credentials,
        });
        let content = Content { text: templates::render("containerd.toml", &values), sensitive };
        let mode = if sensitive { 0o600 } else { 0o644 };
        desired.add(stage, Resource::File { path: CONTAINERD_CONFIG.to_owned(), mode, content });
        desired.directory(stage, REGISTRIES, 0o755);
        for registry in registries {
            let folder = format!("{REGISTRIES}/{}", registry.host);
            desired.directory(stage, &folder, 0o755);
            desired.file(stage, &format!("{folder}/hosts.toml"), 0o644, hosts_file(registry));
        }
        let mut restart_on = vec![CONTAINERD_CONFIG];
        if let Some(proxy) = &self.inventory.spec.proxy {
            desired.directory(stage, PROXY_FOLDER, 0o755);
            desired.file(stage, PROXY_DROP_IN, 0o644, self.proxy_drop_in(proxy, host));
            restart_on.push(PROXY_DROP_IN);
        }
        desired.unit(stage, CONTAINERD_UNIT, None, &restart_on);
        desired.add(stage, Resource::PauseImage { reference: PAUSE_IMAGE.to_owned() });
    }

    /// Before any package is installed.
    pub(super) fn package_proxy(&self, desired: &mut Desired) {
        let Some(proxy) = &self.inventory.spec.proxy else { return };
        let values = json!({"http": proxy.http, "https": https(proxy)});
        desired.file(Stage::Prepare, PACKAGE_PROXY, 0o644, templates::render("apt-proxy.conf", &values));
    }

    fn proxy_drop_in(&self, proxy: &Proxy, host: &Host) -> String {
        let network = &self.inventory.spec.network;
        let mut around = proxy.no_proxy.clone();
        let ours = [Ipv4Addr::LOCALHOST.to_string(), "localhost".to_owned(), host.address.clone()];
        around.extend(ours);
        // Not the workers: each new one would restart the runtime of all others.
        around.extend(self.control_planes.iter().map(|host| host.address.clone()));
        around.extend([network.pod_cidr.clone(), network.service_cidr.clone(), ".svc".to_owned()]);
        around.push(format!(".{}", network.domain));
        let mut seen = std::collections::BTreeSet::new();
        around.retain(|entry| seen.insert(entry.clone()));
        let values = json!({"http": proxy.http, "https": https(proxy), "no_proxy": around.join(",")});
        templates::render("containerd-proxy.conf", &values)
    }
}

fn https(proxy: &Proxy) -> Option<&String> {
    proxy.https.as_ref().or(proxy.http.as_ref())
}

fn credentials(registry: &Registry) -> Option<Json> {
    let password = registry.password.as_ref()?;
    let username = registry.username.as_deref().unwrap_or_default();
    let password = marker(&password.0, Notation::Quoted);
    Some(json!({"server": server(registry), "username": username, "password": password}))
}

fn hosts_file(registry: &Registry) -> String {
    let values = json!({
        "server": format!("https://{}", server(registry)),
        "mirrors": registry.mirrors,
        "skip_tls_verification": registry.skip_tls_verification,
    });
    templates::render("hosts.toml", &values)
}
