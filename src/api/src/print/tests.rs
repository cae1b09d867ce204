//! Cells as upstream's tests of its printers expect them.

use serde_json::{Value, json};

const NOW: i64 = 1_700_000_300;

/// Cells of an object, all of them or those that are always shown.
fn cells(kind: (&str, &str, &str), object: &Value, wide: bool) -> Vec<String> {
    let row = crate::by_kind(kind.0, kind.1, kind.2).unwrap();
    let shown = row.columns.iter().filter(|column| wide || column.priority == 0);
    shown.map(|column| super::scalar(&(column.cell)(object, NOW))).collect()
}

fn pod_line(spec: Value, status: Value) -> Vec<String> {
    cells(("", "v1", "Pod"), &json!({"metadata": {"name": "p"}, "spec": spec, "status": status}), false)[1..4].to_vec()
}

fn two_containers() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

#[test]
fn pods_by_container_states() {
    let running = json!({"ready": true, "restartCount": 3, "state": {"running": {}}});
    let line = pod_line(
        two_containers(),
        json!({"phase": "Running", "containerStatuses": [running, {"restartCount": 3, "state": {}}]}),
    );
    assert_eq!(line, ["1/2", "Running", "6"]);
    let waiting = json!({"restartCount": 3, "state": {"waiting": {"reason": "ContainerCreating"}}});
    let line = pod_line(two_containers(), json!({"phase": "Pending", "containerStatuses": [running, waiting]}));
    assert_eq!(line, ["1/2", "ContainerCreating", "6"]);
    let killed = json!({"restartCount": 3, "state": {"terminated": {"exitCode": 137, "signal": 9}}});
    let line = pod_line(
        two_containers(),
        json!({"phase": "Running", "containerStatuses": [killed, {"restartCount": 0, "state": {}}]}),
    );
    assert_eq!(line, ["0/2", "Signal:9", "3"]);
    let failed = json!({"restartCount": 1, "state": {"terminated": {"exitCode": 2}}});
    let line = pod_line(two_containers(), json!({"phase": "Running", "containerStatuses": [failed]}));
    assert_eq!(line, ["0/2", "ExitCode:2", "1"]);
    assert_eq!(pod_line(two_containers(), json!({"phase": "Failed", "reason": "Evicted"})), ["0/2", "Evicted", "0"]);
    let gated = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "SchedulingGated"}]});
    assert_eq!(pod_line(two_containers(), gated), ["0/2", "SchedulingGated", "0"]);
}

#[test]
fn pods_with_a_restart_say_when() {
    let crashed = json!({"phase": "Running", "containerStatuses": [{"restartCount": 4, "ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2023-11-14T22:13:20Z", "exitCode": 1}}}]});
    assert_eq!(pod_line(json!({"containers": [{}]}), crashed), ["0/1", "CrashLoopBackOff", "4 (5m ago)"]);
}

#[test]
fn pods_with_a_completed_and_a_running_container() {
    let statuses = json!([{"ready": true, "state": {"running": {}}}, {"state": {"terminated": {"reason": "Completed",
        "exitCode": 0}}}]);
    let ready =
        json!({"phase": "Running", "containerStatuses": statuses, "conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(pod_line(two_containers(), ready)[1], "Running");
    let statuses =
        json!([{"state": {"terminated": {"reason": "Completed"}}}, {"ready": true, "state": {"running": {}}}]);
    let not_ready = json!({"phase": "Running", "containerStatuses": statuses});
    assert_eq!(pod_line(two_containers(), not_ready), ["1/2", "NotReady", "0"]);
}

#[test]
fn pods_that_initialise() {
    let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i1"}, {"name": "i2"}]});
    let done = json!({"name": "i1", "state": {"terminated": {"exitCode": 0}}});
    let status = |second: Value| {
        json!({"phase": "Pending", "initContainerStatuses": [done, second],
        "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]})
    };
    assert_eq!(pod_line(spec.clone(), status(json!({"name": "i2", "state": {"running": {}}})))[1], "Init:1/2");
    let waiting = json!({"name": "i2", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    assert_eq!(pod_line(spec.clone(), status(waiting)), ["0/1", "Init:CrashLoopBackOff", "2"]);
    let failed = json!({"name": "i2", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    assert_eq!(pod_line(spec.clone(), status(failed))[1], "Init:Error");
    let initialised = status(json!({"name": "i2", "state": {"terminated": {"exitCode": 0}}}));
    assert_eq!(pod_line(spec, initialised)[1], "PodInitializing");
}

#[test]
fn sidecars_count_as_containers() {
    let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let status = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 2,
            "state": {"running": {}}}],
        "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1, "state": {"running": {}}}]});
    assert_eq!(pod_line(spec, status), ["2/2", "Running", "3"]);
}

#[test]
fn pods_that_terminate() {
    let line = |phase: &str, reason: &str| {
        let pod = json!({"metadata": {"deletionTimestamp": "2023-11-14T22:13:20Z"}, "status": {"phase": phase,
            "reason": reason}});
        cells(("", "v1", "Pod"), &pod, false)[2].clone()
    };
    assert_eq!(line("Running", ""), "Terminating");
    assert_eq!(line("Running", "NodeLost"), "Unknown");
    assert_eq!(line("Succeeded", ""), "Succeeded");
}

#[test]
fn pods_wide() {
    let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {"nodeName": "w1", "containers": [{}], "readinessGates": [{"conditionType": "x"},
            {"conditionType": "y"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.1.1.1"}], "conditions": [{"type": "x",
            "status": "True"}]}});
    assert_eq!(cells(("", "v1", "Pod"), &pod, true)[4..], ["5m", "10.1.1.1", "w1", "<none>", "1/2"]);
}

#[test]
fn workloads() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}});
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "template": template,
        "selector": {"matchLabels": {"app": "web", "a": "b"}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2,
            "availableReplicas": 1}});
    let line = cells(("apps", "v1", "Deployment"), &object, true);
    assert_eq!(line, ["web", "1/3", "2", "1", "<unknown>", "a,b", "a:1,b:1", "a=b,app=web"]);
    assert_eq!(cells(("apps", "v1", "ReplicaSet"), &object, false)[1..4], ["3", "0", "1"]);
    let daemons =
        json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}, "status": {"numberReady": 2}});
    assert_eq!(cells(("apps", "v1", "DaemonSet"), &daemons, false)[1..7], ["0", "0", "2", "0", "0", "disk=ssd"]);
}

#[test]
fn jobs() {
    let line = |object: Value| cells(("batch", "v1", "Job"), &object, false)[1..4].to_vec();
    let started = json!({"spec": {"completions": 4}, "status": {"succeeded": 1, "startTime": "2023-11-14T22:13:20Z"}});
    assert_eq!(line(started), ["Running", "1/4", "5m"]);
    let done = json!({"spec": {"parallelism": 3}, "status": {"conditions": [{"type": "Complete", "status": "True"}],
        "startTime": "2023-11-14T22:13:20Z", "completionTime": "2023-11-14T22:13:27Z"}});
    assert_eq!(line(done), ["Complete", "0/1 of 3", "7s"]);
    let cron = json!({"spec": {"schedule": "0 * * * *", "suspend": true}, "status": {"active": [{}]}});
    assert_eq!(cells(("batch", "v1", "CronJob"), &cron, false)[1..6], ["0 * * * *", "<none>", "True", "1", "<none>"]);
}

#[test]
fn services_and_endpoints() {
    let line = |spec: Value, status: Value| {
        cells(("", "v1", "Service"), &json!({"spec": spec, "status": status}), false)[1..5].to_vec()
    };
    let ports = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
    let node_port = line(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": ports}), json!({}));
    assert_eq!(node_port, ["NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP"]);
    assert_eq!(line(json!({"type": "LoadBalancer"}), json!({}))[2], "<pending>");
    let external = line(json!({"type": "ExternalName", "externalName": "a.b"}), json!({}));
    assert_eq!(external, ["ExternalName", "<none>", "a.b", "<none>"]);

    let many: Vec<Value> = (1..=5).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
    let endpoints = json!({"subsets": [{"addresses": many, "ports": [{"port": 80}]}]});
    assert_eq!(cells(("", "v1", "Endpoints"), &endpoints, false)[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    let slice = json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]});
    assert_eq!(cells(("discovery.k8s.io", "v1", "EndpointSlice"), &slice, false)[1..4], ["IPv4", "80", "10.0.0.1"]);
    assert_eq!(cells(("discovery.k8s.io", "v1", "EndpointSlice"), &json!({}), false)[2..4], ["<unset>", "<unset>"]);
}

#[test]
fn nodes() {
    let node = json!({"metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/control-plane": "",
        "node-role.kubernetes.io/etcd": "true"}},
        "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.1.0.11"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0+naru0.1.0", "osImage": "Debian"}}});
    let line = cells(("", "v1", "Node"), &node, true);
    assert_eq!(line[1..3], ["Ready,SchedulingDisabled", "control-plane,etcd"]);
    assert_eq!(line[4..], ["v1.36.0+naru0.1.0", "10.1.0.11", "<none>", "Debian", "<unknown>", "<unknown>"]);
    assert_eq!(cells(("", "v1", "Node"), &json!({}), false)[1..3], ["Unknown", "<none>"]);
}

#[test]
fn events_in_both_forms() {
    let mut event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "web"},
        "type": "Normal",
        "reason": "Started", "message": " up \n", "source": {"component": "kubelet", "host": "w1"},
        "firstTimestamp": "2023-11-14T22:13:20Z", "lastTimestamp": "2023-11-14T22:17:20Z", "count": 3});
    let expected = ["60s", "Normal", "Started", "pod/web", "", "kubelet, w1", "up", "5m", "3", "e"];
    assert_eq!(cells(("", "v1", "Event"), &event, true), expected);
    crate::convert::event_from_core(&mut event);
    assert_eq!(cells(("events.k8s.io", "v1", "Event"), &event, true), expected);
}

#[test]
fn the_rest() {
    let scaler = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
            "averageUtilization": 50}}}]}});
    let line = cells(("autoscaling", "v2", "HorizontalPodAutoscaler"), &scaler, false);
    assert_eq!(line[1..6], ["Deployment/web", "cpu: <unknown>/50%", "<unset>", "5", "0"]);
    let budget = json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}});
    assert_eq!(cells(("policy", "v1", "PodDisruptionBudget"), &budget, false)[1..4], ["50%", "N/A", "1"]);
    let class = json!({"metadata": {"name": "fast",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "x"});
    assert_eq!(
        cells(("storage.k8s.io", "v1", "StorageClass"), &class, false)[..5],
        ["fast (default)", "x", "Delete", "Immediate", "false"]
    );
    let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [
        {"kind": "User", "name": "a"}, {"kind": "User", "name": "b"}, {"kind": "ServiceAccount", "namespace": "n",
            "name": "s"}]});
    let line = cells(("rbac.authorization.k8s.io", "v1", "RoleBinding"), &binding, true);
    assert_eq!(
        (&line[1], &line[3..]),
        (&"ClusterRole/admin".to_owned(), &["a, b".to_owned(), String::new(), "n/s".to_owned()][..])
    );
    let quota = json!({"status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}});
    assert_eq!(cells(("", "v1", "ResourceQuota"), &quota, false)[1..3], ["pods: 1/4", "limits.cpu: 0/2"]);
}
