//! Protocol version 1. A frame is a 4-byte big-endian length and a JSON document of that length, at most
//! `MAX_FRAME_BYTES`; an `Upload` request is followed by raw frames of artifact bytes, ended by an empty frame.

use naru_resources::{Certificate, Change, Resource};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// What this host is. Always the first request.
    Facts,
    /// What differs from these resources; changes nothing.
    Check { resources: Vec<Resource> },
    /// Make it so, in this order, stopping at the first failure.
    Apply { resources: Vec<Resource> },
    /// Which of these artifacts (sha256) does the host not have yet?
    MissingArtifacts { sha256: Vec<String> },
    /// An artifact follows as raw frames; stored at `/var/lib/naru/artifacts/<sha256>` once its hash agrees.
    Upload { sha256: String, size_bytes: u64 },
    /// Make the private key if it is not there and answer a signing request for the certificate.
    SigningRequest { certificate: Certificate },
    /// Sign with the authority whose certificate and key lie on this host.
    Sign { signing_request_pem: String, certificate: Certificate, authority_key_path: String },
    /// Write certificate and authority certificate beside the key.
    InstallCertificate { certificate: Certificate, certificate_pem: String, authority_pem: String },
    /// A call of the Kubernetes API, made on a control-plane host with a short-lived administrator certificate that
    /// exists only in the agent's memory.
    Api(ApiRequest),
    /// Take the host's lock for changes; it is held until this connection ends.
    Lock { owner: String },
    /// Last lines of a unit's journal.
    UnitLog { unit: String, lines: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Response {
    Facts(Box<Facts>),
    Changes { changes: Vec<Change> },
    MissingArtifacts { sha256: Vec<String> },
    SigningRequest { pem: String },
    Signed { certificate_pem: String, authority_pem: String },
    Api(ApiResponse),
    Log { lines: Vec<String> },
    Done,
    Failed(Failure),
}

/// What a host is, gathered in one go. Unknown values are empty or zero, never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    pub hostname: String,
    pub machine_id: String,
    pub boot_id: String,
    pub os_id: String,
    pub os_version_id: String,
    pub os_pretty_name: String,
    pub architecture: String,
    pub kernel: String,
    /// 1 when controllers sit in version 1 hierarchies (hybrid included), else 2.
    pub cgroup_version: u8,
    pub init: String,
    pub memory_bytes: u64,
    pub cpus: u32,
    pub disk_free_bytes: u64,
    pub addresses: Vec<String>,
    pub resolvers: Vec<String>,
    pub swap_active: bool,
    /// Without CAP_SYS_RESOURCE containerd must be told to keep its hands off oom_score_adj.
    pub can_lower_oom_score: bool,
    pub unix_time_ms: i64,
    /// Versions of what is installed: `containerd`, `runc`, `nft`.
    pub versions: std::collections::BTreeMap<String, String>,
    pub units: Vec<UnitState>,
    /// Fingerprint of the cluster's authority that this host believes; empty when it has none.
    pub authority: Option<String>,
    /// Protocol and build of the agent.
    pub agent_version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitState {
    pub name: String,
    /// systemd's ActiveState: active, inactive, failed, activating…
    pub active_state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiRequest {
    pub method: String,
    /// Path and query, `/api/v1/nodes`.
    pub path: String,
    #[serde(default)]
    pub content_type: String,
    #[serde(default)]
    pub body: String,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiResponse {
    pub status: u16,
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub kind: FailureKind,
    /// What could not be done, for a person.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// May pass by itself: a network fault, a busy package manager. Worth a retry.
    Transient,
    /// Will not pass without somebody changing something.
    Permanent,
    /// Another operator holds the lock.
    Locked,
}
