//! Status of pods in the situations that users look at.

use super::*;
use crate::worker::view::sample_record as record;

fn pod(extra: serde_json::Value) -> Pod {
    let mut spec = serde_json::json!({"containers": [{"name": "web", "image": "i"}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn status(pod: &Pod, view: &View, waiting: &Waiting, before: &PodStatus, terminating: bool) -> PodStatus {
    generate(&Inputs {
        pod,
        view,
        waiting,
        health: &|_| Health { started: true, ready: true, failed: None },
        terminating,
        end: None,
        host_ip: "10.0.0.1",
        before,
        now: Timestamp::from_second(1000).unwrap(),
    })
}

fn ready(status: &PodStatus) -> String {
    status.conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap().status.clone()
}

#[test]
fn creating_then_running_then_terminating() {
    let pod = pod(serde_json::json!({}));
    let first = status(&pod, &View::default(), &Waiting::new(), &PodStatus::default(), false);
    assert_eq!(first.phase.as_deref(), Some("Pending"));
    let state = first.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("ContainerCreating"));
    let view = View::sample(vec![record("web", State::Running, 0, 0)]);
    let second = status(&pod, &view, &Waiting::new(), &first, false);
    assert_eq!((second.phase.as_deref(), ready(&second).as_str()), (Some("Running"), "True"));
    assert_eq!(second.start_time, first.start_time);
    let third = status(&pod, &view, &Waiting::new(), &second, true);
    assert_eq!((third.phase.as_deref(), ready(&third).as_str()), (Some("Running"), "False"));
}

#[test]
fn crash_loop_shows_the_last_state() {
    let pod = pod(serde_json::json!({}));
    let view = View::sample(vec![record("web", State::Exited, 2, 7)]);
    let waiting = Waiting::from([("web".into(), ("CrashLoopBackOff".into(), "back-off".into()))]);
    let status = status(&pod, &view, &waiting, &PodStatus::default(), false);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 2);
    assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 7);
    assert!(container.state.as_ref().unwrap().waiting.is_some());
}

#[test]
fn ends_by_restart_policy_and_stays_ended() {
    let pod = pod(serde_json::json!({"restartPolicy": "Never"}));
    let view = View::sample(vec![record("web", State::Exited, 0, 1)]);
    let failed = status(&pod, &view, &Waiting::new(), &PodStatus::default(), false);
    assert_eq!(failed.phase.as_deref(), Some("Failed"));
    let again = status(&pod, &View::default(), &Waiting::new(), &failed, false);
    assert_eq!(again.phase.as_deref(), Some("Failed"));
    let container = &again.container_statuses.unwrap()[0];
    assert_eq!(container.state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
}

#[test]
fn init_containers_hold_the_pod_back() {
    let pod = pod(serde_json::json!({"initContainers": [{"name": "init", "image": "i"}]}));
    let view = View::sample(vec![record("init", State::Running, 0, 0)]);
    let status = status(&pod, &view, &Waiting::new(), &PodStatus::default(), false);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let reason = |list: &Option<Vec<ContainerStatus>>| {
        list.as_ref().unwrap()[0].state.as_ref().unwrap().waiting.as_ref().and_then(|w| w.reason.clone())
    };
    assert_eq!(reason(&status.container_statuses).as_deref(), Some("PodInitializing"));
    let initialized = status.conditions.iter().flatten().find(|c| c.type_ == "Initialized").unwrap();
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [init]"));
}
