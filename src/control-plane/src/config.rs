//! `ControlPlaneConfiguration`: read strictly, checked as a whole, every complaint with its place in the file.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use naru_apiserver::admission::{AddressRange, NodePorts, RangeError};
use serde::Deserialize;

const API_VERSION: &str = "naru.dev/v1alpha1";
const KIND: &str = "ControlPlaneConfiguration";
/// One less than the fewest ports that Services can do with.
const MIN_NODE_PORTS: u16 = 99;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration")]
    Read(#[from] std::io::Error),
    #[error("{path}: {reason}")]
    Syntax { path: String, reason: String },
    #[error("{path}: apiVersion and kind must be {API_VERSION} {KIND}, not {found}")]
    Kind { path: String, found: String },
    #[error("{path}: {field}: {value:?} is not an absolute path")]
    Relative { path: String, field: &'static str, value: PathBuf },
    #[error("{path}: serviceCIDR")]
    Range { path: String, source: RangeError },
    #[error("{path}: apiServer.nodePortRange: {first} to {last} is too narrow a range")]
    NodePorts { path: String, first: u16, last: u16 },
    #[error("{path}: dnsServiceIP: {address} is not an address of serviceCIDR {range}")]
    Dns { path: String, address: Ipv4Addr, range: AddressRange },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    api_version: String,
    kind: String,
    /// The host's name in the cluster.
    pub(crate) name: String,
    pub(crate) bind_address: IpAddr,
    pub(crate) port: u16,
    pub(crate) advertise_address: Ipv4Addr,
    pub(crate) data_directory: PathBuf,
    pub(crate) pki: Pki,
    #[serde(rename = "podCIDR")]
    pub(crate) pod_cidr: String,
    #[serde(rename = "serviceCIDR")]
    service_cidr: String,
    /// Nodes and pods use it; the control plane only carries it in its configuration.
    #[serde(rename = "clusterDomain")]
    _cluster_domain: String,
    #[serde(rename = "dnsServiceIP")]
    pub(crate) dns_service_ip: Ipv4Addr,
    /// What the operator set; the rest is the API server's default.
    #[serde(default)]
    pub(crate) api_server: ApiServerSettings,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ApiServerSettings {
    event_ttl_seconds: Option<u64>,
    request_timeout_ms: Option<u64>,
    min_request_timeout_seconds: Option<u64>,
    node_port_range: Option<PortRange>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortRange {
    first: u16,
    last: u16,
}

impl ApiServerSettings {
    /// The API server's defaults with what is set over them.
    pub(crate) fn settings(&self) -> naru_apiserver::Settings {
        let default = naru_apiserver::Settings::default();
        naru_apiserver::Settings {
            event_ttl: self.event_ttl_seconds.map_or(default.event_ttl, Duration::from_secs),
            request_timeout: self.request_timeout_ms.map_or(default.request_timeout, Duration::from_millis),
            watch_timeout_min_seconds: self.min_request_timeout_seconds.unwrap_or(default.watch_timeout_min_seconds),
        }
    }

    pub(crate) fn node_ports(&self) -> NodePorts {
        self.node_port_range.map_or_else(NodePorts::default, |PortRange { first, last }| NodePorts { first, last })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pki {
    pub(crate) certificate_authority: PathBuf,
    /// For signing requests of nodes; nothing here reads it yet.
    pub(crate) certificate_authority_key: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) kubelet_client_certificate: PathBuf,
    pub(crate) kubelet_client_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    pub(crate) service_account_public_key: PathBuf,
}

impl Config {
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&path.display().to_string(), &fs_err::read_to_string(path)?)
    }

    fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        let path = || path.to_owned();
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: path(), reason: error.to_string() })?;
        if config.api_version != API_VERSION || config.kind != KIND {
            let found = format!("{} {}", config.api_version, config.kind);
            return Err(ConfigError::Kind { path: path(), found });
        }
        for (field, value) in config.paths() {
            if !value.is_absolute() {
                return Err(ConfigError::Relative { path: path(), field, value: value.to_owned() });
            }
        }
        let range = config.service_range().map_err(|source| ConfigError::Range { path: path(), source })?;
        let NodePorts { first, last } = config.api_server.node_ports();
        if last.saturating_sub(first) < MIN_NODE_PORTS {
            return Err(ConfigError::NodePorts { path: path(), first, last });
        }
        if !range.contains(config.dns_service_ip) {
            return Err(ConfigError::Dns { path: path(), address: config.dns_service_ip, range });
        }
        Ok(config)
    }

    pub(crate) fn service_range(&self) -> Result<AddressRange, RangeError> {
        self.service_cidr.parse()
    }

    fn paths(&self) -> [(&'static str, &Path); 9] {
        [
            ("dataDirectory", &self.data_directory),
            ("pki.certificateAuthority", &self.pki.certificate_authority),
            ("pki.certificateAuthorityKey", &self.pki.certificate_authority_key),
            ("pki.certificate", &self.pki.certificate),
            ("pki.key", &self.pki.key),
            ("pki.kubeletClientCertificate", &self.pki.kubelet_client_certificate),
            ("pki.kubeletClientKey", &self.pki.kubelet_client_key),
            ("pki.serviceAccountKey", &self.pki.service_account_key),
            ("pki.serviceAccountPublicKey", &self.pki.service_account_public_key),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: naru.dev/v1alpha1
kind: ControlPlaneConfiguration
name: cp1
bindAddress: 0.0.0.0
port: 6443
advertiseAddress: 10.1.0.11
dataDirectory: /var/lib/naru/control-plane
pki:
  certificateAuthority: /a
  certificateAuthorityKey: /b
  certificate: /c
  key: /d
  kubeletClientCertificate: /e
  kubeletClientKey: /f
  serviceAccountKey: /g
  serviceAccountPublicKey: /h
podCIDR: 10.244.0.0/16
serviceCIDR: 10.96.0.0/16
clusterDomain: cluster.local
dnsServiceIP: 10.96.0.10
";

    #[test]
    fn the_documented_form_is_read() {
        let config = Config::parse("f", GOOD).unwrap();
        assert_eq!((config.name.as_str(), config.port), ("cp1", 6443));
        assert_eq!(config.service_range().unwrap().to_string(), "10.96.0.0/16");
    }

    #[test]
    fn settings_go_over_the_defaults() {
        let set = "apiServer:\n  eventTtlSeconds: 7200\n  nodePortRange: {first: 20000, last: 20999}\n";
        let config = Config::parse("f", &format!("{GOOD}{set}")).unwrap();
        let settings = config.api_server.settings();
        assert_eq!((settings.event_ttl.as_secs(), settings.request_timeout.as_secs()), (7_200, 60));
        assert_eq!(config.api_server.node_ports(), NodePorts { first: 20_000, last: 20_999 });
        let narrow = format!("{GOOD}apiServer: {{nodePortRange: {{first: 20000, last: 20010}}}}\n");
        assert!(Config::parse("f", &narrow).unwrap_err().to_string().contains("too narrow"));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            ("port: 6443", "prot: 6443", "line 5"),
            ("port: 6443", "port: many", "line 5"),
            ("advertiseAddress: 10.1.0.11", "advertiseAddress: cp1", "line 6"),
            ("kind: ControlPlaneConfiguration", "kind: Pod", "not naru.dev/v1alpha1 Pod"),
            (
                "dataDirectory: /var",
                "dataDirectory: var",
                "dataDirectory: \"var/lib/naru/control-plane\" is not an absolute",
            ),
            (
                "dnsServiceIP: 10.96.0.10",
                "dnsServiceIP: 10.97.0.10",
                "10.97.0.10 is not an address of serviceCIDR 10.96.0.0/16",
            ),
        ];
        for (from, to, expected) in cases {
            let error = Config::parse("f", &GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
