//! Which pods go first when there are too many: those that serve least and are worth least. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::runtime::meta;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What decides, in this order; smaller goes first.
struct Worth<'a> {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    /// Pods of the same workload on the same node: more is worth less.
    crowd: usize,
    ready_age: Option<u32>,
    restarts: i32,
    age: u32,
    uid: &'a str,
}

/// Ages count by their logarithm, so that among about equally old pods chance (the UID) spreads deletions.
fn logarithmic(age_s: u64) -> u32 {
    age_s.checked_ilog2().map_or(0, |log| log + 1)
}

fn worth<'a>(pod: &'a Pod, crowds: &HashMap<&str, usize>, now: Timestamp) -> Worth<'a> {
    let phase = match meta::pod_phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let ready = meta::pod_is_ready(pod);
    let ready_since = meta::pod_condition(pod, "Ready").and_then(|condition| condition.last_transition_time.as_ref());
    let age_of = |since: &_| logarithmic(meta::elapsed(since, now).as_secs());
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    Worth {
        assigned: !meta::node_name(pod).is_empty(),
        phase,
        ready,
        cost: meta::annotation(&pod.metadata, DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or(0),
        crowd: crowds.get(meta::node_name(pod)).copied().unwrap_or(0),
        ready_age: ready_since.filter(|_| ready).map(age_of),
        restarts: statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0),
        age: pod.metadata.creation_timestamp.as_ref().map(age_of).unwrap_or(0),
        uid: meta::uid(&pod.metadata),
    }
}

fn compare(left: &Worth<'_>, right: &Worth<'_>) -> Ordering {
    left.assigned
        .cmp(&right.assigned)
        .then(left.phase.cmp(&right.phase))
        .then(left.ready.cmp(&right.ready))
        .then(left.cost.cmp(&right.cost))
        .then(right.crowd.cmp(&left.crowd))
        .then(left.ready_age.cmp(&right.ready_age))
        .then(right.restarts.cmp(&left.restarts))
        .then(left.age.cmp(&right.age))
        .then(left.uid.cmp(right.uid))
}

pub(super) fn first_to_go(active: &[Arc<Pod>], neighbours: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut crowds: HashMap<&str, usize> = HashMap::new();
    for pod in neighbours {
        *crowds.entry(meta::node_name(pod)).or_default() += 1;
    }
    let mut ranked: Vec<(Worth<'_>, &Arc<Pod>)> = active.iter().map(|pod| (worth(pod, &crowds, now), pod)).collect();
    ranked.sort_by(|left, right| compare(&left.0, &right.0));
    ranked.into_iter().take(count).map(|(_, pod)| Arc::clone(pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, phase: &str, ready: bool, more: Value) -> Arc<Pod> {
        let mut value = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:01:00Z"}]}
        });
        if !node.is_empty() {
            value["spec"]["nodeName"] = json!(node);
        }
        json_patch(&mut value, more);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn json_patch(value: &mut Value, more: Value) {
        match (value, more) {
            (Value::Object(map), Value::Object(more)) => {
                for (key, inner) in more {
                    json_patch(map.entry(key).or_insert(Value::Null), inner);
                }
            }
            (value, more) => *value = more,
        }
    }

    fn order(pods: &[Arc<Pod>]) -> Vec<String> {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let ranked = first_to_go(pods, pods, pods.len(), now);
        ranked.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    #[test]
    fn the_useless_go_first() {
        let pods = [
            pod("ready", "n1", "Running", true, json!({})),
            pod("unready", "n2", "Running", false, json!({})),
            pod("pending", "n3", "Pending", false, json!({})),
            pod("unassigned", "", "Pending", false, json!({})),
        ];
        assert_eq!(order(&pods), ["unassigned", "pending", "unready", "ready"]);
    }

    #[test]
    fn cost_then_crowd_then_restarts_then_age() {
        let cheap = pod("cheap", "n1", "Running", true, json!({"metadata": {"annotations": {DELETION_COST: "-5"}}}));
        let crowded = [pod("b1", "n2", "Running", true, json!({})), pod("b2", "n2", "Running", true, json!({}))];
        let lonely = pod("c", "n3", "Running", true, json!({}));
        let pods = [lonely.clone(), crowded[0].clone(), crowded[1].clone(), cheap];
        assert_eq!(order(&pods), ["cheap", "b1", "b2", "c"]);
        let status = json!({"status": {"containerStatuses":
            [{"name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}});
        let restarted = pod("z", "n4", "Running", true, status);
        let young = pod("y", "n5", "Running", true, json!({"metadata": {"creationTimestamp": "2026-01-01T23:00:00Z"}}));
        assert_eq!(order(&[lonely, young, restarted]), ["z", "y", "c"]);
    }
}
