//! The vocabulary: every resource kind and the change report of one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing on a host that Naru keeps as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Resource {
    /// A directory with this mode; its contents are not looked at.
    Directory { path: String, mode: u32 },
    /// A regular file with exactly this content, written to a temporary name and renamed.
    File { path: String, mode: u32, content: Content },
    /// An executable copied from the host's artifact store (`/var/lib/naru/artifacts/<sha256>`).
    Binary { path: String, sha256: String },
    /// Distribution packages that must be installed, by the host's own package manager.
    Packages { names: Vec<String> },
    /// A kernel parameter, set now and kept in `/etc/sysctl.d/90-naru.conf`.
    Sysctl { key: String, value: String },
    /// A kernel module that must be loaded or built in, kept in `/etc/modules-load.d/naru.conf`.
    KernelModule { name: String },
    /// Swap off now and at boot (`enabled: false`); `enabled: true` leaves the host as it is.
    Swap { enabled: bool },
    /// A systemd unit: its file, whether it starts at boot, and that it runs. It is restarted when the unit file or
    /// one of `restart_on` (paths) is another one than its main process found when it started.
    Unit { name: String, content: Option<Content>, enabled: bool, restart_on: Vec<String> },
    /// A container image in containerd's `k8s.io` namespace, imported from an artifact (a docker or OCI archive).
    Image { reference: String, sha256: String },
    /// The pause image that CRI sandboxes run; built by the agent itself, so that no registry is asked.
    PauseImage { reference: String },
    /// A certificate authority whose key is made on this host and never leaves it.
    Authority(Authority),
    /// A key pair made on this host and a certificate for it. Checked here, issued by the executor
    /// (signing request here, signature on the authority's host).
    Certificate(Certificate),
    /// A file, unit or empty directory of ours that must not be there any more; a unit is stopped and disabled first.
    Absent { path: String },
    /// An ECDSA P-256 key pair for service-account tokens: private key (0600) and public key (0644), PKCS#8/SPKI PEM.
    KeyPair { private_path: String, public_path: String },
}

impl Resource {
    /// The artifact that it is made from (sha256).
    #[must_use]
    pub fn artifact(&self) -> Option<&str> {
        match self {
            Self::Binary { sha256, .. } | Self::Image { sha256, .. } => Some(sha256),
            _ => None,
        }
    }
}

/// Text of a file. A sensitive one is never shown in a diff, a plan or a journal; it holds markers of secrets
/// (`crate::secret`) that are replaced just before it leaves for the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.sensitive { "(secret)" } else { &self.text };
        formatter.debug_struct("Content").field("text", &text).field("sensitive", &self.sensitive).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    pub certificate_path: String,
    pub key_path: String,
    pub common_name: String,
    pub days: u32,
}

/// What a certificate must say (RFC 5280). It is made anew when any of it differs, when it was signed by another
/// authority, or when less than a third of its life is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub certificate_path: String,
    pub key_path: String,
    /// The authority's certificate on this host; installed together with the leaf.
    pub authority_path: String,
    pub common_name: String,
    #[serde(default)]
    pub organizations: Vec<String>,
    /// DNS names and IP addresses.
    #[serde(default)]
    pub alternative_names: Vec<String>,
    pub usages: Vec<Usage>,
    pub days: u32,
    /// A life that is no number of whole days; where it is given, `days` is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<u64>,
}

impl Certificate {
    /// How long it is to be valid from the moment that it is signed.
    #[must_use]
    pub fn validity(&self) -> Duration {
        self.validity_seconds.map_or_else(|| naru_pki::Profile::days(self.days), Duration::from_secs)
    }
}

/// Extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Usage {
    ServerAuth,
    ClientAuth,
}

/// What `check` found, or what `apply` did: nothing is reported for a resource that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Index of the resource in the request.
    pub resource: usize,
    /// One line: `create /etc/naru/node.yaml`, `install containerd runc`, `restart naru-node.service`.
    pub summary: String,
    /// Unified diff of a text file; absent for binaries and sensitive content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption: Option<Disruption>,
}

/// What else stops or restarts because of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Disruption {
    StartUnit(String),
    RestartUnit(String),
    StopUnit(String),
    /// The node's pods are moved elsewhere.
    DrainNode(String),
    /// The node leaves the cluster.
    RemoveNode(String),
    Reboot(String),
}
