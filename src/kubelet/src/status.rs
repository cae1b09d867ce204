//! The status of a pod, from its spec and what the runtime shows. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::{PodExt, RestartPolicy, restarts, spec};
use crate::probes::Health;
use crate::qos::{QosClass, is_sidecar};
use crate::worker::view::{Record, State, View};

/// The pod has ended, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub phase: String,
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// Why a container waits: reason and message, by container name.
pub(crate) type Waiting = BTreeMap<String, (String, String)>;

pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub view: &'a View,
    pub waiting: &'a Waiting,
    pub health: &'a dyn Fn(&str) -> Health,
    pub terminating: bool,
    pub end: Option<&'a End>,
    pub host_ip: &'a str,
    /// What was reported last.
    pub before: &'a PodStatus,
    pub now: Timestamp,
}

fn time(nanoseconds: i64) -> Option<Time> {
    let whole = Timestamp::from_second(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    (nanoseconds > 0).then_some(Time(whole))
}

fn terminated(record: &Record) -> ContainerState {
    let reason = if record.reason.is_empty() {
        if record.exit_code == 0 { "Completed" } else { "Error" }
    } else {
        &record.reason
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(container_id(record)),
            exit_code: record.exit_code,
            reason: Some(reason.to_owned()),
            message: record.message.clone(),
            started_at: time(record.started_at_ns),
            finished_at: time(record.finished_at_ns),
            signal: None,
        }),
        ..Default::default()
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    }
}

fn container_id(record: &Record) -> String {
    format!("containerd://{}", record.id)
}

pub(crate) fn generate(inputs: &Inputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let init: Vec<ContainerStatus> = pod.init_containers().iter().map(|c| container_status(inputs, c, true)).collect();
    let apps: Vec<ContainerStatus> = pod.app_containers().iter().map(|c| container_status(inputs, c, false)).collect();
    let phase = phase(inputs, &init, &apps);
    let end = inputs.end.cloned().unwrap_or_default();
    let ips = if pod.host_network() { vec![inputs.host_ip.to_owned()] } else { inputs.view.ips.clone() };
    // A pod that has ended keeps the address it had.
    let ips = if ips.is_empty() || (pod.host_network() && inputs.view.sandbox().is_none()) {
        inputs.before.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    } else {
        ips
    };
    let conditions = conditions(inputs, &phase, &init, &apps);
    PodStatus {
        phase: Some(phase),
        reason: end.reason,
        message: end.message,
        host_ip: Some(inputs.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: inputs.host_ip.to_owned() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|list| !list.is_empty()),
        start_time: Some(inputs.before.start_time.clone().unwrap_or(Time(inputs.now))),
        qos_class: Some(QosClass::of(pod).as_str().to_owned()),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        container_statuses: Some(apps),
        conditions: Some(conditions),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

fn container_status(inputs: &Inputs<'_>, container: &Container, is_init: bool) -> ContainerStatus {
    let name = &container.name;
    let before = inputs.before.container_statuses.iter().flatten();
    let before = before.chain(inputs.before.init_container_statuses.iter().flatten()).find(|s| s.name == *name);
    let latest = inputs.view.latest(name);
    let previous = inputs.view.previous(name);
    let why = inputs.waiting.get(name).filter(|_| !inputs.terminating);
    let mut status = ContainerStatus {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: before.map_or(0, |before| before.restart_count),
        started: Some(false),
        ..Default::default()
    };
    let default_reason =
        if is_init || inputs.pod.init_containers().is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let default_reason = if is_init && !pod_started(inputs) { "PodInitializing" } else { default_reason };
    let Some(record) = latest else {
        unseen(&mut status, before, why, default_reason);
        return status;
    };
    status.restart_count = status.restart_count.max(record.restart_count);
    status.container_id = Some(container_id(record));
    status.image_id.clone_from(&record.image_ref);
    if !record.image.is_empty() {
        status.image.clone_from(&record.image);
    }
    status.last_state = previous.map(terminated);
    match record.state {
        State::Running => {
            let health = (inputs.health)(&record.id);
            status.started = Some(health.started);
            // Readiness falls with the deletion, so that endpoints leave before the process does.
            status.ready = health.started && health.ready && !inputs.terminating && !(is_init && !is_sidecar(container));
            let running = ContainerStateRunning { started_at: time(record.started_at_ns) };
            status.state = Some(ContainerState { running: Some(running), ..Default::default() });
        }
        State::Exited => match why {
            Some((reason, message)) => {
                status.last_state = Some(terminated(record));
                status.state = Some(waiting(reason, Some(message.clone())));
            }
            None => {
                status.ready = is_init && !is_sidecar(container) && record.exit_code == 0;
                status.state = Some(terminated(record));
            }
        },
        State::Created | State::Unknown => {
            let (reason, message) = why.map_or((default_reason, None), |(r, m)| (r.as_str(), Some(m.clone())));
            status.state = Some(waiting(reason, message));
        }
    }
    status
}

fn pod_started(inputs: &Inputs<'_>) -> bool {
    inputs.view.sandbox().is_some()
}

/// The runtime shows no container of this name: it was never made, or it is lost.
fn unseen(
    status: &mut ContainerStatus,
    before: Option<&ContainerStatus>,
    why: Option<&(String, String)>,
    default_reason: &str,
) {
    let (reason, message) = why.map_or((default_reason, None), |(r, m)| (r.as_str(), Some(m.clone())));
    status.state = Some(waiting(reason, message));
    let Some(before) = before else { return };
    status.last_state.clone_from(&before.last_state);
    let old = before.state.as_ref();
    if old.is_some_and(|state| state.terminated.is_some()) {
        status.container_id.clone_from(&before.container_id);
        status.image_id.clone_from(&before.image_id);
        status.state.clone_from(&before.state);
        status.ready = before.ready;
    } else if let Some(running) = old.and_then(|state| state.running.as_ref()) {
        status.last_state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: before.container_id.clone(),
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                started_at: running.started_at.clone(),
                ..Default::default()
            }),
            ..Default::default()
        });
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn phase(inputs: &Inputs<'_>, init: &[ContainerStatus], apps: &[ContainerStatus]) -> String {
    let before = inputs.before.phase.as_deref().unwrap_or("Pending");
    if before == "Succeeded" || before == "Failed" {
        return before.to_owned();
    }
    if let Some(end) = inputs.end {
        return end.phase.clone();
    }
    let pod = inputs.pod;
    let none_runs = !init.iter().chain(apps).any(is_running);
    if inputs.terminating && none_runs && apps.iter().all(|status| exit_code(status).is_some()) {
        let good = apps.iter().all(|status| exit_code(status) == Some(0));
        return if good { "Succeeded" } else { "Failed" }.to_owned();
    }
    if inputs.terminating {
        return before.to_owned();
    }
    let failed_init = pod.init_containers().iter().zip(init).any(|(container, status)| {
        exit_code(status).is_some_and(|code| code != 0 && !restarts(pod, container, true, code))
    });
    if failed_init && none_runs {
        return "Failed".to_owned();
    }
    let ended = pod.app_containers().iter().zip(apps).all(|(container, status)| {
        exit_code(status).is_some_and(|code| !restarts(pod, container, false, code))
    });
    if ended && !apps.is_empty() && none_runs {
        let good = apps.iter().all(|status| exit_code(status) == Some(0));
        return if good { "Succeeded" } else { "Failed" }.to_owned();
    }
    let seen = |status: &ContainerStatus| {
        is_running(status)
            || exit_code(status).is_some()
            || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    // Once running, a pod never goes back to pending.
    if before == "Running" || (initialized(pod, init, apps) && apps.iter().all(seen)) {
        "Running".to_owned()
    } else {
        "Pending".to_owned()
    }
}

fn initialized(pod: &Pod, init: &[ContainerStatus], apps: &[ContainerStatus]) -> bool {
    incomplete(pod, init).is_empty() || apps.iter().any(is_running)
}

fn incomplete<'a>(pod: &Pod, init: &'a [ContainerStatus]) -> Vec<&'a str> {
    let pairs = pod.init_containers().iter().zip(init);
    pairs
        .filter(|(container, status)| {
            let done = if is_sidecar(container) {
                status.started == Some(true)
            } else {
                exit_code(status) == Some(0)
            };
            !done
        })
        .map(|(_, status)| status.name.as_str())
        .collect()
}

type Verdict = (bool, Option<&'static str>, Option<String>);

fn conditions(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Vec<PodCondition> {
    let pod = inputs.pod;
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let initializing = incomplete(pod, init);
    let is_initialized = initialized(pod, init, apps) || phase == "Succeeded";
    let initialized: Verdict = if is_initialized {
        (true, over.filter(|_| phase == "Succeeded"), None)
    } else {
        let message = format!("containers with incomplete status: [{}]", initializing.join(" "));
        (false, Some("ContainersNotInitialized"), Some(message))
    };
    let sidecars = pod.init_containers().iter().zip(init).filter(|(container, _)| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .map(|(_, status)| status)
        .chain(apps)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    let containers_ready: Verdict = if let Some(reason) = over {
        (false, Some(reason), None)
    } else if unready.is_empty() {
        (true, None, None)
    } else {
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        (false, Some("ContainersNotReady"), Some(message))
    };
    let ready = gated(inputs, &containers_ready);
    let has_network = inputs.view.sandbox().is_some() && (pod.host_network() || !inputs.view.ips.is_empty());
    let wanted = [
        ("PodReadyToStartContainers", (has_network, None, None)),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", (true, None, None)),
    ];
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut all: Vec<PodCondition> = wanted
        .into_iter()
        .map(|(kind, (yes, reason, message))| {
            let status = if yes { "True" } else { "False" };
            let before = inputs.before.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == status);
            let transition = before.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(inputs.now));
            PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.map(str::to_owned),
                message,
                last_transition_time: Some(transition),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            }
        })
        .collect();
    // Conditions that others own (readiness gates, disruption) stay.
    let foreign: Vec<PodCondition> =
        known.iter().filter(|c| !all.iter().any(|ours| ours.type_ == c.type_)).cloned().collect();
    all.extend(foreign);
    all
}

/// Readiness gates are conditions that others set to True.
fn gated(inputs: &Inputs<'_>, containers_ready: &Verdict) -> Verdict {
    if !containers_ready.0 {
        return containers_ready.clone();
    }
    let known = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let missing: Vec<String> = spec(inputs.pod)
        .readiness_gates
        .iter()
        .flatten()
        .filter(|gate| !known.iter().any(|c| c.type_ == gate.condition_type && c.status == "True"))
        .map(|gate| format!("corresponding condition of pod readiness gate \"{}\" does not exist or is not True.", gate.condition_type))
        .collect();
    if missing.is_empty() { (true, None, None) } else { (false, Some("ReadinessGatesNotReady"), Some(missing.join(", "))) }
}

/// Whether the pod, as the API shows it, has ended for good.
pub(crate) fn ended(pod: &Pod) -> Option<End> {
    let status = pod.status.as_ref()?;
    let phase = status.phase.as_deref().filter(|phase| matches!(*phase, "Succeeded" | "Failed"))?;
    Some(End { phase: phase.to_owned(), reason: status.reason.clone(), message: status.message.clone() })
}

/// Only a pod that may end by itself needs its end remembered.
pub(crate) fn may_end(pod: &Pod) -> bool {
    pod.restart_policy() != RestartPolicy::Always
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
