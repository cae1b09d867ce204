//! Objects as a client writes them, and as the server answers.

use serde_json::{Value, json};

fn defaulted(kind: (&str, &str, &str), mut object: Value) -> Value {
    let row = crate::by_kind(kind.0, kind.1, kind.2).unwrap();
    crate::apply_defaults(row, &mut object);
    object
}

const POD: (&str, &str, &str) = ("", "v1", "Pod");

#[test]
fn a_bare_pod() {
    let pod = defaulted(
        POD,
        json!({"metadata": {"name": "a", "creationTimestamp": null}, "spec": {"containers": [
        {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1,
            "memory": "1024Ki"}}}]}}),
    );
    let expected = json!({"metadata": {"name": "a"}, "spec": {
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
        "containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Always", "ports": [{"containerPort": 80,
            "protocol": "TCP"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "resources": {"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "1", "memory": "1Mi"}}}]},
        "status": {"phase": "Pending", "qosClass": "Guaranteed"}});
    assert_eq!(pod, expected);
}

#[test]
fn pull_policies() {
    let policy = |image: &str| {
        let pod = defaulted(POD, json!({"spec": {"containers": [{"image": image}]}}));
        pod["spec"]["containers"][0]["imagePullPolicy"].as_str().unwrap().to_owned()
    };
    for image in ["a", "a:latest", "host:5000/a", "host:5000/a:latest"] {
        assert_eq!(policy(image), "Always", "{image}");
    }
    for image in ["a:1", "host:5000/a:1", "a@sha256:00", "a:1@sha256:00"] {
        assert_eq!(policy(image), "IfNotPresent", "{image}");
    }
}

#[test]
fn probes_environment_and_hooks() {
    let pod = defaulted(
        POD,
        json!({"spec": {"serviceAccount": "sa", "hostNetwork": true, "containers": [{
        "readinessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5},
        "ports": [{"containerPort": 80}],
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}}),
    );
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["livenessProbe"]["periodSeconds"], 5);
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert_eq!(container["ports"][0]["hostPort"], 80);
    assert_eq!(pod["spec"]["serviceAccountName"], "sa");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
}

#[test]
fn volume_sources() {
    let pod = defaulted(
        POD,
        json!({"spec": {"containers": [], "volumes": [{"name": "bare"}, {"name": "c", "configMap": {"name": "x"}},
        {"name": "h", "hostPath": {"path": "/x"}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
            {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]}}),
    );
    let volumes = &pod["spec"]["volumes"];
    assert_eq!(volumes[0]["emptyDir"], json!({}));
    assert_eq!(volumes[1]["configMap"]["defaultMode"], 420);
    assert_eq!(volumes[2]["hostPath"]["type"], "");
    assert_eq!(volumes[3]["secret"]["defaultMode"], 256);
    assert_eq!(volumes[4]["projected"]["defaultMode"], 420);
    assert_eq!(volumes[4]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3600);
    assert_eq!(volumes[4]["projected"]["sources"][1]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"], "v1");
}

#[test]
fn quality_of_service() {
    let class = |resources: Value| super::pod::qos_class(&json!({"spec": {"containers": [{"resources": resources}]}}));
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
}

#[test]
fn deployments() {
    let template = json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec": {"containers": [
        {"image": "a:1", "resources": {"limits": {"cpu": "0.5"}}}]}});
    let object = defaulted(("apps", "v1", "Deployment"), json!({"spec": {"replicas": null, "template": template}}));
    let spec = &object["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"], json!({"limits": {"cpu": "500m"}}), "a template keeps its requests as written");
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
    assert_eq!(spec["template"]["metadata"].get("creationTimestamp"), None);
    let recreate =
        defaulted(("apps", "v1", "Deployment"), json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}));
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(recreate["spec"]["replicas"], 0);
}

#[test]
fn other_workloads() {
    let job = defaulted(("batch", "v1", "Job"), json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}));
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!((&spec["completionMode"], &spec["suspend"]), (&json!("NonIndexed"), &json!(false)));
    let queue = defaulted(("batch", "v1", "Job"), json!({"spec": {"parallelism": 3}}));
    assert_eq!(queue["spec"].get("completions"), None);
    let set = defaulted(
        ("apps", "v1", "StatefulSet"),
        json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}),
    );
    assert_eq!(set["spec"]["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    let daemons = defaulted(("apps", "v1", "DaemonSet"), json!({}));
    assert_eq!(daemons["spec"]["updateStrategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    let old = defaulted(
        ("", "v1", "ReplicationController"),
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
    );
    assert_eq!((&old["spec"]["selector"], &old["metadata"]["labels"]), (&json!({"a": "b"}), &json!({"a": "b"})));
    let cron = defaulted(("batch", "v1", "CronJob"), json!({"spec": {"schedule": "* * * * *"}}));
    assert_eq!(
        (&cron["spec"]["concurrencyPolicy"], &cron["spec"]["successfulJobsHistoryLimit"]),
        (&json!("Allow"), &json!(3))
    );
}

#[test]
fn services() {
    let service = |spec: Value| defaulted(("", "v1", "Service"), json!({"spec": spec}))["spec"].clone();
    let plain = service(json!({"ports": [{"port": 80}, {"port": 90, "targetPort": "http", "protocol": "UDP"}]}));
    assert_eq!(
        plain,
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 90, "protocol": "UDP",
            "targetPort": "http"}]})
    );
    let balanced = service(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "clusterIP": "10.96.0.7"}));
    assert_eq!(balanced["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balanced["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
    assert_eq!(balanced["clusterIPs"], json!(["10.96.0.7"]));
    let external = service(json!({"type": "ExternalName", "externalName": "a.b"}));
    assert_eq!(external, json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}));
}

#[test]
fn the_rest() {
    let secret = defaulted(("", "v1", "Secret"), json!({"stringData": {"a": "hi"}, "data": {"b": "eA=="}}));
    assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "aGk=", "b": "eA=="}}));
    let namespace = defaulted(("", "v1", "Namespace"), json!({"metadata": {"name": "x"}}));
    assert_eq!(
        namespace,
        json!({"metadata": {"name": "x", "labels": {"kubernetes.io/metadata.name": "x"}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    );
    let going = json!({"metadata": {"name": "x", "deletionTimestamp": "2023-11-14T22:13:20Z"}, "spec": {}});
    assert_eq!(defaulted(("", "v1", "Namespace"), going)["spec"], json!({}));
    let node = defaulted(
        ("", "v1", "Node"),
        json!({"spec": {"podCIDR": "10.244.1.0/24"}, "status": {"capacity": {"cpu": "2000m"}}}),
    );
    assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    let binding = json!({"roleRef": {"kind": "Role"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]});
    let binding = defaulted(("rbac.authorization.k8s.io", "v1", "RoleBinding"), binding);
    assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(binding["subjects"][1].get("apiGroup"), None);
    let slice = defaulted(
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        json!({"ports": [{"name": null, "port": 80}], "endpoints": null}),
    );
    assert_eq!(slice["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    assert_eq!(slice["endpoints"], json!([]));
    let range = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
    let range = defaulted(("", "v1", "LimitRange"), range);
    assert_eq!(range["spec"]["limits"][0]["default"], json!({"cpu": "2"}));
    assert_eq!(range["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    let policy = defaulted(("networking.k8s.io", "v1", "NetworkPolicy"), json!({"spec": {"egress": [{}]}}));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}

#[test]
fn defaults_are_idempotent_and_bear_wrong_shapes() {
    for row in crate::table() {
        for start in [
            json!({}),
            json!({"spec": null, "metadata": null, "status": null}),
            json!({"spec": {"template": {"spec": {
            "containers": [{"image": "a", "livenessProbe": {}}], "volumes": [{"name": "v"}]}},
                "containers": [{"image": "a"}], "ports": [{"port": 1}]}}),
            json!({"spec": "text", "metadata": 3, "status": [], "subsets": {}, "ports": 1, "data": 5}),
        ] {
            let mut once = start;
            crate::apply_defaults(row, &mut once);
            let mut twice = once.clone();
            crate::apply_defaults(row, &mut twice);
            assert_eq!(once, twice, "{}", row.plural);
        }
    }
}
