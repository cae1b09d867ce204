//! Each admission step against a small cluster in memory: what it adds, what it refuses.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::authorization::tests::{Memory, binding, role, user};
use crate::authorization::{RBAC_GROUP, Rbac};
use crate::chain::{Operation, RequestInfo, UserInfo};

struct Cluster {
    memory: Arc<Memory>,
    chain: AdmissionChain,
    user: UserInfo,
}

fn cluster() -> Cluster {
    let memory = Arc::new(Memory::default());
    for name in ["default", "dev"] {
        memory.put("", "namespaces", json!({"metadata": {"name": name}, "status": {"phase": "Active"}}));
        memory.put("", "serviceaccounts", json!({"metadata": {"namespace": name, "name": "default"}}));
    }
    let reader = Arc::clone(&memory) as Arc<dyn ObjectReader>;
    let rbac = Arc::new(Rbac::new(Arc::clone(&reader)));
    let chain = AdmissionChain::new(reader, rbac, "10.96.0.0/24".parse().unwrap());
    Cluster { memory, chain, user: user("admin", &["system:masters"]) }
}

impl Cluster {
    fn act(
        &self,
        operation: Operation,
        (group, version, plural): (&str, &str, &str),
        subresource: &str,
        mut object: Value,
        old: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let resource = naru_api::by_plural(group, version, plural).expect("a row of the table");
        let named = |pointer: &str| fields::text(old.unwrap_or(&object), pointer).to_owned();
        let name = if operation == Operation::Create && subresource.is_empty() {
            String::new()
        } else {
            named("/metadata/name")
        };
        let info = RequestInfo {
            is_resource: true,
            namespace: named("/metadata/namespace"),
            name,
            resource: plural.to_owned(),
            subresource: subresource.to_owned(),
            api_group: group.to_owned(),
            ..RequestInfo::default()
        };
        self.chain.admit(&mut AdmissionRequest {
            operation,
            resource,
            info: &info,
            user: &self.user,
            object: &mut object,
            old_object: old,
            dry_run: false,
        })?;
        Ok(object)
    }

    fn create(&self, row: (&str, &str, &str), object: Value) -> Result<Value, ApiError> {
        self.act(Operation::Create, row, "", object, None)
    }

    fn update(&self, row: (&str, &str, &str), object: Value, old: &Value) -> Result<Value, ApiError> {
        self.act(Operation::Update, row, "", object, Some(old))
    }

    /// Creates a service and stores it, as the registry would.
    fn service(&self, name: &str, spec: Value) -> Result<Value, ApiError> {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
        let made = self.create(SERVICES, object)?;
        self.store(&made);
        Ok(made)
    }

    fn store(&self, service: &Value) {
        self.memory.put("", "services", service.clone());
        let row = naru_api::by_plural("", "v1", "services").unwrap();
        self.chain.settled(row, service, true);
    }
}

const PODS: (&str, &str, &str) = ("", "v1", "pods");
const SERVICES: (&str, &str, &str) = ("", "v1", "services");
const NODES: (&str, &str, &str) = ("", "v1", "nodes");
const NAMESPACES: (&str, &str, &str) = ("", "v1", "namespaces");

fn pod(namespace: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "p"},
        "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]},
    })
}

#[test]
fn namespaces_must_exist_and_live() {
    let cluster = cluster();
    let error = cluster.create(PODS, pod("none")).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"none\" not found"));
    let dying = json!({"metadata": {"name": "dev"}, "status": {"phase": "Terminating"}});
    cluster.memory.put("", "namespaces", dying);
    let error = cluster.create(PODS, pod("dev")).unwrap_err();
    assert_eq!(
        error.message,
        "pods \"p\" is forbidden: unable to create new content in namespace dev because it is being terminated"
    );
    assert_eq!(error.details.as_ref().unwrap()["causes"][0]["reason"], "NamespaceTerminating");
    assert_eq!(error.details.unwrap()["name"], "p");
    let old = pod("dev");
    assert!(cluster.update(PODS, pod("dev"), &old).is_ok());
    let system = json!({"metadata": {"name": "kube-system"}});
    let error = cluster.act(Operation::Delete, NAMESPACES, "", Value::Null, Some(&system)).unwrap_err();
    assert_eq!(error.message, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
}

#[test]
fn pods_get_account_token_priority_and_tolerations() {
    let cluster = cluster();
    let made = cluster.create(PODS, pod("dev")).unwrap();
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert_eq!(
        (name.strip_prefix("kube-api-access-").unwrap().len(), spec["volumes"].as_array().unwrap().len()),
        (5, 1)
    );
    assert_eq!(
        volume["projected"],
        json!({
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
        })
    );
    let mount = json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    assert_eq!(spec["containers"][0]["volumeMounts"], mount);
    assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(spec["tolerations"][1]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(spec["tolerations"][1]["tolerationSeconds"], 300);
}

#[test]
fn pods_may_opt_out() {
    let cluster = cluster();
    let mut plain = pod("dev");
    plain["spec"]["automountServiceAccountToken"] = json!(false);
    plain["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let made = cluster.create(PODS, plain).unwrap();
    assert_eq!(made["spec"].get("volumes"), None);
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 1);
    let account = json!({
        "metadata": {"namespace": "dev", "name": "default"}, "automountServiceAccountToken": false,
        "imagePullSecrets": [{"name": "registry"}],
    });
    cluster.memory.put("", "serviceaccounts", account);
    let made = cluster.create(PODS, pod("dev")).unwrap();
    assert_eq!(
        (made["spec"].get("volumes"), &made["spec"]["imagePullSecrets"]),
        (None, &json!([{"name": "registry"}]))
    );
    let mut lost = pod("dev");
    lost["spec"]["serviceAccountName"] = json!("lost");
    assert_eq!(
        cluster.create(PODS, lost).unwrap_err().message,
        "pods \"p\" is forbidden: error looking up service account dev/lost: serviceaccount \"lost\" not found"
    );
}

#[test]
fn priority_classes_become_numbers() {
    let cluster = cluster();
    let with = |name: &str| {
        let mut pod = pod("dev");
        pod["spec"]["priorityClassName"] = json!(name);
        pod
    };
    assert_eq!(cluster.create(PODS, with("system-node-critical")).unwrap()["spec"]["priority"], 2_000_001_000);
    assert_eq!(
        cluster.create(PODS, with("none")).unwrap_err().message,
        "pods \"p\" is forbidden: no PriorityClass with name none was found"
    );
    let class = |name: &str, value: i64| {
        let metadata = json!({"name": name});
        json!({"metadata": metadata, "value": value, "globalDefault": true, "preemptionPolicy": "Never"})
    };
    cluster.memory.put("scheduling.k8s.io", "priorityclasses", class("usual", 7));
    let made = cluster.create(PODS, pod("dev")).unwrap();
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"], &made["spec"]["preemptionPolicy"]),
        (&json!(7), &json!("usual"), &json!("Never"))
    );
    let mut wrong = with("usual");
    wrong["spec"]["priority"] = json!(8);
    assert_eq!(
        cluster.create(PODS, wrong).unwrap_err().message,
        "pods \"p\" is forbidden: the integer value of priority (8) must not be provided in pod spec; \
         priority admission controller computed 7 from the given PriorityClass name"
    );
    let error = cluster.create(("scheduling.k8s.io", "v1", "priorityclasses"), class("other", 9)).unwrap_err();
    assert!(error.message.ends_with("PriorityClass usual is already marked as default. Only one default can exist"));
}

#[test]
fn nodes_write_only_what_is_theirs() {
    let mut cluster = cluster();
    cluster.user = user("system:node:w1", &["system:nodes", "system:authenticated"]);
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let role = json!({"node-role.kubernetes.io/control-plane": "", "disk": "ssd", "kubernetes.io/hostname": "w1"});
    let made = cluster.create(NODES, node("w1", role.clone())).unwrap();
    assert_eq!(made["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
    let refusal = |result: Result<Value, ApiError>| result.unwrap_err().message;
    assert_eq!(
        refusal(cluster.create(NODES, node("w2", json!({})))),
        "nodes \"w2\" is forbidden: node \"w1\" is not allowed to modify node \"w2\""
    );
    let old = node("w1", json!({}));
    assert!(
        refusal(cluster.update(NODES, node("w1", role), &old))
            .ends_with("is not allowed to modify labels: node-role.kubernetes.io/control-plane")
    );
    let mut tainted = old.clone();
    tainted["spec"] = json!({"taints": [{"key": "x"}]});
    assert!(
        refusal(cluster.update(NODES, old.clone(), &tainted)).ends_with("node \"w1\" is not allowed to modify taints")
    );
    let bound = |node: &str| json!({"metadata": {"namespace": "dev", "name": "p"}, "spec": {"nodeName": node}});
    assert!(cluster.act(Operation::Update, PODS, "status", bound("w1"), Some(&bound("w1"))).is_ok());
    assert_eq!(
        refusal(cluster.act(Operation::Update, PODS, "status", bound("w1"), Some(&bound("w2")))),
        "pods \"p\" is forbidden: node \"w1\" can only update pod status for pods with spec.nodeName set to itself"
    );
    let mut relabelled = bound("w1");
    relabelled["metadata"]["labels"] = json!({"app": "web"});
    assert!(
        refusal(cluster.act(Operation::Update, PODS, "status", relabelled, Some(&bound("w1"))))
            .ends_with("node \"w1\" cannot update labels through pod status")
    );
    let mut owned = old.clone();
    owned["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
    assert!(refusal(cluster.update(NODES, owned, &old)).ends_with("is not allowed to modify ownerReferences"));
    assert!(
        refusal(cluster.act(Operation::Update, PODS, "ephemeralcontainers", bound("w1"), Some(&bound("w1"))))
            .contains("unexpected pod subresource \"ephemeralcontainers\"")
    );
    assert!(cluster.act(Operation::Delete, PODS, "", Value::Null, Some(&bound("w1"))).is_ok());
    assert!(
        refusal(cluster.act(Operation::Delete, PODS, "", Value::Null, Some(&bound("w2")))).contains("only delete pods")
    );
    assert!(refusal(cluster.create(PODS, bound("w1"))).contains("can only create mirror pods"));
    let leases = ("coordination.k8s.io", "v1", "leases");
    let lease = |namespace: &str, name: &str| json!({"metadata": {"namespace": namespace, "name": name}});
    cluster.memory.put("", "namespaces", json!({"metadata": {"name": "kube-node-lease"}}));
    assert!(cluster.create(leases, lease("kube-node-lease", "w1")).is_ok());
    assert!(cluster.create(leases, lease("kube-node-lease", "w2")).is_err());
    assert!(cluster.create(leases, lease("dev", "w1")).is_err());
}

#[test]
fn services_get_addresses_and_ports() {
    let cluster = cluster();
    let first = cluster.service("a", json!({"ports": [{"port": 80}]})).unwrap();
    let address: std::net::Ipv4Addr = first["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    assert!(address.octets()[3] > 16, "{address} lies in the band for addresses chosen by hand");
    assert_eq!(first["spec"]["clusterIPs"], json!([address]));
    assert_eq!(
        (&first["spec"]["ipFamilies"], &first["spec"]["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    let same = cluster.service("b", json!({"clusterIP": address, "ports": []})).unwrap_err();
    assert_eq!(
        same.message,
        format!(
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: \
             failed to allocate IP {address}: provided IP is already allocated"
        )
    );
    let foreign = cluster.service("b", json!({"clusterIP": "10.1.2.3", "ports": []})).unwrap_err();
    assert!(
        foreign
            .message
            .ends_with("the provided IP (10.1.2.3) is not in the valid range. The range of valid IPs is 10.96.0.0/24")
    );
    let headless = cluster.service("h", json!({"clusterIP": "None", "selector": {"a": "b"}, "ports": []})).unwrap();
    assert_eq!(
        (&headless["spec"]["clusterIPs"], &headless["spec"]["ipFamilies"]),
        (&json!(["None"]), &json!(["IPv4"]))
    );
    let named = cluster.service("e", json!({"type": "ExternalName", "externalName": "x.org"})).unwrap();
    assert_eq!(named["spec"].get("clusterIP"), None);
    let node = cluster.service(
        "n",
        json!({"type": "NodePort", "ports": [
            {"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "protocol": "TCP", "name": "t"},
            {"port": 80, "nodePort": 30080, "name": "w"},
        ]}),
    );
    let node = node.unwrap();
    let port = |index: usize| node["spec"]["ports"][index]["nodePort"].as_u64().unwrap();
    assert_eq!((port(0), port(2)), (port(1), 30080));
    assert!((30086..=32767).contains(&port(0)));
    let taken =
        cluster.service("m", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]})).unwrap_err();
    assert_eq!(
        taken.message,
        "Service \"m\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    let low = cluster.service("m", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})).unwrap_err();
    assert!(low.message.ends_with("The range of valid ports is 30000-32767"));
}

#[test]
fn reservations_end_when_the_write_does() {
    let cluster = cluster();
    let spec = json!({"clusterIP": "10.96.0.5", "ports": []});
    let object = |name: &str| json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
    let first = cluster.create(SERVICES, object("a")).unwrap();
    assert!(cluster.create(SERVICES, object("b")).is_err(), "in flight");
    let row = naru_api::by_plural("", "v1", "services").unwrap();
    cluster.chain.settled(row, &first, false);
    assert!(cluster.create(SERVICES, object("b")).is_ok(), "the first write failed");
}

#[test]
fn a_full_range_says_so() {
    let cluster = cluster();
    for index in 0..254 {
        cluster.service(&format!("s{index}"), json!({"ports": []})).unwrap();
    }
    let error = cluster.service("more", json!({"ports": []})).unwrap_err();
    assert!(error.message.ends_with("failed to allocate a serviceIP: range is full"), "{}", error.message);
}

#[test]
fn updates_keep_release_and_protect_addresses() {
    let cluster = cluster();
    let old =
        cluster.service("a", json!({"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]})).unwrap();
    let change = |spec: Value| {
        let object = json!({"metadata": {"namespace": "default", "name": "a"}, "spec": spec});
        cluster.update(SERVICES, object, &old)
    };
    let kept = change(json!({"type": "NodePort", "ports": [{"port": 81}]})).unwrap();
    assert_eq!(kept["spec"]["clusterIPs"], old["spec"]["clusterIPs"]);
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], old["spec"]["ports"][0]["nodePort"]);
    let error = change(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80}]})).unwrap_err();
    assert!(
        error.message.ends_with("spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set"),
        "{}",
        error.message
    );
    let mut whole = old["spec"].clone();
    whole["type"] = json!("ClusterIP");
    let plain = change(whole.clone()).unwrap();
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(plain["spec"]["clusterIP"], old["spec"]["clusterIP"]);
    whole["type"] = json!("ExternalName");
    whole["externalName"] = json!("x.org");
    let named = change(whole).unwrap();
    assert_eq!((named["spec"].get("clusterIP"), named["spec"].get("clusterIPs")), (None, None));
    cluster.store(&named);
    let address = old["spec"]["clusterIP"].clone();
    assert!(cluster.service("b", json!({"clusterIP": address, "ports": []})).is_ok(), "released");
}

#[test]
fn rights_cannot_be_granted_by_those_without() {
    let mut cluster = cluster();
    cluster.user = user("alice", &["dev"]);
    let held = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    cluster.memory.put(RBAC_GROUP, "clusterroles", role("clusterroles", "", "reader", held.clone()));
    let subject = json!({"kind": "User", "name": "alice"});
    cluster.memory.put(RBAC_GROUP, "clusterrolebindings", binding("", "b", "ClusterRole", "reader", subject));
    let roles = (RBAC_GROUP, "v1", "roles");
    assert!(cluster.create(roles, role("roles", "dev", "ok", held)).is_ok());
    let more = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(
        cluster.create(roles, role("roles", "dev", "more", more.clone())).unwrap_err().message,
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"alice\" (groups=[\"dev\"]) \
         is attempting to grant \
         RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"
    );
    let bindings = (RBAC_GROUP, "v1", "rolebindings");
    let bob = json!({"kind": "User", "name": "bob"});
    assert!(cluster.create(bindings, binding("dev", "x", "ClusterRole", "reader", bob.clone())).is_ok());
    cluster.memory.put(RBAC_GROUP, "clusterroles", role("clusterroles", "", "wide", more));
    assert!(cluster.create(bindings, binding("dev", "x", "ClusterRole", "wide", bob.clone())).is_err());
    let bind = json!([
        {"verbs": ["bind"], "apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "resourceNames": ["wide"]},
    ]);
    cluster.memory.put(RBAC_GROUP, "roles", role("roles", "dev", "binder", bind));
    let subject = json!({"kind": "Group", "name": "dev"});
    cluster.memory.put(RBAC_GROUP, "rolebindings", binding("dev", "binder", "Role", "binder", subject));
    assert!(cluster.create(bindings, binding("dev", "x", "ClusterRole", "wide", bob)).is_ok());
}

#[test]
fn ranges_are_checked() {
    assert_eq!("10.96.0.0/16".parse::<AddressRange>().unwrap().nth(9).to_string(), "10.96.0.10");
    assert!(matches!("10.96.0.0".parse::<AddressRange>(), Err(RangeError::Syntax(_))));
    assert!(matches!("10.0.0.0/8".parse::<AddressRange>(), Err(RangeError::Size(_))));
}
