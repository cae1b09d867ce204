//! The plan as data.

use naru_inventory::{Hook, Inventory};
use naru_resources::{Certificate, Change, Disruption, Resource};
use serde::{Deserialize, Serialize};

use crate::LabelChange;

/// Format of saved plans; another one is refused.
pub const PLAN_FORMAT: u32 = 2;

/// Put on a node together with `spec.unschedulable`, so that a later run knows a cordon of ours from somebody else's.
pub const CORDONED_ANNOTATION: &str = "naru.dev/cordoned";

/// What will be done: complete, so that whoever executes it has nothing left to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    /// The inventory that it was made from, with all hosts.
    pub inventory: Inventory,
    /// Of the observation that it was made from.
    pub fingerprint: String,
    /// In an order in which they could run one by one.
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
    /// What the linter says about hosts, network and the plan itself.
    pub findings: Vec<Finding>,
    /// What users of the cluster will miss for a while: `pods of w1 move`, `default/db-0 is stopped`.
    pub unavailable: Vec<String>,
    /// Workers that may fail before no further batch is begun.
    pub max_failures: u32,
}

/// One thing to do on one host, or about it in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// `w1/runtime`; with several versions on the way `w1/v0.2.0/programs`.
    pub id: String,
    pub host: String,
    /// What is done, as an instruction: `install the container runtime`.
    pub title: String,
    pub action: Action,
    /// Ids of steps that must have succeeded.
    pub needs: Vec<String>,
    pub changes: Vec<Change>,
    /// What stops, starts or restarts.
    pub disruptions: Vec<Disruption>,
    /// Why this is done, or why at this place in the order, where that might surprise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// How long one attempt may take.
    pub deadline_seconds: u32,
    /// Which batch of running workers this belongs to, from 1. It is begun only when every step of the batches before
    /// has ended in whatever way, and never once more than `max_failures` hosts of batches have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Have the provider make the machine and start it.
    MakeMachine,
    /// A command of the operator's, on the host or for it on the operator's machine.
    Hook {
        hook: Hook,
    },
    /// Put programs or images into the host's artifact store: from one of these neighbours that has them by then, if
    /// one can give them, else from here.
    Upload {
        artifacts: Vec<Artifact>,
        neighbours: Vec<String>,
    },
    /// Bring resources into their state. Changes that could cut the host off are put back unless a new connection
    /// confirms them in time.
    Apply {
        resources: Vec<Resource>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revert_after_seconds: Option<u32>,
    },
    /// Key and signing request on the host, signature on the authority's host, certificate back.
    Certificates {
        certificates: Vec<Certificate>,
        authority_host: String,
        authority_key_path: String,
    },
    /// Copy these files, which hold the cluster's authorities and its service-account key, from a control plane that
    /// has them; sealed for the receiving host, so that nobody on the way can read them.
    CopyIdentity {
        from: String,
        paths: Vec<String>,
    },
    /// Wait until the API server on this host is ready.
    WaitForApi,
    /// Wait until the node is Ready, by a report that is newer than the start of its node program.
    WaitForNode {
        control_planes: Vec<String>,
    },
    /// Labels, annotations and taints of the node. `control_planes` here and below: hosts whose API server is asked,
    /// the first that answers.
    Label {
        control_planes: Vec<String>,
        change: LabelChange,
    },
    /// No new pods on the node, with [`CORDONED_ANNOTATION`] as a sign that it was us.
    Cordon {
        control_planes: Vec<String>,
    },
    /// Evict the node's pods, respecting disruption budgets; pods of DaemonSets stay.
    Drain {
        control_planes: Vec<String>,
        timeout_seconds: u32,
    },
    /// New pods again.
    Uncordon {
        control_planes: Vec<String>,
    },
    /// Take the Node object away.
    DeleteNode {
        control_planes: Vec<String>,
    },
    /// Remove from the host what Naru put there.
    Reset,
    /// Make the host a learner of the etcd cluster; asked at these members.
    EtcdAdd {
        members: Vec<String>,
        peer_url: String,
    },
    /// Make the learner a voter, as soon as it has caught up.
    EtcdPromote {
        members: Vec<String>,
    },
    /// Give the leadership to this member, if the host has it.
    EtcdMoveLeader {
        to: String,
    },
    EtcdRemove {
        members: Vec<String>,
    },
    /// Create or update a document of the inventory (its number among `inventory.manifests`).
    Manifest {
        control_planes: Vec<String>,
        index: usize,
    },
}

/// A file that a host needs a copy of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    /// `naru-node`.
    pub name: String,
    pub sha256: String,
    pub size_bytes: u64,
}

/// Something that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Note {
    pub kind: NoteKind,
    /// The host that it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoteKind {
    /// Worth knowing.
    Remark,
    /// Will be planned once something else has happened.
    Later,
    /// Left out of this plan; the next one may include it.
    Skipped,
    /// Nothing is done at all.
    Refused,
}

/// What the linter has to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub severity: Severity,
    pub code: FindingCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The host is left out; about a control plane that is needed, or the whole: nothing is done.
    Error,
    Warning,
}

/// One word per thing that can be found, for scripts and documents (docs/operations/troubleshooting.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingCode {
    DuplicateMachineId,
    DuplicateAddress,
    ClockSkew,
    LittleMemory,
    LittleDisk,
    PortInUse,
    PortUnreachable,
    MtuMismatch,
    NoResolver,
    NameUnresolved,
    NetworkClash,
    OtherKubernetes,
    UnsupportedSystem,
    OldKernel,
    SwapInUse,
    CertificateExpires,
    ProxyMissing,
    RoleChange,
    QuorumLoss,
    VersionSkew,
    VersionMissing,
    SinglePointOfFailure,
    UnmanagedPods,
    Drift,
}

impl Step {
    /// How long one attempt may take where nothing else is said: installing packages over a slow line is the longest.
    pub const DEADLINE_SECONDS: u32 = 900;

    /// `HOST/NAME`, which waits for nothing, announces nothing and has the usual deadline.
    #[must_use]
    pub fn new(host: &str, name: &str, title: impl Into<String>, action: Action) -> Self {
        Self {
            id: format!("{host}/{name}"),
            host: host.to_owned(),
            title: title.into(),
            action,
            needs: Vec::new(),
            changes: Vec::new(),
            disruptions: Vec::new(),
            reasons: Vec::new(),
            deadline_seconds: Self::DEADLINE_SECONDS,
            batch: None,
        }
    }

    /// With what it does and all that this disturbs.
    #[must_use]
    pub fn with_changes(mut self, changes: Vec<Change>) -> Self {
        self.disruptions = changes.iter().filter_map(|change| change.disruption.clone()).collect();
        self.changes = changes;
        self
    }
}

impl Plan {
    /// These steps and nothing else, of no observation.
    #[must_use]
    pub fn of(inventory: Inventory, steps: Vec<Step>) -> Self {
        Self {
            format: PLAN_FORMAT,
            inventory,
            fingerprint: String::new(),
            steps,
            notes: Vec::new(),
            findings: Vec::new(),
            unavailable: Vec::new(),
            max_failures: 0,
        }
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether something was left out that somebody has to look after.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.notes.iter().any(|note| matches!(note.kind, NoteKind::Skipped | NoteKind::Refused))
    }

    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.notes.iter().any(|note| note.kind == NoteKind::Refused)
    }

    /// Machines that a provider has to make before anything can be planned for them.
    pub fn machines_to_make(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.action == Action::MakeMachine).map(|step| step.host.as_str())
    }
}
