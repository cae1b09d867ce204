//! First objects: a second run changes nothing, what users did stays, the policy gives no more than needed.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::authorization::tests::{Memory, request, user};
use crate::authorization::{RBAC_GROUP, Rbac};

struct Writer {
    memory: Arc<Memory>,
    log: Mutex<Vec<String>>,
}

impl ObjectWriter for Writer {
    fn request<'a>(
        &'a self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>> {
        self.log.lock().push(format!("{method} {path}"));
        Box::pin(async move {
            let parts: Vec<&str> = path.split('/').collect();
            let group = if parts[1] == "api" { "" } else { parts[2] };
            let rest = if group.is_empty() { &parts[3..] } else { &parts[4..] };
            let plural = if rest[0] == "namespaces" && rest.len() > 2 { rest[2] } else { rest[0] };
            if let Some(object) = body {
                self.memory.put(group, plural, object);
            }
            Ok(Value::Null)
        })
    }
}

fn config(advertise: &str) -> BootstrapConfig {
    BootstrapConfig {
        advertise_address: advertise.parse().unwrap(),
        port: 6443,
        service_range: "10.96.0.0/16".parse().unwrap(),
        dns_service_address: "10.96.0.10".parse().unwrap(),
        certificate_authority_pem: "CA".to_owned(),
    }
}

fn run(writer: &Writer, advertise: &str) -> Vec<String> {
    writer.log.lock().clear();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bootstrap(&*writer.memory, writer, &config(advertise))).unwrap();
    writer.log.lock().clone()
}

fn writer() -> Writer {
    Writer { memory: Arc::default(), log: Mutex::default() }
}

#[test]
fn a_second_run_changes_nothing() {
    let writer = writer();
    let first = run(&writer, "10.1.0.11");
    assert!(first.contains(&"POST /api/v1/namespaces/default/services".to_owned()));
    assert!(first.len() > 80, "{}", first.len());
    assert_eq!(run(&writer, "10.1.0.11"), Vec::<String>::new());
    let service = writer.memory.get("", "services", "default", "kubernetes").unwrap();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
}

#[test]
fn further_control_planes_add_their_address() {
    let writer = writer();
    run(&writer, "10.1.0.11");
    let second = run(&writer, "10.1.0.12");
    assert_eq!(second.len(), 2, "{second:?}");
    let slice = writer.memory.get("discovery.k8s.io", "endpointslices", "default", "kubernetes").unwrap();
    assert_eq!(slice["endpoints"][1]["addresses"], json!(["10.1.0.12"]));
    let endpoints = writer.memory.get("", "endpoints", "default", "kubernetes").unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "10.1.0.11"}, {"ip": "10.1.0.12"}]));
}

#[test]
fn what_users_did_to_roles_stays_and_what_is_missing_returns() {
    let writer = writer();
    run(&writer, "10.1.0.11");
    let get = |name: &str| (*writer.memory.get(RBAC_GROUP, "clusterroles", "", name).unwrap()).clone();
    let mut basic = get("system:basic-user");
    let own = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]});
    basic["rules"] = json!([own]);
    writer.memory.put(RBAC_GROUP, "clusterroles", basic);
    let mut discovery = get("system:discovery");
    discovery["rules"] = json!([]);
    discovery["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = json!("false");
    writer.memory.put(RBAC_GROUP, "clusterroles", discovery);
    let changes = run(&writer, "10.1.0.11");
    assert_eq!(changes, [format!("PUT /apis/{RBAC_GROUP}/v1/clusterroles/system:basic-user")]);
    let basic = get("system:basic-user");
    assert_eq!(basic["rules"].as_array().unwrap().len(), 3);
    assert_eq!(basic["rules"][0], own);
}

#[test]
fn the_policy_gives_each_identity_what_it_needs_and_no_more() {
    let writer = writer();
    run(&writer, "10.1.0.11");
    let rbac = Rbac::new(Arc::clone(&writer.memory) as Arc<dyn ObjectReader>);
    let someone = user("jane", &["system:authenticated"]);
    let anonymous = user("system:anonymous", &["system:unauthenticated"]);
    let node = user("system:node:w1", &["system:nodes", "system:authenticated"]);
    let scheduler = user("system:kube-scheduler", &["system:authenticated"]);
    let controllers = user("system:kube-controller-manager", &["system:authenticated"]);
    let cases = [
        (&someone, "create authorization.k8s.io selfsubjectrulesreviews -", true),
        (&someone, "create authentication.k8s.io selfsubjectreviews -", true),
        (&someone, "get /apis/apps/v1", true),
        (&someone, "get /openapi/v3", true),
        (&someone, "list - namespaces -", false),
        (&anonymous, "get /version", true),
        (&anonymous, "get /api", false),
        (&anonymous, "get /livez", true),
        (&node, "watch - services -", true),
        (&node, "watch discovery.k8s.io endpointslices -", true),
        (&node, "patch - nodes/status - w1", true),
        (&node, "delete - nodes/proxy - w1", false),
        (&node, "create - serviceaccounts/token a b", true),
        (&node, "create apps deployments a", false),
        (&scheduler, "create - pods/binding a p", true),
        (&scheduler, "patch - pods/status a p", true),
        (&scheduler, "create - pods a", false),
        (&controllers, "create apps replicasets a", true),
        (&controllers, "deletecollection example.com things a", true),
        (&controllers, "create - pods/eviction a p", true),
        (&controllers, "escalate rbac.authorization.k8s.io clusterroles - x", false),
    ];
    for (user, line, allowed) in cases {
        assert_eq!(rbac.decide(user, &request(line)).allowed, allowed, "{} {line}", user.username);
    }
    let admin = rbac.policy().role_rules("ClusterRole", "", "admin").unwrap();
    let allows = |line: &str| admin.iter().any(|rule| rule.allows(&request(line)));
    assert!(allows("delete apps deployments a d") && allows("create - pods/exec a p") && allows("get - pods/log a p"));
    assert!(allows("create rbac.authorization.k8s.io rolebindings a") && !allows("get - nodes - n"));
}
