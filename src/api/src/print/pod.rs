//! Pods: the aggregate of container states in one word.

use super::{AGE, CONTAINERS, IMAGES, NAME, NONE, column, format_labels, joined, text, text_or, wide};
use crate::resource::Column;
use crate::{meta, time};
use serde_json::Value;

pub(crate) const POD: &[Column] = &[
    NAME,
    text("Ready", "The aggregate readiness state of this pod for accepting traffic.", |pod, _| {
        let summary = summarise(pod);
        format!("{}/{}", summary.ready, summary.total).into()
    }),
    text("Status", "The aggregate status of the containers in this pod.", |pod, _| summarise(pod).reason.into()),
    text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this \
        pod has restarted.",
        |pod, now| restarts(pod, now).into(),
    ),
    AGE,
    wide("IP", "Address of the pod, reachable within the cluster.", |pod, _| pod_ip(pod)),
    wide("Node", "The node that the pod runs on.", |pod, _| text_or(pod, &["spec", "nodeName"], NONE)),
    wide("Nominated Node", "The node that a preempting pod waits for.", |pod, _| {
        text_or(pod, &["status", "nominatedNodeName"], NONE)
    }),
    wide("Readiness Gates", "Conditions that must hold beside the containers' readiness.", |pod, _| {
        readiness_gates(pod).into()
    }),
];

pub(crate) const POD_TEMPLATE: &[Column] = &[
    NAME,
    text("Containers", CONTAINERS, |object, _| joined(object, &["template", "spec", "containers"], "name")),
    text("Images", IMAGES, |object, _| joined(object, &["template", "spec", "containers"], "image")),
    column("Pod Labels", "string", 0, "The labels for the pod template.", |object, _| {
        format_labels(meta::map_at(object, &["template", "metadata", "labels"])).into()
    }),
];

/// What one row says of the containers.
struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    /// Unix seconds of the latest restart.
    last_restart_s: Option<i64>,
    reason: String,
}

fn summarise(pod: &Value) -> Summary {
    let mut summary = Summary {
        ready: 0,
        total: meta::list_at(pod, &["spec", "containers"]).len() + sidecar_names(pod).len(),
        restarts: 0,
        last_restart_s: None,
        reason: initial_reason(pod),
    };
    let (initializing, sidecars) = add_init_containers(pod, &mut summary);
    if !initializing || meta::condition_is_true(pod, "Initialized") {
        (summary.restarts, summary.last_restart_s) = sidecars;
        add_containers(pod, &mut summary);
    }
    let terminal = matches!(meta::string_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if meta::deletion_timestamp(pod).is_some() {
        if meta::string_at(pod, &["status", "reason"]) == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !terminal {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn initial_reason(pod: &Value) -> String {
    let gated = meta::condition(pod, "PodScheduled");
    if gated.is_some_and(|condition| meta::string_at(condition, &["reason"]) == "SchedulingGated") {
        return "SchedulingGated".to_owned();
    }
    let reason = meta::string_at(pod, &["status", "reason"]);
    let phase = meta::string_at(pod, &["status", "phase"]);
    if reason.is_empty() { phase.to_owned() } else { reason.to_owned() }
}

/// Init containers that go on running beside the others.
fn sidecar_names(pod: &Value) -> Vec<&str> {
    let init = meta::list_at(pod, &["spec", "initContainers"]).iter();
    let sidecars = init.filter(|container| meta::string_at(container, &["restartPolicy"]) == "Always");
    sidecars.map(|container| meta::string_at(container, &["name"])).collect()
}

/// Whether an init container is still to finish, and the restarts of the sidecars alone.
fn add_init_containers(pod: &Value, summary: &mut Summary) -> (bool, (i64, Option<i64>)) {
    let names = sidecar_names(pod);
    let total = meta::list_at(pod, &["spec", "initContainers"]).len();
    let mut sidecars = (0, None);
    for (index, status) in meta::list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        let is_sidecar = names.contains(&meta::string_at(status, &["name"]));
        add_restarts(status, &mut summary.restarts, &mut summary.last_restart_s);
        if is_sidecar {
            add_restarts(status, &mut sidecars.0, &mut sidecars.1);
        }
        let terminated = meta::at(status, &["state", "terminated"]);
        let waiting = meta::string_at(status, &["state", "waiting", "reason"]);
        if terminated.is_some_and(|state| meta::integer_at(state, &["exitCode"]).unwrap_or_default() == 0) {
            continue;
        }
        if is_sidecar && meta::bool_at(status, &["started"]) {
            summary.ready += usize::from(meta::bool_at(status, &["ready"]));
            continue;
        }
        summary.reason = match terminated {
            Some(state) => format!("Init:{}", terminated_reason(state)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{total}"),
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn add_containers(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in meta::list_at(pod, &["status", "containerStatuses"]).iter().rev() {
        add_restarts(status, &mut summary.restarts, &mut summary.last_restart_s);
        let waiting = meta::string_at(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(state) = meta::at(status, &["state", "terminated"]) {
            summary.reason = terminated_reason(state);
        } else if meta::bool_at(status, &["ready"]) && meta::at(status, &["state", "running"]).is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if running && summary.reason == "Completed" {
        let ready = meta::condition_is_true(pod, "Ready");
        summary.reason = if ready { "Running".to_owned() } else { "NotReady".to_owned() };
    }
}

fn terminated_reason(state: &Value) -> String {
    let reason = meta::string_at(state, &["reason"]);
    let signal = meta::integer_at(state, &["signal"]).unwrap_or_default();
    match (reason, signal) {
        ("", 0) => format!("ExitCode:{}", meta::integer_at(state, &["exitCode"]).unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn add_restarts(status: &Value, restarts: &mut i64, last_s: &mut Option<i64>) {
    *restarts += meta::integer_at(status, &["restartCount"]).unwrap_or_default();
    let finished = time::parse_seconds(meta::string_at(status, &["lastState", "terminated", "finishedAt"]));
    *last_s = (*last_s).max(finished);
}

fn restarts(pod: &Value, now_unix_s: i64) -> String {
    let summary = summarise(pod);
    match summary.last_restart_s {
        Some(last_s) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, time::human_duration(now_unix_s - last_s))
        }
        _ => summary.restarts.to_string(),
    }
}

fn pod_ip(pod: &Value) -> Value {
    match meta::list_at(pod, &["status", "podIPs"]).first() {
        Some(first) => text_or(first, &["ip"], NONE),
        None => text_or(pod, &["status", "podIP"], NONE),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = meta::list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let holds = |gate: &&Value| meta::condition_is_true(pod, meta::string_at(gate, &["conditionType"]));
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}
