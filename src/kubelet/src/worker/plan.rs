//! What to do next for a pod: which containers to start, which to kill. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::view::{Record, State, View};
use crate::pod::{PodExt, container_hash, restarts};
use crate::probes::{Failure, Health};
use crate::qos::is_sidecar;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Unhealthy(Failure),
    Changed,
    /// A sidecar whose pod has done its work.
    PodDone,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub start: Vec<String>,
    /// Container IDs, in the order of killing.
    pub kill: Vec<(String, Why)>,
}

/// Whether any container still has to run; a pod that is done needs no new sandbox.
pub(crate) fn wants_sandbox(pod: &Pod, view: &View) -> bool {
    pod.app_containers().iter().any(|container| match view.latest(&container.name) {
        Some(record) if record.state == State::Exited => restarts(pod, container, false, record.exit_code),
        _ => true,
    }) && !init_failed(pod, view)
}

fn init_failed(pod: &Pod, view: &View) -> bool {
    pod.init_containers().iter().any(|container| {
        view.latest(&container.name).is_some_and(|record| {
            record.state == State::Exited
                && record.exit_code != 0
                && !restarts(pod, container, true, record.exit_code)
        })
    })
}

/// The sandbox is up: the next steps. Called again after every change.
pub(crate) fn next(pod: &Pod, view: &View, health: &dyn Fn(&str) -> Health) -> Plan {
    let mut plan = Plan::default();
    let apps_began = pod.app_containers().iter().any(|container| view.current(&container.name).is_some());
    if !initialize(pod, view, health, apps_began, &mut plan) {
        if init_failed(pod, view) {
            stop_sidecars(pod, view, &mut plan);
        }
        return plan;
    }
    let mut done = true;
    for container in pod.app_containers() {
        let current = view.current(&container.name);
        match current.or_else(|| view.latest(&container.name)) {
            Some(record) if record.state == State::Running && current.is_some() => {
                done = false;
                if let Some(why) = should_die(record, &container_hash(container), health) {
                    plan.kill.push((record.id.clone(), why));
                }
            }
            Some(record) if record.state == State::Exited && !restarts(pod, container, false, record.exit_code) => {}
            _ => {
                done = false;
                plan.start.push(container.name.clone());
            }
        }
    }
    if done {
        plan.start.clear();
        stop_sidecars(pod, view, &mut plan);
    }
    plan
}

fn should_die(record: &Record, hash: &str, health: &dyn Fn(&str) -> Health) -> Option<Why> {
    if !record.hash.is_empty() && record.hash != hash {
        return Some(Why::Changed);
    }
    health(&record.id).failed.map(Why::Unhealthy)
}

/// Walks the init containers in order. True when the app containers may start.
fn initialize(
    pod: &Pod,
    view: &View,
    health: &dyn Fn(&str) -> Health,
    apps_began: bool,
    plan: &mut Plan,
) -> bool {
    for container in pod.init_containers() {
        let current = view.current(&container.name);
        if is_sidecar(container) {
            match current {
                Some(record) if record.state == State::Running => {
                    if let Some(why) = should_die(record, &container_hash(container), health) {
                        plan.kill.push((record.id.clone(), why));
                    }
                    if !apps_began && !health(&record.id).started {
                        return false;
                    }
                }
                _ => {
                    plan.start.push(container.name.clone());
                    if !apps_began {
                        return false;
                    }
                }
            }
            continue;
        }
        if apps_began {
            continue;
        }
        match current {
            Some(record) if record.state == State::Running => return false,
            Some(record) if record.state == State::Exited && record.exit_code == 0 => {}
            Some(record) if record.state == State::Exited && !restarts(pod, container, true, record.exit_code) => {
                return false;
            }
            _ => {
                plan.start.push(container.name.clone());
                return false;
            }
        }
    }
    true
}

fn stop_sidecars(pod: &Pod, view: &View, plan: &mut Plan) {
    for container in pod.init_containers().iter().rev().filter(|container| is_sidecar(container)) {
        if let Some(record) = view.current(&container.name).filter(|record| record.state == State::Running) {
            plan.kill.retain(|(id, _)| *id != record.id);
            plan.kill.push((record.id.clone(), Why::PodDone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::view::sample_record as record;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn well(_: &str) -> Health {
        Health { started: true, ready: true, failed: None }
    }

    fn started(pod: &Pod, records: Vec<Record>) -> Vec<String> {
        next(pod, &View::sample(records), &well).start
    }

    #[test]
    fn init_containers_run_one_after_another() {
        let pod = pod(serde_json::json!({
            "initContainers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}, {"name": "c"}],
            "containers": [{"name": "x"}, {"name": "y"}]
        }));
        assert_eq!(started(&pod, vec![]), ["a"]);
        let a = record("a", State::Exited, 0, 0);
        assert_eq!(started(&pod, vec![a.clone()]), ["b"]);
        let b = record("b", State::Running, 0, 0);
        assert_eq!(started(&pod, vec![a.clone(), b.clone()]), ["c"]);
        let c = record("c", State::Exited, 0, 0);
        assert_eq!(started(&pod, vec![a.clone(), b.clone(), c]), ["x", "y"]);
        let failed = record("c", State::Exited, 0, 1);
        assert_eq!(started(&pod, vec![a, b, failed]), ["c"]);
        // The sidecar alone is supervised once the others began.
        assert_eq!(started(&pod, vec![record("x", State::Running, 0, 0)]), ["b", "y"]);
    }

    #[test]
    fn restart_policies() {
        let spec = |policy: &str| pod(serde_json::json!({"restartPolicy": policy, "containers": [{"name": "x"}]}));
        let exited = |code| vec![record("x", State::Exited, 0, code)];
        assert_eq!(started(&spec("Always"), exited(0)), ["x"]);
        assert!(started(&spec("OnFailure"), exited(0)).is_empty());
        assert_eq!(started(&spec("OnFailure"), exited(1)), ["x"]);
        assert!(started(&spec("Never"), exited(1)).is_empty());
        assert!(!wants_sandbox(&spec("Never"), &View::sample(exited(1))));
        assert!(wants_sandbox(&spec("Always"), &View::sample(exited(0))));
    }

    #[test]
    fn kills_the_unhealthy_the_changed_and_sidecars_at_the_end() {
        let spec = pod(serde_json::json!({"containers": [{"name": "x", "image": "new"}]}));
        let failure = Failure { probe: "liveness", grace_seconds: None };
        let ill = |_: &str| Health { started: true, ready: true, failed: Some(failure.clone()) };
        let running = record("x", State::Running, 0, 0);
        let plan = next(&spec, &View::sample(vec![running.clone()]), &ill);
        assert_eq!(plan.kill, [("x-0".into(), Why::Unhealthy(failure.clone()))]);
        let old = Record { hash: "other".into(), ..running };
        assert_eq!(next(&spec, &View::sample(vec![old]), &well).kill, [("x-0".into(), Why::Changed)]);
        let job = pod(serde_json::json!({
            "restartPolicy": "Never",
            "initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "x"}]
        }));
        let records = vec![record("x", State::Exited, 0, 0), record("s", State::Running, 0, 0)];
        assert_eq!(next(&job, &View::sample(records), &well).kill, [("s-0".into(), Why::PodDone)]);
    }
}
