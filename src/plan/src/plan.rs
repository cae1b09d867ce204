//! The plan as data.

use naru_inventory::Inventory;
use naru_resources::{Certificate, Change, Disruption, Resource};
use serde::{Deserialize, Serialize};

use crate::LabelChange;

/// Format of saved plans; another one is refused.
pub const PLAN_FORMAT: u32 = 1;

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
}

/// One thing to do on one host, or about it in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// `w1/runtime`.
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Have the provider make the machine and start it.
    MakeMachine,
    /// Put programs or images into the host's artifact store.
    Upload { artifacts: Vec<Artifact> },
    /// Bring resources into their state.
    Apply { resources: Vec<Resource> },
    /// Key and signing request on the host, signature on the authority's host, certificate back.
    Certificates { certificates: Vec<Certificate>, authority_host: String, authority_key_path: String },
    /// Wait until the API server on this host is ready.
    WaitForApi,
    /// Wait until the node is Ready; asked at this control-plane host.
    WaitForNode { control_plane: String },
    /// Labels and taints of the node, by the API of this control-plane host.
    Label { control_plane: String, change: LabelChange },
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

impl Plan {
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
