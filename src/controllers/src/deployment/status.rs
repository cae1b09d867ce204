//! A deployment's status and conditions: what kubectl rollout status reads. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::math::{actual, available, desired, max_unavailable, size, total};
use crate::runtime::meta::{self, non_zero};

pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const AVAILABLE: &str = "Available";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub(super) fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub(super) fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = status.conditions.as_mut() {
        conditions.retain(|condition| condition.type_ != kind);
    }
}

/// Replaces the condition unless status and reason are the same already.
pub(super) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(current) = get(status, &condition.type_) {
        if current.status == condition.status && current.reason == condition.reason {
            return;
        }
        if current.status == condition.status {
            condition.last_transition_time.clone_from(&current.last_transition_time);
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

/// Without a deadline there is no Progressing condition.
pub(super) fn deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds)?;
    (seconds != i32::MAX).then(|| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Counts and the Available condition.
pub(super) fn counts(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let all = || old.iter().chain(new);
    let current = deployment.status.clone().unwrap_or_default();
    let are_available = total(all(), available);
    let ready = total(all(), |set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let terminating = total(all(), |set| set.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or(0));
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: non_zero(total(all(), actual)),
        updated_replicas: non_zero(new.map_or(0, actual)),
        ready_replicas: non_zero(ready),
        available_replicas: non_zero(are_available),
        unavailable_replicas: non_zero((total(all(), size) - are_available).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: current.collision_count,
        conditions: current.conditions,
    };
    let enough = are_available >= desired(deployment) - max_unavailable(deployment);
    let (text, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, condition(AVAILABLE, text, reason, message.into(), now));
    status
}

pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = desired(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |value: Option<i32>| value.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || outdated(after) < outdated(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(deadline), Some(current)) = (deadline(deployment), get(status, PROGRESSING)) else { return false };
    match current.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => current.last_update_time.as_ref().is_some_and(|since| meta::elapsed(since, now) > deadline),
    }
}

/// The status after a look at a rollout, with Progressing and ReplicaFailure.
pub(super) fn rollout(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counts(deployment, new, old, now);
    let before = deployment.status.clone().unwrap_or_default();
    let current = get(&before, PROGRESSING).cloned();
    if deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    }
    let was_complete = status.replicas == status.updated_replicas
        && current.as_ref().is_some_and(|current| current.reason.as_deref() == Some(NEW_AVAILABLE));
    if deadline(deployment).is_some() && !was_complete {
        let subject = match new {
            Some(set) => format!("ReplicaSet {:?}", meta::name(&set.metadata)),
            None => format!("Deployment {:?}", meta::name(&deployment.metadata)),
        };
        if is_complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut status, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now));
        } else if has_progressed(&before, &status) {
            let message = format!("{subject} is progressing.");
            let mut fresh = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
            if let Some(current) = current.filter(|current| current.status == "True") {
                fresh.last_transition_time = current.last_transition_time;
            }
            remove(&mut status, PROGRESSING);
            set(&mut status, fresh);
        } else if has_timed_out(deployment, &status, now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
        }
    }
    match replica_failure(new, old) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

fn replica_failure(new: Option<&ReplicaSet>, old: &[ReplicaSet]) -> Option<DeploymentCondition> {
    let failure = new.into_iter().chain(old).find_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE)
    })?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.into(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time.clone(),
    })
}

/// When to look again although nothing changes: at the progress deadline.
pub(super) fn next_look(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = deadline(deployment)?;
    let current = get(status, PROGRESSING)?;
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    if paused || is_complete(deployment, status) || current.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let since = current.last_update_time.as_ref()?;
    Some(meta::remaining(since, deadline, now) + Duration::from_secs(1))
}

/// The condition that pausing or resuming calls for, if it is not there yet.
pub(super) fn pause_condition(deployment: &Deployment, now: Timestamp) -> Option<DeploymentCondition> {
    deadline(deployment)?;
    let current = deployment.status.as_ref().and_then(|status| get(status, PROGRESSING));
    let reason = current.and_then(|current| current.reason.as_deref()).unwrap_or_default();
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    if reason == TIMED_OUT {
        return None;
    }
    match (paused, reason == PAUSED) {
        (true, false) => Some(condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into(), now)),
        (false, true) => {
            Some(condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn web() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 3, "progressDeadlineSeconds": 600, "selector": {}, "template": {}}
        }))
        .unwrap()
    }

    fn set_of(name: &str, replicas: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
        }))
        .unwrap()
    }

    fn progressing(status: &DeploymentStatus) -> (String, String) {
        let found = get(status, PROGRESSING).expect("has the condition");
        (found.status.clone(), found.reason.clone().unwrap())
    }

    #[test]
    fn a_rollout_progresses_completes_and_stays_complete() {
        let mut deployment = web();
        let status = rollout(&deployment, Some(&set_of("web-1", 3, 1)), &[], at(0));
        assert_eq!(progressing(&status), ("True".into(), "ReplicaSetUpdated".into()));
        assert_eq!(get(&status, AVAILABLE).unwrap().status, "False");
        assert_eq!(status.unavailable_replicas, Some(2));
        deployment.status = Some(status);
        let status = rollout(&deployment, Some(&set_of("web-1", 3, 3)), &[], at(5));
        assert_eq!(progressing(&status), ("True".into(), NEW_AVAILABLE.into()));
        assert_eq!(
            get(&status, PROGRESSING).unwrap().message.as_deref(),
            Some("ReplicaSet \"web-1\" has successfully progressed.")
        );
        assert_eq!(get(&status, PROGRESSING).unwrap().last_transition_time, Some(Time(at(0))));
        assert_eq!(next_look(&deployment, &status, at(5)), None);
        deployment.status = Some(status.clone());
        assert_eq!(rollout(&deployment, Some(&set_of("web-1", 3, 3)), &[], at(50)), status, "nothing to write");
    }

    #[test]
    fn a_stuck_rollout_times_out_once() {
        let mut deployment = web();
        let stuck = set_of("web-2", 1, 0);
        let old = [set_of("web-1", 3, 3)];
        deployment.status = Some(rollout(&deployment, Some(&stuck), &old, at(0)));
        let status = rollout(&deployment, Some(&stuck), &old, at(500));
        assert_eq!(progressing(&status).1, "ReplicaSetUpdated");
        assert_eq!(next_look(&deployment, &status, at(500)), Some(Duration::from_secs(101)));
        let status = rollout(&deployment, Some(&stuck), &old, at(601));
        assert_eq!(progressing(&status), ("False".into(), TIMED_OUT.into()));
        deployment.status = Some(status.clone());
        assert_eq!(rollout(&deployment, Some(&stuck), &old, at(700)), status);
        assert_eq!(next_look(&deployment, &status, at(700)), None);
    }

    #[test]
    fn pausing_and_resuming() {
        let mut deployment = web();
        deployment.spec.as_mut().unwrap().paused = Some(true);
        let paused = pause_condition(&deployment, at(0)).expect("newly paused");
        assert_eq!(paused.reason.as_deref(), Some(PAUSED));
        let mut status = DeploymentStatus::default();
        set(&mut status, paused);
        deployment.status = Some(status);
        assert_eq!(pause_condition(&deployment, at(1)), None);
        deployment.spec.as_mut().unwrap().paused = None;
        assert_eq!(pause_condition(&deployment, at(2)).unwrap().reason.as_deref(), Some("DeploymentResumed"));
    }

    #[test]
    fn failures_come_and_go() {
        let mut deployment = web();
        let mut sick = set_of("web-1", 3, 0);
        sick.status.as_mut().unwrap().conditions = serde_json::from_value(
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]),
        )
        .unwrap();
        let status = rollout(&deployment, Some(&sick), &[], at(0));
        assert_eq!(get(&status, REPLICA_FAILURE).unwrap().reason.as_deref(), Some("FailedCreate"));
        deployment.status = Some(status);
        let status = rollout(&deployment, Some(&set_of("web-1", 3, 0)), &[], at(1));
        assert!(get(&status, REPLICA_FAILURE).is_none());
    }
}
