//! A replica set's status. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::runtime::meta::{self, non_zero};

const FAILURE: &str = "ReplicaFailure";

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn calculate(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    others: &[Arc<Pod>],
    failure: Option<(&str, String)>,
    keep_failure: bool,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let template = spec.template.and_then(|template| template.metadata).and_then(|metadata| metadata.labels);
    let template = template.unwrap_or_default();
    let labelled = |pod: &&Arc<Pod>| template.iter().all(|(key, value)| meta::label(&pod.metadata, key) == Some(value));
    let min_ready_s = spec.min_ready_seconds.unwrap_or(0);
    let is_available =
        |pod: &&Arc<Pod>| meta::time_to_available(pod, min_ready_s, now).is_some_and(|wait| wait.is_zero());
    let is_terminating = |pod: &&Arc<Pod>| meta::is_deleting(&pod.metadata) && !meta::pod_is_terminal(pod);
    let mut conditions = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    match failure {
        Some((reason, message)) => {
            if !conditions
                .iter()
                .any(|condition| condition.type_ == FAILURE && condition.reason.as_deref() == Some(reason))
            {
                conditions.retain(|condition| condition.type_ != FAILURE);
                conditions.push(ReplicaSetCondition {
                    type_: FAILURE.into(),
                    status: "True".into(),
                    reason: Some(reason.into()),
                    message: Some(message),
                    last_transition_time: Some(Time(now)),
                });
            }
        }
        None if keep_failure => {}
        None => conditions.retain(|condition| condition.type_ != FAILURE),
    }
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: non_zero(count(active.iter().filter(labelled).count())),
        ready_replicas: non_zero(count(active.iter().filter(|pod| meta::pod_is_ready(pod)).count())),
        available_replicas: non_zero(count(active.iter().filter(is_available).count())),
        terminating_replicas: Some(count(others.iter().filter(is_terminating).count())),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ready_since: Option<&str>) -> Arc<Pod> {
        let conditions =
            ready_since.map(|since| json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"labels": {"app": "web"}}, "status": {"phase": "Running", "conditions": conditions}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn counts_and_failure() {
        let mut set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"generation": 3},
            "spec": {"replicas": 3, "minReadySeconds": 10, "selector": {},
                "template": {"metadata": {"labels": {"app": "web"}}}}
        }))
        .unwrap();
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let pods = [pod(None), pod(Some("2026-01-01T00:00:00Z")), pod(Some("2026-01-01T00:00:55Z"))];
        let status = calculate(&set, &pods, &[], Some(("FailedCreate", "quota".into())), false, now);
        assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (3, Some(2), Some(1)));
        assert_eq!(status.fully_labeled_replicas, Some(3));
        assert_eq!(status.conditions.as_ref().unwrap()[0].message.as_deref(), Some("quota"));
        set.status = Some(status);
        let kept = calculate(&set, &pods, &[], None, true, now);
        assert_eq!(Some(&kept), set.status.as_ref(), "a look that did not act changes nothing");
        assert_eq!(calculate(&set, &pods, &[], None, false, now).conditions, None);
    }
}
