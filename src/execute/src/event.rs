//! What the executor tells while it works. Screen, NDJSON output and journal all live on this one stream.

use naru_agent::FailureKind;
use naru_observe::AgentError;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    Started {
        cluster: String,
        fingerprint: String,
        steps: usize,
    },
    /// Something worth knowing that is no step's end: who is waited for, that a neighbour could not give a file.
    Remark {
        text: String,
    },
    StepStarted {
        step: String,
        host: String,
        title: String,
    },
    /// Bytes sent of an upload.
    StepProgress {
        step: String,
        done: u64,
        total: u64,
    },
    /// A passing failure; it is tried again.
    StepRetried {
        step: String,
        attempt: u32,
        error: StepError,
    },
    StepSucceeded {
        step: String,
        host: String,
        title: String,
        elapsed_ms: u64,
        changes: Vec<String>,
    },
    StepFailed {
        step: String,
        host: String,
        title: String,
        elapsed_ms: u64,
        error: StepError,
    },
    /// Not tried, because a step that it needs failed, was skipped, or the operator interrupted.
    StepSkipped {
        step: String,
        host: String,
        title: String,
        because: String,
    },
    Finished(Finish),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finish {
    pub succeeded: usize,
    pub failed: usize,
    pub skipped: usize,
    pub interrupted: bool,
    pub elapsed_ms: u64,
}

/// A step's failure as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepError {
    pub primary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&AgentError> for StepError {
    fn from(error: &AgentError) -> Self {
        let (detail, hint) = (error.detail().map(str::to_owned), error.hint().map(str::to_owned));
        let hint = hint.or_else(|| hint_for(error).map(str::to_owned));
        Self { primary: error.to_string(), detail, hint }
    }
}

/// What helps where the error itself does not say.
fn hint_for(error: &AgentError) -> Option<&'static str> {
    let AgentError::Failed(failure) = error else { return None };
    match failure.kind {
        FailureKind::NoSpace => Some("make room on the host's disk and run the same command again"),
        FailureKind::Fenced => Some("another naru has taken over; look at what it did before you run this again"),
        FailureKind::Locked => Some("wait until that run has ended; the lock goes with its connection"),
        FailureKind::Transient | FailureKind::Permanent => None,
    }
}

/// Where events go. It must be quick: the executor waits for it.
pub trait Sink: Send + Sync {
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Sink for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}
