//! What steps do in the cluster and on hosts.

use std::time::Duration;

use naru_inventory::{Hook, HookMoment, HookPlace};
use naru_resources::Change;
use serde_json::json;
use tokio::time::Instant;

use super::*;

fn cp1() -> Vec<String> {
    vec!["cp1".to_owned()]
}

fn drain(changes: &[&str]) -> Step {
    let action = Action::Drain { control_planes: cp1(), timeout_seconds: 60 };
    let change = |text: &&str| Change { resource: 0, summary: (*text).to_owned(), diff: None, disruption: None };
    Step { changes: changes.iter().map(change).collect(), ..step("w1/drain", action, &[]) }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_budget_and_leaves_daemons() {
    let memory = Memory::default();
    memory.add_pod("w1", "web-1", "ReplicaSet");
    memory.add_pod("w1", "agent-1", "DaemonSet");
    memory.add_pod("w2", "web-2", "ReplicaSet");
    memory.lock().budget_refuses = 3;
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![drain(&[])])).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    let left: Vec<String> = memory.lock().pods.iter().map(|pod| pod["metadata"]["name"].to_string()).collect();
    assert_eq!(left, ["\"agent-1\"", "\"web-2\""]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_a_budget_blocks_names_both() {
    let memory = Memory::default();
    memory.add_pod("w1", "web-1", "ReplicaSet");
    memory.lock().budget_refuses = usize::MAX;
    let begun = Instant::now();
    let steps = vec![drain(&[]), step("w1/upgrade", nothing(), &["w1/drain"])];
    let (outcome, _) = run(&memory, &Plan::of(inventory(), steps)).await;
    let error = only_error(&outcome);
    assert_eq!(error.primary, "1 pod is still on w1 after 60 s");
    let detail = error.detail.as_deref().unwrap();
    assert!(detail.contains("default/web-1: The disruption budget web needs 2 healthy pods"), "{detail}");
    assert_eq!(outcome.skipped, ["w1/upgrade"], "a failed drain stops the host");
    assert!(begun.elapsed() < Duration::from_secs(70));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nothing_makes_anew_goes_only_if_the_plan_says_so() {
    let memory = Memory::default();
    memory.add_pod("w1", "alone", "");
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![drain(&["end default/alone-2"])])).await;
    assert!(only_error(&outcome).primary.contains("default/alone"));
    assert_eq!(memory.lock().pods.len(), 1);
    let told = vec!["default/alone is stopped for good: nothing makes it anew".to_owned()];
    let (outcome, _) = run(&memory, &Plan { unavailable: told, ..Plan::of(inventory(), vec![drain(&[])]) }).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert!(memory.lock().pods.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cordon_uncordon_and_delete_are_the_same_twice() {
    let memory = Memory::default();
    memory.add_node("w1");
    let single = async |action: Action| run(&memory, &Plan::of(inventory(), vec![step("w1/x", action, &[])])).await.0;
    for _ in 0..2 {
        assert!(single(Action::Cordon { control_planes: cp1() }).await.is_success());
        assert_eq!(memory.lock().nodes["w1"]["spec"]["unschedulable"], true);
    }
    assert!(single(Action::Uncordon { control_planes: cp1() }).await.is_success());
    assert!(memory.lock().nodes["w1"]["spec"].get("unschedulable").is_none());
    for _ in 0..2 {
        assert!(single(Action::DeleteNode { control_planes: cp1() }).await.is_success());
    }
    assert!(memory.lock().nodes.is_empty());
    assert!(single(Action::Cordon { control_planes: cp1() }).await.is_success(), "no node, no pods");
}

#[tokio::test(start_paused = true)]
async fn another_control_plane_is_asked_when_the_first_is_dead() {
    let memory = Memory::default();
    memory.add_node("w1");
    memory.change("cp1", |state| state.is_dead = true);
    let control_planes = vec!["cp1".to_owned(), "cp2".to_owned()];
    let cordon = step("w1/cordon", Action::Cordon { control_planes }, &[]);
    let (outcome, _) = run(&memory, &Plan::of(three(), vec![cordon])).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(memory.lock().nodes["w1"]["spec"]["unschedulable"], true);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_ready_only_by_a_report_of_its_present_program() {
    let memory = Memory::default();
    memory.add_node("w1");
    let unit = naru_resources::Resource::Unit {
        name: "naru-node.service".to_owned(),
        content: None,
        enabled: true,
        restart_on: Vec::new(),
    };
    memory.change("w1", |state| {
        state.present = vec![unit];
        state.started_ms = 1_700_000_000_500;
    });
    let report = |time: &str| {
        memory.lock().nodes.get_mut("w1").unwrap()["status"]["conditions"][0]["lastHeartbeatTime"] = json!(time)
    };
    report("2023-11-14T22:13:20Z");
    let plan = Plan::of(inventory(), vec![step("w1/ready", Action::WaitForNode { control_planes: cp1() }, &[])]);
    let (outcome, _) = run(&memory, &plan).await;
    let error = only_error(&outcome);
    assert_eq!(error.primary, "the node is not Ready after 180 s: it has not reported since its program started");
    assert_eq!(error.detail.as_deref(), Some("its last words"));
    report("2023-11-14T22:13:21Z");
    assert!(run(&memory, &plan).await.0.is_success());
    report("2023-11-14T22:13:19Z");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w1".to_owned();
    memory.lock().objects.insert(lease, json!({"spec": {"renewTime": "2023-11-14T22:13:20.700000Z"}}));
    assert!(run(&memory, &plan).await.0.is_success());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_could_cut_the_host_off_is_confirmed_or_told() {
    let memory = Memory::default();
    let action = || Action::Apply { resources: Vec::new(), revert_after_seconds: Some(60) };
    let plan = Plan::of(inventory(), vec![step("w1/network", action(), &[])]);
    let (outcome, _) = run(&memory, &plan).await;
    assert!(outcome.is_success());
    assert_eq!(memory.read("w1", |state| state.confirmed.clone()), ["word"]);
    memory.change("w1", |state| state.refuses_new = true);
    let begun = Instant::now();
    let reverting = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        memory.change("w1", |state| state.refuses_new = false);
    };
    let ((outcome, events), ()) = tokio::join!(run(&memory, &plan), reverting);
    let error = only_error(&outcome);
    assert!(error.primary.ends_with("it was put back, and the host can be reached again"), "{}", error.primary);
    assert!(error.detail.as_deref().unwrap().contains("no route to host"), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_secs(60), "told only when it has been put back");
    assert!(!events.iter().any(|event| matches!(event, Event::StepRetried { .. })));
}

#[tokio::test(start_paused = true)]
async fn documents_are_created_and_patched_by_what_was_applied_last() {
    let memory = Memory::default();
    let kinds = json!({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": true}]});
    memory.lock().objects.insert("/api/v1".to_owned(), kinds);
    let object = "/api/v1/namespaces/default/configmaps/a";
    let apply = async |data: serde_json::Value| {
        let mut inventory = inventory();
        inventory.manifests =
            vec![json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})];
        let action = Action::Manifest { control_planes: cp1(), index: 0 };
        let (outcome, events) = run(&memory, &Plan::of(inventory, vec![step("cp1/manifest", action, &[])])).await;
        assert!(outcome.is_success(), "{:?}", outcome.failed);
        let changes = events.into_iter().find_map(|event| match event {
            Event::StepSucceeded { changes, .. } => Some(changes),
            _ => None,
        });
        changes.unwrap()
    };
    assert_eq!(apply(json!({"one": "1", "two": "2"})).await, ["create ConfigMap a"]);
    memory.lock().objects.get_mut(object).unwrap()["data"]["three"] = json!("of somebody else");
    assert_eq!(apply(json!({"one": "1", "two": "2"})).await, Vec::<String>::new());
    assert_eq!(apply(json!({"one": "11"})).await, ["update ConfigMap a"]);
    assert_eq!(memory.lock().objects[object]["data"], json!({"one": "11", "three": "of somebody else"}));
    assert_eq!(apply(json!({"one": "11"})).await, Vec::<String>::new());
}

fn hook(on: HookPlace, command: &str) -> Step {
    let hook = Hook {
        name: "check".to_owned(),
        when: HookMoment::BeforeApply,
        on,
        hosts: Vec::new(),
        roles: Vec::new(),
        command: command.to_owned(),
        timeout_seconds: 1,
    };
    step("w1/hook", Action::Hook { hook }, &[])
}

#[tokio::test(start_paused = true)]
async fn hooks_run_on_hosts() {
    let memory = Memory::default();
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![hook(HookPlace::Host, "true")])).await;
    assert!(outcome.is_success());
    assert_eq!(memory.read("w1", |state| state.ran.clone()), ["true for w1"]);
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![hook(HookPlace::Host, "false")])).await;
    let error = only_error(&outcome);
    assert_eq!((error.primary.as_str(), error.detail.as_deref()), ("hook check ended with status 1", Some("out")));
}

#[tokio::test]
async fn hooks_run_here_and_end_with_their_deadline() {
    let memory = Memory::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alive");
    let command = format!("test \"$NARU_HOST/$NARU_ROLE\" = w1/worker && echo yes >&2 && exit 3 # {}", file.display());
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![hook(HookPlace::Operator, &command)])).await;
    let error = only_error(&outcome);
    assert_eq!((error.primary.as_str(), error.detail.as_deref()), ("hook check ended with status 3", Some("yes")));
    // A grandchild in the background ends as well.
    let command = format!("(sleep 3; touch {}) & wait", file.display());
    let begun = std::time::Instant::now();
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![hook(HookPlace::Operator, &command)])).await;
    assert!(only_error(&outcome).primary.contains("took longer than 1 s"));
    assert!(begun.elapsed() < Duration::from_secs(3));
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(begun.elapsed())).await;
    assert!(!file.exists(), "it lived on");
}
