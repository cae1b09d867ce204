//! Wrong objects and the texts that clients know.

use serde_json::{Value, json};

const POD: (&str, &str, &str) = ("", "v1", "Pod");
const DEPLOYMENT: (&str, &str, &str) = ("apps", "v1", "Deployment");
const SERVICE: (&str, &str, &str) = ("", "v1", "Service");

fn created(kind: (&str, &str, &str), object: &Value) -> Vec<String> {
    let row = crate::by_kind(kind.0, kind.1, kind.2).unwrap();
    let mut object = object.clone();
    crate::apply_defaults(row, &mut object);
    crate::validate_create(row, &object).iter().map(ToString::to_string).collect()
}

fn updated(kind: (&str, &str, &str), old: &Value, change: &Value) -> Vec<String> {
    let row = crate::by_kind(kind.0, kind.1, kind.2).unwrap();
    let mut old = old.clone();
    crate::apply_defaults(row, &mut old);
    let mut new = old.clone();
    json_patch::merge(&mut new, change);
    crate::apply_defaults(row, &mut new);
    crate::prepare_update(row, &mut new, &old);
    crate::validate_update(row, &new, &old).iter().map(ToString::to_string).collect()
}

fn pod() -> Value {
    json!({"metadata": {"name": "a", "namespace": "default"}, "spec": {"containers": [{"name": "c",
        "image": "nginx"}]}})
}

fn pod_with(change: Value) -> Vec<String> {
    let mut pod = pod();
    json_patch::merge(&mut pod, &json!({"spec": change}));
    created(POD, &pod)
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c",
            "image": "nginx"}]}}}})
}

fn service() -> Value {
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.7",
        "ports": [{"port": 80}]}})
}

#[test]
fn good_objects_pass() {
    assert_eq!(created(POD, &pod()), [""; 0]);
    assert_eq!(created(DEPLOYMENT, &deployment()), [""; 0]);
    assert_eq!(created(SERVICE, &service()), [""; 0]);
    let lists = json!({"metadata": {"generateName": "a-", "name": "a-xyz", "namespace": "b"}, "data": {"k.txt": "v"}});
    assert_eq!(created(("", "v1", "ConfigMap"), &lists), [""; 0]);
    let role =
        json!({"metadata": {"name": "system:node"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]});
    assert_eq!(created(("rbac.authorization.k8s.io", "v1", "ClusterRole"), &role), [""; 0]);
}

#[test]
fn metadata() {
    let bad = json!({"metadata": {"name": "A", "namespace": "default", "labels": {"a": "b c"}, "finalizers": ["x"],
        "ownerReferences": [{"kind": "Pod", "name": "p", "uid": "1"}]}});
    let errors = created(("", "v1", "ConfigMap"), &bad);
    assert!(
        errors[0].starts_with("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of")
    );
    assert!(errors[1].starts_with("metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or"));
    assert_eq!(
        errors[2..],
        [
            "metadata.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it \
            fully qualified",
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": must not be empty",
        ]
    );
    let nameless = created(("", "v1", "ConfigMap"), &json!({"metadata": {"namespace": "default"}}));
    assert_eq!(nameless, ["metadata.name: Required value: name or generateName is required"]);
    let errors = updated(
        ("", "v1", "ConfigMap"),
        &json!({"metadata": {"name": "a", "namespace": "b", "uid": "1"}}),
        &json!({"metadata": {"uid": "2"}}),
    );
    assert_eq!(errors, ["metadata.uid: Invalid value: \"2\": field is immutable"]);
}

#[test]
fn containers() {
    assert_eq!(pod_with(json!({"containers": []})), ["spec.containers: Required value"]);
    let errors =
        pod_with(json!({"containers": [{"name": "c"}, {"name": "c", "image": "a", "imagePullPolicy": "Sometimes"}]}));
    assert!(errors.contains(&"spec.containers[0].image: Required value".to_owned()), "{errors:?}");
    assert!(errors.contains(&"spec.containers[1].name: Duplicate value: \"c\"".to_owned()));
    let unsupported = "spec.containers[1].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \
    \"Always\", \"IfNotPresent\", \"Never\"";
    assert!(errors.contains(&unsupported.to_owned()));
    let one = |extra: Value| {
        let mut container = json!({"name": "c", "image": "a"});
        json_patch::merge(&mut container, &extra);
        pod_with(json!({"containers": [container]}))
    };
    assert_eq!(
        one(json!({"ports": [{"containerPort": 70000}]})),
        ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]
    );
    assert_eq!(
        one(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
        ["spec.containers[0].volumeMounts[0].name: Not found: \"v\""]
    );
    assert_eq!(
        one(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
        ["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"]
    );
    assert_eq!(
        one(json!({"livenessProbe": {"successThreshold": 2, "tcpSocket": {"port": 1}}})),
        ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"]
    );
    assert_eq!(
        one(json!({"readinessProbe": {}})),
        ["spec.containers[0].readinessProbe: Required value: must specify a handler type"]
    );
    let memory = one(json!({"resources": {"limits": {"memory": "1 gig"}}}));
    assert!(memory[0].contains("quantities must match the regular expression"), "{memory:?}");
}

#[test]
fn pod_level_fields() {
    assert_eq!(
        pod_with(json!({"restartPolicy": "Maybe"})),
        ["spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\""]
    );
    assert_eq!(pod_with(json!({"volumes": [{"name": "v", "emptyDir": {}, "configMap": {"name": "c"}}]})).len(), 1);
    assert_eq!(
        pod_with(json!({"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3}]})),
        ["spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"]
    );
    assert_eq!(
        pod_with(json!({"terminationGracePeriodSeconds": -1})),
        ["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"]
    );
}

#[test]
fn pod_updates() {
    assert_eq!(updated(POD, &pod(), &json!({"metadata": {"labels": {"a": "b"}}})), [""; 0]);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2", "imagePullPolicy": "Always"}]}});
    assert_eq!(updated(POD, &pod(), &image), [""; 0]);
    let errors = updated(POD, &pod(), &json!({"spec": {"nodeName": "w1"}}));
    assert!(
        errors[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    );
    let errors = updated(
        POD,
        &pod(),
        &json!({"spec": {"containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "a"}]}}),
    );
    assert_eq!(errors, ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
    assert_eq!(updated(POD, &pod(), &json!({"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}})), [""; 0]);
}

#[test]
fn deployments() {
    let with = |change: Value| {
        let mut object = deployment();
        json_patch::merge(&mut object, &json!({"spec": change}));
        created(DEPLOYMENT, &object)
    };
    assert_eq!(with(json!({"selector": null})), ["spec.selector: Required value"]);
    assert_eq!(
        with(json!({"selector": {"matchLabels": {"app": "other"}}})),
        ["spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match \
            template `labels`"]
    );
    assert_eq!(
        with(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
        ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
    );
    assert_eq!(with(json!({"replicas": -1})), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]);
    assert_eq!(
        with(json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}})),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
    );
    assert_eq!(
        with(json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}})),
        ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]
    );
    let errors = updated(
        DEPLOYMENT,
        &deployment(),
        &json!({"spec": {"selector": {"matchLabels": {"b": "c"}},
        "template": {"metadata": {"labels": {"b": "c"}}}}}),
    );
    assert_eq!(
        errors,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: field is immutable"]
    );
}

#[test]
fn services() {
    assert_eq!(
        updated(SERVICE, &service(), &json!({"spec": {"clusterIP": null, "clusterIPs": null}})),
        [""; 0],
        "kept"
    );
    let moved = updated(SERVICE, &service(), &json!({"spec": {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}}));
    assert_eq!(moved, ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"]);
    let with = |change: Value| {
        let mut object = service();
        json_patch::merge(&mut object, &json!({"spec": change}));
        created(SERVICE, &object)
    };
    assert_eq!(with(json!({"ports": []})), ["spec.ports: Required value"]);
    assert_eq!(with(json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]})), ["spec.ports[0].name: Required value"]);
    assert_eq!(
        with(json!({"ports": [{"port": 1, "nodePort": 30000}]})),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    assert_eq!(
        with(json!({"clusterIP": "nonsense"})),
        ["spec.clusterIPs[0]: Invalid value: \"nonsense\": must be a valid IP address, (e.g. 10.9.8.7 or \
            2001:db8::ffff)"]
    );
    assert_eq!(with(json!({"clusterIP": "None", "ports": null})), [""; 0]);
}

#[test]
fn node_ports_survive_an_update_without_them() {
    let row = crate::by_kind("", "v1", "Service").unwrap();
    let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{"port": 80, "protocol": "TCP",
        "nodePort": 30080}]}});
    let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    crate::apply_defaults(row, &mut new);
    crate::prepare_update(row, &mut new, &old);
    assert_eq!((&new["spec"]["ports"][0]["nodePort"], &new["spec"]["clusterIP"]), (&json!(30080), &json!("10.96.0.7")));
}

#[test]
fn configuration() {
    let secret = |object: Value| {
        let mut full = json!({"metadata": {"name": "a", "namespace": "b"}});
        json_patch::merge(&mut full, &object);
        full
    };
    let kind = ("", "v1", "Secret");
    assert_eq!(
        created(kind, &secret(json!({"type": "kubernetes.io/tls"}))),
        ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
    );
    assert_eq!(created(kind, &secret(json!({"data": {"a b": "eA=="}}))).len(), 1);
    let frozen = secret(json!({"immutable": true, "data": {"a": "eA=="}}));
    assert_eq!(
        updated(kind, &frozen, &json!({"data": {"a": "eQ=="}})),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    assert_eq!(
        updated(kind, &secret(json!({})), &json!({"type": "x"})),
        ["type: Invalid value: \"x\": field is immutable"]
    );
    let large = secret(json!({"data": {"a": "x".repeat((1 << 20) + 1)}}));
    assert_eq!(created(("", "v1", "ConfigMap"), &large).len(), 1);
}

#[test]
fn nodes_and_jobs() {
    let node = json!({"metadata": {"name": "w1"}, "spec": {"taints": [{"key": "a", "effect": "Sometimes"}]}});
    assert_eq!(
        created(("", "v1", "Node"), &node),
        ["spec.taints[0].effect: Unsupported value: \"Sometimes\": supported values: \"NoSchedule\", \
            \"PreferNoSchedule\", \"NoExecute\""]
    );
    let ranged = json!({"metadata": {"name": "w1"}, "spec": {"podCIDR": "10.244.1.0/24"}});
    let errors = updated(
        ("", "v1", "Node"),
        &ranged,
        &json!({"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}}),
    );
    assert_eq!(errors, ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]);
    let half = updated(("", "v1", "Node"), &ranged, &json!({"spec": {"podCIDR": "10.244.2.0/24"}}));
    assert_eq!(half, errors);
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}});
    let job = json!({"metadata": {"name": "j", "namespace": "b", "uid": "u-1"}, "spec": {"template": template}});
    let kind = ("batch", "v1", "Job");
    assert_eq!(created(kind, &job), [""; 0]);
    let errors = updated(kind, &job, &json!({"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}));
    assert!(
        errors[0].starts_with("spec.template: Invalid value:") && errors[0].ends_with("field is immutable"),
        "{errors:?}"
    );
    let mut prepared = job;
    crate::prepare_create(crate::by_kind("batch", "v1", "Job").unwrap(), &mut prepared);
    assert_eq!(prepared["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u-1");
    assert_eq!(prepared["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
}

#[test]
fn access_and_priorities() {
    let binding = json!({"metadata": {"name": "b", "namespace": "n"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "Robot", "name": "x"}]});
    let kind = ("rbac.authorization.k8s.io", "v1", "RoleBinding");
    assert_eq!(
        created(kind, &binding),
        ["subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\""]
    );
    assert!(updated(kind, &binding, &json!({"roleRef": {"name": "other"}}))[1].ends_with("cannot change roleRef"));
    let class = |name: &str, value: i64| {
        created(("scheduling.k8s.io", "v1", "PriorityClass"), &json!({"metadata": {"name": name}, "value": value}))
    };
    assert_eq!(class("system-node-critical", 2_000_001_000), [""; 0]);
    assert_eq!(
        class("high", 2_000_000_000),
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
    );
    assert_eq!(class("system-mine", 5).len(), 1);
}

#[test]
fn wrong_shapes_never_panic() {
    let shapes = [
        json!({}),
        json!({"spec": "x", "metadata": [], "data": 3, "rules": {}, "roleRef": 5}),
        json!({"spec": {"containers": ["x", null], "volumes": [3], "ports": [[]], "selector": "x", "template": 7,
            "taints": {}}, "ports": ["x"]}),
    ];
    for row in crate::table() {
        for shape in &shapes {
            let mut object = shape.clone();
            crate::apply_defaults(row, &mut object);
            crate::validate_create(row, &object);
            crate::validate_update(row, &object, shape);
            for column in row.columns {
                (column.cell)(shape, 0);
            }
            if let Some(view) = row.stored_as {
                (view.to_stored)(&mut object);
                (view.from_stored)(&mut object);
            }
        }
    }
}
