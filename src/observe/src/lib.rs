//! Observation: what is there. All hosts are probed at once; one that cannot be reached is an observation with its
//! reason, not a failure of the whole. The outcome is plain data with a fingerprint, so that a saved plan can tell
//! whether the world has moved since.

mod agent;
mod cluster;
mod document;
mod merge;
mod observation;
mod options;
mod preflight;
mod probe;

pub use agent::{AgentError, Fleet, HostAgent, MAX_CALL_SECONDS, Problem, ProblemKind};
pub use cluster::{
    ApiState, ClusterObservation, MANAGED_ANNOTATION, Managed, ManifestState, NodeObservation, PodOnNode, api_call,
    node_from_json, pod_from_json, pods_path,
};
pub use document::{Document, LAST_APPLIED_ANNOTATION, Place};
pub use observation::{HostObservation, Observation, Preflight, Reached, Unreachable};
pub use options::{Clock, ObserveOptions, Pods};
pub use probe::{Desire, observe};

#[cfg(test)]
mod tests;
