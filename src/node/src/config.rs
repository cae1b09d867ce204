//! `/etc/naru/node.yaml`, read strictly: an unknown field is an error.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;

const API_VERSION: &str = "naru.dev/v1alpha1";
const KIND: &str = "NodeConfiguration";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the node configuration")]
    Read(#[from] std::io::Error),
    #[error("{path}: {message}")]
    Parse { path: String, message: String },
    #[error("{path}: expected apiVersion {API_VERSION}, kind {KIND}; found {api_version}, {kind}")]
    Kind { path: String, api_version: String, kind: String },
    #[error("{path}: controlPlanes must name at least one address")]
    NoControlPlane { path: String },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NodeConfiguration {
    api_version: String,
    kind: String,
    pub name: String,
    pub address: IpAddr,
    pub control_planes: Vec<SocketAddr>,
    pub pki: Pki,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub taints: Vec<TaintEntry>,
    #[serde(default = "default_domain")]
    pub cluster_domain: String,
    #[serde(rename = "dnsServiceIP")]
    pub dns_service_ip: IpAddr,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// The service rules follow the Services themselves.
    #[serde(rename = "serviceCIDR")]
    #[expect(dead_code, reason = "part of the file's format, which knows no other fields; nothing here needs it yet")]
    pub service_cidr: String,
    #[serde(default = "default_runtime")]
    pub runtime_endpoint: PathBuf,
    /// The runtime has it from its own configuration.
    #[serde(default = "default_pause_image")]
    #[expect(dead_code, reason = "part of the file's format, which knows no other fields; nothing here needs it yet")]
    pub pause_image: String,
    /// What the operator set; the rest is the kubelet's default.
    #[serde(default)]
    pub kubelet: KubeletSettings,
    /// Beyond the defaults only where several nodes share one host: tests.
    #[serde(default)]
    pub paths: Paths,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pki {
    pub certificate_authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct KubeletSettings {
    max_pods: Option<u32>,
    system_reserved: SystemReserved,
    container_log_max_bytes: Option<u64>,
    container_log_max_files: Option<usize>,
    node_status_update_ms: Option<u64>,
    node_status_report_ms: Option<u64>,
    runtime_request_timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SystemReserved {
    cpu_milli: u64,
    memory_bytes: u64,
    ephemeral_storage_bytes: u64,
}

impl KubeletSettings {
    /// The kubelet's defaults with what is set over them.
    pub(crate) fn settings(&self) -> naru_kubelet::Settings {
        let default = naru_kubelet::Settings::default();
        let span = |set: Option<u64>, default: Duration| set.map_or(default, Duration::from_millis);
        let SystemReserved { cpu_milli, memory_bytes, ephemeral_storage_bytes } = self.system_reserved;
        naru_kubelet::Settings {
            max_pods: self.max_pods.unwrap_or(default.max_pods),
            system_reserved: naru_kubelet::Reserved { cpu_milli, memory_bytes, ephemeral_storage_bytes },
            container_log_max_bytes: self.container_log_max_bytes.unwrap_or(default.container_log_max_bytes),
            container_log_max_files: self.container_log_max_files.unwrap_or(default.container_log_max_files),
            node_status_update: span(self.node_status_update_ms, default.node_status_update),
            node_status_report: span(self.node_status_report_ms, default.node_status_report),
            runtime_request_timeout: span(self.runtime_request_timeout_ms, default.runtime_request_timeout),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TaintEntry {
    key: String,
    #[serde(default)]
    value: Option<String>,
    effect: String,
}

impl From<TaintEntry> for Taint {
    fn from(entry: TaintEntry) -> Self {
        Taint { key: entry.key, value: entry.value, effect: entry.effect, time_added: None }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Paths {
    pub state: PathBuf,
    pub pod_logs: PathBuf,
    pub container_logs: PathBuf,
    pub cgroup_parent: String,
    pub kubelet_port: u16,
    /// The local load balancer unless a test talks to the API server itself.
    pub api_server: String,
}

impl Default for Paths {
    fn default() -> Self {
        let folders = naru_kubelet::Folders::default();
        Self {
            state: folders.state,
            pod_logs: folders.pod_logs,
            container_logs: folders.container_logs,
            cgroup_parent: "/kubepods".into(),
            kubelet_port: 10250,
            api_server: "https://127.0.0.1:6444".into(),
        }
    }
}

fn default_domain() -> String {
    "cluster.local".into()
}

fn default_runtime() -> PathBuf {
    "/run/containerd/containerd.sock".into()
}

fn default_pause_image() -> String {
    "naru.dev/pause:1".into()
}

impl NodeConfiguration {
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&fs_err::read_to_string(path)?, &path.display().to_string())
    }

    fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.clone(), message: error.to_string() })?;
        if config.api_version != API_VERSION || config.kind != KIND {
            return Err(ConfigError::Kind { path, api_version: config.api_version, kind: config.kind });
        }
        if config.control_planes.is_empty() {
            return Err(ConfigError::NoControlPlane { path });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
apiVersion: naru.dev/v1alpha1
kind: NodeConfiguration
name: w1
address: 10.1.0.21
controlPlanes: ["10.1.0.11:6443"]
pki:
  certificateAuthority: /etc/naru/pki/ca.crt
  certificate: /etc/naru/pki/kubelet.crt
  key: /etc/naru/pki/kubelet.key
labels: {disk: ssd}
taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]
clusterDomain: cluster.local
dnsServiceIP: 10.96.0.10
podCIDR: 10.244.0.0/16
serviceCIDR: 10.96.0.0/16
runtimeEndpoint: /run/containerd/containerd.sock
pauseImage: naru.dev/pause:1
"#;

    #[test]
    fn reads_what_the_provisioner_writes() {
        let config = NodeConfiguration::parse(GOOD, "node.yaml").unwrap();
        assert_eq!(config.name, "w1");
        assert_eq!(config.taints[0].effect, "NoSchedule");
        assert_eq!(config.paths.kubelet_port, 10250);
    }

    #[test]
    fn settings_go_over_the_defaults() {
        let set = "kubelet:\n  maxPods: 50\n  nodeStatusUpdateMs: 4000\n  systemReserved: {\"memoryBytes\":1048576}\n";
        let settings = NodeConfiguration::parse(&format!("{GOOD}{set}"), "f").unwrap().kubelet.settings();
        assert_eq!((settings.max_pods, settings.node_status_update), (50, Duration::from_secs(4)));
        assert_eq!(settings.system_reserved.memory_bytes, 1 << 20);
        assert_eq!(settings.container_log_max_files, 5, "what is not set keeps its default");
        assert!(NodeConfiguration::parse(&format!("{GOOD}kubelet: {{maxPod: 5}}\n"), "f").is_err());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(NodeConfiguration::parse(&format!("{GOOD}\nextra: 1\n"), "f").is_err());
        assert!(NodeConfiguration::parse(&GOOD.replace("NodeConfiguration", "Other"), "f").is_err());
        assert!(NodeConfiguration::parse(&GOOD.replace("\"10.1.0.11:6443\"", ""), "f").is_err());
        assert!(NodeConfiguration::parse(&GOOD.replace("10.1.0.21", "w1.example"), "f").is_err());
    }
}
