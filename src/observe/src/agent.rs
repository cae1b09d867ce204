//! The seam between everything that works on hosts and the way there: an agent that answers requests, a fleet that
//! connects to agents. SSH implements it for real, memory implements it for tests.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use naru_agent::{Failure, FailureKind, Request, Response};
use naru_inventory::Host;
use serde::{Deserialize, Serialize};

/// No single request may take longer: installing packages over a slow line is the longest there is.
pub const MAX_CALL_SECONDS: u64 = 900;

/// The agent of one host.
pub trait HostAgent: Send + Sync {
    /// One request, one response; `Response::Failed` comes as an error.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>>;

    /// Sends the file's bytes, from this offset on, as the artifact of this hash. `sent` is told how many bytes of the
    /// whole are over there.
    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        path: &'a Path,
        offset_bytes: u64,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>>;
}

/// All hosts of a cluster; keeps one connection to each for the whole run.
pub trait Fleet: Send + Sync {
    /// The connection to a host, made at the first call.
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>>;

    /// Drops a connection that has failed, so that the next `connect` makes a new one.
    fn forget<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()>;

    /// From now on every connection that changes a host says this fence first.
    fn set_fence(&self, fence: u64);

    /// A connection beside those that are open, to prove that the host can still be reached.
    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>>;
}

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{}", .0.message)]
    Failed(Failure),
    #[error("the connection to {host} broke: {reason}")]
    Connection { host: String, reason: String },
    #[error("{host} cannot be reached: {}", .problem.primary)]
    Connect { host: String, problem: Problem },
    #[error("{what} took longer than {seconds} s on {host}")]
    Deadline { host: String, what: String, seconds: u64 },
    #[error("{host} answered {request} with something else")]
    Unexpected { host: String, request: &'static str },
}

impl AgentError {
    /// Whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.kind == FailureKind::Transient,
            Self::Connection { .. } => true,
            Self::Connect { problem, .. } => problem.kind == ProblemKind::Unreachable,
            Self::Deadline { .. } | Self::Unexpected { .. } => false,
        }
    }

    /// Whether the agent failed in this way.
    #[must_use]
    pub fn is(&self, kind: FailureKind) -> bool {
        matches!(self, Self::Failed(failure) if failure.kind == kind)
    }

    /// Whether the connection itself is of no more use.
    #[must_use]
    pub fn breaks_connection(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Deadline { .. } | Self::Unexpected { .. })
    }

    /// The host whose connection it is about, where the error knows it.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Failed(_) => None,
            Self::Connection { host, .. }
            | Self::Connect { host, .. }
            | Self::Deadline { host, .. }
            | Self::Unexpected { host, .. } => Some(host),
        }
    }

    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => failure.detail.as_deref(),
            Self::Connect { problem, .. } => problem.detail.as_deref(),
            _ => None,
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => failure.hint.as_deref(),
            Self::Connect { problem, .. } => problem.hint.as_deref(),
            _ => None,
        }
    }
}

/// Why a host could not be reached or looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub kind: ProblemKind,
    pub primary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// Nothing answers, or the line breaks.
    Unreachable,
    /// The host does not let us in.
    Authentication,
    /// The host is not the one that was expected, or nobody said which is.
    HostKey,
    /// The host answers, but the agent cannot do its work there.
    Agent,
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let (detail, hint) = (error.detail().map(str::to_owned), error.hint().map(str::to_owned));
        match error {
            AgentError::Connect { problem, .. } => problem,
            AgentError::Connection { .. } | AgentError::Deadline { .. } => {
                Self { kind: ProblemKind::Unreachable, primary: error.to_string(), detail, hint }
            }
            _ => Self { kind: ProblemKind::Agent, primary: error.to_string(), detail, hint },
        }
    }
}
