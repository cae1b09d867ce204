//! Bodies as kubectl sends them, and the directives.

use super::super::strategic_merge_patch;
use serde_json::{Value, json};

fn apply(kind: (&str, &str, &str), object: &Value, patch: &Value) -> Value {
    let row = crate::by_kind(kind.0, kind.1, kind.2).unwrap();
    strategic_merge_patch(row, object, patch).unwrap_or_else(|error| panic!("{error}"))
}

const DEPLOYMENT: (&str, &str, &str) = ("apps", "v1", "Deployment");
const POD: (&str, &str, &str) = ("", "v1", "Pod");
const SERVICE: (&str, &str, &str) = ("", "v1", "Service");
const NODE: (&str, &str, &str) = ("", "v1", "Node");

fn pod_template(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn set_image_touches_one_container() {
    let object = pod_template(
        json!([{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}, {"name": "log", "image": "log:1"}]),
    );
    let patch = pod_template(json!([{"name": "web", "image": "web:2"}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "web"}, {"name": "log"}],
        "containers": patch["spec"]["template"]["spec"]["containers"]}}}});
    let expected = pod_template(
        json!([{"name": "web", "image": "web:2", "ports": [{"containerPort": 80}]}, {"name": "log", "image": "log:1"}]),
    );
    assert_eq!(apply(DEPLOYMENT, &object, &patch), expected);
}

#[test]
fn apply_adds_and_removes_containers() {
    let object = pod_template(json!([{"name": "web", "image": "web:1"}, {"name": "old", "image": "old:1"}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "side"}, {"name": "web"}],
        "containers": [{"name": "side", "image": "side:1", "command": null}, {"$patch": "delete", "name": "old"}]}}}});
    let expected = pod_template(json!([{"name": "side", "image": "side:1"}, {"name": "web", "image": "web:1"}]));
    assert_eq!(apply(DEPLOYMENT, &object, &patch), expected);
}

#[test]
fn containers_added_by_others_stay_in_place() {
    let object = pod_template(json!([{"name": "a"}, {"name": "injected"}, {"name": "b"}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b", "image": "b:2"}]}}}});
    let expected = pod_template(json!([{"name": "a"}, {"name": "injected"}, {"name": "b", "image": "b:2"}]));
    assert_eq!(apply(DEPLOYMENT, &object, &patch), expected);
}

#[test]
fn environment_changes_by_name() {
    let object =
        pod_template(json!([{"name": "web", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "web"}],
        "containers": [{"name": "web", "$setElementOrder/env": [{"name": "C"}, {"name": "A"}],
            "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "B"}]}]}}}});
    let expected =
        pod_template(json!([{"name": "web", "env": [{"name": "C", "value": "3"}, {"name": "A", "value": "1"}]}]));
    assert_eq!(apply(DEPLOYMENT, &object, &patch), expected);
}

#[test]
fn env_value_replaced_by_source() {
    let object = pod_template(json!([{"name": "web", "env": [{"name": "A", "value": "1"}]}]));
    let patch = pod_template(json!([{"name": "web", "env": [{"name": "A", "value": null,
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]));
    let merged = apply(DEPLOYMENT, &object, &patch);
    let env = &merged["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env, &json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}));
}

#[test]
fn service_ports_merge_by_port() {
    let object =
        json!({"spec": {"ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}], "clusterIP": "10.96.0.5"}});
    let patch = json!({"spec": {"$setElementOrder/ports": [{"port": 80}, {"port": 443}],
        "ports": [{"port": 443, "name": "https"}]}});
    let merged = apply(SERVICE, &object, &patch);
    assert_eq!(
        merged["spec"]["ports"],
        json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 443, "name": "https"}])
    );
    assert_eq!(merged["spec"]["clusterIP"], "10.96.0.5");
}

#[test]
fn rollout_undo_replaces_the_template() {
    let object = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web", "v": "2"}},
        "spec": {"containers": [{"name": "web", "image": "web:2"}, {"name": "new"}]}}}});
    let template = json!({"$patch": "replace", "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    let merged = apply(DEPLOYMENT, &object, &json!({"spec": {"template": template}}));
    let expected = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}});
    assert_eq!(merged, expected);
}

#[test]
fn labels_and_annotations() {
    let object = json!({"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}});
    let merged =
        apply(POD, &object, &json!({"metadata": {"labels": {"x": null, "z": "3"}, "annotations": {"k": "v"}}}));
    assert_eq!(merged, json!({"metadata": {"name": "a", "labels": {"y": "2", "z": "3"}, "annotations": {"k": "v"}}}));
}

#[test]
fn taints_are_one_atomic_list() {
    let object =
        json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}});
    let merged = apply(NODE, &object, &json!({"spec": {"taints": [{"key": "c", "effect": "NoSchedule"}]}}));
    assert_eq!(merged["spec"]["taints"], json!([{"key": "c", "effect": "NoSchedule"}]));
    assert_eq!(apply(NODE, &object, &json!({"spec": {"taints": null}})), json!({"spec": {}}));
}

#[test]
fn tolerations_and_args_are_atomic() {
    let object = json!({"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "c", "args": ["1", "2"]}]}});
    let patch = json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "c", "args": ["3"]}]}});
    let merged = apply(POD, &object, &patch);
    assert_eq!(merged, json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "c", "args": ["3"]}]}}));
}

#[test]
fn node_conditions_merge_by_type() {
    let object = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "DiskPressure",
        "status": "False"}]}});
    let patch = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}, {"type": "DiskPressure"}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let merged = apply(NODE, &object, &patch);
    assert_eq!(
        merged["status"]["conditions"],
        json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}])
    );
}

#[test]
fn strategy_retains_only_named_keys() {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(apply(DEPLOYMENT, &object, &patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let row = crate::by_kind("apps", "v1", "Deployment").unwrap();
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    let error = strategic_merge_patch(row, &object, &wrong).unwrap_err();
    assert_eq!((error.status_code(), error.to_string().as_str()), (400, "invalid patch format of retainKeys"));
}

#[test]
fn volumes_change_their_source() {
    let object = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch = json!({"spec": {"$setElementOrder/volumes": [{"name": "v"}],
        "volumes": [{"$retainKeys": ["name", "configMap"], "name": "v", "configMap": {"name": "c"},
            "emptyDir": null}]}});
    assert_eq!(apply(POD, &object, &patch), json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}}));
}

#[test]
fn finalizers_and_owners() {
    let object = json!({"metadata": {"finalizers": ["a", "b"], "ownerReferences": [{"uid": "1", "kind": "X"}]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"],
        "$setElementOrder/finalizers": ["c", "b"],
        "finalizers": ["c"], "ownerReferences": [{"uid": "2", "kind": "Y"}, {"uid": "1", "$patch": "delete"}]}});
    let merged = apply(POD, &object, &patch);
    assert_eq!(merged, json!({"metadata": {"finalizers": ["c", "b"], "ownerReferences": [{"uid": "2", "kind": "Y"}]}}));
    let merged = apply(POD, &object, &json!({"metadata": {"finalizers": ["b", "c"]}}));
    assert_eq!(merged["metadata"]["finalizers"], json!(["a", "b", "c"]));
}

#[test]
fn whole_lists_can_be_replaced() {
    let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let patch = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c", "image": "x"}]}});
    assert_eq!(apply(POD, &object, &patch), json!({"spec": {"containers": [{"name": "c", "image": "x"}]}}));
}

#[test]
fn wrong_patches_are_told() {
    let row = crate::by_kind("", "v1", "Pod").unwrap();
    let object = json!({"spec": {"containers": [{"name": "a"}]}});
    let error = |patch: Value| strategic_merge_patch(row, &object, &patch).unwrap_err();
    assert_eq!(error(json!({"spec": {"containers": [{"image": "x"}]}})).status_code(), 422);
    assert_eq!(error(json!({"spec": {"$patch": "fly"}})).status_code(), 400);
    let wrong_order = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}});
    assert_eq!(error(wrong_order).to_string(), "invalid patch format of setElementOrder list");
}

#[test]
fn no_directive_survives() {
    let patch = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "a", "env": [{"$patch": "delete", "name": "x"}], "$retainKeys": ["name"]}]}}}});
    assert!(!apply(DEPLOYMENT, &json!({}), &patch).to_string().contains('$'));
    let text = apply(DEPLOYMENT, &pod_template(json!([])), &patch).to_string();
    assert!(!text.contains('$'), "{text}");
}
