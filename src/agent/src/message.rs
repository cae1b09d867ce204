//! Protocol version 2. A frame is a 4-byte big-endian length and a JSON document of that length, at most
//! `MAX_FRAME_BYTES`; an `Upload` request is followed by raw frames of artifact bytes, ended by an empty frame.
//! Requests are answered one by one in their order, so a client may send the next before the last is answered.

use std::collections::BTreeMap;

use naru_resources::{Certificate, Change, Entry, Resource};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// What this host is. Always the first request.
    Facts,
    /// What differs from these resources, which of their artifacts are missing, and what Naru put here; changes
    /// nothing.
    Check { resources: Vec<Resource> },
    /// Make it so, in this order, stopping at the first failure. With `revert_after_seconds` everything is put back as
    /// it was unless `Confirm` comes over another connection before then; the time runs from the end of the change. A
    /// failure puts everything back at once. Packages and images stay. While a change waits, no other is made.
    Apply {
        resources: Vec<Resource>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revert_after_seconds: Option<u32>,
    },
    /// Keep what an `Apply` with this id made. Refused over the connection that made it, which proves nothing; saying
    /// it twice is as good as once.
    Confirm { confirmation: String },
    /// Which of these artifacts (sha256) does the host not have whole?
    MissingArtifacts { sha256: Vec<String> },
    /// An artifact follows as raw frames, from this offset on; stored at `/var/lib/naru/artifacts/<sha256>` once its
    /// hash agrees. What arrived before a cut is kept for the next attempt. The answer may come before the last frame:
    /// then it is a refusal, and the sender ends with an empty frame at once.
    Upload { sha256: String, size_bytes: u64, offset_bytes: u64 },
    /// Give these artifacts to other hosts, over HTTP on a port of the host's choice, until this connection ends.
    ServeArtifacts { sha256: Vec<String> },
    /// Get an artifact from one of these URLs of other hosts, tried in this order; checked like an upload.
    FetchArtifact { sha256: String, size_bytes: u64, urls: Vec<String>, deadline_ms: u64 },
    /// Make the private key if it is not there and answer a signing request for the certificate.
    SigningRequest { certificate: Certificate },
    /// Sign with the authority whose certificate and key lie on this host.
    Sign { signing_request_pem: String, certificate: Certificate, authority_key_path: String },
    /// Write certificate and authority certificate beside the key.
    InstallCertificate { certificate: Certificate, certificate_pem: String, authority_pem: String },
    /// A call of the Kubernetes API, made on a control-plane host with a short-lived administrator certificate that
    /// exists only in the agent's memory.
    Api(ApiRequest),
    /// Get ready to receive the cluster's identity: the authorities and keys that control planes share.
    ReceiveIdentity,
    /// Seal these files of the cluster's identity, which this control plane has, for a receiver.
    SealIdentity { paths: Vec<String>, recipient: String },
    /// Keep what was sealed for this connection's `ReceiveIdentity`.
    InstallIdentity { sealed: String },
    /// Take the host's lock for changes; it is held until this connection ends. The answer tells the highest fence
    /// that this host has seen: whoever holds a majority of locks takes one more than the highest of them all.
    Lock { owner: String },
    /// Changes over this connection belong to the holder of this fence. A host that has seen a higher one refuses
    /// this and every later change over the connection, so a holder who lost the lock unnoticed can do no harm; also
    /// an `Apply` under way stops at its next resource. A connection that never says a fence may make changes as long
    /// as no other connection holds this host's lock. Changes are: `Apply`, `Upload`, `FetchArtifact`,
    /// `SigningRequest`, `InstallCertificate`, `SealIdentity`, `InstallIdentity`, `Run`, `Reset`, and `Etcd` but for
    /// its members.
    Fence { fence: u64 },
    /// Last lines of a unit's journal; at most 10,000.
    UnitLog { unit: String, lines: u32 },
    /// Listen on these TCP ports until this connection ends, so that other hosts can try to reach them.
    Listen { ports: Vec<u16> },
    /// Try to open TCP connections and to resolve names, all at the same time.
    Probe { reach: Vec<Target>, resolve: Vec<String>, timeout_ms: u64 },
    /// Run a command of the operator's, with `sh -c`. At the deadline it and everything that it started is killed. Of
    /// much output the end is kept.
    Run { command: String, environment: BTreeMap<String, String>, deadline_ms: u64 },
    /// Ask or change the members of the etcd cluster that this host is part of. Answers the members as they are then.
    /// What is so already is left as it is, so every change may be asked for twice.
    Etcd(EtcdRequest),
    /// Walk the chain that makes a node Ready and tell how far it holds.
    Diagnose,
    /// Remove what Naru put here: pods, units, files, network. Packages and container images stay, and files of the
    /// host's that ours took the place of come back. May be cut off anywhere and asked for again.
    Reset,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Response {
    Facts(Box<Facts>),
    Checked(Checked),
    /// What was done; with the id that `Confirm` wants, if it was to be confirmed.
    Changes {
        changes: Vec<Change>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirmation: Option<String>,
    },
    MissingArtifacts {
        missing: Vec<MissingArtifact>,
    },
    /// `http://ADDRESS:{port}{path}{sha256}` is an artifact; the path cannot be guessed.
    Serving {
        port: u16,
        path: String,
    },
    SigningRequest {
        pem: String,
    },
    Signed {
        certificate_pem: String,
        authority_pem: String,
    },
    /// The answer to `ReceiveIdentity`: for whom to seal, in base64.
    Recipient {
        recipient: String,
    },
    /// In base64; only that recipient can open it.
    Sealed {
        sealed: String,
    },
    Api(ApiResponse),
    Locked {
        fence: u64,
    },
    Log {
        lines: Vec<String>,
    },
    /// Ports that are listened on now, and those that somebody else listens on already.
    Listening {
        opened: Vec<u16>,
        occupied: Vec<u16>,
    },
    /// For each target and name in the order of the request: why not, or nothing.
    Probed {
        reach: Vec<Option<String>>,
        resolve: Vec<Option<String>>,
    },
    Ran {
        status: i32,
        output: String,
    },
    EtcdMembers {
        members: Vec<EtcdMember>,
    },
    Diagnosis {
        links: Vec<Link>,
    },
    Done,
    Failed(Failure),
}

/// The answer to `Check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub changes: Vec<Change>,
    /// Artifacts that the resources need and the host lacks (sha256).
    pub missing_artifacts: Vec<String>,
    /// Everything that Naru put on the host, by path or name.
    pub manifest: BTreeMap<String, Entry>,
    /// Entries of the manifest that are not as Naru left them.
    pub drifted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingArtifact {
    pub sha256: String,
    /// Bytes that an earlier, interrupted upload left.
    pub have_bytes: u64,
}

/// Where a TCP connection is tried to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub address: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EtcdRequest {
    Members,
    /// Members are named by their host, here and below; one that has not started yet, by its peer URL or its id.
    AddLearner {
        name: String,
        peer_url: String,
    },
    Promote {
        name: String,
    },
    MoveLeader {
        to: String,
    },
    Remove {
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdMember {
    /// The host's name; a learner that has not started yet is known by its peer URL only, and the name is empty.
    pub name: String,
    /// In hexadecimal, as etcdctl writes it.
    pub id: String,
    pub peer_url: String,
    pub is_learner: bool,
    pub is_leader: bool,
    pub is_healthy: bool,
}

/// One link of the chain from machine to Ready node, in the chain's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    pub name: LinkName,
    pub holds: bool,
    /// What was looked at and found.
    pub found: String,
    /// The line of a log that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkName {
    Machine,
    Ssh,
    Agent,
    Disk,
    Runtime,
    Certificates,
    Etcd,
    ControlPlane,
    Kubelet,
    Api,
    Cni,
    Ready,
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
    /// Whether something keeps the clock in step; unknown where systemd cannot tell.
    pub clock_synchronised: Option<bool>,
    pub memory_available_bytes: u64,
    pub links: Vec<NetworkLink>,
    /// Destinations of the main routing table, `0.0.0.0/0` included, with the interface that they go out by. Routes
    /// to pods are left out, and so are the pods' interfaces and `lo` above.
    pub routes: Vec<Route>,
    /// TCP and UDP ports in use, with the program where it can be told.
    pub listening: Vec<ListeningPort>,
    /// Proxy variables of the system's environment: `http_proxy`, `https_proxy`, `no_proxy`; and apt's own under the
    /// names that they have there, `Acquire::http::Proxy`. Passwords are left out.
    pub proxy: std::collections::BTreeMap<String, String>,
    /// Other Kubernetes that lives here: `k3s`, `kubelet of kubeadm`…
    pub other_kubernetes: Vec<String>,
    pub certificates: Vec<CertificateFact>,
    /// The highest fence that this host has seen.
    pub fence: u64,
    /// Versions of what is installed, without a leading `v`: `containerd`, `runc`, `nft`, `etcd`, `naru-node`,
    /// `naru-control-plane`.
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
    /// When its main process started, by the host's clock; zero when it does not run.
    #[serde(default)]
    pub started_unix_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkLink {
    pub name: String,
    pub mtu: u32,
    /// With prefix lengths: `10.0.0.11/24`.
    pub addresses: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    pub destination: String,
    pub interface: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListeningPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    pub port: u16,
    /// Empty when it cannot be told.
    pub program: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFact {
    pub path: String,
    pub not_after_unix_ms: i64,
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

impl ApiRequest {
    /// Whether it changes nothing in the cluster.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.method.eq_ignore_ascii_case("GET")
    }
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
    /// Another operator has taken over since.
    Fenced,
    /// The host's disk is full.
    NoSpace,
}
