//! Sends a pod's status when it differs from what the API has.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;

use crate::pod::PodExt;
use crate::status::End;

pub(super) const RETRY: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Fields that a merge patch must name to remove them.
const OPTIONAL_FIELDS: [&str; 5] = ["reason", "message", "podIP", "podIPs", "initContainerStatuses"];

#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("the API refused")]
    Api(#[source] kube::Error),
    #[error("the API did not answer in time")]
    Timeout,
    #[error("the status cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

#[derive(Default)]
pub(super) struct Reporter {
    /// The last status that we made, sent or not.
    last: Option<PodStatus>,
    /// Version that the API gave our last patch: older views of the pod do not show it yet.
    version: u64,
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Reporter {
    /// What the next status builds on.
    pub(super) fn before(&self, pod: &Pod) -> PodStatus {
        self.last.clone().or_else(|| pod.status.clone()).unwrap_or_default()
    }

    pub(super) fn ended(&self) -> Option<End> {
        let status = self.last.as_ref()?;
        let phase = status.phase.clone().filter(|phase| phase == "Succeeded" || phase == "Failed")?;
        Some(End { phase, reason: status.reason.clone(), message: status.message.clone() })
    }

    pub(super) async fn send(&mut self, client: &Client, pod: &Pod, status: PodStatus) -> Result<(), ReportError> {
        let unsent = self.last.as_ref() != Some(&status);
        self.last = Some(status.clone());
        let wanted = serde_json::to_value(&status)?;
        // Somebody else may have changed it (a node that was thought lost); only a fresh view can tell.
        let drifted = version(pod) >= self.version && differs(pod.status.as_ref(), &wanted)?;
        if !(drifted || (unsent && self.version > version(pod))) {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
        let mut patch = serde_json::json!({"metadata": {"uid": pod.uid()}, "status": wanted});
        for field in OPTIONAL_FIELDS {
            if patch["status"].get(field).is_none() {
                patch["status"][field] = Value::Null;
            }
        }
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        let call = api.patch_status(pod.name(), &params, &patch);
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(updated)) => {
                self.version = version(&updated);
                Ok(())
            }
            // It is gone, or another pod has its name: the watch will say so.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
            Ok(Err(error)) => {
                self.version = 0;
                Err(ReportError::Api(error))
            }
            Err(_) => {
                self.version = 0;
                Err(ReportError::Timeout)
            }
        }
    }

    /// The end of a deletion: only now may the name be used again.
    pub(super) async fn delete(client: &Client, pod: &Pod) -> Result<(), ReportError> {
        let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match tokio::time::timeout(CALL_TIMEOUT, api.delete(pod.name(), &params)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(ReportError::Api(error)),
            Err(_) => Err(ReportError::Timeout),
        }
    }
}

/// Whether the API's status lacks anything of ours. Fields of others do not count.
fn differs(current: Option<&PodStatus>, wanted: &Value) -> Result<bool, serde_json::Error> {
    let Some(current) = current else { return Ok(true) };
    let current = serde_json::to_value(current)?;
    let removed = OPTIONAL_FIELDS.iter().any(|field| wanted.get(field).is_none() && current.get(field).is_some());
    let changed =
        wanted.as_object().is_some_and(|fields| fields.iter().any(|(name, value)| current.get(name) != Some(value)));
    Ok(removed || changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_differences() {
        let current = PodStatus { phase: Some("Running".into()), reason: Some("x".into()), ..Default::default() };
        let same = serde_json::json!({"phase": "Running", "reason": "x"});
        assert!(!differs(Some(&current), &same).unwrap());
        assert!(differs(Some(&current), &serde_json::json!({"phase": "Running"})).unwrap());
        assert!(differs(Some(&current), &serde_json::json!({"phase": "Failed", "reason": "x"})).unwrap());
        assert!(differs(None, &same).unwrap());
    }
}
